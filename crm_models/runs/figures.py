"""Figures of a run's report: losses, ROC curve, calibration, churn probabilities and planned actions."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crm_models.core.records import EpochEnd

if TYPE_CHECKING:
    import plotly.graph_objects as go

OURS, RISK, GREY, RETENTION = "#2A62F0", "#C62F14", "#767676", "#0A9F98"
BINS = 25
MOST_ACTIONS = 12


def _figure(title: str, x: str, y: str = "", *, height: int = 340) -> go.Figure:
    import plotly.graph_objects as go

    axis = {"gridcolor": "rgba(128,138,155,0.28)", "zeroline": False, "automargin": True}
    return go.Figure(
        layout={
            "title": {"text": title, "x": 0, "y": 0.97, "yanchor": "top", "font": {"size": 16}},
            "font": {"color": GREY},
            "height": height,
            "margin": {"l": 8, "r": 16, "t": 72, "b": 8},
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "xaxis": {"title": {"text": x}} | axis,
            "yaxis": {"title": {"text": y}} | axis,
            "dragmode": False,
        }
    )


def losses(epochs: Sequence[EpochEnd], model: str, title: str) -> go.Figure:
    """Training and validation loss of one model by epoch, without its final refit."""
    fig = _figure(title, "epoch", "loss (nats)")
    own = [epoch for epoch in epochs if epoch.model == model and not epoch.final_refit]
    for name, values, dash in (
        ("training", [epoch.train_loss for epoch in own], "solid"),
        ("validation", [epoch.valid_loss for epoch in own], "dash"),
    ):
        if any(value is not None for value in values):
            line = {"color": OURS, "dash": dash}
            fig.add_scatter(x=[epoch.epoch for epoch in own], y=values, mode="lines", name=name, line=line)
    return fig


def roc(table: pd.DataFrame, auc: float) -> go.Figure:
    """ROC curve. table: from `roc_table`."""
    fig = _figure(f"ROC curve, AUC {auc:.3f}", "stayers flagged (share)", "churners found (share)")
    fig.add_scatter(x=table["fpr"].tolist(), y=table["tpr"].tolist(), mode="lines", name="ours", line={"color": OURS})
    fig.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="chance", line={"color": GREY, "dash": "dot"})
    return fig


def calibration(table: pd.DataFrame) -> go.Figure:
    """Predicted beside observed churn. table: from `calibration_table`."""
    fig = _figure("Calibration", "predicted churn probability", "share who churned")
    error: dict[str, Any] = {"type": "data", "array": (table["high"] - table["observed"]).tolist()}
    error |= {"arrayminus": (table["observed"] - table["low"]).tolist(), "symmetric": False}
    predicted, observed = table["predicted"].tolist(), table["observed"].tolist()
    fig.add_scatter(x=predicted, y=observed, error_y=error, mode="lines+markers", name="ours", line={"color": OURS})
    fig.add_scatter(x=[0, 1], y=[0, 1], mode="lines", name="right on average", line={"color": GREY, "dash": "dot"})
    return fig


def risks(churn_p: np.ndarray, threshold: float) -> tuple[go.Figure, pd.DataFrame]:
    """Customers by churn probability, with the threshold; and the numbers."""
    count, edges = np.histogram(churn_p[~np.isnan(churn_p)], bins=BINS, range=(0.0, 1.0))
    table = pd.DataFrame({"from": edges[:-1].round(2), "to": edges[1:].round(2), "customers": count})
    fig = _figure("Customers by churn probability", "churn probability", "customers")
    middle = (edges[:-1] + edges[1:]) / 2
    colours = [RISK if at > threshold else OURS for at in middle]
    fig.add_bar(x=middle.tolist(), y=count.tolist(), marker={"color": colours}, showlegend=False)
    fig.add_vline(x=threshold, line={"color": RISK, "dash": "dot"})
    return fig, table


def actions(mix: pd.DataFrame, retention: Sequence[str]) -> go.Figure:
    """Planned steps by action, the most frequent ones. mix: `action`, `steps`, most frequent first."""
    shown = mix.head(MOST_ACTIONS)[::-1]
    fig = _figure("Planned steps by action", "plan steps", height=120 + 26 * len(shown))
    colours = [RETENTION if action in retention else OURS for action in shown["action"]]
    labels = [html.escape(str(action), quote=False) for action in shown["action"]]  # Plotly reads some markup
    fig.add_bar(x=shown["steps"].tolist(), y=labels, orientation="h", marker={"color": colours}, showlegend=False)
    return fig
