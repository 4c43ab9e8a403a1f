"""Amazon review files: one JSON object per line (2014 and 2018 releases, and the fields of 2023), or one JSON array."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.errors import DataError
from crm_models.records import Cohort
from crm_models.schema import ACTION, CUSTOMER_ID, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.sources.inactivity import label_by_inactivity
from crm_models.sources.reading import decode, moments_of, names_of, numbers_of, read_bytes, read_table

FIELDS = {
    CUSTOMER_ID: ("reviewerID", "user_id", "userId"),
    ACTION: ("asin", "parent_asin", "productId", "item_id"),
    VALUE: ("overall", "rating", "stars"),
    TIMESTAMP: ("unixReviewTime", "timestamp", "reviewTime"),
}
"""What each release calls the reviewer, the product, the stars and the time."""


def import_amazon(sources: Sequence[Path], *, churn_days: float | None = None) -> Cohort:
    """Reviews as interactions (value: stars), products as actions that are recommended once; no churn labels."""
    files = [file for source in sources for file in _files(source)]
    events = pd.concat([_reviews(file) for file in files], ignore_index=True)
    products = pd.DataFrame({ACTION: sorted(events[ACTION].unique())}, dtype="str")
    products = pd.DataFrame({ACTION: products[ACTION], LABEL: "product " + products[ACTION], REPEATABLE: False})
    notes = [f"Amazon: {len(events):,} reviews; products are not recommended twice. Reviews carry whole days only."]
    cohort = Cohort.build(
        name="amazon", source="amazon", customers=None, interactions=events, actions=products, notes=notes
    )
    return label_by_inactivity(cohort, churn_days) if churn_days else cohort


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        endings = (".json", ".json.gz", ".jsonl", ".jsonl.gz", ".csv")
        found = sorted(f for f in source.iterdir() if f.name.endswith(endings))
        if not found:
            raise DataError(f"{source}: expected review files (.json, .jsonl or .csv, also .gz), found none")
        return found
    if not source.exists():
        raise DataError(f"{source}: expected a file or folder, found none")
    return [source]


def _reviews(file: Path) -> pd.DataFrame:
    raw = read_bytes(file)
    if file.name.removesuffix(".gz").endswith(".csv"):
        table = read_table(raw, file.name)
        if not set(FIELDS[CUSTOMER_ID]) & set(table.columns):  # the "ratings only" files have no header
            table = read_table(raw, file.name, header=["asin", "reviewerID", "overall", "unixReviewTime"])
    else:
        table = _json(decode(raw, file.name), file.name)
    columns = {}
    for name, theirs in FIELDS.items():
        column = next((c for c in theirs if c in table), None)
        if column is None:
            has = ", ".join(str(c) for c in table.columns[:10])
            raise DataError(f"{file.name}: expected one of the fields {', '.join(theirs)}, found {has}")
        columns[name] = column
    return pd.DataFrame(
        {
            CUSTOMER_ID: names_of(table, file.name, columns[CUSTOMER_ID]),
            ACTION: names_of(table, file.name, columns[ACTION]),
            TIMESTAMP: moments_of(_tidy_dates(table, columns[TIMESTAMP]), file.name, columns[TIMESTAMP]),
            VALUE: numbers_of(table, file.name, columns[VALUE]),
        }
    )


def _json(text: str, name: str) -> pd.DataFrame:
    if not text.strip():
        raise DataError(f"{name}: expected reviews, found an empty file")
    try:
        table = pd.read_json(
            io.StringIO(text), lines=not text.lstrip().startswith("["), dtype=False, convert_dates=False
        )
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        found = " ".join(str(error).split())[:120]
        raise DataError(f"{name}: expected one JSON object per line, found {found}") from None
    if not isinstance(table, pd.DataFrame) or not len(table):
        raise DataError(f"{name}: expected reviews, found no rows")
    table.columns = [str(c) for c in table.columns]
    return table


def _tidy_dates(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """`reviewTime` is written as "09 18, 2013"; everything else is left alone."""
    if column != "reviewTime":
        return table
    dates = pd.to_datetime(table[column], format="%m %d, %Y", errors="coerce")
    return table.assign(reviewTime=dates) if dates.notna().all() else table
