"""Stability over seeds: what runs that differ in their seed alone say of the same customers.

Letters: N customers, K seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from crm_models.planning.plans import STEP_RETENTION, Plans
from crm_models.planning.policy import Policy, is_at_risk


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Scores of the same customers by the runs of several seeds.

    seeds (K,): that of the run itself first. customer_id (N,). churn_p (N, K): NaN without a churn model. first (N, K):
    code of the first action of the plan without a policy. scores: model -> score -> its K values on the test customers.
    """

    seeds: tuple[int, ...]
    customer_id: np.ndarray
    churn_p: np.ndarray
    first: np.ndarray
    scores: dict[str, dict[str, list[float]]]

    @cached_property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) lowest and (N,) highest churn probability of each customer over the seeds."""
        return self.churn_p.min(axis=1), self.churn_p.max(axis=1)

    def same_side(self, threshold: float) -> np.ndarray:
        """(N,) whether all seeds put the customer on the same side of the threshold."""
        low, high = self.ends
        return is_at_risk(low, threshold) == is_at_risk(high, threshold)

    @cached_property
    def same_first(self) -> np.ndarray:
        """(N,) whether all seeds propose the same first action."""
        return (self.first == self.first[:, :1]).all(axis=1)

    def confident(self, plans: Plans) -> pd.Series:
        """Whether all seeds agree with each plan; missing for customers whom they have not scored.

        They agree if they are on the same side of the policy's threshold, and propose the same first action where the
        plan does not begin with a retention action.
        """
        at = pd.Index(self.customer_id).get_indexer(pd.Index(plans.customer_id))
        is_retention = plans.step_source[:, 0] == STEP_RETENTION
        agree = self.same_side(plans.policy.threshold)[at] & (is_retention | self.same_first[at])
        return pd.Series(agree, dtype="boolean").mask(at < 0)

    def agree(self, policy: Policy) -> np.ndarray:
        """(N,) the same for the plans under a policy, without making them."""
        is_retention = policy.n_retention(self.churn_p[:, 0]) > 0
        return self.same_side(policy.threshold) & (is_retention | self.same_first)

    def judged(self, plans: Plans) -> Plans:
        """The plans that say whether all seeds agree."""
        return replace(plans, confident=self.confident(plans))

    def counts(self, threshold: float) -> dict[str, int]:
        """Number of customers, and of those where seeds disagree: on the side, on the first action, on either."""
        return {
            "customers": len(self.customer_id),
            "change_side": int((~self.same_side(threshold)).sum()),
            "change_first_action": int((~self.same_first).sum()),
            "not_confident": int((~self.agree(Policy(threshold=threshold))).sum()),
        }

    def spread(self, model: str, score: str) -> tuple[float, float] | None:
        """Lowest and highest value of a score over the seeds; None if it is unknown."""
        values = self.scores.get(model, {}).get(score)
        return (min(values), max(values)) if values else None

    def summary(self, threshold: float) -> dict[str, Any]:
        """Plain values for JSON: the seeds, the counts at the threshold, and the scores by seed."""
        return {
            "seeds": list(self.seeds),
            "threshold": threshold,
            **self.counts(threshold),
            "scores": self.scores,
        }
