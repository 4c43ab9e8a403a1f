"""Text to cells: the delimiter, the header, and the rows below it, parsed by Arrow as text.

Row numbers count every line from the top of the file, blank ones included; a cell of several lines is one row.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import mmap

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from crm_models.core.errors import DataError
from crm_models.data.sources.archives import MAPPED, Blocks
from crm_models.data.sources.frames import tidy
from crm_models.data.sources.header import header_row, joined_names
from crm_models.data.sources.receipt import counted
from crm_models.data.sources.rows import FOOTER_LINES, TOTAL
from crm_models.data.sources.text_encoding import Text

DELIMITERS = (",", ";", "\t", "|", "~", "^", "\x01")
_END = re.compile(r"\W+|EOF|END|FIN", re.IGNORECASE)
"""What else than a sentence or a total may stand below a table."""
_WHOLE_LINE = rb'"((?:[^"\r\n]|"")*[,;\t|](?:[^"\r\n]|"")*)"[,;\t]*'
"""A line that a spreadsheet has taken for one cell."""
WHITESPACE = " "
"""The delimiter of tables whose columns are separated by any number of blanks."""
SNIFF_BYTES = 1 << 20
BLOCK_BYTES = 1 << 24
"""The block that one thread parses at a time, and so the longest row that can be read."""


@dataclass(kw_only=True)
class Layout:
    """How the rows of a text are laid out, and what was found while they were parsed.

    first_row: number of the first row below the header. rows: the number of each row, from 0 for the first; None if
    they follow each other. footers: lines below the table; left_out: rows with too few or too many cells, as (row
    number, text). remarks: what was unusual.
    """

    width: int
    delimiter: str
    name: str
    first_row: int
    quote: str | bool = '"'
    skip_ragged: bool = False
    escape: str | None = None
    has_quotes: bool = False
    rows: np.ndarray | None = None
    footers: list[str] = field(default_factory=list)
    left_out: list[tuple[int, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def parse_text(
    text: Text, name: str, header: list[str] | None, delimiter: str | None, *, quoted: bool, skip_ragged: bool
) -> tuple[pa.Table, list[str], Layout]:
    """The cells of a text, the names of its columns, and its layout. header: for a text without one."""
    text, above = _without_leading_blanks(text)
    if _is_blank(text):
        raise DataError(f"{name}: expected a table, found an empty file")
    begins_whole = quoted and re.match(_WHOLE_LINE + rb'\r?\n"', text) is not None
    whole_lines = begins_whole and not re.search(rb"(?m)^(?!" + _WHOLE_LINE + rb"\r?$)[^\r\n]", text)
    if whole_lines:
        text = re.sub(rb"(?m)" + _WHOLE_LINE + rb"(?=\r?$)", lambda line: line[1].replace(b'""', b'"'), bytes(text))
    separator = re.match(rb"sep=([,;|\t])\r?\n", text)  # a line that Excel writes and reads
    if separator:
        delimiter = separator.group(1).decode()
        text, n_lines = _without_leading_blanks(text[separator.end() :])
        above += 1 + n_lines
    delimiter = delimiter or sniff_delimiter(_sample(text))
    if delimiter == WHITESPACE:
        delimiter, text = "\t", _as_tab_separated(text)
    mark = re.escape(delimiter).encode()
    end = _last(text, b'"') + 1 if quoted else 0  # a pattern takes ten times as long as looking for one byte
    behind = len(text) - end
    blank_before_quote = mark + rb' +"(?!"[^\r\n' + mark + rb"])"  # two marks within a cell are one of its text
    if re.search(blank_before_quote, text[:end]):
        text = re.sub(blank_before_quote, mark[-1:] + b'"', text)
    quote: str | bool = '"' if quoted else False
    if quoted and re.match(rb"'[^'\r\n]*'(?:" + mark + rb"'[^'\r\n]*')+[ \t]*\r?(?:\n|\Z)", text):
        quote = "'"
    layout = Layout(width=0, delimiter=delimiter, name=name, first_row=1 + above, quote=quote, skip_ragged=skip_ragged)
    names, body = (list(header), text) if header else _header(text, layout)
    layout.width = len(names)
    if re.search(rb'\\"[^"\r\n' + mark + rb"]", body[: max(0, len(body) - behind + 1)]):
        layout.escape, body = "\\", _without_backslash_n(body, mark)
        if re.search(rb'(?:^|[^\\])(?:\\\\)*\\[^\\"\r\n' + mark + rb"]", body):
            body = re.sub(rb'\\(?!")', rb"\\\\", body)  # they escape nothing else, as in c:\new
        layout.remarks.append("Quotation marks are escaped by a backslash, as MySQL writes them.")
    if whole_lines:
        layout.remarks.append("Quotation marks around whole lines are left out.")
    cells = _parse(body, layout)
    if layout.has_quotes:
        _refuse_swallowed_rows(cells, layout)
        _point_out_text_behind(body, layout)
    return cells, names, layout


def _is_blank(text: Text) -> bool:
    return re.match(rb"\s*\Z", text) is not None


def _without_leading_blanks(text: Text) -> tuple[Text, int]:
    """The text without leading blank lines, and their number."""
    blank = re.match(rb"(?:[ \t]*(?:\r\n|\r|\n))+", text)
    return (text[blank.end() :], _n_lines(blank.group())) if blank else (text, 0)


def _without_last_ends(text: Text) -> Text:
    end = len(text)
    while end and bytes(text[end - 1 : end]) in b"\r\n":
        end -= 1
    return text[:end]


def _n_lines(text: Text) -> int:
    """The number of line ends."""
    return _count(text, b"\n") or _count(text, b"\r")


def _count(text: Text, byte: bytes) -> int:
    """How often a byte occurs, a block at a time."""
    return sum(bytes(text[k : k + BLOCK_BYTES]).count(byte) for k in range(0, len(text), BLOCK_BYTES))


def _last(text: Text, byte: bytes) -> int:
    """Where a byte occurs for the last time, -1 if it does not."""
    for end in range(len(text), 0, -BLOCK_BYTES):
        start = max(0, end - BLOCK_BYTES)
        place = bytes(text[start:end]).rfind(byte)
        if place >= 0:
            return start + place
    return -1


def _sample(text: Text) -> str:
    """The first megabyte of a text, cut at a line end: half a row would mislead `sniff_delimiter`."""
    sample = bytes(text[:SNIFF_BYTES])
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


def _as_tab_separated(text: Text) -> bytes:
    """A blank-separated table with tabs as delimiters; blanks within quotation marks are kept."""
    trimmed = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", text)
    if b'"' not in trimmed:
        return re.sub(rb"[ \t]+", b"\t", trimmed)
    return re.sub(rb'("[^"\n]*")|[ \t]+', lambda match: match.group(1) or b"\t", trimmed)


def _without_backslash_n(body: Text, mark: bytes) -> Text:
    """The text with MySQL's \\N, which means no value, as empty cells: it is not an escaped N."""
    return re.sub(rb"(^|[\r\n" + mark + rb"])\\N(?=[\r\n" + mark + rb"]|$)", rb"\1", bytes(body))


def _header(text: Text, layout: Layout) -> tuple[list[str], Text]:
    """The column names, and the text below them; titles above them are left out with a remark."""
    rows, ends = _first_rows(text, layout)
    start = header_row(rows)
    names, end = joined_names(rows, start) or rows[start], ends[start]
    if not names:
        raise DataError(f"{layout.name} row 1: expected column names, found a blank row")
    if start:
        above = next(" ".join(filter(None, map(str.strip, row))) for row in rows if any(map(str.strip, row)))
        lines = counted(_n_lines(ends[start - 1].encode()), "line")
        what = "left out" if names is rows[start] else "joined to it"
        layout.remarks.append(f"{lines} above the header {what}, the first {above[:60]!r}.")
    layout.first_row += _n_lines(end.encode())
    return [" ".join(cell.split()) for cell in names], text[len(end.encode()) :]


def _first_rows(text: Text, layout: Layout) -> tuple[list[list[str]], list[str]]:
    """The first 60 rows, and the text up to the end of each."""
    read: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(_sample(text), newline=""):
            read.append(line)
            yield line

    rows, ends = [], []
    reader = csv.reader(
        lines(),
        delimiter=layout.delimiter,
        quotechar=str(layout.quote or '"'),
        quoting=csv.QUOTE_MINIMAL if layout.quote else csv.QUOTE_NONE,
    )
    try:
        for row in itertools.islice(reader, 60):
            rows.append(row)
            ends.append("".join(read))
    except csv.Error as error:
        if not rows:
            problem = f"expected column names, found an unreadable row ({error})"
            raise DataError(f"{layout.name} row 1: {problem}") from None
    return rows, ends


# ---- rows ------------------------------------------------------------------------------------------------------------


def _parse(body: Text, layout: Layout) -> pa.Table:
    """The cells below the header as text; every row must have as many cells as the header."""
    if _is_blank(body):
        return pa.table({str(k): pa.array([], pa.string()) for k in range(layout.width)})
    n_quotes = _count(body, str(layout.quote).encode()) if layout.quote else 0
    layout.has_quotes = n_quotes > 0
    if n_quotes % 2 and not layout.escape:
        _refuse_open_quote(body, layout)
    ragged = _Ragged()
    try:
        cells = _arrow_csv(body, layout, ragged)
    except pa.ArrowInvalid as error:
        if not ragged.rows:
            problem = "a row of more than 16 MB" if "straddling" in str(error) else tidy(error)
            raise DataError(
                f"{layout.name}: expected rows of cells, found {problem}; is a quotation mark left open?"
            ) from None
        return _without_ragged(_without_surplus(body, layout), layout)
    if len(cells) < _n_lines(_without_last_ends(body)) + 1:  # blank lines, or cells of several lines
        numbers = _row_numbers(body, layout)
        if len(numbers) == len(cells):
            layout.rows = numbers
        elif len(body) < MAPPED:
            return _without_ragged(body, layout)
        else:
            layout.remarks.append("Row numbers leave out blank lines, because the file is large.")
    return cells


def _without_surplus(body: Text, layout: Layout) -> Text:
    """The text without empty cells at the end of rows that have more cells than the header."""
    mark, quote = (re.escape(str(sign or "")).encode() for sign in (layout.delimiter, layout.quote))
    cell = rb"[^%b\r\n]*" % (mark + quote)
    if layout.quote:
        cell = rb"(?:%b|%b[^%b]*(?:%b%b[^%b]*)*%b)" % (cell, *[quote] * 6)
    empty = rb"%b *(?:%b%b)?" % (mark, quote, quote)
    surplus = re.compile(rb"(?m)^(%b(?:%b%b){%d})(?:%b)+(?=\r?$)" % (cell, mark, cell, layout.width - 1, empty))
    first = surplus.search(body)
    if first is None:
        return body
    row = _n_lines(body[: first.start()]) + layout.first_row
    text, n = surplus.subn(rb"\1", bytes(body))
    if n < _n_lines(_without_last_ends(body)) + 1:  # some programs end every row with a delimiter
        rows = counted(n, "row")
        layout.remarks.append(f"Empty cells behind the last column of {rows} are left out (first: row {row}).")
    return text


class _Ragged:
    """Row handler for Arrow: skips blank lines and keeps rows with too few or too many cells: all, or the first."""

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.rows: list[pa_csv.InvalidRow] = []
        self.blank: list[int] = []

    def __call__(self, row: pa_csv.InvalidRow) -> str:
        if not row.text.strip():
            self.blank.append(row.number or 0)
            return "skip"
        self.rows.append(row)
        return "skip" if self.skip else "error"


def _arrow_csv(body: Text, layout: Layout, ragged: _Ragged, *, threads: bool = True) -> pa.Table:
    columns = [str(k) for k in range(layout.width)]
    is_mapped = isinstance(body, memoryview) and isinstance(body.obj, mmap)
    return pa_csv.read_csv(
        pa.PythonFile(Blocks(memoryview(body))) if is_mapped else pa.BufferReader(pa.py_buffer(body)),
        read_options=pa_csv.ReadOptions(column_names=columns, use_threads=threads, block_size=BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(
            delimiter=layout.delimiter,
            quote_char=layout.quote,
            escape_char=layout.escape or False,
            newlines_in_values=layout.has_quotes,
            invalid_row_handler=ragged,
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )


def _without_ragged(body: Text, layout: Layout) -> pa.Table:
    """The rows with as many cells as the header. Short lines at the very end are a footer; `DataError` for others.

    Arrow numbers rows only when reading in one thread, and passes over blank lines.
    """
    ragged = _Ragged(skip=True)
    cells = _arrow_csv(body, layout, ragged, threads=False)
    numbers = _row_numbers(body, layout)
    left_out = [row.number or 1 for row in ragged.rows]
    n_rows = len(cells) + len(left_out) + len(ragged.blank)
    if len(numbers) != n_rows:
        numbers = np.arange(n_rows)
    layout.rows = np.delete(numbers, [number - 1 for number in (*left_out, *ragged.blank)])
    rows = [
        (int(numbers[number - 1]), row.actual_columns, row.text.strip())
        for number, row in zip(left_out, ragged.rows, strict=True)
    ]
    n_inside = _without_footers(rows, int(layout.rows[-1]) if len(cells) else -1, layout)
    layout.footers = [" ".join(text.split()) for _, _, text in rows[n_inside:]]
    others = rows[:n_inside]
    if others and not layout.skip_ragged:
        number, n_cells, text = others[0]
        begins = " ".join(text.split())[:40]
        raise DataError(
            f"{layout.name} row {number + layout.first_row}: expected the same columns as the header "
            f"({layout.width} cells), found {n_cells} cells ({begins!r}); check delimiters and quotation marks"
        )
    # A mark that was left open makes one row of several lines: each of them is left out.
    layout.left_out = [
        (number + layout.first_row, " ".join(line.split())) for number, _, text in others for line in text.splitlines()
    ]
    return cells


def _row_numbers(body: Text, layout: Layout) -> np.ndarray:
    """The number of each row that is not empty, counted from 0 with the empty ones; none for large quoted text."""
    if not layout.has_quotes:
        return _filled_lines(body)
    if len(body) >= MAPPED:
        return np.zeros(0, dtype=np.int64)
    text = io.TextIOWrapper(io.BytesIO(bytes(body)), "utf-8", newline="")
    rows = csv.reader(text, delimiter=layout.delimiter, quotechar=str(layout.quote), escapechar=layout.escape)
    try:
        return np.flatnonzero([len(row) > 0 for row in rows])
    except csv.Error:
        return np.zeros(0, dtype=np.int64)


def _filled_lines(body: Text) -> np.ndarray:
    """The number of each line that is not empty, counted from 0."""
    letters = np.frombuffer(body, np.uint8)
    end = ord("\n") if _count(body, b"\n") else ord("\r")
    blocks = range(0, len(letters), BLOCK_BYTES)
    ends = np.concatenate([np.flatnonzero(letters[k : k + BLOCK_BYTES] == end) + k for k in blocks])
    starts, ends = np.append(0, ends + 1), np.append(ends, len(letters))
    filled = ends > starts
    filled[filled] = (ends[filled] > starts[filled] + 1) | (letters[starts[filled]] != ord("\r"))
    return np.flatnonzero(filled)


def _without_footers(rows: list[tuple[int, int, str]], last: int, layout: Layout) -> int:
    """How many ragged rows are no footers: short lines of words below the last row of the table."""
    start = len(rows)
    while start and rows[start - 1][0] > last >= 0 and len(rows) - start < FOOTER_LINES:
        _, n, text = rows[start - 1]
        first = text.split(layout.delimiter)[0].strip()
        if n >= layout.width or not (" " in first or TOTAL.match(text) or _END.fullmatch(text)):
            break
        start -= 1
    return start


# ---- quotation marks -------------------------------------------------------------------------------------------------


def _refuse_swallowed_rows(cells: pa.Table, layout: Layout) -> None:
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
            row = (number if layout.rows is None else int(layout.rows[number])) + layout.first_row
            raise DataError(
                f"{layout.name} row {row}: expected cells of one row, found a quotation mark "
                f"that opens here and closes {lines:,} lines below; remove the mark or write it twice"
            )


def _point_out_text_behind(body: Text, layout: Layout) -> None:
    """A remark on a cell such as "big" x, which goes on behind its closing mark: the marks are dropped."""
    quote, mark = re.escape(str(layout.quote)).encode(), re.escape(layout.delimiter).encode()
    if layout.escape:
        return
    cell = rb"(?:^|[%b\n])%b[^\r\n%b]*%b[^\r\n%b%b][^\r\n%b]*"
    behind = re.search(cell % (mark, quote, quote, quote, mark, quote, mark), body)
    if behind:
        row = _n_lines(body[: behind.start()]) + layout.first_row
        text = bytes(behind.group()).decode(errors="replace").strip(f"\n{layout.delimiter}")[:40]
        layout.remarks.append(f"A cell near row {row} goes on behind its closing quotation mark ({text}).")


def _refuse_open_quote(body: Text, layout: Layout) -> None:
    """`DataError` with the row of a quotation mark that is never closed: Arrow would read to the end of the file."""
    text = io.TextIOWrapper(io.BytesIO(bytes(body)), "utf-8", newline="")
    row = layout.first_row
    try:
        for _ in csv.reader(text, delimiter=layout.delimiter, quotechar=str(layout.quote), strict=True):
            row += 1
    except csv.Error as error:
        if "unexpected end of data" in str(error):
            raise DataError(
                f"{layout.name} row {row}: expected a closing quotation mark, found the end of the file; close or "
                "remove it"
            ) from None
