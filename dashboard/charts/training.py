"""Figures of the loss by epoch. No streamlit here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from dashboard.charts.theme import BASELINE, CHANCE, DASHES, HEIGHT, MODEL, SERIES, figure, plain, with_room


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A named range of epochs, `first` to `last`, shaded in a colour."""

    name: str
    first: int
    last: int
    color: str


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Loss per epoch of one model of one run, in nats; `valid` is None in epochs without validation customers."""

    name: str
    epochs: Sequence[int]
    train: Sequence[float]
    valid: Sequence[float | None]
    best_epoch: int | None = None
    stretches: Sequence[Stretch] = ()


def losses(
    curve: Curve, *, title: str, chance: float | None, chance_name: str, n_epochs: int, printed: Sequence[float] = ()
) -> go.Figure:
    """Training and validation loss of one model by epoch; `printed`: the paper's Table III, epochs 1 to 10."""
    fig = figure(title, x="epoch", y="loss in nats", legend=True)
    _line(fig, "Training", curve.epochs, curve.train, MODEL, dash="dot")
    if any(v is not None for v in curve.valid):
        _line(fig, "Validation", curve.epochs, curve.valid, MODEL, dash="solid")
    if printed:
        _line(fig, "Paper, Table III", list(range(1, len(printed) + 1)), printed, BASELINE, dash="dash")
    if chance is not None:
        end = max(n_epochs, 2)
        _line(fig, chance_name, [1, end], [chance, chance], CHANCE, dash="longdash", markers=False)
    if not curve.epochs:
        fig.add_annotation(
            x=0.5, y=0.25, xref="paper", yref="paper", showarrow=False, text="not started yet", font={"size": 13}
        )
    for part in curve.stretches:
        extent: dict[str, Any] = {"x0": part.first - 0.5, "x1": part.last + 0.5, "layer": "below"}
        fig.add_vrect(**extent, fillcolor=part.color, opacity=0.15, line_width=0)
        # Named in the legend, because the curves may cover any label inside the chart.
        mark = {"symbol": "square", "size": 12, "color": part.color, "opacity": 0.3}
        fig.add_scatter(x=[None], y=[None], mode="markers", marker=mark, name=part.name)
    if curve.best_epoch is not None:
        fig.add_vline(x=curve.best_epoch, line={"color": MODEL, "width": 1, "dash": "dot"})
        fig.add_annotation(
            x=curve.best_epoch,
            y=0.5,  # between the high losses of the first epochs and the low ones of the last
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            text="best",
            font={"size": 12},
            xshift=-16 if curve.best_epoch > 3 else 16,  # away from the steep start of the curves
        )
    fig.update_xaxes(range=[0.5, max(n_epochs, 2) + 0.5], dtick=max(1, math.ceil(n_epochs / 12)), tick0=1)
    # A legend row holds two names; the layout has room for two rows.
    extra = _LEGEND_ROW * max(0, math.ceil(len(fig.data) / 2) - 2)
    fig.update_layout(hovermode="x unified", height=HEIGHT + extra, margin={"t": fig.layout.margin.t + extra})
    return with_room(fig)


def compared_losses(curves: Sequence[Curve], *, title: str, chance: float | None) -> go.Figure:
    """Loss curves of several runs: the validation loss if there is one, else the training loss.

    Runs without epochs are skipped but keep their colour, so that colours match the chart of the other model.
    """
    fig = figure(title, x="epoch", y="loss in nats", legend=True)
    rows = sum(bool(curve.epochs) for curve in curves) + (chance is not None)
    top = 40 + _LEGEND_ROW * rows  # one name per row, because names are long; between the title and the curves
    fig.update_layout(height=HEIGHT - 72 + top, margin={"t": top}, legend={"orientation": "v"})
    for k, curve in enumerate(curves):
        if not curve.epochs:
            continue
        has_valid = any(v is not None for v in curve.valid)
        name = f"{plain(curve.name)} ({'validation' if has_valid else 'training'})"
        values = curve.valid if has_valid else curve.train
        _line(fig, name, curve.epochs, values, SERIES[k % len(SERIES)], dash=DASHES[k % len(DASHES)])
    if chance is not None and curves:
        last = max((max(c.epochs, default=1) for c in curves), default=1)
        _line(fig, "Chance", [1, max(last, 2)], [chance, chance], CHANCE, dash="longdash", markers=False)
    fig.update_layout(hovermode="x unified")
    return with_room(fig)


_LEGEND_ROW = 20  # height of one legend row in pixels


def _line(
    fig: go.Figure,
    name: str,
    x: Sequence[int],
    y: Sequence[float | None],
    color: str,
    *,
    dash: str,
    markers: bool = True,
) -> None:
    # Markers for few epochs, because a single epoch has no line.
    mode = "lines+markers" if markers and len(x) <= 40 else "lines"
    fig.add_trace(
        go.Scatter(
            x=list(x),
            y=list(y),
            name=name,
            mode=mode,
            line={"color": color, "width": 2, "dash": dash},
            marker={"size": 6},
            hovertemplate="%{y:.4f}",
        )
    )
