"""UCI Online Retail and Online Retail II: invoice lines as purchases, with churn by inactivity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.column import need_columns
from crm_models.data.sources.frames import SHEETS_LEFT_OUT
from crm_models.data.sources.ids import names_of
from crm_models.data.sources.importer import TABLE_ENDINGS, Importer, cohort_of, distinct_labels, files_in
from crm_models.data.sources.moments import moments_of
from crm_models.data.sources.numbers import numbers_of
from crm_models.data.sources.reading import read_file
from crm_models.data.sources.receipt import Receipt

CHURN_DAYS = 90.0

COLUMNS = {
    "InvoiceNo": ("Invoice",),
    "StockCode": ("Stock Code",),
    "Description": (),
    "Quantity": (),
    "InvoiceDate": ("Invoice Date",),
    "UnitPrice": ("Price", "Unit Price"),
    "CustomerID": ("Customer ID", "CustomerId"),
    "Country": (),
}
"""Column names of the first release, and their names in other releases."""


def import_retail(sources: Sequence[Path], *, churn_days: float | None = CHURN_DAYS) -> Cohort:
    """Invoice lines with a customer as purchases of a product (value: quantity x price); cancellations are left out.

    churn_days: days without a purchase that count as churn; None: no churn labels.
    """
    receipt = Receipt(accept_doubts=True)
    files = [file for source in sources for file in _files(source)]
    lines = _kept(pd.concat([_lines(file, receipt) for file in files], ignore_index=True), receipt)
    events = pd.DataFrame(
        {
            CUSTOMER_ID: lines["CustomerID"],
            ACTION: lines["StockCode"],
            TIMESTAMP: lines["InvoiceDate"],
            VALUE: lines["Quantity"] * lines["UnitPrice"],
        }
    )
    return cohort_of(
        "retail",
        receipt,
        customers=_customers(lines, receipt),
        interactions=events,
        actions=_products(lines),
        churn_days=churn_days,
    )


def _files(source: Path) -> list[Path]:
    files = files_in(source, *TABLE_ENDINGS)
    if not files:
        raise DataError(f"{source}: expected CSV, Parquet or .xlsx files, found none")
    return files


def _lines(file: Path, receipt: Receipt) -> pd.DataFrame:
    """The invoice lines of a file, with the column names of the first release; a blank `CustomerID` is missing."""
    table = read_file(file)
    receipt.take_file(table, file.name, "interactions")
    if table.attrs.get(SHEETS_LEFT_OUT):
        receipt.note(f"{file.name}: sheets with other columns are not read: {', '.join(table.attrs[SHEETS_LEFT_OUT])}.")
    for name, other_names in COLUMNS.items():
        other_name = next((c for c in other_names if c in table and name not in table), None)
        table = table.rename(columns={other_name: name}) if other_name else table
    need_columns(table, file.name, "InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")
    return pd.DataFrame(
        {
            "InvoiceNo": names_of(table, file.name, "InvoiceNo").astype("str"),
            "StockCode": names_of(table, file.name, "StockCode").astype("str").str.upper(),
            "Description": _text(table, "Description"),
            "Quantity": numbers_of(table, file.name, "Quantity", receipt),
            "InvoiceDate": moments_of(table, file.name, "InvoiceDate", receipt),
            "UnitPrice": numbers_of(table, file.name, "UnitPrice", receipt),
            # Spreadsheets write 17850.0 for a customer number in a column with missing values.
            "CustomerID": _text(table, "CustomerID").str.replace(r"\.0$", "", regex=True),
            "Country": _text(table, "Country"),
        }
    )


def _text(table: pd.DataFrame, column: str) -> pd.Series:
    """A column as text, blanks as missing; all missing if there is no such column."""
    if column not in table:
        return pd.Series(None, index=table.index, dtype="str")
    return table[column].astype("str").where(table[column].notna()).astype("str")


def _kept(lines: pd.DataFrame, receipt: Receipt) -> pd.DataFrame:
    """The lines that are purchases of a known customer; the receipt gets the counts of the others."""
    cancelled = lines["InvoiceNo"].str.upper().str.startswith("C")
    anonymous = lines["CustomerID"].isna()
    not_positive = ~(lines["Quantity"] > 0)
    kept = lines[~(cancelled | anonymous | not_positive)].reset_index(drop=True)
    receipt.leave_out(len(lines) - len(kept), "invoice lines", "no customer, a cancellation, or nothing sold")
    receipt.note(
        f"{len(lines):,} invoice lines, of which {len(kept):,} are kept. Left out (some for two reasons): "
        f"{int(anonymous.sum()):,} without a customer, {int(cancelled.sum()):,} cancellations, "
        f"{int(not_positive.sum()):,} with a quantity of 0 or less."
    )
    if not len(kept):
        raise DataError("retail: expected invoice lines with a customer and a positive quantity, found none")
    return kept


def _customers(lines: pd.DataFrame, receipt: Receipt) -> pd.DataFrame:
    """One row per customer, with the country of the first invoice."""
    pairs = lines[["CustomerID", "Country"]].drop_duplicates()
    several = int((pairs["CustomerID"].value_counts() > 1).sum())
    if several:
        receipt.note(f"Customers with purchases in several countries, of which the first is used: {several:,}.")
    first = lines.sort_values("InvoiceDate", kind="stable").drop_duplicates("CustomerID").sort_values("CustomerID")
    return pd.DataFrame({CUSTOMER_ID: first["CustomerID"], "country": first["Country"]}).reset_index(drop=True)


def _products(lines: pd.DataFrame) -> pd.DataFrame:
    """One row per stock code: its most frequent description, and the median price."""
    counts = lines.dropna(subset=["Description"]).groupby(["StockCode", "Description"]).size().reset_index(name="n")
    most_frequent = counts.sort_values(["n", "Description"], ascending=[False, True]).drop_duplicates("StockCode")
    label = most_frequent.set_index("StockCode")["Description"]
    price = lines.groupby("StockCode")["UnitPrice"].median()
    codes = pd.Index(sorted(price.index), dtype="str")
    named = label.reindex(codes).fillna("product " + pd.Series(codes, index=codes))
    return pd.DataFrame(
        {
            ACTION: codes,
            LABEL: distinct_labels(named, codes).to_numpy(),
            KIND: "engagement",
            REPEATABLE: True,
            "price": price.reindex(codes).to_numpy(),
        }
    )


IMPORTER = Importer(title="UCI Online Retail", files="the CSV of invoice lines", read=import_retail)
