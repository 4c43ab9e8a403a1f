"""The loss of a training by epoch: the curves of one run, or those of several over each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st

from crm_models.core.errors import CrmError
from crm_models.core.records import EpochEnd
from crm_models.core.schema import MODEL_NAMES
from crm_models.paper.rerun import TABLE_III
from dashboard.charts import training as training_charts
from dashboard.charts.theme import CHANCE, MODEL
from dashboard.charts.training import Curve, Stretch
from dashboard.panels import widgets
from dashboard.state import store

MODEL_TITLES = {"sequence": "Sequence model: the next action", "churn": "Churn model: the risk to leave"}


class Kind(NamedTuple):
    """A kind of epochs that is shaded: its name and colour, which ones they are, and a sentence on them."""

    name: str
    color: str
    holds: Callable[[EpochEnd], bool]
    meaning: str


KINDS = (
    Kind(
        "Rehearsal",
        CHANCE,
        lambda epoch: epoch.rehearsal,
        " In the shaded **rehearsal** it learns who fell silent at an earlier date, which the histories tell by "
        "themselves; the dotted line belongs to that question there, the solid one always to the labels.",
    ),
    Kind(
        "Short course",
        CHANCE,
        lambda epoch: epoch.short,
        " The shaded **short course** comes first. Where its second half hardly lowers the solid line, there is no "
        "more to learn, and training ends; else the model starts anew, and takes its time for the epochs left.",
    ),
    Kind(
        "Refit",
        MODEL,
        lambda epoch: epoch.refit,
        " In the shaded **refit** at the end it takes the better of the courses before once more, from all "
        "customers but those held out for the report; nobody is left to draw a solid line with.",
    ),
)


def curves(run: store.RunCard, place: str) -> None:
    """The loss curves of the models of a run, side by side; place: keeps apart what is drawn twice on a page."""
    shown = [model for model in run.config.models if run.epochs(model) or not run.status.is_over]
    grid = st.grid(max(len(shown), 1), min_column_width=widgets.CHART_WIDTH)
    for model in shown:
        with grid.cell():
            _chart(run, model, place)


def _chart(run: store.RunCard, model: Any, place: str) -> None:
    curve = _curve(run, model)
    training = run.config.training(model)
    overlay = TABLE_III[model] if run.preset == "paper" else ()
    table = pd.DataFrame({"epoch": curve.epochs, "training loss": curve.train, "validation loss": curve.valid})
    last = f", last {curve.train[-1]:.4f}" if curve.train else ""
    widgets.chart(
        training_charts.losses(
            curve,
            title=MODEL_TITLES[model],
            chance=_chance(run, model),
            chance_name="Chance",
            n_epochs=len(curve.epochs) if run.status.is_over else max(training.n_epochs, len(curve.epochs)),
            printed=overlay,
        ),
        key=f"{place}_{run.run_id}_{model}",
        table=table,
        alt=f"Training loss of the {model} model by epoch{last}",
        note=_note(run, model),
    )


def _note(run: store.RunCard, model: str) -> str:
    chance = "as many equally likely actions as there are" if model == "sequence" else "always saying one half"
    said = (
        "The loss says how surprised the model is by what really happened: lower is better, 0 is certainty. The grey "
        f"line is **chance**: {chance}. The **solid** line is measured on customers that the model does not learn "
        "from; where it turns up while the dotted one still falls, the model begins to learn by heart, and training "
        "stops. The dotted line, on the customers it learns from, may lie above the solid one: while learning, "
        "parts of the model are switched off at random."
    )
    said += "".join(kind.meaning for kind, _ in _stretches(run, model))
    if run.preset == "paper":
        said += (
            " The dashed line is what the paper prints in its **Table III**, on random data with 50 actions; on "
            "another cohort the two need not meet."
        )
    return said


def compared(runs: list[store.RunCard]) -> None:
    """The loss curves of several runs over each other, a chart for each model."""
    models = [m for m in MODEL_NAMES if any(run.epochs(m) for run in runs)]
    grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
    for model in models:
        with grid.cell():
            drawn = [_curve(run, model) for run in runs]
            widgets.chart(
                training_charts.compared_losses(drawn, title=MODEL_TITLES[model], chance=_chance(runs[0], model)),
                key=f"compare_{model}",
                alt=f"Loss of the {model} model by epoch, for {sum(bool(c.epochs) for c in drawn)} runs",
                note="Each run in its colour: the loss on customers that it does not learn from, or the training "
                "loss where none were held back. Lower is better; the grey line is chance.",
                table=pd.concat(
                    [
                        pd.DataFrame({"run": c.name, "epoch": c.epochs, "train": c.train, "valid": c.valid})
                        for c in drawn
                    ]
                ),
            )


def _curve(run: store.RunCard, model: str) -> Curve:
    """The epochs of one model of a run as a curve."""
    epochs = run.epochs(model)
    facts = (run.result or {}).get("models", {}).get(model, {})
    return Curve(
        name=run.run_id,
        epochs=[e.epoch for e in epochs],
        train=[e.train_loss for e in epochs],
        valid=[e.valid_loss for e in epochs],
        best_epoch=facts.get("best_epoch"),
        stretches=[
            Stretch(name=kind.name, first=own[0], last=own[-1], color=kind.color)
            for kind, own in _stretches(run, model)
        ],
    )


def _stretches(run: store.RunCard, model: str) -> list[tuple[Kind, list[int]]]:
    """The kinds of epochs that are shaded, those there are, each with its epochs."""
    found = [(kind, [e.epoch for e in run.epochs(model) if kind.holds(e)]) for kind in KINDS]
    return [(kind, own) for kind, own in found if own]


def _chance(run: store.RunCard, model: str) -> float | None:
    """Loss in nats of a model that knows nothing; None where the cohort is gone."""
    if model == "churn":
        return math.log(2)
    try:
        return math.log(max(2, store.cohort_card(run.cohort).about["actions"]))
    except CrmError:
        return None
