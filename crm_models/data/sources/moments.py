"""Convert a time column in any usual notation to dates or plain numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_models.core.errors import DataError
from crm_models.data.sources.columns import row_of, say_ambiguous, to_numbers
from crm_models.data.sources.dates import dates_of, read_as

UNITS = (("s", 1e6, 1e8, 1e11), ("ms", 1e3, 1e11, 1e14), ("us", 1.0, 1e14, 1e17), ("ns", 1e-3, 1e17, 1e19))
"""Unit, microseconds per unit, minimum, maximum: numbers in these ranges are Unix times, from 1973 on."""

COMPACT = (
    ("%Y%m", 190001, 210012),
    ("%Y%m%d", 19000101, 21001231),
    ("%Y%m%d%H%M%S", 19000101000000, 21001231235959),
)
"""Dates written as one number: layout, minimum, maximum."""


def moments_of(table: pd.DataFrame, name: str, column: str, notes: list[str] | None = None) -> pd.Series:
    """A column as dates (datetime64[us], zones converted to UTC) or plain numbers (float64); else `DataError`.

    Numbers in the range of Unix seconds, milli-, micro- or nanoseconds, and 20260131, are dates. If day-first and
    month-first both fit every cell but differ, day-first is used, and noted.
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
    dates, ambiguous = dates_of(pd.Series(distinct, dtype="str"))
    if dates.isna().any() and np.isfinite(numbers).sum() > dates.notna().to_numpy()[codes].sum():
        _refuse(table, bad, name, column)  # mostly numbers: report the cell that is not
    _refuse_other_layouts(table, distinct, dates, codes, name, column)
    _refuse(table, dates.isna().to_numpy()[codes], name, column)
    if ambiguous:
        say_ambiguous(notes, name, column)
    return pd.Series(dates.to_numpy()[codes], index=table.index)


def _from_numbers(table: pd.DataFrame, numbers: pd.Series, name: str, column: str) -> pd.Series:
    values = numbers.to_numpy()
    _refuse(table, ~np.isfinite(values), name, column)
    for layout, low, high in COMPACT:
        if values.min() >= low and values.max() <= high and (values % 1 == 0).all():
            codes, distinct = pd.factorize(values)
            dates = read_as(pd.Series(distinct).astype("int64").astype("str"), layout)
            if dates.notna().all():
                return pd.Series(dates.to_numpy()[codes], index=table.index)
    for unit, microseconds, least, most in UNITS:
        in_range = (values >= least) & (values < most)
        if in_range.mean() > 0.5:
            # Otherwise one 0 among Unix seconds would make the whole column plain numbers, read as days.
            if not in_range.all():
                row, value = row_of(table, ~in_range), values[~in_range][0]
                raise DataError(
                    f"{name} row {row}, column {column!r}: expected a moment in Unix {unit} as in the other rows, "
                    f"found {value:g}; correct or remove the row"
                )
            # Float timestamps are not exact below a microsecond.
            moments = np.rint(values * microseconds).astype(np.int64)
            return pd.Series(moments.view("datetime64[us]"), index=table.index)
    return numbers


def _refuse_other_layouts(
    table: pd.DataFrame, distinct: pd.Index, dates: pd.Series, codes: np.ndarray, name: str, column: str
) -> None:
    """`DataError` for dates in two layouts: 03/04 beside 2026-04-03 is ambiguous."""
    fits = dates.notna().to_numpy()
    if not fits.any() or fits.all() or dates_of(pd.Series(distinct[~fits], dtype="str"))[0].isna().any():
        return
    row = row_of(table, ~fits[codes])
    raise DataError(
        f"{name} row {row}, column {column!r}: expected dates in one layout, found {distinct[fits][0]!r} and "
        f"{distinct[~fits][0]!r}; write all of them in one layout, best as 2026-01-31"
    )


def _refuse(table: pd.DataFrame, bad: np.ndarray, name: str, column: str) -> None:
    if bad.any():
        value = table[column].to_numpy()[bad][0]
        found = "a blank" if pd.isna(value) else repr(str(value)[:40])
        raise DataError(
            f"{name} row {row_of(table, bad)}, column {column!r}: expected a date such as 2026-01-31 or a number, "
            f"found {found}; correct or remove the row"
        )
