"""95 % confidence intervals of shares, means, the area under the ROC curve, and paired differences.

Closed forms where they exist, so that a million customers take no longer than a sort; a bootstrap for the rest.
Letters: M customers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Z = 1.959964
"""Half-width of a 95 % interval in standard errors."""

N_RESAMPLES = 200
RESAMPLE_LIMIT = 20_000
"""Most customers in one bootstrap resample."""


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def around(cls, value: float, error: float, z: float = Z) -> Estimate:
        """With an interval of z standard errors to either side."""
        return cls(value, value - z * error, value + z * error)


def wilson(share: float, n: float, z: float = Z) -> tuple[float, float]:
    """Wilson's interval of a share among n, which need not be a whole number (see `bounded`); 95 % by default."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # Rounding errors must not exclude a share of 0 or 1 from its interval.
    return min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)


def bounded(value: float, error: float, n_least: float) -> Estimate:
    """Interval of a score in [0, 1] from its standard error: Wilson's interval with the n that gives this error.

    n_least: the n to use if the error is zero because all scores are equal; "5 of 5 correct" is no certainty.
    Measured for a true AUC of 0.98 and 8 churners among 20 customers: `value +- 1.96 error` covers it in 50 % of
    samples, this interval in 97 %.
    """
    n = value * (1 - value) / error**2 if error > 0 and 0 < value < 1 else n_least
    return Estimate(value, *wilson(value, n))


def share(top: np.ndarray, bottom: np.ndarray | None = None) -> Estimate | None:
    """Sum of `top` (M,) divided by the sum of `bottom` (M,; default: ones), as a score in [0, 1].

    Customers are the sampling unit, so the steps of one customer do not count as independent. None without customers.
    """
    value, error, n = _ratio(top, bottom)
    return None if n == 0 else bounded(value, error, n)


def mean(top: np.ndarray, bottom: np.ndarray | None = None, low: float = -math.inf) -> Estimate | None:
    """The same ratio for a score without an upper bound, such as a loss; `low` is its least possible value.

    Student's t interval, for small test sets; unbounded for a single customer.
    """
    from scipy.special import stdtrit  # here, because loading it takes as long as all of the app's first page

    value, error, n = _ratio(top, bottom)
    if n == 0:
        return None
    half = float(stdtrit(n - 1, 0.975)) * error if n > 1 else math.inf
    return Estimate(value, max(value - half, low), value + half)


def _ratio(top: np.ndarray, bottom: np.ndarray | None) -> tuple[float, float, int]:
    """A ratio of sums, its standard error by the delta method, and the number of customers with a weight."""
    top = np.asarray(top, np.float64)
    weight = np.ones(len(top)) if bottom is None else np.asarray(bottom, np.float64)
    n, total = int((weight > 0).sum()), float(weight.sum())
    if n == 0:
        return 0.0, 0.0, 0
    value = float(top.sum() / total)
    variance = float(((top - value * weight) ** 2).sum()) * n / max(n - 1, 1)
    return value, math.sqrt(variance) / total, n


def difference_interval(ours: np.ndarray, theirs: np.ndarray, weight: np.ndarray | None = None) -> Estimate:
    """Mean paired difference of a score per customer (M,), with its 95 % interval.

    weight: (M,) weight of each customer, such as the number of known steps. Unbounded for a single customer.
    """
    difference = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    return mean(difference if weight is None else difference * weight, weight) or Estimate(0.0, -math.inf, math.inf)


# ---- area under the ROC curve ----------------------------------------------------------------------------------------


def auc_with_interval(churned: np.ndarray, p: np.ndarray) -> Estimate:
    """Area under the ROC curve: DeLong's variance (DeLong et al., 1988) from ranks, Wilson's interval; O(M log M).

    DIFF from paper, equation 11: printed as a product of rates; the AUC is the integral of the true positive rate over
    the false positive rate.
    """
    parts = _placements(churned, p)
    value, error = float(parts[0].mean()), _delong_error(parts)
    # With few customers the error may be too small by chance: at least that of as many independent draws.
    least = math.sqrt(value * (1 - value) / len(p))
    return bounded(value, max(error, least), min(len(part) for part in parts))


def auc_difference(churned: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """AUC of `ours` minus AUC of `theirs` on the same customers, with DeLong's paired interval."""
    mine, other = _placements(churned, ours), _placements(churned, theirs)
    differences = (mine[0] - other[0], mine[1] - other[1])
    value, half = float(differences[0].mean()), Z * _delong_error(differences)
    return Estimate(value, value - half, value + half)


def _placements(churned: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each churner the share of stayers below, for each stayer the share of churners above; ties count half."""
    positive, negative = p[churned > 0.5], p[churned <= 0.5]
    return _share_below(positive, negative), 1 - _share_below(negative, positive)


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ranked = np.sort(others)
    # Lookups in sorted order use the cache: a third of the time with a million customers.
    order = np.argsort(values)
    below = np.empty(len(values))
    low, high = (np.searchsorted(ranked, values[order], side) for side in ("left", "right"))
    below[order] = (low + high) / (2 * len(others))
    return below


def _delong_error(parts: tuple[np.ndarray, np.ndarray]) -> float:
    """DeLong's standard error. A class of one customer gets the largest possible variance, 0.25."""
    return math.sqrt(sum(float(part.var(ddof=1)) / len(part) if len(part) > 1 else 0.25 for part in parts))


# ---- bootstrap -------------------------------------------------------------------------------------------------------


def bootstrapped(
    churned: np.ndarray, p: np.ndarray, scores: Mapping[str, Callable[[np.ndarray, np.ndarray], float]]
) -> dict[str, Estimate]:
    """Scores in [0, 1] of labels and probabilities, each with a bootstrap interval over customers; the seed is fixed.

    scores: functions of labels and probabilities (M,), sorted by increasing probability. Resamples without one of the
    two classes are skipped. With more than 20,000 customers, resamples of 20,000 are drawn and the interval is scaled
    by the square root of the ratio.
    """
    n = len(p)
    if n == 0:
        return {}
    # Ties are sorted by label, so that resamples do not depend on the order of the customers.
    order = np.lexsort((churned, p))
    y, p = churned[order], p[order]
    has_both, size, rng = 0 < y.sum() < n, min(n, RESAMPLE_LIMIT), np.random.default_rng(0)
    resampled: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(N_RESAMPLES):
        at = np.sort(rng.integers(0, n, size))
        labels, probabilities = y[at], p[at]
        if not has_both or 0 < labels.sum() < size:
            for name, score in scores.items():
                resampled[name].append(score(labels, probabilities))
    errors = {name: float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for name, values in resampled.items()}
    n_least = min(y.sum(), n - y.sum()) if has_both else n
    return {
        name: bounded(float(score(y, p)), errors[name] * math.sqrt(size / n), n_least) for name, score in scores.items()
    }
