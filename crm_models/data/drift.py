"""Other customers than those a run was trained on: what the models have never seen, found before they are scored.

A difference is a `note` (a few values outside), a `warning` (many), or `refuse`: scores would be nonsense, so they are
made only if the caller insists. The cohort is read in parts, so memory does not grow with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.training_schema import ColumnType, Range, TrainedColumn, TrainingSchema, numbers_of, type_of

FAR = 100.0
"""A number is far outside if it is so many times larger, or smaller, than usual in training: another unit, or a decimal
point that was read wrongly."""
MANY = 0.05
"""Share of customers from which a difference is a warning."""
HALF = 0.5
SHOWN = 5
"""Unknown levels and actions that are named."""

Severity = Literal["note", "warning", "refuse"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference. what: column, or "actions", "times", "values". customers: how many it touches. text: a sentence.

    kind: outside, far outside, unknown, missing, type, unit.
    """

    what: str
    kind: Literal["outside", "far outside", "unknown", "missing", "type", "unit"]
    severity: Severity
    customers: int
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def drift(schema: TrainingSchema, stream: Iterable[Cohort]) -> list[Difference]:
    """Differences between the training customers and a cohort given in parts, worst first."""
    columns = {column.name: _ColumnCount(column) for column in schema.columns}
    events, n = _EventCount(schema), 0
    for part in stream:
        for count in columns.values():
            count.add(part)
        events.add(part)
        n += part.n_customers
    found = [difference for count in columns.values() for difference in count.differences(n)]
    order = ("refuse", "warning", "note")
    return sorted([*found, *events.differences(n)], key=lambda d: (order.index(d.severity), -d.customers))


def refuse(differences: list[Difference], where: object) -> None:
    """`DataError` if one of the differences makes scores nonsense; names each, and how to go on all the same."""
    nonsense = [d.text for d in differences if d.severity == "refuse"]
    if nonsense:
        raise DataError(
            f"{where}: these customers differ too much from those the run was trained on: {' '.join(nonsense)} "
            "Correct the data, or go on with --allow-drift"
        )


def conformed(schema: TrainingSchema, cohort: Cohort) -> Cohort:
    """The cohort with every column of the schema in its type: what is no number, or not there, becomes missing."""
    customers = cohort.customers
    for column in schema.columns:
        if column.name not in customers:
            blank = pd.Series(pd.NA if column.type == "text" else np.nan, index=customers.index)
            customers = customers.assign(**{column.name: blank.astype("str" if column.type == "text" else "float64")})
        elif column.type != "text" and type_of(customers[column.name]) == "text":
            numbers = pd.to_numeric(customers[column.name], errors="coerce").astype("float64")
            customers = customers.assign(**{column.name: numbers})
    if customers is cohort.customers:
        return cohort
    return replace(cohort, customers=customers)


# ---- one column ------------------------------------------------------------------------------------------------------


@dataclass
class _ColumnCount:
    """Counts of one profile column over the parts of a cohort."""

    trained: TrainedColumn
    absent: int = 0
    missing: int = 0
    below: int = 0
    above: int = 0
    far: int = 0
    filled: int = 0
    low: float = np.inf
    high: float = -np.inf
    other_type: int = 0
    found_type: ColumnType = "text"
    odd: str = ""
    unknown: Counter[str] = field(default_factory=Counter)

    def add(self, part: Cohort) -> None:
        if self.trained.name not in part.customers:
            self.absent += part.n_customers
            return
        column = part.customers[self.trained.name]
        self.missing += int(column.isna().sum())
        self.filled += int(column.notna().sum())
        if self.trained.type == "text":
            self._add_text(column)
        elif type_of(column) == "text" and column.notna().any():
            self._add_odd(part, column)
        elif column.notna().any():
            if type_of(column) != self.trained.type and self.trained.range is not None and self._has_type():
                self.other_type, self.found_type = self.other_type + int(column.notna().sum()), type_of(column)
            else:
                self._add_numbers(numbers_of(column))

    def _has_type(self) -> bool:
        return self.trained.missing is not None  # runs without a schema do not tell dates from numbers

    def _add_text(self, column: pd.Series) -> None:
        if self.trained.levels is not None:
            levels = column.dropna().astype("str").value_counts()
            for level in levels.index.difference(pd.Index(self.trained.levels)):
                self.unknown[str(level)] += int(levels[level])

    def _add_odd(self, part: Cohort, column: pd.Series) -> None:
        is_odd = column.notna() & pd.to_numeric(column, errors="coerce").isna()
        self.other_type += int(column.notna().sum())
        if is_odd.any() and not self.odd:
            at = int(is_odd.to_numpy().argmax())
            self.odd = f"{str(column.iloc[at])!r}, of customer {part.customers[CUSTOMER_ID].iloc[at]!r}"

    def _add_numbers(self, values: np.ndarray) -> None:
        known = values[np.isfinite(values)]
        if self.trained.range is None or not len(known):
            return
        self.below += int((known < self.trained.range.low).sum())
        self.above += int((known > self.trained.range.high).sum())
        self.far += int(is_far(known, self.trained.range).sum())
        self.low, self.high = min(self.low, float(known.min())), max(self.high, float(known.max()))

    def differences(self, n: int) -> Iterable[Difference]:
        name = self.trained.name
        if self.absent:
            text = f"The column {name!r}, which the run was trained on, is missing."
            yield _difference(name, "missing", "refuse", self.absent, text)
            return
        if self.other_type:
            found = f"the first that is none: {self.odd}" if self.odd else f"found {self.found_type}s"
            text = f"The column {name!r} held {self.trained.type}s in training; {found}."
            yield _difference(name, "type", "refuse", self.other_type, text)
        yield from self._outside()
        if self.unknown:
            count = sum(self.unknown.values())
            text = f"{name!r} has {_named(self.unknown)}, unknown to the run: {_customers(count)}, read as “other”."
            yield _difference(name, "unknown", _by_share(count, n), count, text)
        usual = self.trained.missing
        if usual is not None and n and self.missing / n > max(2 * usual, usual + MANY):
            text = f"{name!r} is missing for {self.missing / n:.0%} of customers, in training for {usual:.0%}."
            yield _difference(name, "missing", _by_share(self.missing, n), self.missing, text)

    def _outside(self) -> Iterable[Difference]:
        name, trained = self.trained.name, self.trained.range
        outside = self.below + self.above
        if trained is None:
            return
        found = f"here {_text(self.low)} to {_text(self.high)}"
        if self.far and self.far >= HALF * self.filled:
            text = (
                f"{name!r} is {FAR:.0f} times larger or smaller than in training for {_customers(self.far)}: mostly "
                f"{_text(trained.usual_low)} to {_text(trained.usual_high)} in training, {found}; another unit, or a "
                "decimal point read wrongly."
            )
            yield _difference(name, "far outside", "refuse", self.far, text)
        elif outside:
            seen = f"training saw {_text(trained.low)} to {_text(trained.high)}"
            text = f"{name!r} is outside the range for {_customers(outside)}: {seen}, {found}; read as its ends."
            yield _difference(name, "outside", _by_share(outside, self.filled), outside, text)


def is_far(values: np.ndarray, trained: Range) -> np.ndarray:
    """(N,) whether each value is `FAR` times larger, or smaller, than those usual in training."""
    size = np.abs(values)
    largest = max(abs(trained.usual_low), abs(trained.usual_high))
    far = size >= FAR * largest if largest > 0 else np.zeros(len(values), bool)
    if trained.usual_low > 0 or trained.usual_high < 0:  # values near zero are unusual
        smallest = min(abs(trained.usual_low), abs(trained.usual_high))
        far |= (size > 0) & (size <= smallest / FAR)
    return far


# ---- events ----------------------------------------------------------------------------------------------------------


class _EventCount:
    """Counts of the events over the parts of a cohort."""

    def __init__(self, schema: TrainingSchema) -> None:
        self.schema, self.known = schema, pd.Index(schema.actions, dtype="str")
        self.events = self.known_events = self.touched = self.far_gaps = self.gaps = self.far_values = self.values = 0
        self.unknown: Counter[str] = Counter()
        self.dated: bool | None = None

    def add(self, part: Cohort) -> None:
        if not part.has_events:
            return
        self.dated = part.is_dated
        names = part.actions[ACTION].to_numpy(dtype=object)
        is_known = self.known.get_indexer(pd.Index(names, dtype="str")) >= 0
        of_event = is_known[part.event_actions]
        self.events += len(of_event)
        self.known_events += int(of_event.sum())
        self.touched += len(np.unique(part.event_customers[~of_event]))
        counts = np.bincount(part.event_actions, minlength=len(names))
        self.unknown.update({str(names[k]): int(counts[k]) for k in np.flatnonzero(~is_known & (counts > 0))})
        gaps = np.diff(part.event_days)[np.diff(part.event_customers) == 0]
        self._add_range("gaps", gaps[gaps > 0], self.schema.gap)
        values = part.interactions[VALUE].to_numpy()
        self._add_range("values", values[np.isfinite(values)], self.schema.value)

    def _add_range(self, what: str, values: np.ndarray, trained: Range | None) -> None:
        if trained is not None:
            setattr(self, what, getattr(self, what) + len(values))
            setattr(self, f"far_{what}", getattr(self, f"far_{what}") + int(is_far(values, trained).sum()))

    def differences(self, n: int) -> Iterable[Difference]:
        schema = self.schema
        if schema.actions and not self.events:
            text = "There are no events; the run was trained on histories, so everybody counts as without one."
            yield _difference("actions", "missing", "warning", n, text)
            return
        if self.unknown and schema.actions:
            lost = self.events - self.known_events
            text = (
                f"No action is known to the run: it was trained on {_named(schema.actions)}, here are "
                f"{_named(self.unknown)}."
                if not self.known_events
                else f"{_named(self.unknown)}, unknown to the run: {lost:,} of {self.events:,} events, of "
                f"{_customers(self.touched)}, are left out."
            )
            severity: Severity = _by_share(self.touched, n) if self.known_events else "refuse"
            yield _difference("actions", "unknown", severity, self.touched, text)
        if schema.dated is not None and self.dated is not None and self.dated != schema.dated:
            was, found = ("dates", "numbers") if schema.dated else ("numbers", "dates")
            yield _difference("times", "type", "refuse", n, f"Times were {was} in training, here they are {found}.")
        elif self.gaps and self.far_gaps >= HALF * self.gaps:
            text = f"Times between events are {FAR:.0f} times or more outside the range of training: another unit."
            yield _difference("times", "unit", "refuse", n, text)
        if self.values and self.far_values >= HALF * self.values:
            text = f"Event values are {FAR:.0f} times or more outside the range of training: another unit."
            yield _difference("values", "far outside", "refuse", n, text)


# ---- words -----------------------------------------------------------------------------------------------------------


def _difference(what: str, kind: Any, severity: Severity, customers: int, text: str) -> Difference:
    return Difference(what=what, kind=kind, severity=severity, customers=int(customers), text=text)


def _by_share(count: int, n: int) -> Severity:
    return "warning" if count > MANY * max(n, 1) else "note"


def _customers(n: int) -> str:
    return f"{n:,} customer{'' if n == 1 else 's'}"


def _text(number: float) -> str:
    return f"{number:,.6g}" if abs(number) < 1e6 else f"{number:,.0f}"


def _named(names: Iterable[str]) -> str:
    """Up to five names, the most frequent first if they are counted, and how many more there are."""
    ordered = [name for name, _ in names.most_common()] if isinstance(names, Counter) else list(names)
    more = f" and {len(ordered) - SHOWN:,} more" if len(ordered) > SHOWN else ""
    return ", ".join(f"“{name}”" for name in ordered[:SHOWN]) + more
