"""The `Importer` type: a known file format and the function that reads it; and what these functions share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.data.cohort import Cohort
from crm_models.data.sources.column import need_columns
from crm_models.data.sources.files import prepared
from crm_models.data.sources.frames import WRITTEN
from crm_models.data.sources.reading import read_file
from crm_models.data.sources.receipt import Receipt
from crm_models.data.sources.roles import plain

TABLE_ENDINGS = (".csv", ".csv.gz", ".csv.zip", ".parquet", ".xlsx")


@dataclass(frozen=True, kw_only=True)
class Importer:
    """A file format: its name, the files it expects, and the function that reads them.

    title and files: texts for the upload page, such as "IBM Telco churn" and "Telco-Customer-Churn.csv". read: takes
    the sources (files or folders), and its options as keywords.
    """

    title: str
    files: str
    read: Callable[..., Cohort]

    @property
    def options(self) -> dict[str, Any]:
        """The options of `read` with their defaults."""
        parameters = list(inspect.signature(self.read).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}


def files_in(source: Path, *endings: str) -> list[Path]:
    """A file, or the files of a folder by name: those with one of the endings, or all. `DataError` if it is absent."""
    if not source.exists():
        raise DataError(f"{source}: expected a file or folder, found none")
    if not source.is_dir():
        return [source]
    return sorted(f for f in source.iterdir() if f.is_file() and f.name.lower().endswith(endings or ""))


def unpacked_name(file: Path) -> str:
    """The name of a file in small letters, without the ending of a packed one."""
    return file.name.lower().removesuffix(".gz").removesuffix(".zip")


def distinct_labels(labels: pd.Series, ids: pd.Index) -> pd.Series:
    """The labels of products or films; those that several share get their id behind them."""
    return labels.where(~labels.duplicated(keep=False), labels + " [" + pd.Series(ids, index=labels.index) + "]")


def known_table(
    file: Path, kind: str, columns: Mapping[str, Sequence[str]], receipt: Receipt, cells: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The rows of a file of a known format, counted, its columns called as ours; messages keep the names of the file.

    columns: ours to those that the releases have, whatever their case and punctuation; the first that is filled counts.
    cells: what the file has, if it is read already.
    """
    cells = read_file(file) if cells is None else cells
    receipt.count_file(cells, file.name, kind)
    table = prepared(cells, file.name, receipt)
    filled = {plain(column): str(column) for column in reversed(table.columns) if table[column].notna().any()}
    existing = {plain(column): str(column) for column in reversed(table.columns)} | filled
    written = {
        ours: next((found[plain(c)] for found in (filled, existing) for c in theirs if plain(c) in found), theirs[0])
        for ours, theirs in columns.items()
    }
    need_columns(table, file.name, *written.values())
    table = table.drop(columns=[c for c in written if c in table and c not in written.values()])
    table = table.rename(columns={theirs: ours for ours, theirs in written.items()})
    table.attrs = cells.attrs | {WRITTEN: written}
    return table
