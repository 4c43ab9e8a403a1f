"""Figures of the campaigns page: what is drawn is what was given, escaped, in points where shares are compared."""

import pandas as pd

from dashboard.charts import campaigns as charts

ROWS = [
    {"label": "<b>all</b>", "value": 0.02, "low": -0.01, "high": 0.05, "truth": 0.03},
    {"label": "few", "value": 0.1, "low": None, "high": None},
]


def test_effects_are_in_points_with_the_truth_beside_them():
    fig = charts.effects(ROWS, share=True, title="t")
    estimate, truth = fig.data
    assert list(estimate.y) == ["few", "&lt;b&gt;all&lt;/b&gt;"]
    assert [round(x, 6) for x in estimate.x] == [10.0, 2.0]
    assert [round(x, 6) for x in estimate.error_x.array] == [0.0, 3.0]
    assert [round(x, 6) for x in estimate.error_x.arrayminus] == [0.0, 3.0]
    assert (list(truth.y), [round(x, 6) for x in truth.x]) == (["&lt;b&gt;all&lt;/b&gt;"], [3.0])
    assert len(fig.layout.shapes) == 1
    plain = charts.effects(ROWS, share=False, title="t", unit="Qini", zero=False)
    assert plain.layout.xaxis.title.text == "Qini"
    assert len(plain.layout.shapes) == 0


def test_simulated_campaigns_that_miss_the_truth_stand_out():
    fig = charts.coverage([[0.05, 0.01, 0.09], [0.2, 0.1, 0.3], [0.01, -0.03, 0.05]], 0.04)
    holds, misses = fig.data
    assert (holds.name, len(holds.x), misses.name, len(misses.x)) == ("Holds the truth", 2, "Misses it", 1)
    assert list(misses.y) == [20.0]
    assert len(charts.coverage([[0.05, 0.01, 0.09]], 0.04).data) == 1


def test_the_funnel_has_both_counts_by_rule_in_the_order_given():
    table = pd.DataFrame({"rule": ["a", "b"], "dropped_first": [5, 3], "would_come_back": [4, 0]})
    back, first = charts.funnel(table).data
    assert list(first.y) == ["b", "a"]
    assert (list(first.x), list(back.x)) == ([3, 5], [0, 4])
