"""Inputs made after public bug reports, in `../shared/cases` and `../shared/faults`: is each read right?

`python -m tests.cases` prints a line for each: right, said, refused, or WRONG.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from crm_models.cli.commands import main
from crm_models.data.cohort import Cohort
from crm_models.data.storage import load_cohort

SHARED = Path(__file__).resolve().parents[2] / "shared"


@dataclass(frozen=True)
class Case:
    """What makes one input right. is_right: of the cohort; said: a pattern that the output must have."""

    is_right: Callable[[Cohort], bool] | None = None
    said: str | None = None
    refused: str | None = None
    options: tuple[str, ...] = ()


def column(name: str, *values: object) -> Callable[[Cohort], bool]:
    """The first values of a column of customers."""

    def check(cohort: Cohort) -> bool:
        found = cohort.customers[name].iloc[: len(values)]
        same = [pd.isna(v) if v is None else v == f for v, f in zip(values, found, strict=True)]
        return all(bool(s) or (v is None and pd.isna(f)) for s, v, f in zip(same, values, found, strict=True))

    return check


def ids(*names: str) -> Callable[[Cohort], bool]:
    """Exactly these customers."""
    return lambda cohort: set(cohort.customers["customer_id"]) == set(names)


def actions(*names: str) -> Callable[[Cohort], bool]:
    """The actions of the events, in their order."""
    return lambda cohort: list(cohort.interactions["action"].astype(str)) == list(names)


def is_number(name: str, n_missing: int) -> Callable[[Cohort], bool]:
    """A column of numbers with so many blanks."""
    return lambda cohort: (
        cohort.customers[name].dtype == "float64" and int(cohort.customers[name].isna().sum()) == n_missing
    )


CASES = {
    "01-european-thousands": Case(column("umsatz", 1234, 15300, 900, 2500)),
    "03-parquet-decimal-ids": Case(
        lambda cohort: cohort.n_customers == 4 and len(cohort.customers["customer_id"][0]) == 18
    ),
    "04-scientific-ids-events": Case(refused="a spreadsheet has probably cut them"),
    "06-one-odd-cell": Case(is_number("income", 1), said="'unknown', the first in row 302"),
    "07-accounting-negatives": Case(column("balance", -0.5, 7.25)),
    "10-mysql-null": Case(column("balance", None, 7.25)),
    "11-na-country": Case(column("country", "NA", "DE", None, "US", "NA")),
    "13-id-null": Case(ids("Null", "Smith", "NA")),
    "14-header-again": Case(ids("a", "b", "c"), said="row 4.*the header again"),
    "15-total-row-csv": Case(ids("a", "b", "c"), said="row 5.*a total"),
    "17-zeros-lost-in-one-file": Case(refused="2 ids differ only in leading zeros"),
    "19-xlsx-zero-format": Case(ids("00123", "00124", "20125")),
    "20-xlsx-formula-without-value": Case(said="2 cells hold a formula whose result the file does not store"),
    "21-cp1250": Case(ids("Łukasz", "Żaneta")),
    "23-month-first-beside": Case(column("signup", pd.Timestamp("2025-01-02"), pd.Timestamp("2025-03-04"))),
    "25-zones-mixed": Case(refused="1 of 3 times in 'timestamp' have no time zone"),
    "26-epoch-s-and-ms": Case(refused="row 2, column 'timestamp': expected a moment in Unix"),
    "28-date-9999": Case(refused="row 4, column 'timestamp'", options=("--churn-days", "30")),
    "29-year-2062": Case(refused="later than tomorrow .*row 602", options=("--churn-days", "30")),
    "30-ticket-id-as-customer": Case(refused="no column is named as the action"),
    "32-contacts-as-purchases": Case(
        lambda c: not c.has_events and c.feature_columns[1:] == ["score", "industry", "country"]
    ),
    "33-newest-first": Case(actions("signup", "email", "visit", "buy")),
    "35-backslash-quotes": Case(actions('Clicked "Buy"', "Opened, read")),
    "36-shopify-offset": Case(lambda cohort: str(cohort.interactions["timestamp"][0]) == "2026-02-01 04:30:00"),
    "37-half-converted-dates": Case(refused="found '13/01/2026' and '2026-05-01 00:00:00'"),
    "38-excel-leftovers": Case(column("spend", 1.5, 2.25)),
    "39-float-ids": Case(ids("17850", "17851")),
    "40-doubled-contacts": Case(refused="row 4: duplicate customer_id 'a'"),
    "41-status-words": Case(column("churned", False, True, False, True)),
    "42-scoring-file-european": Case(refused="every point in 'income' stands before three digits"),
    "43-scoring-odd-cell": Case(said="words in 'income' count as missing: 1 x 'unknown'"),
    "45-phone-ids-in-plan": Case(lambda cohort: cohort.customers["customer_id"][2] == "+4915100000003"),
    "46-leading-zeros-in-plan": Case(lambda cohort: cohort.customers["customer_id"][0] == "00001"),
    "nested-archive": Case(refused="that unpack to more than"),
    "packed-silent-035256": Case(lambda cohort: len(cohort.interactions) == 156 and cohort.has_labels),
    "pqtypes-check-tb-0e628a": Case(refused="row 1, column 'timestamp': expected a date before"),
    "silent-nfc-nfd": Case(lambda cohort: cohort.n_customers == 30),
    "silent-one-stray-byte": Case(lambda cohort: "Zoë00" in set(cohort.customers["customer_id"]), said="line 152"),
    "silent-orders-beside-customers": Case(lambda cohort: len(cohort.interactions) == 300),
    "silent-two-open-quotes": Case(refused="row 12: .*a quotation mark that opens here"),
    "xlsx-far-cells": Case(refused="1,015,808 cells of which 63 are filled"),
}
"""Name of the folder to what is right. 47 is about the page and tested there; `damage` is about runs."""


def sources_of(name: str) -> list[Path]:
    """The files of a case; none where the shared folder is not beside the repository."""
    folder = SHARED / "cases" / name
    if folder.exists():
        return [next(f for f in (folder / "input", folder / "input_score") if f.exists())]
    files = [f for f in (SHARED / "faults" / name).glob("*") if f.suffix != ".txt"]
    return files if len(files) < 2 else [SHARED / "faults" / name]


def verdict(name: str) -> tuple[str, str]:
    """Whether a case is right, said, refused or WRONG, and what the command said."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "cohort"
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = main(["import", "tables", *map(str, sources_of(name)), "--out", str(out), *case.options])
        text = said.getvalue()
        if status:
            return "refused" if case.refused and re.search(case.refused, text) else "WRONG", text
        if case.refused or (case.said and not re.search(case.said, text)):
            return "WRONG", text
        if case.is_right is not None:
            return "right" if case.is_right(load_cohort(out)) else "WRONG", text
        return "said", text


if __name__ == "__main__":
    verdicts = {name: verdict(name)[0] for name in CASES if sources_of(name)}
    for case_name, found in verdicts.items():
        print(f"{found:<8} {case_name}")
    print({word: list(verdicts.values()).count(word) for word in ("right", "said", "refused", "WRONG")})
    sys.exit("WRONG" in verdicts.values())
