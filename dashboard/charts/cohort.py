"""Figures of the data in a cohort. No streamlit here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.theme import AT_RISK, CHANCE, DATA, TEXT, figure, plain, width_of, with_room, with_rows


def bars(
    labels: Sequence[object],
    counts: Sequence[float],
    *,
    title: str,
    unit: str,
    total: float | None = None,
    color: str = DATA,
    hover: Sequence[str] | None = None,
) -> go.Figure:
    """Horizontal bars, first label on top. unit: what is counted ("customers"); total: for shares in the hover."""
    n = len(labels)
    fig = figure(title, x=unit, height=max(170, 84 + 26 * n))
    names = [plain(label) for label in labels]
    shares = ["" if not total else f" ({count / total:.1%})" for count in counts]
    extra = [f"<br>{line}" for line in hover] if hover is not None else [""] * n
    fig.add_trace(
        go.Bar(
            x=list(counts),
            y=list(range(n)),
            orientation="h",
            marker={"color": color},
            customdata=[[plain(label, 120), s, e] for label, s, e in zip(labels, shares, extra, strict=True)],
            hovertemplate=f"%{{customdata[0]}}<br>%{{x:,}} {unit}%{{customdata[1]}}%{{customdata[2]}}<extra></extra>",
        )
    )
    return with_room(with_rows(fig, names), names)


def columns(
    labels: Sequence[object],
    counts: Sequence[float],
    *,
    title: str,
    x: str,
    unit: str,
    rate: Sequence[float] | None = None,
    rate_name: str = "Churn rate",
) -> go.Figure:
    """Vertical bars over ranges; `rate` (in [0, 1], NaN: unknown) as a line on a second axis."""
    n, total = len(labels), max(float(np.sum(counts)), 1.0)
    has_rate = rate is not None and not np.isnan(np.asarray(rate, dtype=float)).all()
    fig = figure(title, x=x, y=unit, legend=has_rate)
    fig.add_trace(
        go.Bar(
            x=list(range(n)),
            y=list(counts),
            name=unit.capitalize(),
            marker={"color": DATA},
            customdata=[[plain(label, 60), count / total] for label, count in zip(labels, counts, strict=True)],
            hovertemplate=f"{x}: %{{customdata[0]}}<br>%{{y:,}} {unit} (%{{customdata[1]:.1%}})<extra></extra>",
        )
    )
    if has_rate:
        fig.add_trace(
            go.Scatter(
                x=list(range(n)),
                y=list(rate),  # type: ignore[arg-type]  # not None if has_rate
                name=rate_name,
                yaxis="y2",
                mode="lines+markers",
                line={"color": AT_RISK, "width": 2},
                marker={"size": 8},
                customdata=[plain(label, 60) for label in labels],
                hovertemplate=f"{x}: %{{customdata}}<br>{rate_name} %{{y:.1%}}<extra></extra>",
            )
        )
        top = min(1.06, 1.15 * float(np.nanmax(np.asarray(rate, dtype=float))) + 0.01)
        right = {
            "range": [0, top],
            "tickmode": "auto",
            "nticks": 5,
            "overlaying": "y",
            "side": "right",
            "tickformat": ".0%",
            "showgrid": False,
        }
        ink = {"color": TEXT}
        fig.update_layout(
            yaxis2=right
            | {"title": {"text": rate_name, "font": ink}, "tickfont": ink}
            | {"automargin": True, "zeroline": False}
        )
    ticks = [plain(label) for label in labels]
    longest = max(map(width_of, ticks), default=0)
    slanted = n * longest > _ROOM_FOR_TICKS
    fig.update_xaxes(tickmode="array", tickvals=list(range(n)), ticktext=ticks, tickangle=30 if slanted else 0)
    return with_room(fig, right=64 if has_rate else 16, bottom=50 + (longest // 2 if slanted else 0))


_ROOM_FOR_TICKS = 240  # total width in pixels of tick labels below a chart before they are slanted


def churn_by_group(groups: pd.DataFrame, *, feature: str, mean: float | None) -> go.Figure:
    """Churn rate per group of one feature, with the cohort mean as a line. groups: rows of `CohortProfile.features`."""
    n = len(groups)
    fig = figure(f"Churn rate by {plain(feature)}", x="churn rate", height=max(170, 92 + 26 * n))
    names = [plain(group) for group in groups["group"]]
    fig.add_trace(
        go.Bar(
            x=groups["churn_rate"].tolist(),
            y=list(range(n)),
            orientation="h",
            marker={"color": AT_RISK},
            customdata=[[plain(g, 120), c] for g, c in zip(groups["group"], groups["customers"], strict=True)],
            hovertemplate="%{customdata[0]}<br>churn rate %{x:.1%} of %{customdata[1]:,} customers<extra></extra>",
        )
    )
    if mean is not None:
        fig.add_vline(x=mean, line={"color": CHANCE, "dash": "dot", "width": 2})
        fig.add_annotation(
            x=mean,
            y=1,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            text=f"all customers {mean:.1%}",
            font={"size": 12},
        )
    fig.update_xaxes(tickformat=".0%", rangemode="tozero")
    return with_room(with_rows(fig, names), names)
