"""Read tables: CSV in any usual packing, encoding and delimiter, Parquet, or .xlsx. `columns` converts the cells.

CSV cells are read as text, because guessed types can be wrong ("007" is an id). Row numbers in messages count the
header as row 1 and skip blank lines.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from crm_models.core.errors import DataError
from crm_models.data.sources.archives import read_bytes, unpack
from crm_models.data.sources.text_encoding import as_utf8
from crm_models.data.sources.workbook import is_workbook, read_workbook

BLANKS = ("", "na", "n/a", "nan", "none", "null", "nil", "?", "-", "#n/a", "nat", "<na>")
"""Texts that mean a missing value; case is ignored."""

DELIMITERS = (",", ";", "\t", "|")
WHITESPACE = " "
"""The delimiter of tables whose columns are separated by any number of blanks."""

SNIFF_BYTES = 1 << 20
BLOCK_BYTES = 1 << 24
"""The block that one thread parses at a time, and so the longest row that can be read."""

FIRST_ROW = "first_row"
"""Key in `DataFrame.attrs`: the number of the first data row in messages; 2 below a header, else 1."""
DELIMITER = "delimiter"
"""Key in `DataFrame.attrs`: the delimiter of the file, which decides how `1,234` is read."""
SHEETS_LEFT_OUT = "sheets_left_out"
"""Key in `DataFrame.attrs`: the names of a workbook's sheets with other columns, which are not read."""

_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")


def read_file(file: Path) -> pd.DataFrame:
    """A CSV, Parquet or .xlsx file as a table of text (Parquet keeps its types); see `read_table`."""
    return read_table(read_bytes(Path(file)), Path(file).name)


def read_table(
    source: bytes | BinaryIO,
    name: str,
    *,
    header: Sequence[str] | None = None,
    delimiter: str | None = None,
    quoted: bool = True,
) -> pd.DataFrame:
    """A table from a CSV, Parquet or .xlsx file called `name`, given as bytes or as an open binary file, packed or not.

    Columns are text with missing values as NaN; those of Parquet keep their types. header: column names for a file
    without a header. delimiter: detected if None. quoted: whether `"` quotes cells. `DataError` if the bytes are not a
    table: empty, binary, a row with too few or too many cells, a duplicate column.
    """
    raw = unpack(source if isinstance(source, bytes) else source.read(), name)
    if raw[:4] == b"PAR1":
        return _parquet(raw, name)
    if is_workbook(raw):
        return _workbook(raw, name)
    text = _without_leading_blanks(as_utf8(raw, name))
    if not text.strip():
        raise DataError(f"{name}: expected a table, found an empty file")
    separator = re.match(rb"sep=([,;|\t])\r?\n", text)  # a line that Excel writes and reads
    if separator:
        delimiter, text = separator.group(1).decode(), _without_leading_blanks(text[separator.end() :])
    delimiter = delimiter or sniff_delimiter(_sample(text))
    if delimiter == WHITESPACE:
        delimiter, text = "\t", _as_tab_separated(text)
    elif quoted and f'{delimiter} "'.encode() in text:
        text = re.sub(re.escape(delimiter).encode() + rb' +"', delimiter.encode() + b'"', text)
    first_row = 1 if header else 2
    if header:
        names, body = list(header), text
    else:
        names, body = _header(text, delimiter, quoted, name)
    table = _to_pandas(_parse(body, names, delimiter, quoted, name, first_row), names)
    table.attrs = {FIRST_ROW: first_row, DELIMITER: delimiter}
    _refuse_duplicate_columns(table, name)
    return table


# ---- text to cells ---------------------------------------------------------------------------------------------------


def _without_leading_blanks(text: bytes) -> bytes:
    """The text without leading blank lines."""
    blank = re.match(rb"(?:[ \t]*(?:\r\n|\r|\n))+", text)
    return text[blank.end() :] if blank else text


def _sample(text: bytes) -> str:
    """The first megabyte of a text, cut at a line end: half a row would mislead `sniff_delimiter`."""
    sample = text[:SNIFF_BYTES]
    if len(text) > SNIFF_BYTES and b"\n" in sample:
        sample = sample[: sample.rindex(b"\n") + 1]
    return sample.decode("utf-8", errors="ignore")


def sniff_delimiter(text: str) -> str:
    """The delimiter that splits most lines into as many cells as the header; `WHITESPACE` if none does."""
    # 200 lines are enough.
    lines = [line for line in itertools.islice(io.StringIO(text, newline=None), 200) if line.strip()]
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not widths:
            continue
        # In `a;b` above `1,5;2,5` the comma splits most lines equally, but not the header.
        usual = max(set(widths), key=widths.count)
        weight = 1.0 if widths[0] == usual else 0.1
        score = weight * (widths.count(usual) / len(widths)) * min(usual - 1, 3)
        if score > best_score:
            best, best_score = delimiter, score
    words = [len(line.split()) for line in lines]
    if best_score < 0.2 and words and words[0] > 1 and words.count(words[0]) > 0.9 * len(words):
        return WHITESPACE
    return best


def _as_tab_separated(text: bytes) -> bytes:
    """A blank-separated table with tabs as delimiters; blanks within quotation marks are kept."""
    text = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", text)
    if b'"' not in text:
        return re.sub(rb"[ \t]+", b"\t", text)
    return re.sub(rb'("[^"\n]*")|[ \t]+', lambda match: match.group(1) or b"\t", text)


def _header(text: bytes, delimiter: str, quoted: bool, name: str) -> tuple[list[str], bytes]:
    """The column names in the first row, and the text below it."""
    lines: list[str] = []

    def recorded() -> Any:
        for line in io.StringIO(_sample(text), newline=""):
            lines.append(line)
            yield line

    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    try:
        cells = next(csv.reader(recorded(), delimiter=delimiter, quoting=quoting))  # type: ignore[arg-type]  # the stub wants an enum
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{name} row 1: expected column names, found an unreadable row ({tidy(error)})") from None
    if not cells:
        raise DataError(f"{name} row 1: expected column names, found a blank row")
    return [" ".join(cell.split()) for cell in cells], text[len("".join(lines).encode("utf-8")) :]


def _parse(body: bytes, names: list[str], delimiter: str, quoted: bool, name: str, first_row: int) -> pa.Table:
    """The cells below the header as text; every row must have as many cells as the header."""
    if not body.strip():
        return pa.table({str(k): pa.array([], pa.string()) for k in range(len(names))})
    if quoted and body.count(b'"') % 2:
        _refuse_open_quote(body, delimiter, name, first_row)
    ragged = _Ragged()
    try:
        return _arrow_csv(body, len(names), delimiter, quoted, ragged)
    except pa.ArrowInvalid as error:
        if ragged.row is None:
            problem = "a row of more than 16 MB" if "straddling" in str(error) else tidy(error)
            raise DataError(
                f"{name}: expected rows of cells, found {problem}; is a quotation mark left open?"
            ) from None
    if ragged.row.actual_columns == len(names) + 1:
        # Some programs end every row below the header with a delimiter.
        try:
            longer = _arrow_csv(body, len(names) + 1, delimiter, quoted, _Ragged())
            if longer.column(len(names)).null_count == len(longer):
                return longer.select(range(len(names)))
        except pa.ArrowInvalid:
            pass
    return _refuse_ragged(body, len(names), delimiter, quoted, name, first_row)


class _Ragged:
    """Row handler for Arrow: skips blank lines and keeps the first row with too few or too many cells."""

    row: pa_csv.InvalidRow | None = None

    def __call__(self, row: pa_csv.InvalidRow) -> str:
        if not row.text.strip():
            return "skip"
        self.row = self.row or row
        return "error"


def _arrow_csv(
    body: bytes, width: int, delimiter: str, quoted: bool, ragged: _Ragged, *, threads: bool = True
) -> pa.Table:
    columns = [str(k) for k in range(width)]
    return pa_csv.read_csv(
        pa.BufferReader(body),
        read_options=pa_csv.ReadOptions(column_names=columns, use_threads=threads, block_size=BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter,
            quote_char='"' if quoted else False,
            newlines_in_values=quoted and b'"' in body,
            invalid_row_handler=ragged,
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True, null_values=_BLANKS_IN_ANY_CASE
        ),
    )


_BLANKS_IN_ANY_CASE = sorted(
    {"".join(letters) for blank in BLANKS for letters in itertools.product(*((c, c.upper()) for c in blank))}
)


def _refuse_ragged(body: bytes, width: int, delimiter: str, quoted: bool, name: str, first_row: int) -> pa.Table:
    """`DataError` with the row number, which Arrow reports only when reading in one thread."""
    ragged = _Ragged()
    try:
        _arrow_csv(body, width, delimiter, quoted, ragged, threads=False)
    except pa.ArrowInvalid:
        if ragged.row is not None:
            row, text = (ragged.row.number or 1) - 1 + first_row, " ".join(ragged.row.text.split())[:40]
            raise DataError(
                f"{name} row {row}: expected the same columns as the header ({width} cells), found "
                f"{ragged.row.actual_columns} cells ({text!r}); check delimiters and quotation marks"
            ) from None
    raise DataError(f"{name}: expected the same columns in every row ({width} cells), found other numbers")


def _refuse_open_quote(body: bytes, delimiter: str, name: str, first_row: int) -> None:
    """`DataError` if a quotation mark is never closed: Arrow reads to the end of the file, pandas reports the row."""
    try:
        pd.read_csv(
            io.BytesIO(body),
            sep=delimiter,
            header=None,
            usecols=[0],
            dtype=str,
            engine="c",
            on_bad_lines="skip",
            low_memory=False,
        )
    except (pd.errors.ParserError, ValueError) as error:
        match = re.search(r"EOF inside string starting at row (\d+)", str(error))
        if match:
            row = int(match.group(1)) + first_row
            raise DataError(
                f"{name} row {row}: expected a closing quotation mark, found the end of the file; close or remove it"
            ) from None


def _to_pandas(cells: pa.Table, names: list[str], *, seen: bool = True) -> pd.DataFrame:
    """Trimmed cells as a table, without empty unnamed columns and trailing blank rows (both from spreadsheets)."""
    columns = [_trimmed(column, seen=seen) for column in cells.columns]
    kept = [k for k, column in enumerate(columns) if names[k] or column.null_count < len(column)]
    n = len(cells)
    if n and all(not columns[k][n - 1].is_valid for k in kept):
        filled = np.zeros(n, dtype=bool)
        for k in kept:
            filled |= columns[k].is_valid().to_numpy()
        n = int(np.flatnonzero(filled)[-1]) + 1 if filled.any() else 0
    series = [columns[k].slice(0, n).to_pandas() for k in kept]
    table = pd.DataFrame(dict(enumerate(series)), index=pd.RangeIndex(n))
    table.columns = pd.Index([names[k] or f"column {k + 1}" for k in kept], dtype=object)
    return table


def _trimmed(column: pa.ChunkedArray, *, seen: bool = True) -> pa.ChunkedArray:
    """The column without blanks around its cells; empty cells and `BLANKS` become missing.

    seen: whether untrimmed `BLANKS` are missing already.
    """
    if pa.types.is_null(column.type):  # without rows, Arrow ignores the given type
        column = column.cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(column)
    if seen and pc.sum(pc.binary_length(trimmed)) == pc.sum(pc.binary_length(column)):
        return column
    blank = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(BLANKS, column.type))
    return pc.if_else(blank, pa.scalar(None, column.type), trimmed)


# ---- workbooks and Parquet -------------------------------------------------------------------------------------------


def _workbook(raw: bytes, name: str) -> pd.DataFrame:
    """The largest sheet and those with the same columns; the names of the others are in `attrs`."""
    sheet, left_out = read_workbook(raw, name)
    width = max(len(sheet.header), *(len(row) for row in sheet.rows)) if sheet.rows else len(sheet.header)
    names = [*sheet.header, *[""] * (width - len(sheet.header))]
    columns = zip(*(row + [None] * (width - len(row)) for row in sheet.rows), strict=True)
    arrays = [pa.array(column, pa.string()) for column in columns] or [pa.array([], pa.string())] * width
    cells = pa.table(arrays, names=[str(k) for k in range(width)])
    table = _to_pandas(cells, names, seen=False)
    table.attrs = {FIRST_ROW: sheet.header_row + 1, SHEETS_LEFT_OUT: left_out}
    _refuse_duplicate_columns(table, name)
    return table


def _parquet(raw: bytes, name: str) -> pd.DataFrame:
    try:
        arrow = pq.read_table(io.BytesIO(raw))
        arrow = pa.table(
            [_as_pandas_type(c) for c in arrow.columns], names=[" ".join(str(c).split()) for c in arrow.schema.names]
        )
        # A pandas index in the file is read as a column, unless it only numbers the rows.
        table: pd.DataFrame = arrow.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name}: expected a Parquet table, found an unreadable file ({tidy(error)})") from None
    table = (
        table[[c for c in table.columns if not _UNNAMED_INDEX.fullmatch(str(c))]] if table.columns.is_unique else table
    )
    table.attrs = {FIRST_ROW: 1}
    _refuse_duplicate_columns(table, name)
    return table


def _as_pandas_type(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert types that pandas would store as Python objects to numbers, dates or text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_pandas_type(column.cast(kind.value_type))
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        return column.cast(pa.float64())
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms"))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _as_pandas_type(column.cast(pa.binary()).cast(pa.string()))
    if pa.types.is_nested(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind):
        return pa.chunked_array([[None if cell is None else str(cell) for cell in column.to_pylist()]], pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _trimmed(column.cast(pa.string()), seen=False)
    return column


def _refuse_duplicate_columns(table: pd.DataFrame, name: str) -> None:
    duplicates = [str(c) for c in table.columns[table.columns.duplicated()]]
    if duplicates:
        raise DataError(f"{name} row 1: duplicate column {duplicates[0]!r}; rename or remove one")


def tidy(error: Exception) -> str:
    """The message of a library error as one line of at most 160 characters."""
    return " ".join(str(error).split())[:160]
