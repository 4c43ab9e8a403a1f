"""A column of times, written in any usual way, as dates or as plain numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_models.errors import DataError
from crm_models.sources.columns import row_of, to_numbers

CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
DAYS = (
    *("%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%m %d, %Y"),
    *("%d/%m/%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y"),
    *("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y"),
)
"""Ways to write a day: those that can be read in one way only, then day-first, then month-first."""

SAMPLE = 500
"""Distinct cells that decide which layouts are tried on all."""

UNITS = (("s", 1e8, 1e11), ("ms", 1e11, 1e14))
"""Numbers of these sizes are moments since 1970: from 1973 on, in seconds or milliseconds."""

COMPACT = (("%Y%m%d", 19000101, 21001231), ("%Y%m%d%H%M%S", 19000101000000, 21001231235959))


def moments_of(table: pd.DataFrame, name: str, column: str, notes: list[str] | None = None) -> pd.Series:
    """A column as dates (datetime64[us], zones turned to UTC) or plain numbers (float64); else `DataError`.

    Numbers of the size of Unix seconds or milliseconds, and 20260131, are dates. Where day-first and month-first both
    fit every cell and differ, day-first is taken, and noted.
    """
    values = table[column]
    if pd.api.types.is_datetime64_any_dtype(values):
        _refuse(table, values.isna().to_numpy(), name, column)
        values = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz is not None else values
        return values.astype("datetime64[us]")
    _refuse(table, values.isna().to_numpy(), name, column)
    numbers, bad, _ = to_numbers(values, None)
    if len(numbers) and not bad.any():
        return _from_numbers(table, numbers, name, column)
    codes, distinct = pd.factorize(values.astype("str"))
    cells = pd.Series(distinct, dtype="str").str.strip().str.replace(r"\s*(?:UTC|GMT)$", "", regex=True)
    found, ambiguous = _dates(cells)
    if found.isna().any() and np.isfinite(numbers).sum() > found.notna().to_numpy()[codes].sum():
        _refuse(table, bad, name, column)  # among numbers, what is none is odd
    _refuse(table, found.isna().to_numpy()[codes], name, column)
    if ambiguous and notes is not None:
        notes.append(f"{name}: the dates in {column!r} fit day-first and month-first; read as day-first.")
    return pd.Series(found.to_numpy()[codes], index=table.index)


def _dates(cells: pd.Series) -> tuple[pd.Series, bool]:
    """Distinct cells as dates, NaT where the layout that fits most does not fit; and whether two layouts fit all."""
    chosen = _read(cells, "ISO8601")
    if chosen.notna().all():
        return chosen, False
    sample = cells.iloc[:SAMPLE]
    fit = {layout: int(_read(sample, layout).notna().sum()) for layout in _likely(sample)}
    fits_all: pd.Series | None = None
    for layout in (layout for layout, n in fit.items() if n and n == max(fit.values())):
        found = _read(cells, layout)
        if found.notna().all():
            if fits_all is not None and not found.equals(fits_all):
                return fits_all, True
            fits_all = found if fits_all is None else fits_all
        elif found.notna().sum() > chosen.notna().sum():
            chosen = found
    return (chosen if fits_all is None else fits_all), False


def _likely(cells: pd.Series) -> list[str]:
    """The layouts with the marks that most cells have: to try them all takes a hundred times as long."""
    shapes = cells.str.replace(r"[0-9]+", "0", regex=True).str.replace(r"[A-Za-z]+", "a", regex=True)
    marks = str(shapes.mode().iloc[0]) if len(shapes) else ""
    halves = marks.endswith("a") and ":" in marks
    clocks = [clock for clock in CLOCKS if clock.count(":") == marks.count(":") and ("%p" in clock) == halves]
    day = marks.split(":")[0]
    return [
        layout + clock
        for layout in DAYS
        for clock in clocks
        if all((mark in layout) == (mark in day) for mark in "/.-,") and ("b" in layout.lower()) == ("a" in day)
    ]


def _read(cells: pd.Series, layout: str) -> pd.Series:
    try:
        found = pd.to_datetime(cells, format=layout, errors="coerce", utc=True)
        return found.dt.tz_localize(None).astype("datetime64[us]")
    except (ValueError, OverflowError):
        return pd.Series(pd.NaT, index=cells.index, dtype="datetime64[us]")


def _from_numbers(table: pd.DataFrame, numbers: pd.Series, name: str, column: str) -> pd.Series:
    values = numbers.to_numpy()
    _refuse(table, ~np.isfinite(values), name, column)
    for layout, low, high in COMPACT:
        if values.min() >= low and values.max() <= high and (values % 1 == 0).all():
            codes, distinct = pd.factorize(values)
            found = _read(pd.Series(distinct).astype("int64").astype("str"), layout)
            if found.notna().all():
                return pd.Series(found.to_numpy()[codes], index=table.index)
    for unit, least, most in UNITS:
        of_this_size = (values >= least) & (values < most)
        if of_this_size.mean() > 0.5:
            # One 0 among Unix seconds would turn them all into plain numbers, and years into millions of days.
            if not of_this_size.all():
                row, odd = row_of(table, ~of_this_size), values[~of_this_size][0]
                raise DataError(
                    f"{name} row {row}, column {column!r}: expected a moment in Unix {unit} as in the other rows, "
                    f"found {odd:g}; correct or remove the row"
                )
            # Parts of a microsecond are beyond any clock that writes floats.
            microseconds = np.rint(values * (1e6 if unit == "s" else 1e3)).astype(np.int64)
            return pd.Series(microseconds.view("datetime64[us]"), index=table.index)
    return numbers


def _refuse(table: pd.DataFrame, bad: np.ndarray, name: str, column: str) -> None:
    if bad.any():
        value = table[column].to_numpy()[bad][0]
        found = "a blank" if pd.isna(value) else repr(str(value)[:40])
        raise DataError(
            f"{name} row {row_of(table, bad)}, column {column!r}: expected a date such as 2026-01-31 or a number, "
            f"found {found}; correct or remove the row"
        )
