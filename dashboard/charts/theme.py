"""House style of the Plotly figures: layout, a palette with fixed meanings, and rulers for scores. No streamlit here.

Every figure starts from `figure(...)`. Text from a cohort (names, actions, file values) goes through `plain`, because
Plotly renders some HTML in labels and hovers. Fonts, grid and background come from .streamlit/config.toml.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

# Each colour has one meaning on all pages, a contrast of at least 3 against the light and the dark background, and a
# distance of at least 0.09 in OKLab to the others, also with the three common kinds of colour blindness (tested).
MODEL = "#2A62F0"  # ours: output of the Transformers
RETENTION = "#0A9F98"  # retention actions, retained customers
AT_RISK = "#C62F14"  # at risk, churned
CHANCE = "#666B70"  # score of guessing
BASELINE = "#D17D2E"  # score of a simple method
CEILING = "#A233B5"  # best score any model could reach
DATA = "#5B7FB0"  # counts of a cohort, without a model

SERIES = (MODEL, BASELINE, RETENTION, CEILING, AT_RISK, CHANCE)
"""Colours of series without a fixed meaning (compared runs). The dash differs too: colour is never the only cue."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

TEXT = "#767676"
"""Text of all charts: the only grey with a contrast of 4.5 against the light and the dark background."""
FAINT = "rgba(128, 138, 155, 0.28)"  # tracks, bands: visible on light and dark

HEIGHT = 320
MARGIN = {"l": 8, "r": 16, "b": 4}
_NONE = {"text": ""}
_INK = {"color": TEXT}
CONFIG = {
    "displaylogo": False,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d"],
    "responsive": True,
    "toImageButtonOptions": {"format": "png", "scale": 2},
}
"""For `st.plotly_chart(config=...)`. Few buttons (zoom, reset, picture), because they cover a long title."""


def plain(text: object, limit: int = 32) -> str:
    """Escape text for Plotly: markup shown literally, on one line, at most `limit` characters."""
    line = " ".join(str(text).split())
    short = line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
    return html.escape(short, quote=False)


def figure(title: str, *, x: str = "", y: str = "", height: int = HEIGHT, legend: bool = False) -> go.Figure:
    """An empty figure in the house style; x and y are axis titles with units."""
    top = 1 - 9 / height  # as a share of the height, so that titles of charts side by side align
    # One call, because three update calls take Plotly twenty times as long.
    return go.Figure(
        layout={
            "title": {"text": title, "x": 0, "xanchor": "left", "y": top, "yanchor": "top", "font": {"size": 16}},
            "font": {"color": TEXT},
            "height": height,
            "margin": MARGIN | {"t": 72 if legend else 44},
            "showlegend": legend,
            # Below the title and downwards, so that rows of a narrow window take room from the curves, not the title.
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "yref": "container", "y": 1 - 34 / height}
            | {"yanchor": "top", "title": _NONE, "font": _INK},
            "hoverlabel": {"align": "left"},
            "bargap": 0.25,
            "barcornerradius": 3,
            "uirevision": "keep",  # a rerun with new data keeps the zoom
            "modebar": {"orientation": "v"},  # a toolbar along the top would cover a long title
            "dragmode": False,  # a swipe or a scroll over a chart must not zoom it
            "xaxis": {"title": {"text": x, "standoff": 8, "font": _INK}, "tickfont": _INK}
            | {"automargin": True, "zeroline": False},
            "yaxis": {"title": {"text": y, "font": _INK}, "tickfont": _INK} | {"automargin": True, "zeroline": False},
        }
    )


def with_room(
    fig: go.Figure, names: Sequence[object] = (), *, left: int = 70, right: int = 16, bottom: int = 50
) -> go.Figure:
    """Set fixed margins in pixels, so that the browser need not draw the figure twice to compute them.

    names: tick labels on the left, if they are words; otherwise `left` is the room for numbers and an axis title.
    """
    axes = fig.layout.xaxis, fig.layout.yaxis
    for axis in axes if "yaxis2" not in fig.layout else (*axes, fig.layout.yaxis2):
        axis.automargin = False
    fig.layout.margin.l = max(map(width_of, names)) + 18 if len(names) else left
    fig.layout.margin.r, fig.layout.margin.b = right, bottom
    return fig


def with_rows(fig: go.Figure, names: Sequence[str], *, grid: bool = False) -> go.Figure:
    """Name the rows 0, 1, ... of the y axis, the first on top.

    The names are only tick labels, so that two names that are equal when cut stay two rows.
    """
    n = len(names)
    fig.update_yaxes(tickmode="array", tickvals=list(range(n)), ticktext=list(names), range=[n - 0.4, -0.6])
    return fig if grid else fig.update_yaxes(showgrid=False)


def width_of(text: object) -> int:
    """Approximate maximum width of a tick label in pixels."""
    return round(sum(_letter_width(letter) for letter in html.unescape(str(text))))


def _letter_width(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 12.5
    return 9.5 if letter in "mwMW@%" else 7.8 if letter.isupper() else 4.0 if letter in "iljtfr.,:;|'!()[] " else 6.5


# ---- scores on a ruler -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Score:
    """One headline number between chance and ceiling.

    low, high: ends of the 95% interval of `ours`. seeds: lowest and highest value over several seeds. Values that are
    unknown or do not apply are None.
    lower_is_better: losses, calibration errors.
    """

    label: str
    ours: float
    chance: float | None = None
    baseline: float | None = None
    baseline_name: str = "simple method"
    ceiling: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: tuple[float, float] | None = None
    lower_is_better: bool = False
    digits: int = 3

    @property
    def marks(self) -> list[tuple[str, float, str, str]]:
        """(name, value, colour, symbol) of the known marks other than ours."""
        marks = [
            ("Chance", self.chance, CHANCE, "line-ns"),
            (f"Baseline: {self.baseline_name}", self.baseline, BASELINE, "diamond"),
            ("Ceiling", self.ceiling, CEILING, "triangle-down"),
        ]
        return [(name, value, colour, symbol) for name, value, colour, symbol in marks if value is not None]


def rulers(scores: Sequence[Score], title: str = "") -> go.Figure:
    """One line per score from chance (left) to the ceiling (right), with ours and its interval between them.

    Scores of different scales fit in one figure, and the position on the line answers "is 0.28 good?". Without a known
    ceiling (real data) the right end is a perfect score, without a mark.
    """
    height = 70 + _ROW * len(scores)
    right_end = "perfect" if all(score.ceiling is None for score in scores) else "ceiling"
    fig = figure(title or f"From chance to {right_end}", height=height, legend=True)
    fig.add_trace(_intervals(scores))
    if any(score.seeds for score in scores):
        fig.add_trace(_seeds(scores))
    marks: dict[str, list[_Mark]] = {name: [] for name in ("Chance", "Baseline", "Ceiling", "Ours")}  # ours on top
    for row, score in enumerate(reversed(scores)):
        fig.add_shape(type="line", x0=0, x1=1, y0=row, y1=row, line={"color": FAINT, "width": 6}, layer="below")
        for mark in _marks(score, row):
            marks[mark.name.split(":")[0]].append(mark)
        label = f"<b>{plain(score.label, 60)}</b>"
        fig.add_annotation(x=0, y=row, yshift=40, xanchor="left", showarrow=False, text=label, align="left")
    fig.add_traces([_marked(name, same_name) for name, same_name in marks.items() if same_name])
    fig.update_xaxes(visible=False, range=[-0.07, 1.07], fixedrange=True)
    fig.update_yaxes(visible=False, range=[-0.5, len(scores) - 0.4], fixedrange=True)
    # In pixels, for the numbers beside marks at both ends, which need as much in a narrow window as in a wide one.
    return fig.update_layout(hovermode="closest", margin={"l": _ROOM, "r": _ROOM, "t": 72, "b": 4})


_ROW = 94  # height of one ruler in pixels
_ROOM = 46  # for a number beside a ruler
_NEAR = 0.12  # on a ruler from 0 to 1: numbers of closer marks would overlap


def _sides(places: Sequence[float]) -> list[str]:
    """Horizontal alignment of the numbers under the marks, so that neighbours do not overlap."""
    sides = ["center"] * len(places)
    for k in range(1, len(places)):
        if places[k] - places[k - 1] < _NEAR:
            sides[k - 1] = "left" if sides[k - 1] == "center" else sides[k - 1]
            sides[k] = "right"
    return sides


def _place(score: Score, value: float) -> float:
    """Position of a value on its ruler (0 chance, 1 ceiling); values beyond the ends are drawn just outside."""
    others = [value for _, value, _, _ in score.marks] + [score.ours]
    left = score.chance if score.chance is not None else (max(others) if score.lower_is_better else min(others))
    right = score.ceiling if score.ceiling is not None else (0.0 if score.lower_is_better else 1.0)
    if left == right:
        return 0.5
    return min(max((value - left) / (right - left), -0.06), 1.06)


@dataclass(frozen=True, kw_only=True)
class _Mark:
    """One mark on a ruler: position, look, number and hover text."""

    name: str
    value: float
    color: str
    symbol: str
    at: tuple[float, int]
    text_place: str
    score: Score

    @property
    def number(self) -> str:
        return f"{self.value:.{self.score.digits}f}"

    @property
    def hover(self) -> str:
        score = self.score
        text = f"{plain(score.label, 60)}<br>{plain(self.name, 60)}: {self.number}"
        if self.name == "Ours" and score.low is not None and score.high is not None:
            text += f"<br>95% interval {score.low:.{score.digits}f} to {score.high:.{score.digits}f}"
        if self.name == "Ours" and score.seeds is not None:
            text += f"<br>over seeds {score.seeds[0]:.{score.digits}f} to {score.seeds[1]:.{score.digits}f}"
        return text + "<extra></extra>"


def _marks(score: Score, row: int) -> list[_Mark]:
    """All marks on the ruler of a score."""
    others = sorted(score.marks, key=lambda mark: _place(score, mark[1]))
    places = [_place(score, value) for _, value, _, _ in others]
    sides = [f"bottom {side}" for side in _sides(places)]
    x = _place(score, score.ours)
    our_place = f"top {'right' if x < 0 else 'left' if x > 1 else 'center'}"
    return [
        _Mark(name=name, value=value, color=color, symbol=symbol, at=(place, row), text_place=side, score=score)
        for (name, value, color, symbol), place, side in zip(
            [*others, ("Ours", score.ours, MODEL, "circle")], [*places, x], [*sides, our_place], strict=True
        )
    ]


def _marked(name: str, marks: Sequence[_Mark]) -> go.Scatter:
    """Marks of one name on all rulers, as a single trace because every trace costs the browser time."""
    color, symbol, ours = marks[0].color, marks[0].symbol, name == "Ours"
    line = {"color": color, "width": 4 if symbol == "line-ns" else 0}
    return go.Scatter(
        x=[mark.at[0] for mark in marks],
        y=[mark.at[1] for mark in marks],
        mode="markers+text",
        cliponaxis=False,
        name=name,
        marker={"symbol": symbol, "size": 17 if ours else 14, "color": color, "line": line},
        text=[mark.number for mark in marks],
        textposition=[mark.text_place for mark in marks],
        textfont={"size": 14 if ours else 12, "color": TEXT},
        hovertemplate=[mark.hover for mark in marks],
    )


def _seeds(scores: Sequence[Score]) -> go.Scatter:
    """The lowest and highest value of each score over several seeds: ticks, long enough to show beside the dot."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row, score in enumerate(reversed(scores)):
        for value in score.seeds or ():
            x += [_place(score, value)] * 2 + [None]
            y += [row - 0.13, row + 0.13, None]
    return go.Scatter(x=x, y=y, mode="lines", line={"color": MODEL, "width": 2}, hoverinfo="skip", showlegend=False)


def _intervals(scores: Sequence[Score]) -> go.Scatter:
    """The 95% intervals of ours as pale bands, in one trace with gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row, score in enumerate(reversed(scores)):
        if score.low is not None and score.high is not None:
            x += [_place(score, score.low), _place(score, score.high), None]
            y += [row, row, None]
    band = {"color": MODEL, "width": 6}
    return go.Scatter(x=x, y=y, mode="lines", line=band, opacity=0.4, hoverinfo="skip", showlegend=False)
