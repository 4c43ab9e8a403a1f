"""Effects of the churn threshold: customers at risk, differences between thresholds, expected value of contacts."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from crm_models.core.errors import ConfigError
from crm_models.core.schema import N_STEPS
from crm_models.planning.policy import Policy, rounded


@dataclass(frozen=True, kw_only=True)
class Economics:
    """Cost of a retention contact, value of a kept customer, and share of contacted churners who stay (an assumption).

    capacity: most customers that can be contacted; None: no limit.
    """

    cost: float = 5.0
    value: float = 100.0
    success_rate: float = 0.2
    capacity: int | None = None


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A threshold that fits the probabilities of a run. basis: what it was chosen by; n_at_risk: customers above it."""

    threshold: float
    basis: Literal["value", "churn rate"]
    n_at_risk: int


class RiskIndex:
    """Sorted churn probabilities: a new threshold on a million customers is a binary search instead of a full pass.

    Agrees with `is_at_risk` and `Policy.n_retention` for every customer and threshold (tests/planning).
    """

    def __init__(self, churn_p: np.ndarray) -> None:
        known = np.flatnonzero(~np.isnan(churn_p))
        risk = rounded(churn_p[known])
        order = np.argsort(risk, kind="stable")
        self._rows, self._sorted = known[order], risk[order]
        self._sums = np.concatenate([[0.0], np.cumsum(self._sorted)])

    def n_at_risk(self, threshold: float) -> int:
        """Number of customers at risk."""
        return len(self._sorted) - self._place(threshold)

    def rows_at_risk(self, threshold: float) -> np.ndarray:
        """Rows of the customers at risk, highest risk first."""
        return self._rows[self._place(threshold) :][::-1]

    @property
    def rows(self) -> np.ndarray:
        """Rows of all customers whose risk is known, highest risk first."""
        return self._rows[::-1]

    def n_with_retention(self, policy: Policy) -> tuple[int, ...]:
        """(3,) customers with at least one, two, three retention steps under a policy."""

        def steps_of(at: int) -> int:
            return int(policy.n_retention(self._sorted[at : at + 1])[0])

        n = len(self._sorted)
        return tuple(n - bisect_left(range(n), k, key=steps_of) for k in range(1, N_STEPS + 1))

    def flips(self, one: float, other: float) -> np.ndarray:
        """Rows of the customers who are at risk at exactly one of the two thresholds, lowest risk first."""
        low, high = sorted((self._place(one), self._place(other)))
        return self._rows[low:high]

    @property
    def highest(self) -> float | None:
        """The highest churn probability; None if none is known."""
        return float(self._sorted[-1]) if len(self._sorted) else None

    def suggested(self, economics: Economics, churn_rate: float | None) -> Suggestion | None:
        """The threshold with the highest expected value, to hundredths; None if no churn probability is known.

        Where no contact pays, the highest threshold that flags at least as large a share of customers as have churned
        (`churn_rate`; None: nobody knows, so one customer).
        """
        if not len(self._sorted):
            return None
        table = self.expected_value(**vars(economics))
        best = table[table["best"]].iloc[0]
        if best["value"] > 0 and (flagged := self.n_at_risk(float(best["threshold"]))):
            return Suggestion(threshold=float(best["threshold"]), basis="value", n_at_risk=flagged)
        wanted = max(1, round((churn_rate or 0.0) * len(self._sorted)))
        # Strictly below the probability of the last customer to flag, because at risk means strictly above.
        threshold = max(0, math.ceil(round(100 * float(self._sorted[-min(wanted, len(self._sorted))]), 4)) - 1) / 100
        return Suggestion(threshold=threshold, basis="churn rate", n_at_risk=self.n_at_risk(threshold))

    def _place(self, threshold: float) -> int:
        return int(np.searchsorted(self._sorted, threshold, side="right"))

    def expected_value(
        self, *, cost: float, value: float, success_rate: float, capacity: int | None = None, points: int = 101
    ) -> pd.DataFrame:
        """Expected value of contacting all customers at risk, for thresholds from 0 to 1.

        Contacting customer i is worth p_i * success_rate * value - cost: a churner is kept with probability
        `success_rate`. With a capacity, only the customers with the highest risk are contacted. Columns: `threshold`,
        `contacted`, `kept` (expected number), `value`, `best` (True for the best threshold; the highest one on a tie).
        """
        for name, number in (("cost", cost), ("value", value), ("success_rate", success_rate)):
            if not 0 <= number < math.inf:
                raise ConfigError(f"{name} must be a number from 0 up, found {number}")
        thresholds = np.linspace(0, 1, points).round(6)
        n = len(self._sorted)
        first = np.searchsorted(self._sorted, thresholds, side="right")
        if capacity is not None:
            first = np.maximum(first, n - max(capacity, 0))
        contacted = n - first
        kept = (self._sums[-1] - self._sums[first]) * success_rate
        worth = kept * value - contacted * cost
        best = len(worth) - 1 - int(np.argmax(worth[::-1]))
        return pd.DataFrame(
            {
                "threshold": thresholds,
                "contacted": contacted,
                "kept": kept,
                "value": worth,
                "best": np.arange(len(worth)) == best,
            }
        )
