"""IBM's Telco customer churn table: customer profiles with churn labels, no events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import CHURNED, CUSTOMER_ID
from crm_models.data.cohort import Cohort
from crm_models.data.sources.column import need_columns
from crm_models.data.sources.features import feature_of, without_row_numbers
from crm_models.data.sources.ids import unique_names_of
from crm_models.data.sources.importer import TABLE_ENDINGS, Importer, cohort_of, files_in
from crm_models.data.sources.labels import labels_of
from crm_models.data.sources.reading import read_file
from crm_models.data.sources.receipt import Receipt
from crm_models.data.sources.tables import guess_columns, numbered

IDS = ("customerID", "CustomerID", "Customer ID", "customer_id")
STATUS = "Customer Status"
LABELS = ("Churn", "Churn Label", "Churn Value", "churned", STATUS)
LEAKING_COLUMNS = (
    "Churn Label",
    "Churn Value",
    "Churn Score",
    "Churn Reason",
    "Churn Category",
    "CLTV",
    STATUS,
)
"""Columns of the longer releases that leak the label: known only after the customer has left, or computed from it."""

SENIOR = {0.0: "No", 1.0: "Yes", "No": "No", "Yes": "Yes"}


def import_telco(sources: Sequence[Path]) -> Cohort:
    """Profiles with churn labels. `TotalCharges` is blank when tenure is 0; read as missing."""
    file = _file(sources)
    table = read_file(file)
    receipt = Receipt(accept_doubts=True)
    receipt.take_file(table, file.name, "customers")
    receipt.note("Telco: profiles only; the sequence model needs interactions.")
    guessed = guess_columns(table)
    label = next((c for c in LABELS if c in table), guessed.get(CHURNED, LABELS[0]))
    customer = next((c for c in IDS if c in table), guessed.get(CUSTOMER_ID, ""))
    if not customer:
        customer, table = CUSTOMER_ID, numbered(table, file.name, receipt)
    need_columns(table, file.name, customer, label)
    if label not in LABELS:
        receipt.note(f"{file.name}: {label!r} is used as the churn label.")
    dropped = [c for c in table.columns if c in LEAKING_COLUMNS and c != label]
    others = [c for c in table.columns if c not in (customer, label, *dropped)]
    features = {str(c): feature_of(table, file.name, c, receipt) for c in others}
    features = without_row_numbers(features, file.name, receipt)
    if "SeniorCitizen" in features and features["SeniorCitizen"].dropna().isin(list(SENIOR)).all():
        # 0/1 here, but Yes/No in every other such column.
        features["SeniorCitizen"] = features["SeniorCitizen"].map(SENIOR).astype("str")
    ids = unique_names_of(table, file.name, customer)
    customers = pd.DataFrame({CUSTOMER_ID: ids, CHURNED: _labels(table, file.name, label), **features})
    receipt.notes += [f"{c}: {int(v.isna().sum())} blank." for c, v in features.items() if v.isna().any()]
    if dropped:
        receipt.note(f"Left out, because they are known only after the customer has left: {', '.join(dropped)}.")
    return cohort_of("telco", receipt, customers=customers)


def _labels(table: pd.DataFrame, name: str, label: str) -> pd.Series:
    """Churn labels. In the release with a status, customers who joined in the last quarter are unlabelled."""
    if label == STATUS:
        table = table.assign(**{label: table[label].where(table[label].astype("str").str.lower() != "joined")})
    return labels_of(table, name, label)


def _file(sources: Sequence[Path]) -> Path:
    if len(sources) != 1:
        raise DataError(f"telco: expected one file or folder, found {len(sources)}")
    files = files_in(sources[0], *TABLE_ENDINGS)
    if len(files) != 1:
        raise DataError(f"{sources[0]}: expected one table, found {len(files)}; name the file")
    return files[0]


IMPORTER = Importer(title="IBM Telco churn", files="Telco-Customer-Churn.csv", read=import_telco)
