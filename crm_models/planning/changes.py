"""What changed since the last scores: who is new, who left, whose risk moved, whose plan is another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crm_models.core.records import CustomerScores
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import Policy, rounded

CHUNK = 65_536
"""Customers whose plans are made at once."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """Customers by what changed, as rows of the later scores (new, moved, plan_changed) or the earlier ones (gone).

    moved: rows whose churn probability changed by at least the wanted points, largest change first. before: (N,) the
    earlier churn probability of each later customer, NaN if new. common: number of customers in both.
    """

    new: np.ndarray
    gone: np.ndarray
    moved: np.ndarray
    plan_changed: np.ndarray
    newly_at_risk: np.ndarray
    before: np.ndarray
    common: int


def changes(
    earlier: CustomerScores, later: CustomerScores, catalogue: Catalogue, policy: Policy, *, points: float = 10.0
) -> Changes:
    """Compare two scorings by customer id. points: percentage points of churn probability that count as moved."""
    place = pd.Index(earlier.customer_id).get_indexer(pd.Index(later.customer_id))
    known = place >= 0
    before = np.full(len(place), np.nan)
    before[known] = earlier.churn_p[place[known]]
    change = np.abs(rounded(later.churn_p) - rounded(before))
    moved = np.flatnonzero(np.nan_to_num(change, nan=-1.0) >= points / 100 - 1e-12)
    other_plan = np.zeros(len(place), dtype=bool)
    rows = np.flatnonzero(known)
    for first in range(0, len(rows), CHUNK):
        at = rows[first : first + CHUNK]
        old, new = (make_plans(s.take(r), catalogue, policy) for s, r in ((earlier, place[at]), (later, at)))
        other_plan[at] = (old.action != new.action).any(axis=1)
    return Changes(
        new=np.flatnonzero(~known),
        gone=np.setdiff1d(np.arange(len(earlier.customer_id)), place[known]),
        moved=moved[np.argsort(-change[moved], kind="stable")],
        plan_changed=np.flatnonzero(other_plan),
        newly_at_risk=np.flatnonzero(policy.at_risk(later.churn_p) & known & ~policy.at_risk(before)),
        before=before,
        common=int(known.sum()),
    )
