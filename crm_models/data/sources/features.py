"""Feature columns: numbers or dates where the cells are, but for a few; else text. What is odd is said or asked."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crm_models.data.sources.blanks import ERRORS, PLACEHOLDERS, is_blank
from crm_models.data.sources.column import Column
from crm_models.data.sources.dates import (
    AM_PM,
    DAY_FIRST,
    MONTH_FIRST,
    SAMPLE,
    Dates,
    clocks_of,
    dates_of,
    in_utc,
    look_dated,
)
from crm_models.data.sources.epochs import SERIALS, moments_of_numbers
from crm_models.data.sources.frames import DELIMITER, is_text
from crm_models.data.sources.numbers import (
    could_be_numbers,
    note_words,
    parsed,
    plain_numbers,
    unit_of,
    without_infinities,
)
from crm_models.data.sources.receipt import Receipt

COUNTED_ROWS = 20
"""From this many rows on, a column of 1, 2, 3, ... is a row number; in a shorter table it may be an age."""
FEW_ODD = 0.05
"""Up to this share of cells that are no numbers or dates, a column is one of them, and they are missing."""
SOME_ODD = 0.2
"""Up to this share it is asked; above, the column is text."""
SENTINELS = (99, 999, 9999, 99999, -1, -9, -99, -999)
"""Numbers that often stand for "no value"."""

_DATE_NAME = re.compile(
    r"_(?:date[^\W_]*|timestamp|(?:[^\W_]+)?(?:since|seit|datum)|sign_?up|creat(?:ed|ion)(?:at|on)?|updated|modified"
    r"|last_update|renew(?:ed|al)?|join(?:ed|ing)?|expir\w*|beitritt\w*|fecha|birth\w*|geburt\w*|dob|born|geb|at_$|on_$"
    r"|(?!(?:up|vali|invali|man|candi|consoli|accommo|liqui)date)[^\W_]+date)(?:_|(?<=_)$)"
)
_WHOLE = r"^\+?[0-9A-Za-z]*[0-9][0-9A-Za-z ]*$"
_CODE = r"^0[0-9]{2,}$|^\+[0-9]{6,}$|^(?:0[0-9]{1,2}|\+[0-9]{1,3})(?: [0-9]{3})+$|^[0-9]+E[0-9]+$"
"""Whole numbers that lose something as numbers: zeros in front, the plus sign of a phone number, or their E."""
_NO_CODE = r"^-|[0-9][.,][0-9]"
_COUNT_NAME = re.compile(
    r"_(?:totals?|counts?|number|num|no|n|nr|sum|amount|days|weeks|months|years|qty|by|id|code|anzahl)_"
)
_BIRTH_NAME = re.compile(r"_(?:\w*birth|dob|born|geb|geburt|naissance|nacimiento|nascimento|nascita|urodz|geboorte)")
"""What headings of dates, of counts and of birthdays contain; see `_heading`."""
FIRST_YEAR, LAST_YEAR = 1700, 2200
"""Dates from the last year on stand for an open end, such as 9999-12-31; those before the first one for none."""
SHORT_YEARS = 999_999
"""Up to here, dates written as one number have two digits of the year."""
FAR_YEARS = 10
"""A few dates that are so many years from all others are pointed out."""


def feature_of(table: pd.DataFrame, name: str, column: str, receipt: Receipt | None = None) -> pd.Series:
    """A feature column as numbers or dates if its filled cells are, but for a few, else as text.

    Infinities are missing, and so are a few odd cells; the receipt names the first of them.
    """
    cells = Column(table, name, column, receipt)
    if pd.api.types.is_bool_dtype(cells.values):
        cells.record("yes or no", cells.values)
        return cells.values
    if pd.api.types.is_datetime64_any_dtype(cells.values):
        return _dates_of_parquet(cells)
    plain = plain_numbers(cells.values)
    if plain is not None and not _are_codes(cells, cells.values):
        return _numbers(cells, plain, unit=unit_of(cells.name))
    blank = is_blank(cells.distinct, number=True)
    filled = cells.distinct[~blank]
    if plain is not None or not len(filled):
        return _text(cells)
    if could_be_numbers(filled):
        if _are_codes(cells, filled) or _are_lists(cells, filled):
            return _text(cells)
        values, unit, _ = parsed(cells, blank)
        odd = ~blank & values.isna()
        if _in_spite_of(odd, blank, cells, "number"):
            note_words(cells, blank)
            return _numbers(cells, cells.spread(values.to_numpy()), blank=blank, odd=odd, unit=unit)
    if clocks_of(filled.iloc[:SAMPLE]) is not None and (hours := clocks_of(filled)) is not None:
        cells.note(f"the times in {cells.name!r} are read as hours ({filled.iloc[0]} is {hours.iloc[0]:.4g}).")
        return _numbers(cells, cells.spread(hours.reindex(cells.distinct.index).to_numpy()), blank=blank, unit="h")
    if look_dated(filled) and not _are_no_months(cells, filled):
        dates = dates_of(filled)
        odd = (dates.values.isna() & ~_open_end(filled)).reindex(cells.distinct.index, fill_value=False)
        if _in_spite_of(odd, blank, cells, "date"):
            return _dates(cells, dates, filled, blank, odd)
    return _text(cells)


def without_row_numbers(features: dict[str, pd.Series], name: str, receipt: Receipt) -> dict[str, pd.Series]:
    """The features without row numbers (counting from 0 or 1), which carry no information."""
    row_numbers = [c for c, values in features.items() if _counts_rows(values)]
    for c in row_numbers:
        receipt.note(f"{name}: the column {c!r} only numbers the rows; it is left out.")
    return {c: values for c, values in features.items() if c not in row_numbers}


def _counts_rows(values: pd.Series) -> bool:
    if len(values) < COUNTED_ROWS or not pd.api.types.is_float_dtype(values):
        return False
    return bool(values.iloc[0] in (0, 1) and (values.diff().iloc[1:] == 1).all())


def _in_spite_of(odd: pd.Series, blank: pd.Series, cells: Column, kind: str) -> bool:
    """Whether a column is one of numbers or dates although some filled cells are none; says or asks what they are."""
    n_odd, n_filled = cells.n_rows(odd), cells.n_rows(~blank)
    if not n_odd:
        return True
    share = n_odd / n_filled
    if share > 0.7 or n_odd == n_filled:
        return False
    said = f"{n_odd:,} of {n_filled:,} cells in {cells.name!r} are no {kind}s, {cells.first_named(odd)}"
    if share <= FEW_ODD or (odd.sum() == 1 and share <= 1 / 3):
        cells.note(f"{said}; they count as missing.")
        return True
    if share <= SOME_ODD:
        readings = {kind: f"{kind}s, the odd cells missing", "text": "text, every cell a level"}
        return cells.ask("odd", f"{said}.", readings) == kind
    cells.note(f"{said}; the column is read as text.")
    return False


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _are_codes(cells: Column, filled: pd.Series) -> bool:
    """Whether whole numbers are codes: postcodes with zeros in front, phone numbers with a plus sign, and 12E3.

    filled: all cells or the distinct ones. Programs write powers of ten with a point or a sign, as 1.2E+04.
    """
    if not is_text(filled):
        return False
    text = pa.chunked_array(pa.array(filled)).drop_null()
    seldom = pc.or_(pc.or_(pc.starts_with(text, "0"), pc.starts_with(text, "+")), pc.match_substring(text, "E"))
    few = text.filter(seldom)  # of millions of cells
    codes = few.filter(pc.match_substring_regex(few, _CODE))
    if not len(codes) or pc.any(pc.match_substring_regex(text, _NO_CODE)).as_py():
        return False
    if pc.mean(pc.match_substring_regex(text, _WHOLE)).as_py() < 1 - FEW_ODD:
        return False
    first = codes[0].as_py()
    if _is_named_as_date(cells) and len(first) in (6, 8, 10, 12, 14):
        return False  # 05012026 or 00000000
    cells.note(
        f"the numbers in {cells.name!r} have zeros in front, as in codes; they are read as text."
        if first.startswith("0")
        else f"the numbers in {cells.name!r} are codes or phone numbers, as {first!r}; they are read as text."
    )
    return True


def _are_lists(cells: Column, filled: pd.Series) -> bool:
    """Whether cells such as `1,3` beside `2` list answers in a file of commas: asked, as they could be decimals."""
    pairs = filled.str.extract("^([0-9]),([0-9])$").dropna()
    if cells.table.attrs.get(DELIMITER) != "," or len(pairs) < 2 or not filled.str.fullmatch("[0-9](,[0-9])?").all():
        return False
    if pairs[1].nunique() == 1 or not (pairs[0] < pairs[1]).all():  # a list is in order and has no choice twice
        return False
    first = filled[pairs.index[0]]
    chosen = cells.ask(
        "commas",
        f"cells in {cells.name!r} such as {first!r} could be a list of choices or decimals, and commas separate the "
        "cells of this file.",
        {"list": f"text, {first} is the choices {' and '.join(first.split(','))}", "decimal": "decimal commas"},
    )
    return chosen == "list"


def _numbers(
    cells: Column, found: pd.Series, *, blank: pd.Series | None = None, odd: pd.Series | None = None, unit: str = ""
) -> pd.Series:
    """Numbers without infinities; those that are dates as dates, and 999 for "no value" proposed as a blank."""
    found = without_infinities(found, cells)
    all_numbers = odd is None or not odd.any()
    named = _is_named_as_date(cells)
    if all_numbers and (dates := moments_of_numbers(cells, found, named=named)) is not None:
        short = found.le(SHORT_YEARS) & (found // 100 != dates.dt.year) & (found.max() > SERIALS[1])
        dates = _in_the_past(cells, dates, short)
        cells.record("date", dates, blank=blank)
        return dates
    cells.record("number", found, blank=blank, odd=odd, unit=unit)
    return _without_sentinel(found, cells)


def _without_sentinel(numbers: pd.Series, cells: Column) -> pd.Series:
    """Proposes a number such as 999, far from all others and frequent, as a blank; it is kept unless that is chosen."""
    values = numbers.to_numpy()
    values = values[np.isfinite(values)]
    if len(values) < COUNTED_ROWS:
        return numbers
    for extreme in (values.max(), values.min()):
        others = values[values != extreme]
        n = len(values) - len(others)
        if extreme not in SENTINELS or n < 0.01 * len(values) or n < 5 or len(others) < 5:
            continue
        least = 0 if extreme == -1 else abs(extreme) / 3
        if (extreme > 0 and others.max() > least) or (extreme < 0 and others.min() < 0):
            continue
        chosen = cells.ask(
            "sentinel",
            f"{cells.name!r} is {extreme:g} in {n:,} of {len(values):,} rows, far from all other values "
            f"({others.min():g} to {others.max():g}).",
            {"value": "a number like the others", "blank": f"{extreme:g} means no value"},
            stops=False,
        )
        return numbers.mask(numbers == extreme) if chosen == "blank" else numbers
    return numbers


# ---- dates -----------------------------------------------------------------------------------------------------------


def _dates(cells: Column, dates: Dates, filled: pd.Series, blank: pd.Series, odd: pd.Series) -> pd.Series:
    """The column as dates; those far ahead mean an open end and are missing."""
    ends = _open_end(filled)
    moments = _in_the_past(cells, in_order(dates, filled, cells), ~filled.str.contains("[0-9]{4}", regex=True))
    moments = moments.mask(ends | (dates.values.dt.year < FIRST_YEAR))
    lost = moments.isna().reindex(cells.distinct.index, fill_value=False) & ~odd
    if lost.any():
        cells.note(
            f"{cells.n_rows(lost):,} dates in {cells.name!r} mean an open end or none, {cells.first_named(lost)}: "
            "missing."
        )
    _point_out_far(cells, moments)
    found = cells.spread_dates(moments)
    cells.record("date", found, blank=blank, odd=odd)
    return found


def _heading(cells: Column) -> str:
    """The words of a heading between underscores: signUpDate, Sign-up date and SIGN_UP_DATE are _sign_up_date_."""
    words = re.sub(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[^\W\d_])(?=[0-9])", "_", cells.name)
    return re.sub(r"[\W_]+", "_", f"_{words}_").lower()


def _is_named_as_date(cells: Column) -> bool:
    heading = _heading(cells)
    return _DATE_NAME.search(heading) is not None and _COUNT_NAME.search(heading) is None


def _are_no_months(cells: Column, filled: pd.Series) -> bool:
    """Whether cells such as 2010-11 are no months: all are a year and the next one, or many of no year people live in.

    A year like 1201 is one of codes such as 1201-05.
    """
    parts = filled.str.extract(r"^([0-9]{4})[-/]([0-9]{2})$")
    if parts[0].isna().mean() > SOME_ODD:
        return False
    year, month = (pd.to_numeric(parts[k]) for k in range(2))
    code = year.between(100, FIRST_YEAR - 1) | year.between(LAST_YEAR, 9998)
    if ((year + 1) % 100 == month).all() and not code.any():
        said = "holds a year and the next one"
        first = filled.iloc[0]
    elif code.mean() > FEW_ODD:
        said, first = "looks like codes", filled[code].iloc[0]
    else:
        return False
    cells.note(f"{cells.name!r} {said}, as in {first!r}, and is read as text.")
    return True


def _in_the_past(cells: Column, moments: pd.Series, short: pd.Series) -> pd.Series:
    """The dates; of those with two digits of the year, birthdays that are to come are a century earlier."""
    late = short & (moments > pd.Timestamp.now() + pd.Timedelta(days=366))
    if not late.any():
        return moments
    past = moments.mask(late, moments - pd.DateOffset(years=100))
    both = moments[late].max(), past[late].max()
    said = f"years of two digits in {cells.name!r} may be to come or past ({both[0]:%Y} or {both[1]:%Y})"
    if _BIRTH_NAME.search(_heading(cells)):
        cells.note(f"{said}: birthdays, hence past.")
        return past
    readings = {"to_come": f"as in {both[0]:%Y}", "past": f"as in {both[1]:%Y}"}
    far = both[0] > pd.Timestamp.now() + pd.Timedelta(days=round(FAR_YEARS * 365.25))
    return past if cells.ask("century", f"{said}.", readings, stops=bool(far)) == "past" else moments


def _open_end(written: pd.Series) -> pd.Series:
    return written.str.match("[3-9][0-9]{3}[-/.]|2[2-9][0-9]{2}[-/.]") | written.str.fullmatch(
        r"[0-9]{1,2}[-/.][0-9]{1,2}[-/.](?:[3-9][0-9]{3}|2[2-9][0-9]{2})(?: .*)?"
    )


def _point_out_far(cells: Column, moments: pd.Series) -> None:
    """Say which few dates are years away from all others, such as 1970-01-01 and 2062: they are kept as written."""
    ordered = moments.dropna().sort_values()
    if len(ordered) < COUNTED_ROWS:
        return
    gaps = (np.diff(ordered.to_numpy()) > np.timedelta64(round(FAR_YEARS * 365.25), "D")).nonzero()[0]
    for gap in gaps:
        fewer = ordered.iloc[gap + 1 :] if gap + 1 > len(ordered) / 2 else ordered.iloc[: gap + 1]
        if len(fewer) <= FEW_ODD * len(ordered):
            far = cells.distinct.index.isin(fewer.index)
            cells.note(
                f"{cells.n_rows(far):,} dates in {cells.name!r} are more than {FAR_YEARS} years from all others, "
                f"{cells.first_named(far)}; they are kept as written."
            )


def in_order(dates: Dates, written: pd.Series, cells: Column) -> pd.Series:
    """The dates in the order of day, month and year that AM/PM or another column of the file proves; else it is asked.

    Where two digits in front may be the year, no other column proves more: it may be written alike. The order whose
    dates lie within the fewest years is proposed then.
    """
    if not dates.others:
        return dates.values
    has_year_first = "year_first" in dates.others
    if not has_year_first:
        day, month = cells.proves(DAY_FIRST), cells.proves(MONTH_FIRST)
        if day != month:
            cells.note(
                f"dates in {cells.name!r} read as {'day' if day else 'month'}-first, as in another column of the file."
            )
            return dates.values if day else dates.others["month_first"]
        if written.str.contains(AM_PM, regex=True).all():
            cells.note(f"dates in {cells.name!r} read as month-first, because the times have AM and PM.")
            return dates.others["month_first"]
    orders = {"day_first": dates.values, **dates.others}
    orders = dict(sorted(orders.items(), key=lambda order: np.ptp(order[1].dropna().dt.year) if has_year_first else 0))
    differ = [(other != dates.values).to_numpy() for other in dates.others.values()]
    place = int(np.logical_and.reduce([*differ, dates.values.notna().to_numpy()]).argmax())
    first, names = str(written.iloc[place]), [order.replace("_", "-") for order in orders]
    chosen = cells.ask(
        "order",
        f"the dates in {cells.name!r} could be {' or '.join(names)}, as in {first!r}.",
        {
            order: f"{name}, {first} is {values.iloc[place]:%d %B %Y}"
            for name, (order, values) in zip(names, orders.items(), strict=True)
        },
    )
    return orders[chosen]


def _dates_of_parquet(cells: Column) -> pd.Series:
    values = in_utc(cells.values)
    far = (values.dt.year >= LAST_YEAR) | (values.dt.year < 1)
    if far.any():
        cells.note(f"{int(far.sum()):,} dates in {cells.name!r} are in the year {LAST_YEAR} or later: missing.")
        values = values.mask(far).astype("datetime64[us]")
    cells.record("date", values)
    return values


# ---- text ------------------------------------------------------------------------------------------------------------


def _text(cells: Column) -> pd.Series:
    """The column as text, blanks missing; says which words counted as blanks."""
    words = cells.distinct.str.lower()
    blank = is_blank(cells.distinct, number=False)
    if (cells.codes < 0).any():  # beside empty cells, `None` says something else
        blank &= words != "none"
    placeholder = words.isin(PLACEHOLDERS) & ~blank
    if placeholder.any() and len(cells.distinct) > 1:
        chosen = cells.ask(
            "placeholder",
            f"{cells.n_rows(placeholder):,} cells in {cells.name!r} are {cells.distinct[placeholder].iloc[0]!r}, which "
            "forms show while nothing is chosen.",
            {"blank": "no value", "level": "a value like the others"},
            stops=False,
        )
        blank |= placeholder if chosen == "blank" else False
    elif counts := cells.count_of(blank & ~words.isin(ERRORS)):
        counted = ", ".join(f"{n:,} x {word!r}" for word, n in counts.items())
        cells.note(f"words in {cells.name!r} count as missing: {counted}.")
    text = cells.distinct.where(~blank)
    found = pd.Series(text.array.take(cells.codes, allow_fill=True), index=cells.table.index, dtype="str")
    cells.record("text", found, blank=blank)
    return found
