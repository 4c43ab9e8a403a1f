"""Numbers that are dates: 20260131, Unix times, and the days of a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from crm_models.data.sources.column import Column
from crm_models.data.sources.dates import read_as

UNITS = (
    ("Unix times in s", 1e6, 1e8, 1e11, 0),
    ("Unix times in ms", 1e3, 1e11, 1e14, 0),
    ("Unix times in us", 1.0, 1e14, 1e17, 0),
    ("Windows file times", 0.1, 1.2e17, 1.4e17, 116_444_736_000_000_000),
    (".NET ticks", 0.1, 6.2e17, 6.6e17, 621_355_968_000_000_000),
    ("Unix times in ns", 1e-3, 1e17, 1e19, 0),
)
"""Unit, microseconds per unit, minimum, maximum, start of 1970: numbers in these ranges are times from 1973 on. The
first that fits counts: ticks of 100 ns since the year 1601 or 1 would be nanoseconds of 1974 or 1990."""
YEAR_FIRST = (
    ("%Y%m", 190001, 210012),
    ("%Y%m%d", 19000101, 21001231),
    ("%Y%m%d%H", 1900010100, 2100123123),
    ("%Y%m%d%H%M", 190001010000, 210012312359),
    ("%Y%m%d%H%M%S", 19000101000000, 21001231235959),
)
"""Dates written as one number: layout, minimum, maximum."""
OTHER_ORDERS = (
    ("%y%m%d", 100101, 991231, "short-year-first"),
    ("%d%m%y", 10100, 311299, "day-first"),
    ("%m%d%y", 10100, 123199, "month-first"),
    ("%d%m%Y", 1011900, 31122100, "day-first"),
    ("%m%d%Y", 1011900, 12312100, "month-first"),
    ("%y%m%d%H%M", 2001010000, 9912312359, "short-year-first"),
    ("%y%m%d%H%M%S", 100101000000, 991231235959, "short-year-first"),
)
"""The same in less usual orders, which count where all numbers fit: layout, minimum, maximum, order."""
NEVER = (0, 999_912, 99_991_231, 9_999_123_123, 999_912_312_359, 99_991_231_235_959)
"""Numbers that stand for no date or an open end among the dates of a feature."""
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
    never = known & (np.isin(numbers.to_numpy(), NEVER) if named and not is_time else False)
    values = numbers.to_numpy()[known & ~never]
    if not len(values):
        return None
    said, fits = True, np.ones(len(values), dtype=bool)
    how, found = (
        "dates without marks",
        _compact(values, YEAR_FIRST) if named or values.min() >= YEAR_FIRST[-1][1] else None,
    )
    if found is not None:
        said = not is_time
        if named and (others := _in_other_orders(values, is_time)):
            how, found = _asked(cells, values, {"year-first": found, **others})
    elif named and (found := _serials(values)) is not None:
        how = "a spreadsheet's days since 1900"
    elif named and (others := _in_other_orders(values, is_time)):
        how, found = _asked(cells, values, others)
    elif named and (times := _unix(values)):
        how, fits, found = times
        said = not (is_time and how.startswith("Unix"))
        # Otherwise one 0 among Unix seconds would make the whole column plain numbers, read as days.
        if not fits.all() and not is_time:
            return None
    if found is None:
        return None
    known &= ~never
    if not fits.all():
        bad = known.copy()
        bad[known] = ~fits
        cells.refuse(bad, f"a moment in {how.replace('times in ', '')} as in the other rows")
    if said:
        first = int(fits.argmax())
        cells.note(
            f"the numbers in {cells.name!r} are read as {how} ({values[first]:.15g} is "
            f"{pd.Timestamp(found[first]):%d %B %Y})."
        )
    if never.any():
        cells.note(
            f"{int(never.sum()):,} numbers in {cells.name!r} mean no date or an open end "
            f"({numbers[never].iloc[0]:.15g}): missing."
        )
    dates = np.full(len(known), np.datetime64("NaT", "us"))
    dates[known] = found
    return pd.Series(dates, index=numbers.index)


def _compact(values: np.ndarray, layouts: Iterable[tuple[str, int, int]]) -> np.ndarray | None:
    """Numbers such as 20260131 as datetime64[us]; None unless all are such dates in one of the layouts."""
    for layout, low, high in layouts:
        if values.min() >= low and values.max() <= high and (values % 1 == 0).all():
            codes, distinct = pd.factorize(values)
            digits = pd.Series(distinct).astype("int64").astype("str")
            dates = read_as(digits.str.zfill(len(str(high))), layout)  # numbers have no 0 in front
            if dates.notna().all():
                return dates.to_numpy("datetime64[us]")[codes]
    return None


def _in_other_orders(values: np.ndarray, is_time: bool) -> dict[str, np.ndarray]:
    """Order to the dates, of each less usual order that all numbers fit; events have happened."""
    found: dict[str, np.ndarray] = {}
    if values.max() <= 99_999:  # 12,500 alone is rather a number than 25 January 2000
        return found
    latest = pd.Timestamp.now() + pd.Timedelta(days=366) if is_time else pd.Timestamp.max
    for layout, low, high, order in OTHER_ORDERS:
        dates = _compact(values, [(layout, low, high)])
        if dates is None or dates.max() >= latest:
            continue
        if not any((dates == other).all() for other in found.values()):
            found[order] = dates
    return found


def _asked(cells: Column, values: np.ndarray, orders: dict[str, np.ndarray]) -> tuple[str, np.ndarray]:
    """The order of digits to take and the dates in it: it is asked if there are several."""
    of_answer = {order.replace("-", "_"): order for order in orders}
    chosen = next(iter(of_answer))
    if len(orders) > 1:
        chosen = cells.ask(
            "order",
            f"the numbers in {cells.name!r} could be dates {' or '.join(orders)}, as in {values[0]:.15g}.",
            {
                answer: f"{order}, {values[0]:.15g} is {pd.Timestamp(orders[order][0]):%d %B %Y}"
                for answer, order in of_answer.items()
            },
        )
    order = of_answer[chosen]
    return f"dates without marks, {order}", orders[order]


def _unix(values: np.ndarray) -> tuple[str, np.ndarray, np.ndarray] | None:
    """The unit of most of the numbers as times, which ones are in it, and the dates; None if most are in none.

    Numbers in several units, which cover all, are times, too. Dates of numbers in another unit are NaT.
    """
    ranges, free = [], np.ones(len(values), dtype=bool)
    for _, _, least, most, _ in UNITS:
        ranges.append(free & (values >= least) & (values < most))
        free &= ~ranges[-1]
    shares = [in_range.mean() for in_range in ranges]
    best = int(np.argmax(shares))
    if shares[best] <= 0.5 and sum(shares) < 1:
        return None
    unit, microseconds, _, _, start = UNITS[best]
    dates = np.full(len(values), np.datetime64("NaT", "us"))
    # Float timestamps are not exact below a microsecond.
    times = np.rint((values[ranges[best]] - start) * microseconds)
    dates[ranges[best]] = times.astype(np.int64).view("datetime64[us]")
    return unit, ranges[best], dates


def _serials(values: np.ndarray) -> np.ndarray | None:
    """Days of a spreadsheet, which count from 1899-12-30, as datetime64[us]; None unless all are in their range."""
    if not ((values >= SERIALS[0]) & (values < SERIALS[1])).all():
        return None
    return _DAY_0 + np.rint(values * 86_400).astype("timedelta64[s]")
