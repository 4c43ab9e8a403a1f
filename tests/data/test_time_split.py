"""A split by time: by hand, no look-ahead, and what it needs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_models.core.errors import ConfigError, DataError
from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
from crm_models.data.sources.inactivity import label_by_inactivity
from crm_models.data.split import outcomes
from crm_models.data.time_split import split_date, views_of

TIMES = {"a": [1, 12, 25, 33, 39], "b": [2, 15, 21, 29], "c": [5, 31], "d": [32, 40]}


def cohort_of(times: dict[str, list[float]], churn_days: float | None = 10.0) -> Cohort:
    events = [(customer, "xyz"[k % 3], float(t)) for customer, days in times.items() for k, t in enumerate(days)]
    table = pd.DataFrame(events, columns=["customer_id", "action", "timestamp"])
    people = pd.DataFrame({"customer_id": list(times), "age": 30.0 + np.arange(len(times))})
    cohort = Cohort.build(name="t", source="t", customers=people, interactions=table)
    return cohort if churn_days is None else label_by_inactivity(cohort, churn_days)


def test_both_views_by_hand():
    cohort = cohort_of(TIMES)
    assert split_date(cohort, "", 0.2) == "30.0"  # the cut-off of the labels: ten days before the last event
    views = views_of(cohort, "30.0")
    # Learned: events before 30, and who was silent from 20 to 30. Of d nothing was known yet.
    assert views.learned.event_days.tolist() == [1, 12, 25, 2, 15, 21, 29, 5]
    np.testing.assert_array_equal(views.learned.labels, [0, 0, 1, np.nan])
    assert views.learned.as_of == 20
    # Tested: who is silent from 30 to 40.
    np.testing.assert_array_equal(views.tested.labels, [0, 1, 0, np.nan])
    np.testing.assert_array_equal(views.tested.labels, cohort.labels)
    found = outcomes(views.tested)
    assert (found.rows.tolist(), found.n_history.tolist(), found.n_outcome.tolist()) == ([0, 2], [3, 1], [2, 1])
    assert (np.diff(views.learned.starts) > 0).tolist() == [True, True, True, False]  # d is not learned from


def test_an_earlier_date_has_its_own_labels():
    views = views_of(cohort_of(TIMES), "25.0")
    np.testing.assert_array_equal(views.learned.labels, [1, 0, 1, np.nan])  # from 15 to 25
    np.testing.assert_array_equal(views.tested.labels, [0, 0, 0, np.nan])  # from 25 to 35


def test_without_labels_the_last_share_of_the_events_is_for_testing():
    cohort = cohort_of({"a": list(range(100))}, churn_days=None)
    assert split_date(cohort, "", 0.2) == "79.2"
    views = views_of(cohort, "79.2")
    assert len(views.learned.interactions) == 80
    assert outcomes(views.tested).n_history.tolist() == [80]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), date=st.floats(21.0, 29.0))
def test_nothing_from_the_date_on_reaches_training(seed, date):
    rng = np.random.default_rng(seed)
    times = {f"c{k}": sorted(rng.uniform(0, 40, rng.integers(1, 9)).tolist()) for k in range(12)} | {"z": [0.0, 40.0]}
    text = repr(date)
    cohort = cohort_of(times)
    later = cohort.event_days >= date
    changed = cohort.interactions.copy()
    changed.loc[later, "action"] = "x"
    changed.loc[later, "value"] = 1e6
    other = Cohort.build(
        name="t",
        source="t",
        customers=cohort.customers,
        interactions=changed[~later | (rng.random(len(changed)) < 0.5)],
        actions=cohort.actions,
        as_of=cohort.as_of,
        settings=cohort.settings | {"churn_days": 10.0},
    )
    # Without its last events a cohort may be too short for labels on both sides; then there is nothing to compare.
    other = views_of(other, text)
    if other.no_churn is not None:
        return
    learned, rows = views_of(cohort, text).learned, np.arange(12)
    np.testing.assert_array_equal(learned.labels, other.learned.labels)
    encoders = [FeatureEncoder.fit(view, rows, view.as_of) for view in (learned, other.learned)]
    assert encoders[0] == encoders[1]
    arrays = [encoders[0].encode(view, view.as_of) for view in (learned, other.learned)]
    np.testing.assert_array_equal(arrays[0].behaviour, arrays[1].behaviour)
    np.testing.assert_array_equal(arrays[0].events.action, arrays[1].events.action)


@pytest.mark.parametrize("wanted", ["40.5", "0.5", "2026-01-31", "soon", "nan"])
def test_a_date_that_cannot_be_is_refused_with_those_that_can(wanted):
    with pytest.raises(ConfigError, match=r"after the first event \(1\.0\) and not after the last one \(40\.0\)"):
        split_date(cohort_of(TIMES), wanted, 0.2)


def test_a_split_by_time_says_what_it_needs():
    people = pd.DataFrame({"customer_id": ["a", "b"], "churned": [True, False], "age": [1.0, 2.0]})
    silent = Cohort.build(name="t", source="t", customers=people, interactions=None)
    with pytest.raises(DataError, match="needs interactions"):
        split_date(silent, "", 0.2)
    labelled = cohort_of(TIMES, churn_days=None)
    labelled.customers["churned"] = pd.array([True, False, True, False], dtype="boolean")
    views = views_of(labelled, "30.0")
    assert "labels of this cohort have no date" in views.no_churn
    assert not views.learned.has_labels
    assert "after 11.0 and not after 30.0" in views_of(cohort_of(TIMES), "5.0").no_churn
    assert "more than twice the 25 days" in views_of(cohort_of(TIMES, 25.0), "15.0").no_churn
