"""Read tables: CSV in any usual packing, encoding and delimiter, Parquet, or .xlsx. `columns` converts the cells.

CSV cells are read as text, because guessed types can be wrong ("007" is an id). Row numbers in messages count the
header as row 1 and skip blank lines.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from mmap import mmap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from crm_models.core.errors import DataError
from crm_models.data.sources.archives import MAX_UNPACKED, Blocks, Raw, forget, open_bytes, unpack
from crm_models.data.sources.receipt import FIRST_ROW
from crm_models.data.sources.text_encoding import Decoded, Text, decode
from crm_models.data.sources.workbook import is_workbook, read_workbook

BLANKS = ("", "na", "n/a", "nan", "none", "null", "nil", "?", "-", "#n/a", "nat", "<na>")
"""Texts that mean a missing value; case is ignored."""

DELIMITERS = (",", ";", "\t", "|")
WHITESPACE = " "
"""The delimiter of tables whose columns are separated by any number of blanks."""

SNIFF_BYTES = 1 << 20
TITLE_LINES = 20
"""Most lines above a header that count as its title."""
FOOTER_LINES = 10
"""Most lines below a table that count as its footer."""
BLOCK_BYTES = 1 << 24
"""The block that one thread parses at a time, and so the longest row that can be read."""

DELIMITER = "delimiter"
"""Key in `DataFrame.attrs`: the delimiter of the file, which decides how `1,234` is read."""
SHEETS_LEFT_OUT = "sheets_left_out"
"""Key in `DataFrame.attrs`: the names of a workbook's sheets with other columns, which are not read."""
ENCODING = "encoding"
"""Key in `DataFrame.attrs`: the name of the encoding of a text file."""
REMARKS = "remarks"
"""Key in `DataFrame.attrs`: sentences on what was unusual about the file."""
FOOTERS = "footers"
"""Key in `DataFrame.attrs`: lines below the table that are no rows of it."""
RAGGED = "ragged"
"""Key in `DataFrame.attrs`: rows with too few or too many cells that were left out, as (row number, text)."""

TOTAL = re.compile(
    r"(?:grand |sub)?-?(?:total|totals|sum|summe|gesamt|gesamtsumme|insgesamt|zwischensumme|somme|totale|totaal|suma)"
    r"\b[^\w@]*(?:[0-9].*)?$",
    re.IGNORECASE,
)
"""What stands in the first cell of a line of totals."""

_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How files are read. encoding: of text files, found if None. words_are_blank: whether `BLANKS` are missing values
    in every column; else only empty cells are, and the column decides. skip_ragged: leave rows with too few or too many
    cells out. max_unpacked: most bytes of a packed file.
    """

    encoding: str | None = None
    words_are_blank: bool = True
    skip_ragged: bool = False
    max_unpacked: int = MAX_UNPACKED


def read_file(file: Path, options: ReadOptions | None = None) -> pd.DataFrame:
    """A CSV, Parquet or .xlsx file as a table of text (Parquet keeps its types); see `read_table`."""
    if Path(file).is_dir() and any(Path(file).rglob("*.parquet")):
        return _parquet_folder(Path(file), options or ReadOptions())
    with open_bytes(Path(file)) as raw:
        return read_table(raw, Path(file).name, options=options)


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
        return _parquet(raw, name, options.words_are_blank)
    if is_workbook(raw):
        return _workbook(raw, name, options.words_are_blank)
    decoded = decode(raw, name, options.encoding)
    forget(raw)
    remarks, encoding = _encoding_remarks(decoded), decoded.encoding
    text = _without_leading_blanks(decoded.text)
    if _is_blank(text):
        raise DataError(f"{name}: expected a table, found an empty file")
    separator = re.match(rb"sep=([,;|\t])\r?\n", text)  # a line that Excel writes and reads
    if separator:
        delimiter, text = separator.group(1).decode(), _without_leading_blanks(text[separator.end() :])
    delimiter = delimiter or sniff_delimiter(_sample(text))
    if delimiter == WHITESPACE:
        delimiter, text = "\t", _as_tab_separated(text)
    elif quoted and re.search(spaced := re.escape(delimiter).encode() + rb' +"', text):
        text = re.sub(spaced, delimiter.encode() + b'"', text)
    first_row = 1 if header else 2
    if header:
        names, body = list(header), text
    else:
        text, above = _without_title(text, delimiter)
        if above:
            first_row += len(above)
            remarks.append(f"{len(above)} lines above the header are left out, the first {above[0][:60]!r}.")
        names, body = _header(text, delimiter, quoted, name)
    layout = _Layout(len(names), delimiter, quoted, name, first_row, options.skip_ragged)
    if quoted and _escapes_by_backslash(body, delimiter):
        layout.escape = "\\"
        body = _without_backslash_n(body, delimiter)
        remarks.append("Quotation marks are escaped by a backslash, as MySQL writes them.")
    cells = _parse(body, layout)
    if layout.has_quotes:
        _refuse_swallowed_rows(cells, layout)
    columns = list(cells.columns)
    del cells, body, text, decoded
    forget(raw)
    table = _to_pandas(columns, names, options.words_are_blank)
    table.attrs = {
        FIRST_ROW: first_row,
        DELIMITER: delimiter,
        ENCODING: encoding,
        REMARKS: remarks,
        FOOTERS: layout.footers,
        RAGGED: layout.left_out,
    }
    _refuse_duplicate_columns(table, name)
    return table


def _encoding_remarks(decoded: Decoded) -> list[str]:
    """What a user should know about the encoding of a file; nothing for plain UTF-8."""
    if decoded.stray:
        return [
            f"{decoded.stray} bytes are not UTF-8 as the others are, the first in line {decoded.stray_line}; read as "
            f"Western European there: {decoded.sample!r}."
        ]
    if decoded.guessed:
        return [
            f"The file is not UTF-8; its encoding was taken for {decoded.encoding}: {decoded.sample}. If these words "
            "are wrong, choose another encoding (--encoding)."
        ]
    return []


# ---- text to cells ---------------------------------------------------------------------------------------------------


def _without_leading_blanks(text: Text) -> Text:
    """The text without leading blank lines."""
    blank = re.match(rb"(?:[ \t]*(?:\r\n|\r|\n))+", text)
    return text[blank.end() :] if blank else text


def _sample(text: Text) -> str:
    """The first megabyte of a text, cut at a line end: half a row would mislead `sniff_delimiter`."""
    sample = bytes(text[:SNIFF_BYTES])
    if len(text) > SNIFF_BYTES and b"\n" in sample:
        sample = sample[: sample.rindex(b"\n") + 1]
    return sample.decode("utf-8", errors="ignore")


def _without_title(text: Text, delimiter: str) -> tuple[Text, list[str]]:
    """The text from its header on, and the lines above it: titles that fill one cell above a table of several."""
    lines = _sample(text[:SNIFF_BYTES]).splitlines(keepends=True)[:60]
    try:
        widths = [len(row) for line in lines for row in csv.reader([line], delimiter=delimiter)]
    except csv.Error:
        return text, []
    usual = max(set(widths), key=widths.count) if widths else 1
    filled = [k for k, line in enumerate(lines) if line.strip()]
    if len(widths) != len(lines) or usual < 2 or not filled or usual not in widths[: TITLE_LINES + 1]:
        return text, []
    start = widths.index(usual)
    above = lines[:start]
    if not above or not all(_fills_one_cell(line, delimiter) for line in above) or '"' in "".join(above):
        return text, []
    return text[len("".join(above).encode()) :], [line.strip() for line in above]


def _fills_one_cell(line: str, delimiter: str) -> bool:
    return sum(bool(cell.strip()) for cell in line.split(delimiter)) <= 1


def _escapes_by_backslash(body: Text, delimiter: str) -> bool:
    """Whether a quotation mark within a cell is written as backslash and mark, not doubled."""
    return bool(re.search(rb'\\"[^"\r\n' + re.escape(delimiter).encode() + rb"]", body))


def _without_backslash_n(body: Text, delimiter: str) -> Text:
    """The text with MySQL's \\N, which means no value, as empty cells: it is not an escaped N."""
    mark = re.escape(delimiter).encode()
    return re.sub(rb"(^|[\r\n" + mark + rb"])\\N(?=[\r\n" + mark + rb"]|$)", rb"\1", body)


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


def _as_tab_separated(text: Text) -> bytes:
    """A blank-separated table with tabs as delimiters; blanks within quotation marks are kept."""
    trimmed = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", text)
    if b'"' not in trimmed:
        return re.sub(rb"[ \t]+", b"\t", trimmed)
    return re.sub(rb'("[^"\n]*")|[ \t]+', lambda match: match.group(1) or b"\t", trimmed)


def _header(text: Text, delimiter: str, quoted: bool, name: str) -> tuple[list[str], Text]:
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


@dataclass
class _Layout:
    """How the rows of a text are laid out, and what was left out while they were parsed."""

    width: int
    delimiter: str
    quoted: bool
    name: str
    first_row: int
    skip_ragged: bool
    escape: str | None = None
    has_quotes: bool = False
    footers: list[str] = field(default_factory=list)
    left_out: list[tuple[int, str]] = field(default_factory=list)


def _parse(body: Text, layout: _Layout) -> pa.Table:
    """The cells below the header as text; every row must have as many cells as the header."""
    if _is_blank(body):
        return pa.table({str(k): pa.array([], pa.string()) for k in range(layout.width)})
    n_quotes = _count(body, b'"') if layout.quoted else 0
    layout.has_quotes = n_quotes > 0
    if n_quotes % 2 and not layout.escape:
        _refuse_open_quote(body, layout)
    ragged = _Ragged()
    try:
        return _arrow_csv(body, layout, ragged)
    except pa.ArrowInvalid as error:
        if not ragged.rows:
            problem = "a row of more than 16 MB" if "straddling" in str(error) else tidy(error)
            raise DataError(
                f"{layout.name}: expected rows of cells, found {problem}; is a quotation mark left open?"
            ) from None
    if ragged.rows[0].actual_columns == layout.width + 1:
        # Some programs end every row below the header with a delimiter.
        try:
            longer = _arrow_csv(body, replace(layout, width=layout.width + 1), _Ragged())
            if longer.column(layout.width).null_count == len(longer):
                return longer.select(range(layout.width))
        except pa.ArrowInvalid:
            pass
    return _without_ragged(body, layout)


def _is_blank(text: Text) -> bool:
    return re.match(rb"\s*\Z", text) is not None


def _count(text: Text, byte: bytes) -> int:
    """How often a byte occurs, a block at a time."""
    return sum(bytes(text[k : k + BLOCK_BYTES]).count(byte) for k in range(0, len(text), BLOCK_BYTES))


class _Ragged:
    """Row handler for Arrow: skips blank lines and keeps rows with too few or too many cells: all, or the first."""

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.rows: list[pa_csv.InvalidRow] = []

    def __call__(self, row: pa_csv.InvalidRow) -> str:
        if not row.text.strip():
            return "skip"
        self.rows.append(row)
        return "skip" if self.skip else "error"


def _arrow_csv(body: Text, layout: _Layout, ragged: _Ragged, *, threads: bool = True) -> pa.Table:
    columns = [str(k) for k in range(layout.width)]
    is_mapped = isinstance(body, memoryview) and isinstance(body.obj, mmap)
    return pa_csv.read_csv(
        pa.PythonFile(Blocks(memoryview(body))) if is_mapped else pa.BufferReader(pa.py_buffer(body)),
        read_options=pa_csv.ReadOptions(column_names=columns, use_threads=threads, block_size=BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(
            delimiter=layout.delimiter,
            quote_char='"' if layout.quoted else False,
            escape_char=layout.escape or False,
            newlines_in_values=layout.has_quotes,
            invalid_row_handler=ragged,
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )


def _without_ragged(body: Text, layout: _Layout) -> pa.Table:
    """The rows with as many cells as the header. Short lines at the very end are a footer; `DataError` for others.

    Arrow reports row numbers only when reading in one thread.
    """
    ragged = _Ragged(skip=True)
    cells = _arrow_csv(body, layout, ragged, threads=False)
    n_rows = len(cells) + len(ragged.rows)
    rows = [(row.number or 1, row.actual_columns, " ".join(row.text.split())) for row in ragged.rows]
    footer = [row for k, row in enumerate(rows) if len(cells) and _is_footer(rows, k, n_rows, layout)]
    layout.footers = [text for _, _, text in footer]
    others = [row for row in rows if row not in footer]
    if others and not layout.skip_ragged:
        number, n_cells, text = others[0]
        raise DataError(
            f"{layout.name} row {number - 1 + layout.first_row}: expected the same columns as the header "
            f"({layout.width} cells), found {n_cells} cells ({text[:40]!r}); check delimiters and quotation marks"
        )
    layout.left_out = [(number - 1 + layout.first_row, text) for number, _, text in others]
    return cells


def _is_footer(rows: list[tuple[int, int, str]], k: int, n_rows: int, layout: _Layout) -> bool:
    """Whether the ragged row k and all below it are short lines of words: a source, a date, a total."""
    below = rows[k:]
    if len(below) > FOOTER_LINES or below[-1][0] - below[0][0] + 1 != len(below) or below[-1][0] < n_rows:
        return False
    return all(
        n < layout.width and (" " in text.split(layout.delimiter)[0].strip() or TOTAL.match(text))
        for _, n, text in below
    )


def _refuse_swallowed_rows(cells: pa.Table, layout: _Layout) -> None:
    """`DataError` if a cell holds the end of its row, whole rows, and the beginning of another.

    Two marks that were left open make one cell of all between them, and the rows are gone without a trace.
    """
    mark = re.escape(layout.delimiter)
    last = layout.width - 1

    def line(n: int) -> str:
        """A line with n delimiters, none of which is followed by a blank, as it is in a sentence."""
        return rf"[^\n{mark}]*(?:{mark}[^ \n{mark}][^\n{mark}]*){{{n}}}"

    whole = rf"[^\n{mark}]*(?:{mark}[^\n{mark}]*){{{last}}}"
    for k, column in enumerate(cells.columns if last else []):
        rest_of_row, begun = line(last - k), line(k)
        swallowed = pc.match_substring_regex(column, rf"\A{rest_of_row}\r?\n(?:{line(last)}\r?\n)*{begun}\z")
        swallowed = pc.or_(swallowed, pc.match_substring_regex(column, rf"\n{whole}\n{whole}\n"))
        if pc.any(swallowed).as_py():
            number = int(pc.index(swallowed, True).as_py())
            lines = str(column[number].as_py()).count("\n")
            raise DataError(
                f"{layout.name} row {number + layout.first_row}: expected cells of one row, found a quotation mark "
                f"that opens here and closes {lines:,} lines below; remove the mark or write it twice"
            )


def _refuse_open_quote(body: Text, layout: _Layout) -> None:
    """`DataError` if a quotation mark is never closed: Arrow reads to the end of the file, pandas reports the row."""
    try:
        pd.read_csv(
            io.BytesIO(bytes(body)),
            sep=layout.delimiter,
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
            row = int(match.group(1)) + layout.first_row
            raise DataError(
                f"{layout.name} row {row}: expected a closing quotation mark, found the end of the file; close or "
                "remove it"
            ) from None


def _to_pandas(cells: list[pa.ChunkedArray], names: list[str], words_are_blank: bool) -> pd.DataFrame:
    """Trimmed cells as a table, without empty unnamed columns and trailing blank rows (both from spreadsheets).

    The list is emptied column by column, so that one column at a time is in memory twice.
    """
    columns: list[pa.ChunkedArray] = []
    while cells:
        columns.insert(0, _trimmed(cells.pop(), words_are_blank))
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
    return table


def _trimmed(column: pa.ChunkedArray, words_are_blank: bool) -> pa.ChunkedArray:
    """The column without blanks around its cells; empty cells, and `BLANKS` if they are blank, become missing."""
    if pa.types.is_null(column.type):  # without rows, Arrow ignores the given type
        column = column.cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(column)
    if words_are_blank:
        blank = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(BLANKS, column.type))
    else:
        blank = pc.equal(trimmed, "")
    if pc.any(blank).as_py():
        return pc.if_else(blank, pa.scalar(None, column.type), trimmed)
    # Cells with nothing to trim stay the ones that were read, so that the copy is freed.
    return column if pc.sum(pc.binary_length(trimmed)) == pc.sum(pc.binary_length(column)) else trimmed


# ---- workbooks and Parquet -------------------------------------------------------------------------------------------


def _workbook(raw: Raw, name: str, words_are_blank: bool) -> pd.DataFrame:
    """The largest sheet and those with the same columns; the names of the others are in `attrs`."""
    sheet, left_out = read_workbook(raw, name)
    width = max(len(sheet.header), *(len(row) for row in sheet.rows)) if sheet.rows else len(sheet.header)
    names = [*sheet.header, *[""] * (width - len(sheet.header))]
    columns = zip(*(row + [None] * (width - len(row)) for row in sheet.rows), strict=True)
    arrays = [pa.chunked_array([pa.array(column, pa.string())]) for column in columns]
    arrays = arrays or [pa.chunked_array([], pa.string())] * width
    table = _to_pandas(list(arrays), names, words_are_blank)
    remarks = []
    if sheet.without_result:
        remarks.append(
            f"{sheet.without_result:,} cells hold a formula whose result the file does not store (first: "
            f"{sheet.first_without}) and are missing; open the workbook in a spreadsheet and save it."
        )
    table.attrs = {FIRST_ROW: sheet.header_row + 1, SHEETS_LEFT_OUT: left_out, REMARKS: remarks}
    _refuse_duplicate_columns(table, name)
    return table


def _parquet(raw: Raw, name: str, words_are_blank: bool = True) -> pd.DataFrame:
    return from_arrow(lambda: pq.read_table(pa.BufferReader(pa.py_buffer(raw))), name, words_are_blank)


def _parquet_folder(folder: Path, options: ReadOptions) -> pd.DataFrame:
    """A table in parts, as Spark and warehouses write it; folders such as `year=2026` are columns."""
    return from_arrow(lambda: pq.read_table(folder), folder.name, options.words_are_blank)


def from_arrow(read: Callable[[], pa.Table], name: str, words_are_blank: bool) -> pd.DataFrame:
    """An Arrow table as a table; `DataError` if reading it fails."""
    try:
        arrow = read()
        names = [" ".join(str(c).split()) for c in arrow.schema.names]
        arrow = pa.table([_as_pandas_type(c, words_are_blank) for c in arrow.columns], names=names)
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


def _as_pandas_type(column: pa.ChunkedArray, words_are_blank: bool) -> pa.ChunkedArray:
    """Convert types that pandas would store as Python objects, or as floats, to numbers, dates or text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_pandas_type(column.cast(kind.value_type), words_are_blank)
    if pa.types.is_decimal(kind):
        # Databases export whole numbers, ids among them, as decimals of 38 digits: floats keep 15 of them.
        return column.cast(pa.string()) if kind.scale == 0 else column.cast(pa.float64())
    if pa.types.is_integer(kind) and column.null_count:
        return column.cast(pa.string())  # pandas would make floats of them
    if pa.types.is_float16(kind):
        return column.cast(pa.float64())
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms"))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _as_pandas_type(column.cast(pa.binary()).cast(pa.string()), words_are_blank)
    if pa.types.is_nested(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind):
        return pa.chunked_array([[None if cell is None else str(cell) for cell in column.to_pylist()]], pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _trimmed(column.cast(pa.string()), words_are_blank)
    return column


def _refuse_duplicate_columns(table: pd.DataFrame, name: str) -> None:
    duplicates = [str(c) for c in table.columns[table.columns.duplicated()]]
    if duplicates:
        raise DataError(f"{name} row 1: duplicate column {duplicates[0]!r}; rename or remove one")


def tidy(error: Exception) -> str:
    """The message of a library error as one line of at most 160 characters."""
    return " ".join(str(error).split())[:160]
