"""Tables that people bring: rules and offers, read with the place of every mistake, and large ones as data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.files import DAMAGED
from crm_models.data.sources.reading import read_file

YES, NO = ("1", "true", "yes", "y"), ("", "0", "false", "no", "n")


@dataclass(frozen=True)
class Row:
    """One row of a table: its cells by column, and where it is."""

    file: str
    line: int
    cells: dict[str, str]

    def text(self, column: str) -> str:
        """The trimmed text of a cell; "" if the column is missing."""
        return self.cells.get(column, "").strip()

    def texts(self, column: str) -> tuple[str, ...]:
        """The parts of a cell between semicolons, blank ones left out."""
        return tuple(part.strip() for part in self.text(column).split(";") if part.strip())

    def number(self, column: str) -> float | None:
        """The number in a cell; None if it is blank."""
        try:
            return float(self.text(column)) if self.text(column) else None
        except ValueError:
            raise DataError(f"column {column}: expected a number, found {self.text(column)!r}") from None

    def whole(self, column: str) -> int | None:
        """The whole number in a cell; None if it is blank."""
        value = self.number(column)
        if value is None:
            return None
        if not value.is_integer():
            raise DataError(f"column {column}: expected a whole number, found {self.text(column)!r}")
        return int(value)

    def flag(self, column: str) -> bool:
        """Whether a cell says yes; a blank says no."""
        text = self.text(column).lower()
        if text not in YES + NO:
            raise DataError(f"column {column}: expected yes or no, found {self.text(column)!r}")
        return text in YES

    def day(self, column: str) -> date | None:
        """The date in a cell, as 2026-12-24; None if it is blank."""
        try:
            return date.fromisoformat(self.text(column)) if self.text(column) else None
        except ValueError:
            raise DataError(
                f"column {column}: expected a date such as 2026-12-24, found {self.text(column)!r}"
            ) from None

    @contextmanager
    def located(self) -> Iterator[None]:
        """Context that adds the file and the row to errors."""
        try:
            yield
        except DataError as error:
            raise DataError(f"{self.file} row {self.line}: {error}") from None


def read_rows(file: Path, *, needed: Sequence[str], known: Sequence[str]) -> list[Row]:
    """The rows of a CSV (UTF-8, comma or semicolon) with a header; blank rows are left out.

    Raises `DataError` for an unreadable file, a missing column, an unknown one, or a row that is too long.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{file}: expected a CSV file, found none") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: expected a CSV file in UTF-8, found an unreadable one ({error})") from None
    lines = text.splitlines()
    header = lines[0] if lines else ""
    # Cells use semicolons for lists, so a semicolon separates cells only in a header without commas.
    delimiter = "," if "," in header or ";" not in header else ";"
    try:
        table = list(csv.reader(text.splitlines(keepends=True), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"{file}: expected a CSV file, found an unreadable one ({error})") from None
    columns = [name.strip() for name in table[0]] if table else []
    for name in needed:
        if name not in columns:
            raise DataError(f"{file}: expected the column {name}, found {', '.join(columns) or 'an empty file'}")
    for name in columns:
        if name not in known:
            raise DataError(f"{file}: expected the columns {', '.join(known)}; found {name!r} as well")
    rows = []
    for number, cells in enumerate(table[1:], start=2):
        if len(cells) > len(columns):
            raise DataError(f"{file} row {number}: expected {len(columns)} cells, found {len(cells)}")
        if any(cell.strip() for cell in cells):
            rows.append(Row(str(file), number, dict(zip(columns, cells, strict=False))))
    return rows


def read_brought(file: Path | str, what: str, needed: Sequence[str] = (), *, as_text: bool = True) -> pd.DataFrame:
    """A large table: a Parquet as it is, or a CSV, whose cells stay text unless `as_text` is false (in UTF-8 then).

    what: for the `DataError` of a missing or unreadable file, or of a `needed` column that is missing.
    """
    file = Path(file)
    if not file.exists():
        raise DataError(f"{file}: expected {what}, found no file")
    try:
        if file.suffix == ".parquet":
            table = pd.read_parquet(file)
        else:  # as text, whatever separates the cells, as in files of customers
            table = read_file(file).fillna("") if as_text else pd.read_csv(file, encoding="utf-8-sig")
    except DataError as error:
        raise DataError(f"{file.parent}/{error}") from None
    except (NotImplementedError, OSError, *DAMAGED) as error:  # the first: a compression that Arrow does not know
        raise DataError(f"{file}: expected {what} as CSV or Parquet, found an unreadable file ({error})") from None
    table.columns = [str(column).strip() for column in table.columns]
    need_columns(file, table, needed)
    return table


def need_columns(file: Path | str, table: pd.DataFrame, names: Iterable[str]) -> None:
    """`DataError` if a table lacks one of these columns."""
    for name in names:
        if name not in table:
            raise DataError(f"{file}: expected the column {name}, found {', '.join(table.columns)}")
