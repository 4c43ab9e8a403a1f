"""What would happen: a campaign sent into the world that a generated cohort was drawn from.

The truth knows the effect of each retention action on each customer, so the simulated reading stands beside the true
effect, and what the campaign earns beside the best that any targeting could earn. The effect is that of the action
given (the first retention step). Letters: N customers, M targeted customers, R retention actions of the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns.effects import difference
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.ledger import state
from crm_models.campaigns.reading import keep
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.permissions import Who, doing
from crm_models.core.schema import CUSTOMER_ID
from crm_models.data.storage import parts
from crm_models.data.truth import Truth, churn_p_by_action, load_truth

STREAMS = ("outcomes", "coverage")

N_CAMPAIGNS = 200
"""Simulated campaigns behind the coverage of the interval."""


@dataclass(frozen=True, kw_only=True)
class World:
    """True probabilities of staying until the horizon. stay (N, 1 + R): without an action, then with each one.

    column (V + 1,): column of `stay` for each action code of the campaign, the last one for code -1 (none). Actions
    that the truth does not know have no effect.
    """

    stay: np.ndarray
    column: np.ndarray

    @classmethod
    def of(cls, campaign: Campaign) -> World:
        """The world of a campaign on a generated cohort. Raises `DataError` if the cohort has no such truth."""
        folder = Path(campaign.about["cohort_folder"])
        truth = load_truth(folder)
        if truth is None or truth.retention is None:
            raise DataError(
                f"{folder}: expected a generated cohort that knows the effects of retention actions, found "
                f"{'no truth' if truth is None else 'a truth without them'}; make one with `generate --scenario "
                "lifelike`, or use `campaign read` with real outcomes"
            )
        days = campaign.split.horizon_days
        stay = np.concatenate([1 - churn_p_by_action(truth, part, days) for part in parts(folder)])
        if len(stay) != campaign.customers:
            raise DataError(
                f"{folder}: expected the {campaign.customers:,} customers of the campaign, found {len(stay):,}; make "
                "the campaign again"
            )
        return cls(stay=stay, column=_columns(campaign, truth))

    def stay_with(self, action: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """(M,) true probability of staying with each action code (M,), -1 for none; rows (M,) of the customers."""
        rows = np.arange(len(self.stay)) if rows is None else rows
        return self.stay[rows, self.column[action]]

    def effect(self, action: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(M,) by how much each action (M,) raises the probability of staying of the customers `rows` (M,)."""
        return self.stay_with(action, rows) - self.stay[rows, 0]


def _columns(campaign: Campaign, truth: Truth) -> np.ndarray:
    assert truth.retention is not None
    known = {action: k for k, action in enumerate(truth.retention.actions, start=1)}
    names = zip(campaign.catalogue.names, campaign.catalogue.labels, strict=True)
    return np.array([*(known.get(name, known.get(label, 0)) for name, label in names), 0])


def given_now(campaign: Campaign, decisions: pd.DataFrame) -> np.ndarray:
    """(N,) code of the action that each customer is given after the edits of the ledger, -1 for none."""
    given, now = campaign.codes(decisions["action"]), state(campaign)
    if now.excluded or now.swaps:
        ids = pd.Index(decisions[CUSTOMER_ID])
        given[ids.isin(now.excluded)] = -1
        for customer, action in now.swaps.items():
            given[ids.get_loc(customer)] = campaign.catalogue.code(action)
    return given


def simulate(campaign: Campaign, *, seed: int = 0, value: float | None = None, who: Who = "local") -> dict[str, Any]:
    """Send the campaign into its world, draw who stays, read it, and keep the reading with the truth beside it.

    value: of a customer who stays, for the earnings; by default that of the budget, or 100. Returns reading.json.
    """
    if not 0 <= seed < 2**32:
        raise ConfigError(f"seed must lie between 0 and {2**32 - 1}, found {seed}")
    with doing(who, "campaign.read", campaign.place):
        world = World.of(campaign)
        decisions = campaign.decisions(
            [CUSTOMER_ID, "arm", "churn_probability", "risk_band", "action", "planned_action"]
        )
        given, planned = given_now(campaign, decisions), campaign.codes(decisions["planned_action"])
        rng = np.random.default_rng([seed, STREAMS.index("outcomes")])
        stayed = rng.random(len(decisions)) < world.stay_with(given)
        outcomes = pd.DataFrame({CUSTOMER_ID: decisions[CUSTOMER_ID], "outcome": stayed.astype(np.float64)})
        value = float(value if value is not None else (campaign.about["budget"] or {}).get("value", 100.0))
        truth = {"seed": seed, "value": value, **true_effect(world, decisions, planned)}
        truth["coverage"] = coverage(campaign, world, planned, seed=seed)
        truth["earnings"] = earnings(campaign, world, decisions, given, planned, value)
        truth["belief"] = beliefs(given, stayed, truth["difference"], value)
        return keep(campaign, outcomes, truth)


def true_effect(world: World, decisions: pd.DataFrame, planned: np.ndarray) -> dict[str, Any]:
    """The true difference among the customers compared (plan and control group), overall and by planned action."""
    rows = np.flatnonzero(decisions["arm"].isin(["plan", "holdout"]))
    if not len(rows):
        return {"difference": None, "segments": [], "kinds": {}}
    effect = world.effect(planned[rows], rows)
    found = []
    for column in ("planned_action", "risk_band"):
        values = decisions[column].to_numpy()[rows]
        found += [
            {"by": column, "segment": str(v), "value": float(effect[values == v].mean())} for v in dict.fromkeys(values)
        ]
    return {
        "difference": float(effect.mean()),
        "segments": found,
        "kinds": {
            "persuadable": float((effect > 0.02).mean()),
            "hardly moved": float((np.abs(effect) <= 0.02).mean()),
            "sleeping dogs": float((effect < -0.02).mean()),
        },
    }


def coverage(
    campaign: Campaign, world: World, planned: np.ndarray, *, seed: int, n: int = N_CAMPAIGNS
) -> dict[str, Any]:
    """Share of `n` simulated campaigns whose interval holds the true effect; near 95 % if the intervals are honest.

    Each assigns the targeted customers anew and draws their outcomes anew. The first intervals are kept for a chart.
    """
    rows = np.flatnonzero(planned >= 0)
    split = campaign.split
    share = split.holdout / (1 - split.explore)
    if not len(rows) or share == 0:
        return {"campaigns": 0, "covered": None, "intervals": []}
    with_action, without = world.stay_with(planned[rows], rows), world.stay[rows, 0]
    true = float((with_action - without).mean())
    rng = np.random.default_rng([seed, STREAMS.index("coverage")])
    intervals, skipped = [], 0
    for _ in range(n):
        draw = rng.random((2, len(rows)))
        is_control = draw[0] < share
        stayed = (draw[1] < np.where(is_control, without, with_action)).astype(np.float64)
        if min(int(is_control.sum()), int((~is_control).sum())) < 2:
            skipped += 1
            continue
        estimate = difference(stayed[~is_control], stayed[is_control])
        intervals.append([estimate.value, estimate.low, estimate.high])
    covered = [low <= true <= high for _, low, high in intervals]
    proven = [low > 0 or high < 0 for _, low, high in intervals]
    return {
        "campaigns": len(intervals),
        "skipped": skipped,
        "true": true,
        "covered": float(np.mean(covered)) if intervals else None,
        "proven": float(np.mean(proven)) if intervals else None,
        "intervals": intervals[:100],
    }


def earnings(
    campaign: Campaign,
    world: World,
    decisions: pd.DataFrame,
    given: np.ndarray,
    planned: np.ndarray,
    value: float,
) -> dict[str, Any]:
    """What targeting earns in truth: kept customers times `value`, minus costs, if everybody targeted were contacted.

    campaign: as planned. risk_only: the same number of contacts with the preferred action, to the highest churn risks
    among those at risk. best: the most valuable allowed action for each customer at risk, with as many contacts; no
    targeting earns more. best_unlimited: the same for as many customers as it pays for.
    """
    candidates, costs, allowed = np.array(campaign.candidates), campaign.costs, campaign.offered()
    at_risk = campaign.policy.n_retention(decisions["churn_probability"].to_numpy()) > 0
    pool = np.flatnonzero(at_risk & allowed.any(axis=1))
    contacts = int((planned >= 0).sum())

    def facts(rows: np.ndarray, action: np.ndarray) -> dict[str, float]:
        kept = float(world.effect(action, rows).sum())
        spent = float(costs[action].sum())
        return {"contacts": len(rows), "kept": kept, "spent": spent, "earned": kept * value - spent}

    sent = np.flatnonzero(planned >= 0)
    risk = decisions["churn_probability"].to_numpy()[pool]
    riskiest = pool[np.argsort(-risk, kind="stable")[:contacts]]
    preferred = candidates[np.argmax(allowed[riskiest], axis=1)]
    each = np.stack([world.effect(np.full(len(pool), code), pool) for code in candidates], axis=1)
    each = np.where(allowed[pool], each * value - costs[candidates], -np.inf)
    best, best_worth = candidates[each.argmax(axis=1)], each.max(axis=1)
    order = np.argsort(-best_worth, kind="stable")
    order = order[best_worth[order] > 0]
    return {
        "campaign": facts(sent, planned[sent]),
        "risk_only": facts(riskiest, preferred),
        "best": facts(pool[order[:contacts]], best[order[:contacts]]),
        "best_unlimited": facts(pool[order], best[order]),
        "given": facts(np.flatnonzero(given >= 0), given[given >= 0]),
    }


def beliefs(given: np.ndarray, stayed: np.ndarray, true: float | None, value: float) -> dict[str, Any]:
    """What one would believe without a control group, beside the truth.

    stayed: "all whom we contacted and who stayed were kept by us". contacted: the difference between those contacted
    and everybody not contacted, who differ in risk.
    """
    contacted = given >= 0
    if not contacted.any() or contacted.all():
        return {}
    rates = float(stayed[contacted].mean()), float(stayed[~contacted].mean())
    return {
        "contacted": int(contacted.sum()),
        "stayed": int(stayed[contacted].sum()),
        "stayed_rate": rates[0],
        "others_rate": rates[1],
        "believed_kept_if_all_who_stayed": int(stayed[contacted].sum()),
        "believed_difference": rates[0] - rates[1],
        "true_difference": true,
        "true_kept": None if true is None else true * int(contacted.sum()),
        "value": value,
    }
