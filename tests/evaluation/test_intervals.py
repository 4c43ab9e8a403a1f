"""Intervals: known values, agreement with counting pairs, and how often they hold the truth."""

import math

import numpy as np
import pytest

from crm_models.evaluation.intervals import (
    Estimate,
    auc_difference,
    auc_with_interval,
    bootstrapped,
    bounded,
    difference_interval,
    mean,
    share,
    wilson,
)


def test_wilson_for_eight_of_ten():
    # (8 + z^2 / 2) / (10 + z^2) +- z / (10 + z^2) * sqrt(8 * 2 / 10 + z^2 / 4) with z^2 = 3.8415
    low, high = wilson(0.8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_all_right_among_few_is_not_certain():
    assert share(np.ones(5)) == Estimate(1.0, pytest.approx(5 / (5 + 3.8415), abs=1e-4), 1.0)
    assert share(np.zeros(5)).high == pytest.approx(3.8415 / (5 + 3.8415), abs=1e-4)


def test_a_share_of_ones_and_zeros_has_wilsons_interval():
    found = share(np.array([1] * 30 + [0] * 70))
    low, high = wilson(0.3, 99)  # the sample variance divides by n - 1
    assert (found.value, found.low, found.high) == (0.3, pytest.approx(low), pytest.approx(high))


def test_steps_of_one_customer_do_not_count_as_independent():
    right = np.array([3, 0] * 20)  # all or nothing: 40 customers say as much as 40 steps
    together = share(right, np.full(40, 3))
    low, high = wilson(0.5, 39)
    assert (together.value, together.low, together.high) == (0.5, pytest.approx(low), pytest.approx(high))


def test_a_ratio_counts_customers_by_their_steps():
    assert share(np.array([1, 0]), np.array([1, 3])).value == 0.25
    assert share(np.array([1, 0]), np.array([1, 0])).value == 1.0  # who has no step does not count
    assert share(np.array([]), np.array([])) is None
    assert mean(np.zeros(2), np.zeros(2)) is None


def test_the_interval_of_a_mean_is_students():
    found = mean(np.array([1.0, 2.0, 3.0]), low=0.0)
    half = 4.302653 / math.sqrt(3)  # t with two degrees of freedom, standard deviation 1
    assert (found.value, found.low, found.high) == (2.0, 0.0, pytest.approx(2 + half, abs=1e-5))
    assert mean(np.array([1.0])).high == math.inf


def test_a_difference_is_paired():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=500)
    gap = difference_interval(noise + 0.1, noise + rng.normal(0, 0.01, 500))
    assert 0.09 < gap.low < gap.value < gap.high < 0.11
    assert difference_interval(np.array([1.0, 0.0]), np.array([0.0, 0.0]), np.array([1, 3])).value == 0.25
    assert difference_interval(np.zeros(1), np.zeros(1)).low == -math.inf


def churners(rng, n_churned: int, n_stayed: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    y = np.repeat([1.0, 0.0], [n_churned, n_stayed])
    return y, rng.normal(size=len(y)) + apart * y


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_the_auc_counts_pairs_and_ties_half(digits):
    y, p = churners(np.random.default_rng(1), 40, 60, 0.8)
    p = p.round(digits)
    above = p[y == 1][:, None] - p[y == 0]
    assert auc_with_interval(y, p).value == pytest.approx(((above > 0) + 0.5 * (above == 0)).mean(), rel=1e-12)


def test_the_difference_of_two_aucs_is_paired():
    rng = np.random.default_rng(2)
    y, p = churners(rng, 300, 700, 1.0)
    better, other = p, p + rng.normal(0, 0.5, len(p))
    gap = auc_difference(y, better, other)
    assert gap.value == pytest.approx(auc_with_interval(y, better).value - auc_with_interval(y, other).value)
    assert 0 < gap.low < gap.value < gap.high
    alone = auc_with_interval(y, better)
    assert gap.high - gap.low < alone.high - alone.low  # the customers are the same, so most of the luck cancels
    assert auc_difference(y, p, p) == Estimate(0.0, 0.0, 0.0)


def test_a_perfect_order_of_few_customers_is_not_certain():
    found = auc_with_interval(np.array([1.0, 1.0, 0.0, 0.0, 0.0]), np.array([0.9, 0.8, 0.3, 0.2, 0.1]))
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(2 / (2 + 3.8415), abs=1e-4)  # two churners only


@pytest.mark.parametrize(
    ("n_churned", "n_stayed", "apart"), [(8, 12, 0.0), (8, 12, 2.0), (20, 80, 3.0), (60, 240, 1.0)]
)
def test_the_interval_of_an_auc_holds_the_truth_nineteen_times_of_twenty(n_churned, n_stayed, apart):
    rng, truth = np.random.default_rng(3), 0.5 * (1 + math.erf(apart / 2))
    found = [auc_with_interval(*churners(rng, n_churned, n_stayed, apart)) for _ in range(1000)]
    assert 0.93 < np.mean([e.low <= truth <= e.high for e in found]) < 0.99


def test_the_interval_of_step_accuracy_holds_the_truth_nineteen_times_of_twenty():
    rng, held = np.random.default_rng(4), 0
    for _ in range(1000):
        p = rng.beta(0.5, 2.0, 60)  # customers differ a lot: true share 0.2
        steps = rng.integers(1, 4, 60)
        found = share(rng.binomial(steps, p), steps)
        held += found.low <= 0.2 <= found.high
    assert 0.93 < held / 1000 < 0.98


def test_a_bootstrap_agrees_with_the_closed_form():
    rng = np.random.default_rng(5)
    y, p = (rng.random(2000) < 0.3).astype(float), rng.random(2000)
    found = bootstrapped(y, p, {"rate": lambda y, p: float(y.mean())})["rate"]
    closed = share(y)
    assert (found.value, found.low, found.high) == (
        pytest.approx(closed.value),
        pytest.approx(closed.low, abs=0.004),
        pytest.approx(closed.high, abs=0.004),
    )


def test_a_bootstrap_of_many_customers_narrows_as_the_closed_form_does():
    rng = np.random.default_rng(6)
    y, p = (rng.random(200_000) < 0.3).astype(float), rng.random(200_000)
    found, closed = bootstrapped(y, p, {"rate": lambda y, p: float(y.mean())})["rate"], share(y)
    assert (found.high - found.low) / (closed.high - closed.low) == pytest.approx(1, abs=0.15)


def test_a_bootstrap_does_not_hang_on_the_order_of_the_customers():
    rng = np.random.default_rng(7)
    y, p = (rng.random(300) < 0.3).astype(float), rng.random(300).round(1)
    order = rng.permutation(300)
    scores = {"first": lambda y, p: float(y[:50].mean())}
    assert bootstrapped(y, p, scores) == bootstrapped(y[order], p[order], scores)


def test_nothing_to_resample_gives_nothing():
    assert bootstrapped(np.zeros(0), np.zeros(0), {"rate": lambda y, p: 0.0}) == {}
    alone = bootstrapped(np.ones(1), np.ones(1), {"rate": lambda y, p: float(y.mean())})["rate"]
    assert alone == Estimate(1.0, *wilson(1.0, 1))
    assert bounded(0.5, 0.0, 4) == Estimate(0.5, *wilson(0.5, 4))
