"""Tables from files as people have them: any usual delimiter, encoding, decimal mark, date and yes/no.

Everything is read as text first, because a file's own types are guesses; then each column is turned into what it is
needed as, or refused by file, row and column. Rows are counted as a person sees them: the header is row 1.
"""

from __future__ import annotations

import csv
import gzip
import io
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crm_models.errors import DataError

BLANKS = ("", "na", "n/a", "nan", "none", "null", "nil", "?", "-", "#n/a", "nat")
"""What stands for a missing value, in any case."""

YES = ("yes", "y", "true", "t", "1", "1.0")
NO = ("no", "n", "false", "f", "0", "0.0")

ENCODINGS = ("utf-8-sig", "cp1252", "latin-1")
DELIMITERS = (",", ";", "\t", "|")
SNIFF_BYTES = 1 << 20

DATE_FORMATS = (
    "ISO8601",
    "%Y%m%d",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%Y/%m/%d",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
)
SLASHED = ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y")
CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")

UNIX_SECONDS = (1e8, 1e11)
UNIX_MILLISECONDS = (1e11, 1e14)
"""Numbers of these sizes are taken for moments since 1970: from 1973 on, in seconds or milliseconds."""


# ---- files to text ---------------------------------------------------------------------------------------------------


def read_bytes(file: Path) -> bytes:
    """The content of a file, unpacked if it is .gz or a .zip of one file. `DataError` where that fails."""
    try:
        raw = file.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            return gzip.decompress(raw)
        if raw[:4] == b"PK\x03\x04" and file.suffix.lower() == ".zip":
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                names = [n for n in archive.namelist() if not n.endswith("/")]
                if len(names) != 1:
                    raise DataError(
                        f"{file.name}: expected one file in the archive, found {len(names)}; unpack it first"
                    )
                return archive.read(names[0])
    except FileNotFoundError:
        raise DataError(f"{file}: expected a file, found none") from None
    except IsADirectoryError:
        raise DataError(f"{file}: expected a file, found a folder") from None
    except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file.name}: expected a packed file, found a damaged one ({error})") from None
    return raw


def read_file(file: Path) -> pd.DataFrame:
    """A CSV or Parquet file as a table of text (Parquet keeps its types); see `read_table`."""
    return read_table(read_bytes(Path(file)), Path(file).name)


def read_table(raw: bytes, name: str, *, header: list[str] | None = None) -> pd.DataFrame:
    """A table from the bytes of a CSV or Parquet file called `name`.

    CSV columns are text with missing values as NaN; Parquet columns keep their types. header: column names for a file
    that has none. `DataError` where the bytes are no table: empty, binary, ragged, or with doubled columns.
    """
    if raw[:4] == b"PAR1":
        return _parquet(raw, name)
    text = decode(raw, name)
    if not text.strip():
        raise DataError(f"{name}: expected a table, found an empty file")
    delimiter = sniff_delimiter(text[:SNIFF_BYTES])
    table = _parse(text, name, delimiter, header)
    table.columns = [" ".join(str(c).split()) for c in table.columns]
    _refuse_doubled_columns(table, name)
    return table


def decode(raw: bytes, name: str) -> str:
    """Text from bytes: UTF-8, UTF-16 with its mark, else Windows-1252. `DataError` for binary data."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        try:
            return raw.decode("utf-16")
        except UnicodeDecodeError:
            raise DataError(f"{name}: expected text, found damaged UTF-16; save it as UTF-8") from None
    if raw[:4] == b"PK\x03\x04":
        raise DataError(f"{name}: expected CSV or Parquet, found a spreadsheet or archive; save it as CSV")
    if b"\0" in raw[:SNIFF_BYTES]:
        raise DataError(f"{name}: expected a table as text, found binary data; save it as CSV or Parquet")
    for encoding in ENCODINGS:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        sample = text[:4096]
        odd = sum(1 for c in sample if ord(c) < 32 and c not in "\t\r\n\f\v")
        if odd > 0.02 * max(len(sample), 1):
            raise DataError(f"{name}: expected a table as text, found binary data; save it as CSV or Parquet")
        return text
    raise DataError(f"{name}: expected text in a known encoding; save it as UTF-8")


def sniff_delimiter(text: str) -> str:
    """The delimiter of a table: the one that cuts most lines into the same number of cells; blanks if none does."""
    lines = [line for line in text.splitlines()[:200] if line.strip()]
    best, best_score = ",", 0.0
    for delimiter in DELIMITERS:
        try:
            widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        except csv.Error:
            continue
        usual = max(set(widths), key=widths.count)
        score = (widths.count(usual) / len(widths)) * min(usual - 1, 3)
        if score > best_score:
            best, best_score = delimiter, score
    if best_score == 0 and lines and len(lines[0].split()) > 1:
        widths = [len(line.split()) for line in lines]
        if widths.count(widths[0]) > 0.9 * len(widths):
            return r"\s+"
    return best


def _parse(text: str, name: str, delimiter: str, header: list[str] | None) -> pd.DataFrame:
    try:
        with warnings.catch_warnings():
            # Rows longer than the header would lose their last cells with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table: pd.DataFrame = pd.read_csv(
                io.StringIO(text),
                header=None if header else 0,
                names=header,
                sep=delimiter,
                dtype=str,
                keep_default_na=False,
                skipinitialspace=True,
                skip_blank_lines=True,
                index_col=False,
                on_bad_lines="error",
                engine="c",
            )
    except pd.errors.EmptyDataError:
        raise DataError(f"{name}: expected a table, found an empty file") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError, OverflowError, csv.Error) as error:
        raise DataError(f"{name}: expected every row to have the same columns, found {_tidy(error)}") from None
    # A header cell read twice is renamed by pandas ("churned.1"), so the raw header is looked at for doubles.
    if not header:
        first = next(csv.reader(io.StringIO(text), delimiter="," if delimiter == r"\s+" else delimiter), [])
        cells = [" ".join(c.split()) for c in (first if delimiter != r"\s+" else " ".join(first).split())]
        if len(cells) == table.shape[1]:
            table.columns = pd.Index(cells)
    for column in range(table.shape[1]):
        cells_of = table.iloc[:, column].str.strip()
        filled = cells_of.where(~cells_of.str.lower().isin(BLANKS))
        table.isetitem(column, filled.array)
    return table


def _parquet(raw: bytes, name: str) -> pd.DataFrame:
    try:
        table = pq.read_table(io.BytesIO(raw)).to_pandas()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, ValueError) as error:
        raise DataError(f"{name}: expected a Parquet table, found something unreadable ({_tidy(error)})") from None
    table.columns = [" ".join(str(c).split()) for c in table.columns]
    _refuse_doubled_columns(table, name)
    return table.reset_index(drop=True)


def _refuse_doubled_columns(table: pd.DataFrame, name: str) -> None:
    doubled = [str(c) for c in table.columns[table.columns.duplicated()]]
    if doubled:
        raise DataError(f"{name} row 1: the column {doubled[0]!r} stands there twice; rename or remove one")


def _tidy(error: Exception) -> str:
    return " ".join(str(error).replace("Error tokenizing data. C error: ", "").split())[:160]


# ---- columns to what they are ----------------------------------------------------------------------------------------


def need_columns(table: pd.DataFrame, name: str, *columns: str) -> None:
    """`DataError` naming the first of `columns` that the table lacks, and what it has."""
    for column in columns:
        if column not in table:
            has = ", ".join(str(c) for c in table.columns[:12]) or "no columns"
            raise DataError(f"{name}: expected the column {column!r}, found {has}; rename or map it")
    if not len(table):
        raise DataError(f"{name}: expected rows below the header, found none")


def names_of(table: pd.DataFrame, name: str, column: str) -> pd.Series:
    """An id or action column as text, kept as written ("007" stays). `DataError` at the first blank."""
    values = table[column]
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    text = values.astype("str").where(values.notna(), "").str.strip()
    blank = text == ""
    if blank.any():
        raise DataError(f"{name} row {_row(blank)}: expected a {column}, found a blank; fill it or remove the row")
    return text


def numbers_of(table: pd.DataFrame, name: str, column: str) -> pd.Series:
    """A column as float64, blanks as NaN, decimal commas and thousands separators understood; `DataError` otherwise."""
    numbers, bad = _to_numbers(table[column])
    if bad.any():
        value = table[column][bad].iloc[0]
        raise DataError(f"{name} row {_row(bad)}, column {column!r}: expected a number, found {str(value)[:40]!r}")
    return numbers


def feature_of(column: pd.Series) -> pd.Series:
    """A feature column as numbers where every filled cell is one, else as text; infinities count as missing."""
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        return column
    if pd.api.types.is_numeric_dtype(column):
        numbers = column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        return pd.Series(np.where(np.isfinite(numbers), numbers, np.nan), index=column.index)
    if not (pd.api.types.is_string_dtype(column) or column.dtype == object):
        return column.astype("str").where(column.notna())
    text = column.astype("str").where(column.notna())
    parsed, bad = _to_numbers(text)
    if bad.any() or parsed.notna().sum() == 0:
        return text
    return parsed.where(np.isfinite(parsed))


def _to_numbers(column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Numbers, and where a filled cell is none."""
    if pd.api.types.is_numeric_dtype(column):
        return column.astype("Float64").astype("float64"), pd.Series(False, index=column.index)
    text = column.astype("str").where(column.notna())
    numbers = _float(text)
    bad = numbers.isna() & text.notna()
    if bad.any():
        # 1.234,50 and 0,5: a comma is the decimal mark where every odd cell has it as the last mark.
        odd = text[bad]
        comma = odd.str.fullmatch(r"[+-]?(\d{1,3}(\.\d{3})+|\d+)?,\d+")
        if comma.all():
            changed = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
            numbers = _float(changed.where(text.str.contains(",", na=False), text))
        else:
            thousands = text.str.replace(r"(?<=\d),(?=\d{3}(\D|$))", "", regex=True)
            numbers = _float(thousands)
        bad = numbers.isna() & text.notna()
    return numbers, bad


def _float(text: pd.Series) -> pd.Series:
    return pd.Series(pd.to_numeric(text, errors="coerce"), index=text.index).astype("float64")


def labels_of(table: pd.DataFrame, name: str, column: str, positive: str | None = None) -> pd.Series:
    """A yes/no column as nullable boolean. positive: the value that means yes, where it is none of the usual words.

    `DataError` for a value that is neither yes nor no, or where there are more than two values.
    """
    values = table[column]
    if pd.api.types.is_bool_dtype(values):
        return values.astype("boolean")
    text = values.astype("str").where(values.notna()).str.strip().str.lower()
    kinds = sorted(text.dropna().unique())
    if positive is not None:
        own = positive.strip().lower()
        if own not in kinds and f"{own}.0" not in kinds:
            raise DataError(f"{name}: the column {column!r} never holds {positive!r}; found {', '.join(kinds[:5])}")
        yes = text.isin([own, f"{own}.0"])
        return yes.astype("boolean").where(text.notna())
    odd = text.notna() & ~text.isin(YES + NO)
    if odd.any():
        found = str(values[odd].iloc[0])[:40]
        raise DataError(
            f"{name} row {_row(odd)}, column {column!r}: expected yes or no (also 1/0, true/false), found {found!r}; "
            "name the value that means churned if it is another word"
        )
    return text.isin(YES).astype("boolean").where(text.notna())


def moments_of(table: pd.DataFrame, name: str, column: str, notes: list[str] | None = None) -> pd.Series:
    """A column as dates (datetime64, zones turned to UTC) or plain numbers (float64); `DataError` at the first neither.

    Numbers of the size of Unix seconds or milliseconds are dates. Where both day-first and month-first fit every value,
    day-first is taken and noted.
    """
    values = table[column]
    if pd.api.types.is_datetime64_any_dtype(values):
        _refuse(values.isna(), values, name, column)
        zoned = values.dt.tz is not None
        return values.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else values
    text = values.astype("str").where(values.notna())
    _refuse(text.isna(), values, name, column)
    numbers, not_number = _to_numbers(values)
    compact = text.str.fullmatch(r"(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])")
    if not not_number.any() and not compact.all():
        _refuse(~np.isfinite(numbers), values, name, column)
        return _from_numbers(numbers)
    for layout in DATE_FORMATS:
        found = _dates(text, layout)
        if found.notna().all():
            return found
    fits = {}
    for layout in SLASHED:
        for clock in CLOCKS:
            found = _dates(text, layout + clock)
            if found.notna().all():
                fits[layout] = found
                break
    if fits:
        layout = next(iter(fits))
        if len(fits) > 1 and notes is not None and not fits[layout].equals(list(fits.values())[1]):
            notes.append(f"{name}: the dates in {column!r} fit day-first and month-first; read as day-first.")
        return fits[layout]
    best = _dates(text, "ISO8601")
    for layout in (*DATE_FORMATS[1:], *(d + c for d in SLASHED for c in CLOCKS)):
        found = _dates(text, layout)
        best = found if found.notna().sum() > best.notna().sum() else best
    _refuse(best.isna(), values, name, column)
    return best


def _from_numbers(numbers: pd.Series) -> pd.Series:
    low, high = float(numbers.min()), float(numbers.max())
    scales: tuple[tuple[tuple[float, float], Literal["s", "ms"]], ...] = (
        (UNIX_SECONDS, "s"),
        (UNIX_MILLISECONDS, "ms"),
    )
    for (least, most), unit in scales:
        if least <= low and high < most:
            return pd.Series(pd.to_datetime(numbers.to_numpy(), unit=unit)).astype("datetime64[us]")
    return numbers


def _dates(text: pd.Series, layout: str) -> pd.Series:
    try:
        found = pd.to_datetime(text, format=layout, errors="coerce", utc=True)
    except (ValueError, OverflowError):
        return pd.Series(pd.NaT, index=text.index)
    return found.dt.tz_localize(None).astype("datetime64[us]")


def _refuse(bad: pd.Series, values: pd.Series, name: str, column: str) -> None:
    if bad.any():
        value = values[bad].iloc[0]
        found = "a blank" if pd.isna(value) else repr(str(value)[:40])
        raise DataError(
            f"{name} row {_row(bad)}, column {column!r}: expected a date such as 2026-01-31 or a number, found {found}"
        )


def _row(bad: pd.Series) -> int:
    """The first row that is bad, as a person counts: the header is row 1."""
    return int(np.argmax(bad.to_numpy())) + 2
