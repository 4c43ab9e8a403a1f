"""Text cells to dates: the one layout, of all usual ones, that the whole column fits."""

from __future__ import annotations

import pandas as pd

CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
DAYS = (
    *("%Y/%m/%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%m %d, %Y"),
    *("%d%b%Y", "%b %d %Y"),
    *("%d/%m/%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%Y", "%d.%m.%y"),
    *("%m/%d/%Y", "%m-%d-%Y", "%m/%d/%y"),
)
"""Ways to write a day: those that can be read in one way only, then day-first, then month-first."""

SAMPLE = 500
"""Distinct cells that decide which layouts are tried on all."""


def dates_of(cells: pd.Series) -> tuple[pd.Series, bool]:
    """Distinct cells as dates, NaT where the layout that fits most does not fit; and whether two layouts fit all."""
    cells = _plain(cells)
    chosen = read_as(cells, "ISO8601")
    if chosen.notna().all():
        return chosen, False
    sample = cells.iloc[:SAMPLE]
    fit = {layout: int(read_as(sample, layout).notna().sum()) for layout in _likely(sample)}
    fits_all: pd.Series | None = None
    for layout in (layout for layout, n in fit.items() if n and n == max(fit.values())):
        found = read_as(cells, layout)
        if found.notna().all():
            if fits_all is not None and not found.equals(fits_all):
                return fits_all, True
            fits_all = found if fits_all is None else fits_all
        elif found.notna().sum() > chosen.notna().sum():
            chosen = found
    return (chosen if fits_all is None else fits_all), False


def _plain(cells: pd.Series) -> pd.Series:
    """Cells without what says nothing, and with the marks that layouts expect: "10:05PM", "10:05:07,123"."""
    cells = cells.str.strip().str.replace(r"\s*(?:UTC|GMT)$", "", regex=True).str.replace(r"\s+", " ", regex=True)
    cells = cells.str.replace(r"([0-9]) ?([AaPp])\.?[Mm]\.?$", r"\1 \2M", regex=True)
    return cells.str.replace(r"(:[0-9]{2}),([0-9]{1,6})$", r"\1.\2", regex=True)


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


def read_as(cells: pd.Series, layout: str) -> pd.Series:
    """Cells in one layout of `strptime` as datetime64[us], zones turned to UTC; NaT where it does not fit."""
    try:
        found = pd.to_datetime(cells, format=layout, errors="coerce", utc=True)
        return found.dt.tz_localize(None).astype("datetime64[us]")
    except (ValueError, OverflowError):
        return pd.Series(pd.NaT, index=cells.index, dtype="datetime64[us]")
