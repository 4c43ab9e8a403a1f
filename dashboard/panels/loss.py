"""Loss curves by epoch: of one run, or of several runs in one chart."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import streamlit as st

from crm_models.core.errors import CrmError
from crm_models.core.schema import MODEL_NAMES
from crm_models.paper.rerun import TABLE_III
from dashboard.charts import training as training_charts
from dashboard.charts.theme import MODEL
from dashboard.charts.training import Curve, Stretch
from dashboard.panels import widgets
from dashboard.state import store

MODEL_TITLES = {"sequence": "Sequence model: next action", "churn": "Churn model: churn risk"}


def curves(run: store.RunCard, place: str) -> None:
    """Draw the loss curves of the models of a run side by side. place: makes the widget keys unique on a page."""
    shown = [model for model in run.config.models if run.epochs(model) or not run.status.is_over]
    grid = st.grid(max(len(shown), 1), min_column_width=widgets.CHART_WIDTH)
    for model in shown:
        with grid.cell():
            _chart(run, model, place)


def _chart(run: store.RunCard, model: Any, place: str) -> None:
    curve = _curve(run, model)
    training = run.config.training(model)
    printed_losses = TABLE_III[model] if run.preset == "paper" else ()
    table = pd.DataFrame({"epoch": curve.epochs, "training loss": curve.train, "validation loss": curve.valid})
    last = f", last {curve.train[-1]:.4f}" if curve.train else ""
    widgets.chart(
        training_charts.losses(
            curve,
            title=MODEL_TITLES[model],
            chance=_chance(run, model),
            chance_name="Chance",
            n_epochs=len(curve.epochs) if run.status.is_over else max(training.n_epochs, len(curve.epochs)),
            printed=printed_losses,
        ),
        key=f"{place}_{run.run_id}_{model}",
        table=table,
        alt=f"Training loss of the {model} model by epoch{last}",
        note=_note(run, model),
    )


def _note(run: store.RunCard, model: str) -> str:
    chance = "all actions equally likely" if model == "sequence" else "a churn risk of 0.5 for everyone"
    note = (
        "The loss measures how far the predictions are from what happened: lower is better, 0 is perfect. The grey "
        f"line is **chance**: {chance}. The **solid** line is the loss on validation customers, whom the model does "
        "not train on. If it rises while the dotted one still falls, the model overfits, and training stops. The "
        "dotted line is the loss on training customers. It may lie above the solid one, because dropout disables "
        "parts of the model during training."
    )
    if any(epoch.final_refit for epoch in run.epochs(model)):
        note += (
            " The shaded **final refit** repeats the best epochs on training and validation customers together, so it "
            "has no solid line."
        )
    if run.preset == "paper":
        note += (
            " The dashed line is **Table III** of the paper, from random data with 50 actions; on another cohort the "
            "losses may differ."
        )
    return note


def compared(runs: list[store.RunCard]) -> None:
    """Draw the loss curves of several runs in one chart per model."""
    models = [m for m in MODEL_NAMES if any(run.epochs(m) for run in runs)]
    grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
    for model in models:
        with grid.cell():
            run_curves = [_curve(run, model) for run in runs]
            widgets.chart(
                training_charts.compared_losses(run_curves, title=MODEL_TITLES[model], chance=_chance(runs[0], model)),
                key=f"compare_{model}",
                alt=f"Loss of the {model} model by epoch, for {sum(bool(c.epochs) for c in run_curves)} runs",
                note="One colour per run: the loss on validation customers, or the training loss if there are none. "
                "Lower is better; the grey line is chance.",
                table=pd.concat(
                    [
                        pd.DataFrame({"run": c.name, "epoch": c.epochs, "train": c.train, "valid": c.valid})
                        for c in run_curves
                    ]
                ),
            )


def _curve(run: store.RunCard, model: str) -> Curve:
    """The loss curve of one model of a run."""
    epochs = run.epochs(model)
    facts = (run.result or {}).get("models", {}).get(model, {})
    refit = [e.epoch for e in epochs if e.final_refit]
    return Curve(
        name=run.run_id,
        epochs=[e.epoch for e in epochs],
        train=[e.train_loss for e in epochs],
        valid=[e.valid_loss for e in epochs],
        best_epoch=facts.get("best_epoch"),
        stretches=[Stretch(name="Final refit", first=refit[0], last=refit[-1], color=MODEL)] if refit else [],
    )


def _chance(run: store.RunCard, model: str) -> float | None:
    """Loss of guessing in nats; None if the cohort is gone."""
    if model == "churn":
        return math.log(2)
    try:
        return math.log(max(2, store.cohort_card(run.cohort).about["actions"]))
    except CrmError:
        return None
