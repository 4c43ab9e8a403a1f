"""How often each action stands in somebody's plan, at any threshold, in the time of a look-up.

What a policy does to a plan hangs on one number, how many retention steps come first (0 to 3), and that grows with the
risk. So customers with equally many stand side by side in the order of risk, and sums over that order, made once,
answer for every threshold, mode and intensity.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from crm_models.core.records import CustomerScores
from crm_models.core.schema import N_STEPS
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import PROBABILITY_DIGITS, Policy
from dashboard.state.store import of_rows

BLOCK = 2048
"""Customers between two sums: one for each customer would take gigabytes, and so few are planned in milliseconds."""


def risks_in_order(churn_p: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n,) the churn probabilities that plans go by; rows: customers whose risk is known, riskiest first."""
    return np.round(churn_p[rows], PROBABILITY_DIGITS)


def change(scores: CustomerScores, words: Catalogue, retention: tuple[str, ...], k: int) -> np.ndarray:
    """(V,) steps that each action gains or loses when all these plans begin with `k` retention steps."""
    # A probability that gives exactly k steps under this policy, whatever the customer's own.
    policy = Policy(threshold=0.0, mode="graded", intensity=1.0, retention_actions=retention)
    alike = replace(scores, churn_p=np.full(len(scores.customer_id), (k - 0.5) / N_STEPS))
    plans, size = make_plans(alike, words, policy), len(words.labels)
    after, before = (np.bincount(codes[codes >= 0], minlength=size) for codes in (plans.action, plans.before))
    return after - before


def change_sums(
    everybody: CustomerScores, rows: np.ndarray, words: Catalogue, retention: tuple[str, ...], k: int
) -> np.ndarray:
    """(blocks + 1, V) `change` of the first 0, 2048, 4096, ... customers in the order of risk."""
    sums = np.zeros((len(rows) // BLOCK + 1, len(words.labels)), np.int64)
    for block in range(1, len(sums)):
        own = rows[(block - 1) * BLOCK : block * BLOCK]
        sums[block] = sums[block - 1] + change(of_rows(everybody, own), words, retention, k)
    return sums


def mix_after(
    before: np.ndarray,
    policy: Policy,
    risks: np.ndarray,
    change_of_first: Callable[[int, int], np.ndarray],
) -> np.ndarray:
    """(V,) how often each action stands in a plan after the policy.

    before: (V,) the same without one; risks: as `risks_in_order`; change_of_first: (V,) of k and n, the change of the
    n riskiest plans when they begin with k retention steps.
    """
    after = before.copy()
    at_least = [n_with(policy, risks, k) for k in range(1, N_STEPS + 1)]
    for k, (last, first) in enumerate(zip(at_least, [*at_least[1:], 0], strict=True), start=1):
        if last > first:
            after += change_of_first(k, last) - change_of_first(k, first)
    return after


def n_with(policy: Policy, risks: np.ndarray, k: int) -> int:
    """How many of the riskiest customers get at least `k` retention steps."""
    return bisect_left(range(len(risks)), True, key=lambda row: bool(policy.n_retention(risks[row : row + 1])[0] < k))
