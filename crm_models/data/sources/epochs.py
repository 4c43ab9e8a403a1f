"""Numbers that are dates: 20260131, Unix times, and the days of a spreadsheet."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_models.data.sources.column import Column
from crm_models.data.sources.dates import read_as

UNITS = (("s", 1e6, 1e8, 1e11), ("ms", 1e3, 1e11, 1e14), ("us", 1.0, 1e14, 1e17), ("ns", 1e-3, 1e17, 1e19))
"""Unit, microseconds per unit, minimum, maximum: numbers in these ranges are Unix times, from 1973 on."""
COMPACT = (
    ("%Y%m", 190001, 210012),
    ("%Y%m%d", 19000101, 21001231),
    ("%Y%m%d%H%M%S", 19000101000000, 21001231235959),
)
"""Dates written as one number: layout, minimum, maximum."""
SERIALS = (36_526, 55_153)
"""Spreadsheet days from 2000 to 2050: numbers in this range are dates that lost their format."""
_DAY_0 = np.datetime64("1899-12-30", "us")


def moments_of_numbers(
    cells: Column, numbers: pd.Series, *, is_time: bool = False, named: bool = True
) -> pd.Series | None:
    """(R,) the dates that the numbers of a column are, NaT for none; None if they are no dates.

    is_time: the column is the time of events, so that numbers in another unit are refused. named: its name is one of
    dates; without, only the longest form counts.
    """
    known = np.isfinite(numbers.to_numpy())
    values = numbers.to_numpy()[known]
    if not len(values):
        return None
    how, found = "dates without marks", _compact(values) if named or values.min() > COMPACT[1][2] else None
    if found is None and named:
        how, found = "a spreadsheet's days since 1900", _serials(values)
    if found is None and named and (times := _unix(values)):
        unit, fits, found = times
        how = f"Unix times in {unit}"
        if not fits.all():
            # Otherwise one 0 among Unix seconds would make the whole column plain numbers, read as days.
            if not is_time:
                return None
            bad = known.copy()
            bad[known] = ~fits
            cells.refuse(bad, f"a moment in Unix {unit} as in the other rows")
    if found is None:
        return None
    if not is_time or how.startswith("a spreadsheet"):
        cells.note(
            f"the numbers in {cells.name!r} are read as {how} ({values[0]:.15g} is {pd.Timestamp(found[0]):%d %B %Y})."
        )
    dates = np.full(len(known), np.datetime64("NaT", "us"))
    dates[known] = found
    return pd.Series(dates, index=numbers.index)


def _compact(values: np.ndarray) -> np.ndarray | None:
    """Numbers such as 20260131 as datetime64[us]; None unless all are such dates."""
    for layout, low, high in COMPACT:
        if values.min() >= low and values.max() <= high and (values % 1 == 0).all():
            codes, distinct = pd.factorize(values)
            dates = read_as(pd.Series(distinct).astype("int64").astype("str"), layout)
            if dates.notna().all():
                return dates.to_numpy("datetime64[us]")[codes]
    return None


def _unix(values: np.ndarray) -> tuple[str, np.ndarray, np.ndarray] | None:
    """The unit of most of the numbers as Unix times, which ones are in it, and the dates; None if most are in none.

    Numbers in several units, which cover all, are Unix times, too. Dates of numbers in another unit are NaT.
    """
    ranges = [(values >= least) & (values < most) for _, _, least, most in UNITS]
    shares = [in_range.mean() for in_range in ranges]
    best = int(np.argmax(shares))
    if shares[best] <= 0.5 and sum(shares) < 1:
        return None
    unit, microseconds, _, _ = UNITS[best]
    dates = np.full(len(values), np.datetime64("NaT", "us"))
    # Float timestamps are not exact below a microsecond.
    dates[ranges[best]] = np.rint(values[ranges[best]] * microseconds).astype(np.int64).view("datetime64[us]")
    return unit, ranges[best], dates


def _serials(values: np.ndarray) -> np.ndarray | None:
    """Days of a spreadsheet, which count from 1899-12-30, as datetime64[us]; None unless all are in their range."""
    if not ((values >= SERIALS[0]) & (values < SERIALS[1])).all():
        return None
    return _DAY_0 + np.rint(values * 86_400).astype("timedelta64[s]")
