"""Behaviour features of a history: recency, frequency, monetary value (RFM), and the mix of actions.

Letters: N customers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_models.core.schema import ACTION
from crm_models.data.cohort import Cohort, Moment, moment_days

MAX_COUNTED_ACTIONS = 24
"""Largest vocabulary for which each action has a share and a mean value as behaviour features."""

NUMBER_OF = "count: "
"""Name prefix of features that only runs of earlier versions use: the count of an action instead of its share."""


def moment_of_view(cohort: Cohort, as_of: Moment | None, now_days: float | None) -> float:
    """Moment that recency is measured from, in days: `now_days` if given, else `as_of`, else the last event."""
    if now_days is not None:
        return now_days
    if as_of is not None:
        return moment_days(as_of)
    return float(cohort.event_days.max()) if cohort.has_events else 0.0


def behaviour_features(
    cohort: Cohort, as_of: Moment | None, now_days: float | None, actions: tuple[str, ...] | None = None
) -> dict[str, np.ndarray]:
    """Behaviour features from the history: name to (N,) float64, NaN if the history is too short for it.

    RFM and the mix of actions; the paper names such features only under Future Directions (see `ChurnTransformer`).
    """
    names = list(cohort.actions[ACTION]) if actions is None else list(actions)
    if not cohort.has_events and actions is None:
        return {}
    n, now = cohort.n_customers, moment_of_view(cohort, as_of, now_days)
    customer, when = cohort.event_customers, cohort.event_days
    keep = cohort.is_history(as_of)
    customer, when = customer[keep], when[keep]
    value = cohort.interactions["value"].to_numpy()[keep]
    count = np.bincount(customer, minlength=n).astype(np.float64)
    has_events = count > 0
    ends = np.cumsum(count).astype(np.int64)
    first, last = _pick(when, ends - count.astype(np.int64), has_events), _pick(when, ends - 1, has_events)
    features = {
        "recency_days": now - last,
        "n_events": count,
        "n_events_last_30_days": np.bincount(customer[when >= now - 30], minlength=n).astype(np.float64),
        "n_events_last_90_days": np.bincount(customer[when >= now - 90], minlength=n).astype(np.float64),
        "tenure_days": now - first,
        "mean_gap_days": np.divide(last - first, count - 1, out=np.full(n, np.nan), where=count > 1),
    }
    valued = np.isfinite(value)
    n_valued = np.bincount(customer[valued], minlength=n).astype(np.float64)
    total = np.bincount(customer[valued], weights=value[valued], minlength=n)
    features["value_sum"] = total
    features["value_mean"] = np.divide(total, n_valued, out=np.full(n, np.nan), where=n_valued > 0)
    if len(names) <= MAX_COUNTED_ACTIONS:
        features |= _by_action(cohort, keep, names)
    return features


def _by_action(cohort: Cohort, keep: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Share and mean value of each action in the history, and its count, for runs of earlier versions.

    Shares, because the number of events is a separate feature and a ratio is hard to learn from labels.
    """
    n = cohort.n_customers
    code = pd.Index(names, dtype="str").get_indexer(pd.Index(cohort.actions[ACTION]))[cohort.event_actions[keep]]
    customer, value = cohort.event_customers[keep], cohort.interactions["value"].to_numpy()[keep]
    known = code >= 0
    cell = customer[known].astype(np.int64) * len(names) + code[known]
    value = value[known]
    shape = (n, len(names))
    count = np.bincount(cell, minlength=n * len(names)).reshape(shape).astype(np.float64)
    valued = np.isfinite(value)
    n_valued = np.bincount(cell[valued], minlength=n * len(names)).reshape(shape)
    total = np.bincount(cell[valued], weights=value[valued], minlength=n * len(names)).reshape(shape)
    mean = np.divide(total, n_valued, out=np.full(shape, np.nan), where=n_valued > 0)
    total_count = count.sum(axis=1, keepdims=True)
    share = np.divide(count, total_count, out=np.full(shape, np.nan), where=total_count > 0)
    counts = {f"{NUMBER_OF}{name}": count[:, k] for k, name in enumerate(names)}
    shares = {f"share: {name}": share[:, k] for k, name in enumerate(names)}
    return counts | shares | {f"mean value: {name}": mean[:, k] for k, name in enumerate(names)}


def _pick(values: np.ndarray, at: np.ndarray, where: np.ndarray) -> np.ndarray:
    """values[at] where `where`, else NaN."""
    out = np.full(len(at), np.nan)
    out[where] = values[at[where]]
    return out
