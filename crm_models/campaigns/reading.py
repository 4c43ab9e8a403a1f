"""Reading of a campaign: outcomes joined to the customers as assigned, and what they show.

Plan and control group are compared by intention to treat: whoever was assigned counts. If the sizes of the groups are
not those configured, no lift is shown, only why. Letters: N customers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns.effects import (
    Group,
    Looks,
    adjusted_difference,
    holm,
    is_share,
    relative_lift,
    sample_ratio,
    verdict,
)
from crm_models.campaigns.folder import OUTCOMES, READING, Campaign
from crm_models.campaigns.ledger import exclusive, lines
from crm_models.campaigns.tables import read_brought
from crm_models.core.errors import DataError
from crm_models.core.files import json_text, new_files
from crm_models.core.permissions import Who, doing
from crm_models.core.provenance import now
from crm_models.core.schema import CUSTOMER_ID
from crm_models.core.sealed import sealed
from crm_models.core.tables import TableWriter
from crm_models.evaluation.intervals import Estimate

OUTCOME = "outcome"
OUTCOME_COLUMNS = (CUSTOMER_ID, OUTCOME, "value", "observed_at")

ATTRITION = 0.02
"""Difference between the observed shares of the two groups from which on a warning is given."""

GROUPS = ("plan", "holdout")
"""The arms that are compared."""

SEGMENTED_BY = ("planned_action", "risk_band")
LEAST_PER_GROUP = 20
"""Customers that a segment needs in each group to be read."""


def read_outcomes(file: Path | str) -> pd.DataFrame:
    """A CSV or Parquet of outcomes: `customer_id`, `outcome` (0/1 or a number), optional `value`, `observed_at`.

    Raises `DataError` for missing columns, a customer named twice, or an outcome that is no number; a blank outcome is
    a customer who was not observed.
    """
    table = read_brought(file, "a table of outcomes", (CUSTOMER_ID, OUTCOME))
    table[CUSTOMER_ID] = table[CUSTOMER_ID].astype("str")
    twice = table[CUSTOMER_ID].duplicated()
    if twice.any():
        row = int(twice.argmax())
        raise DataError(
            f"{file} row {row + 2}: expected each customer once, found {table[CUSTOMER_ID].iloc[row]!r} again "
            f"({int(twice.sum()):,} rows in all); keep one outcome for each"
        )
    for column in (OUTCOME, "value"):
        if column in table:
            table[column] = _numbers(file, table[column])
    return table[[column for column in OUTCOME_COLUMNS if column in table]]


def _numbers(file: Path | str, column: pd.Series) -> pd.Series:
    """The column as float64, NaN for blanks; yes, no, true and false count as 1 and 0."""
    words = {"true": "1", "yes": "1", "false": "0", "no": "0", "": None}
    text = column.astype("str").str.strip() if column.dtype == "str" else column
    if column.dtype == "str":
        text = text.where(~text.str.lower().isin(list(words)), text.str.lower().map(words))
    numbers = pd.to_numeric(text, errors="coerce").astype("float64")
    wrong = (numbers.isna() & text.notna()) | np.isinf(numbers)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DataError(
            f"{file} row {row + 2}, column {column.name}: expected 0, 1 or a number, found {column.iloc[row]!r}"
        )
    return numbers


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The targeted customers of plan and control group: their decisions, and `outcome` (NaN: not observed)."""

    table: pd.DataFrame
    unknown_customers: int

    @classmethod
    def of(cls, decisions: pd.DataFrame, outcomes: pd.DataFrame) -> Observed:
        """Outcomes joined to decisions by customer; outcomes of customers outside the campaign are counted only."""
        targeted = decisions[decisions["arm"].isin(GROUPS)]
        columns = [column for column in (OUTCOME, "value") if column in outcomes]
        values = outcomes.set_index(CUSTOMER_ID)[columns].astype("float64")
        unknown = ~outcomes[CUSTOMER_ID].isin(decisions[CUSTOMER_ID])
        return cls(table=targeted.join(values, on=CUSTOMER_ID), unknown_customers=int(unknown.sum()))

    def group(self, arm: str, rows: np.ndarray | None = None, column: str = OUTCOME) -> np.ndarray:
        """Observed outcomes, or values, of one group (rows: a mask of the table)."""
        chosen = (self.table["arm"] == arm).to_numpy() & self.table[column].notna().to_numpy()
        return self.table[column].to_numpy()[chosen if rows is None else chosen & rows]


def read(campaign: Campaign, outcomes: pd.DataFrame) -> dict[str, Any]:
    """The content of reading.json: what the outcomes (see `read_outcomes`) show about the campaign."""
    observed = Observed.of(
        campaign.decisions([CUSTOMER_ID, "arm", *SEGMENTED_BY, *campaign.about["covariates"]]), outcomes
    )
    split = campaign.split
    assigned = {arm: int((observed.table["arm"] == arm).sum()) for arm in GROUPS}
    groups = {arm: observed.group(arm) for arm in GROUPS}
    seen = {arm: len(group) for arm, group in groups.items()}
    share = split.holdout / (1 - split.explore)  # of the control group among the two
    ratios = {
        where: sample_ratio(counted["plan"], counted["holdout"], share)
        for where, counted in (("assigned", assigned), ("observed", seen))
    }
    is_ok = all(ratio.ok for ratio in ratios.values())
    result: dict[str, Any] = {
        "campaign": campaign.name,
        "read_at": now(),
        "metric": split.metric,
        "reading": split.reading,
        "assigned": assigned,
        "observed": seen,
        "unknown_customers": observed.unknown_customers,
        "means": {arm: _plain(Group.of(group).mean) for arm, group in groups.items()},
        "sample_ratio": {name: _plain(vars(ratios["assigned"])[name]) for name in ("p", "deviation")}
        | {"control_share": share},
        "sample_ratio_ok": is_ok,
        "difference": None,
        "relative_lift": None,
        "adjusted": None,
        "value": None,
        "segments": [],
        "notes": _attrition(assigned, seen, observed.unknown_customers) + _early(campaign, outcomes),
    }
    if min(seen.values()) < 2:
        result["notes"].append(
            "Nothing can be compared: outcomes are needed for at least two customers in the plan group and two in the "
            f"control group; found {seen['plan']:,} and {seen['holdout']:,}."
        )
    elif not is_ok:
        where = next(where for where, ratio in ratios.items() if not ratio.ok)
        counted = result[where]
        result["notes"].append(
            f"No lift is shown: the control group should be {share:.1%} of the {where} customers, and chance alone "
            f"hardly explains {counted['holdout']:,} of {sum(counted.values()):,} (p = {ratios[where].p:.2g}). Look "
            "for customers lost or added on the way in one of the groups."
        )
    else:
        result |= _compared(campaign, observed, Looks(split.reading, sum(assigned.values())))
        if split.reading == "any_time":
            result["notes"].append(
                "Read at any time: the intervals are wider than for a single look at the end, and stay valid however "
                "often you look."
            )
    return result


def _compared(campaign: Campaign, observed: Observed, looks: Looks) -> dict[str, Any]:
    """The plan group beside the control group: overall, adjusted, in value and by segment."""
    treated, control = (observed.group(arm) for arm in GROUPS)
    z = looks.z(len(treated) + len(control))
    value = None
    if "value" in observed.table:
        with_plan, without = (observed.group(arm, column="value") for arm in GROUPS)
        value = looks.difference(with_plan, without) if min(len(with_plan), len(without)) > 1 else None
    return {
        "difference": _estimate(looks.difference(treated, control)),
        "relative_lift": _estimate(relative_lift(treated, control, z)),
        "adjusted": _estimate(_adjusted(campaign, observed, z)),
        "value": _estimate(value),
        "segments": segments(observed, looks),
        "binary": is_share(treated, control),
    }


def _attrition(assigned: dict[str, int], seen: dict[str, int], unknown: int) -> list[str]:
    notes = []
    lost = {arm: assigned[arm] - seen[arm] for arm in assigned}
    if any(lost.values()):
        notes.append(
            f"Not observed: {lost['plan']:,} of {assigned['plan']:,} in the plan group, {lost['holdout']:,} of "
            f"{assigned['holdout']:,} in the control group. They are left out."
        )
    shares = [lost[arm] / max(assigned[arm], 1) for arm in lost]
    if abs(shares[0] - shares[1]) > ATTRITION:
        notes.append(
            "The groups lost different shares of their customers, so the difference may come from who was lost; read "
            "it with care."
        )
    if unknown:
        notes.append(f"Outcomes of {unknown:,} customers who are not in the campaign were not used.")
    return notes


def _early(campaign: Campaign, outcomes: pd.DataFrame) -> list[str]:
    """A note if outcomes are from before the end that was agreed for a single look."""
    begin = pd.to_datetime(campaign.about["moment"], errors="coerce")
    if "observed_at" not in outcomes or pd.isna(begin):
        return []
    observed = pd.to_datetime(outcomes["observed_at"], errors="coerce", utc=True)
    if not observed.notna().any():
        return []
    last = observed.max()
    said = f"Outcomes reach up to {last:%Y-%m-%d}, but one look"
    return _before_the_end(campaign, begin.tz_localize("UTC"), last, said)


def _soon_after_export(campaign: Campaign) -> list[str]:
    """The same for outcomes without dates, which are those of today."""
    exports = [line["at"] for line in lines(campaign.folder) if line["action"] == "export"]
    if not exports:
        return []
    begin = pd.Timestamp(exports[0])
    said = f"The outcomes have no dates (observed_at); the campaign was handed over on {begin:%Y-%m-%d}, and one look"
    return _before_the_end(campaign, begin, pd.Timestamp(now()), said)


def _before_the_end(campaign: Campaign, begin: pd.Timestamp, last: pd.Timestamp, said: str) -> list[str]:
    """The note where a single look was agreed and `last` is before its day. said: how the sentence begins."""
    end = begin + pd.Timedelta(days=campaign.split.horizon_days)
    if campaign.split.reading != "at_end" or last >= end.normalize():
        return []
    return [
        f"{said} after {campaign.split.horizon_days:g} days was agreed, on {end:%Y-%m-%d}: this early look is no proof "
        "yet."
    ]


def _adjusted(campaign: Campaign, observed: Observed, z: float) -> Estimate | None:
    table = observed.table[observed.table[OUTCOME].notna()]
    columns = [table[name].to_numpy(np.float64) for name in campaign.about["covariates"]]
    covariates = np.column_stack([np.nan_to_num(column, nan=float(np.nanmean(column))) for column in columns])
    return adjusted_difference(table[OUTCOME].to_numpy(), (table["arm"] == "plan").to_numpy(), covariates, z)


def segments(observed: Observed, looks: Looks) -> list[dict[str, Any]]:
    """The difference in each segment of planned action and risk band, with p-values adjusted by Holm over all segments.

    The intervals hold for all segments together (Bonferroni). Segments with too few customers are left out.
    """
    found = []
    for column in SEGMENTED_BY:
        values = observed.table[column].to_numpy()
        for value in dict.fromkeys(values):
            rows = values == value
            groups = [observed.group(arm, rows) for arm in GROUPS]
            if min(map(len, groups)) >= LEAST_PER_GROUP:
                found.append((column, str(value), groups))
    adjusted = holm([looks.p_value(*groups) for _, _, groups in found])
    result = []
    for (column, value, (treated, control)), p in zip(found, adjusted, strict=True):
        estimate = looks.difference(treated, control, 0.05 / len(found))
        result.append(
            {"by": column, "segment": value, "plan": len(treated), "holdout": len(control)}
            | (_estimate(estimate) or {})
            | {"p_adjusted": float(p), "verdict": verdict(estimate.low, estimate.high, p)}
        )
    return result


def keep(
    campaign: Campaign, outcomes: pd.DataFrame, truth: dict[str, Any] | None = None, *, who: Who = "local"
) -> dict[str, Any]:
    """Read the campaign, and keep outcomes.parquet and reading.json in its folder. truth: of a simulated campaign."""
    with doing(who, "campaign.read", campaign.place), exclusive(campaign.folder):
        result = read(campaign, outcomes) | ({"truth": truth} if truth is not None else {})
        if min(result["observed"].values()) < 2:
            raise DataError(f"{campaign.name}: {result['notes'][-1]} Nothing was kept, and this was no look.")
        if truth is None and "observed_at" not in outcomes:
            result["notes"] += _soon_after_export(campaign)
        earlier = campaign.reading() or {}
        result["looks"] = 1 if truth is not None or "truth" in earlier else earlier.get("looks", 0) + 1
        if result["looks"] > 1 and campaign.split.reading == "at_end":
            result["notes"].insert(
                0,
                f"This is look number {result['looks']}, where a single one was agreed: who looks often enough finds "
                "effects that are not there.",
            )
        with new_files() as part_of:
            with TableWriter(part_of(campaign.folder / OUTCOMES)) as writer:
                writer.write(outcomes)
            part_of(campaign.folder / READING).write_text(json_text(sealed(result)), encoding="utf-8")
        return result


def summary(result: dict[str, Any]) -> str:
    """The reading in one sentence."""
    if result["difference"] is None:
        return result["notes"][-1]
    d = result["difference"]
    scale, unit = (100, " points") if result.get("binary") else (1, "")
    value, low, high = (f"{d[end] * scale:+.1f}" for end in ("value", "low", "high"))
    text = f"{result['metric'].capitalize()}: {value}{unit} ({low} to {high})"
    if d["low"] <= 0 <= d["high"]:
        return text + "; this does not prove an effect in either direction"
    return text + ("; the campaign helped" if d["low"] > 0 else "; the campaign did harm")


def _estimate(estimate: Estimate | None) -> dict[str, float | None] | None:
    return None if estimate is None else {end: _plain(number) for end, number in vars(estimate).items()}


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
