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

MODEL_TITLES = {"sequence": "Sequence model: the next action", "churn": "Churn model: churn risk"}


class Kind(NamedTuple):
    """A kind of epochs that is shaded: its name and colour, which ones they are, and a sentence on them."""

    name: str
    color: str
    holds: Callable[[EpochEnd], bool]
    meaning: str


KINDS = (
    Kind(
        "Pre-training",
        CHANCE,
        lambda epoch: epoch.pretraining,
        " During the shaded **pre-training** it learns who fell silent at an earlier date, which needs no labels. The "
        "dotted line there belongs to that task, the solid one always to the labels.",
    ),
    Kind(
        "Short phase",
        CHANCE,
        lambda epoch: epoch.short_phase,
        " The shaded **short phase** comes first. If its second half hardly lowers the solid line, training ends; "
        "otherwise the model starts again from new weights and takes the remaining epochs.",
    ),
    Kind(
        "Final refit",
        MODEL,
        lambda epoch: epoch.final_refit,
        " The shaded **final refit** repeats the best phase on training and validation customers together, so there "
        "is no solid line.",
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
        "The loss measures how far the predictions are from what happened: lower is better, 0 is perfect. The grey "
        f"line is **chance**: {chance}. The **solid** line is the loss on validation customers, whom the model does "
        "not train on. If it rises while the dotted one still falls, the model overfits, and training stops. The "
        "dotted line is the loss on training customers. It may lie above the solid one, because dropout switches "
        "parts of the model off during training."
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
