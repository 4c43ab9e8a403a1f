"""Read Excel workbooks (.xlsx) as rows of text, as if saved as CSV.

Several public data sets are only published in this format. It is a zip of XML files: one per sheet, one with the texts
that cells share, and one with the styles, without which dates look like numbers. Library readers were tried: calamine
gives what is stored (123), not what the sheet shows (00123), and no word on a formula whose result is not stored.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from mmap import mmap
from string import digits
from typing import IO
from xml.etree import ElementTree

from crm_models.core.errors import DataError
from crm_models.data.sources.frames import tidy
from crm_models.data.sources.header import header_row, joined_names
from crm_models.data.sources.receipt import counted
from crm_models.data.sources.text_encoding import once

CONTENT_TYPES = "[Content_Types].xml"
MAX_COLUMNS = 16_384
MAX_CELLS = 200_000_000
"""Most cells of a sheet, blank ones included: rows times the last column in use."""
BLANK_PER_FILLED = 50
"""From `FREE_CELLS` on, so many blank cells for each filled one are no table: one cell in the last column of each row
would take the memory of 16,384."""
FREE_CELLS = 1_000_000

DATE_FORMATS = frozenset({*range(14, 23), *range(27, 37), 45, 46, 47, *range(50, 59)})
"""Ids of the built-in number formats for dates and times (ECMA-376 part 1, 18.8.30)."""
CLOCK_FORMATS = frozenset({18, 19, 20, 21, 32, 33, 45, 46, 47, 55, 56})
"""Those of them that show no day."""

DATE, CLOCK = "date", "clock"
_POINTED = re.compile(r"-?[1-9][0-9]{0,2}\.[0-9]{3}")

EPOCHS = {False: datetime(1899, 12, 30), True: datetime(1904, 1, 1)}
"""Day 0, keyed by whether the workbook uses the 1904 date system."""
LEAP_DAY = 60
"""In the system of 1900, this is 29 February 1900, which never was: earlier days count from one day later."""
LONGEST_DAYS = 10_000
"""Up to so many days, a number shown as a time is a time of day or a duration; above, a moment whose day is hidden."""

_DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError),
    *(ElementTree.ParseError, LookupError, ValueError),
)
"""Errors raised for damaged archives and XML, for cells with invalid references, and for archives with a password or a
compression that zipfile does not know."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """The rows of one sheet below its header; rows may be shorter than the header.

    numbers: the number of each row in the sheet, from 1; header_row: that of the header. remarks: what was unusual.
    has_pointed_text: whether a text looks like 1.234, which can be either number.
    """

    name: str
    header: list[str]
    header_row: int
    rows: list[list[str | None]]
    numbers: list[int]
    remarks: tuple[str, ...] = ()
    has_pointed_text: bool = False


def is_workbook(raw: bytes | mmap) -> bool:
    """Whether the bytes are a zip with the content types file of an Office document."""
    if raw[:4] != b"PK\x03\x04":
        return False
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            return CONTENT_TYPES in archive.namelist()
    except zipfile.BadZipFile:
        return False


def read_workbook(raw: bytes | mmap, name: str) -> list[Sheet]:
    """The visible sheets that are not empty, the one with most rows first. `DataError` if there is none, or damage.

    Hidden sheets are working copies and old figures as a rule; the remarks of the first sheet name them.
    """
    hidden: list[str] = []
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            sheets = [sheet for sheet in _sheets(archive, hidden) if sheet is not None]
    except DataError as error:
        raise DataError(f"{name}, {error}") from None
    except _DAMAGED as error:
        raise DataError(f"{name}: expected a workbook (.xlsx), found one that cannot be read ({tidy(error)})") from None
    unread = f"hidden sheets ({', '.join(map(repr, hidden[:8]))})"
    if not sheets:
        found = f"{unread}; unhide the one to read" if hidden else "empty ones"
        raise DataError(f"{name}: expected a table in the first sheets, found {found}")
    first, *others = sorted(sheets, key=lambda sheet: -len(sheet.rows))
    said = (f"{unread[0].upper()}{unread[1:]} are not read.",) if hidden else ()
    return [replace(first, remarks=first.remarks + said), *others]


def _sheets(archive: zipfile.ZipFile, hidden: list[str]) -> Iterator[Sheet | None]:
    """The sheets in the order of the workbook, None for an empty one; the names of hidden ones go into the list."""
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    target = {link.get("Id"): str(link.get("Target")) for link in links}
    shared = _shared_texts(archive) if "xl/sharedStrings.xml" in archive.namelist() else []
    cells = _Cells(shared, _number_formats(archive), _counts_from_1904(book))
    for entry in book.iterfind("{*}sheets/{*}sheet"):
        if entry.get("state") in ("hidden", "veryHidden"):
            hidden.append(str(entry.get("name")))
            continue
        link = next(value for key, value in entry.items() if key.endswith("}id"))
        path = target[link]
        with archive.open(path.lstrip("/") if path.startswith("/") else f"xl/{path}") as file:
            yield _sheet(file, str(entry.get("name")), cells)


def _counts_from_1904(book: ElementTree.Element) -> bool:
    properties = book.find("{*}workbookPr")
    return properties is not None and properties.get("date1904") in ("1", "true")


def _shared_texts(archive: zipfile.ZipFile) -> list[str]:
    """The texts that cells refer to by index."""
    return [_text_in(item) for item in ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))]


def _text_in(item: ElementTree.Element) -> str:
    """The text of an element: parts of a formatted one are joined, phonetic hints left out."""
    return "".join(part.text or "" for part in [*item.iterfind("{*}t"), *item.iterfind("{*}r/{*}t")])


def _number_formats(archive: zipfile.ZipFile) -> dict[str, str]:
    """Index of a cell style to `DATE`, `CLOCK` for times without a day, or the zeros of a format such as 00000."""
    if "xl/styles.xml" not in archive.namelist():
        return {}
    styles = ElementTree.fromstring(archive.read("xl/styles.xml"))
    custom = {
        int(form.get("numFmtId", "0")): form.get("formatCode", "") for form in styles.iterfind("{*}numFmts/{*}numFmt")
    }
    formats = {}
    for k, style in enumerate(styles.iterfind("{*}cellXfs/{*}xf")):
        form = int(style.get("numFmtId", "0"))
        code = custom.get(form)
        if form in DATE_FORMATS if code is None else _shows_a_date(code):
            clock = form in CLOCK_FORMATS if code is None else _shows_no_day(code)
            formats[str(k)] = CLOCK if clock else DATE
        elif code is not None and re.fullmatch("00+", code):
            formats[str(k)] = code
    return formats


def _shows_a_date(code: str) -> bool:
    """Whether a format such as `d/m/yy h:mm` shows a date or a time."""
    plain = _signs_of(code)
    return bool(re.search(r"[dmyhs]", plain, re.IGNORECASE)) and not re.search(r"[#0?]", re.sub(r"s\.0+", "s", plain))


def _shows_no_day(code: str) -> bool:
    """Whether a format such as `h:mm` or `[h]:mm:ss` shows times alone: an m is then one of minutes."""
    return bool(re.search(r"[hs]", _signs_of(code), re.IGNORECASE)) and not re.search("[dy]", _signs_of(code), re.I)


def _signs_of(code: str) -> str:
    """A format without quoted text, colours and escaped characters; `[h]` stays."""
    return re.sub(r'"[^"]*"|\[(?!(?:h+|m+|s+)\])[^\]]*\]|\\.|_.', "", code.split(";")[0], flags=re.IGNORECASE)


class _Cells:
    """Converts a cell to its text in a CSV file. Dates are cached, because few are distinct."""

    def __init__(self, shared: list[str], formats: dict[str, str], from_1904: bool) -> None:
        text, self.twice = once("\0".join(shared))
        self.shared, self.formats, self.epoch = text.split("\0") if shared else [], formats, EPOCHS[from_1904]
        self.first_day = 0 if from_1904 else LEAP_DAY
        self.dates: dict[str, str] = {}
        self.clocks: dict[str, str] = {}
        self.without_result, self.first_without, self.has_pointed_text = 0, "", False

    def text(self, cell: ElementTree.Element) -> str | None:
        kind = cell.get("t", "n")
        if kind == "inlineStr":
            text, twice = once("".join(map(_text_in, cell.iterfind("{*}is"))))
            self.twice = self.twice or twice
            return self._noticed(text)
        value, formula = None, False
        for part in cell:  # the value comes after a formula
            formula = formula or part.tag.endswith("}f")
            if part.tag.endswith("}v"):
                value = part.text
        if value is None and formula:
            self.without_result += 1
            self.first_without = self.first_without or str(cell.get("r", ""))
        if value is None or kind == "e":
            return None
        if kind == "s":
            return self._noticed(self.shared[int(value)])
        if kind == "b":
            return "TRUE" if value == "1" else "FALSE"
        form = self.formats.get(cell.get("s", "0")) if kind == "n" else None
        if form in (DATE, CLOCK):
            return self.date(value) if form == DATE else self.clock(value)
        if form is not None and value.isdecimal():
            return value.zfill(len(form))  # the sheet shows 00123 for a stored 123, and other files have 00123
        return value

    def _noticed(self, text: str) -> str:
        self.has_pointed_text |= len(text) < 9 and _POINTED.fullmatch(text) is not None
        return text

    def date(self, serial: str) -> str:
        if serial not in self.dates:
            try:
                days = float(serial)
                if 0 <= days < 1 and self.first_day:
                    return self.clock(serial)
                days += 1 <= days < self.first_day
                # Binary fractions of a day are not exact to the microsecond.
                self.dates[serial] = str(self.epoch + timedelta(milliseconds=round(days * 86_400_000)))
            except (ValueError, OverflowError):
                self.dates[serial] = serial
        return self.dates[serial]

    def clock(self, serial: str) -> str:
        """A time of day or a duration as hours, minutes and seconds: 30:00:00 for a day and a quarter."""
        if serial not in self.clocks:
            try:
                days = float(serial)
                if not 0 <= days < LONGEST_DAYS:
                    return self.date(serial)
                minutes, milliseconds = divmod(round(days * 86_400_000), 60_000)
                seconds = f"{milliseconds / 1000:06.3f}".removesuffix(".000")
                self.clocks[serial] = f"{minutes // 60:02}:{minutes % 60:02}:{seconds}"
            except (ValueError, OverflowError):
                self.clocks[serial] = serial
        return self.clocks[serial]


def _sheet(file: IO[bytes], name: str, cells: _Cells) -> Sheet | None:
    """One sheet, read row by row; blank rows above its header are left out, and so are titles, with a remark."""
    number, filled, width = 0, 0, 0
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    cells.without_result, cells.first_without, cells.has_pointed_text = 0, "", False
    for _, element in ElementTree.iterparse(file):
        if not element.tag.endswith("}row"):
            continue
        row, number = _row(element, cells), int(element.get("r", number + 1))
        filled, width = filled + len(element), max(width, len(row))
        element.clear()  # otherwise the cells of all rows stay in memory
        _refuse_sparse(name, max(1, len(rows)) * width, filled)
        if rows or any(cell and cell.strip() for cell in row):
            rows.append(row)
            numbers.append(number)
    if not rows:
        return None
    first = [[cell or "" for cell in row] + [""] * (width - len(row)) for row in rows[:60]]
    start = header_row(first)
    joined = joined_names(first, start)
    remarks = [cells.twice] if cells.twice else []
    if start:
        above = next(cell for row in rows for cell in row if cell and cell.strip())
        remarks.append(
            f"{counted(start, 'row')} above the header {'joined to it' if joined else 'left out'}, "
            f"the first {above[:60]!r}."
        )
    if cells.without_result:
        remarks.append(
            f"{cells.without_result:,} cells hold a formula whose result the file does not store (first: "
            f"{cells.first_without}) and are missing; open the workbook in a spreadsheet and save it."
        )
    return Sheet(
        name=name,
        header=[" ".join((cell or "").split()) for cell in joined or rows[start]],
        header_row=numbers[start],
        rows=rows[start + 1 :],
        numbers=numbers[start + 1 :],
        remarks=tuple(remarks),
        has_pointed_text=cells.has_pointed_text,
    )


def _refuse_sparse(name: str, cells: int, filled: int) -> None:
    """`DataError` before a sheet takes the memory of cells that are blank."""
    if cells > MAX_CELLS or (cells > FREE_CELLS and cells > BLANK_PER_FILLED * filled):
        raise DataError(
            f"sheet {name!r}: expected a table, found {cells:,} cells of which {filled:,} are filled; "
            "delete the cells far to the right, or save the table as CSV"
        )


def _row(element: ElementTree.Element, cells: _Cells) -> list[str | None]:
    """The cells of a row by column; the file omits empty cells."""
    row: list[str | None] = []
    for cell in element:
        reference = cell.get("r")
        if reference is not None:
            index = _column_index(reference.rstrip(digits))
            if index > len(row):
                row += [None] * (index - len(row))
            elif index < len(row):
                raise ValueError(f"the cell {reference[:12]} is out of order")
        row.append(cells.text(cell))
    return row


@cache
def _column_index(letters: str) -> int:
    """The index of a column: A is 0, Z is 25, AA is 26."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    if not 0 < number <= MAX_COLUMNS:
        raise ValueError(f"there is no column {letters[:12]}")
    return number - 1
