"""Budget of a campaign: values of each action for each customer, the allocation, its prices and its curve.

The prices are found on the customers who are contacted and decide for the control group as well, so that both hold the
same kind of customers. The budget pays for the contacts only. Letters: N customers, C retention actions on offer.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns.allocation import Allocation, Limits, allocate, counterparts
from crm_models.campaigns.deciding import write_decisions
from crm_models.campaigns.folder import DECISIONS, FILE, Campaign
from crm_models.campaigns.ledger import exclusive, is_fixed
from crm_models.campaigns.split import EXPLORE, HOLDOUT, PLAN, explored, unit_hash
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.files import json_text, new_files
from crm_models.core.permissions import Who, doing
from crm_models.core.sealed import sealed
from crm_models.data.storage import customer_columns, customer_table

SUCCESS_RATE = 0.2
"""Share of churners whom an action keeps where an offer does not say it."""

CURVE_CUSTOMERS = 50_000
CURVE_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Budgets of the curve, as shares of the budget, on a sample of at most so many customers."""


def fund(
    campaign: Campaign,
    *,
    money: float | None = None,
    value: float | str = 100.0,
    effects: dict[str, np.ndarray] | None = None,
    taught_by: str = "",
    who: Who = "local",
) -> Campaign:
    """Give each customer at risk the action that is worth it, within the budget and the capacities; rewrites decisions.

    value: of a kept customer: a number, or a numeric column of the customers. An action is worth p * success_rate *
    value - cost, with the churn probability p: an assumption. effects: (N,) by action, from an earlier campaign called
    `taught_by` (see `learning.effects_for`); such an action is worth effect * value - cost. Raises `ConfigError` once
    the campaign was exported or read. What else of the campaign was changed since it was loaded stays.
    """
    with doing(who, "campaign.change", campaign.place), exclusive(campaign.folder):
        return spend(Campaign.load(campaign.folder), money=money, value=value, effects=effects, taught_by=taught_by)


def spend(
    campaign: Campaign,
    *,
    money: float | None,
    value: float | str,
    effects: dict[str, np.ndarray] | None = None,
    taught_by: str = "",
) -> Campaign:
    """The same as `fund`, for a caller who has the campaign for themselves already."""
    if is_fixed(campaign):
        raise ConfigError(f"{campaign.name} was exported or read already, so its budget stays; make a new campaign")
    taught = {label: effects[label] for label in _labels(campaign) if effects is not None and label in effects}
    pool = _Pool.of(campaign, _customer_values(campaign, value), taught)
    capacity = [math.inf if offer.capacity is None else offer.capacity for offer in campaign.offered_actions]
    limits = Limits(costs=_costs(campaign), money=money, capacity=np.array(capacity))
    chosen, final, limits = _allocated(campaign, pool, limits)
    given = chosen >= 0
    codes, expected = np.full(campaign.customers, -1), np.full(campaign.customers, np.nan)
    codes[pool.rows[given]] = np.array(campaign.candidates)[chosen[given]]
    expected[pool.rows[given]] = pool.v[given, chosen[given]]
    stated = {"money": money, "value": value, "taught_by": taught_by if taught else None, "taught": list(taught)}
    found = _facts(campaign, final, limits, taught) | {"curve": _curve(pool.v[pool.arms == PLAN], limits)}
    about = campaign.about | {"budget": stated | {"not_candidates": pool.unknown} | found}
    with new_files() as part_of:
        decisions = part_of(campaign.folder / DECISIONS)
        write_decisions(Campaign(campaign.folder, about), decisions, chosen=codes, value=expected)
        part_of(campaign.folder / FILE).write_text(json_text(sealed(about)), encoding="utf-8")
    return Campaign.load(campaign.folder)


@dataclass(frozen=True, kw_only=True)
class _Pool:
    """The M customers at risk whose risk and value are known, in a random order, and what each action is worth to them.

    rows (M,) of the cohort. ids (M,). arms (M,): index in ARMS. offered (M, C) bool. v (M, C): worth of each action,
    -inf where it is not offered. unknown: customers left out because their risk or value is not known.
    """

    rows: np.ndarray
    ids: np.ndarray
    arms: np.ndarray
    offered: np.ndarray
    v: np.ndarray
    unknown: int

    @classmethod
    def of(cls, campaign: Campaign, worth: np.ndarray, taught: dict[str, np.ndarray]) -> _Pool:
        """worth (N,): value of each customer who is kept. taught: (N,) effects by action, instead of success rates."""
        ids, churn_p = campaign.risks()
        known = ~np.isnan(churn_p) & ~np.isnan(worth)
        rows = np.flatnonzero(known & (campaign.policy.n_retention(churn_p) > 0))
        # In a random order, because customers of equal worth are taken in the order given.
        rows = rows[np.argsort(unit_hash(f"{campaign.split.salt}:order", ids[rows]), kind="stable")]
        gains = np.outer(churn_p[rows], _success_rates(campaign))
        for k, label in enumerate(_labels(campaign)):
            if label in taught:
                gains[:, k] = taught[label][rows]
        offered = campaign.offered()[rows]
        v = np.where(offered, gains * worth[rows][:, None] - _costs(campaign), -np.inf)
        arms = campaign.split.arms(ids[rows])
        return cls(rows=rows, ids=ids[rows], arms=arms, offered=offered, v=v, unknown=int((~known).sum()))


def _allocated(campaign: Campaign, pool: _Pool, limits: Limits) -> tuple[np.ndarray, Allocation, Limits]:
    """(M,) the action of each customer of the pool, -1 for none; the allocation to the plan group, and its limits."""
    chosen = np.full(len(pool.v), -1)
    explores, plan, control = (pool.arms == arm for arm in (EXPLORE, PLAN, HOLDOUT))
    if explores.any():
        chosen[explores] = allocate(pool.v[~control], limits).action[explores[~control]]
        paid = explores & (chosen >= 0)
        limits = _without_explorers(campaign, pool.ids[paid], pool.offered[paid], limits)
    final = allocate(pool.v[plan], limits)
    chosen[plan] = final.action
    draw = unit_hash(f"{campaign.split.salt}:tie", pool.ids[control])
    chosen[control] = counterparts(pool.v[plan], final, limits.costs, pool.v[control], draw)
    return chosen, final, limits


def _labels(campaign: Campaign) -> list[str]:
    return [campaign.catalogue.labels[code] for code in campaign.candidates]


def _costs(campaign: Campaign) -> np.ndarray:
    return campaign.costs[list(campaign.candidates)]


def _success_rates(campaign: Campaign) -> list[float]:
    rates = [offer.success_rate for offer in campaign.offered_actions]
    return [SUCCESS_RATE if rate is None else rate for rate in rates]


def _without_explorers(campaign: Campaign, ids: np.ndarray, offered: np.ndarray, limits: Limits) -> Limits:
    """What is left for the others after the random actions of these customers, who explore."""
    drawn = explored(campaign.split.salt, ids, offered)
    used = np.bincount(drawn[drawn >= 0], minlength=len(limits.costs))
    spent = float(used @ limits.costs)
    if limits.money is not None and spent > limits.money:
        raise ConfigError(
            f"expected a budget that pays for the customers who explore ({spent:,.0f}), found {limits.money:,.0f}; "
            "raise the budget or lower the explore share"
        )
    left = None if limits.money is None else limits.money - spent
    return replace(limits, money=left, capacity=np.maximum(limits.capacity - used, 0))


def _customer_values(campaign: Campaign, value: float | str) -> np.ndarray:
    """(N,) value of each customer who is kept."""
    n = campaign.customers
    if not isinstance(value, str):
        if not 0 <= value < np.inf:
            raise ConfigError(f"the value of a kept customer must be a number from 0 up, found {value}")
        return np.full(n, float(value))
    folder = Path(campaign.about["cohort_folder"])
    file = folder / "customers.parquet"
    if value not in customer_columns(folder):
        raise ConfigError(f"the value of a kept customer: expected a number or a column of {file}, found {value!r}")
    column = customer_table(folder, [value])[value]
    if not pd.api.types.is_numeric_dtype(column):
        raise DataError(f"{file}: expected numbers in the column {value!r}, found {column.dtype}")
    worth = column.to_numpy(dtype=np.float64)
    if (worth < 0).any() or len(worth) != n:
        raise DataError(f"{file}: expected {n:,} values from 0 up in the column {value!r}, found others")
    return worth


def _facts(campaign: Campaign, allocation: Allocation, limits: Limits, taught: Collection[str]) -> dict[str, Any]:
    """What campaign.json says of the allocation; lists by action in the order of the candidates."""
    labels, offers = _labels(campaign), campaign.offered_actions
    assumed = [label for label, offer in zip(labels, offers, strict=True) if offer.success_rate is None]
    by_action = {
        "success_rates": _success_rates(campaign),
        "capacity_price": allocation.capacity_price.tolist(),
        "used": allocation.used.tolist(),
        "costs": limits.costs.tolist(),
        "capacity": [None if math.isinf(places) else float(places) for places in limits.capacity],
    }
    return {
        "assumed": [label for label in assumed if label not in taught],
        "expected_value": allocation.value,
        "bound": allocation.bound,
        "gap": allocation.gap,
        "spent": allocation.spent,
        "money_price": allocation.money_price,
        "passes": allocation.passes,
        **{name: dict(zip(labels, values, strict=True)) for name, values in by_action.items()},
    }


def _curve(v: np.ndarray, limits: Limits) -> list[dict[str, float]]:
    """Expected value at other budgets, estimated on a sample of the customers."""
    if limits.money is None or not len(v):
        return []
    take = np.random.default_rng(0).permutation(len(v))[:CURVE_CUSTOMERS]
    scale = len(take) / len(v)
    points = []
    for money in (limits.money * share for share in CURVE_SHARES):
        found = allocate(v[take], replace(limits, money=money * scale, capacity=limits.capacity * scale))
        points.append({"money": money, "value": found.value / scale, "contacts": int(found.used.sum()) / scale})
    return points


def summary(campaign: Campaign) -> list[str]:
    """The allocation in sentences."""
    budget = campaign.about["budget"]
    money = (
        "no limit of money" if budget["money"] is None else f"{budget['spent']:,.0f} of {budget['money']:,.0f} spent"
    )
    lines = [
        f"{sum(budget['used'].values()):,} contacts, {money}, value {budget['expected_value']:,.0f} after costs "
        f"(at most {budget['bound']:,.0f} is possible; {budget['gap']:.3%} below)"
    ]
    if budget["money"] is not None:
        lines.append(f"the next 100 of budget would bring {100 * budget['money_price']:,.1f} more, after costs")
    for action, price in budget["capacity_price"].items():
        if price > 0:
            lines.append(f"{action} is full: one more place would be worth {price:,.1f}")
    if budget["taught"]:
        lines.append(f"effects of {', '.join(budget['taught'])} as learned from {budget['taught_by']}")
    if budget["assumed"]:
        lines.append(f"success rate {SUCCESS_RATE:.0%} assumed for {', '.join(budget['assumed'])}")
    cheapest = min(budget["costs"].values(), default=0)
    if budget["money"] is not None and budget["money"] < cheapest:
        lines.append(f"the budget is below the cheapest action ({cheapest:,.2f}), so nobody gets one")
    if budget["not_candidates"]:
        lines.append(f"{budget['not_candidates']:,} customers without a known risk or value get no action")
    return lines
