"""Uploaded files to a cohort: read, guess kind and columns, combine tables of the same kind. Draws nothing.

Files are read and columns mapped by `crm_models.data.sources`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from crm_models import workflow
from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources import importer_of
from crm_models.data.sources.archives import refuse_large
from crm_models.data.sources.files import join_lines, prepared, stands_alone
from crm_models.data.sources.frames import together
from crm_models.data.sources.reading import ReadOptions, read_tables
from crm_models.data.sources.receipt import Receipt
from crm_models.data.sources.roles import action_candidates, customer_of, dated_columns, kind_of
from crm_models.data.sources.tables import TABLES, cohort_from_tables, guess_columns

MAX_MB = 200
MAX_UNPACKED_MB = 1_000
MAX_ROWS = 3_000_000
"""Most rows of all uploaded tables together; the command line imports more."""
TYPES = ("csv", "tsv", "txt", "parquet", "xlsx", "gz", "zip")

NEEDED = {"interactions": (CUSTOMER_ID, TIMESTAMP), "customers": (), "actions": (ACTION,)}
COLUMNS = {
    "interactions": (CUSTOMER_ID, ACTION, TIMESTAMP, VALUE),
    "customers": (CUSTOMER_ID, CHURNED),
    "actions": (ACTION, LABEL, KIND, REPEATABLE),
}
"""Our column names per kind of table; all other columns are features (ignored in interactions)."""


@dataclass(frozen=True, kw_only=True)
class Mapped:
    """An uploaded table with its kind and columns. upload: unique id; columns: our name to the column in the file."""

    upload: str
    file: str
    table: pd.DataFrame
    kind: str
    columns: dict[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    positive: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How uploads are read: answers to doubts, whether bad rows are left out, and the day of the export."""

    answers: tuple[tuple[str, str], ...] = ()
    skip_bad_rows: bool = False
    as_of: str | None = None


def read_upload(
    name: str, raw: bytes, encoding: str | None = None, *, skip_bad_rows: bool = False
) -> list[tuple[pd.DataFrame, str]]:
    """The tables in an uploaded, possibly compressed file with a name for each, the largest first.

    They are several where a workbook has sheets of different columns. `DataError` if it is too large or not a table.
    """
    _refuse_large(name, raw, "tables")
    options = ReadOptions(
        encoding=encoding,
        skip_ragged=skip_bad_rows,
        max_unpacked=MAX_UNPACKED_MB * 1_000_000,
    )
    tables = read_tables(raw, name, options)
    n_rows = sum(len(table) for table, _ in tables)
    if n_rows > MAX_ROWS:
        raise DataError(f"{name}: expected at most {MAX_ROWS:,} rows, found {n_rows:,}; use `import tables` instead")
    return tables


def guess_kind(name: str, table: pd.DataFrame, *, is_main: bool = True) -> str:
    """Likely kind of a table, from file name and columns: one of `TABLES`, or "" for a further sheet, maybe of none."""
    if not is_main and not stands_alone(table, name, kind_of(table)):
        return ""
    file, _, sheet = name.lower().partition(", sheet ")
    for stem in (sheet, file.split(".")[0] if is_main else ""):
        for kind in TABLES:
            if kind in stem or kind.rstrip("s") in stem:
                return kind
    return kind_of(table)


def guesses(table: pd.DataFrame, kind: str) -> dict[str, str]:
    """Guessed columns of this kind of table: our name to the column in the file."""
    guessed = guess_columns(table) | ({CUSTOMER_ID: c} if (c := customer_of(table, kind)) else {})
    if kind == "interactions":
        if TIMESTAMP not in guessed and (dated := dated_columns(table, *guessed.values())):
            guessed[TIMESTAMP] = dated[0]
        if ACTION not in guessed and (candidates := action_candidates(table, *guessed.values())):
            guessed[ACTION] = candidates[0]
    exact = {ours: ours for ours in COLUMNS[kind] if ours in table.columns}
    return {ours: theirs for ours, theirs in (guessed | exact).items() if ours in COLUMNS[kind]}


def missing(table: Mapped) -> list[str]:
    """Required columns (our names) of this kind of table that are not chosen yet."""
    return [ours for ours in NEEDED[table.kind] if ours not in table.columns]


def build(
    tables: Sequence[Mapped], *, name: str, churn_days: float | None = None, reading: Reading | None = None
) -> tuple[Cohort, Receipt]:
    """Cohort of the mapped tables, and its receipt; tables of the same kind are put together.

    Open doubts are read as proposed; they stand in the receipt. `DataError` if the tables do not fit.
    """
    reading = reading or Reading()
    if (total := sum(len(t.table) for t in tables)) > MAX_ROWS:
        raise DataError(f"expected at most {MAX_ROWS:,} rows in total, found {total:,}; use `import tables` instead")
    by_kind: dict[str, list[Mapped]] = {}
    for table in tables:
        by_kind.setdefault(table.kind, []).append(table)
    if not set(by_kind) & {"interactions", "customers"}:
        raise DataError("expected a table of interactions or of customers, found none; choose what the files hold")
    receipt = Receipt(answers=dict(reading.answers), skip_bad_rows=reading.skip_bad_rows, ask_again=True)
    found = {}
    for kind, group in by_kind.items():
        for table in group:
            receipt.kinds[table.file] = kind
            receipt.count_file(table.table, table.file, kind)
        found[kind] = together([(_renamed(t, prepared(t.table, t.file, receipt)), t.file) for t in group])
    join_lines(found, receipt)
    positive = next((t.positive for t in by_kind.get("customers", []) if t.positive), None)
    with receipt.doubts_beside_refusals():
        cohort = cohort_from_tables(
            found,
            churn_days=churn_days,
            positive=positive,
            as_of=reading.as_of,
            name=name,
            receipt=receipt,
        )
    options = {
        "columns": {ours: theirs for t in tables for ours, theirs in t.columns.items()},
        "drop": [column for t in tables for column in t.drop],
        "positive": positive,
        "churn_days": churn_days,
    }
    return replace(cohort, documents=receipt.documents(options)), receipt


def _renamed(table: Mapped, cells: pd.DataFrame) -> pd.DataFrame:
    """The cells with our column names; another column that has one of our names is renamed."""
    kept = cells.drop(columns=[c for c in table.drop if c in cells])
    new_names = {column: ours for ours, column in table.columns.items()}
    conflicts = {c: f"{c} (theirs)" for c in kept.columns if c in COLUMNS[table.kind] and new_names.get(c) != c}
    return kept.rename(columns=conflicts | {c: new_names[c] for c in kept.columns if c in new_names})


def import_known(out: Path, form: str, files: Sequence[tuple[str, bytes]], churn_days: float | None) -> Cohort:
    """Import uploaded files of a known public format into the cohort folder `out`."""
    with tempfile.TemporaryDirectory(prefix="crm-upload-") as folder:
        for name, raw in files:
            _refuse_large(name, raw, form)
            (Path(folder) / safe_name(name)).write_bytes(raw)
        sources = sorted(Path(folder).iterdir())
        options = {"churn_days": churn_days} if "churn_days" in importer_of(form).options else {}
        # A single file is passed by its path; several are found by name in their folder.
        return workflow.import_files(out, form, sources if len(sources) == 1 else [Path(folder)], **options)


def _refuse_large(name: str, raw: bytes, form: str) -> None:
    """Raise `DataError` if a file is too large, also unpacked: a few bytes can unpack to more than the memory."""
    command = f"use `python -m crm_models import {form}` instead"
    if len(raw) > MAX_MB * 1_000_000:
        raise DataError(f"{name}: expected at most {MAX_MB} MB, found {len(raw) / 1e6:,.0f}; {command}")
    try:
        refuse_large(raw, name, MAX_UNPACKED_MB * 1_000_000)
    except DataError as error:
        raise DataError(f"{error}; or {command}") from None


def safe_name(name: str) -> str:
    """The base name of a file, without parts that could lead to another folder."""
    flat = Path(name.replace("\\", "/")).name.replace("\0", "")
    return flat if flat not in ("", ".", "..") else "upload"
