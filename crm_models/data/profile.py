"""Descriptive statistics of a cohort: action mix, history lengths, recency, churn rate by feature, segments.

All are counted over the history before the cohort's `as_of`, as in training, never over the outcome.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.core.files import read_whole
from crm_models.core.schema import ACTION, CHURNED, KIND, LABEL, VALUE
from crm_models.data.cohort import Cohort, Moment, in_parts, moment_days
from crm_models.data.split import history
from crm_models.data.storage import customer_table, describe

MAX_GROUPS = 8
"""Maximum number of groups shown per feature; rarer values are merged."""

CHUNK = 65_536
"""Customers whose actions are counted at once."""

MISSING = "(missing)"

_LENGTHS = (0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_DAYS = (0, 7, 14, 30, 60, 90, 180, 365, 730)


@dataclass(frozen=True, kw_only=True)
class Headline:
    """Key figures of a cohort. churn_rate: share of churned among labelled customers; None without labels."""

    customers: int
    interactions: int
    actions: int
    labelled: int
    churn_rate: float | None


@dataclass(frozen=True, kw_only=True)
class CohortProfile:
    """Tables ready to plot; `churn_rate` is NaN where no label is known.

    actions: `action`, `label`, `kind`, `events`, `share` of all events, `customers` who had it; most frequent first.
    history: `events` (a range as text), `customers`, `churn_rate`, in ascending order of length.
    recency: `since` (a range as text, in `time_unit`), `customers`, `churn_rate`, over customers with an event.
    features: `feature`, `group`, `customers`, `churn_rate`; in the order of the cohort; groups of
        numbers ascending, others by frequency.
    spread: `feature`, `spread`: standard deviation of the churn rate over the groups, weighted by customers; largest
        first. Without labels: in the order of the cohort, NaN.
    segments: `segment`, `meaning`, `customers`, `events_each`, `value_each`, `churn_rate`; empty without events.
    """

    actions: pd.DataFrame
    history: pd.DataFrame
    recency: pd.DataFrame
    features: pd.DataFrame
    spread: pd.DataFrame
    segments: pd.DataFrame
    time_unit: str


def headline(folder: Path) -> Headline:
    """Key figures of a cohort folder, read from `cohort.json` and the label column only."""
    about = describe(folder)
    table, file = customer_table(folder, [CHURNED]), Path(folder) / "customers.parquet"
    with read_whole(file, "the labels of the customers", "generate or import it again"):
        churned = table[CHURNED].astype("boolean")
    labelled = int(churned.notna().sum())
    return Headline(
        customers=about["customers"],
        interactions=about["interactions"],
        actions=about["actions"],
        labelled=labelled,
        churn_rate=float(churned.sum()) / labelled if labelled else None,
    )


@dataclass(frozen=True, kw_only=True)
class Past:
    """What the statistics ask of the history of a cohort, or of a part of one.

    numbers: see `_numbers`. by_action (2, A): events of each action, and customers who had it. is_dated: whether its
    events have dates; None without events.
    """

    customers: pd.DataFrame
    feature_columns: list[str]
    numbers: pd.DataFrame
    actions: pd.DataFrame
    by_action: np.ndarray
    is_dated: bool | None
    as_of: Moment | None

    @classmethod
    def of(cls, cohort: Cohort) -> Past:
        """Of a cohort in memory."""
        past = history(cohort, cohort.as_of)
        events = np.bincount(past.event_actions, minlength=len(past.actions))
        return cls(
            customers=past.customers,
            feature_columns=past.feature_columns,
            numbers=_numbers(past),
            actions=past.actions,
            by_action=np.stack([events, _customers_having(past)]),
            is_dated=past.is_dated if past.has_events else None,
            as_of=past.as_of,
        )

    @classmethod
    def joined(cls, parts: Sequence[Past]) -> Past:
        """Of a cohort, from those of its parts in their order."""
        return replace(
            parts[0],
            customers=pd.concat([part.customers for part in parts], ignore_index=True),
            numbers=pd.concat([part.numbers for part in parts], ignore_index=True),
            by_action=np.sum([part.by_action for part in parts], axis=0),
            is_dated=next((part.is_dated for part in parts if part.is_dated is not None), None),
        )


def profile(cohort: Cohort | Iterable[Cohort]) -> CohortProfile:
    """Compute the statistics of a cohort.

    cohort: also as its parts, one after the other: then the customers and a few numbers for each are held in memory,
    and the events of one part.
    """
    return profile_of(Past.joined([Past.of(part) for part in in_parts(cohort)]))


def profile_of(past: Past) -> CohortProfile:
    """Compute the statistics."""
    labels, n_events, last, value = (past.numbers[name].to_numpy() for name in ("label", "events", "last", "value"))
    since = _now(past.as_of, last) - last
    has, groups = n_events > 0, _feature_groups(past.customers[past.feature_columns], labels)
    return CohortProfile(
        actions=_action_mix(past.actions, *past.by_action),
        history=_by_range("events", n_events, _length_edges(n_events), labels),
        recency=_by_range("since", since[has], _recency_edges(since[has]), labels[has]),
        features=groups,
        spread=_spread(groups),
        segments=_segments(n_events, since, value, labels),
        time_unit="time units" if past.is_dated is False else "days",
    )


SEGMENT, LENGTH, SINCE_LAST = "segment", "length of history", "time since the last event"
BEHAVIOUR = (SEGMENT, LENGTH, SINCE_LAST)
"""Ways to group customers by their history; the others are the profile columns."""


def group_customers(cohort: Cohort | Iterable[Cohort], by: str) -> tuple[np.ndarray, list[str]]:
    """(N,) group of each customer, and the names of the groups, as in `profile`; by: one of BEHAVIOUR or a column.

    cohort: also as its parts, one after the other: then only a few numbers for each customer are held in memory.
    """
    columns, numbers, as_of = [], [], None
    for part in in_parts(cohort):
        as_of = part.as_of
        if by not in BEHAVIOUR:
            columns.append(part.customers[by])
        else:
            numbers.append(_numbers(history(part, as_of)))
    if columns:
        return _groups(pd.concat(columns, ignore_index=True))
    number = pd.concat(numbers, ignore_index=True)
    n_events, last = number["events"].to_numpy(), number["last"].to_numpy()
    since = _now(as_of, last) - last
    if by == SEGMENT:
        return _segment_of(n_events, since), [name for name, _ in SEGMENTS]
    if by == LENGTH:
        return _ranged(n_events, _length_edges(n_events))
    codes, names = _ranged(since, _recency_edges(since[n_events > 0]))
    return np.where(n_events > 0, codes, len(names)), [*names, "no event"]


def _numbers(past: Cohort) -> pd.DataFrame:
    """Of each customer: `label`, number of `events`, time of the `last` one in days (NaN without), sum of `value`."""
    starts = past.starts
    n_events, last = np.diff(starts), np.full(past.n_customers, np.nan)
    last[n_events > 0] = past.event_days[starts[1:][n_events > 0] - 1]
    values = np.nan_to_num(past.interactions[VALUE].to_numpy())
    value = np.bincount(past.event_customers, weights=values, minlength=past.n_customers)
    return pd.DataFrame({"label": past.labels, "events": n_events, "last": last, "value": value})


def _now(as_of: Moment | None, last: np.ndarray) -> float:
    """`as_of` in days, or the last event of all."""
    return moment_days(as_of) if as_of is not None else float(np.max(last, initial=-np.inf, where=~np.isnan(last)))


def _customers_having(past: Cohort) -> np.ndarray:
    """(A,) number of customers who had each action."""
    n, starts = len(past.actions), past.starts
    customers = np.zeros(n, np.int64)
    for first in range(0, past.n_customers, CHUNK):  # or the pairs of a million customers would take a gigabyte
        rows = slice(starts[first], starts[min(first + CHUNK, past.n_customers)])
        # Each (customer, action) pair once: pairs are numbered customer * A + action.
        pairs = np.unique(past.event_customers[rows].astype(np.int64) * n + past.event_actions[rows])
        customers += np.bincount(pairs % n, minlength=n)
    return customers


def _action_mix(actions: pd.DataFrame, events: np.ndarray, customers: np.ndarray) -> pd.DataFrame:
    table = actions[[ACTION, LABEL, KIND]].assign(
        events=events, share=events / max(events.sum(), 1), customers=customers
    )
    return table.sort_values("events", ascending=False, kind="stable").reset_index(drop=True)


def _length_edges(n_events: np.ndarray) -> np.ndarray:
    """Lower bounds of the history length ranges: each integer if the longest is at most 15, else 0, 1, 2, 3-4, ..."""
    longest = int(n_events.max(initial=0))
    return np.arange(longest + 1) if longest <= 15 else np.array([e for e in _LENGTHS if e <= longest])


def _recency_edges(since: np.ndarray) -> np.ndarray:
    longest = float(since.max(initial=0.0))
    if longest <= 14:
        return np.arange(int(longest) + 1)
    return np.array([e for e in _DAYS if e <= longest])


def _by_range(name: str, values: np.ndarray, edges: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Customers and churn rate per range of integers; the last range has no upper bound."""
    codes, texts = _ranged(values, edges)
    customers, rate = _rates(codes, labels, len(edges))
    return pd.DataFrame({name: texts, "customers": customers, "churn_rate": rate})


def _ranged(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Range of each value, from its lower bounds, and the ranges in words; the last one has no upper bound."""
    texts = [_range_text(low, high) for low, high in zip(edges, [*edges[1:], None], strict=True)]
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 1), texts


def _range_text(low: int, high: int | None) -> str:
    if high is None:
        return f"{low:,} or more" if low else "0"
    return f"{low:,}" if high - low == 1 else f"{low:,} to {high - 1:,}"


def _rates(codes: np.ndarray, labels: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Customers per group, and the churn rate among the labelled ones (NaN if there are none)."""
    known = ~np.isnan(labels)
    of_known = np.bincount(codes[known], minlength=n)
    churned = np.bincount(codes[known], weights=labels[known], minlength=n)
    with np.errstate(invalid="ignore"):
        return np.bincount(codes, minlength=n), np.where(of_known > 0, churned / np.maximum(of_known, 1), np.nan)


# ---- features by churn -----------------------------------------------------------------------------------------------


def _feature_groups(features: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    tables = []
    for feature in features:
        codes, names = _groups(features[feature])
        customers, rate = _rates(codes, labels, len(names))
        table = pd.DataFrame({"feature": feature, "group": names, "customers": customers, "churn_rate": rate})
        tables.append(table[table["customers"] > 0])
    types = {"feature": "str", "group": "str", "customers": "int64", "churn_rate": "float64"}
    empty = pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in types.items()})
    return pd.concat(tables, ignore_index=True) if tables else empty


def _groups(column: pd.Series) -> tuple[np.ndarray, list[str]]:
    """Group index of each customer, and the group names: ranges of numbers, or the most frequent values."""
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.dt.year.astype("Float64")
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return _number_groups(column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan))
    codes, values = pd.factorize(column.astype("object"))
    order = np.argsort(-np.bincount(codes[codes >= 0], minlength=len(values)), kind="stable")
    shown = order if len(values) <= MAX_GROUPS else order[: MAX_GROUPS - 1]
    names = [_value_text(values[k]) for k in shown]
    if len(values) > len(shown):
        names.append(f"({len(values) - len(shown):,} others)")
    place = np.full(len(values) + 1, len(shown))  # group of each value; values not shown share one
    place[shown] = np.arange(len(shown))
    place[-1] = len(names)  # code -1: missing
    return place[codes], [*names, MISSING]


def _number_groups(values: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """One group per value if there are few values; else five ranges with about equal numbers of customers."""
    finite = np.isfinite(values)
    distinct = np.unique(values[finite])
    if len(distinct) <= MAX_GROUPS:
        codes = np.where(finite, np.searchsorted(distinct, values), len(distinct))
        return codes, [*(_number_text(float(v)) for v in distinct), MISSING]
    cuts = np.unique(np.quantile(values[finite], [0.2, 0.4, 0.6, 0.8]))
    codes = np.where(finite, np.searchsorted(cuts, values), len(cuts) + 1)
    ends = [float(end) for end in (distinct[0], *cuts, distinct[-1])]
    names = [
        _number_text(low) if low == high else f"{_number_text(low)} to {_number_text(high)}"
        for low, high in itertools.pairwise(ends)
    ]
    return codes, [*names, MISSING]


def _value_text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return str(value)


def _number_text(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))  # 2024 may be a year
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _spread(groups: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for feature, table in groups.groupby("feature", sort=False):
        rate, weight = table["churn_rate"].to_numpy(), table["customers"].to_numpy(dtype=np.float64)
        known = ~np.isnan(rate)
        spread = np.nan
        if known.any():
            mean = np.average(rate[known], weights=weight[known])
            spread = float(np.sqrt(np.average((rate[known] - mean) ** 2, weights=weight[known])))
        rows.append({"feature": feature, "spread": spread})
    table = pd.DataFrame(rows, columns=["feature", "spread"])
    return table.sort_values("spread", ascending=False, kind="stable").reset_index(drop=True)


# ---- segments --------------------------------------------------------------------------------------------------------

SEGMENTS: tuple[tuple[str, str], ...] = (
    ("Regulars", "active recently, and often"),
    ("Newer or occasional", "active recently, but not often"),
    ("Slipping away", "active often, but not recently"),
    ("Dormant", "active neither recently nor often"),
    ("No history", "no events so far"),
)
"""Recency and frequency, each split at the median of customers with a history (R and F of RFM)."""


def _segment_of(n_events: np.ndarray, since: np.ndarray) -> np.ndarray:
    """(N,) index in SEGMENTS of each customer."""
    has = n_events > 0
    if not has.any():
        return np.full(len(n_events), len(SEGMENTS) - 1)
    quiet = since > np.median(since[has])
    often = n_events >= np.median(n_events[has])
    return np.where(has, 2 * quiet + ~often, len(SEGMENTS) - 1)


def _segments(n_events: np.ndarray, since: np.ndarray, value: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    names = ["segment", "meaning", "customers", "events_each", "value_each", "churn_rate"]
    if not n_events.any():
        return pd.DataFrame(columns=names)
    codes = _segment_of(n_events, since)
    customers, rate = _rates(codes, labels, len(SEGMENTS))
    at_least_one = np.maximum(customers, 1)
    columns: dict[str, Any] = {
        "segment": [name for name, _ in SEGMENTS],
        "meaning": [meaning for _, meaning in SEGMENTS],
        "customers": customers,
        "events_each": np.bincount(codes, weights=n_events, minlength=len(SEGMENTS)) / at_least_one,
        "value_each": np.bincount(codes, weights=value, minlength=len(SEGMENTS)) / at_least_one,
        "churn_rate": rate,
    }
    table = pd.DataFrame(columns, columns=names)
    return table[table["customers"] > 0].reset_index(drop=True)
