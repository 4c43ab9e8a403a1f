"""Counts of actions, and of two or three in a row, among training customers: what the transition prior starts from.

Counts of the parts of a cohort add up to those of the whole, so a cohort larger than memory is counted part by part.
"""

from __future__ import annotations

import numpy as np

from crm_models.data.cohort import Cohort

MAX_SUCCESSORS = 64
"""Successors stored per action, or pair of actions, the most frequent ones."""

MAX_PAIRS = 2_000_000
"""With very many actions fewer successors each are stored, so that all together are at most so many (10 each at least):
the pairs of 200,000 actions would otherwise take 2 GB."""

DENSE_ACTIONS = 100
"""Largest vocabulary for which triples of successive actions are counted; with more, each is too rare to count."""

MOST_COUNTED = 10_000_000
"""Different successions counted at once, 160 MB; when there are more, those seen only once so far are forgotten."""


class ActionCounts:
    """Counts over the customers added so far. single: (A,) occurrences of each action."""

    def __init__(self, n_actions: int) -> None:
        self.single = np.zeros(n_actions, np.int64)
        self._successions = {length: Tally(MOST_COUNTED) for length in ((2, 3) if n_actions <= DENSE_ACTIONS else (2,))}

    def add(self, part: Cohort, rows: np.ndarray) -> ActionCounts:
        """Count the events of the customers `rows` of a part of the cohort too."""
        training = np.isin(part.event_customers, rows)
        action, customer = part.event_actions[training].astype(np.int64), part.event_customers[training]
        self.single += np.bincount(action, minlength=len(self.single))
        for length, counter in self._successions.items():
            n_starts = max(len(action) - length + 1, 0)
            same = customer[:n_starts] == customer[length - 1 :]
            number = np.zeros(int(same.sum()), np.int64)
            for k in range(length):  # the actions in a row as the digits of one number
                number = number * len(self.single) + action[k : k + n_starts][same]
            counter.add(number)
        return self

    def successions(self, length: int) -> tuple[tuple[int, ...], ...]:
        """(ids of `length` successive actions ..., count), the last id by falling count; () if they are not counted."""
        if length not in self._successions:
            return ()
        number, times = self._successions[length].total()
        n_actions = max(len(self.single), 1)
        context, last = np.divmod(number, n_actions)
        order = np.lexsort((last, -times, context))
        number, times, context = number[order], times[order], context[order]
        most = min(MAX_SUCCESSORS, max(MAX_PAIRS // n_actions, 10))
        kept = np.arange(len(context)) - np.searchsorted(context, context) < most
        ids = [number[kept] // n_actions**k % n_actions + 1 for k in reversed(range(length))]
        return tuple(map(tuple, np.column_stack([*ids, times[kept]]).tolist()))


class Tally:
    """How often each number was added. most: numbers kept, see `MOST_COUNTED`; None: all."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._number, self._times = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._new: list[np.ndarray] = []

    def add(self, number: np.ndarray) -> None:
        """Count the numbers too."""
        self._new.append(number)
        # Counting what is new together with what was counted pays when both are of about the same size.
        if sum(map(len, self._new)) > max(len(self._number), 1 << 20):
            self._count()

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers, ascending, and how often each was added."""
        self._count()
        return self._number, self._times

    def _count(self) -> None:
        number, place = np.unique(np.concatenate([self._number, *self._new]), return_inverse=True)
        times = np.bincount(place, minlength=len(number))
        times[place[: len(self._number)]] += self._times - 1
        kept = times > 1 if self._most is not None and len(number) > self._most else slice(None)
        self._number, self._times, self._new = number[kept], times[kept], []
