"""Charts: colours that everybody can tell apart, text that stays text, numbers where a reader expects them."""

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard.charts import cohort as cohort_charts
from dashboard.charts import theme
from dashboard.charts import training as training_charts
from dashboard.charts.theme import Score
from dashboard.charts.training import Curve, Stretch

CONFIG = Path(__file__).resolve().parents[2] / ".streamlit" / "config.toml"
MEANINGS = {name: getattr(theme, name) for name in ("MODEL", "RETENTION", "AT_RISK", "CHANCE", "BASELINE", "CEILING")}
# Linear RGB as people with the three common kinds of colour blindness see it (Machado, Oliveira, Fernandes, 2009).
SEEN_BY = {
    "everybody": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
NASTY = "<b>Bob</b> <a href='x'>&amp;</a>\n%{x}"


def linear(color: str) -> np.ndarray:
    """Linear RGB of "#RRGGBB"."""
    rgb = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def oklab(rgb: np.ndarray) -> np.ndarray:
    """Where a colour lies in a space in which distances are those that people see (Ottosson, 2020)."""
    lms = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.793617785, -0.0040720468],
            [1.9779984951, -2.428592205, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.808675766],
        ]
    )
    return lab @ np.cbrt(np.clip(lms @ np.clip(rgb, 0, 1), 0, None))


@pytest.mark.parametrize("eyes", SEEN_BY)
def test_any_two_meanings_can_be_told_apart_by(eyes):
    for one, other in itertools.combinations(MEANINGS, 2):
        seen = [oklab(np.array(SEEN_BY[eyes]) @ linear(MEANINGS[name])) for name in (one, other)]
        assert np.linalg.norm(seen[0] - seen[1]) > 0.085, (one, other)


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", MEANINGS)
def test_every_colour_stands_out_from_the_background(name, mode):
    theme = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"][mode]
    ours, ground = luminance(MEANINGS[name]), luminance(theme["backgroundColor"])
    assert (max(ours, ground) + 0.05) / (min(ours, ground) + 0.05) >= 3


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_the_theme_and_the_charts_share_one_palette(mode):
    theme = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"][mode]
    assert set(theme["chartCategoricalColors"]) == set(MEANINGS.values())
    text = luminance("#FFFFFF")
    assert (text + 0.05) / (luminance(theme["primaryColor"]) + 0.05) >= 4.5, "white text on primary buttons"


def test_text_from_data_is_shown_and_not_read_as_markup():
    assert theme.plain(NASTY, 80) == "&lt;b&gt;Bob&lt;/b&gt; &lt;a href='x'&gt;&amp;amp;&lt;/a&gt; %{x}"
    assert theme.plain("a" * 50, 10) == "a" * 9 + "…"


def test_no_chart_lets_markup_from_data_through():
    groups = pd.DataFrame({"group": [NASTY], "customers": [3], "churn_rate": [0.5]})
    drawn = [
        cohort_charts.bars([NASTY], [1], title="t", unit="events"),
        cohort_charts.columns([NASTY], [1], title="t", x="x", unit="customers", rate=[0.1]),
        cohort_charts.churn_by_group(groups, feature=NASTY, mean=0.2),
        theme.rulers([Score(label=NASTY, ours=0.5, chance=0.1, baseline=0.2, baseline_name=NASTY)]),
        training_charts.compared_losses(
            [Curve(name=NASTY, epochs=[1], train=[1.0], valid=[None])], title="t", chance=None
        ),
    ]
    for fig in drawn:
        said = fig.to_json()
        assert "<a href" not in said
        assert "\\u003ca href" not in said
        assert "&lt;b&gt;Bob" in said or "\\u0026lt;b" in said


def test_two_names_that_look_alike_when_cut_stay_two_bars():
    long = "a" * 60
    fig = cohort_charts.bars([long + "1", long + "2"], [3, 5], title="t", unit="events", total=8)
    assert list(fig.data[0].y) == [0, 1]
    assert fig.layout.yaxis.ticktext[0] == fig.layout.yaxis.ticktext[1]
    assert fig.data[0].customdata[1][1] == " (62.5%)"


def place_of(fig, name: str, row: int = 0) -> float:
    return next(x for t in fig.data if t.name == name for x, y in zip(t.x, t.y, strict=True) if y == row)


def test_a_ruler_runs_from_chance_to_ceiling():
    fig = theme.rulers([Score(label="AUC", ours=0.8, chance=0.5, baseline=0.65, baseline_name="logistic", ceiling=0.9)])
    assert place_of(fig, "Chance") == 0
    assert place_of(fig, "Ceiling") == 1
    assert place_of(fig, "Ours") == pytest.approx(0.75)
    assert place_of(fig, "Baseline") == pytest.approx(0.375)


def test_of_a_loss_lower_is_further_along_and_without_a_ceiling_perfect_is_the_end():
    loss = Score(label="loss", ours=1.0, chance=2.0, lower_is_better=True)
    share = Score(label="share", ours=0.4, chance=0.2)
    fig = theme.rulers([loss, share])
    assert place_of(fig, "Ours", row=1) == pytest.approx(0.5)
    assert place_of(fig, "Ours", row=0) == pytest.approx(0.25)


def test_a_score_worse_than_chance_is_drawn_just_outside():
    fig = theme.rulers([Score(label="AUC", ours=0.1, chance=0.5, ceiling=0.9)])
    assert place_of(fig, "Ours") == pytest.approx(-0.06)


def test_loss_curves_show_training_validation_chance_and_the_paper():
    curve = Curve(name="r", epochs=[1, 2], train=[1.0, 0.9], valid=[1.1, 1.0], best_epoch=2)
    fig = training_charts.losses(
        curve, title="t", chance=0.7, chance_name="Chance", n_epochs=10, printed=[0.8, 0.7, 0.6]
    )
    assert [t.name for t in fig.data] == ["Training", "Validation", "Paper, Table III", "Chance"]
    assert len({t.line.dash for t in fig.data}) == 4, "no line is told from another by its colour alone"
    assert list(fig.data[3].x) == [1, 10]


def test_stretches_of_epochs_are_shaded_and_named():
    def shaded(*stretches: Stretch) -> list[tuple]:
        curve = Curve(name="r", epochs=[1, 2, 3], train=[1, 1, 1], valid=[1, 1, None], stretches=stretches)
        fig = training_charts.losses(curve, title="t", chance=None, chance_name="", n_epochs=9)
        assert [t.name for t in fig.data] == ["Training", "Validation", *[s.name for s in stretches]]
        return [(s.x0, s.x1, s.fillcolor) for s in fig.layout.shapes if s.type == "rect"]

    first = Stretch(name="Short phase", first=1, last=2, color="grey")
    last = Stretch(name="Final refit", first=3, last=3, color="blue")
    assert shaded(first, last) == [(0.5, 2.5, "grey"), (2.5, 3.5, "blue")]
    assert shaded() == []


def test_without_validation_there_is_no_empty_line():
    fig = training_charts.losses(
        Curve(name="r", epochs=[1], train=[1.0], valid=[None]), title="t", chance=None, chance_name="", n_epochs=3
    )
    assert [t.name for t in fig.data] == ["Training"]


def test_runs_beside_each_other_differ_in_dash_too():
    curves = [Curve(name=f"r{k}", epochs=[1, 2], train=[1, 1], valid=[1, 1]) for k in range(6)]
    fig = training_charts.compared_losses(curves, title="t", chance=0.7)
    assert len({(t.line.color, t.line.dash) for t in fig.data[:6]}) == 6
    assert len({t.line.dash for t in fig.data[:6]}) == 6


def test_an_unknown_churn_rate_draws_no_line():
    fig = cohort_charts.columns(["1"], [4], title="t", x="x", unit="customers", rate=[float("nan")])
    assert len(fig.data) == 1


def test_names_at_the_left_have_the_room_they_need_and_no_second_pass_is_asked_for():
    short, long = (
        cohort_charts.bars([name], [1], title="t", unit="events") for name in ("a", "Recommend a premium product")
    )
    assert short.layout.margin.l < 40
    assert long.layout.margin.l > 150
    for fig in (
        short,
        long,
        cohort_charts.columns(["1", "2 to 3"], [1, 2], title="t", x="x", unit="u", rate=[0.1, 0.2]),
    ):
        axes = [axis for name, axis in fig.layout.to_plotly_json().items() if name[:5] in ("xaxis", "yaxis")]
        assert [axis["automargin"] for axis in axes] == [False] * len(axes)


def test_names_below_columns_are_slanted_where_they_would_run_into_each_other():
    few = cohort_charts.columns(["0", "1"], [1, 2], title="t", x="x", unit="u")
    many = cohort_charts.columns([f"{k}0 to {k}9" for k in range(9)], [1] * 9, title="t", x="x", unit="u")
    assert (few.layout.xaxis.tickangle, many.layout.xaxis.tickangle) == (0, 30)
    assert many.layout.margin.b > few.layout.margin.b


def test_rulers_cost_one_trace_for_each_kind_of_mark_however_many_there_are():
    scores = [
        Score(label=f"s{k}", ours=0.5, chance=0.1, baseline=0.3, ceiling=0.9, low=0.4, high=0.6) for k in range(5)
    ]
    fig = theme.rulers(scores)
    assert [t.name for t in fig.data] == [None, "Chance", "Baseline", "Ceiling", "Ours"]
    assert len(fig.data[-1].x) == 5
    assert "95% interval 0.400 to 0.600" in fig.data[-1].hovertemplate[0]
