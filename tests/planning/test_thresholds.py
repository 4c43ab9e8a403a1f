"""Thresholds: look-ups agree with a pass over everybody."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models.core.errors import ConfigError
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import Economics, RiskIndex
from tests.planning.test_plans import policies, probabilities


@given(probabilities, st.floats(0, 1), st.floats(0, 1))
def test_the_risk_index_agrees_with_a_pass_over_everybody(churn_p, one, other):
    index = RiskIndex(np.array(churn_p))
    above = lambda t: set(np.flatnonzero(np.round(churn_p, 6) > t))  # noqa: E731
    assert index.n_at_risk(one) == len(above(one))
    assert set(index.rows_at_risk(one)) == above(one)
    assert set(index.flips(one, other)) == above(one) ^ above(other)


@given(probabilities, policies)
def test_it_counts_retention_steps_as_the_policy_does(churn_p, policy):
    n_steps = policy.n_retention(np.array(churn_p))
    assert RiskIndex(np.array(churn_p)).n_with_retention(policy) == tuple((n_steps >= k).sum() for k in (1, 2, 3))


def test_retention_steps_of_three_customers_by_hand():
    # Graded from 0.4 to 1 in thirds: 0.5 gets one step, 0.7 two, 0.9 three.
    policy = Policy(threshold=0.4, mode="graded")
    assert RiskIndex(np.array([0.9, 0.2, 0.5, np.nan, 0.7])).n_with_retention(policy) == (3, 2, 1)


def test_expected_value_by_hand():
    index = RiskIndex(np.array([0.9, 0.5, 0.1]))
    table = index.expected_value(cost=2.0, value=10.0, success_rate=0.5, points=11).set_index("threshold")
    # Above 0.4: contacts 0.9 and 0.5; keeps (0.9 + 0.5) / 2 = 0.7 customers, worth 7 for a cost of 4.
    assert table.loc[0.4, ["contacted", "kept", "value"]].tolist() == pytest.approx([2, 0.7, 3.0])
    assert table.index[table["best"]].tolist() == [0.4]
    capped = index.expected_value(cost=2.0, value=10.0, success_rate=0.5, capacity=1, points=11).set_index("threshold")
    assert capped.loc[0.0, "contacted"] == 1


def test_customers_at_risk_come_with_the_highest_risk_first():
    index = RiskIndex(np.array([0.2, 0.9, np.nan, 0.5, 0.9]))
    assert index.rows_at_risk(0.3).tolist() == [4, 1, 3]
    assert index.rows.tolist() == [4, 1, 3, 0]
    assert index.flips(0.6, 0.1).tolist() == [0, 3]


def test_equal_risks_keep_the_order_of_the_cohort_however_many_there_are():
    index = RiskIndex(np.tile([0.5, 0.7], 500))
    assert index.rows[::-1].tolist() == [*range(0, 1000, 2), *range(1, 1000, 2)]


def test_expected_value_covers_every_hundredth_from_nobody_to_everybody():
    table = RiskIndex(np.array([0.25, 0.75])).expected_value(cost=0.0, value=8.0, success_rate=1.0)
    assert table["threshold"].tolist() == [k / 100 for k in range(101)]
    assert (table["kept"].iloc[0], table["value"].iloc[0]) == (1.0, 8.0)  # everybody: 0.25 + 0.75 customers
    assert (table["contacted"].iloc[-1], table["value"].iloc[-1]) == (0, 0.0)
    # A contact that costs nothing pays for everybody: the best threshold is the highest that still flags them all.
    assert table.loc[table["best"], "threshold"].tolist() == [0.24]
    nobody = RiskIndex(np.array([0.25])).expected_value(cost=1.0, value=1.0, success_rate=1.0, capacity=0)
    assert nobody["contacted"].tolist() == [0] * 101


@pytest.mark.parametrize("name", ["cost", "value", "success_rate"])
@pytest.mark.parametrize("number", [-1.0, float("inf"), float("nan")])
def test_a_number_that_makes_no_sense_is_refused_by_name(name, number):
    given = {"cost": 1.0, "value": 1.0, "success_rate": 1.0} | {name: number}
    with pytest.raises(ConfigError, match=f"^{name} must be a number from 0 up, found {number}"):
        RiskIndex(np.array([0.5])).expected_value(**given)


def test_the_suggested_threshold_is_the_best_by_value_or_flags_as_many_as_have_churned():
    index = RiskIndex(np.array([0.44, 0.3, 0.2, 0.1, np.nan]))
    # A contact costs 5 and brings p * 0.2 * 100: it pays above 0.25, and 0.29 is the highest place that flags both.
    best = index.suggested(Economics(), churn_rate=0.25)
    assert (best.threshold, best.basis, best.n_at_risk) == (0.29, "value", 2)
    # No contact pays: one of four has churned, so one is flagged, whose 0.44 is strictly above 0.43.
    dear = index.suggested(Economics(cost=100.0), churn_rate=0.25)
    assert (dear.threshold, dear.basis, dear.n_at_risk) == (0.43, "churn rate", 1)
    assert RiskIndex(np.array([np.nan])).suggested(Economics(), churn_rate=0.5) is None
    assert RiskIndex(np.array([np.nan])).highest is None


@given(probabilities, st.floats(0, 1), st.floats(0.01, 200))
def test_the_suggested_threshold_flags_somebody_whose_risk_is_above_nothing(churn_p, churn_rate, cost):
    index = RiskIndex(np.array(churn_p))
    suggestion = index.suggested(Economics(cost=cost), churn_rate)
    if suggestion is not None and (index.highest or 0) > 0:
        assert suggestion.n_at_risk == index.n_at_risk(suggestion.threshold) > 0
