"""Action mix: how often each action occurs in all plans, at any threshold, without remaking the plans.

A policy changes a plan only through its number of retention steps (0 to 3), which never falls as the risk rises. So for
each number of steps the changes are summed once over the customers in order of risk, and these cumulative sums give the
mix for every threshold, mode and intensity. Letters: V entries of the plan vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crm_models.core.records import CustomerScores
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex

BLOCK = 2048
"""Customers between two stored sums: one sum per customer takes gigabytes, and planning a block takes milliseconds."""


def change(scores: CustomerScores, catalogue: Catalogue, policy: Policy, k: int) -> np.ndarray:
    """(V,) change in the occurrences of each action if all these plans begin with `k` retention steps."""
    plans = make_plans(scores, catalogue, policy, np.full(len(scores.customer_id), k))
    after, before = (
        np.bincount(codes[codes >= 0], minlength=len(catalogue.labels)) for codes in (plans.action, plans.before)
    )
    return after - before


def change_sums(
    everybody: CustomerScores, rows_by_risk: np.ndarray, catalogue: Catalogue, policy: Policy, k: int
) -> np.ndarray:
    """(blocks + 1, V) `change` of the 0, 2048, 4096, ... customers with the highest risk."""
    sums = np.zeros((len(rows_by_risk) // BLOCK + 1, len(catalogue.labels)), np.int64)
    for block in range(1, len(sums)):
        rows = rows_by_risk[(block - 1) * BLOCK : block * BLOCK]
        sums[block] = sums[block - 1] + change(everybody.take(rows), catalogue, policy, k)
    return sums


def mix_after(
    before: np.ndarray, policy: Policy, risk: RiskIndex, change_of_first: Callable[[int, int], np.ndarray]
) -> np.ndarray:
    """(V,) occurrences of each action in all plans under the policy.

    before: (V,) occurrences without a policy. change_of_first(k, n): (V,) `change` of the n plans with the highest risk
    if they begin with k retention steps.
    """
    after = before.copy()
    at_least = risk.n_with_retention(policy)
    for k, (last, first) in enumerate(zip(at_least, [*at_least[1:], 0], strict=True), start=1):
        if last > first:
            after += change_of_first(k, last) - change_of_first(k, first)
    return after
