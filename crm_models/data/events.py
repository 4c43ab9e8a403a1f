"""Histories as arrays: all events in flat arrays, and batches padded to equal length.

Letters: N customers, E events, B batch, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_models.core.schema import PADDING
from crm_models.data.cohort import Cohort, Moment


@dataclass(frozen=True, kw_only=True)
class PaddedEvents:
    """A batch of histories, right-padded to the longest: event t of customer b at [b, t], PADDING after the last.

    action (B, T) int64; gap (B, T) float32: log(1 + days since the previous event); age (B, T) float32: log(1 + days
    from the event to `now_days`); value (B, T) float32 in [0, 1], NaN if missing; length (B,) int64.
    """

    action: np.ndarray
    gap: np.ndarray
    age: np.ndarray
    value: np.ndarray
    length: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Events:
    """All events of N customers in flat arrays: those of customer i are at starts[i] to starts[i + 1].

    action (E,) int32 ids 1..A; days (E,) float64; value (E,) float32 in [0, 1], NaN if missing.
    """

    starts: np.ndarray
    action: np.ndarray
    days: np.ndarray
    value: np.ndarray

    def padded(self, rows: np.ndarray, stops: np.ndarray, length: int, now_days: float) -> PaddedEvents:
        """The last `length` events before position stops[b] of the history of each customer rows[b]."""
        stops = np.minimum(stops, self.starts[rows + 1] - self.starts[rows])
        n_events = np.minimum(stops, length)
        width = max(int(n_events.max(initial=0)), 1)
        place = np.arange(width)
        real = place < n_events[:, None]
        first = self.starts[rows] + stops - n_events
        at = np.where(real, first[:, None] + place, 0)
        if len(self.action) == 0:
            blank = np.zeros(real.shape, np.float32)
            return PaddedEvents(
                action=blank.astype(np.int64), gap=blank, age=blank, value=blank * np.nan, length=n_events
            )
        when = self.days[at]
        # The first event of a window keeps its gap to the event before the window; the first event of all has no gap.
        before = self.days[np.maximum(at - 1, 0)]
        has_before = real & (at > self.starts[rows][:, None])
        return PaddedEvents(
            action=np.where(real, self.action[at], PADDING).astype(np.int64),
            gap=np.where(has_before, np.log1p(np.maximum(when - before, 0)), 0).astype(np.float32),
            age=np.where(real, np.log1p(np.maximum(now_days - when, 0)), 0).astype(np.float32),
            value=np.where(real, self.value[at], np.nan).astype(np.float32),
            length=n_events.astype(np.int64),
        )


def history_counts(cohort: Cohort, as_of: Moment | None) -> np.ndarray:
    """(N,) number of events of each customer strictly before `as_of`; None: all events."""
    return np.bincount(cohort.event_customers[cohort.is_history(as_of)], minlength=cohort.n_customers).astype(np.int64)
