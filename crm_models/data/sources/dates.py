"""Text cells to dates: finds the one of the usual layouts that fits the whole column."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pandas as pd

CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
DAYS = (
    *("%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%m %d, %Y"),
    *("%d%b%Y", "%b %d %Y"),
    *("%d/%m/%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y"),
    *("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y"),
)
"""Date layouts: unambiguous ones, then day-first, then month-first."""

SAMPLE = 500
"""Number of distinct cells used to choose the layouts that are tried on all cells."""


DAY_FIRST = r"^(?:1[3-9]|2[0-9]|3[01])[/.-](?:0?[1-9]|1[0-2])[/.-](?:[0-9]{2}|[0-9]{4})(?: .*)?$"
MONTH_FIRST = r"^(?:0?[1-9]|1[0-2])[/.-](?:1[3-9]|2[0-9]|3[01])[/.-](?:[0-9]{2}|[0-9]{4})(?: .*)?$"
"""What a cell of another column looks like that proves the order of day and month in the file."""
AM_PM = r"[0-9] ?[AaPp]\.?[Mm]\.?$"
ZONE = r"(?:Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})$"

MONTHS = {
    "jan": "januar janv janvier enero ene gennaio gen januari",
    "feb": "februar févr février febrero febbraio februari fév",
    "mar": "märz mrz mars marzo maart mär",
    "apr": "avril abril abr aprile avr",
    "may": "mai mayo maggio mag mei",
    "jun": "juni juin junio giugno giu",
    "jul": "juli juil juillet julio luglio lug",
    "aug": "août agosto ago augustus",
    "sep": "sept septembre septiembre settembre set",
    "oct": "oktober okt octobre octubre ottobre ott",
    "nov": "novembre noviembre",
    "dec": "dezember dez décembre déc diciembre dic dicembre december",
}
"""Names of months in other languages."""
_ENGLISH = {word: english for english, words in MONTHS.items() for word in words.split()}


@dataclass(frozen=True, kw_only=True)
class Dates:
    """Distinct cells as dates, NaT where a cell is none. other: the dates month-first, where both orders fit all."""

    values: pd.Series
    other: pd.Series | None = None


def dates_of(cells: pd.Series) -> Dates:
    """Distinct cells as dates in the layout that fits most; of two that fit all, day-first."""
    cells = _normalised(cells)
    best = read_as(cells, "ISO8601")
    if best.notna().all():
        return Dates(values=best)
    sample = cells.iloc[:SAMPLE]
    n_fitting = {layout: int(read_as(sample, layout).notna().sum()) for layout in _likely_layouts(sample)}
    fits_all: pd.Series | None = None
    for layout in (layout for layout, n in n_fitting.items() if n and n == max(n_fitting.values())):
        dates = read_as(cells, layout)
        if dates.notna().all():
            if fits_all is not None and not dates.equals(fits_all):
                return Dates(values=fits_all, other=dates)
            fits_all = dates if fits_all is None else fits_all
        elif dates.notna().sum() > best.notna().sum():
            best = dates
    return Dates(values=best if fits_all is None else fits_all)


def _in_english(match: re.Match[str]) -> str:
    return _ENGLISH.get(match.group().lower(), match.group())


def _normalised(cells: pd.Series) -> pd.Series:
    """Cells without UTC/GMT and extra blanks, with "10:05PM" and "10:05:07,123" rewritten as layouts expect them."""
    cells = cells.str.strip().str.replace(r"\s*(?:UTC|GMT)$", "", regex=True).str.replace(r"\s+", " ", regex=True)
    cells = cells.str.replace(r"([0-9]) ?([AaPp])\.?[Mm]\.?$", r"\1 \2M", regex=True)
    cells = cells.str.replace(r"(:[0-9]{2}),([0-9]{1,6})$", r"\1.\2", regex=True)
    if cells.str.contains(r"[^\W\d_]{3}", regex=True).any():
        cells = cells.str.replace(r"([0-9])\. (?=[^\W\d_])", r"\1 ", regex=True)
        cells = cells.str.replace(r"[^\W\d_]{3,}\.?", _in_english, regex=True)
    return cells


def _likely_layouts(cells: pd.Series) -> list[str]:
    """The layouts with the punctuation of most cells: trying all layouts takes a hundred times as long."""
    shapes = cells.str.replace(r"[0-9]+", "0", regex=True).str.replace(r"[A-Za-z]+", "a", regex=True)
    shape = str(shapes.mode().iloc[0]) if len(shapes) else ""
    has_am_pm = shape.endswith("a") and ":" in shape
    clocks = [clock for clock in CLOCKS if clock.count(":") == shape.count(":") and ("%p" in clock) == has_am_pm]
    day = shape.split(":")[0]
    return [
        layout + clock
        for layout in DAYS
        for clock in clocks
        if all((mark in layout) == (mark in day) for mark in "/.-,") and ("b" in layout.lower()) == ("a" in day)
    ]


def read_as(cells: pd.Series, layout: str) -> pd.Series:
    """Cells in one `strptime` layout as datetime64[us], zones converted to UTC; NaT where it does not fit."""
    try:
        dates = pd.to_datetime(cells, format=layout, errors="coerce", utc=True)
        return dates.dt.tz_localize(None).astype("datetime64[us]")
    except (ValueError, OverflowError):
        return pd.Series(pd.NaT, index=cells.index, dtype="datetime64[us]")
