"""Cohorts larger than memory, for training: what is known of all customers at once, and their arrays on disk.

A cohort is read part by part. What each customer adds to stays in memory (labels, outcomes); events and features are
written once to files that are mapped into memory, whose pages the system may take back at any time.
Letters: N customers, E events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from crm_models.core.config import RunConfig
from crm_models.core.prefetch import prefetch
from crm_models.data.cohort import Cohort, joined, select
from crm_models.data.events import Events
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Outcomes, outcomes
from crm_models.data.storage import Parts, last_moment_days, load_cohort
from crm_models.data.successions import ActionCounts
from crm_models.data.time_split import views_of

FITTED_CUSTOMERS = 200_000
"""Most training customers that scales, levels and ranges are fitted on: of more, every second, third, ... one."""


class LearnedCohort:
    """A cohort folder as the models learn from it, in parts, each read when it is its turn.

    now_days: moment that recency is measured from, if it is the last event of all parts. no_churn: see `Views`.

    A split by time needs the whole cohort at once, which is then the only part.
    """

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.no_churn: str | None = None
        self.now_days: float | None = None
        self._parts: Parts | Sequence[Cohort]
        if config.split == "time":
            views = views_of(load_cohort(folder), config.split_date or None)
            self._parts, self.no_churn = [views.learned], views.no_churn
        else:
            self._parts = Parts(folder)
            if self._parts.about["as_of"] is None:
                self.now_days = last_moment_days(self._parts.about)

    def __iter__(self) -> Iterator[Cohort]:
        return prefetch(iter(self._parts))


class Everyone:
    """What training needs to know of all customers at once, from the parts added so far, in their order."""

    def __init__(self) -> None:
        self.n_customers, self.has_columns = 0, False
        self._labels, self._n_events, self._outcomes = ([np.zeros(0)], [np.zeros(0, np.int64)], [_NOBODY])

    def add(self, part: Cohort) -> Cohort:
        """Take note of the customers of the next part, which is returned."""
        self._labels.append(part.labels)
        self._n_events.append(np.diff(part.starts))
        found = outcomes(part)
        self._outcomes.append(replace(found, rows=found.rows + self.n_customers))
        self.n_customers += part.n_customers
        self.has_columns = bool(part.feature_columns)
        return part

    @property
    def labels(self) -> np.ndarray:
        """(N,) churn labels, NaN where unknown."""
        return np.concatenate(self._labels)

    @property
    def n_events(self) -> np.ndarray:
        """(N,) events of each customer."""
        return np.concatenate(self._n_events)

    @property
    def outcomes(self) -> Outcomes:
        """Outcomes of all customers that have one."""
        joined = {name: np.concatenate([vars(found)[name] for found in self._outcomes]) for name in vars(_NOBODY)}
        return Outcomes(**joined)


_NOBODY = Outcomes(rows=np.zeros(0, np.int64), n_history=np.zeros(0, np.int64), n_outcome=np.zeros(0, np.int64))


def training_sample(cohort: LearnedCohort, train: np.ndarray) -> tuple[Cohort, ActionCounts]:
    """The training customers `train`, evenly thinned out to `FITTED_CUSTOMERS`, and the action counts of all."""
    chosen, first, sample = train[:: max(1, -(-len(train) // FITTED_CUSTOMERS))], 0, []
    counts: ActionCounts | None = None
    for part in cohort:
        last = first + part.n_customers
        in_part, kept = (rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)] for rows in (train, chosen))
        counts = (counts or ActionCounts(len(part.actions))).add(part, in_part - first)
        sample.append(select(part, kept - first))
        first = last
    assert counts is not None, "a cohort without customers trains no model"
    return joined(sample), counts


def encoded(parts: Iterable[Cohort], encoder: FeatureEncoder, now_days: float | None, folder: Path) -> CohortArrays:
    """Arrays of all parts as one, in files of `folder` that vanish with the process, however it ends.

    customer_id: the number of each customer, in place of names, which training does not need.
    """
    sizes, files, latest = [np.zeros(1, np.int64)], dict[str, _Growing](), 0.0
    for part in parts:
        arrays = encoder.encode(part, part.as_of, now_days)
        sizes.append(np.diff(arrays.events.starts))
        latest = arrays.now_days
        columns = {name: vars(arrays)[name] for name in ("numeric", "categorical", "behaviour", "n_history")}
        for name, column in (columns | {name: vars(arrays.events)[name] for name in _EVENTS}).items():
            if name not in files:
                files[name] = _Growing(folder, column)
            files[name].append(column)
    mapped = {name: file.mapped() for name, file in files.items()}
    starts = np.cumsum(np.concatenate(sizes))
    return CohortArrays(
        customer_id=np.arange(len(starts) - 1),
        events=Events(starts=starts, **{name: mapped.pop(name) for name in _EVENTS}),
        now_days=latest,
        **mapped,
    )


_EVENTS = ("action", "days", "value")


class _Growing:
    """An array in a temporary file, which grows at its end."""

    def __init__(self, folder: Path, like: np.ndarray) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  # `mapped` closes it
        self._length, self._row = 0, like[:0]

    def append(self, rows: np.ndarray) -> None:
        self._file.write(rows.tobytes())
        self._length += len(rows)

    def mapped(self) -> np.ndarray:
        """The array, in memory only as far as it is used; the map keeps the file after it is closed.

        Mode "c" (changes stay in memory; there are none), because torch takes no read-only arrays.
        """
        shape = (self._length, *self._row.shape[1:])
        with self._file as file:
            file.flush()
            if not file.tell():  # an empty file cannot be mapped
                return np.zeros(shape, self._row.dtype)
            return np.asarray(np.memmap(file, self._row.dtype, "c", shape=shape))
