"""Draws and tables that several scenarios share: times, profile columns, ids, events, the cohort."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_models.core.schema import ACTION, CUSTOMER_ID, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.synthetic.settings import AS_OF, MINUTES_PER_DAY, ScenarioSettings
from crm_models.data.truth import Truth


def times(n_history: np.ndarray, total: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(E,) datetime64[us] of all events and (N,) tenure of each customer in days.

    Gaps are exponential with a mean drawn per customer; the last one before the cut-off, the recency, is four times as
    long for 35% of customers. In whole minutes; history is strictly before the cut-off, the outcome after it.
    """
    n = len(total)
    pace = rng.lognormal(np.log(7.0), 0.6, n).astype(np.float32)
    recency = rng.exponential(1.0, n) * pace * np.where(rng.random(n) < 0.35, 4.0, 1.0) + 0.05
    gap = rng.exponential(1.0, int(total.sum())).astype(np.float32) * np.repeat(pace, total) + 0.01
    elapsed = np.cumsum(gap, dtype=np.float64)
    ends = np.cumsum(total)
    starts = ends - total
    anchor = starts + n_history  # first outcome event; the last history event is `recency` days before the cut-off
    elapsed_at_anchor = np.repeat(elapsed[anchor], total)
    day = elapsed - elapsed_at_anchor
    in_history = np.arange(len(gap)) < np.repeat(anchor, total)
    first_gap = np.repeat(gap[anchor], total)
    day = np.where(in_history, day + first_gap - np.repeat(recency, total), day + first_gap)
    first = np.where(n_history > 0, -day[starts], 0.0)
    tenure = np.ceil(first + rng.exponential(60.0, n) + 1).astype(np.int64)
    minutes = np.floor(day * MINUTES_PER_DAY).astype(np.int64)
    at = AS_OF.to_datetime64().astype("datetime64[us]") + minutes * np.timedelta64(60_000_000, "us")
    return at, tenure


def profile_columns(truth: Truth, segment: np.ndarray, rng: np.random.Generator) -> dict[str, object]:
    """Profile columns that depend on the segment (N,), by name."""
    columns: dict[str, object] = {}
    for column in truth.profile:
        cumulative = np.cumsum(np.array(column.p), axis=1)
        cumulative[:, -1] = 1.0
        draw = rng.random(len(segment))
        level = np.zeros(len(segment), np.int64)
        for s in range(len(truth.prior)):
            in_segment = segment == s
            level[in_segment] = np.searchsorted(cumulative[s], draw[in_segment], side="right")
        if all(name.isdigit() for name in column.levels):
            columns[column.column] = np.array([int(name) for name in column.levels])[level]
        else:
            columns[column.column] = pd.Series(pd.Index(column.levels, dtype="str").take(level))
    return columns


def customer_ids(n: int) -> pd.Series:
    """C000001 and so on, with as many digits as the largest number needs (at least six)."""
    width = max(6, len(str(n)))
    return "C" + pd.Series(np.arange(1, n + 1)).astype("str").str.zfill(width)


def events_table(
    customers: pd.DataFrame,
    actions: pd.DataFrame,
    customer: np.ndarray,
    action: np.ndarray,
    at: object,
    value: np.ndarray,
) -> pd.DataFrame:
    """Events with categorical ids built from codes, which avoids one id string per event."""
    ids = pd.Index(customers[CUSTOMER_ID], dtype="str").rename(None)
    names = pd.Index(actions[ACTION], dtype="str").rename(None)
    return pd.DataFrame(
        {
            CUSTOMER_ID: pd.Categorical.from_codes(customer, categories=ids),
            ACTION: pd.Categorical.from_codes(action, categories=names),
            TIMESTAMP: at,
            VALUE: value,
        }
    )


def cohort_of(
    settings: ScenarioSettings, customers: pd.DataFrame, events: pd.DataFrame, actions: pd.DataFrame
) -> Cohort:
    """The generated cohort: its outcome, after `AS_OF`, is simulated."""
    return Cohort.build(
        name=settings.scenario,
        source=settings.scenario if settings.scenario in ("lifelike", "paper") else f"generated {settings.scenario}",
        customers=customers,
        interactions=events,
        actions=actions,
        as_of=AS_OF,
        outcome="simulated",
        notes=[f"Generated: scenario {settings.scenario}, signal {settings.signal:g}, seed {settings.seed}."],
        settings={"scenario": settings.scenario, "signal": settings.signal, "seed": settings.seed},
    )
