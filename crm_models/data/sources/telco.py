"""IBM's Telco customer churn table: customer profiles with churn labels, no events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crm_models.core.errors import DataError
from crm_models.core.schema import CHURNED, CUSTOMER_ID
from crm_models.data.cohort import Cohort
from crm_models.data.sources.importer import TABLE_ENDINGS, Importer, files_in, known_table
from crm_models.data.sources.reading import read_file
from crm_models.data.sources.tables import guess_columns, known_cohort, numbered, receipt_of_known

IDS = ("customerID", "CustomerID", "Customer ID", "customer_id")
STATUS = "Customer Status"
LABELS = ("Churn", "Churn Label", "Churn Value", "churned", STATUS)
LEAKING_COLUMNS = ("Churn Label", "Churn Value", "Churn Score", "Churn Reason", "Churn Category", "CLTV", STATUS)
"""Columns of the longer releases that leak the label: known only after the customer has left, or computed from it."""


def import_telco(sources: Sequence[Path]) -> Cohort:
    """Profiles with churn labels. `TotalCharges` is blank when tenure is 0; read as missing."""
    file = _file(sources)
    cells, receipt = read_file(file), receipt_of_known()
    receipt.note("Telco: profiles only; the sequence model needs interactions.")
    guessed = guess_columns(cells)
    label = next((c for c in LABELS if c in cells), guessed.get(CHURNED, LABELS[0]))
    customer = next((c for c in IDS if c in cells), guessed.get(CUSTOMER_ID))
    if customer is None:
        customer, cells = CUSTOMER_ID, numbered(cells, file.name, receipt)
    if label not in LABELS:
        receipt.note(f"{file.name}: {label!r} is used as the churn label.")
    table = known_table(file, "customers", {CUSTOMER_ID: [customer], CHURNED: [label]}, receipt, cells)
    if label == STATUS:  # who joined in the last quarter has no label
        table[CHURNED] = table[CHURNED].mask(table[CHURNED].astype("str").str.lower() == "joined")
    if "SeniorCitizen" in table:  # 0/1 here, but Yes/No in every other such column
        senior = table["SeniorCitizen"].astype("str").str.removesuffix(".0")
        table["SeniorCitizen"] = senior.replace({"0": "No", "1": "Yes"})
    dropped = [c for c in table.columns if c in LEAKING_COLUMNS]
    n_blank = table.drop(columns=[*dropped, CUSTOMER_ID, CHURNED]).isna().sum()
    receipt.notes += [f"{column}: {n} blank." for column, n in n_blank.items() if n]
    if dropped:
        receipt.note(f"Left out, because they are known only after the customer has left: {', '.join(dropped)}.")
    return known_cohort("telco", {"customers": (table.drop(columns=dropped), file.name)}, receipt)


def _file(sources: Sequence[Path]) -> Path:
    if len(sources) != 1:
        raise DataError(f"telco: expected one file or folder, found {len(sources)}")
    files = files_in(sources[0], *TABLE_ENDINGS)
    if len(files) != 1:
        raise DataError(f"{sources[0]}: expected one table, found {len(files)}; name the file")
    return files[0]


IMPORTER = Importer(title="IBM Telco churn", files="Telco-Customer-Churn.csv", read=import_telco)
