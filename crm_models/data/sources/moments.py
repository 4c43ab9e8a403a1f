"""Convert a time column in any usual notation to dates or plain numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from crm_models.core.errors import DataError
from crm_models.data.sources.blanks import is_blank
from crm_models.data.sources.columns import LAST_YEAR, SERIALS, Cells, in_order, serial_dates, without_categories
from crm_models.data.sources.dates import ZONE, dates_of, read_as
from crm_models.data.sources.number_forms import parse
from crm_models.data.sources.receipt import ColumnRead, Receipt, row_of, samples_of

UNITS = (("s", 1e6, 1e8, 1e11), ("ms", 1e3, 1e11, 1e14), ("us", 1.0, 1e14, 1e17), ("ns", 1e-3, 1e17, 1e19))
"""Unit, microseconds per unit, minimum, maximum: numbers in these ranges are Unix times, from 1973 on."""

FIRST_YEAR = 1700
EXPECTED = "a date such as 2026-01-31 or a number"
ADVICE = "correct the row, or leave out such rows with --skip-bad-rows"

COMPACT = (
    ("%Y%m", 190001, 210012),
    ("%Y%m%d", 19000101, 21001231),
    ("%Y%m%d%H%M%S", 19000101000000, 21001231235959),
)
"""Dates written as one number: layout, minimum, maximum."""


def moments_of(table: pd.DataFrame, name: str, column: str, receipt: Receipt | None = None) -> pd.Series:
    """A column as dates (datetime64[us], zones converted to UTC) or plain numbers (float64); else `DataError`.

    Numbers in the range of Unix seconds, milli-, micro- or nanoseconds, 20260131, and a spreadsheet's day numbers are
    dates. If day-first and month-first both fit every cell but differ, the file's other columns decide, else the user.
    """
    receipt = receipt or Receipt()
    found = _moments(table, name, column, receipt)
    if pd.api.types.is_datetime64_any_dtype(found):
        years = found.dt.year
        receipt.refuse(
            table, name, column, (years >= LAST_YEAR) | (years < FIRST_YEAR), f"a date before {LAST_YEAR}", ADVICE
        )
        found = found.mask(years >= LAST_YEAR) if receipt.skip_bad_rows else found
    kind = "date" if pd.api.types.is_datetime64_any_dtype(found) else "number"
    receipt.columns.append(
        ColumnRead(
            file=name,
            column=column,
            role=column,
            type=kind,
            samples=samples_of(table[column].iloc[:3].tolist(), found.iloc[:3].tolist()),
        )
    )
    return found


def _moments(table: pd.DataFrame, name: str, column: str, receipt: Receipt) -> pd.Series:
    values = table[column]
    if pd.api.types.is_datetime64_any_dtype(values):
        receipt.refuse(table, name, column, values.isna(), EXPECTED)
        values = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz is not None else values
        far = (values.dt.year >= LAST_YEAR) | (values.dt.year < FIRST_YEAR)
        receipt.refuse(table, name, column, far, f"a date before {LAST_YEAR}", ADVICE)
        return values.mask(far).astype("datetime64[us]")
    iso = _iso(values)
    if iso is not None:
        return iso
    values = without_categories(values)
    if not isinstance(values.dtype, pd.StringDtype) and pd.api.types.is_numeric_dtype(values):
        numbers = values.astype("Float64").astype("float64")
        receipt.refuse(table, name, column, ~np.isfinite(numbers), EXPECTED)
        return _from_numbers(table, numbers, name, column, receipt)
    cells = Cells.of(values)
    blank = is_blank(cells.distinct, number=True)
    receipt.refuse(table, name, column, (cells.codes < 0) | cells.rows(blank), EXPECTED)
    parsed = pd.Series(np.nan, index=cells.distinct.index)
    parsed[~blank] = parse(cells.distinct[~blank], None).values
    infinite = np.isinf(parsed)
    receipt.refuse(table, name, column, cells.rows(infinite), EXPECTED)
    parsed = parsed.mask(infinite)
    blank |= infinite
    if not (parsed.isna() & ~blank).any() and (~blank).any():
        return _from_numbers(table, pd.Series(cells.spread(parsed.to_numpy()), table.index), name, column, receipt)
    filled = cells.distinct[~blank]
    dates = dates_of(filled)
    fits = dates.values.notna()
    if not fits.all() and cells.counts[parsed.notna().to_numpy()].sum() > cells.counts[filled.index[fits]].sum():
        receipt.refuse(table, name, column, cells.rows(parsed.isna()), EXPECTED)  # mostly numbers
        return _from_numbers(table, pd.Series(cells.spread(parsed.to_numpy()), table.index), name, column, receipt)
    _refuse_other_layouts(table, filled, fits, cells, name, column, receipt)
    unfit = pd.Series(False, index=cells.distinct.index)
    unfit[filled.index[~fits]] = True
    receipt.refuse(table, name, column, cells.rows(unfit), EXPECTED)
    _ask_about_zones(filled, cells, table, name, column, receipt)
    known = np.full(len(cells.distinct), np.datetime64("NaT", "us"))
    known[filled.index] = in_order(dates, filled, table, name, column, receipt).to_numpy("datetime64[us]")
    return pd.Series(cells.spread(known, np.datetime64("NaT", "us")), index=table.index)


def _iso(values: pd.Series) -> pd.Series | None:
    """The column as dates if every cell is an ISO date without a zone: Arrow casts millions of them in a second."""
    if not isinstance(values.dtype, pd.StringDtype) or values.isna().any():
        return None
    try:
        dates = pa.chunked_array(pa.array(values)).cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    return pd.Series(dates.to_numpy(), index=values.index)


def _from_numbers(table: pd.DataFrame, numbers: pd.Series, name: str, column: str, receipt: Receipt) -> pd.Series:
    all_values = numbers.to_numpy()
    known = np.isfinite(all_values)  # the others are rejected already
    values = all_values[known]
    if not len(values):
        return numbers

    def spread(moments: np.ndarray) -> pd.Series:
        dates = np.full(len(all_values), np.datetime64("NaT", "us"))
        dates[known] = moments.astype("datetime64[us]")
        return pd.Series(dates, index=table.index)

    for layout, low, high in COMPACT:
        if values.min() >= low and values.max() <= high and (values % 1 == 0).all():
            codes, distinct = pd.factorize(values)
            dates = read_as(pd.Series(distinct).astype("int64").astype("str"), layout)
            if dates.notna().all():
                return spread(dates.to_numpy()[codes])
    ranges = [(values >= least) & (values < most) for _, _, least, most in UNITS]
    shares = [in_range.mean() for in_range in ranges]
    best = int(np.argmax(shares))
    unit, microseconds, _, _ = UNITS[best]
    if shares[best] > 0.5 or sum(shares) == 1:
        # Otherwise one 0 among Unix seconds would make the whole column plain numbers, read as days.
        bad = known.copy()
        bad[known] = ~ranges[best]
        receipt.refuse(table, name, column, bad, f"a moment in Unix {unit} as in the other rows")
        # Float timestamps are not exact below a microsecond.
        kept = np.where(ranges[best], values, values[ranges[best]][0])
        moments = spread(np.rint(kept * microseconds).astype(np.int64).view("datetime64[us]"))
        return moments.mask(pd.Series(bad, index=table.index))
    if (values >= SERIALS[0]).all() and (values < SERIALS[1]).all():
        moments = serial_dates(numbers)
        receipt.note(
            f"{name}: the numbers in {column!r} are read as a spreadsheet's days since 1900 ({values[0]:g} is "
            f"{moments[known].iloc[0]:%d %B %Y})."
        )
        return moments
    return numbers


def _refuse_other_layouts(
    table: pd.DataFrame, filled: pd.Series, fits: pd.Series, cells: Cells, name: str, column: str, receipt: Receipt
) -> None:
    """Dates in two layouts are refused: 03/04 beside 2026-04-03 is ambiguous."""
    if not fits.any() or fits.all() or dates_of(filled[~fits]).values.isna().any():
        return
    other = pd.Series(False, index=cells.distinct.index)
    other[filled.index[~fits]] = True
    if receipt.skip_bad_rows:
        receipt.refuse(table, name, column, cells.rows(other), f"dates written as {filled[fits].iloc[0]!r}")
        return
    raise DataError(
        f"{name} row {row_of(table, cells.rows(other))}, column {column!r}: expected dates in one layout, found "
        f"{filled[fits].iloc[0]!r} and {filled[~fits].iloc[0]!r}; write all of them in one layout, best as 2026-01-31"
    )


def _ask_about_zones(
    filled: pd.Series, cells: Cells, table: pd.DataFrame, name: str, column: str, receipt: Receipt
) -> None:
    """Asks where some cells have a time zone and others have none: counted as UTC, their order may change."""
    zoned = filled.str.contains(ZONE, regex=True) & filled.str.contains(":", regex=False)
    if not zoned.any() or zoned.all():
        return
    without = pd.Series(False, index=cells.distinct.index)
    without[filled.index[~zoned]] = True
    rows = cells.rows(without)
    receipt.ask(
        "zone",
        file=name,
        column=column,
        evidence=f"{name}: {int(rows.sum()):,} of {len(rows):,} times in {column!r} have no time zone (first: "
        f"{filled[~zoned].iloc[0]!r} in row {row_of(table, rows)}), the others have one.",
        readings={"utc": "UTC where no zone is written", "stop": "not to be used"},
    )
