"""Cells as a table of trimmed text, whatever kind of file they come from; several tables as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crm_models.core.errors import DataError

FIRST_ROW = "first_row"
"""Key in `DataFrame.attrs`: the number of the first data row in messages; 2 below a header, else 1."""
PARTS = "parts"
"""Key in `DataFrame.attrs` of a table joined from several files: file, first index, first row number and delimiter of
each."""
DELIMITER = "delimiter"
"""Key in `DataFrame.attrs`: the delimiter of the file, which decides how `1,234` is read; "" where numbers are stored
as text without one, None where they are not."""
SHEETS_LEFT_OUT = "sheets_left_out"
"""Key in `DataFrame.attrs`: the names of a workbook's sheets with other columns."""
ENCODING = "encoding"
"""Key in `DataFrame.attrs`: the name of the encoding of a text file."""
LEFT_OUT = "left_out"
"""Key in `DataFrame.attrs`: the names of columns that are left out, because they hold no text, numbers or dates."""
REMARKS = "remarks"
"""Key in `DataFrame.attrs`: sentences on what was unusual about the file."""
FOOTERS = "footers"
"""Key in `DataFrame.attrs`: lines below the table that are no rows of it."""
WRITING = "writing"
"""Key in `DataFrame.attrs` of the part of a joined table that is read apart: its files, and what they prove."""
WRITTEN = "written"
"""Key in `DataFrame.attrs`: our name of a column to the one in the file, for messages."""
RAGGED = "ragged"
"""Key in `DataFrame.attrs`: rows with too few or too many cells that were left out, as (row number, text)."""


def to_pandas(
    cells: list[pa.ChunkedArray], names: list[str], name: str, rows: np.ndarray | None = None
) -> pd.DataFrame:
    """Trimmed cells as a table, without empty unnamed columns and trailing blank rows (both from spreadsheets).

    rows: the number of each row, for the index; None if they follow each other. `DataError` for two columns of one
    name. The list is emptied column by column, so that one column at a time is in memory twice.
    """
    columns: list[pa.ChunkedArray] = []
    while cells:
        columns.insert(0, trimmed(cells.pop()))
    kept = [k for k, column in enumerate(columns) if names[k] or column.null_count < len(column)]
    n = len(columns[0]) if columns else 0
    if n and all(not columns[k][n - 1].is_valid for k in kept):
        filled = np.zeros(n, dtype=bool)
        for k in kept:
            filled |= columns[k].is_valid().to_numpy()
        n = int(np.flatnonzero(filled)[-1]) + 1 if filled.any() else 0
    series = {}
    for k in reversed(kept):
        series[k] = columns[k].slice(0, n).to_pandas()
        columns[k] = None
    table = pd.DataFrame({k: series[k] for k in kept}, index=pd.RangeIndex(n), copy=False)
    table.columns = pd.Index([names[k] or f"column {k + 1}" for k in kept], dtype=object)
    refuse_duplicate_columns(table, name)
    return table if rows is None else table.set_axis(rows[:n])


def trimmed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without blanks around its cells; empty cells become missing."""
    if pa.types.is_null(column.type):  # without rows, Arrow ignores the given type
        column = column.cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(column)
    if pc.any(pc.starts_with(trimmed, '="')).as_py():  # how programs keep a spreadsheet from changing an id
        trimmed = pc.replace_substring_regex(trimmed, r'^="([^"]*)"$', r"\1")
    blank = pc.equal(trimmed, "")
    if pc.any(blank).as_py():
        return pc.if_else(blank, pa.scalar(None, column.type), trimmed)
    # Cells with nothing to trim stay the ones that were read, so that the copy is freed.
    return column if pc.sum(pc.binary_length(trimmed)) == pc.sum(pc.binary_length(column)) else trimmed


def is_text(column: pd.Series) -> bool:
    """Whether a column holds text."""
    return isinstance(column.dtype, pd.StringDtype)


def refuse_duplicate_columns(table: pd.DataFrame, name: str) -> None:
    """`DataError` if two columns have one name."""
    duplicates = [str(c) for c in table.columns[table.columns.duplicated()]]
    if duplicates:
        raise DataError(f"{name} row 1: duplicate column {duplicates[0]!r}; rename or remove one")


def together(tables: Sequence[tuple[pd.DataFrame, str]]) -> tuple[pd.DataFrame, str]:
    """Several tables of one kind as one, and a name for it. Messages still name the file and row of each."""
    if len(tables) == 1:
        return tables[0]
    start, shifted, parts = 0, [], []
    for cells, name in tables:
        alone = {"file": name, "start": 0, "first_row": first_row_of(cells), DELIMITER: cells.attrs.get(DELIMITER)}
        inner: list[dict[str, Any]] = cells.attrs.get(PARTS, [alone])
        parts += [part | {"start": part["start"] + start} for part in inner]
        shifted.append(cells.set_axis(cells.index + start))
        start = int(shifted[-1].index.max()) + 1 if len(cells) else start
    both = pd.concat(shifted)
    remarks = [remark for cells, _ in tables for remark in cells.attrs.get(REMARKS, [])]
    delimiters = {part[DELIMITER] for part in parts}
    alike = {DELIMITER: delimiters.pop() if len(delimiters) == 1 else ""}
    both.attrs = tables[0][0].attrs | {PARTS: parts, REMARKS: remarks} | alike
    return both, " + ".join(name for _, name in tables)


def first_row_of(table: pd.DataFrame) -> int:
    """Number of the first row below the header in the file."""
    return int(table.attrs.get(FIRST_ROW, 2))


def written_name(table: pd.DataFrame, column: str) -> str:
    """The name of a column as the file has it."""
    return str(table.attrs.get(WRITTEN, {}).get(column, column))


def tidy(error: Exception) -> str:
    """The message of a library error as one line of at most 160 characters."""
    return " ".join(str(error).split())[:160]
