"""The Starbucks offers data: transcript (events), profile (customers), portfolio (offers), as JSON or as CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.archives import read_bytes
from crm_models.data.sources.frames import WRITTEN
from crm_models.data.sources.ids import names_of
from crm_models.data.sources.importer import Importer, files_in, known_table, unpacked_name
from crm_models.data.sources.json_lines import read_json
from crm_models.data.sources.moments import moments_of
from crm_models.data.sources.numbers import numbers_of
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.receipt import Receipt
from crm_models.data.sources.tables import known_cohort, receipt_of_known

CHURN_DAYS = 7.0
"""Default for churn: a week without a transaction, because the data span 30 days. Set by `--churn-days`."""

START = pd.Timestamp("2018-08-01")
"""Assumed date of hour 0, which the data do not give; the last membership began on 2018-07-26, just before."""

UNKNOWN_AGE = 118
TRANSACTION = "transaction"
OFFER_KEYS = ("offer id", "offer_id")
"""Key of the offer in an event: with a blank, but with an underscore if the offer was completed."""

IN_TEXT = {
    "offer id": r"'offer[ _]id': '([^']*)'",
    "offer_id": r"'offer[ _]id': '([^']*)'",
    "amount": r"'amount': ([-+0-9.e]+)",
    "reward": r"'reward': ([-+0-9.e]+)",
}
"""Patterns for CSV copies of the data, where the value of an event is text such as {'offer id': '9b98'}."""

FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "transcript": {"person": (), "event": (), "time": (), "value": (*OFFER_KEYS, "amount", "reward")},
    "profile": {"id": (), "age": (), "gender": (), "income": (), "became_member_on": ()},
    "portfolio": {"id": (), "offer_type": (), "difficulty": (), "reward": (), "duration": (), "channels": ()},
}
"""Fields read from each file, with the nested fields of objects."""
KINDS = {"transcript": "interactions", "profile": "customers", "portfolio": "actions"}


def import_starbucks(sources: Sequence[Path], *, churn_days: float | None = CHURN_DAYS) -> Cohort:
    """Offers received, viewed and completed, and transactions, as actions; churn is a week without a transaction.

    value: the amount of a transaction, the reward of a completed offer. churn_days: days without a transaction
    that count as churn; None: no churn labels.
    """
    files = {name: _find(sources, name) for name in FIELDS}
    receipt = receipt_of_known()
    events, people, portfolio = (_table(file, name, receipt) for name, file in files.items())
    names = [file.name for file in files.values()]
    offers = _offers(portfolio, names[2])
    tables = {
        "interactions": (_events(events, names[0], offers, receipt), names[0]),
        "customers": (_customers(people, names[1], receipt), names[1]),
        "actions": (_actions(offers), names[2]),
    }
    return known_cohort("starbucks", tables, receipt, churn_days, [TRANSACTION])


def _find(sources: Sequence[Path], name: str) -> Path:
    for source in sources:
        for file in files_in(source):
            if re.fullmatch(rf"{name}.*\.(json|csv)", unpacked_name(file)):
                return file
    raise DataError(f"{sources[0]}: expected {name}.json (or .json.gz), found none")


def _table(file: Path, name: str, receipt: Receipt) -> pd.DataFrame:
    """The counted rows of a file. `DataError` if a field is filled nowhere."""
    table = known_table(file, KINDS[name], {}, receipt, _read(file, FIELDS[name]))
    for field, inner in FIELDS[name].items():
        if not inner and field != "channels" and not table[field].notna().any():
            raise DataError(f"{file.name}: expected objects with the field {field!r}, found none with it")
    return table


def _read(file: Path, fields: dict[str, tuple[str, ...]]) -> pd.DataFrame:
    """The fields of a file as columns; absent fields are missing values."""
    raw = read_bytes(file)
    if ".csv" not in file.name.lower():
        return read_json(raw, file.name, fields)
    table = read_table(raw, file.name)
    blank = pd.Series(None, index=table.index, dtype="str")
    columns = {}
    for field, inner in fields.items():
        cells = table.get(field, blank)
        for key in inner:
            columns[f"{field}.{key}"] = cells.str.extract(IN_TEXT[key], expand=False)
        if not inner:
            columns[field] = cells
    if "channels" in columns:
        columns["channels"] = columns["channels"].str.replace(r"[\[\]' ]", "", regex=True).str.replace(",", "|")
    result = pd.DataFrame(columns)
    result.attrs = table.attrs
    return result


def _offers(portfolio: pd.DataFrame, file: str) -> pd.DataFrame:
    """One row per offer, with a readable name: "bogo 10/10, 7 days"."""
    table = pd.DataFrame(
        {
            "id": names_of(portfolio, file, "id").astype("str"),
            "offer_type": names_of(portfolio, file, "offer_type").astype("str"),
            **{c: numbers_of(portfolio, file, c) for c in ("difficulty", "reward", "duration")},
        }
    )
    if table["id"].duplicated().any():
        raise DataError(f"{file}: expected every offer once, found a duplicate id")
    text = {c: table[c].map("{:g}".format) for c in ("difficulty", "reward", "duration")}
    name = table["offer_type"] + " " + text["difficulty"] + "/" + text["reward"] + ", " + text["duration"] + " days"
    ambiguous = name.duplicated(keep=False)
    name = name.where(~ambiguous, name + " (" + name.groupby(name).cumcount().add(1).astype("str") + ")")
    return table.assign(name=name, channels=portfolio["channels"]).set_index("id")


def _events(table: pd.DataFrame, file: str, offers: pd.DataFrame, receipt: Receipt) -> pd.DataFrame:
    """The events without duplicates; each kind of event about each offer is a separate action."""
    offer, other = (table[f"value.{key}"] for key in OFFER_KEYS)
    amount, reward = (numbers_of(table, file, f"value.{key}") for key in ("amount", "reward"))
    table = table.assign(
        offer=offer.where(offer.notna(), other), hour=numbers_of(table, file, "time"), amount=amount.fillna(reward)
    )
    if table["hour"].isna().any():
        raise DataError(f"{file}: expected hours since the start in `time` of every event, found a blank")
    duplicate = table.duplicated(["person", "event", "offer", "hour", "amount"]).to_numpy()
    said = f"Duplicate events, left out: {int(duplicate.sum()):,}."
    table = receipt.explain(table, file, duplicate, "the same event again", said)
    name = pd.Series(offers["name"].reindex(table["offer"]).to_numpy(), index=table.index, dtype="str")
    unknown = table["offer"].notna() & name.isna()
    if unknown.any():
        raise DataError(
            f"{file}: expected offers of the portfolio, found {str(table['offer'][unknown].iloc[0])[:40]!r}"
        )
    receipt.note(f"Times are hours since an unknown start, assumed to be {START.date()}.")
    events = pd.DataFrame(
        {
            CUSTOMER_ID: table["person"],
            ACTION: table["event"].where(name.isna(), table["event"] + ": " + name),
            TIMESTAMP: START + pd.to_timedelta(table["hour"], unit="h"),
            VALUE: table["amount"],
        }
    )
    events.attrs = table.attrs | {WRITTEN: {CUSTOMER_ID: "person", ACTION: "event"}}
    return events


def _actions(offers: pd.DataFrame) -> pd.DataFrame:
    """All actions: the company sends offers; customers view and complete them, and make transactions."""
    features = ["channels", "difficulty", "reward", "duration"]
    tables = [pd.DataFrame({ACTION: [TRANSACTION]})]
    for event in ("offer received", "offer viewed", "offer completed"):
        # Informational offers cannot be completed.
        applicable = offers if event != "offer completed" else offers[offers["offer_type"] != "informational"]
        tables.append(applicable[features].assign(**{ACTION: event + ": " + applicable["name"]}))
    table = pd.concat(tables, ignore_index=True).rename(columns={"duration": "duration_days"})
    table[LABEL], table[KIND], table[REPEATABLE] = table[ACTION], "engagement", True
    return table


def _customers(profile: pd.DataFrame, file: str, receipt: Receipt) -> pd.DataFrame:
    age = numbers_of(profile, file, "age")
    unknown = age == UNKNOWN_AGE
    if unknown.any():
        receipt.note(f"The age {UNKNOWN_AGE} means unknown; it is missing for {int(unknown.sum()):,} customers.")
    since = moments_of(profile, file, "became_member_on")
    if not pd.api.types.is_datetime64_any_dtype(since):
        raise DataError(f"{file}: expected dates such as 20180131 in `became_member_on`, found {since.iloc[0]:g}")
    return pd.DataFrame(
        {
            CUSTOMER_ID: profile["id"],
            "age": age.where(~unknown),
            "gender": profile["gender"],
            "income": numbers_of(profile, file, "income"),
            "member_days": (START - since).dt.days.astype("float64"),
        }
    )


IMPORTER = Importer(
    title="Starbucks offers",
    files="portfolio.json, profile.json and transcript.json",
    read=import_starbucks,
)
