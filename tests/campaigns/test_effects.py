"""Estimates of an effect: against statsmodels and scipy, published values, and by simulation."""

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep

from crm_models.campaigns.effects import (
    adjusted_difference,
    any_time,
    any_time_p_value,
    difference,
    holm,
    p_value,
    relative_lift,
    sample_ratio,
)


def ones(k: int, n: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [k, n - k])


@pytest.mark.parametrize(("k", "n", "j", "m"), [(56, 70, 48, 80), (9, 10, 3, 10), (10, 10, 0, 20), (0, 10, 0, 10)])
def test_newcombe_agrees_with_statsmodels(k, n, j, m):
    ours = difference(ones(k, n), ones(j, m))
    low, high = confint_proportions_2indep(k, n, j, m, method="newcomb", compare="diff")
    assert (ours.value, ours.low, ours.high) == pytest.approx((k / n - j / m, low, high), abs=1e-6)


def test_intervals_of_many_segments_are_newcombes_and_welchs_at_a_smaller_alpha():
    ours = difference(ones(56, 70), ones(48, 80), 0.05 / 7)
    expected = confint_proportions_2indep(56, 70, 48, 80, method="newcomb", compare="diff", alpha=0.05 / 7)
    assert (ours.low, ours.high) == pytest.approx(expected, abs=1e-6)
    # 40 of 40 against 25 of 40: a normal interval would end above 1 where the groups are small.
    assert difference(ones(4, 4), ones(0, 4), 0.001).high <= 1


def test_newcombes_own_examples():
    # Newcombe (1998), table II, method 10, contrasts (a) 56/70 - 48/80 and (c) 9/10 - 3/10.
    a, c = difference(ones(56, 70), ones(48, 80)), difference(ones(9, 10), ones(3, 10))
    assert (a.low, a.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert (c.low, c.high) == pytest.approx((0.1705, 0.8090), abs=5e-5)


def test_lin_agrees_with_least_squares_of_statsmodels():
    rng = np.random.default_rng(0)
    n = 400
    z, treated = rng.normal(size=(n, 2)) * [1, 30] + [5, 100], rng.random(n) < 0.7
    y = 0.2 * treated + z[:, 0] * (1 + treated) + rng.normal(size=n)
    centred = z - z.mean(axis=0)
    design = np.column_stack([np.ones(n), treated, centred, treated[:, None] * centred])
    fit = sm.OLS(y, design).fit(cov_type="HC2")
    ours = adjusted_difference(y, treated, z)
    assert ours.value == pytest.approx(fit.params[1])
    assert (ours.high - ours.low) / 2 == pytest.approx(1.959964 * fit.bse[1])
    plain = difference(y[treated], y[~treated])
    assert (ours.high - ours.low) < 0.6 * (plain.high - plain.low)
    with_a_constant = adjusted_difference(y, treated, np.column_stack([z, np.ones(n)]))
    assert with_a_constant.value == pytest.approx(ours.value)
    assert adjusted_difference(y, treated, np.ones((n, 1))) is None
    assert adjusted_difference(y, treated, np.column_stack([z, z[:, 0]])) is None


def test_relative_lift_by_hand_and_by_simulation():
    lift = relative_lift(ones(60, 100), ones(50, 100))
    error = np.sqrt(0.24 / 99 + 1.2**2 * 0.25 / 99) / 0.5
    assert (lift.value, lift.high - lift.value) == pytest.approx((0.2, 1.959964 * error))
    assert relative_lift(ones(1, 10), ones(0, 10)) is None
    rng = np.random.default_rng(3)
    covered = []
    for _ in range(500):
        found = relative_lift(ones(rng.binomial(900, 0.44), 900), ones(rng.binomial(400, 0.4), 400))
        covered.append(found.low <= 0.1 <= found.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)


def test_sample_ratio_is_measured_against_the_configured_share():
    assert sample_ratio(9_500, 500, 0.05).ok
    assert not sample_ratio(9_300, 700, 0.05).ok
    assert sample_ratio(9_500, 500, 0.05).p == pytest.approx(1)
    # Significant, but off by less than a hundredth of the share: no alarm.
    big = sample_ratio(50_400_000, 49_600_000, 0.5)
    assert big.p < 1e-9
    assert big.ok
    assert not sample_ratio(0, 500, 0.05).ok
    assert not sample_ratio(0, 0, 0.05).ok


def test_any_time_intervals_survive_peeking_and_are_1_55_times_as_wide_at_the_planned_size():
    rng = np.random.default_rng(5)
    n, looks = 600, 20
    alarms_z, alarms_any = 0, 0
    for _ in range(300):
        y, treated = (rng.random(n) < 0.3).astype(float), rng.random(n) < 0.5
        at = np.linspace(60, n, looks).astype(int)
        found = [(y[:k][treated[:k]], y[:k][~treated[:k]]) for k in at]
        alarms_any += any(e.low > 0 or e.high < 0 for e in (any_time(t, c, n) for t, c in found))
        alarms_z += any(p_value_z(t, c) < 0.05 for t, c in found)
    assert alarms_z / 300 > 0.15
    assert alarms_any / 300 < 0.05
    t, c = ones(200, 500), ones(150, 500)
    single = 1.959964 * np.hypot(t.std(ddof=1), c.std(ddof=1)) / np.sqrt(500)
    wide = any_time(t, c, 1_000)
    assert (wide.high - wide.value) / single == pytest.approx(1.55, abs=0.005)


def test_the_any_time_p_value_is_where_the_interval_just_excludes_nothing():
    t, c = ones(230, 500), ones(190, 500)
    p = any_time_p_value(t, c, 1_000)
    assert 0.05 < p < 0.9
    assert any_time(t, c, 1_000, p).low == pytest.approx(0, abs=1e-12)
    assert any_time_p_value(ones(5, 5), ones(5, 5), 10) == 1


def p_value_z(t: np.ndarray, c: np.ndarray) -> float:
    from scipy.stats import norm

    error = np.sqrt(t.var(ddof=1) / len(t) + c.var(ddof=1) / len(c))
    return 2 * norm.sf(abs(t.mean() - c.mean()) / error)


def test_holm_agrees_with_statsmodels():
    p = np.random.default_rng(2).random(12) ** 3
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_numbers_are_compared_by_welch():
    t, c = np.array([1.0, 2.0, 4.0, 8.0]), np.array([0.0, 1.0, 1.5])
    found = difference(t, c)
    comparison = sm.stats.CompareMeans(sm.stats.DescrStatsW(t), sm.stats.DescrStatsW(c))
    assert (found.low, found.high) == pytest.approx(comparison.tconfint_diff(usevar="unequal"))
    assert p_value(t, c) == pytest.approx(comparison.ttest_ind(usevar="unequal")[1])
