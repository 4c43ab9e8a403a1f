"""Thresholds: look-ups agree with a pass over everybody."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models.planning.thresholds import RiskIndex
from tests.planning.test_plans import probabilities


@given(probabilities, st.floats(0, 1), st.floats(0, 1))
def test_the_risk_index_agrees_with_a_pass_over_everybody(churn_p, one, other):
    index = RiskIndex(np.array(churn_p))
    above = lambda t: set(np.flatnonzero(np.round(churn_p, 6) > t))  # noqa: E731
    assert index.n_at_risk(one) == len(above(one))
    assert set(index.rows_at_risk(one)) == above(one)
    assert set(index.flips(one, other)) == above(one) ^ above(other)


def test_expected_value_by_hand():
    index = RiskIndex(np.array([0.9, 0.5, 0.1]))
    table = index.expected_value(cost=2.0, value=10.0, success_rate=0.5, points=11).set_index("threshold")
    # Above 0.4: contacts 0.9 and 0.5; keeps (0.9 + 0.5) / 2 = 0.7 customers, worth 7 for a cost of 4.
    assert table.loc[0.4, ["contacted", "kept", "value"]].tolist() == pytest.approx([2, 0.7, 3.0])
    assert table.index[table["best"]].tolist() == [0.4]
    capped = index.expected_value(cost=2.0, value=10.0, success_rate=0.5, capacity=1, points=11).set_index("threshold")
    assert capped.loc[0.0, "contacted"] == 1
