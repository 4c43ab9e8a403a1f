"""Convert a time column in any usual notation to dates or plain numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from crm_models.core.errors import DataError
from crm_models.core.schema import TIMESTAMP
from crm_models.data.sources.blanks import is_blank
from crm_models.data.sources.column import Column
from crm_models.data.sources.dates import Dates, clocks_of, dates_of, in_utc, read_as
from crm_models.data.sources.epochs import moments_of_numbers
from crm_models.data.sources.features import FIRST_YEAR, LAST_YEAR, in_order
from crm_models.data.sources.frames import is_text, written_name
from crm_models.data.sources.number_forms import parse
from crm_models.data.sources.receipt import Receipt
from crm_models.data.sources.roles import is_clock, plain

MOST_DAYS = 100_000
"""Whole numbers above are hardly days: 100,000 of them are 274 years."""
_CUT = r"[0-9](?:[.,][0-9]{1,5})?[eE]\+?[0-9]{2,}"
_POINTED_MONTH = r"(?:19|20)[0-9]{2}\.(?:0[1-9]|1[0-2])"
EXPECTED = "a date such as 2026-01-31 or a number"
CLOCK_NAMES = (
    *("time", "timeofday", "eventtime", "ordertime", "purchasetime", "transactiontime", "zeit", "uhrzeit", "hora"),
    *("heure", "ora", "tijd", "tid", "godzina", "saat"),
)
"""Names of a column of times of day, as `plain` writes them."""


def moments_of(table: pd.DataFrame, name: str, column: str, receipt: Receipt | None = None) -> pd.Series:
    """A column as dates (datetime64[us], zones converted to UTC) or plain numbers (float64); else `DataError`.

    Numbers in the range of Unix seconds, milli-, micro- or nanoseconds, 20260131, and a spreadsheet's day numbers are
    dates. If day-first and month-first both fit every cell but differ, the file's other columns decide, else the user.
    """
    cells = Column(table, name, column, receipt)
    found = _moments(cells)
    kind = "number"
    if pd.api.types.is_datetime64_any_dtype(found):
        kind = "date"
        far = (found.dt.year >= LAST_YEAR) | (found.dt.year < FIRST_YEAR)
        cells.refuse(far, f"a date before {LAST_YEAR}")
        found = found.mask(far) if far.any() else found
    cells.record(kind, found)
    return found


def clock_beside(table: pd.DataFrame) -> str | None:
    """The column of times of day that stands beside a column of dates, such as `Time` beside `Date`."""
    found = [str(c) for c in table.columns if plain(c) in CLOCK_NAMES and c != TIMESTAMP and is_clock(table[c])]
    return found[0] if len(found) == 1 else None


def with_clock(dates: pd.Series, table: pd.DataFrame, name: str, clock: str, receipt: Receipt) -> pd.Series:
    """Dates with the times of day in the column `clock` of the table; as they are if they have times."""
    if not pd.api.types.is_datetime64_any_dtype(dates) or not dates.dropna().equals(dates.dropna().dt.normalize()):
        return dates
    cells = Column(table, name, clock, receipt)
    filled = cells.distinct[~is_blank(cells.distinct, number=True)]
    hours = clocks_of(filled, digits=True)
    if hours is None or (hours >= 24).any():
        return dates
    day = written_name(table, TIMESTAMP)
    cells.note(f"the moments are the dates in {day!r} with the times of day in {cells.name!r}.")
    spread = cells.spread(hours.reindex(cells.distinct.index).to_numpy()).fillna(0.0)
    return dates + pd.to_timedelta((spread * 3600).round(3), unit="s").astype("timedelta64[us]")


def _moments(cells: Column) -> pd.Series:
    values = cells.values
    if pd.api.types.is_datetime64_any_dtype(values):
        cells.refuse(values.isna(), EXPECTED)
        values = in_utc(values)
        return values if (values.dt.year >= LAST_YEAR).any() else values.astype("datetime64[us]")
    iso = _iso(values)
    if iso is not None:
        return iso
    if not is_text(values) and pd.api.types.is_numeric_dtype(values):
        numbers = values.astype("Float64").astype("float64")
        cells.refuse(~np.isfinite(numbers), EXPECTED)
        return _from_numbers(cells, numbers)
    blank = is_blank(cells.distinct, number=True)
    cells.refuse((cells.codes < 0) | cells.rows(blank), EXPECTED)
    filled = cells.distinct[~blank]
    numbers = pd.Series(parse(filled, None).values, index=filled.index).reindex(cells.distinct.index)
    infinite = np.isinf(numbers)
    cells.refuse(cells.rows(infinite), EXPECTED)
    numbers, blank = numbers.mask(infinite), blank | infinite
    if not (numbers.isna() & ~blank).any() and (~blank).any():
        _ask_about_cut_times(cells, blank)
        if (months := _pointed_months(cells, filled)) is not None:
            return months
        return _from_numbers(cells, cells.spread(numbers.to_numpy()))
    filled = cells.distinct[~blank]
    dates = dates_of(filled)
    unfit = dates.values.isna().reindex(cells.distinct.index, fill_value=False)
    if unfit.any() and cells.n_rows(numbers.notna()) > cells.n_rows(~blank & ~unfit):
        cells.refuse(cells.rows(numbers.isna()), EXPECTED)  # mostly numbers
        return _from_numbers(cells, cells.spread(numbers.to_numpy()))
    _refuse_other_layouts(cells, filled, unfit)
    cells.refuse(cells.rows(unfit), EXPECTED)
    _ask_about_zones(cells, dates)
    return cells.spread_dates(in_order(dates, filled, cells))


def _iso(values: pd.Series) -> pd.Series | None:
    """The column as dates if every cell is an ISO date without a zone: Arrow casts millions of them in a second."""
    if not is_text(values) or values.isna().any():
        return None
    text = pa.chunked_array(pa.array(values))
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return pd.Series(text.cast(kind).cast(pa.timestamp("us")).to_numpy(), index=values.index)
        except pa.ArrowInvalid:
            continue
    return None


def _ask_about_cut_times(cells: Column, blank: pd.Series) -> None:
    """Asks about times such as 1.76761E+12, of which a spreadsheet has kept six digits: the others are hours."""
    cut = cells.distinct.str.fullmatch(_CUT) & ~blank
    if cut.any():
        cells.ask(
            "cut",
            f"{cells.n_rows(cut):,} times in {cells.name!r} are written with an exponent, {cells.first_named(cut)}: a "
            "spreadsheet has probably cut them, and the order of events is lost. Export the file again without "
            "opening it in a spreadsheet.",
            {"keep": "as written, the digits that are gone as zeros", "stop": "not to be used"},
        )


def _pointed_months(cells: Column, filled: pd.Series) -> pd.Series | None:
    """Cells such as 2025.10 as months, if that is chosen; None if they are numbers."""
    if not filled.str.fullmatch(_POINTED_MONTH).all():
        return None
    readings = {"months": f"months, {filled.iloc[0]} is {filled.iloc[0].replace('.', '-')}", "days": "numbers of days"}
    chosen = cells.ask("months", f"the times in {cells.name!r} are like {filled.iloc[0]}.", readings)
    return cells.spread_dates(read_as(filled, "%Y.%m")) if chosen == "months" else None


def _from_numbers(cells: Column, numbers: pd.Series) -> pd.Series:
    dates = moments_of_numbers(cells, numbers, is_time=True)
    if dates is not None:
        return dates
    known = numbers.dropna()
    if not len(known):
        return numbers
    first, last = known.min(), known.max()
    said = f"the times in {cells.name!r} are plain numbers, from {first:.15g} to {last:.15g}"
    if last > MOST_DAYS and (known % 1 == 0).all():
        cells.ask("days", f"{said}.", {"days": "numbers of days", "stop": "not to be used"})
    else:
        cells.note(f"{said}; they count as days.")
    return numbers


def _refuse_other_layouts(cells: Column, filled: pd.Series, unfit: pd.Series) -> None:
    """Dates in two layouts are refused: 03/04 beside 2026-04-03 is ambiguous."""
    others = filled[unfit[filled.index]]
    if not len(others) or len(others) == len(filled) or dates_of(others).values.isna().any():
        return
    usual = str(filled[~unfit[filled.index]].iloc[0])
    if cells.receipt.skip_bad_rows:
        cells.refuse(cells.rows(unfit), f"dates written as {usual!r}")
        return
    raise DataError(
        f"{cells.file} row {cells.first(unfit)[0]}, column {cells.name!r}: expected dates in one layout, found "
        f"{usual!r} and {others.iloc[0]!r}; write all of them in one layout, best as 2026-01-31"
    )


def _ask_about_zones(cells: Column, dates: Dates) -> None:
    """Asks where some cells have a time zone and others have none: counted as UTC, their order may change."""
    if not dates.zoned.any() or dates.zoned.all():
        return
    without = (~dates.zoned).reindex(cells.distinct.index, fill_value=False)
    cells.ask(
        "zone",
        f"{cells.n_rows(without):,} of {len(cells.codes):,} times in {cells.name!r} have no time zone "
        f"({cells.first_named(without)}), the others have one.",
        {"utc": "UTC where no zone is written", "stop": "not to be used"},
    )
