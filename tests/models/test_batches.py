"""Histories as padded batches, gathered from tensors."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from crm_models.data.cohort import Cohort
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import history
from crm_models.models.batches import CohortTensors, churn_batch, history_batch, outcome_batch
from tests.data.test_features import ALL, small
from tests.small_cohorts import SMALL, random_cohort, training_data, untrained, with_churn


def padded(arrays: CohortArrays, rows: list[int], stops: list[int], length: int) -> dict[str, torch.Tensor]:
    """The last `length` events before each stop, with their days too, which a batch of histories lacks."""
    counts = arrays.events.counts(np.array(rows))
    n_events = np.minimum(np.minimum(stops, counts), length)
    stops = np.minimum(stops, counts)
    return CohortTensors.of(arrays).events(np.array(rows), stops, n_events, int(n_events.max()))


def test_windows_hold_the_latest_events_before_the_stop_padded_on_the_right():
    cohort = small()
    arrays = FeatureEncoder.fit(cohort, ALL, None).encode(cohort)
    # Actions are sorted by name: call = 1, mail = 2.
    batch = padded(arrays, [0, 1, 2], [3, 1, 0], 2)
    assert batch["action"].tolist() == [[1, 2], [1, 0], [0, 0]]
    np.testing.assert_allclose(batch["gap"], np.log1p([[2, 3], [0, 0], [0, 0]]), rtol=1e-6)
    assert batch["days"][0].tolist() == [3, 6]
    np.testing.assert_array_equal(batch["value"], np.float32([[np.nan, 1], [np.nan, np.nan], [np.nan, np.nan]]))
    assert history_batch(arrays, ALL, np.array([1, 0, 0]), 2).action.tolist() == [[2], [0], [0]]


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
    batch = padded(encoder.encode(cohort), [0, 1, 2], [9, 1, 5], 4)
    nan = np.nan
    assert batch["action"].tolist() == [[1, 2], [2, 0], [0, 0]]
    # The first event of a customer has no gap, whoever's event stands before it; six hours are a quarter of a day.
    np.testing.assert_allclose(batch["gap"], [[0, np.log1p(0.25)], [0, 0], [0, 0]], rtol=1e-6)
    assert batch["days"][batch["action"] > 0].tolist() == [1, 1.25, 5]
    np.testing.assert_array_equal(batch["value"], np.float32([[0, nan], [1, nan], [nan, nan]]))
    kinds = {name: column.dtype for name, column in batch.items()}
    assert kinds == {"action": torch.int64, "gap": torch.float32, "value": torch.float32, "days": torch.float64}


def test_the_churn_model_reads_the_age_of_each_event():
    encoder, cohort = two_customers()
    arrays = replace(encoder.encode(cohort), now_days=8.0)
    batch = churn_batch(arrays, ALL, untrained("churn", encoder, with_churn(SMALL, max_events=4)))
    np.testing.assert_allclose(batch.age, np.log1p([[7, 6.75], [3, 1], [0, 0]]), rtol=1e-6)
    alone = churn_batch(arrays, ALL, untrained("churn", encoder, with_churn(SMALL, max_events=1)))
    np.testing.assert_allclose(alone.age, np.log1p([[6.75], [1], [0]]), rtol=1e-6)
    assert alone.action.tolist() == [[2], [1], [0]]


def test_a_window_keeps_the_gap_to_the_event_before_it():
    encoder, cohort = two_customers()
    batch = padded(encoder.encode(cohort), [1], [2], 1)
    assert batch["action"].tolist() == [[1]]
    np.testing.assert_allclose(batch["gap"], [[np.log1p(2)]], rtol=1e-6)


def test_without_any_event_a_batch_is_padding():
    cohort = Cohort.build(name="t", source="t", customers=pd.DataFrame({"customer_id": ["a", "b"]}), interactions=None)
    arrays = FeatureEncoder.fit(cohort, np.array([0, 1]), None).encode(cohort)
    batch = padded(arrays, [0, 1], [0, 3], 5)
    assert batch["action"].tolist() == [[0], [0]]
    assert batch["gap"].tolist() == [[0], [0]]
    assert batch["value"].isnan().all()


def test_a_lone_event_is_a_history():
    encoder, cohort = two_customers()
    one = history(cohort, 1.1)
    assert history_batch(encoder.encode(one), np.array([0]), np.array([1]), 3).action.tolist() == [[1]]


def test_the_true_steps_follow_the_history_without_gap_and_value():
    """Each customer's window by hand: the latest events before the outcome, then the first two steps of it."""
    known = training_data(random_cohort(40, shortest=5, as_of=60.0))[1]
    found, events = known.outcomes, known.arrays.events
    batch, steps, length = outcome_batch(known.arrays, found, np.arange(len(found.rows)), 4)
    for b, (row, n_history, n_outcome) in enumerate(zip(*vars(found).values(), strict=True)):
        seen = events.action[events.starts[row] : events.starts[row + 1]].tolist()
        true, window = seen[n_history : n_history + n_outcome], seen[max(n_history - 4, 0) : n_history]
        assert length[b] == len(window)
        assert steps[b].tolist() == true + [0] * (3 - n_outcome)
        given = window + true[:2]
        assert batch.action[b, : len(given)].tolist() == given
        assert batch.gap[b, len(window) :].isnan().all() and batch.gap[b, : len(window)].isfinite().all()
        assert batch.value[b, len(window) :].isnan().all()
    assert batch.action.shape[1] == 4 + 2
