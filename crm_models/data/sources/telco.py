"""IBM's Telco customer churn table: profiles with labels, no events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import CHURNED, CUSTOMER_ID
from crm_models.data.cohort import Cohort
from crm_models.data.sources.columns import feature_of, labels_of, names_of, need_columns, row_of, without_row_numbers
from crm_models.data.sources.importer import Importer
from crm_models.data.sources.reading import read_file
from crm_models.data.sources.tables import guess_columns, numbered

IDS = ("customerID", "CustomerID", "Customer ID", "customer_id")
STATUS = "Customer Status"
LABELS = ("Churn", "Churn Label", "Churn Value", "churned", STATUS)
TELLS_THE_LABEL = (
    "Churn Label",
    "Churn Value",
    "Churn Score",
    "Churn Reason",
    "Churn Category",
    "CLTV",
    STATUS,
)
"""Columns of the longer releases that are known only once the customer has left, or are computed from it."""

SENIOR = {0.0: "No", 1.0: "Yes", "No": "No", "Yes": "Yes"}


def import_telco(sources: Sequence[Path]) -> Cohort:
    """Profiles with churn labels; `TotalCharges` is blank for customers of no month's standing: missing, no error."""
    file = _file(sources)
    table = read_file(file)
    notes = ["Telco: profiles only; without interactions there is no sequence model."]
    guessed = guess_columns(table)
    label = next((c for c in LABELS if c in table), guessed.get(CHURNED, LABELS[0]))
    customer = next((c for c in IDS if c in table), guessed.get(CUSTOMER_ID, ""))
    if not customer:
        customer, table = CUSTOMER_ID, numbered(table, file.name, notes)
    need_columns(table, file.name, customer, label)
    if label not in LABELS:
        notes.append(f"{file.name}: {label!r} is taken for the churn label.")
    dropped = [c for c in table.columns if c in TELLS_THE_LABEL and c != label]
    others = [c for c in table.columns if c not in (customer, label, *dropped)]
    features = {str(c): feature_of(table, file.name, c, notes) for c in others}
    features = without_row_numbers(features, file.name, notes)
    if "SeniorCitizen" in features and features["SeniorCitizen"].dropna().isin(list(SENIOR)).all():
        # 0/1 here where every other yes/no column says Yes and No.
        features["SeniorCitizen"] = features["SeniorCitizen"].map(SENIOR).astype("str")
    ids = names_of(table, file.name, customer)
    doubled = ids.duplicated()
    if doubled.any():
        row, who = row_of(table, doubled), ids[doubled].iloc[0]
        raise DataError(f"{file.name} row {row}: the customer {who!r} stands there a second time; remove one of them")
    people = pd.DataFrame({CUSTOMER_ID: ids, CHURNED: _labels(table, file.name, label), **features})
    notes += [f"{c}: {int(v.isna().sum())} blank." for c, v in features.items() if v.isna().any()]
    if dropped:
        notes.append(f"Left out, because known only after the customer has left: {', '.join(dropped)}.")
    return Cohort.build(name="telco", source="telco", customers=people, interactions=None, notes=notes)


def _labels(table: pd.DataFrame, name: str, label: str) -> pd.Series:
    """Who churned; in the release with a status, who joined in the last quarter has neither churned nor stayed yet."""
    if label == STATUS:
        table = table.assign(**{label: table[label].where(table[label].astype("str").str.lower() != "joined")})
    return labels_of(table, name, label)


def _file(sources: Sequence[Path]) -> Path:
    if len(sources) != 1:
        raise DataError(f"telco: expected one file or folder, found {len(sources)}")
    source = sources[0]
    if not source.is_dir():
        return source
    endings = (".csv", ".csv.gz", ".csv.zip", ".parquet", ".xlsx")
    found = sorted(f for f in source.iterdir() if f.name.lower().endswith(endings))
    if len(found) != 1:
        raise DataError(f"{source}: expected one table, found {len(found)}; name the file")
    return found[0]


IMPORTER = Importer(title="IBM Telco churn", files="Telco-Customer-Churn.csv", read=import_telco)
