"""No look-ahead: what happens at or after `as_of` is outcome, and changes nothing that a model reads."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models.data.behaviour import behaviour_features
from crm_models.data.cohort import Cohort
from crm_models.data.events import history_counts
from crm_models.data.features import FeatureEncoder
from crm_models.data.sources.inactivity import silent
from crm_models.data.split import history, outcomes, true_steps
from crm_models.models.batches import CohortTensors

AS_OF = 10.0
LATER = (10.0, 11.0, 30.0)
"""The first is exactly the cut-off."""


def cohort(values: tuple[float, ...] = (2.0, 4.0, 3.0), later: tuple[float, ...] = LATER, as_of=AS_OF) -> Cohort:
    """Ann: mail on day 1, call on day 4, then three events from the cut-off on; Bob: one mail on day 5, none later."""
    times = (1.0, 4.0, *later)
    events = pd.DataFrame(
        {
            "customer_id": ["ann"] * len(times) + ["bob"],
            "action": [*(["mail", "call"] * 3)[: len(times)], "mail"],
            "timestamp": [*times, 5.0],
            "value": [1.0, 5.0, *values, 4.0],
        }
    )
    customers = pd.DataFrame({"customer_id": ["ann", "bob"], "age": [20.0, 40.0]})
    return Cohort.build(name="t", source="t", customers=customers, interactions=events, as_of=as_of, outcome="observed")


def test_an_event_exactly_at_the_cut_off_is_outcome_everywhere():
    made = cohort()
    assert made.is_history(AS_OF).tolist() == [True, True, False, False, False, True]
    assert history(made, AS_OF).interactions["timestamp"].tolist() == [1.0, 4.0, 5.0]
    assert history_counts(made, AS_OF).tolist() == [2, 1]
    assert behaviour_features(made, AS_OF, None)["n_events"].tolist() == [2.0, 1.0]
    found = outcomes(made)
    assert (found.rows.tolist(), found.n_history.tolist(), found.n_outcome.tolist()) == ([0], [2], [3])
    arrays = FeatureEncoder.fit(made, np.array([0, 1]), AS_OF).encode(made, AS_OF)
    assert arrays.n_history.tolist() == [2, 1]
    assert true_steps(arrays.events, found).tolist() == [[2, 1, 2]]
    # By inactivity: Ann came back on the very day of the cut-off, so she has not churned; Bob has.
    assert silent(made, AS_OF, np.inf).tolist() == [0.0, 1.0]


def test_a_moment_without_events_on_it_parts_them_all_the_same():
    assert history_counts(cohort(), 9.999).tolist() == [2, 1]
    assert history_counts(cohort(), 10.001).tolist() == [3, 1]
    assert history_counts(cohort(), None).tolist() == [5, 1]


later_values = st.tuples(*[st.floats(-1e6, 1e6) | st.just(float("nan"))] * 3)
later_times = st.lists(st.floats(AS_OF, 1e4), min_size=3, max_size=3).map(lambda times: tuple(sorted(times)))


@given(later_values, later_times)
def test_the_future_changes_no_scale_and_no_input(values, times):
    rows = np.array([0, 1])
    made, edited = cohort(), cohort(values, times)
    before, after = (FeatureEncoder.fit(own, rows, AS_OF) for own in (made, edited))
    for scale in ("value_range", "numeric", "categorical", "behaviour"):
        assert getattr(after, scale) == getattr(before, scale), scale
    one, other = before.encode(made, AS_OF), after.encode(edited, AS_OF)
    for name in ("numeric", "categorical", "behaviour", "n_history"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    seen = [CohortTensors.of(own).events(rows, own.n_history, own.n_history, 3) for own in (one, other)]
    for name in ("action", "gap", "days", "value"):
        np.testing.assert_array_equal(seen[0][name], seen[1][name])


def test_a_later_value_does_not_stretch_the_range_of_values():
    made = cohort(values=(99.0, 99.0, 99.0))
    encoder = FeatureEncoder.fit(made, np.array([0, 1]), AS_OF)
    assert encoder.value_range == (1.0, 5.0)
    # Values 1, 5 and 4 of the histories, scaled to [0, 1]; with 99 in the range, 5 would become 0.04.
    assert encoder.encode(made, AS_OF).events.value[[0, 1, 5]].tolist() == [0.0, 1.0, 0.75]


@pytest.mark.parametrize("rows", [[0], [1]])
def test_customers_who_are_not_trained_on_change_no_scale(rows):
    """Neither their profile, nor what they did, nor the values of it."""
    trained, others = np.array(rows), [k for k in (0, 1) if k not in rows]
    made = cohort(as_of=None)
    events = made.interactions.copy()
    other = made.event_customers == others[0]
    events.loc[other, "value"] = 1e6
    events.loc[other, "timestamp"] = events.loc[other, "timestamp"] - 50
    customers = made.customers.assign(age=np.where(np.isin([0, 1], others), 1e9, made.customers["age"]))
    edited = replace(made, customers=customers, interactions=events)
    # The moment is given: the last event of all, from which recency counts, is everybody's.
    moment = 100.0
    before, after = (FeatureEncoder.fit(own, trained, moment) for own in (made, edited))
    for scale in ("value_range", "numeric", "categorical", "behaviour", "action_counts", "action_pairs"):
        assert getattr(after, scale) == getattr(before, scale), scale
