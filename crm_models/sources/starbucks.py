"""The Starbucks offers data: transcript.json (events), profile.json (customers), portfolio.json (offers)."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.errors import DataError
from crm_models.records import Cohort
from crm_models.schema import ACTION, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.sources.inactivity import label_by_inactivity
from crm_models.sources.reading import decode, read_bytes

CHURN_DAYS = 7.0
"""The data span 30 days: a week without a transaction is the default for churn; `--churn-days` sets another."""

START = pd.Timestamp("2018-08-01")
"""Hour 0. The data do not say; the last membership began on 2018-07-26, so the month is near this date."""

UNKNOWN_AGE = 118
TRANSACTION = "transaction"


def import_starbucks(sources: Sequence[Path], *, churn_days: float | None = None) -> Cohort:
    """Offers received, viewed and completed, and transactions, as actions; churn is a week without a transaction.

    value: the amount of a transaction, the reward of a completed offer.
    """
    tables = {name: _json_lines(_find(sources, name)) for name in ("transcript", "profile", "portfolio")}
    notes: list[str] = []
    offers = _offers(tables["portfolio"])
    events = _events(tables["transcript"], offers, notes)
    cohort = Cohort.build(
        name="starbucks",
        source="starbucks",
        customers=_customers(tables["profile"], notes),
        interactions=events,
        actions=_actions(offers),
        notes=notes,
    )
    return label_by_inactivity(cohort, churn_days or CHURN_DAYS, [TRANSACTION])


def _find(sources: Sequence[Path], name: str) -> Path:
    for source in sources:
        if not source.exists():
            raise DataError(f"{source}: expected a file or folder, found none")
        candidates = [source / f"{name}{end}" for end in (".json", ".json.gz")] if source.is_dir() else [source]
        for file in candidates:
            if file.is_file() and file.name.startswith(name):
                return file
    raise DataError(f"{sources[0]}: expected {name}.json (or .json.gz), found none")


def _json_lines(file: Path) -> pd.DataFrame:
    """One JSON object per line; blank lines are passed over."""
    text = decode(read_bytes(file), file.name)
    try:
        if text.lstrip().startswith("["):
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in io.StringIO(text) if line.strip()]
    except json.JSONDecodeError as error:
        raise DataError(f"{file.name} row {error.lineno}: expected a JSON object, found {error.msg}") from None
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file.name}: expected JSON objects, one per line, found {'none' if not rows else 'others'}")
    return pd.DataFrame(rows)


def _offers(portfolio: pd.DataFrame) -> pd.DataFrame:
    """One row per offer with a name that people can read: "bogo 10/10, 7 days"."""
    _need(portfolio, "portfolio.json", "id", "offer_type", "difficulty", "reward", "duration")
    name = (
        portfolio["offer_type"].astype("str")
        + " "
        + portfolio["difficulty"].astype("str")
        + "/"
        + portfolio["reward"].astype("str")
        + ", "
        + portfolio["duration"].map("{:g} days".format)
    )
    doubled = name.duplicated(keep=False)
    name = name.where(~doubled, name + " " + name.groupby(name).cumcount().add(1).map("({})".format))
    return portfolio.assign(name=name).set_index("id")


def _events(transcript: pd.DataFrame, offers: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    _need(transcript, "transcript.json", "person", "event", "value", "time")
    value = transcript["value"]
    offer = pd.Series([_offer_of(v) for v in value], index=transcript.index)
    amount = pd.Series([v.get("amount", v.get("reward", np.nan)) if isinstance(v, dict) else np.nan for v in value])
    table = pd.DataFrame(
        {
            CUSTOMER_ID: transcript["person"],
            "event": transcript["event"],
            "offer": offer,
            TIMESTAMP: transcript["time"],
            VALUE: pd.to_numeric(amount, errors="coerce"),
        }
    )
    doubled = table.duplicated()
    if doubled.any():
        notes.append(f"{int(doubled.sum()):,} events stood there twice and count once.")
        table = table[~doubled]
    hours = pd.to_numeric(table[TIMESTAMP], errors="coerce")
    if hours.isna().any():
        row = int(hours.isna().to_numpy().argmax()) + 1
        raise DataError(f"transcript.json row {row}: expected hours since the start in `time`, found something else")
    name = offers["name"].reindex(table["offer"]).to_numpy()
    known = table["offer"].isna() | pd.notna(name)
    if not known.all():
        row = int((~known).to_numpy().argmax()) + 1
        raise DataError(f"transcript.json row {row}: the offer is not in portfolio.json")
    action = table["event"].where(table["offer"].isna(), table["event"] + ": " + pd.Series(name, index=table.index))
    notes.append(f"Times are hours since an unknown start, which is taken to be {START.date()}.")
    return pd.DataFrame(
        {
            CUSTOMER_ID: table[CUSTOMER_ID],
            ACTION: action,
            TIMESTAMP: START + pd.to_timedelta(hours, unit="h"),
            VALUE: table[VALUE],
        }
    ).reset_index(drop=True)


def _offer_of(value: Any) -> str | None:
    """The offer an event speaks of; the key is written in two ways."""
    if not isinstance(value, dict):
        return None
    return value.get("offer id") or value.get("offer_id")


def _actions(offers: pd.DataFrame) -> pd.DataFrame:
    """Sending an offer is what can be done for a customer; viewing, completing and buying is what customers do."""
    rows: list[tuple[Any, ...]] = [(TRANSACTION, TRANSACTION, None, np.nan, np.nan, np.nan)]
    for event in ("offer received", "offer viewed", "offer completed"):
        for _, offer in offers.iterrows():
            if event == "offer completed" and offer["offer_type"] == "informational":
                continue
            channels = "|".join(offer["channels"]) if isinstance(offer.get("channels"), list) else None
            action = f"{event}: {offer['name']}"
            rows.append((action, action, channels, offer["difficulty"], offer["reward"], offer["duration"]))
    table = pd.DataFrame(rows, columns=[ACTION, LABEL, "channels", "difficulty", "reward", "duration_days"])
    return pd.DataFrame({**table, KIND: "engagement", REPEATABLE: True})


def _customers(profile: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    _need(profile, "profile.json", "id", "age", "gender", "income", "became_member_on")
    age = pd.to_numeric(profile["age"], errors="coerce").astype("float64")
    unknown = age == UNKNOWN_AGE
    if unknown.any():
        notes.append(f"The age {UNKNOWN_AGE} means unknown; it is missing for {int(unknown.sum()):,} customers.")
    since = pd.to_datetime(profile["became_member_on"].astype("str"), format="%Y%m%d", errors="coerce")
    return pd.DataFrame(
        {
            CUSTOMER_ID: profile["id"],
            "age": age.where(~unknown),
            "gender": profile["gender"],
            "income": pd.to_numeric(profile["income"], errors="coerce").astype("float64"),
            "member_days": (START - since).dt.days.astype("float64"),
        }
    )


def _need(table: pd.DataFrame, name: str, *columns: str) -> None:
    for column in columns:
        if column not in table:
            raise DataError(f"{name}: expected the field {column!r}, found {', '.join(map(str, table.columns))}")
