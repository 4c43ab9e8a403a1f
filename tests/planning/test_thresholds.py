"""Thresholds: look-ups agree with a pass over everybody."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
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
