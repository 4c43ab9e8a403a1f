"""Histories as padded batches."""

import numpy as np

from crm_models.data.features import FeatureEncoder
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
