"""UCI Online Retail and Online Retail II: invoice lines as purchases, with churn by inactivity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.frames import SHEETS_LEFT_OUT, together
from crm_models.data.sources.importer import TABLE_ENDINGS, Importer, distinct_labels, files_in, known_table
from crm_models.data.sources.moments import moments_of
from crm_models.data.sources.numbers import numbers_of
from crm_models.data.sources.receipt import Receipt
from crm_models.data.sources.tables import known_cohort, receipt_of_known

CHURN_DAYS = 90.0

COLUMNS = {
    "InvoiceNo": ("InvoiceNo", "Invoice"),
    ACTION: ("StockCode",),
    "Quantity": ("Quantity",),
    TIMESTAMP: ("InvoiceDate",),
    "UnitPrice": ("UnitPrice", "Price"),
    CUSTOMER_ID: ("CustomerID",),
}
"""Columns of the first release, and their names in other releases; `Description` and `Country` may be missing."""


def import_retail(sources: Sequence[Path], *, churn_days: float | None = CHURN_DAYS) -> Cohort:
    """Invoice lines with a customer as purchases of a product (value: quantity x price); cancellations are left out.

    churn_days: days without a purchase that count as churn; None: no churn labels.
    """
    receipt = receipt_of_known()
    files = [file for source in sources for file in _files(source)]
    lines, name = together([(_lines(file, receipt), file.name) for file in files])
    lines = _kept(lines, name, receipt)
    tables = {
        "interactions": (lines[[CUSTOMER_ID, ACTION, TIMESTAMP, VALUE]], name),
        "customers": (_customers(lines, receipt), name),
        "actions": (_products(lines), name),
    }
    return known_cohort("retail", tables, receipt, churn_days)


def _files(source: Path) -> list[Path]:
    files = files_in(source, *TABLE_ENDINGS)
    if not files:
        raise DataError(f"{source}: expected CSV, Parquet or .xlsx files, found none")
    return files


def _lines(file: Path, receipt: Receipt) -> pd.DataFrame:
    """The invoice lines of a file, with their numbers and times."""
    table = known_table(file, "interactions", COLUMNS, receipt)
    if table.attrs.get(SHEETS_LEFT_OUT):
        receipt.note(f"{file.name}: sheets with other columns are not read: {', '.join(table.attrs[SHEETS_LEFT_OUT])}.")
    for column in ("Quantity", "UnitPrice"):
        table[column] = numbers_of(table, file.name, column, receipt)
    table[TIMESTAMP] = moments_of(table, file.name, TIMESTAMP, receipt)
    table[ACTION] = table[ACTION].str.upper()
    table[CUSTOMER_ID] = table[CUSTOMER_ID].astype("str").str.removesuffix(".0")  # as spreadsheets write numbers
    optional = {"Description": "str", "Country": "str"}
    return table.reindex(columns=[*COLUMNS, *optional]).astype(optional)


def _kept(lines: pd.DataFrame, name: str, receipt: Receipt) -> pd.DataFrame:
    """The lines that are purchases of a known customer, with their value; the receipt gets the counts of the others."""
    cancelled = lines["InvoiceNo"].astype("str").str.upper().str.startswith("C").fillna(False)
    anonymous = lines[CUSTOMER_ID].isna()
    not_positive = ~(lines["Quantity"] > 0)
    left_out = (cancelled | anonymous | not_positive).to_numpy(dtype=bool)
    said = (
        f"{len(lines):,} invoice lines, of which {int((~left_out).sum()):,} are kept. Left out (some for two "
        f"reasons): {int(anonymous.sum()):,} without a customer, {int(cancelled.sum()):,} cancellations, "
        f"{int(not_positive.sum()):,} with a quantity of 0 or less."
    )
    lines[VALUE] = lines["Quantity"] * lines["UnitPrice"]
    kept = receipt.explain(lines, name, left_out, "no customer, a cancellation, or nothing sold", said)
    if not len(kept):
        raise DataError("retail: expected invoice lines with a customer and a positive quantity, found none")
    return kept


def _customers(lines: pd.DataFrame, receipt: Receipt) -> pd.DataFrame:
    """One row per customer, with the country of the first invoice."""
    pairs = lines[[CUSTOMER_ID, "Country"]].drop_duplicates()
    several = int((pairs[CUSTOMER_ID].value_counts() > 1).sum())
    if several:
        receipt.note(f"Customers with purchases in several countries, of which the first is used: {several:,}.")
    first = lines.sort_values(TIMESTAMP, kind="stable").drop_duplicates(CUSTOMER_ID).sort_values(CUSTOMER_ID)
    return first[[CUSTOMER_ID, "Country"]].rename(columns={"Country": "country"})


def _products(lines: pd.DataFrame) -> pd.DataFrame:
    """One row per stock code: its most frequent description, and the median price."""
    counts = lines.dropna(subset=["Description"]).groupby([ACTION, "Description"]).size().reset_index(name="n")
    most_frequent = counts.sort_values(["n", "Description"], ascending=[False, True]).drop_duplicates(ACTION)
    price = lines.groupby(ACTION)["UnitPrice"].median()
    codes = pd.Index(sorted(price.index), dtype="str")
    label = most_frequent.set_index(ACTION)["Description"].reindex(codes)
    named = distinct_labels(label.fillna("product " + pd.Series(codes, index=codes)), codes)
    columns = {ACTION: codes, LABEL: named.to_numpy(), KIND: "engagement", REPEATABLE: True}
    return pd.DataFrame(columns | {"price": price.reindex(codes).to_numpy()})


IMPORTER = Importer(title="UCI Online Retail", files="the CSV of invoice lines", read=import_retail)
