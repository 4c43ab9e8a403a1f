"""Amazon review files: one JSON object per line (2014 and 2018 releases, and the fields of 2023), an array, or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.archives import read_bytes
from crm_models.data.sources.ids import names_of
from crm_models.data.sources.importer import Importer, cohort_of, files_in, unpacked_name
from crm_models.data.sources.json_lines import read_json
from crm_models.data.sources.moments import moments_of
from crm_models.data.sources.numbers import numbers_of
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.receipt import Receipt

FIELDS = {
    CUSTOMER_ID: ("reviewerID", "user_id", "userId"),
    ACTION: ("asin", "parent_asin", "productId", "item_id"),
    VALUE: ("overall", "rating", "stars"),
    TIMESTAMP: ("unixReviewTime", "timestamp", "sort_timestamp", "reviewTime"),
}
"""The names of customer, product, rating and time in each release."""

WITHOUT_HEADER = (
    ("reviewerID", "asin", "overall", "unixReviewTime"),
    ("asin", "reviewerID", "overall", "unixReviewTime"),
)
"""Columns of the "ratings only" files: reviewer first in 2014, product first in 2018."""
ENDINGS = tuple(f".{kind}{pack}" for kind in ("json", "jsonl", "csv") for pack in ("", ".gz", ".zip"))


def import_amazon(sources: Sequence[Path], *, churn_days: float | None = None) -> Cohort:
    """Reviews as interactions (value: stars), products as actions that are recommended only once; no churn labels.

    `parent_asin` is the product if a release has it: variants in colour and size count as one product.
    """
    receipt = Receipt(accept_doubts=True)
    files = [file for source in sources for file in _files(source, receipt)]
    events = pd.concat([_reviews(file, receipt) for file in files], ignore_index=True)
    products = pd.DataFrame({ACTION: sorted(events[ACTION].unique())}, dtype="str")
    products = pd.DataFrame({ACTION: products[ACTION], LABEL: "product " + products[ACTION], REPEATABLE: False})
    receipt.notes.insert(0, f"Amazon: {len(events):,} reviews; products are not recommended twice.")
    timestamps = events[TIMESTAMP]
    if pd.api.types.is_datetime64_any_dtype(timestamps) and (timestamps == timestamps.dt.normalize()).all():
        receipt.note("Reviews are dated to whole days only: those of one day keep the order of the file.")
    return cohort_of("amazon", receipt, interactions=events, actions=products, churn_days=churn_days)


def _files(source: Path, receipt: Receipt) -> list[Path]:
    files = files_in(source, *ENDINGS)
    reviews = [f for f in files if f == source or not f.name.lower().startswith("meta")]
    if not reviews:
        raise DataError(f"{source}: expected review files (.json, .jsonl or .csv, also .gz), found none")
    if len(reviews) < len(files):
        receipt.note(f"Files about products (meta...), not read: {len(files) - len(reviews)}.")
    return reviews


def _reviews(file: Path, receipt: Receipt) -> pd.DataFrame:
    raw, name = read_bytes(file), file.name
    is_csv = unpacked_name(file).endswith(".csv")
    fields = {field: () for fields in FIELDS.values() for field in fields}
    table = _csv(raw, name) if is_csv else read_json(raw, name, fields)
    receipt.take_file(table, name, "interactions")
    columns = {}
    for column, names in FIELDS.items():
        existing = [c for c in names if c in table and table[c].notna().any()]
        # If there are both `asin` and `parent_asin`, the latter is the product.
        field = "parent_asin" if "parent_asin" in existing else next(iter(existing), None)
        if field is None:
            raise DataError(
                f"{name}: expected one of the fields {', '.join(names)} in every review, found none of them"
            )
        columns[column] = field
    return pd.DataFrame(
        {
            CUSTOMER_ID: names_of(table, name, columns[CUSTOMER_ID]).astype("str"),
            ACTION: names_of(table, name, columns[ACTION]).astype("str"),
            TIMESTAMP: moments_of(table, name, columns[TIMESTAMP], receipt),
            VALUE: numbers_of(table, name, columns[VALUE], receipt),
        }
    )


def _csv(raw: bytes, name: str) -> pd.DataFrame:
    """Reviews from CSV; a file without known column names is read as a "ratings only" file without a header."""
    table = read_table(raw, name)
    if any(c in table for c in FIELDS[CUSTOMER_ID]) or table.shape[1] != 4:
        return table
    by_user, by_product = WITHOUT_HEADER
    table = read_table(raw, name, header=by_product)
    # Reviewer ids begin with A and are longer than the ten characters of a product id.
    first = str(table.iloc[0, 0])
    return table.set_axis(list(by_user), axis=1) if first.startswith("A") and len(first) > 10 else table


IMPORTER = Importer(
    title="Amazon reviews",
    files="a review file, JSON lines or CSV, packed or not",
    read=import_amazon,
)
