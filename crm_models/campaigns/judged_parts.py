"""The parts of a cohort, scored and judged by the rules of a campaign, by whichever process is given the part; kept.

Removing an action that a plan does not use never changes the most probable plan, so only customers whose plan holds a
dropped action are decoded again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from crm_models.campaigns.folder import ROW
from crm_models.campaigns.judging import ALLOWED, Funnel, Verdicts, judge
from crm_models.campaigns.offers import Actions
from crm_models.campaigns.rules import Rule
from crm_models.core.errors import DataError
from crm_models.core.places import place
from crm_models.core.records import CustomerScores
from crm_models.core.schema import CUSTOMER_ID, VALUE
from crm_models.core.tables import TableWriter
from crm_models.data.cohort import Cohort, Moment
from crm_models.data.features import CohortArrays
from crm_models.data.split import planning_moment
from crm_models.data.storage import Parts, last_moment_days
from crm_models.inference.score_store import write_scores
from crm_models.runs.scoring import Scorer, ScoringJob


@dataclass(frozen=True, kw_only=True)
class JudgedPart:
    """N customers of a campaign. scores: with plans that hold no dropped action.

    value_before (N,): sum of the values of each customer's past events; has_values: whether any event has one.
    decoded_again: customers whose plan held a dropped action.
    """

    scores: CustomerScores
    verdicts: Verdicts
    value_before: np.ndarray
    has_values: bool
    decoded_again: int


@dataclass(frozen=True, kw_only=True)
class Judged:
    """All customers of a campaign, whose scores and dropped actions are in its folder; fields as in `JudgedPart`."""

    funnel: Funnel
    value_before: np.ndarray
    has_values: bool
    decoded_again: int


@dataclass(frozen=True, kw_only=True)
class JudgingJob:
    """Score the customers of a cohort folder and apply rules to them, part by part.

    scores: of all customers in their order, if they are known; models are then loaded only to decode plans again.
    """

    scoring: ScoringJob
    rules: tuple[Rule, ...]
    actions: Actions
    scores: CustomerScores | None = None

    def open(self, threads: int | None) -> Judge:
        """Open the cohort's tables."""
        return Judge(self, threads)


class Judge:
    """A judging job that is open in this process."""

    def __init__(self, job: JudgingJob, threads: int | None) -> None:
        self._job, self._threads = job, threads
        self._parts = Parts(place(job.scoring.cohort))

    @cached_property
    def _scorer(self) -> Scorer:
        return self._job.scoring.open(self._threads)

    def read(self, k: int) -> tuple[Cohort, CohortArrays | None]:
        """Part k, encoded if it is to be scored."""
        part = self._parts[k]
        return part, None if self._job.scores is not None else self._encoded(part)

    def work(self, k: int, read: tuple[Cohort, CohortArrays | None]) -> JudgedPart:
        """Scores of part k, what the rules say, and plans within the rules."""
        part, arrays = read
        moment = planning_moment(part)
        scores = self._known(k, part) if arrays is None else self._scorer.work(k, (part, arrays))
        verdicts = judge(
            part, self._job.rules, self._job.actions, moment, scores.churn_p, last_moment_days(self._parts.about)
        )
        within, n_again = self._within_rules(part, scores, arrays, verdicts.code != ALLOWED)
        value_before, has_values = _value_before(part, moment)
        return JudgedPart(
            scores=within,
            verdicts=verdicts,
            value_before=value_before,
            has_values=has_values,
            decoded_again=n_again,
        )

    def _encoded(self, part: Cohort) -> CohortArrays:
        return self._scorer.encoded(self._scorer.fitting(part), planning_moment(part))

    def _known(self, k: int, part: Cohort) -> CustomerScores:
        assert self._job.scores is not None  # else the part was encoded
        scores = self._job.scores.take(np.arange(*self._parts.starts[k : k + 2]))
        if list(scores.customer_id) != part.customers[CUSTOMER_ID].tolist():
            raise DataError("expected the scores of this cohort's customers in their order, found others; score again")
        return scores

    def _within_rules(
        self, part: Cohort, scores: CustomerScores, arrays: CohortArrays | None, dropped: np.ndarray
    ) -> tuple[CustomerScores, int]:
        """The scores with plans that hold no dropped action, and how many customers were decoded again."""
        if scores.plans is None:
            return scores, 0
        planned = scores.plans.actions
        hit = np.take_along_axis(dropped, (planned - 1).clip(min=0), axis=1) & (planned > 0)
        rows = np.flatnonzero(hit.any(axis=1))
        if not len(rows) or self._scorer.models.sequence is None:
            return scores, 0
        from crm_models.inference.decoding import decode_plans

        arrays, encoder = self._encoded(part) if arrays is None else arrays, self._scorer.models.encoder
        forbidden = dropped[rows][:, : encoder.n_actions]
        again = decode_plans(self._scorer.models.sequence, arrays, encoder, rows, dropped=forbidden)
        merged = {}
        for name, values in vars(scores.plans).items():
            merged[name] = values.copy()
            merged[name][rows] = getattr(again, name)
        return replace(scores, plans=replace(scores.plans, **merged)), len(rows)


def _value_before(part: Cohort, moment: Moment | None) -> tuple[np.ndarray, bool]:
    """(N,) sum of the values of each customer's past events, and whether any of them has a value."""
    value = part.interactions[VALUE].to_numpy()
    counted = part.is_history(moment) & np.isfinite(value)
    sums = np.bincount(part.event_customers[counted], value[counted], minlength=part.n_customers)
    return sums, bool(counted.any())


def write_judged(
    folder: Path, parts: Iterable[JudgedPart], funnel: Funnel, progress: Callable[[int], None] | None
) -> Judged:
    """Write scores.parquet and dropped.parquet part by part, and add what was dropped to the funnel.

    progress: called with the number of customers done.
    """
    # Labels may repeat, so a column is named by its place as well.
    names = [f"{k}:{label}" for k, label in enumerate(funnel.actions.labels)]
    layout = pa.schema([(ROW, pa.int64()), *((name, pa.uint8()) for name in names)])
    values: list[np.ndarray] = []
    counts = Counter[str]()

    def scores() -> Iterator[CustomerScores]:
        with TableWriter(folder / "dropped.parquet") as writer:
            for part in parts:
                writer.write(_dropped(part.verdicts.code, funnel.customers, layout))
                funnel.add(part.verdicts)
                values.append(part.value_before)
                counts.update(has_values=part.has_values, decoded_again=part.decoded_again)
                yield part.scores
                if progress is not None:
                    progress(funnel.customers)

    write_scores(folder / "scores.parquet", scores(), key="campaign")
    return Judged(
        funnel=funnel,
        value_before=np.concatenate(values),
        has_values=bool(counts["has_values"]),
        decoded_again=counts["decoded_again"],
    )


def _dropped(code: np.ndarray, first: int, layout: pa.Schema) -> pa.Table:
    """The customers of a part for whom something was dropped; first: row in the cohort of the first of the part."""
    rows = np.flatnonzero((code != ALLOWED).any(axis=1))
    columns = [pa.array(rows + first), *(pa.array(np.ascontiguousarray(column)) for column in code[rows].T)]
    return pa.Table.from_arrays(columns, schema=layout)
