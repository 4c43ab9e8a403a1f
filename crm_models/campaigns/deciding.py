"""Decisions: the arm, the three steps and the retention action of every customer of a campaign.

A customer is targeted if at risk under the policy and allowed at least one retention action; with a budget, if the
allocation gives one. Targeted customers in the control group keep the plan that they would have without the campaign.
The first retention step is the campaign's `action`: what is costed and measured. Under a policy without a budget,
further retention steps may follow it, for customers who do not react to the first.

Letters: N customers, V actions, C retention actions on offer.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.judging import ALLOWED
from crm_models.campaigns.split import ARMS, EXPLORE, HOLDOUT, NOT_TARGETED, PLAN, explored, propensity
from crm_models.core.records import CustomerScores
from crm_models.core.schema import CUSTOMER_ID, N_STEPS, PLAN_SOURCES
from crm_models.core.tables import TableWriter
from crm_models.planning.plans import Plans, make_plans
from crm_models.planning.policy import rounded

CHUNK = 65_536
"""Customers whose plans are made at once."""

RISK_BANDS = ((0.0, "low"), (0.5, "medium"), (0.75, "high"))
"""Lower ends of the bands of churn risk, as in Braze's Predictive Churn."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Who gets what. Each (N,); actions are codes, -1 for none.

    arm: index in ARMS. planned: the retention action of the plan, also of the control group. given: the one that is
    really given. propensity: the probability of `given`. retention (N, 3): retention steps in order, -1 for none.
    """

    arm: np.ndarray
    planned: np.ndarray
    given: np.ndarray
    propensity: np.ndarray
    retention: np.ndarray


def assign(
    campaign: Campaign, scores: CustomerScores, allowed: np.ndarray, chosen: np.ndarray | None = None
) -> Assignment:
    """The arm and the retention steps of every customer. chosen (N,): the allocation's action for each customer."""
    candidates = np.array(campaign.candidates)
    offered = allowed[:, candidates]  # (N, C)
    # The allowed ones first, in the order of preference: a stable sort of "is not allowed".
    order = np.argsort(~offered, axis=1, kind="stable")[:, :N_STEPS]
    retention = np.where(np.take_along_axis(offered, order, axis=1), candidates[order], -1)
    if retention.shape[1] < N_STEPS:
        retention = np.pad(retention, ((0, 0), (0, N_STEPS - retention.shape[1])), constant_values=-1)
    if chosen is not None:
        retention = np.column_stack([chosen, np.full((len(chosen), N_STEPS - 1), -1)])
    n_steps = campaign.policy.n_retention(scores.churn_p)
    retention[n_steps == 0] = -1
    planned = retention[:, 0].copy()
    targeted = planned >= 0
    split = campaign.split
    arm = np.full(len(targeted), NOT_TARGETED, np.int8)
    arm[targeted] = split.arms(scores.customer_id[targeted])
    given = np.where(arm == PLAN, planned, -1)
    at = np.flatnonzero(arm == EXPLORE)
    if len(at):
        drawn = explored(split.salt, scores.customer_id[at], offered[at])
        given[at] = np.where(drawn >= 0, candidates[drawn], -1)
    p = np.full(len(targeted), np.nan)
    p[targeted] = propensity(split, given[targeted], planned[targeted], offered[targeted].sum(axis=1) + 1)
    retention[arm == EXPLORE] = -1
    retention[arm == EXPLORE, 0] = given[arm == EXPLORE]
    retention[arm == HOLDOUT] = -1
    keep = np.arange(N_STEPS) < n_steps[:, None]
    return Assignment(arm=arm, planned=planned, given=given, propensity=p, retention=np.where(keep, retention, -1))


def plans_of(campaign: Campaign, scores: CustomerScores, allowed: np.ndarray, retention: np.ndarray) -> Plans:
    """Plans with these retention steps (N, 3) first, -1 for none, that keep the rules."""
    n_retention = (retention >= 0).sum(axis=1)
    return make_plans(scores, campaign.catalogue, campaign.policy, n_retention, retention=retention, allowed=allowed)


def write_decisions(
    campaign: Campaign,
    file: Path,
    *,
    chosen: np.ndarray | None = None,
    value: np.ndarray | None = None,
    value_before: np.ndarray | None = None,
) -> None:
    """Write the decisions of a campaign to `file`. chosen, value: the allocation's action and its expected value."""
    scores, allowed = campaign.scores(), campaign.allowed()
    assignment = assign(campaign, scores, allowed, chosen)
    n = len(scores.customer_id)
    value = np.full(n, np.nan) if value is None else value
    if value_before is None:
        value_before = campaign.decisions(["value_before"])["value_before"].to_numpy()
    reason, not_before = _why_untargeted(campaign, scores, assignment)
    costs = np.zeros(len(campaign.actions) + 1)  # code -1, none, costs nothing
    for offer in campaign.offers:
        costs[campaign.catalogue.code(offer.action)] = offer.cost
    with TableWriter(file) as writer:
        for first in range(0, n, CHUNK):
            rows = slice(first, min(first + CHUNK, n))
            table = _table(
                campaign,
                plans_of(campaign, scores.take(np.arange(n)[rows]), allowed[rows], assignment.retention[rows]),
                Assignment(**{name: array[rows] for name, array in vars(assignment).items()}),
                costs,
            )
            table["value"] = value[rows]
            table["value_before"] = value_before[rows]
            table["dropped_reason"] = pd.array(reason[rows], dtype="str")
            table["confident"] = pd.array([pd.NA] * len(table), dtype="boolean")  # needs several runs to compare
            table["not_before"] = not_before[rows]
            writer.write(table)


def _table(campaign: Campaign, plans: Plans, assignment: Assignment, costs: np.ndarray) -> pd.DataFrame:
    labels = np.array([*campaign.catalogue.labels, ""], dtype=object)
    churn_p = rounded(plans.churn_p)
    bands = np.array([name for _, name in RISK_BANDS] + [""], dtype=object)
    band = np.searchsorted([low for low, _ in RISK_BANDS], churn_p, side="right") - 1
    columns = {
        CUSTOMER_ID: plans.customer_id,
        "arm": np.array(ARMS, dtype=object)[assignment.arm],
        "churn_probability": churn_p,
        "at_risk": plans.at_risk,
        "risk_band": bands[np.where(np.isnan(churn_p), len(RISK_BANDS), band)],
        "plan_source": np.array(PLAN_SOURCES, dtype=object)[plans.source],
    }
    columns |= {f"step_{k + 1}": labels[plans.action[:, k]] for k in range(N_STEPS)}
    columns |= {f"step_{k + 1}_probability": plans.step_p[:, k] for k in range(N_STEPS)}
    columns |= {
        "action": labels[assignment.given],
        "planned_action": labels[assignment.planned],
        "propensity": assignment.propensity,
        "cost": costs[assignment.given],
        "n_events": plans.n_events,
    }
    return pd.DataFrame(columns)


def _why_untargeted(
    campaign: Campaign, scores: CustomerScores, assignment: Assignment
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) the rule that dropped the preferred retention action of a customer at risk, and the day it ends, if it does.

    Blank for customers who keep their preferred action, or who are not at risk. The second is an ISO date or None.
    """
    n = len(scores.customer_id)
    reason, not_before = np.full(n, "", dtype=object), np.full(n, None, dtype=object)
    rows, codes = campaign.dropped()
    preferred = codes[:, campaign.candidates[0]]
    wanted = campaign.policy.n_retention(scores.churn_p)[rows] > 0
    names = np.array([campaign.reason(code) for code in range(256)], dtype=object)
    hit = wanted & (preferred != ALLOWED)
    reason[rows[hit]] = names[preferred[hit]]
    ends = np.full(256, None, dtype=object)
    for k, rule in enumerate(campaign.rules, start=1):
        if rule.kind == "quiet" and rule.last is not None:
            ends[k] = (rule.last + dt.timedelta(days=1)).isoformat()
    not_before[rows[hit]] = ends[preferred[hit]]
    return reason, not_before
