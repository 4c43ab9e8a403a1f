"""Convert a time column in any usual notation to dates or plain numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from crm_models.core.errors import DataError
from crm_models.data.sources.blanks import is_blank
from crm_models.data.sources.column import Column
from crm_models.data.sources.dates import Dates, dates_of, in_utc
from crm_models.data.sources.epochs import moments_of_numbers
from crm_models.data.sources.features import FIRST_YEAR, LAST_YEAR, in_order
from crm_models.data.sources.frames import is_text
from crm_models.data.sources.number_forms import parse
from crm_models.data.sources.receipt import Receipt

EXPECTED = "a date such as 2026-01-31 or a number"


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


def _from_numbers(cells: Column, numbers: pd.Series) -> pd.Series:
    dates = moments_of_numbers(cells, numbers, is_time=True)
    return numbers if dates is None else dates


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
