"""Effect of a campaign: difference between two randomised groups, with intervals, adjustment and checks.

Everybody assigned counts, whether or not reached (intention to treat). Outcomes are 0 or 1, or numbers. Letters: n_t
customers in the plan group, n_c in the control group, K covariates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from crm_models.campaigns.split import Reading
from crm_models.evaluation.intervals import Estimate, Z, wilson

SAMPLE_RATIO_P = 0.001
SAMPLE_RATIO_DEVIATION = 0.01
"""A sample ratio counts as wrong where its p-value is below the first and it is off by more than the second, as a share
of the configured share: in a large campaign, a harmless rounding is significant as well."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Outcomes of one group: number of customers, mean, and variance (that of the sample, n - 1 below)."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of(cls, outcome: np.ndarray) -> Group:
        """The group with these outcomes (n,)."""
        n = len(outcome)
        return cls(
            n=n,
            mean=float(outcome.mean()) if n else math.nan,
            variance=float(outcome.var(ddof=1)) if n > 1 else math.nan,
        )

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(self.variance / self.n) if self.n > 1 else math.nan


def is_share(*outcomes: np.ndarray) -> bool:
    """Whether all outcomes are 0 or 1."""
    return all(bool(np.isin(outcome, (0.0, 1.0)).all()) for outcome in outcomes)


def difference(treated: np.ndarray, control: np.ndarray, alpha: float = 0.05) -> Estimate:
    """Mean of `treated` (n_t,) minus mean of `control` (n_c,), with an interval of 1 - alpha.

    Outcomes of 0 and 1: Newcombe's hybrid score interval (1998, method 10), which stays within -1 and 1. Numbers:
    Welch's interval.
    """
    t, c = Group.of(treated), Group.of(control)
    value = t.mean - c.mean
    if is_share(treated, control):
        z = float(stats.norm.ppf(1 - alpha / 2))
        (low_t, high_t), (low_c, high_c) = wilson(t.mean, t.n, z), wilson(c.mean, c.n, z)
        return Estimate(
            value,
            value - math.hypot(t.mean - low_t, high_c - c.mean),
            value + math.hypot(high_t - t.mean, c.mean - low_c),
        )
    if not t.error + c.error > 0:  # equal numbers in each group, or too few: no spread to judge by
        return Estimate(value, math.nan, math.nan)
    interval = stats.ttest_ind(treated, control, equal_var=False).confidence_interval(1 - alpha)
    return Estimate(value, float(interval.low), float(interval.high))


def relative_lift(treated: np.ndarray, control: np.ndarray, z: float = Z) -> Estimate | None:
    """Difference divided by the mean of the control group, with an interval by the delta method of z standard errors.

    SE = (1 / c) sqrt(SE_t^2 + (t / c)^2 SE_c^2). None where the mean of the control group is not clearly above 0, since
    a ratio to nearly nothing has no such interval.
    """
    t, c = Group.of(treated), Group.of(control)
    if not c.mean > 2 * c.error:
        return None
    value = t.mean / c.mean - 1
    error = math.hypot(t.error, t.mean / c.mean * c.error) / c.mean
    return Estimate.around(value, error, z)


def adjusted_difference(
    outcome: np.ndarray, treated: np.ndarray, covariates: np.ndarray, z: float = Z
) -> Estimate | None:
    """The difference adjusted for what was known before (Lin 2013), with an interval of z HC2 standard errors.

    Least squares of outcome (n,) on treated (n,), the centred covariates (n, K) and their products. Never less precise
    than the plain difference in large samples. Constant covariates are left out; None without any, or with fewer than
    ten customers per coefficient in a group.
    """
    spread = covariates.std(axis=0) if len(covariates) else np.zeros(covariates.shape[1])
    varying = covariates[:, spread > 0]
    n_coefficients = 2 + 2 * varying.shape[1]
    smaller = min(int(treated.sum()), int((~treated).sum()))
    if not varying.shape[1] or smaller < 10 * n_coefficients:
        return None
    centred = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    arm = treated.astype(np.float64)
    design = np.column_stack([np.ones(len(outcome)), arm, centred, arm[:, None] * centred])
    q, r = np.linalg.qr(design)
    if np.abs(np.diag(r)).min() < 1e-9 * np.abs(np.diag(r)).max():  # covariates that determine each other
        return None
    coefficients = np.linalg.solve(r, q.T @ outcome)
    residual = outcome - design @ coefficients
    leverage = np.minimum((q**2).sum(axis=1), 1 - 1e-9)
    weights = np.linalg.solve(r, q.T)[1]  # the row of the treatment in (X'X)^-1 X'
    error = math.sqrt(float((weights**2 * residual**2 / (1 - leverage)).sum()))
    return Estimate.around(float(coefficients[1]), error, z)


@dataclass(frozen=True, kw_only=True)
class SampleRatio:
    """Whether the groups have the sizes that were configured. deviation: relative to the configured share."""

    p: float
    deviation: float
    ok: bool


def sample_ratio(n_treated: int, n_control: int, control_share: float) -> SampleRatio:
    """Chi-square test of the sizes of two groups against the configured share of the control group among both."""
    total = n_treated + n_control
    if total == 0 or not 0 < control_share < 1:
        return SampleRatio(p=math.nan, deviation=math.nan, ok=total > 0)
    expected = np.array([1 - control_share, control_share]) * total
    p = float(stats.chisquare([n_treated, n_control], expected).pvalue)
    deviation = float(np.abs(np.array([n_treated, n_control]) / expected - 1).max())
    return SampleRatio(p=p, deviation=deviation, ok=not (p < SAMPLE_RATIO_P and deviation > SAMPLE_RATIO_DEVIATION))


def any_time_z(n: int, planned: int, alpha: float = 0.05) -> float:
    """Half-width, in standard errors, of an interval that may be looked at as often as you like, at n customers.

    An asymptotic confidence sequence (Waudby-Smith et al., arXiv 2103.06476), whose half-width is
    sigma sqrt(2 (n r^2 + 1) / (n^2 r^2) ln(sqrt(n r^2 + 1) / alpha)), with r such that it is narrowest for alpha = 0.05
    at the planned number of customers in both groups. There it is 1.55 times as wide as an interval for a single look.
    """
    nr2 = n * _r2(planned)
    return math.sqrt(2 * (nr2 + 1) / nr2 * math.log(math.sqrt(nr2 + 1) / alpha))


def _r2(planned: int) -> float:
    log = -2 * math.log(0.05)
    return (log + math.log(log) + 1) / max(planned, 1)


def any_time(treated: np.ndarray, control: np.ndarray, planned: int, alpha: float = 0.05) -> Estimate:
    """The difference with an interval that may be looked at as often as you like (see `any_time_z`)."""
    t, c = Group.of(treated), Group.of(control)
    return Estimate.around(t.mean - c.mean, math.hypot(t.error, c.error), any_time_z(t.n + c.n, planned, alpha))


def any_time_p_value(treated: np.ndarray, control: np.ndarray, planned: int) -> float:
    """The smallest alpha at which the interval of `any_time` excludes 0, at most 1: valid however often you look."""
    t, c = Group.of(treated), Group.of(control)
    error, nr2 = math.hypot(t.error, c.error), (t.n + c.n) * _r2(planned)
    if not error > 0:
        return 1.0
    return min(1.0, math.sqrt(nr2 + 1) * math.exp(-(((t.mean - c.mean) / error) ** 2) * nr2 / (2 * (nr2 + 1))))


def p_value(treated: np.ndarray, control: np.ndarray) -> float:
    """Two-sided p-value of no difference: Fisher's exact test for 0 and 1, Welch's t-test for numbers; 1 if unknown."""
    if min(len(treated), len(control)) < 2:
        return 1.0
    if is_share(treated, control):
        kept = [[float(group.sum()), float(len(group) - group.sum())] for group in (treated, control)]
        return float(stats.fisher_exact(np.array(kept, dtype=np.int64)).pvalue)
    p = float(stats.ttest_ind(treated, control, equal_var=False).pvalue)
    return p if p == p else 1.0


@dataclass(frozen=True)
class Looks:
    """How differences are read: at one look, or at any number of them. planned: customers in both groups."""

    reading: Reading
    planned: int

    def z(self, n: int) -> float:
        """Half-width of a 95 % interval in standard errors, at n customers."""
        return any_time_z(n, self.planned) if self.reading == "any_time" else Z

    def difference(self, treated: np.ndarray, control: np.ndarray, alpha: float = 0.05) -> Estimate:
        """The difference with an interval of 1 - alpha."""
        if self.reading == "any_time":
            return any_time(treated, control, self.planned, alpha)
        return difference(treated, control, alpha)

    def p_value(self, treated: np.ndarray, control: np.ndarray) -> float:
        """Two-sided p-value of no difference."""
        if self.reading == "any_time":
            return any_time_p_value(treated, control, self.planned)
        return p_value(treated, control)


def verdict(low: float, high: float, p_adjusted: float) -> str:
    """`persuaded` or `sleeping dogs` where interval and p-value prove it, else `not proven`."""
    if p_adjusted < 0.05 and low > 0:
        return "persuaded"
    return "sleeping dogs" if p_adjusted < 0.05 and high < 0 else "not proven"


def holm(p_values: Sequence[float]) -> np.ndarray:
    """(k,) p-values adjusted for k tests by Holm's method.

    >>> holm([0.01, 0.04, 0.03]).round(2)
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
