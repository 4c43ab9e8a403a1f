"""Figures of the plans, customers and attention pages. No streamlit here.

Text from a cohort goes through `theme.plain`, because Plotly renders some HTML in labels and hovers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.digits import count, share, signed
from dashboard.charts.theme import (
    AT_RISK,
    BASELINE,
    CHANCE,
    DATA,
    MODEL,
    RETENTION,
    TEXT,
    figure,
    plain,
    with_rows,
)

MODEL_PALE, RETENTION_PALE = "rgba(42,98,240,0.4)", "rgba(10,159,152,0.4)"
"""Pale colours for the plan before the policy."""


# ---- thresholds ------------------------------------------------------------------------------------------------------


def risk_histogram(counts: np.ndarray, threshold: float, height: int = 230) -> go.Figure:
    """Histogram of the churn probability, bins above the threshold in the at-risk colour. counts: (B,) over 0 to 1."""
    n, total = len(counts), max(int(counts.sum()), 1)
    low = np.arange(n) / n
    middle = low + 0.5 / n
    fig = figure("Customers by churn probability", x="churn probability", y="customers", height=height)
    fig.add_trace(
        go.Bar(
            x=middle.round(4).tolist(),
            y=counts.tolist(),
            width=1 / n,
            marker={"color": _risk_colors(n, threshold)},
            customdata=[[f"{a:.2f} to {a + 1 / n:.2f}", f"{c / total:.1%}"] for a, c in zip(low, counts, strict=True)],
            hovertemplate="%{customdata[0]}<br>%{y:,} customers (%{customdata[1]})<extra></extra>",
        )
    )
    fig.add_vline(x=threshold, line={"color": AT_RISK, "width": 2, "dash": "dot"})
    # Redrawn at every move of the slider, so: fixed margins, no rounded corners, no template to transfer.
    fig.update_xaxes(range=[0, 1], dtick=0.1, tickformat=".1f", fixedrange=True, automargin=False)
    fig.update_yaxes(fixedrange=True, automargin=False, nticks=5)
    margin = {"l": 64, "r": 16, "t": 40, "b": 44}
    return fig.update_layout(bargap=0.08, barcornerradius=0, hovermode="closest", template="none", margin=margin)


def at_threshold(histogram: go.Figure, threshold: float) -> go.Figure:
    """The same histogram at another threshold; takes a sixth of the time of building it."""
    spec = histogram.to_dict()
    bars, line = spec["data"][0], spec["layout"]["shapes"][0]
    bars["marker"]["color"] = _risk_colors(len(bars["x"]), threshold)
    line["x0"] = line["x1"] = threshold
    return go.Figure(spec)


def _risk_colors(bins: int, threshold: float) -> list[str]:
    """Bar colours for bins from 0 to 1: at risk if the middle of the bin is above the threshold."""
    return [AT_RISK if (k + 0.5) / bins > threshold else DATA for k in range(bins)]


NEAR = 0.1
"""Thresholds closer than this get their labels side by side."""


def expected_value(table: pd.DataFrame, threshold: float, unit: str) -> go.Figure:
    """Value of contacting all customers above each threshold, with the best and the current threshold marked.

    table: from `RiskIndex.expected_value`. unit: the currency, in words.
    """
    fig = figure("Expected value of contacting customers at risk", x="churn threshold", y=f"expected value ({unit})")
    hover = "threshold %{x:.2f}<br>value %{y:,.0f}<br>%{customdata[0]:,} contacted, %{customdata[1]:,.0f} kept"
    fig.add_trace(
        go.Scatter(
            x=table["threshold"].tolist(),
            y=table["value"].tolist(),
            customdata=table[["contacted", "kept"]].to_numpy().tolist(),
            mode="lines",
            line={"color": MODEL, "width": 2},
            hovertemplate=hover + "<extra></extra>",
        )
    )
    best = table[table["best"]].iloc[0]
    best_threshold = float(best["threshold"])
    # Labels side by side if the thresholds are close, so that neither label covers the other mark.
    sides = ("top center", "bottom center") if abs(best_threshold - threshold) > NEAR else ("top left", "top right")
    sides = sides if best_threshold <= threshold or abs(best_threshold - threshold) > NEAR else sides[::-1]
    for x, color, text, symbol, side in (
        (best_threshold, RETENTION, f"best: {best_threshold:.2f}", "star", sides[0]),
        (threshold, AT_RISK, f"now: {threshold:.2f}", "circle", sides[1]),
    ):
        y = float(np.interp(x, table["threshold"], table["value"]))
        fig.add_trace(
            go.Scatter(
                x=[x],
                y=[y],
                mode="markers+text",
                marker={"color": color, "size": 12, "symbol": symbol},
                text=[text],
                textfont={"color": TEXT},
                textposition=side,
                hovertemplate=f"{text}<br>value %{{y:,.0f}}<extra></extra>",
            )
        )
    fig.add_hline(y=0, line={"color": CHANCE, "width": 1, "dash": "dash"})
    room = max(float(table["value"].max() - table["value"].min()), 1e-9) * 0.14
    fig.update_yaxes(range=[float(min(table["value"].min(), 0)) - room, float(max(table["value"].max(), 0)) + room])
    return fig.update_xaxes(range=[-0.04, 1.04], dtick=0.1)


def before_after(table: pd.DataFrame, retention: Sequence[str], top: int = 15) -> go.Figure:
    """Plan steps by action, before and after the policy. table: `action`, `before`, `after`."""
    size = np.maximum(table["before"].to_numpy(), table["after"].to_numpy())
    shown = table.iloc[np.sort(np.argsort(-size, kind="stable")[:top])].reset_index(drop=True)
    hidden = len(table) - len(shown)
    title = "Steps of all plans by action" + (f" (top {len(shown)} of {len(table):,})" if hidden else "")
    n = len(shown)
    fig = figure(title, x="plan steps", height=max(220, 110 + 34 * n), legend=True)
    color = [RETENTION if action in retention else MODEL for action in shown["action"]]
    pale = [RETENTION_PALE if action in retention else MODEL_PALE for action in shown["action"]]
    names = [[plain(action, 120)] for action in shown["action"]]
    for column, name, colors in (("before", "Before the policy", pale), ("after", "After the policy", color)):
        fig.add_trace(
            go.Bar(
                x=shown[column].tolist(),
                y=list(range(n)),
                orientation="h",
                name=name,
                marker={"color": colors},
                customdata=names,
                hovertemplate=f"%{{customdata[0]}}<br>%{{x:,}} steps, {name.lower()}<extra></extra>",
            )
        )
    with_rows(fig, [plain(action) for action in shown["action"]])
    # Plotly orders grouped bars from the bottom up; with the reversed axis the first trace is on top.
    return fig.update_layout(barmode="group", bargap=0.3, legend={"traceorder": "normal"})


# ---- one customer ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TimedEvents:
    """Events on a timeline, all (T,): times (dates or numbers), labels, values (NaN: none), seen by the models."""

    when: Sequence[Any]
    action: Sequence[str]
    value: Sequence[float]
    seen: Sequence[bool]


def timeline(events: TimedEvents, *, unit: str, cut: Any = None, top: int = 14) -> go.Figure:
    """Timeline of one customer: one row per action, the most frequent actions by name.

    unit: unit of the time axis. cut: the models see events up to this moment.
    """
    count = Counter(events.action)
    lines = [action for action, _ in count.most_common(top)]
    other = "other actions" if len(count) > top else None
    place = {action: k for k, action in enumerate(lines)}
    names = [plain(action) for action in lines] + ([other] if other else [])
    fig = figure("History", x=unit, height=120 + 26 * max(len(names), 3), legend=not all(events.seen))
    for seen, name, symbol, color in (
        (True, "Seen by the models", "circle", DATA),
        (False, "Later, not seen", "circle-open", CHANCE),
    ):
        indices = [k for k, s in enumerate(events.seen) if s == seen]
        if not indices:
            continue
        texts = [_event_text(events, k) for k in indices]
        fig.add_trace(
            go.Scatter(
                x=[events.when[k] for k in indices],
                y=[place.get(events.action[k], len(lines)) for k in indices],
                mode="markers",
                name=name,
                marker={"color": color, "size": 11, "symbol": symbol, "opacity": 0.85, "line": {"width": 2}},
                customdata=[[text] for text in texts],
                hovertemplate="%{customdata[0]}<br>%{x}<extra></extra>",
            )
        )
    if (around := _around_one_moment(events.when)) is not None:
        fig.update_xaxes(range=around)
    if cut is not None and not all(events.seen):
        fig.add_vline(x=cut, line={"color": CHANCE, "width": 1, "dash": "dot"})
    return with_rows(fig, names, grid=True)


AROUND = 15
"""Days shown on each side of a history of one moment: Plotly alone would show a thousandth of a second."""


def _around_one_moment(when: Sequence[Any]) -> list[Any] | None:
    """Ends of the time axis if all events are of one moment; None if the axis finds its own."""
    if len(set(when)) != 1:
        return None
    width = pd.Timedelta(days=AROUND) if isinstance(when[0], pd.Timestamp) else AROUND
    return [when[0] - width, when[0] + width]


def _event_text(events: TimedEvents, k: int) -> str:
    value = events.value[k]
    return plain(events.action[k], 120) + ("" if np.isnan(value) else f", value {value:g}")


def waterfall(
    drivers: pd.DataFrame,
    base: float,
    p: float,
    what: str = "churn probability",
    *,
    of_risk: bool = True,
    top: int = 8,
) -> go.Figure:
    """From the average customer to this one: each driver's points, strongest first, the others as one bar.

    drivers: `name`, `value`, `points`, strongest first. base, p: probabilities in [0, 1]; what: names them. of_risk:
    whether a rise is bad.
    """
    shown, rest = drivers.head(top), drivers["points"].iloc[top:]
    names = [plain(f"{name}: {value}", 40) for name, value in zip(shown["name"], shown["value"], strict=True)]
    points = shown["points"].tolist()
    if len(rest):
        names, points = [*names, count(len(rest), "other")], [*points, float(rest.sum())]
    names = ["Customers compared with", *names, "This customer"]
    measure = ["absolute", *["relative"] * len(points), "total"]
    values = [100 * base, *points, 100 * p]
    texts = [share(base), *[signed(value) for value in points], share(p)]
    fig = figure("From the average to this customer", x=f"{what} (%)", height=110 + 32 * len(names))
    fig.add_trace(
        go.Waterfall(
            orientation="h",
            measure=measure,
            x=values,
            y=list(range(len(names))),
            text=texts,
            textposition="outside",
            textfont={"color": TEXT},
            cliponaxis=False,
            increasing={"marker": {"color": AT_RISK if of_risk else MODEL}},
            decreasing={"marker": {"color": RETENTION if of_risk else CHANCE}},
            totals={"marker": {"color": DATA}},
            connector={"line": {"color": CHANCE, "width": 1}},
            customdata=[[name] for name in names],
            hovertemplate="%{customdata[0]}<br>%{text}<extra></extra>",
        )
    )
    ends = np.cumsum([100 * base, *points])
    low, high = min(0.0, float(ends.min())), max(float(ends.max()), 100 * p)
    fig.update_xaxes(range=[low, high + 0.02 * max(high - low, 1)])
    fig.layout.margin.r = 52  # for the number outside of the longest bar
    return with_rows(fig, names)


def driver_sizes(table: pd.DataFrame, title: str, top: int = 15) -> go.Figure:
    """Mean size of each driver over customers, in points. table: `driver`, `size`, `points`, strongest first."""
    shown = table.head(top)
    n = len(shown)
    fig = figure(title, x="mean change of the churn probability (points)", height=110 + 26 * max(n, 2))
    fig.add_trace(
        go.Bar(
            x=shown["size"].tolist(),
            y=list(range(n)),
            orientation="h",
            marker={"color": MODEL},
            customdata=[[plain(name, 120), mean] for name, mean in zip(shown["driver"], shown["points"], strict=True)],
            hovertemplate="%{customdata[0]}<br>%{x:.1f} points up or down<br>%{customdata[1]:+.1f} on average"
            "<extra></extra>",
        )
    )
    return with_rows(fig, [plain(name) for name in shown["driver"]])


# ---- attention and effect --------------------------------------------------------------------------------------------


def attention_map(weights: np.ndarray, tokens: Sequence[str], title: str, reader: int | None = None) -> go.Figure:
    """Heatmap of attention weights (T, T): row looks at column; rows of the complete map sum to one.

    reader: the row that the prediction is read from, framed in the colour of effects.
    """
    n = len(tokens)
    names, full = [plain(token, 22) for token in tokens], [plain(token, 120) for token in tokens]
    fig = figure(title, x="looks at", y="input", height=max(340, 200 + 17 * n))
    # The colour scale ends at a quantile, because a few cells near 100% (the first token sees only itself) would leave
    # all others pale.
    top = float(np.quantile(weights[weights > 0], 0.97)) if (weights > 0).any() else 1.0
    fig.add_trace(
        go.Heatmap(
            z=weights.round(5).tolist(),
            x=list(range(n)),
            y=list(range(n)),
            customdata=[[[full[i], full[j]] for j in range(n)] for i in range(n)],
            colorscale=[[0, "rgba(42,98,240,0.04)"], [1, "rgba(42,98,240,1)"]],
            zmin=0,
            zmax=top,
            xgap=1,
            ygap=1,
            colorbar={
                "tickfont": {"color": TEXT},
                "tickformat": ".0%" if top >= 0.05 else ".1%",
                "thickness": 12,
                "len": 0.7,
                "nticks": 5,
            },
            hovertemplate="%{customdata[0]}<br>looks at %{customdata[1]}<br>attention %{z:.1%}<extra></extra>",
        )
    )
    if reader is not None:
        frame = {"color": BASELINE, "width": 2}
        fig.add_shape(type="rect", x0=-0.5, x1=n - 0.5, y0=reader - 0.5, y1=reader + 0.5, line=frame)
    ticks = {"tickmode": "array", "tickvals": list(range(n)), "ticktext": names, "showgrid": False, "ticks": ""}
    fig.update_yaxes(autorange="reversed", **ticks)
    if n > _MOST_SLANTED:  # in a narrow window the labels would lie on each other; they are those of the rows
        return fig.update_xaxes(showticklabels=False, title_text="looks at (inputs in order)")
    return fig.update_xaxes(tickangle=-45, **ticks)


_MOST_SLANTED = 14


def effects(table: pd.DataFrame, title: str, x: str, top: int = 20) -> go.Figure:
    """Effect of removing each event or feature, beside its attention.

    table: `name`, `effect` (share, signed or not), `attention`, `effect_rank`, `attention_rank`; strongest first.
    """
    shown = table.sort_values("effect_rank", kind="stable").head(top)
    n = len(shown)
    fig = figure(title, height=max(340, 130 + 24 * n))
    ranks = shown[["effect_rank", "attention_rank"]].to_numpy().tolist()
    names = [[plain(name, 120), *rank] for name, rank in zip(shown["name"], ranks, strict=True)]
    for column, axis, color, hover in (
        ("effect", "x", BASELINE, "effect %{x:.2f} points, rank %{customdata[1]}"),
        ("attention", "x2", MODEL, "attention %{x:.1f} %, rank %{customdata[2]}"),
    ):
        fig.add_trace(
            go.Bar(
                x=(100 * shown[column]).tolist(),
                y=list(range(n)),
                xaxis=axis,
                orientation="h",
                marker={"color": color},
                customdata=names,
                hovertemplate="%{customdata[0]}<br>" + hover + "<extra></extra>",
            )
        )
    with_rows(fig, [plain(name, 26) for name in shown["name"]])
    ink = {"color": TEXT}
    right = {"domain": [0.66, 1], "anchor": "y", "rangemode": "tozero", "nticks": 3, "tickfont": ink}
    right["title"] = {"text": "attention, %", "standoff": 8, "font": ink}
    left = {"domain": [0, 0.58], "title": {"text": x, "standoff": 8, "font": ink}, "zeroline": True, "nticks": 6}
    left["tickfont"] = ink
    return fig.update_layout(xaxis=left, xaxis2=right)
