"""Figures of the evaluation page, one per table of `crm_models.evaluation.curves`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import plotly.graph_objects as go

from dashboard.charts.theme import AT_RISK, CEILING, CHANCE, DATA, MODEL, RETENTION, figure, plain, with_room, with_rows

SQUARE = 380


def roc(table: pd.DataFrame, title: str, point: tuple[float, float, float]) -> go.Figure:
    """ROC curve with chance and the current threshold. point: threshold, false positive rate, true positive rate."""
    fig = figure(
        title, x="stayers wrongly flagged (false positive rate)", y="churners found (true positive rate)",
        height=SQUARE, legend=True,
    )  # fmt: skip
    _line(fig, [0, 1], [0, 1])
    _ours(
        fig, table["fpr"], table["tpr"], table[["threshold", "flagged"]].to_numpy().tolist(),
        _AT + "found %{y:.1%} of churners<br>flagged %{x:.1%} of stayers",
    )  # fmt: skip
    at, fpr, tpr = point
    _point(fig, (fpr, tpr), at, f"found {tpr:.1%} of churners<br>flagged {fpr:.1%} of stayers")
    return _unit_square(fig)


def precision_recall(table: pd.DataFrame, rate: float, point: tuple[float, float | None, float]) -> go.Figure:
    """Precision against recall with the churn rate as chance. point: threshold, precision, recall."""
    fig = figure(
        "Precision and recall", x="churners found (recall)", y="churners among those flagged (precision)",
        height=SQUARE, legend=True,
    )  # fmt: skip
    _line(fig, [0, 1], [rate, rate])
    _ours(
        fig, table["recall"], table["precision"], table[["threshold", "flagged"]].to_numpy().tolist(),
        _AT + "precision %{y:.1%}<br>recall %{x:.1%}",
    )  # fmt: skip
    at, precision, recall = point
    if precision is not None:
        _point(fig, (recall, precision), at, f"precision {precision:.1%}<br>recall {recall:.1%}")
    return _unit_square(fig)


def calibration(table: pd.DataFrame, title: str = "Calibration") -> go.Figure:
    """Calibration curve: observed churn rate against predicted probability, with 95% intervals and the diagonal."""
    fig = figure(title, x="predicted churn probability", y="observed churn rate", height=SQUARE, legend=True)
    _line(fig, [0, 1], [0, 1], "Perfect", CEILING)
    fig.add_trace(
        go.Scatter(
            x=table["predicted"].tolist(),
            y=table["observed"].tolist(),
            error_y=_interval(table, "observed"),
            customdata=table[["customers", "low", "high"]].to_numpy().tolist(),
            mode="markers+lines",
            name="Ours, in tenths of the customers",
            marker={"color": MODEL, "size": 9},
            line={"color": MODEL, "width": 1},
            hovertemplate="predicted %{x:.1%}<br>observed %{y:.1%} (95%: %{customdata[1]:.1%} to %{customdata[2]:.1%})"
            "<br>%{customdata[0]:,.0f} customers<extra></extra>",
        )
    )
    return _unit_square(fig)


def gain(table: pd.DataFrame, point: tuple[float, float, float]) -> go.Figure:
    """Gain curve: share of churners reached when customers are contacted in order of falling risk.

    point: threshold, share of customers contacted, share of churners reached.
    """
    fig = figure("Gain", x="customers contacted, highest risk first", y="churners reached", height=SQUARE, legend=True)
    _line(fig, [0, 1], [0, 1])
    info = [[0, 0.0], *table[["customers", "lift"]].to_numpy().tolist()]
    hover = "%{customdata[0]:,.0f} customers (%{x:.0%})<br>reach %{y:.1%} of churners"
    _ours(fig, [0.0, *table["contacted"]], [0.0, *table["gain"]], info, hover)
    at, contacted, reached = point
    _point(
        fig, (contacted, reached), at, f"contacted {contacted:.1%} of customers<br>reached {reached:.1%} of churners"
    )
    return _unit_square(fig)


def lift(table: pd.DataFrame) -> go.Figure:
    """Lift curve: ratio of the churners reached to those reached by contacting at random."""
    fig = figure(
        "Lift", x="customers contacted, highest risk first", y="lift over random contacts", height=SQUARE, legend=True
    )  # fmt: skip
    _line(fig, [0, 1], [1, 1])
    hover = "%{customdata[0]:,.0f} customers (%{x:.0%})<br>lift %{y:.2f}"
    _ours(fig, table["contacted"], table["lift"], table[["customers", "gain"]].to_numpy().tolist(), hover)
    fig.update_xaxes(range=[0, 1], tickformat=".0%")
    return with_room(fig.update_yaxes(rangemode="tozero"))


def confusion(table: pd.DataFrame, threshold: float, ink: str) -> go.Figure:
    """Confusion matrix at a threshold: actual (rows) against predicted (columns). ink: text colour of the theme."""
    fig = figure(f"Confusion matrix at {threshold:.2f}", x="predicted", y="actual", height=SQUARE)
    counts = table.to_numpy()
    share = counts / max(counts.sum(), 1)
    names = [["churners found", "churners missed"], ["false alarms", "stayers not flagged"]]
    # Correct cells in one colour, errors in another; darker means more customers.
    for is_correct, color in ((True, RETENTION), (False, AT_RISK)):
        z = [[float(share[i, j]) if (i == j) == is_correct else None for j in range(2)] for i in range(2)]
        fig.add_trace(
            go.Heatmap(
                z=z, x=list(table.columns), y=list(table.index), zmin=0, zmax=1, showscale=False, xgap=4, ygap=4,
                colorscale=[[0, _faded(color, 0.1)], [1, _faded(color, 0.5)]], text=names, hoverongaps=False,
                customdata=counts.tolist(),
                hovertemplate="%{text}: %{customdata:,} customers, %{z:.1%} of all"
                "<br>%{y}, predicted %{x}<extra></extra>",
            )
        )  # fmt: skip
    for i in range(2):
        for j in range(2):
            text = f"<b>{counts[i, j]:,}</b><br>{names[i][j]}<br>{share[i, j]:.1%}"
            fig.add_annotation(
                x=table.columns[j], y=table.index[i], text=text, showarrow=False, font={"size": 14, "color": ink}
            )
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return with_room(fig.update_xaxes(showgrid=False), left=84)


def distribution(table: pd.DataFrame, threshold: float) -> go.Figure:
    """Histogram of the churn probability by outcome, with the threshold."""
    fig = figure(
        "Churn probability by outcome", x="churn probability", y="customers", height=SQUARE, legend=True
    )  # fmt: skip
    middle = ((table["low"] + table["high"]) / 2).tolist()
    width = float((table["high"] - table["low"]).iloc[0])
    bins = [[f"{a:.2f} to {b:.2f}"] for a, b in zip(table["low"], table["high"], strict=True)]
    for column, color in (("stayed", DATA), ("churned", AT_RISK)):
        fig.add_trace(
            go.Bar(
                x=middle,
                y=table[column].tolist(),
                width=width,
                name=column.capitalize(),
                marker={"color": color, "opacity": 0.7},
                customdata=bins,
                hovertemplate=f"%{{customdata[0]}}<br>%{{y:,}} {column}<extra></extra>",
            )
        )
    fig.add_vline(x=threshold, line={"color": AT_RISK, "width": 2, "dash": "dot"})
    fig.update_xaxes(range=[0, 1])
    return with_room(fig.update_layout(barmode="overlay", bargap=0.04, barcornerradius=1))


def accuracy_bars(
    labels: Sequence[object], table: pd.DataFrame, column: str, *, title: str, x: str, chance: float | None
) -> go.Figure:
    """Bars of the share of correct actions per group with 95% intervals, and the line of chance.

    table: `column`, `low`, `high`, `loss`, `customers`.
    """
    fig = figure(title, x=x, y="correct actions", height=SQUARE, legend=chance is not None)
    n = len(table)
    fig.add_trace(
        go.Bar(
            x=list(range(n)),
            y=table[column].tolist(),
            name="Ours",
            error_y=_interval(table, column),
            marker={"color": MODEL},
            customdata=[
                [str(label), low, high, count, loss]
                for label, low, high, count, loss in zip(
                    labels, table["low"], table["high"], table["customers"], table["loss"], strict=True
                )
            ],
            hovertemplate=f"{x} %{{customdata[0]}}<br>correct %{{y:.1%}} (95%: %{{customdata[1]:.1%}} to "
            "%{customdata[2]:.1%})<br>loss %{customdata[4]:.3f} nats<br>%{customdata[3]:,} customers<extra></extra>",
        )
    )
    if chance is not None:
        _line(fig, [-0.5, n - 0.5], [chance, chance])
    fig.update_xaxes(tickmode="array", tickvals=list(range(n)), ticktext=[str(label) for label in labels])
    return with_room(fig.update_yaxes(tickformat=".0%", rangemode="tozero"))


def slices(table: pd.DataFrame, top: int = 14) -> go.Figure:
    """Observed churn rate of each group with its 95% interval, beside the mean prediction; worst first.

    table: from `evaluation.slices.churn_slices`.
    """
    shown = table.head(top)
    n = len(shown)
    fig = figure("Predicted and observed churn by group", x="churn rate", height=130 + 30 * max(n, 2), legend=True)
    interval = _interval(shown, "observed")
    info = [[plain(name, 60), c] for name, c in zip(shown["group"], shown["customers"], strict=True)]
    for name, column, color, symbol in (
        ("Observed, 95% interval", "observed", DATA, "circle"),
        ("Predicted", "predicted", MODEL, "diamond"),
    ):
        fig.add_trace(
            go.Scatter(
                x=shown[column].tolist(),
                y=list(range(n)),
                error_x=interval if column == "observed" else None,
                mode="markers",
                name=name,
                marker={"color": color, "size": 10, "symbol": symbol},
                customdata=info,
                hovertemplate=f"%{{customdata[0]}}<br>{name.split(',')[0].lower()} %{{x:.1%}}<br>"
                "%{customdata[1]:,} held-out customers<extra></extra>",
            )
        )
    with_rows(fig, [plain(name) for name in shown["group"]], grid=True)
    return fig.update_xaxes(tickformat=".0%", rangemode="tozero")


def accuracy_slices(table: pd.DataFrame, chance: float | None, top: int = 14) -> go.Figure:
    """Share of correct next actions by group with 95% intervals, lowest first. table: from `sequence_slices`."""
    shown = table.head(top)
    n = len(shown)
    fig = figure("Correct next actions by group", x="correct actions", height=130 + 30 * max(n, 2), legend=True)
    fig.add_trace(
        go.Scatter(
            x=shown["accuracy"].tolist(),
            y=list(range(n)),
            error_x=_interval(shown, "accuracy"),
            mode="markers",
            name="Ours, 95% interval",
            marker={"color": MODEL, "size": 10},
            customdata=[[plain(name, 60), c] for name, c in zip(shown["group"], shown["customers"], strict=True)],
            hovertemplate="%{customdata[0]}<br>correct %{x:.1%}<br>%{customdata[1]:,} held-out customers"
            "<extra></extra>",
        )
    )
    if chance is not None:
        _line(fig, [chance, chance], [-0.5, n - 0.5])
    with_rows(fig, [plain(name) for name in shown["group"]], grid=True)
    return fig.update_xaxes(tickformat=".0%", rangemode="tozero")


def plans_by_group(table: pd.DataFrame, retention: Sequence[str], top: int = 14, most: int = 5) -> go.Figure:
    """Share of each action in the planned steps of each group; retention actions as one, rare ones as others.

    table: `group`, `customers`, `at risk`, then a column of steps for each action.
    """
    shown = table.head(top)
    steps = shown.iloc[:, 3:]
    parts = {"Retention actions": steps[[a for a in steps if a in retention]].sum(axis=1)}
    engaging = steps[[a for a in steps if a not in retention]]
    largest = engaging.sum().sort_values(ascending=False, kind="stable").index[:most]
    parts |= {plain(action): engaging[action] for action in largest}
    parts["Other actions"] = engaging.drop(columns=largest).sum(axis=1)
    total = steps.sum(axis=1).clip(lower=1)
    n = len(shown)
    fig = figure("Planned steps by group", x="share of the planned steps", height=190 + 30 * max(n, 2), legend=True)
    shades = (1.0, 0.8, 0.62, 0.46, 0.32)
    colors = [RETENTION, *[_faded(MODEL, shades[k]) for k in range(len(largest))], CHANCE]
    info = [[plain(name, 60), c, r] for name, c, r in shown.iloc[:, :3].itertuples(index=False)]
    for (name, values), color in zip(parts.items(), colors, strict=True):
        if values.sum() == 0:
            continue
        fig.add_trace(
            go.Bar(
                x=(values / total).tolist(),
                y=list(range(n)),
                orientation="h",
                name=name,
                marker={"color": color, "line": {"width": 1, "color": "rgba(255,255,255,0.6)"}},
                customdata=info,
                hovertemplate=f"%{{customdata[0]}}<br>{name} %{{x:.1%}} of the steps<br>"
                "%{customdata[1]:,} customers, %{customdata[2]:,} at risk<extra></extra>",
            )
        )
    with_rows(fig, [plain(name) for name in shown["group"]])
    fig.update_xaxes(tickformat=".0%", range=[0, 1])
    return fig.update_layout(barmode="stack", barcornerradius=0, legend={"traceorder": "normal"})


# ---- helpers ---------------------------------------------------------------------------------------------------------


_AT = "threshold %{customdata[0]:.3f}<br>%{customdata[1]:,.0f} flagged<br>"


def _ours(fig: go.Figure, x: Iterable[float], y: Iterable[float], info: list[list[float]], hover: str) -> None:
    """Add the curve of the model. info: what the hover text shows of each point."""
    fig.add_trace(
        go.Scatter(
            x=list(x),
            y=list(y),
            customdata=info,
            mode="lines",
            name="Ours",
            line={"color": MODEL, "width": 2.5},
            hovertemplate=f"{hover}<extra></extra>",
        )
    )


def _line(fig: go.Figure, x: Sequence[float], y: Sequence[float], name: str = "Chance", color: str = CHANCE) -> None:
    """Add a dotted line: what chance gives, unless it is named otherwise."""
    line = {"color": color, "width": 2, "dash": "dot"}
    fig.add_trace(go.Scatter(x=list(x), y=list(y), mode="lines", name=name, line=line, hoverinfo="skip"))


def _point(fig: go.Figure, at: tuple[float, float], threshold: float, hover: str) -> None:
    fig.add_trace(
        go.Scatter(
            x=[at[0]],
            y=[at[1]],
            mode="markers",
            name=f"Threshold {threshold:.2f}",
            marker={"color": AT_RISK, "size": 14, "line": {"width": 2, "color": "white"}},
            hovertemplate=f"threshold {threshold:.2f}<br>{hover}<extra></extra>",
        )
    )


def _interval(table: pd.DataFrame, column: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": (table["high"] - table[column]).tolist(),
        "arrayminus": (table[column] - table["low"]).tolist(),
        "color": CHANCE,
        "thickness": 1.5,
        "width": 4,
    }


def _unit_square(fig: go.Figure) -> go.Figure:
    fig.update_xaxes(range=[-0.02, 1.02], tickformat=".0%")
    return with_room(fig.update_yaxes(range=[-0.02, 1.04], tickformat=".0%"))


def _faded(color: str, opacity: float) -> str:
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
