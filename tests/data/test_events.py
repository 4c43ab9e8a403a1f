"""Histories as padded batches."""

import numpy as np
import pandas as pd

from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
from crm_models.data.split import history
from tests.data.test_features import ALL, small


def test_windows_hold_the_latest_events_before_the_stop_padded_on_the_right():
    cohort = small()
    arrays = FeatureEncoder.fit(cohort, ALL, None).encode(cohort)
    # Actions are sorted by name: call = 1, mail = 2.
    padded = arrays.events.padded(ALL, np.array([3, 1, 0]), 2, now_days=6.0)
    assert padded.action.tolist() == [[1, 2], [1, 0], [0, 0]]
    assert padded.length.tolist() == [2, 1, 0]
    np.testing.assert_allclose(padded.gap, np.log1p([[2, 3], [0, 0], [0, 0]]), rtol=1e-6)
    np.testing.assert_allclose(padded.age, np.log1p([[3, 0], [4, 0], [0, 0]]), rtol=1e-6)
    np.testing.assert_array_equal(padded.value, np.float32([[np.nan, 1], [np.nan, np.nan], [np.nan, np.nan]]))
    assert arrays.events.padded(ALL, np.array([1, 0, 0]), 2, 6.0).action.tolist() == [[2], [0], [0]]


def two_customers() -> tuple[FeatureEncoder, Cohort]:
    """Ann: x on day 1 and, six hours later, y; Bob: y on day 5, x on day 7; Cem: nothing."""
    rows = [("ann", "x", 1.0, 2.0), ("ann", "y", 1.25, np.nan), ("bob", "y", 5.0, 4.0), ("bob", "x", 7.0, 3.0)]
    cohort = Cohort.build(
        name="t",
        source="t",
        customers=pd.DataFrame({"customer_id": ["ann", "bob", "cem"]}),
        interactions=pd.DataFrame(rows, columns=["customer_id", "action", "timestamp", "value"]),
    )
    return FeatureEncoder.fit(cohort, np.array([0, 1, 2]), None), cohort


def test_a_batch_of_histories_by_hand():
    encoder, cohort = two_customers()
    batch = encoder.encode(cohort).events.padded(np.array([0, 1, 2]), np.array([9, 1, 5]), 4, 8.0)
    nan = np.nan
    assert batch.action.tolist() == [[1, 2], [2, 0], [0, 0]]
    assert batch.length.tolist() == [2, 1, 0]
    # The first event of a customer has no gap, whoever's event stands before it; six hours are a quarter of a day.
    np.testing.assert_allclose(batch.gap, [[0, np.log1p(0.25)], [0, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(batch.age, np.log1p([[7, 6.75], [3, 0], [0, 0]]) * [[1, 1], [1, 0], [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(batch.value, np.float32([[0, nan], [1, nan], [nan, nan]]))
    kinds = {name: array.dtype.name for name, array in vars(batch).items()}
    assert kinds == {"action": "int64", "gap": "float32", "age": "float32", "value": "float32", "length": "int64"}


def test_a_window_keeps_the_gap_to_the_event_before_it():
    encoder, cohort = two_customers()
    batch = encoder.encode(cohort).events.padded(np.array([1]), np.array([2]), 1, 8.0)
    assert batch.action.tolist() == [[1]]
    np.testing.assert_allclose(batch.gap, [[np.log1p(2)]], rtol=1e-6)


def test_without_any_event_a_batch_is_padding():
    cohort = Cohort.build(name="t", source="t", customers=pd.DataFrame({"customer_id": ["a", "b"]}), interactions=None)
    arrays = FeatureEncoder.fit(cohort, np.array([0, 1]), None).encode(cohort)
    batch = arrays.events.padded(np.array([0, 1]), np.array([0, 3]), 5, 0.0)
    assert batch.action.tolist() == [[0], [0]]
    assert batch.length.tolist() == [0, 0]
    assert (batch.gap.tolist(), batch.age.tolist()) == ([[0], [0]], [[0], [0]])
    assert np.isnan(batch.value).all()


def test_a_lone_event_is_a_history():
    encoder, cohort = two_customers()
    one = history(cohort, 1.1)
    assert encoder.encode(one).events.padded(np.array([0]), np.array([1]), 3, 2.0).action.tolist() == [[1]]
