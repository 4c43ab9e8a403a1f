"""Figures of the campaigns page: funnel, power, effects beside the truth, earnings. No streamlit here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.theme import AT_RISK, BASELINE, CEILING, CHANCE, MODEL, RETENTION, figure, plain, with_room

ROW = 34


def funnel(table: pd.DataFrame) -> go.Figure:
    """Dropped actions by rule: `rule`, `dropped_first`, `would_come_back`; one pair of bars per rule."""
    rules = [plain(rule, 30) for rule in table["rule"]][::-1]
    fig = figure(
        "Actions dropped, by rule", x="pairs of customer and action", height=120 + 2 * ROW * len(rules), legend=True
    )
    for column, name, color in (
        ("would_come_back", "Would come back without this rule", RETENTION),
        ("dropped_first", "Dropped first by this rule", CHANCE),
    ):
        values = table[column].tolist()[::-1]
        hover = "%{y}<br>" + name + ": %{x:,}<extra></extra>"
        fig.add_trace(
            go.Bar(x=values, y=rules, orientation="h", name=name, marker={"color": color}, hovertemplate=hover)
        )
    fig.update_layout(legend_traceorder="reversed")
    return with_room(fig, rules)


def power(table: pd.DataFrame, holdout: float) -> go.Figure:
    """Smallest provable effect by share of the control group: `holdout`, `detectable` (shares in [0, 1])."""
    fig = figure("What the control group can prove", x="share of the control group", y="smallest provable effect")
    fig.add_trace(
        go.Scatter(
            x=table["holdout"].tolist(),
            y=table["detectable"].tolist(),
            mode="lines",
            line={"color": MODEL, "width": 3},
            hovertemplate="control group %{x:.0%}: %{y:.1%}<extra></extra>",
        )
    )
    fig.add_vline(x=holdout, line={"color": AT_RISK, "width": 2, "dash": "dot"})
    fig.update_xaxes(tickformat=".0%", range=[0, 0.5])
    fig.update_yaxes(tickformat=".1%", rangemode="tozero")
    return with_room(fig)


def budget_curve(curve: list[dict[str, float]], money: float) -> go.Figure:
    """Expected value by budget: points of `budgeting.fund`, with the present budget marked."""
    fig = figure("What more or less money would bring", x="budget", y="expected value, after costs")
    fig.add_trace(
        go.Scatter(
            x=[point["money"] for point in curve],
            y=[point["value"] for point in curve],
            mode="lines+markers",
            line={"color": MODEL, "width": 3},
            customdata=[[round(point["contacts"])] for point in curve],
            hovertemplate="budget %{x:,.0f}: %{y:,.0f} from %{customdata[0]:,} contacts<extra></extra>",
        )
    )
    fig.add_vline(x=money, line={"color": AT_RISK, "width": 2, "dash": "dot"})
    fig.update_xaxes(rangemode="tozero")
    fig.update_yaxes(rangemode="tozero")
    return with_room(fig)


def effects(
    rows: list[dict[str, Any]], *, share: bool, title: str, unit: str = "difference", zero: bool = True
) -> go.Figure:
    """Estimates with intervals, one per row: `label`, `value`, `low`, `high`, optional `truth`.

    share: in points, else in `unit`. zero: with a line at 0.
    """
    labels = [plain(row["label"], 34) for row in rows][::-1]
    fig = figure(title, x="points" if share else unit, height=110 + ROW * len(rows), legend=True)
    scale = 100.0 if share else 1.0
    values = [row["value"] * scale for row in rows][::-1]
    bars = [
        (abs((row[end] if row[end] is not None else row["value"]) - row["value"]) * scale)
        for end in ("high", "low")
        for row in rows[::-1]
    ]
    n = len(rows)
    fig.add_trace(
        go.Scatter(
            x=values,
            y=labels,
            mode="markers",
            name="Estimate, 95% interval",
            marker={"color": MODEL, "size": 11},
            error_x={"type": "data", "array": bars[:n], "arrayminus": bars[n:], "color": MODEL, "thickness": 2},
            hovertemplate="%{y}: %{x:.2f}<extra></extra>",
        )
    )
    known = [(label, row["truth"] * scale) for label, row in zip(labels, rows[::-1], strict=True) if "truth" in row]
    if known:
        fig.add_trace(
            go.Scatter(
                x=[value for _, value in known],
                y=[label for label, _ in known],
                mode="markers",
                name="Truth",
                marker={"color": CEILING, "size": 12, "symbol": "diamond"},
                hovertemplate="truth of %{y}: %{x:.2f}<extra></extra>",
            )
        )
    if zero:
        fig.add_vline(x=0, line={"color": CHANCE, "width": 1, "dash": "dot"})
    fig.update_yaxes(type="category", categoryorder="array", categoryarray=labels, range=[-0.6, n - 0.4])
    return with_room(fig, labels)


def coverage(intervals: list[list[float]], true: float) -> go.Figure:
    """Intervals [value, low, high] of simulated campaigns, sorted, with the truth; those that miss it stand out."""
    ordered = sorted(intervals)
    fig = figure("The same campaign, sent a hundred times", x="simulated campaign", y="points", legend=True)
    for name, color, holds in (("Holds the truth", MODEL, True), ("Misses it", AT_RISK, False)):
        chosen = [(k, *row) for k, row in enumerate(ordered, 1) if (row[1] <= true <= row[2]) is holds]
        if not chosen:
            continue
        place, value, low, high = (np.array(column) for column in zip(*chosen, strict=True))
        fig.add_trace(
            go.Scatter(
                x=place.tolist(),
                y=(value * 100).tolist(),
                mode="markers",
                name=name,
                marker={"color": color, "size": 5},
                error_y={
                    "type": "data",
                    "array": ((high - value) * 100).tolist(),
                    "arrayminus": ((value - low) * 100).tolist(),
                    "color": color,
                    "thickness": 1,
                    "width": 0,
                },
                hovertemplate="%{y:.1f} points<extra></extra>",
            )
        )
    fig.add_hline(y=true * 100, line={"color": CEILING, "width": 2})
    fig.update_xaxes(range=[0, len(ordered) + 1])
    return with_room(fig)


TARGETING = {
    "best": ("Best possible targeting", CEILING),
    "campaign": ("This campaign", MODEL),
    "risk_only": ("By churn risk alone", BASELINE),
}


def earnings(truth: dict[str, Any]) -> go.Figure:
    """What three ways of targeting earn in truth with as many contacts: see `simulation.earnings`."""
    facts = {label: (truth[name], color) for name, (label, color) in TARGETING.items()}
    labels = list(facts)[::-1]
    fig = figure("What the targeting earns in truth", x="your currency, after costs", height=110 + 40 * len(labels))
    fig.add_trace(
        go.Bar(
            x=[facts[label][0]["earned"] for label in labels],
            y=labels,
            orientation="h",
            marker={"color": [facts[label][1] for label in labels]},
            customdata=[[facts[label][0]["kept"], facts[label][0]["spent"]] for label in labels],
            hovertemplate="%{y}<br>%{x:,.0f} earned, %{customdata[0]:.1f} customers kept, %{customdata[1]:,.0f} spent"
            "<extra></extra>",
        )
    )
    return with_room(fig, labels)
