"""Read tables: CSV in any usual packing, encoding and delimiter, Parquet, .xlsx, or flat JSON.

CSV cells are read as text, because guessed types can be wrong ("007" is an id); `features`, `moments`, `numbers`, `ids`
and `labels` convert them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa

from crm_models.data.sources.archives import MAX_UNPACKED, Raw, forget, open_bytes, unpack
from crm_models.data.sources.csv_text import parse_text
from crm_models.data.sources.foreign import is_json, refuse_foreign
from crm_models.data.sources.frames import (
    DELIMITER,
    ENCODING,
    FIRST_ROW,
    FOOTERS,
    RAGGED,
    REMARKS,
    SHEETS_LEFT_OUT,
    to_pandas,
    together,
)
from crm_models.data.sources.json_lines import read_flat
from crm_models.data.sources.parquet import read_parquet, read_parquet_folder
from crm_models.data.sources.text_encoding import Decoded, decode
from crm_models.data.sources.workbook import Sheet, is_workbook, read_workbook


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How files are read. encoding: of text files, found if None. skip_ragged: leave out rows with too few or too many
    cells. max_unpacked: most bytes of a packed file.
    """

    encoding: str | None = None
    skip_ragged: bool = False
    max_unpacked: int = MAX_UNPACKED


def read_file(file: Path, options: ReadOptions | None = None) -> pd.DataFrame:
    """A CSV, Parquet or .xlsx file as a table of text (Parquet keeps its types); see `read_table`."""
    return read_files(file, options)[0][0]


def read_files(file: Path, options: ReadOptions | None = None) -> list[tuple[pd.DataFrame, str]]:
    """The tables of a file with a name for each: several where a workbook has sheets of different columns."""
    options, file = options or ReadOptions(), Path(file)
    if file.is_dir() and any(file.rglob("*.parquet")):
        return [(read_parquet_folder(file), file.name)]
    with open_bytes(file) as raw:
        return read_tables(raw, file.name, options)


def read_tables(source: Raw, name: str, options: ReadOptions) -> list[tuple[pd.DataFrame, str]]:
    """The tables in the bytes of a file, the largest first, with a name for each."""
    raw = unpack(source, name, options.max_unpacked)
    if not is_workbook(raw):
        return [(read_table(raw, name, options=options), name)]
    sheets: dict[tuple[str, ...], list[tuple[pd.DataFrame, str]]] = {}
    for sheet in read_workbook(raw, name):
        called = f"{name}, sheet {sheet.name}"
        table = _from_sheet(sheet, called)
        sheets.setdefault(tuple(table.columns), []).append((table, called))
    for (table, _), *more in sheets.values():
        if more:
            names = " and ".join(called.rpartition(", sheet ")[2] for _, called in sheets[tuple(table.columns)])
            table.attrs[REMARKS].append(f"The sheets {names} have the same columns and are read together.")
    (first, called), *others = (together(same) for same in sheets.values())
    first.attrs[SHEETS_LEFT_OUT] = [called.rpartition(", sheet ")[2] for _, called in others]
    return [(first, called if others else name), *others]


def read_table(
    source: Raw | BinaryIO,
    name: str,
    *,
    header: Sequence[str] | None = None,
    delimiter: str | None = None,
    quoted: bool = True,
    options: ReadOptions | None = None,
) -> pd.DataFrame:
    """A table from a CSV, Parquet or .xlsx file called `name`, given as bytes or as an open binary file, packed or not.

    Columns are text with missing values as NaN; those of Parquet keep their types. header: column names for a file
    without a header. delimiter: detected if None. quoted: whether `"` quotes cells. `DataError` if the bytes are not a
    table: empty, binary, a row with too few or too many cells, a duplicate column.
    """
    options = options or ReadOptions()
    raw = unpack(source if isinstance(source, bytes | mmap) else source.read(), name, options.max_unpacked)
    if raw[:4] == b"PAR1":
        return read_parquet(raw, name)
    if is_workbook(raw):
        return read_tables(raw, name, options)[0][0]
    decoded = decode(raw, name, options.encoding)
    forget(raw)
    if header is None:
        if is_json(decoded.text):
            return _from_json(decoded, name)
        refuse_foreign(decoded.text, name)
    cells, names, layout = parse_text(
        decoded.text,
        name,
        list(header) if header else None,
        delimiter,
        quoted=quoted,
        skip_ragged=options.skip_ragged,
    )
    columns, remarks, encoding = list(cells.columns), decoded.remarks, decoded.encoding
    del cells, decoded
    forget(raw)
    table = to_pandas(columns, names, name, layout.rows)
    table.attrs = {
        FIRST_ROW: layout.first_row,
        DELIMITER: layout.delimiter,
        ENCODING: encoding,
        REMARKS: [*remarks, *layout.remarks],
        FOOTERS: layout.footers,
        RAGGED: layout.left_out,
    }
    return table


def _from_json(decoded: Decoded, name: str) -> pd.DataFrame:
    cells, names, has_pointed_text = read_flat(bytes(decoded.text), name)
    table = to_pandas(cells, names, name)
    table.attrs = {FIRST_ROW: 1, DELIMITER: "" if has_pointed_text else None, REMARKS: list(decoded.remarks)}
    return table


def _from_sheet(sheet: Sheet, name: str) -> pd.DataFrame:
    width = max(len(sheet.header), *(len(row) for row in sheet.rows)) if sheet.rows else len(sheet.header)
    names = [*sheet.header, *[""] * (width - len(sheet.header))]
    columns = zip(*(row + [None] * (width - len(row)) for row in sheet.rows), strict=True)
    arrays = [pa.chunked_array([pa.array(column, pa.string())]) for column in columns]
    arrays = arrays or [pa.chunked_array([], pa.string())] * width
    rows = np.asarray(sheet.numbers, dtype=np.int64) - sheet.header_row - 1
    table = to_pandas(list(arrays), names, name, rows)
    delimiter = "" if sheet.has_pointed_text else None
    table.attrs = {FIRST_ROW: sheet.header_row + 1, REMARKS: list(sheet.remarks), DELIMITER: delimiter}
    return table
