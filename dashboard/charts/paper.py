"""Figures of the paper page: printed values beside the results of the re-runs. No streamlit here.

Printed values have one colour, the same as on the training page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.charts.theme import BASELINE, CEILING, CHANCE, FAINT, MODEL, TEXT, figure, with_room

PRINTED = BASELINE
SQUARE = 380
_DOT_HEIGHT = 0.072
_BESIDE_TOOLBAR = 40  # room on the right, so that the legend does not reach under the toolbar
"""Height of one dot in a stack of equal values; rows are 1 apart."""


def losses(ours: np.ndarray, printed: Sequence[float], chance: float, title: str) -> go.Figure:
    """Figure 1 for one model: range and median over the seeds, with the paper's Table III.

    ours: (seeds, epochs) training losses in nats; if empty, only the printed losses are drawn.
    """
    epochs = list(range(1, len(printed) + 1))
    fig = figure(title, x="epoch", y="training loss (nats)", height=340, legend=True)
    if len(ours):
        low, middle, high = ours.min(axis=0).tolist(), np.median(ours, axis=0).tolist(), ours.max(axis=0).tolist()
        edge: dict[str, Any] = {"x": epochs, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        fig.add_trace(go.Scatter(y=high, showlegend=False, **edge))
        band = "rgba(42, 98, 240, 0.22)"
        fig.add_trace(go.Scatter(y=low, fill="tonexty", fillcolor=band, name="Ours, lowest to highest", **edge))
        fig.add_trace(
            go.Scatter(
                x=epochs,
                y=middle,
                customdata=[[a, b, len(ours)] for a, b in zip(low, high, strict=True)],
                mode="lines",
                name="Ours, median",
                line={"color": MODEL, "width": 2.5},
                hovertemplate="epoch %{x}<br>ours: median %{y:.4f}, from %{customdata[0]:.4f} to %{customdata[1]:.4f}"
                "<br>over %{customdata[2]} re-runs<extra></extra>",
            )
        )
    fig.add_trace(
        go.Scatter(
            x=epochs,
            y=list(printed),
            mode="markers",
            name="Printed in Table III",
            marker={"color": PRINTED, "size": 9, "symbol": "diamond"},
            hovertemplate="epoch %{x}<br>printed: %{y:.4f}<extra></extra>",
        )
    )
    _level(fig, [1, len(epochs)], chance, "Chance", CHANCE, "dot")
    return with_room(fig.update_xaxes(dtick=1, range=[0.6, len(epochs) + 0.4]), right=_BESIDE_TOOLBAR)


def accuracies(rows: Sequence[tuple[str, Sequence[float], dict[str, float]]]) -> go.Figure:
    """One dot per re-run, equal values stacked, with printed values, chance and ceiling as marks on the same line.

    rows: (model, accuracy of each seed, {name of a mark: value}), first on top.
    """
    fig = figure("Accuracy: printed and re-run", x="accuracy on held-out customers",
                 height=150 + 130 * len(rows), legend=True)  # fmt: skip
    styles = {
        "Table II": (PRINTED, "star", 17),
        "Table IV": (PRINTED, "diamond", 13),
        "Chance = ceiling": (CHANCE, "line-ns", 22),
    }
    for k, (model, ours, marks) in enumerate(rows):
        base = len(rows) - 1 - k
        fig.add_shape(
            type="line", x0=0, x1=1, y0=base, y1=base, line={"color": FAINT, "width": 5}, layer="below"
        )  # fmt: skip
        values, counts = np.unique(np.round(ours, 6), return_counts=True)
        dots = [
            (float(v), base + 0.12 + _DOT_HEIGHT * j, int(n))
            for v, n in zip(values, counts, strict=True)
            for j in range(n)
        ]
        fig.add_trace(
            go.Scatter(
                x=[dot[0] for dot in dots],
                y=[dot[1] for dot in dots],
                customdata=[[dot[2], len(ours)] for dot in dots],
                mode="markers",
                name="One re-run",
                legendgroup="ours",
                showlegend=k == 0,
                marker={"color": MODEL, "size": 9},
                hovertemplate="accuracy %{x:.4f}<br>in %{customdata[0]} of %{customdata[1]} re-runs<extra></extra>",
            )
        )
        for name, (color, symbol, size) in styles.items():
            if name in marks:
                _mark(fig, (marks[name], base), name, {"color": color, "symbol": symbol, "size": size}, k == 0)
        fig.add_annotation(x=1, y=base + 0.5, text=f"<b>{model}</b>", xanchor="right", showarrow=False)
    fig.update_yaxes(visible=False, range=[-0.5, len(rows) - 0.1], fixedrange=True)
    return with_room(fig.update_xaxes(range=[-0.02, 1.02], tickformat=".0%", dtick=0.1, fixedrange=True), left=8,
                     right=_BESIDE_TOOLBAR)  # fmt: skip


def _mark(fig: go.Figure, at: tuple[float, float], name: str, style: dict[str, Any], first: bool) -> None:
    if style["symbol"] == "line-ns":
        style = style | {"line": {"color": style["color"], "width": 4}}
    fig.add_trace(
        go.Scatter(
            x=[at[0]],
            y=[at[1]],
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=first,
            marker=style,
            hovertemplate=f"{name}: %{{x:.4f}}<extra></extra>",
        )
    )
    # Chance and Table IV are close together, so their numbers are placed below each other.
    fig.add_annotation(
        x=at[0], y=at[1], yshift=-36 if name.startswith("Chance") else -20, showarrow=False,
        text=f"{name.split(' =')[0]} {at[0]:.4g}", font={"size": 12}, xanchor="left" if at[0] < 0.05 else "center",
    )  # fmt: skip


def step_attention(weights: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str]) -> go.Figure:
    """Figure 2: attention of each plan step. weights: (steps, positions); positions hidden from a step are empty."""
    visible = [
        [w if j < len(columns) - len(rows) + 1 + i else None for j, w in enumerate(row)]
        for i, row in enumerate(weights)
    ]
    fig = figure("Figure 2: attention of the Sequence Transformer", x="looks at", y="predicting", height=SQUARE)
    fig.add_trace(
        go.Heatmap(
            z=visible,
            x=[re.sub(r" |(?<=[a-z])(?=[0-9])", "<br>", column) for column in columns],
            y=list(rows),
            zmin=0,
            xgap=2,
            ygap=2,
            texttemplate="%{z:.0%}",
            hoverongaps=False,
            colorbar={"tickfont": {"color": TEXT}, "tickformat": ".0%", "thickness": 12, "len": 0.8, "nticks": 5},
            hovertemplate="predicting %{y}<br>looks at %{x}<br>attention %{z:.1%}<extra></extra>",
        )
    )
    fig.update_yaxes(autorange="reversed", showgrid=False).update_xaxes(showgrid=False, tickangle=0)
    return with_room(fig, bottom=64)


def roc(curve: dict[str, Any], customers: int) -> go.Figure:
    """Figure 3: the ROC curve over the held-out customers of all re-runs. curve: `fpr`, `tpr`, `auc`."""
    fig = figure(
        f"Figure 3: ROC curve, AUC {curve['auc']:.3f}", x="stayers wrongly flagged (false positive rate)",
        y="churners found (true positive rate)", height=SQUARE, legend=True,
    )  # fmt: skip
    _level(fig, [0, 1], [0, 1], "Chance", CHANCE, "dot")
    fig.add_trace(
        go.Scatter(
            x=curve["fpr"],
            y=curve["tpr"],
            mode="lines",
            name=f"Ours, {customers:,} customers",
            line={"color": MODEL, "width": 2.5},
            hovertemplate="found %{y:.1%} of churners<br>flagged %{x:.1%} of stayers<extra></extra>",
        )
    )
    fig.update_xaxes(range=[0, 1], tickformat=".0%").update_yaxes(range=[0, 1.02], tickformat=".0%")
    return with_room(fig)


def signal_curve(
    points: Sequence[tuple[float, float, float, float]], claim: float, chosen: float, title: str, floor: float
) -> go.Figure:
    """Accuracy by signal. points: (signal, chance, ours, ceiling) in order; floor: start of the accuracy axis."""
    fig = figure(title, x="signal: how much there is to learn", y="accuracy", height=SQUARE, legend=True)
    signal, chance, ours, ceiling = ([p[k] for p in points] for k in range(4))
    for name, values, color, dash in (("Ceiling", ceiling, CEILING, "dash"), ("Chance", chance, CHANCE, "dot")):
        _level(fig, signal, values, name, color, dash)
    fig.add_trace(
        go.Scatter(
            x=signal,
            y=ours,
            mode="lines+markers",
            name="Ours",
            line={"color": MODEL, "width": 2.5},
            marker={"size": [16 if abs(s - chosen) < 1e-9 else 6 for s in signal], "color": MODEL},
            hovertemplate="signal %{x:.1f}<br>ours %{y:.1%}<extra></extra>",
        )
    )
    _level(fig, [0, 1], claim, "Table II", PRINTED, "longdash")
    fig.add_vline(x=chosen, line={"color": MODEL, "width": 1, "dash": "dot"})
    fig.update_yaxes(range=[floor, 1.0], tickformat=".0%")
    return with_room(fig.update_xaxes(range=[-0.03, 1.03], dtick=0.2), right=_BESIDE_TOOLBAR)


def _level(fig: go.Figure, x: Sequence[float], y: float | Sequence[float], name: str, color: str, dash: str) -> None:
    values = [y] * len(x) if isinstance(y, float) else list(y)
    fig.add_trace(
        go.Scatter(
            x=list(x),
            y=values,
            mode="lines",
            name=name,
            line={"color": color, "width": 2, "dash": dash},
            hovertemplate=f"{name} %{{y:.4g}}<extra></extra>",
        )
    )
