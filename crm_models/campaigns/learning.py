"""What a campaign taught: uplift of each action, and what other plans would have brought, from its own log.

The log are the targeted customers with an outcome: what each was given, and with which probability. Customers who
explore make other plans identifiable. A log of another campaign is read by `read_log`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns.folder import OUTCOMES, Campaign
from crm_models.campaigns.offpolicy import Log, outcome_model, value_of
from crm_models.campaigns.reading import OUTCOME
from crm_models.campaigns.simulation import World
from crm_models.campaigns.split import propensity
from crm_models.campaigns.tables import need_columns, read_brought
from crm_models.campaigns.uplift import LEAST_PER_ARM, Trial, arm_models, features_of, fitted, read_uplift
from crm_models.core.errors import DataError
from crm_models.core.files import sha256
from crm_models.core.permissions import Who, doing
from crm_models.core.schema import CUSTOMER_ID
from crm_models.core.sealed import read_record, write_record
from crm_models.data.storage import customer_table

FILE = "uplift.json"
CONTROL_NAMES = ("control", "none", "holdout", "no e-mail", "no email", "no offer")
LOG_COLUMNS = (CUSTOMER_ID, "arm", OUTCOME, "propensity", "assigned_at")


@dataclass(frozen=True, kw_only=True)
class Past:
    """The log of a campaign that was read: M targeted customers with an outcome, K choices (0 is none).

    rows (M,) of the cohort. table: decisions with outcomes. choice (M,), propensity (M, K): of every choice. planned
    (M,): the choice of the plan. kept: choices with enough customers.
    """

    rows: np.ndarray
    table: pd.DataFrame
    choice: np.ndarray
    propensity: np.ndarray
    planned: np.ndarray
    kept: tuple[int, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, campaign: Campaign) -> Past:
        """The log of a campaign. Raises `DataError` if it was not read, or if no action has enough customers."""
        outcomes = campaign.outcomes()
        if outcomes is None:
            raise DataError(f"{campaign.folder}: expected a campaign that was read, found no outcomes; read it first")
        decisions = campaign.decisions()
        decisions[OUTCOME] = decisions[CUSTOMER_ID].map(outcomes.set_index(CUSTOMER_ID)[OUTCOME])
        rows = np.flatnonzero((decisions["arm"] != "none") & decisions[OUTCOME].notna())
        table = decisions.iloc[rows].reset_index(drop=True)
        candidates = np.array(campaign.candidates)
        given, planned = campaign.codes(table["action"]), campaign.codes(table["planned_action"])
        allowed = campaign.offered()[rows]
        codes = np.append(-1, candidates)
        n_choices = allowed.sum(axis=1) + 1
        p = np.column_stack([propensity(campaign.split, np.full(len(rows), c), planned, n_choices) for c in codes])
        p[:, 1:][~allowed] = 0.0
        choice = (given[:, None] == codes).argmax(axis=1)
        counts = np.bincount(choice, minlength=len(codes))
        kept = tuple(k for k in range(1, len(codes)) if counts[k] >= LEAST_PER_ARM)
        if not kept or counts[0] < LEAST_PER_ARM:
            raise DataError(
                f"{campaign.folder}: expected an action and a control group of at least {LEAST_PER_ARM} observed "
                f"customers each, found {counts[0]} in the control group and at most {counts[1:].max(initial=0)} with "
                "one action"
            )
        return cls(
            rows=rows,
            table=table,
            choice=choice,
            propensity=p,
            planned=(planned[:, None] == codes).argmax(axis=1),
            kept=kept,
            labels=("", *(campaign.catalogue.labels[code] for code in candidates)),
        )

    def log(self, x: np.ndarray) -> Log:
        """The log for off-policy values, with features x (M, F)."""
        return Log(
            choice=self.choice,
            outcome=self.table[OUTCOME].to_numpy(np.float64),
            propensity=self.propensity[np.arange(len(self.choice)), self.choice],
            x=x,
            customer=self.table[CUSTOMER_ID].to_numpy(),
            n_choices=len(self.labels),
            possible=self.propensity > 0,
        )

    def trial(self, x: np.ndarray) -> Trial:
        """The customers with an action that enough others got, or none."""
        arms = [0, *self.kept]
        use = np.isin(self.choice, arms)
        return Trial(
            x=x[use],
            arm=np.searchsorted(arms, self.choice[use]),
            outcome=self.table[OUTCOME].to_numpy(np.float64)[use],
            actions=tuple(self.labels[k] for k in self.kept),
            customer=self.table[CUSTOMER_ID].to_numpy()[use],
            propensity=self.propensity[use][:, arms],
            risk=self.table["churn_probability"].to_numpy()[use],
        )


def learn(campaign: Campaign, *, seed: int = 0, who: Who = "local") -> dict[str, Any]:
    """Uplift by action and value of other plans, from a campaign that was read; kept as uplift.json in its folder.

    Raises `DataError` if the campaign was not read, or if no action has enough customers.
    """
    with doing(who, "campaign.read", campaign.place):
        past = Past.of(campaign)
        x = features_of(_features(campaign, past.table))
        result = {
            "customers": len(past.rows),
            "uplift": read_uplift(past.trial(x), seed),
            "plans": _plans(campaign, past, past.log(x), seed),
            "features": int(x.shape[1]),
            "outcomes_sha256": sha256(campaign.folder / OUTCOMES),
        }
        write_record(campaign.folder / FILE, result)
        return result


def learned(campaign: Campaign) -> dict[str, Any] | None:
    """What `learn` kept of a campaign; None if nothing, or if the campaign was read anew since."""
    file, outcomes = campaign.folder / FILE, campaign.folder / OUTCOMES
    if not file.exists() or not outcomes.exists():
        return None
    types = {"customers": int, "uplift": list, "plans": list}
    kept = read_record(file, "what a campaign taught", types, remedy="learn from it again", versioned=False)
    if "outcomes_sha256" in kept:
        return kept if kept["outcomes_sha256"] == sha256(outcomes) else None
    return kept if file.stat().st_mtime_ns >= outcomes.stat().st_mtime_ns else None  # kept by an earlier version


def effects_for(campaign: Campaign, taught_by: Campaign, *, seed: int = 0) -> dict[str, np.ndarray]:
    """(N,) expected effect of each action on every customer of a campaign, learned from an earlier one.

    By customer where the earlier campaign proves that its ranking is useful, drawn to the average as far as it is
    unreliable; else the average of all. Actions that it does not teach are left out.
    """
    past = Past.of(taught_by)
    decisions = campaign.decisions()
    both = pd.concat(
        [_features(taught_by, past.table), _features(campaign, decisions)], ignore_index=True, join="inner"
    )
    x = features_of(both)
    before = x[: len(past.rows)]
    outcome = past.table[OUTCOME].to_numpy(np.float64)
    effects = {}
    for row in read_uplift(past.trial(before), seed):
        choice = past.labels.index(row["action"])
        if not row["useful"]:
            effects[row["action"]] = np.full(len(decisions), row["average"]["value"])
            continue
        with_it, without = past.choice == choice, past.choice == 0
        tau = fitted(before[with_it], outcome[with_it], x) - fitted(before[without], outcome[without], x)
        middle = float(tau[: len(before)].mean())
        effects[row["action"]] = row["average"]["value"] + row["reliability"] * (tau[len(before) :] - middle)
    return effects


def _plans(campaign: Campaign, past: Past, log: Log, seed: int) -> list[dict[str, Any]]:
    """The value of several plans: nobody, the campaign's, the highest learned uplift, and each action for all."""
    q, may = outcome_model(log, seed), past.propensity > 0
    # What the campaign never gave can still be wanted: allowed by the rules, but off support.
    allowed = np.column_stack([np.ones(len(past.rows), dtype=bool), campaign.offered()[past.rows]])
    known = may & np.isin(np.arange(may.shape[1]), [0, *past.kept])
    plans = {
        "nobody": np.zeros(len(past.rows), np.int64),
        "as planned": past.planned,
        "highest learned uplift": np.where(known, q, -np.inf).argmax(axis=1),
    }
    plans |= {f"{past.labels[k]} for all": np.where(allowed[:, k], k, 0) for k in range(1, len(past.labels))}
    codes = np.array([-1, *campaign.candidates])
    try:
        world = World.of(campaign)
    except DataError:
        truths: Iterable[float | None] = repeat(None)
    else:
        truths = (float(world.stay_with(codes[choice], past.rows).mean()) for choice in plans.values())
    valued = _values(log, plans, q, seed)
    return [plan | {"truth": truth} for plan, truth in zip(valued, truths, strict=False)]


def _values(log: Log, plans: dict[str, np.ndarray], q: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """The value of plans, each (N,) of choices."""
    certain = np.eye(log.n_choices)
    return [{"plan": name, **value_of(log, certain[choice], q, seed=seed)} for name, choice in plans.items()]


def _features(campaign: Campaign, table: pd.DataFrame) -> pd.DataFrame:
    """What is known of customers from before: profile, risk, length of history."""
    folder = Path(campaign.about["cohort_folder"])
    known = table[["churn_probability", "n_events", "value_before"]]
    if not folder.exists():
        return known
    profile = customer_table(folder)
    profile.index = pd.Index(profile.pop(CUSTOMER_ID).astype("str"))
    profile = profile.drop(columns="churned", errors="ignore").reindex(table[CUSTOMER_ID])
    return pd.concat([known, profile.reset_index(drop=True)], axis=1)


def read_log(
    file: Path | str, control: str | None = None, columns: dict[str, str] | None = None, drop: Sequence[str] = ()
) -> tuple[Trial, Log]:
    """A CSV of a past campaign: customer_id, arm, outcome, optional propensity; every other column is a feature.

    control: the arm that got nothing; by default one called control, none, holdout or the like. columns: the file's
    name of arm, outcome and so on. drop: columns that are no features, such as other outcomes. Raises `DataError`.
    """
    table = read_brought(file, "a log of a past campaign", [*(columns or {}).values(), *drop], as_text=False)
    table = table.drop(columns=list(drop)).rename(columns={own: name for name, own in (columns or {}).items()})
    need_columns(file, table, ("arm", OUTCOME))
    if not pd.api.types.is_numeric_dtype(table[OUTCOME]) or table[OUTCOME].isna().any():
        raise DataError(f"{file}: expected a number as outcome in every row, found others")
    arms = table["arm"].astype("str")
    names = list(dict.fromkeys(arms))
    found = [name for name in names if name == control or (control is None and name.lower() in CONTROL_NAMES)]
    if len(found) != 1:
        raise DataError(f"{file}: expected one arm as control group; name it with --control; found {', '.join(names)}")
    actions = sorted(name for name in names if name != found[0])
    arm = arms.map({found[0]: 0} | {name: k for k, name in enumerate(actions, 1)}).to_numpy(np.int64)
    x = features_of(table.drop(columns=[c for c in LOG_COLUMNS if c in table]))
    ids = table[CUSTOMER_ID].astype("str").to_numpy() if CUSTOMER_ID in table else np.arange(len(table)).astype("str")
    own = table["propensity"].to_numpy(np.float64) if "propensity" in table else None
    outcome = table[OUTCOME].to_numpy(np.float64)
    risk = table["churn_probability"].to_numpy(np.float64) if "churn_probability" in table else None
    trial = Trial(x=x, arm=arm, outcome=outcome, actions=tuple(actions), customer=ids, risk=risk)
    log = Log(choice=arm, outcome=outcome, propensity=own, x=x, customer=ids, n_choices=len(actions) + 1)
    return trial, log


def learn_from_log(
    file: Path | str,
    control: str | None = None,
    *,
    columns: dict[str, str] | None = None,
    drop: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """The same as `learn` from a CSV of a past campaign (see `read_log`)."""
    trial, log = read_log(file, control, columns, drop)
    q = outcome_model(log, seed)
    best = arm_models(trial, seed).argmax(axis=1)
    plans = {"nobody": np.zeros(len(log.choice), np.int64), "highest learned uplift": best}
    plans |= {f"{name} for all": np.full(len(log.choice), k) for k, name in enumerate(trial.actions, 1)}
    return {
        "customers": len(log.choice),
        "uplift": read_uplift(trial, seed),
        "plans": _values(log, plans, q, seed),
        "features": log.x.shape[1],
    }


def lines(result: dict[str, Any]) -> list[str]:
    """What was learned, as lines of text."""
    said = []
    for row in result["uplift"]:
        average = row["average"]
        said.append(
            f"{row['action']}: {average['value']:+.4f} on average ({average['low']:+.4f} to {average['high']:+.4f})"
        )
        rankings = [
            f"by {name} {q['value']:.4f} ({q['low']:.4f} to {q['high']:.4f})" for name, q in row["qini"].items()
        ]
        said.append(f"  Qini {', '.join(rankings)}")
        if not row["useful"]:
            said.append("  who is moved is not proven, so no groups are shown")
        said += [f"  fifth {g['group']}: {g['value']:+.4f}, {g['verdict']}" for g in row["groups"]]
    for plan in result["plans"]:
        if plan["identifiable"]:
            dr = plan["dr"]
            said.append(f"{plan['plan']}: {dr['value']:.4f} ({dr['low']:.4f} to {dr['high']:.4f}), doubly robust")
        else:
            said.append(f"{plan['plan']}: not identifiable: {plan['reason']}")
    return said
