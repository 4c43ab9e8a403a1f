"""Histories as arrays: all events of all customers in flat arrays. Letters: N customers, E events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_models.data.cohort import Cohort, Moment


@dataclass(frozen=True, kw_only=True)
class Events:
    """All events of N customers in flat arrays: those of customer i are at starts[i] to starts[i + 1].

    action (E,) int32 ids 1..A; days (E,) float64; value (E,) float32 in [0, 1], NaN if missing.
    """

    starts: np.ndarray
    action: np.ndarray
    days: np.ndarray
    value: np.ndarray

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """Number of events of each of the customers `rows`."""
        return self.starts[rows + 1] - self.starts[rows]


def history_counts(cohort: Cohort, as_of: Moment | None) -> np.ndarray:
    """(N,) number of events of each customer strictly before `as_of`; None: all events."""
    return np.bincount(cohort.event_customers[cohort.is_history(as_of)], minlength=cohort.n_customers).astype(np.int64)
