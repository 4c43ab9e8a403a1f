"""UCI Online Retail and Online Retail II: invoice lines to purchases, with churn by inactivity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.errors import DataError
from crm_models.records import Cohort
from crm_models.schema import ACTION, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.sources.inactivity import label_by_inactivity
from crm_models.sources.reading import moments_of, need_columns, numbers_of, read_file

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
"""The names of the first release, and what others call the same."""


def import_retail(sources: Sequence[Path], *, churn_days: float | None = None) -> Cohort:
    """Invoice lines with a customer as purchases of a product (value: quantity x price); cancellations are left out.

    churn_days: how long without a purchase counts as churn; 90 by default.
    """
    files = [file for source in sources for file in _files(source)]
    lines = pd.concat([_lines(file) for file in files], ignore_index=True)
    notes: list[str] = []
    lines = _kept(lines, notes)
    events = pd.DataFrame(
        {
            CUSTOMER_ID: lines["CustomerID"],
            ACTION: lines["StockCode"],
            TIMESTAMP: lines["InvoiceDate"],
            VALUE: lines["Quantity"] * lines["UnitPrice"],
        }
    )
    cohort = Cohort.build(
        name="retail",
        source="retail",
        customers=_customers(lines),
        interactions=events,
        actions=_products(lines),
        notes=notes,
    )
    return label_by_inactivity(cohort, churn_days or CHURN_DAYS)


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise DataError(f"{source}: expected a file or folder, found none")
    if not source.is_dir():
        return [source]
    found = sorted(f for f in source.iterdir() if f.name.endswith((".csv", ".csv.gz", ".parquet")))
    if not found:
        raise DataError(f"{source}: expected CSV files, found none; save the spreadsheet as CSV")
    return found


def _lines(file: Path) -> pd.DataFrame:
    table = read_file(file)
    for name, others in COLUMNS.items():
        found = next((c for c in others if c in table and name not in table), None)
        table = table.rename(columns={found: name}) if found else table
    need_columns(table, file.name, "InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")
    for absent in ("Description", "Country"):
        if absent not in table:
            table[absent] = None
    return pd.DataFrame(
        {
            "InvoiceNo": table["InvoiceNo"].astype("str"),
            "StockCode": table["StockCode"].astype("str").str.strip().str.upper(),
            "Description": table["Description"].astype("str").where(table["Description"].notna()).str.strip(),
            "Quantity": numbers_of(table, file.name, "Quantity"),
            "InvoiceDate": moments_of(table, file.name, "InvoiceDate"),
            "UnitPrice": numbers_of(table, file.name, "UnitPrice"),
            "CustomerID": numbers_or_names(table["CustomerID"]),
            "Country": table["Country"].astype("str").where(table["Country"].notna()),
        }
    )


def numbers_or_names(column: pd.Series) -> pd.Series:
    """Customer numbers without the ".0" that spreadsheets add; blanks stay missing."""
    text = column.astype("str").where(column.notna())
    return text.str.replace(r"\.0$", "", regex=True)


def _kept(lines: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Lines that are purchases of somebody, with what was left out noted."""
    cancelled = lines["InvoiceNo"].str.upper().str.startswith("C")
    nobody = lines["CustomerID"].isna()
    nothing = ~(lines["Quantity"] > 0) & ~cancelled
    notes.append(
        f"{len(lines):,} invoice lines; left out: {int(nobody.sum()):,} without a customer, {int(cancelled.sum()):,} "
        f"cancellations, {int(nothing.sum()):,} others without a positive quantity."
    )
    kept = lines[~(cancelled | nobody | nothing)].reset_index(drop=True)
    if not len(kept):
        raise DataError("retail: expected invoice lines with a customer and a positive quantity, found none")
    return kept


def _customers(lines: pd.DataFrame) -> pd.DataFrame:
    """The country of each customer's first invoice."""
    first = lines.sort_values("InvoiceDate", kind="stable").drop_duplicates("CustomerID")
    first = first.sort_values("CustomerID")
    return pd.DataFrame({CUSTOMER_ID: first["CustomerID"], "country": first["Country"]}).reset_index(drop=True)


def _products(lines: pd.DataFrame) -> pd.DataFrame:
    """One row per stock code: its most frequent description, and the median price."""
    described = lines.dropna(subset=["Description"]).groupby(["StockCode", "Description"]).size().reset_index(name="n")
    described = described.sort_values(["n", "Description"], ascending=[False, True]).drop_duplicates("StockCode")
    label = described.set_index("StockCode")["Description"]
    price = lines.groupby("StockCode")["UnitPrice"].median()
    codes = pd.Index(sorted(price.index), dtype="str")
    named = label.reindex(codes).fillna("product " + pd.Series(codes, index=codes))
    doubled = named.duplicated(keep=False)
    named = named.where(~doubled, named + " [" + pd.Series(codes, index=codes) + "]")
    return pd.DataFrame(
        {
            ACTION: codes,
            LABEL: named.to_numpy(),
            KIND: "engagement",
            REPEATABLE: True,
            "price": price.reindex(codes).to_numpy(),
        }
    )
