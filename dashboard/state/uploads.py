"""Uploaded files to a cohort: read, guess kind and columns, combine tables of the same kind. Draws nothing.

Files are read and columns mapped by `crm_models.data.sources`.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from crm_models import workflow
from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources import importer_of
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.tables import ROW, TABLES, cohort_from_tables, guess_columns

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


def read_upload(name: str, raw: bytes) -> pd.DataFrame:
    """Table from the bytes of an uploaded, possibly compressed file. `DataError` if it is too large or not a table."""
    _refuse_large(name, raw, "tables")
    table = read_table(raw, name)
    if len(table) > MAX_ROWS:
        raise DataError(
            f"{name}: expected at most {MAX_ROWS:,} rows, found {len(table):,}; use `import tables` instead"
        )
    return table


def guess_kind(name: str, table: pd.DataFrame) -> str:
    """Likely kind of a table, from file name and columns: one of `TABLES`."""
    stem = name.split(".")[0].lower()
    for kind in TABLES:
        if kind in stem or kind.rstrip("s") in stem:
            return kind
    columns = set(guess_columns(table))
    if TIMESTAMP in columns and columns & {ACTION, VALUE, CUSTOMER_ID}:
        return "interactions"
    return "actions" if ACTION in columns and CUSTOMER_ID not in columns else "customers"


def guesses(table: pd.DataFrame, kind: str) -> dict[str, str]:
    """Guessed columns of this kind of table: our name to the column in the file."""
    guessed = guess_columns(table)
    exact = {ours: ours for ours in COLUMNS[kind] if ours in table.columns}
    return {ours: theirs for ours, theirs in (guessed | exact).items() if ours in COLUMNS[kind]}


def missing(table: Mapped) -> list[str]:
    """Required columns (our names) of this kind of table that are not chosen yet."""
    return [ours for ours in NEEDED[table.kind] if ours not in table.columns]


def build(tables: Sequence[Mapped], *, name: str, churn_days: float | None = None) -> Cohort:
    """Cohort of the mapped tables; tables of the same kind are concatenated. `DataError` if they do not fit."""
    if sum(len(t.table) for t in tables) > MAX_ROWS:
        total = sum(len(t.table) for t in tables)
        raise DataError(f"expected at most {MAX_ROWS:,} rows in total, found {total:,}; use `import tables` instead")
    by_kind: dict[str, list[Mapped]] = {}
    for table in tables:
        by_kind.setdefault(table.kind, []).append(table)
    if not set(by_kind) & {"interactions", "customers"}:
        raise DataError("expected a table of interactions or of customers, found none; choose what the files hold")
    merged = {}
    for kind, group in by_kind.items():
        combined = pd.concat([_renamed(t) for t in group], ignore_index=True) if len(group) > 1 else _renamed(group[0])
        merged[kind] = (combined, " + ".join(t.file for t in group))
    # Customers without an id column are numbered by row.
    unnamed = any(CUSTOMER_ID not in t.columns for t in by_kind.get("customers", []))
    columns = {CUSTOMER_ID: ROW} if unnamed else {}
    positive = next((t.positive for t in by_kind.get("customers", []) if t.positive), None)
    return cohort_from_tables(merged, churn_days=churn_days, columns=columns, positive=positive, name=name)


def _renamed(table: Mapped) -> pd.DataFrame:
    """The table with our column names; another column that has one of our names is renamed."""
    kept = table.table.drop(columns=[c for c in table.drop if c in table.table])
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
    if _unpacked_bytes(raw, limit := MAX_UNPACKED_MB * 1_000_000) > limit:
        raise DataError(f"{name}: expected at most {MAX_UNPACKED_MB:,} MB when unpacked, found more; {command}")


def _unpacked_bytes(raw: bytes, limit: int) -> int:
    """Unpacked size of a gzip or zip file; counting stops slightly above the limit."""
    try:
        if raw[:2] == b"\x1f\x8b":
            size = 0
            with gzip.open(io.BytesIO(raw)) as packed:
                while size <= limit and (part := packed.read(1 << 20)):
                    size += len(part)
            return size
        if raw[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                return sum(member.file_size for member in archive.infolist())
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile):
        return 0  # damaged; reading it raises the error
    return len(raw)


def safe_name(name: str) -> str:
    """The base name of a file, without parts that could lead to another folder."""
    flat = Path(name.replace("\\", "/")).name.replace("\0", "")
    return flat if flat not in ("", ".", "..") else "upload"
