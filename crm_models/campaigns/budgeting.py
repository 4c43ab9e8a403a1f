"""Budget of a campaign: values of each action for each customer, the allocation, its prices and its curve.

The prices are found on the customers who are contacted and decide for the control group as well, so that both hold the
same kind of customers. The budget pays for the contacts only. Letters: N customers, C retention actions on offer.
"""

from __future__ import annotations

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
    (ids, churn_p), offered = campaign.risks(), campaign.offered()
    candidates = np.array(campaign.candidates)
    by_code = {campaign.catalogue.code(offer.action): offer for offer in campaign.offers}
    offers = [by_code.get(code) for code in campaign.candidates]
    costs = np.array([offer.cost if offer else 0.0 for offer in offers])
    rates = np.array(
        [SUCCESS_RATE if offer is None or offer.success_rate is None else offer.success_rate for offer in offers]
    )
    capacity = np.array([np.inf if offer is None or offer.capacity is None else offer.capacity for offer in offers])
    worth = _customer_values(campaign, value)
    known = ~np.isnan(churn_p) & ~np.isnan(worth)
    pool = np.flatnonzero(known & (campaign.policy.n_retention(churn_p) > 0))
    # In a random order, because customers of equal worth are taken in the order given.
    pool = pool[np.argsort(unit_hash(f"{campaign.split.salt}:order", ids[pool]), kind="stable")]
    labels = [campaign.catalogue.labels[code] for code in candidates]
    gains = np.outer(churn_p[pool], rates)
    for k, label in enumerate(labels):
        if effects is not None and label in effects:
            gains[:, k] = effects[label][pool]
    v = gains * worth[pool][:, None] - costs
    v[~offered[pool]] = -np.inf
    arms = campaign.split.arms(ids[pool])
    limits = Limits(costs=costs, money=money, capacity=capacity)
    chosen = np.full(len(pool), -1)
    explores, plan, control = (arms == arm for arm in (EXPLORE, PLAN, HOLDOUT))
    if explores.any():
        chosen[explores] = allocate(v[~control], limits).action[explores[~control]]
        paid = explores & (chosen >= 0)
        limits = _without_explorers(campaign, ids[pool], offered[pool], paid, limits)
    final = allocate(v[plan], limits)
    chosen[plan] = final.action
    draw = unit_hash(f"{campaign.split.salt}:tie", ids[pool][control])
    chosen[control] = counterparts(v[plan], final, costs, v[control], draw)
    codes, expected = np.full(len(known), -1), np.full(len(known), np.nan)
    given = chosen >= 0
    codes[pool[given]] = candidates[chosen[given]]
    expected[pool[given]] = v[np.flatnonzero(given), chosen[given]]
    taught = [label for label in labels if label in (effects or {})]
    about = campaign.about | {
        "budget": {
            "money": money,
            "value": value,
            "success_rates": dict(zip(labels, rates.tolist(), strict=True)),
            "taught_by": taught_by if taught else None,
            "taught": taught,
            "assumed": [
                label
                for label, offer in zip(labels, offers, strict=True)
                if label not in taught and (offer is None or offer.success_rate is None)
            ],
            "not_candidates": int((~known).sum()),
            **_facts(final, labels, limits),
            "curve": _curve(v[plan], limits),
        }
    }
    funded = Campaign(campaign.folder, about)
    with new_files() as part_of:
        write_decisions(funded, part_of(campaign.folder / DECISIONS), chosen=codes, value=expected)
        part_of(campaign.folder / FILE).write_text(json_text(sealed(about)), encoding="utf-8")
    return Campaign.load(campaign.folder)


def _without_explorers(
    campaign: Campaign, ids: np.ndarray, offered: np.ndarray, at: np.ndarray, limits: Limits
) -> Limits:
    """What is left for the others after the random actions of the customers `at` who explore."""
    drawn = explored(campaign.split.salt, ids[at], offered[at])
    used = np.bincount(drawn[drawn >= 0], minlength=len(limits.costs))
    spent = float(used @ limits.costs)
    if limits.money is not None and spent > limits.money:
        raise ConfigError(
            f"expected a budget that pays for the customers who explore ({spent:,.0f}), found {limits.money:,.0f}; "
            "raise the budget or lower the explore share"
        )
    return Limits(
        costs=limits.costs,
        money=None if limits.money is None else limits.money - spent,
        capacity=np.maximum(limits.capacity - used, 0),
    )


def _customer_values(campaign: Campaign, value: float | str) -> np.ndarray:
    """(N,) value of each customer who is kept."""
    n = campaign.about["funnel"]["customers"]
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


def _facts(allocation: Allocation, labels: list[str], limits: Limits) -> dict[str, Any]:
    return {
        "expected_value": allocation.value,
        "bound": allocation.bound,
        "gap": allocation.gap,
        "spent": allocation.spent,
        "money_price": allocation.money_price,
        "capacity_price": dict(zip(labels, allocation.capacity_price.tolist(), strict=True)),
        "used": dict(zip(labels, allocation.used.tolist(), strict=True)),
        "costs": dict(zip(labels, limits.costs.tolist(), strict=True)),
        "capacity": {k: None if np.isinf(c) else float(c) for k, c in zip(labels, limits.capacity, strict=True)},
        "passes": allocation.passes,
    }


def _curve(v: np.ndarray, limits: Limits) -> list[dict[str, float]]:
    """Expected value at other budgets, estimated on a sample of the customers."""
    if limits.money is None or not len(v):
        return []
    take = np.random.default_rng(0).permutation(len(v))[:CURVE_CUSTOMERS]
    scale = len(take) / len(v)
    points = []
    for share in CURVE_SHARES:
        part = Limits(costs=limits.costs, money=limits.money * share * scale, capacity=limits.capacity * scale)
        at = allocate(v[take], part)
        points.append(
            {"money": limits.money * share, "value": at.value / scale, "contacts": int(at.used.sum()) / scale}
        )
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
