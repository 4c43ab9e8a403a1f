"""IBM's Telco customer churn table: profiles with labels, no events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from crm_models.errors import DataError
from crm_models.records import Cohort
from crm_models.schema import CHURNED, CUSTOMER_ID
from crm_models.sources.reading import feature_of, labels_of, names_of, need_columns, read_file

TELLS_THE_LABEL = (
    "Churn Label",
    "Churn Value",
    "Churn Score",
    "Churn Reason",
    "Churn Category",
    "CLTV",
    "Customer Status",
)
"""Columns of the longer releases that are known only once the customer has left, or are computed from it."""


def import_telco(sources: Sequence[Path]) -> Cohort:
    """Profiles with churn labels; `TotalCharges` is blank for customers of no month's standing: missing, no error."""
    file = _file(sources)
    table = read_file(file)
    customer = next((c for c in ("customerID", "CustomerID", "Customer ID", "customer_id") if c in table), None)
    label = next((c for c in ("Churn", "Churn Label", "Churn Value", "churned") if c in table), None)
    need_columns(table, file.name, customer or "customerID", label or "Churn")
    assert customer is not None
    assert label is not None
    dropped = [c for c in table.columns if c in TELLS_THE_LABEL and c != label]
    others = [c for c in table.columns if c not in (customer, label, *dropped)]
    features = {str(c): feature_of(table[c]) for c in others}
    if "SeniorCitizen" in features:
        # 0/1 here where every other yes/no column says Yes and No.
        features["SeniorCitizen"] = features["SeniorCitizen"].map({0.0: "No", 1.0: "Yes", "No": "No", "Yes": "Yes"})
    people = pd.DataFrame(
        {
            CUSTOMER_ID: names_of(table, file.name, customer),
            CHURNED: labels_of(table, file.name, label),
            **features,
        }
    )
    notes = ["Telco: profiles only; without interactions there is no sequence model."]
    notes += [f"{c}: {int(v.isna().sum())} blank." for c, v in features.items() if v.isna().any()]
    if dropped:
        notes.append(f"Left out, because known only after the customer has left: {', '.join(dropped)}.")
    return Cohort.build(name="telco", source="telco", customers=people, interactions=None, notes=notes)


def _file(sources: Sequence[Path]) -> Path:
    if len(sources) != 1:
        raise DataError(f"telco: expected one file or folder, found {len(sources)}")
    source = sources[0]
    if not source.is_dir():
        return source
    found = sorted(f for f in source.iterdir() if f.suffix == ".csv")
    if len(found) != 1:
        raise DataError(f"{source}: expected one CSV file, found {len(found)}; name the file")
    return found[0]
