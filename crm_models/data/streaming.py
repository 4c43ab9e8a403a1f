"""Cohorts larger than memory: seen part by part, and encoded to arrays on disk.

What each customer adds to stays in memory (labels, outcomes); events and features are written once to files that are
mapped into memory, whose pages the system may take back at any time. Letters: N customers, E events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

import numpy as np

from crm_models.core.prefetch import prefetch
from crm_models.data.cohort import Cohort, joined, select
from crm_models.data.events import Events
from crm_models.data.features import CohortArrays
from crm_models.data.split import Outcomes, outcomes
from crm_models.data.storage import Parts, last_moment_days
from crm_models.data.successions import ActionCounts
from crm_models.data.time_split import span_of, views_of

FITTED_CUSTOMERS = 200_000
"""Most training customers that scales, levels and ranges are fitted on: of more, every second, third, ... one."""

Side = Literal["learned", "tested"]
"""What the models of a run learn from, and what they are tested on; the same unless the split is by time."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How a run sees its cohort, part by part. date: of a split by time; span: first and last event of all parts then.

    now_days: moment that recency is measured from, if it is the last event of all parts. no_churn: see `Views`.
    """

    side: Side
    date: str | None = None
    span: tuple[float, float] | None = None
    now_days: float | None = None
    no_churn: str | None = None

    @classmethod
    def of(cls, parts: Parts, date: str, side: Side) -> View:
        """The view of a cohort folder. date: "" where the split is random. `DataError` if it is not in its times."""
        last = last_moment_days(parts.about)
        if not date:
            return cls(side=side, now_days=last if parts.about["as_of"] is None else None)
        view = cls(side=side, date=date, span=span_of(prefetch(iter(parts))))
        views = views_of(parts[0], date, view.span)
        if getattr(views, side).as_of is None:  # no cut-off: the last of those events that are known by the date
            last = span_of(view.parts(parts))[1]
            view = replace(view, now_days=last if np.isfinite(last) else 0.0)
        return replace(view, no_churn=views.no_churn)

    def part(self, part: Cohort) -> Cohort:
        """A part of the cohort as the run sees it."""
        seen: Cohort = getattr(views_of(part, self.date, self.span), self.side)
        return seen

    def parts(self, parts: Iterable[Cohort]) -> Iterator[Cohort]:
        """All parts as the run sees them, each read while the one before is used."""
        return prefetch(self.part(part) for part in parts)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What has to be known of all customers at once. labels (N,): NaN where unknown. n_events (N,). outcomes: of all.

    has_columns: whether there are feature columns.
    """

    labels: np.ndarray
    n_events: np.ndarray
    outcomes: Outcomes
    has_columns: bool

    @classmethod
    def of(cls, part: Cohort) -> Known:
        """The customers of one part."""
        return cls(
            labels=part.labels,
            n_events=np.diff(part.starts),
            outcomes=outcomes(part),
            has_columns=bool(part.feature_columns),
        )

    @classmethod
    def joined(cls, parts: Iterable[Known]) -> Known:
        """The customers of all parts, in their order."""
        all_parts = list(parts)
        first = np.cumsum([0, *(len(part.labels) for part in all_parts)])
        found = [vars(replace(p.outcomes, rows=p.outcomes.rows + k)) for p, k in zip(all_parts, first, strict=False)]
        return cls(
            labels=np.concatenate([part.labels for part in all_parts]),
            n_events=np.concatenate([part.n_events for part in all_parts]),
            outcomes=Outcomes(**{name: np.concatenate([f[name] for f in found]) for name in found[0]}),
            has_columns=any(part.has_columns for part in all_parts),
        )


def training_sample(cohort: Iterable[Cohort], train: np.ndarray) -> tuple[Cohort, ActionCounts]:
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


def mapped(parts: Iterable[CohortArrays], folder: Path | None) -> CohortArrays:
    """Arrays of all parts as one, in files of `folder` that vanish with the process, however it ends.

    folder: None for that of temporary files. customer_id: the number of each customer, in place of names.
    """
    sizes, files, latest = [np.zeros(1, np.int64)], dict[str, _Growing](), 0.0
    for arrays in parts:
        sizes.append(np.diff(arrays.events.starts))
        latest = arrays.now_days
        columns = {name: vars(arrays)[name] for name in ("numeric", "categorical", "behaviour", "n_history")}
        for name, column in (columns | {name: vars(arrays.events)[name] for name in _EVENTS}).items():
            if name not in files:
                files[name] = _Growing(folder, column)
            files[name].append(column)
    columns = {name: file.mapped() for name, file in files.items()}
    starts = np.cumsum(np.concatenate(sizes))
    return CohortArrays(
        customer_id=np.arange(len(starts) - 1),
        events=Events(starts=starts, **{name: columns.pop(name) for name in _EVENTS}),
        now_days=latest,
        **columns,
    )


_EVENTS = ("action", "days", "value")


def on_disk(parts: Iterable[np.ndarray]) -> np.ndarray:
    """The numbers of all parts (E,) float64 in a temporary file, mapped into memory; they may be changed."""
    growing = _Growing(None, np.zeros(0))
    for part in parts:
        growing.append(part)
    return growing.mapped()


class _Growing:
    """An array in a temporary file, which grows at its end."""

    def __init__(self, folder: Path | None, like: np.ndarray) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115  # `mapped` closes it
        self._length, self._row = 0, like[:0]

    def append(self, rows: np.ndarray) -> None:
        self._file.write(rows.tobytes())
        self._length += len(rows)

    def mapped(self) -> np.ndarray:
        """The array, in memory only as far as it is used; the map keeps the file after it is closed."""
        shape = (self._length, *self._row.shape[1:])
        with self._file as file:
            file.flush()
            if not file.tell():  # an empty file cannot be mapped
                return np.zeros(shape, self._row.dtype)
            return np.asarray(np.memmap(file, self._row.dtype, "r+", shape=shape))
