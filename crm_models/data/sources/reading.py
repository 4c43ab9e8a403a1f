"""Files to tables: CSV in any usual packing, encoding and delimiter, Parquet, or .xlsx. `columns` gives cells types.

CSV is read as text, because a file's own types are guesses ("007" is an id). Rows are counted as a person sees them:
the header is row 1, and blank lines do not count.
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
"""What stands for a missing value, in any case."""

DELIMITERS = (",", ";", "\t", "|")
WHITESPACE = " "
"""The delimiter of tables whose columns are set apart by any run of blanks."""

SNIFF_BYTES = 1 << 20
BLOCK_BYTES = 1 << 24
"""The longest row that can be read, and the stretch that one thread parses at a time."""

FIRST_ROW = "first_row"
"""Key in `DataFrame.attrs`: how a person counts the first row of data; 2 below a header, else 1."""
DELIMITER = "delimiter"
"""Key in `DataFrame.attrs`: the delimiter of the file, which tells how to read `1,234`."""
SHEETS_LEFT_OUT = "sheets_left_out"
"""Key in `DataFrame.attrs`: the names of a workbook's other sheets, if they have other columns."""

_FILLED_IN = re.compile(r"__index_level_\d+__")


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
    that has none. delimiter: sniffed where None. quoted: whether `"` holds cells together. `DataError` where the bytes
    are no table: empty, binary, a row with too few or too many cells, a doubled column.
    """
    raw = unpack(source if isinstance(source, bytes) else source.read(), name)
    if raw[:4] == b"PAR1":
        return _parquet(raw, name)
    if is_workbook(raw):
        return _workbook(raw, name)
    text = _start(as_utf8(raw, name))
    if not text.strip():
        raise DataError(f"{name}: expected a table, found an empty file")
    told = re.match(rb"sep=([,;|\t])\r?\n", text)  # Excel writes this line and reads it
    if told:
        delimiter, text = told.group(1).decode(), _start(text[told.end() :])
    delimiter = delimiter or sniff_delimiter(_sample(text))
    if delimiter == WHITESPACE:
        delimiter, text = "\t", _tabbed(text)
    elif quoted and f'{delimiter} "'.encode() in text:
        text = re.sub(re.escape(delimiter).encode() + rb' +"', delimiter.encode() + b'"', text)
    first_row = 1 if header else 2
    if header:
        names, body = list(header), text
    else:
        names, body = _header(text, delimiter, quoted, name)
    table = _to_pandas(_parse(body, names, delimiter, quoted, name, first_row), names)
    table.attrs = {FIRST_ROW: first_row, DELIMITER: delimiter}
    _refuse_doubled_columns(table, name)
    return table


# ---- text to cells ---------------------------------------------------------------------------------------------------


def _start(text: bytes) -> bytes:
    """The text from its first line that is not blank."""
    blank = re.match(rb"(?:[ \t]*(?:\r\n|\r|\n))+", text)
    return text[blank.end() :] if blank else text


def _sample(text: bytes) -> str:
    """The first stretch of a text, cut at the end of a line."""
    piece = text[:SNIFF_BYTES]
    if len(text) > SNIFF_BYTES and b"\n" in piece:
        piece = piece[: piece.rindex(b"\n") + 1]
    return piece.decode("utf-8", errors="ignore")


def sniff_delimiter(text: str) -> str:
    """The delimiter of a table: the one that cuts most lines into as many cells as the header; blanks if none does."""
    # Half a row at the end of a sample would count against the right delimiter; 200 lines are enough.
    lines = [line for line in itertools.islice(io.StringIO(text, newline=None), 200) if line.strip()]
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter) if row]
        except csv.Error:
            continue
        if not widths:
            continue
        # In `a;b` above `1,5;2,5` the comma cuts more lines alike than not, but never the header.
        usual = max(set(widths), key=widths.count)
        weight = 1.0 if widths[0] == usual else 0.1
        score = weight * (widths.count(usual) / len(widths)) * min(usual - 1, 3)
        if score > best_score:
            best, best_score = delimiter, score
    words = [len(line.split()) for line in lines]
    if best_score < 0.2 and words and words[0] > 1 and words.count(words[0]) > 0.9 * len(words):
        return WHITESPACE
    return best


def _tabbed(text: bytes) -> bytes:
    """A table set apart by blanks as one set apart by tabs; blanks within quotation marks stay."""
    text = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", text)
    if b'"' not in text:
        return re.sub(rb"[ \t]+", b"\t", text)
    return re.sub(rb'("[^"\n]*")|[ \t]+', lambda found: found.group(1) or b"\t", text)


def _header(text: bytes, delimiter: str, quoted: bool, name: str) -> tuple[list[str], bytes]:
    """The column names in the first row, and the text below it."""
    lines: list[str] = []

    def remembered() -> Any:
        for line in io.StringIO(_sample(text), newline=""):
            lines.append(line)
            yield line

    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    try:
        cells = next(csv.reader(remembered(), delimiter=delimiter, quoting=quoting))  # type: ignore[arg-type]  # the stub wants an enum
    except (csv.Error, StopIteration) as error:
        raise DataError(f"{name} row 1: expected column names, found something unreadable ({tidy(error)})") from None
    if not cells:
        raise DataError(f"{name} row 1: expected column names, found a blank row")
    return [" ".join(cell.split()) for cell in cells], text[len("".join(lines).encode("utf-8")) :]


def _parse(body: bytes, names: list[str], delimiter: str, quoted: bool, name: str, first_row: int) -> pa.Table:
    """The cells below the header as text; every row must have as many as the header."""
    if not body.strip():
        return pa.table({str(k): pa.array([], pa.string()) for k in range(len(names))})
    if quoted and body.count(b'"') % 2:
        _refuse_open_quote(body, delimiter, name, first_row)
    ragged = _Ragged()
    try:
        return _arrow_csv(body, len(names), delimiter, quoted, ragged)
    except pa.ArrowInvalid as error:
        if ragged.row is None:
            found = "a row of more than 16 MB" if "straddling" in str(error) else tidy(error)
            raise DataError(f"{name}: expected rows of cells, found {found}; is a quotation mark left open?") from None
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
    """Passes over lines of blanks, and keeps the first row that has too few or too many cells."""

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
    """Reads once more with one thread, which alone can tell the number of the row."""
    ragged = _Ragged()
    try:
        _arrow_csv(body, width, delimiter, quoted, ragged, threads=False)
    except pa.ArrowInvalid:
        if ragged.row is not None:
            row, found = (ragged.row.number or 1) - 1 + first_row, " ".join(ragged.row.text.split())[:40]
            raise DataError(
                f"{name} row {row}: expected the same columns as the header ({width} cells), found "
                f"{ragged.row.actual_columns} cells ({found!r}); check delimiters and quotation marks"
            ) from None
    raise DataError(f"{name}: expected the same columns in every row ({width} cells), found others")


def _refuse_open_quote(body: bytes, delimiter: str, name: str, first_row: int) -> None:
    """Arrow reads a cell whose quotation mark is never closed to the end of the file; pandas says where it began."""
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
        found = re.search(r"EOF inside string starting at row (\d+)", str(error))
        if found:
            row = int(found.group(1)) + first_row
            raise DataError(
                f"{name} row {row}: expected a closing quotation mark, found the end of the file; close or remove it"
            ) from None


def _to_pandas(cells: pa.Table, names: list[str], *, seen: bool = True) -> pd.DataFrame:
    """Trimmed cells under their names; unnamed empty columns and blank rows at the end (spreadsheets) are dropped."""
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
    """The column without blanks around its cells; what is then empty or a word for nothing is missing.

    seen: whether untrimmed words for nothing are missing already.
    """
    if pa.types.is_null(column.type):  # where there is no row, Arrow forgets the type it was told
        column = column.cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(column)
    if seen and pc.sum(pc.binary_length(trimmed)) == pc.sum(pc.binary_length(column)):
        return column
    blank = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(BLANKS, column.type))
    return pc.if_else(blank, pa.scalar(None, column.type), trimmed)


# ---- workbooks and Parquet -------------------------------------------------------------------------------------------


def _workbook(raw: bytes, name: str) -> pd.DataFrame:
    """The largest sheet and those of the same columns; the others are named in `attrs`."""
    sheet, left_out = read_workbook(raw, name)
    width = max(len(sheet.header), *(len(row) for row in sheet.rows)) if sheet.rows else len(sheet.header)
    names = [*sheet.header, *[""] * (width - len(sheet.header))]
    columns = zip(*(row + [None] * (width - len(row)) for row in sheet.rows), strict=True)
    arrays = [pa.array(column, pa.string()) for column in columns] or [pa.array([], pa.string())] * width
    cells = pa.table(arrays, names=[str(k) for k in range(width)])
    table = _to_pandas(cells, names, seen=False)
    table.attrs = {FIRST_ROW: sheet.header_row + 1, SHEETS_LEFT_OUT: left_out}
    _refuse_doubled_columns(table, name)
    return table


def _parquet(raw: bytes, name: str) -> pd.DataFrame:
    try:
        arrow = pq.read_table(io.BytesIO(raw))
        arrow = pa.table(
            [_plain(c) for c in arrow.columns], names=[" ".join(str(c).split()) for c in arrow.schema.names]
        )
        # What pandas wrote as its index is a column like any other, unless it only counts rows.
        table: pd.DataFrame = arrow.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name}: expected a Parquet table, found something unreadable ({tidy(error)})") from None
    table = table[[c for c in table.columns if not _FILLED_IN.fullmatch(str(c))]] if table.columns.is_unique else table
    table.attrs = {FIRST_ROW: 1}
    _refuse_doubled_columns(table, name)
    return table


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Columns of types that pandas would keep as Python objects, as numbers, dates or text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.cast(kind.value_type))
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        return column.cast(pa.float64())
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms"))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _plain(column.cast(pa.binary()).cast(pa.string()))
    if pa.types.is_nested(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind):
        return pa.chunked_array([[None if cell is None else str(cell) for cell in column.to_pylist()]], pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _trimmed(column.cast(pa.string()), seen=False)
    return column


def _refuse_doubled_columns(table: pd.DataFrame, name: str) -> None:
    doubled = [str(c) for c in table.columns[table.columns.duplicated()]]
    if doubled:
        raise DataError(f"{name} row 1: the column {doubled[0]!r} stands there twice; rename or remove one")


def tidy(error: Exception) -> str:
    """What a library said, in one line of bounded length."""
    return " ".join(str(error).split())[:160]
