"""A column of times, written in any usual way, as dates or as plain numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_models.core.errors import DataError
from crm_models.data.sources.columns import row_of, say_ambiguous, to_numbers
from crm_models.data.sources.dates import dates_of, read_as

UNITS = (("s", 1e6, 1e8, 1e11), ("ms", 1e3, 1e11, 1e14), ("us", 1.0, 1e14, 1e17), ("ns", 1e-3, 1e17, 1e19))
"""Unit, microseconds in it, least and most: numbers of these sizes are moments since 1970, from 1973 on."""

COMPACT = (
    ("%Y%m", 190001, 210012),
    ("%Y%m%d", 19000101, 21001231),
    ("%Y%m%d%H%M%S", 19000101000000, 21001231235959),
)
"""Dates written as one number: layout, least and most."""


def moments_of(table: pd.DataFrame, name: str, column: str, notes: list[str] | None = None) -> pd.Series:
    """A column as dates (datetime64[us], zones turned to UTC) or plain numbers (float64); else `DataError`.

    Numbers of the size of Unix seconds, milli-, micro- or nanoseconds, and 20260131, are dates. Where day-first and
    month-first both fit every cell and differ, day-first is taken, and noted.
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
    found, ambiguous = dates_of(pd.Series(distinct, dtype="str"))
    if found.isna().any() and np.isfinite(numbers).sum() > found.notna().to_numpy()[codes].sum():
        _refuse(table, bad, name, column)  # among numbers, what is none is odd
    _refuse_other_layouts(table, distinct, found, codes, name, column)
    _refuse(table, found.isna().to_numpy()[codes], name, column)
    if ambiguous:
        say_ambiguous(notes, name, column)
    return pd.Series(found.to_numpy()[codes], index=table.index)


def _from_numbers(table: pd.DataFrame, numbers: pd.Series, name: str, column: str) -> pd.Series:
    values = numbers.to_numpy()
    _refuse(table, ~np.isfinite(values), name, column)
    for layout, low, high in COMPACT:
        if values.min() >= low and values.max() <= high and (values % 1 == 0).all():
            codes, distinct = pd.factorize(values)
            found = read_as(pd.Series(distinct).astype("int64").astype("str"), layout)
            if found.notna().all():
                return pd.Series(found.to_numpy()[codes], index=table.index)
    for unit, microseconds, least, most in UNITS:
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
            moments = np.rint(values * microseconds).astype(np.int64)
            return pd.Series(moments.view("datetime64[us]"), index=table.index)
    return numbers


def _refuse_other_layouts(
    table: pd.DataFrame, distinct: pd.Index, found: pd.Series, codes: np.ndarray, name: str, column: str
) -> None:
    """Dates in two layouts are not guessed at: 03/04 beside 2026-04-03 would be anybody's guess."""
    fits = found.notna().to_numpy()
    if not fits.any() or fits.all() or dates_of(pd.Series(distinct[~fits], dtype="str"))[0].isna().any():
        return
    row = row_of(table, ~fits[codes])
    raise DataError(
        f"{name} row {row}, column {column!r}: expected dates in one layout, found {distinct[fits][0]!r} and "
        f"{distinct[~fits][0]!r}; write all of them one way, best as 2026-01-31"
    )


def _refuse(table: pd.DataFrame, bad: np.ndarray, name: str, column: str) -> None:
    if bad.any():
        value = table[column].to_numpy()[bad][0]
        found = "a blank" if pd.isna(value) else repr(str(value)[:40])
        raise DataError(
            f"{name} row {row_of(table, bad)}, column {column!r}: expected a date such as 2026-01-31 or a number, "
            f"found {found}; correct or remove the row"
        )
