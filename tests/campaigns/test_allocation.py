"""Allocation: against HiGHS on the whole problem, brute force on tiny ones, and its laws."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

from crm_models.campaigns.allocation import Limits, allocate, counterparts
from crm_models.campaigns.budgeting import fund, summary
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.making import new
from crm_models.campaigns.offers import Offer
from crm_models.campaigns.rules import Rule
from crm_models.campaigns.split import Split
from crm_models.core.errors import ConfigError
from crm_models.planning.policy import Policy


def problem(n: int, n_actions: int, seed: int, money: float = 0.8) -> tuple[np.ndarray, Limits]:
    rng = np.random.default_rng(seed)
    costs = rng.uniform(2, 15, n_actions)
    gains = rng.beta(2, 3, n)[:, None] * rng.uniform(0.05, 0.3, n_actions) * rng.lognormal(4.6, 0.5, (n, 1))
    v = gains * rng.lognormal(0, 0.2, (n, n_actions)) - costs
    v[rng.random(v.shape) < 0.1] = -np.inf
    capacity = np.where(np.arange(n_actions) % 2, np.inf, np.floor(n * 0.03))
    return v, Limits(costs=costs, money=n * money, capacity=capacity)


def relaxed(v: np.ndarray, limits: Limits) -> tuple[float, float]:
    """The whole linear program by HiGHS: its optimum, and the price of money."""
    n, c = v.shape
    rows = [sparse.kron(sparse.eye(n), np.ones((1, c))), sparse.csr_matrix(np.tile(limits.costs, n))]
    rows += [sparse.csr_matrix(np.tile(np.eye(c)[a], n)) for a in range(c)]
    room = np.concatenate([np.ones(n), [limits.money], np.minimum(limits.capacity, n)])
    worth = np.where(np.isfinite(v), v, -1e6).ravel()
    solved = linprog(-worth, A_ub=sparse.vstack(rows), b_ub=room, bounds=(0, None), method="highs")
    return -solved.fun, -solved.ineqlin.marginals[n]


def test_the_bound_is_the_optimum_of_the_relaxed_problem_and_the_value_is_just_below():
    v, limits = problem(5_000, 5, seed=0)
    found = allocate(v, limits)
    optimum, price = relaxed(v, limits)
    assert found.value <= optimum * (1 + 1e-9) <= found.bound * (1 + 1e-9)
    assert found.bound == pytest.approx(optimum, rel=2e-6)
    assert found.gap < 0.001
    assert found.money_price == pytest.approx(price, rel=0.01)


def fits(found, v: np.ndarray, limits: Limits) -> bool:
    taken = found.action >= 0
    used = np.bincount(found.action[taken], minlength=len(limits.costs))
    within = limits.money is None or used @ limits.costs <= limits.money + 1e-9
    return within and (used <= limits.capacity).all() and np.isfinite(v[taken, found.action[taken]]).all()


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 4), st.floats(0, 6))
@settings(max_examples=30, deadline=None)
def test_limits_hold_and_no_price_is_paid_where_there_is_room(seed, n, n_actions, money):
    v, limits = problem(n, n_actions, seed, money)
    found = allocate(v, limits)
    assert fits(found, v, limits)
    assert found.value <= found.bound + 1e-6 * max(1, found.bound)
    free = allocate(v, Limits(costs=limits.costs, money=None, capacity=np.full(n_actions, np.inf)))
    best = np.maximum(v.max(axis=1), 0).sum()
    assert (free.money_price, free.capacity_price.max(), free.value) == (0, 0, pytest.approx(best))
    assert free.value == pytest.approx(free.bound)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_the_bound_holds_for_the_best_of_all_allocations_of_a_tiny_problem(seed, n, n_actions):
    v, limits = problem(n, n_actions, seed, money=3.0)
    best = 0.0
    for choice in product(range(-1, n_actions), repeat=n):
        taken = [(i, a) for i, a in enumerate(choice) if a >= 0]
        used = np.bincount([a for _, a in taken], minlength=n_actions)
        if used @ limits.costs <= limits.money and (used <= limits.capacity).all():
            best = max(best, sum(v[i, a] for i, a in taken))
    found = allocate(v, limits)
    assert found.value <= best + 1e-9
    assert best <= found.bound + 1e-6 * max(1, best)


@pytest.mark.parametrize("money", [0.0, 3.0, 100.0, 777.0, 1e9])
def test_with_one_action_exactly_the_highest_risks_are_taken(money):
    risk = np.random.default_rng(4).random(1_000)
    v = (risk * 20 + 1)[:, None]
    found = allocate(v, Limits(costs=np.array([3.0]), money=money, capacity=np.array([np.inf])))
    n = min(int(money // 3), 1_000)
    assert set(np.flatnonzero(found.action == 0)) == set(np.argsort(-risk)[:n])


def test_more_money_never_brings_less_each_unit_brings_less_and_the_price_is_the_slope():
    v, limits = problem(3_000, 4, seed=2)
    budgets = np.linspace(200, 6_000, 13)
    at = [allocate(v, Limits(costs=limits.costs, money=float(m), capacity=limits.capacity)) for m in budgets]
    bounds, values = np.array([a.bound for a in at]), np.array([a.value for a in at])
    assert (np.diff(values) >= 0).all()
    assert (np.diff(bounds, 2) <= 1e-3).all()
    slopes = (bounds[2:] - bounds[:-2]) / (budgets[2:] - budgets[:-2])
    prices = [a.money_price for a in at][1:-1]
    assert (slopes <= np.array([a.money_price for a in at][:-2]) * 1.02).all()
    assert (slopes >= np.array([a.money_price for a in at][2:]) * 0.98).all()
    assert prices == sorted(prices, reverse=True)


def test_a_control_group_follows_the_prices_and_shares_ties_at_random():
    rng = np.random.default_rng(7)
    costs = np.array([2.0])
    everywhere = np.inf * np.ones(1)
    plain = rng.normal(10, 3, (2_000, 1))
    found = allocate(plain, Limits(costs=costs, money=1_000.0, capacity=everywhere))
    others = rng.normal(10, 3, (1_000, 1))
    taken = counterparts(plain, found, costs, others, rng.random(1_000)) >= 0
    cut = plain[found.action >= 0].min()
    assert (taken == (others[:, 0] >= cut)).mean() > 0.998
    # All customers are worth the same: as large a share of the others is taken.
    tied = np.full((2_000, 1), 5.0)
    found = allocate(tied, Limits(costs=costs, money=1_000.0, capacity=everywhere))
    assert (found.action >= 0).sum() == 500
    taken = counterparts(tied, found, costs, np.full((1_000, 1), 5.0), rng.random(1_000)) >= 0
    assert taken.mean() == pytest.approx(0.25, abs=0.04)
    # Half of them may not get the action at all.
    barred = np.where(np.arange(1_000)[:, None] % 2, -np.inf, 5.0)
    taken = counterparts(tied, found, costs, barred, rng.random(1_000)) >= 0
    assert not taken[1::2].any()
    assert taken[::2].mean() == pytest.approx(0.25, abs=0.06)


# ---- in a campaign ---------------------------------------------------------------------------------------------------

OFFERS = (
    Offer(action="Offer proactive support", cost=6.0, success_rate=0.25, capacity=20),
    Offer(action="Send a loyalty offer", cost=2.0, success_rate=0.1),
)


@pytest.fixture
def offered(made, tmp_path) -> Campaign:
    return new(
        made / "run",
        tmp_path / "offered",
        offers=OFFERS,
        policy=Policy(threshold=0.2),
        split=Split(salt="s", holdout=0.25),
        threads=1,
    )


def test_a_budget_is_kept_by_the_contacts_and_both_groups_are_chosen_alike(offered):
    campaign = fund(offered, money=300.0, value=100.0)
    table, budget = campaign.decisions(), campaign.about["budget"]
    assert table["cost"].sum() == pytest.approx(budget["spent"])
    assert budget["spent"] <= 300
    assert (table["action"] == "Offer proactive support").sum() == budget["used"]["Offer proactive support"] <= 20
    targeted = table[table["arm"].isin(["plan", "holdout"])]
    least = targeted.groupby(["planned_action", "arm"])["churn_probability"].min().unstack()
    most = targeted.groupby(["planned_action", "arm"])["churn_probability"].max().unstack()
    assert (abs(least["plan"] - least["holdout"]) < 0.05).all()
    assert most.notna().all(axis=None)
    worth = table.loc[table["arm"] == "plan", "value"]
    assert worth.sum() == pytest.approx(budget["expected_value"])
    assert budget["expected_value"] <= budget["bound"]
    assert [point["value"] for point in budget["curve"]] == sorted(point["value"] for point in budget["curve"])
    assert "the next 100 of budget would bring" in " ".join(summary(campaign))


def test_groups_are_alike_where_every_customer_is_worth_the_same(offered):
    average = {offer.action: np.full(400, 0.1) for offer in OFFERS}
    campaign = fund(offered, money=150.0, effects=average, taught_by="winter")
    table = campaign.decisions()
    arms = table["arm"].value_counts()
    assert arms["plan"] < 100
    assert arms["holdout"] / (arms["plan"] + arms["holdout"]) == pytest.approx(0.25, abs=0.12)
    assert "as learned from winter" in " ".join(summary(campaign))


def test_one_retention_action_each_and_the_models_steps_follow(offered):
    table = fund(offered, money=300.0).decisions()
    given = table[table["action"] != ""]
    assert (given["step_1"] == given["action"]).all()
    assert set(given["plan_source"]) == {"graded"}
    assert not given["step_2"].isin([o.action for o in OFFERS]).any()


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"money": -1.0}, "the budget must be a number from 0 up, found -1"),
        ({"value": "nothing"}, "expected a number or a column of"),
        ({"value": -3.0}, "the value of a kept customer must be a number from 0 up"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(offered, about, expected):
    before = offered.decisions_mark()
    with pytest.raises(ConfigError, match=expected):
        fund(offered, **about)
    assert offered.decisions_mark() == before


def test_too_little_money_gives_nobody_and_says_so(offered):
    campaign = fund(offered, money=1.0)
    assert (campaign.decisions()["action"] == "").all()
    assert "below the cheapest action (2.00), so nobody gets one" in " ".join(summary(campaign))


def test_the_value_may_be_a_column_and_customers_without_one_get_nothing(offered):
    campaign = fund(offered, money=None, value="income")
    import pandas as pd

    income = pd.read_parquet(campaign.about["cohort_folder"] + "/customers.parquet")["income"]
    table = campaign.decisions()
    assert (table["planned_action"][income.isna()] == "").all()
    assert campaign.about["budget"]["not_candidates"] == income.isna().sum()


def test_those_who_explore_are_paid_for_first(made, tmp_path):
    campaign = new(
        made / "run",
        tmp_path / "explore",
        offers=OFFERS,
        rules=(Rule(name="r", kind="block", actions=("Call the customer",)),),
        policy=Policy(threshold=0.2),
        split=Split(salt="s", holdout=0.2, explore=0.2),
        threads=1,
    )
    table = fund(campaign, money=200.0).decisions()
    assert (table["arm"] == "explore").sum() > 5
    assert table["cost"].sum() <= 200
    # Random actions may cost more than the chosen ones: with little money, that is said instead of overspent.
    for money in (4.0, 16.0, 64.0):
        try:
            assert fund(campaign, money=money).decisions()["cost"].sum() <= money
        except ConfigError as error:
            assert "pays for the customers who explore" in str(error)
