"""Decisions: the arm, the three steps and the retention action of every customer of a campaign.

A customer is targeted if at risk under the policy and allowed at least one retention action; with a budget, if the
allocation gives one. Targeted customers in the control group keep the plan that they would have without the campaign.
The first retention step is the campaign's `action`: what is costed and measured. Under a policy without a budget,
further retention steps may follow it, for customers who do not react to the first.

Letters: N customers, V actions, C retention actions on offer.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns.confidence import CONFIDENT, GIVEN, SOURCE, seeds_of
from crm_models.campaigns.folder import Campaign, Part
from crm_models.campaigns.judging import ALLOWED
from crm_models.campaigns.ledger import state
from crm_models.campaigns.split import ARMS, EXPLORE, HOLDOUT, NOT_TARGETED, PLAN, explored, propensity
from crm_models.core.records import CustomerScores
from crm_models.core.schema import CUSTOMER_ID, N_STEPS, PLAN_SOURCES
from crm_models.core.tables import TableWriter
from crm_models.planning.plans import Plans, make_plans
from crm_models.planning.policy import rounded

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
    confident: Any = None,
) -> None:
    """Write the decisions of a campaign to `file`, part by part.

    chosen, value (N,): the allocation's action and its expected value. value_before (N,): sum of the values of past
    events. confident (N,) of True, False or NA: whether several trainings agree on the plan; the seeds of the run say
    it anew, unless a plans.csv does. The last two are kept from the decisions before where they are not given.
    """
    if value_before is None:
        before = campaign.decisions(["value_before", CONFIDENT])
        value_before, confident = before["value_before"].to_numpy(), before[CONFIDENT].array
    value = np.full(len(value_before), np.nan) if value is None else value
    confident = pd.array([pd.NA] * len(value_before), "boolean") if confident is None else confident
    seeds = None if campaign.about.get(SOURCE) == GIVEN else seeds_of(campaign.about)
    with TableWriter(file) as writer:
        for part in campaign.parts(decided=False):
            own = None if chosen is None else chosen[part.rows]
            assignment = assign(campaign, part.scores, part.allowed, own)
            plans = plans_of(campaign, part.scores, part.allowed, assignment.retention)
            reason, not_before = _why_untargeted(campaign, part)
            table = _table(campaign, plans, assignment).assign(
                value=value[part.rows],
                value_before=value_before[part.rows],
                dropped_reason=pd.array(reason, dtype="str"),
                confident=confident[part.rows] if seeds is None else seeds.confident(plans),
                not_before=pd.array(not_before, dtype="str"),
            )
            writer.write(table)


def _table(campaign: Campaign, plans: Plans, assignment: Assignment) -> pd.DataFrame:
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
        "cost": campaign.costs[assignment.given],
        "n_events": plans.n_events,
    }
    return pd.DataFrame(columns)


def _why_untargeted(campaign: Campaign, part: Part) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the rule that dropped the preferred retention action of a customer at risk, and the day it ends, if it does.

    Blank for customers who keep their preferred action, or who are not at risk. The second is an ISO date or None.
    """
    preferred = np.where(
        campaign.policy.n_retention(part.scores.churn_p) > 0, part.code[:, campaign.candidates[0]], ALLOWED
    )
    names = np.array([campaign.reason(code) for code in range(256)], dtype=object)
    ends = np.full(256, None, dtype=object)
    for k, rule in enumerate(campaign.rules, start=1):
        if rule.kind == "quiet" and rule.last is not None:
            ends[k] = (rule.last + dt.timedelta(days=1)).isoformat()
    return names[preferred], ends[preferred]


# ---- plans after the edits of the ledger -----------------------------------------------------------------------------


def edited_plans(campaign: Campaign, *, targeted_only: bool = False) -> Iterator[tuple[Plans, pd.DataFrame]]:
    """Plans after the edits of the ledger, with the decisions, part by part; a part may be empty."""
    edits, catalogue = state(campaign), campaign.catalogue
    for part in campaign.parts():
        decisions = part.decisions
        assert decisions is not None
        retention = _retention(campaign, decisions)
        ids = pd.Index(decisions[CUSTOMER_ID])
        retention[ids.isin(list(edits.excluded))] = -1
        for row in np.flatnonzero(ids.isin(list(edits.swaps))):
            retention[row] = [catalogue.code(edits.swaps[ids[row]]), *[-1] * (N_STEPS - 1)]
        keep = np.flatnonzero(decisions["arm"] != "none") if targeted_only else np.arange(len(decisions))
        yield plans_of(campaign, part.scores.take(keep), part.allowed[keep], retention[keep]), decisions.iloc[keep]


def _retention(campaign: Campaign, decisions: pd.DataFrame) -> np.ndarray:
    """(n, 3) retention steps of the decisions, -1 for none: the leading steps that have no probability of the model."""
    retention = np.full((len(decisions), N_STEPS), -1)
    leads = np.isin(decisions["plan_source"], ["override", "graded"])
    for k in range(N_STEPS):
        code = campaign.codes(decisions[f"step_{k + 1}"])
        leads = leads & np.isin(code, campaign.candidates) & decisions[f"step_{k + 1}_probability"].isna().to_numpy()
        retention[leads, k] = code[leads]
    return retention
