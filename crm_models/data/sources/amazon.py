"""Amazon review files: one JSON object per line (2014 and 2018 releases, and the fields of 2023), an array, or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.archives import read_bytes
from crm_models.data.sources.frames import together
from crm_models.data.sources.ids import names_of
from crm_models.data.sources.importer import Importer, files_in, known_table, unpacked_name
from crm_models.data.sources.json_lines import read_json
from crm_models.data.sources.moments import moments_of
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.receipt import Receipt
from crm_models.data.sources.tables import known_cohort, receipt_of_known

FIELDS = {
    CUSTOMER_ID: ("reviewerID", "user_id", "userId"),
    ACTION: ("parent_asin", "asin", "productId", "item_id"),
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
    receipt = receipt_of_known()
    files = [file for source in sources for file in _files(source, receipt)]
    reviews, name = together([(_reviews(file, receipt), file.name) for file in files])
    products = pd.Index(sorted(names_of(reviews, name, ACTION).cat.categories), dtype="str")
    actions = pd.DataFrame({ACTION: products, LABEL: "product " + products, REPEATABLE: False})
    receipt.notes.insert(0, f"Amazon: {len(reviews):,} reviews; products are not recommended twice.")
    moments = reviews[TIMESTAMP]
    if pd.api.types.is_datetime64_any_dtype(moments) and (moments == moments.dt.normalize()).all():
        receipt.note("Reviews are dated to whole days only: those of one day keep the order of the file.")
    return known_cohort("amazon", {"interactions": (reviews, name), "actions": (actions, name)}, receipt, churn_days)


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
    fields = {field: () for fields in FIELDS.values() for field in fields}
    table = _csv(raw, name) if unpacked_name(file).endswith(".csv") else read_json(raw, name, fields)
    for names in FIELDS.values():
        if not any(field in table and table[field].notna().any() for field in names):
            listed = ", ".join(names)
            raise DataError(f"{name}: expected one of the fields {listed} in every review, found none of them")
    reviews = known_table(file, "interactions", FIELDS, receipt, table)[list(FIELDS)]
    reviews[TIMESTAMP] = moments_of(reviews, name, TIMESTAMP, receipt)
    return reviews


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
