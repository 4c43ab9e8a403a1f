"""Allocation: which action for whom, so that a budget and capacities are worth most, with a certified bound.

Maximise sum v_ia x_ia with at most one action per customer, sum c_a x_ia <= B and sum_i x_ia <= K_a. Its dual
D(lam, mu) = sum_i max(0, max_a v_ia - lam c_a - mu_a) + lam B + mu K is convex in a price of money and one per capacity
and is minimised by cutting planes: each pass is one sweep over the customers and a linear program of a few variables
(HiGHS). Any prices give an upper bound of what the best allocation could be worth, so the gap is known.

Letters: N customers, C actions on offer.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from crm_models.core.errors import ConfigError

TOLERANCE = 1e-6
"""Relative gap between the best dual value and the cutting planes at which the prices are taken."""

MOST_PASSES = 200
FILLS = 50
ROWS = 1 << 18
"""Customers swept at once: bounds the memory of a pass."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an allocation may use. costs (C,): of one contact. money: None for no limit. capacity (C,): inf for none."""

    costs: np.ndarray
    money: float | None
    capacity: np.ndarray

    def __post_init__(self) -> None:
        if self.money is not None and not 0 <= self.money < math.inf:
            raise ConfigError(f"the budget must be a number from 0 up, found {self.money}")
        if (self.costs < 0).any() or not np.isfinite(self.costs).all():
            raise ConfigError(f"costs must be numbers from 0 up, found {self.costs.tolist()}")


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Who gets which action, and what it is worth.

    action (N,): column of the offers, -1 for none. money_price: value of one more unit of money; capacity_price (C,):
    of one more place. value <= the best possible <= bound. used (C,): customers by action. passes: over the customers.
    """

    action: np.ndarray
    money_price: float
    capacity_price: np.ndarray
    value: float
    bound: float
    spent: float
    used: np.ndarray
    passes: int

    @property
    def gap(self) -> float:
        """How far the value may lie below the best possible, as a share of the bound."""
        return (self.bound - self.value) / self.bound if self.bound > 0 else 0.0


def allocate(v: np.ndarray, limits: Limits) -> Allocation:
    """The allocation for values v (N, C) of each action for each customer; -inf, or NaN, where it is not allowed.

    With one action and a budget, exactly the customers with the highest values are taken.
    """
    v = np.where(np.isnan(v), -np.inf, v)
    money_price, capacity_price, bound, passes = _prices(v, limits)
    action = _repaired(v, limits, money_price, capacity_price)
    used = np.bincount(action[action >= 0], minlength=len(limits.costs))
    taken = np.flatnonzero(action >= 0)
    return Allocation(
        action=action,
        money_price=money_price,
        capacity_price=capacity_price,
        value=float(v[taken, action[taken]].sum()),
        bound=bound,
        spent=float(used @ limits.costs),
        used=used,
        passes=passes,
    )


def chosen_at(v: np.ndarray, costs: np.ndarray, money_price: float, capacity_price: np.ndarray) -> np.ndarray:
    """(N,) the action that each customer would get at these prices, -1 for none: the rule behind an allocation."""
    chosen = [np.where(worth > 0, best, -1) for best, worth in _swept(v, money_price * costs + capacity_price)]
    return np.concatenate([np.zeros(0, np.int64), *chosen])


def _swept(v: np.ndarray, prices: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For some customers after the others, (n,) the best action at these prices (C,), and (n,) what it is worth."""
    for first in range(0, len(v), ROWS):
        net = v[first : first + ROWS] - prices
        best = net.argmax(axis=1)
        yield best, net[np.arange(len(net)), best]


LEAST_DEVIATIONS = 20


def counterparts(
    v: np.ndarray, found: Allocation, costs: np.ndarray, others: np.ndarray, draw: np.ndarray
) -> np.ndarray:
    """(M,) the actions that `others` (M, C) would have got as the customers v (N, C) of an allocation did.

    They follow its prices. Where the allocation had to choose among customers of equal worth, as many of the others are
    taken; draw (M,) in [0, 1) decides. So a control group holds the same kind of customers, also where many are tied.
    """
    prices = found.money_price * costs + found.capacity_price
    net, net_of_others = (np.append(of - prices, np.zeros((len(of), 1)), axis=1) for of in (v, others))
    best, margin = _best_and_margin(net)
    rows = np.arange(len(v))
    loss = net[rows, best] - net[rows, found.action]
    deviates = found.action != best
    chosen, margin_of_others = _best_and_margin(net_of_others)
    if deviates.sum() < LEAST_DEVIATIONS:
        return chosen
    near = np.quantile(loss[deviates], 0.95)
    tied, tied_others = margin <= near, margin_of_others <= near
    for action in np.unique(chosen[tied_others]):
        taken = found.action[tied & (best == action)]
        at = np.flatnonzero(tied_others & (chosen == action))
        if len(taken):
            drawn = np.sort(taken)[(draw[at] * len(taken)).astype(np.int64)]
            may = (drawn < 0) | np.isfinite(others[at, drawn])
            chosen[at] = np.where(may, drawn, -1)
    return chosen


def _best_and_margin(net: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the best action, -1 for none, and (N,) by how much it is better than the second best.

    net (N, C + 1): what each action is worth after its price, and in the last column 0 for none.
    """
    best = net.argmax(axis=1)
    ordered = np.partition(net, -2, axis=1)
    return np.where(best == net.shape[1] - 1, -1, best), ordered[:, -1] - ordered[:, -2]


def _prices(v: np.ndarray, limits: Limits) -> tuple[float, np.ndarray, float, int]:
    """Prices of money and of each capacity that minimise the dual, its value, and the passes taken."""
    n_actions = len(limits.costs)
    limited = np.flatnonzero(np.isfinite(limits.capacity) & (limits.capacity < len(v)))
    has_money = limits.money is not None
    most = float(v.max(initial=0.0, where=np.isfinite(v)))
    cheapest = float(limits.costs[limits.costs > 0].min(initial=math.inf))
    upper = [most / cheapest if math.isfinite(cheapest) else 0.0] * has_money + [most] * len(limited)
    n = len(upper)

    def split(x: np.ndarray) -> tuple[float, np.ndarray]:
        mu = np.zeros(n_actions)
        mu[limited] = x[int(has_money) :]
        return (float(x[0]) if has_money else 0.0), mu

    def dual(x: np.ndarray) -> tuple[float, np.ndarray]:
        lam, mu = split(x)
        total, used = 0.0, np.zeros(n_actions)
        for best, worth in _swept(v, lam * limits.costs + mu):
            taken = worth > 0
            total += float(worth[taken].sum())
            used += np.bincount(best[taken], minlength=n_actions)
        room = np.array(([limits.money] if has_money else []) + list(limits.capacity[limited]), dtype=np.float64)
        load = np.array(([float(used @ limits.costs)] if has_money else []) + list(used[limited]))
        return total + float(x @ room), room - load

    x = np.zeros(n)
    value, slope = dual(x)
    best_value, best_x, passes = value, x, 1
    if n == 0 or (slope >= 0).all():  # everything fits: nothing has a price
        return *split(x), value, passes
    planes, offsets = [np.append(slope, -1.0)], [float(slope @ x) - value]
    while passes < MOST_PASSES:
        # Variables: the prices and the height t; each plane says t >= D(x_k) + slope_k (x - x_k).
        solved = linprog(
            np.append(np.zeros(n), 1.0),
            A_ub=np.array(planes),
            b_ub=np.array(offsets),
            bounds=[(0.0, u) for u in upper] + [(None, None)],
            method="highs",
        )
        if best_value - solved.fun <= TOLERANCE * max(abs(best_value), 1e-12):
            break
        x = solved.x[:-1]
        value, slope = dual(x)
        passes += 1
        if value < best_value:
            best_value, best_x = value, x
        planes.append(np.append(slope, -1.0))
        offsets.append(float(slope @ x) - value)
    return *split(best_x), best_value, passes


def _repaired(v: np.ndarray, limits: Limits, money_price: float, capacity_price: np.ndarray) -> np.ndarray:
    """The choice at the prices, cut to what fits by regret, then filled with what is left."""
    costs, prices = limits.costs, money_price * limits.costs + capacity_price
    action = chosen_at(v, costs, money_price, capacity_price)
    taken = np.flatnonzero(action >= 0)
    net = v[taken] - prices
    own = np.arange(len(taken)), action[taken]
    best = net[own]
    net[own] = -np.inf
    regret = best - np.maximum(net.max(axis=1, initial=-np.inf), 0.0)
    order = taken[np.lexsort((taken, -v[taken, action[taken]], -regret))]
    action[order[~_fits(action[order], limits, np.zeros(len(costs)), 0.0)]] = -1
    for _ in range(FILLS):
        used = np.bincount(action[action >= 0], minlength=len(costs)).astype(np.float64)
        spent = float(used @ costs)
        room = limits.capacity - used
        left = math.inf if limits.money is None else limits.money - spent
        open_actions = np.flatnonzero((room >= 1) & (costs <= left + 1e-9))
        free = np.flatnonzero(action < 0)
        if not len(open_actions) or not len(free):
            break
        offered = v[np.ix_(free, open_actions)]
        best_open = (offered - prices[open_actions]).argmax(axis=1)
        worth = offered[np.arange(len(free)), best_open]
        some = worth > 0
        if not some.any():
            break
        candidates, to = free[some], open_actions[best_open[some]]
        order = np.lexsort((candidates, -(worth[some] - prices[to])))
        fits = _fits(to[order], limits, used, spent)
        if not fits.any():
            break
        action[candidates[order[fits]]] = to[order[fits]]
    return action


def _fits(action: np.ndarray, limits: Limits, used: np.ndarray, spent: float) -> np.ndarray:
    """(M,) which of these actions (M,), taken in order, fit into the capacities and into the money that is left."""
    rank = pd.Series(action).groupby(action).cumcount().to_numpy() + 1
    fits = used[action] + rank <= limits.capacity[action]
    if limits.money is not None:
        running = spent + np.cumsum(np.where(fits, limits.costs[action], 0.0))
        fits &= running <= limits.money * (1 + 1e-12)
    return fits
