"""Convert text columns to numbers, labels and features; errors name file, row and column.

Conversion works on the distinct values of a column, which are few even in long tables; columns of plain numbers and
ISO dates are cast by Arrow without looking at each value. `ids` and `moments` do the same for ids and times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crm_models.core.errors import DataError
from crm_models.data.sources import number_forms
from crm_models.data.sources.blanks import BLANKS, ERRORS, NO_NUMBER, PLACEHOLDERS, distinguishes_none, is_blank
from crm_models.data.sources.dates import AM_PM, DAY_FIRST, MONTH_FIRST, Dates, dates_of
from crm_models.data.sources.reading import DELIMITER
from crm_models.data.sources.receipt import ColumnRead, Receipt, row_of, samples_of

YES = (
    *("yes", "y", "true", "t", "ja", "j", "oui", "o", "si", "sí", "sì", "sim", "s", "tak", "ano", "igen", "да"),
    *("vrai", "wahr", "verdadero", "verdadeiro", "vero", "waar", "sant", "prawda", "evet", "是"),
)
NO = (
    *("no", "n", "false", "f", "nein", "non", "não", "nao", "nie", "ne", "nem", "нет", "nee", "nej"),
    *("faux", "falsch", "falso", "onwaar", "falskt", "fałsz", "hayır", "否"),
)
LEFT = (
    *("churned", "churn", "exited", "attrited", "attrited customer", "left"),
    *("lost", "lapsed", "inactive", "cancelled", "canceled", "closed"),
)
STAYED = (
    *("not churned", "no churn", "stayed", "existing", "existing customer", "retained"),
    *("active", "current", "loyal", "subscribed", "open"),
)
"""Words for churned and not churned in tables of customers, besides yes and no."""

COUNTED_ROWS = 20
"""From this many rows on, a column of 1, 2, 3, ... is a row number; in a shorter table it may be an age."""

FEW_ODD = 0.05
"""Up to this share of cells that are no numbers, a column is one of numbers, and they are missing."""
SOME_ODD = 0.2
"""Up to this share it is asked; above, the column is text."""

SENTINELS = (99, 999, 9999, 99999, -1, -9, -99, -999)
"""Numbers that often stand for "no value"."""

SERIALS = (36_526, 55_153)
"""Spreadsheet days from 2000 to 2050: numbers in this range are dates that lost their format."""
SERIAL_ZERO = "1899-12-30"
_DATE_NAME = re.compile(
    r"date|datum|since|sign.?up|creat|renew|join|expir|_at$|_on$|beitritt|seit|fecha", re.IGNORECASE
)

_ISO_DATE = r"(?:1[89]|2[0-9]|9[0-9])[0-9]{2}[-/](?:0[1-9]|1[0-2])[-/](?:[0-2][0-9]|3[01])(?:[ T].*)?"
_OTHER_DATE = r"[0-9]{1,2}([./-])[0-9]{1,2}\1(?:1[89]|20|21)[0-9]{2}(?: .*)?"
LAST_YEAR = 2200
"""Dates from this year on stand for an open end, such as 9999-12-31."""


def need_columns(table: pd.DataFrame, name: str, *columns: str) -> None:
    """`DataError` if the table has no rows, or lacks one of `columns`; the message lists the columns it has."""
    for column in columns:
        if column not in table:
            existing = ", ".join(str(c) for c in table.columns[:12]) or "no columns"
            raise DataError(f"{name}: expected the column {column!r}, found {existing}; rename or map it")
    if not len(table):
        raise DataError(f"{name}: expected rows below the header, found none")


@dataclass(frozen=True)
class Cells:
    """The distinct cells of a column: codes (R,) into `distinct`, -1 for an empty cell; counts (D,) of each."""

    codes: np.ndarray
    distinct: pd.Series
    counts: np.ndarray

    @classmethod
    def of(cls, values: pd.Series) -> Cells:
        """The distinct cells, as trimmed text."""
        codes, distinct = pd.factorize(values.astype("str").where(values.notna()))
        counts = np.bincount(codes[codes >= 0], minlength=len(distinct))
        return cls(codes, pd.Series(distinct, dtype="str").str.strip(), counts)

    def rows(self, mask: pd.Series | np.ndarray) -> np.ndarray:
        """(R,) whether the cell of each row is one of the masked distinct ones."""
        return np.append(np.asarray(mask, dtype=bool), False)[self.codes]

    def spread(self, values: np.ndarray, empty: object = np.nan) -> np.ndarray:
        """(R,) the value of each row's cell; `empty` for an empty cell."""
        return np.append(values, np.asarray([empty], dtype=values.dtype))[self.codes]

    def count_of(self, mask: pd.Series | np.ndarray) -> dict[str, int]:
        """Masked cell to number of rows."""
        mask = np.asarray(mask, dtype=bool)
        return dict(zip(self.distinct[mask].tolist()[:20], self.counts[mask].tolist()[:20], strict=True))


def numbers_of(table: pd.DataFrame, name: str, column: str, receipt: Receipt | None = None) -> pd.Series:
    """A column as float64; blanks and infinities are NaN, decimal commas and thousands separators are read.

    `DataError` for other text, unless bad rows are skipped. The receipt gets what is unusual or in doubt.
    """
    receipt = receipt or Receipt()
    values = without_categories(table[column])
    plain = _plain_numbers(values)
    if plain is not None:
        _record(receipt, table, name, column, "number", plain)
        return _without_infinities(plain, name, column, receipt)
    cells = Cells.of(values)
    blank = is_blank(cells.distinct, number=True)
    parsed = _parsed(table, name, column, cells, blank, receipt)
    receipt.refuse(table, name, column, cells.rows(~blank & parsed.isna()), "a number")
    found = pd.Series(cells.spread(parsed.to_numpy()), index=table.index)
    _note_words(cells, blank, table, name, column, receipt)
    _record(receipt, table, name, column, "number", found, cells=cells, blank=blank)
    return _without_infinities(found, name, column, receipt)


def feature_of(table: pd.DataFrame, name: str, column: str, receipt: Receipt | None = None) -> pd.Series:
    """A feature column as numbers or dates if its filled cells are, but for a few, else as text.

    Infinities are missing, and so are a few odd cells; the receipt names the first of them.
    """
    receipt = receipt or Receipt()
    values = without_categories(table[column])
    if pd.api.types.is_bool_dtype(values):
        _record(receipt, table, name, column, "yes or no", values)
        return values
    if pd.api.types.is_datetime64_any_dtype(values):
        return _dates_of_parquet(values, name, column, table, receipt)
    plain = _plain_numbers(values)
    if plain is not None:
        found = _without_infinities(plain, name, column, receipt)
        if _are_days_of_a_spreadsheet(found, column):
            dates = serial_dates(found)
            receipt.note(
                f"{name}: the numbers in {column!r} are read as a spreadsheet's days since 1900 "
                f"({found.dropna().iloc[0]:g} is {dates.dropna().iloc[0]:%d %B %Y})."
            )
            _record(receipt, table, name, column, "date", dates)
            return dates
        _record(receipt, table, name, column, "number", found)
        return _without_sentinel(found, name, column, receipt)
    cells = Cells.of(values)
    blank = is_blank(cells.distinct, number=True)
    n_filled = int(cells.counts[~blank.to_numpy()].sum())
    if not n_filled:
        return _text(table, name, column, cells, receipt)
    if _could_be_numbers(cells.distinct[~blank]):
        parsed = _parsed(table, name, column, cells, blank, receipt)
        odd = ~blank & parsed.isna()
        if _numbers_in_spite_of(odd, cells, n_filled, table, name, column, receipt):
            found = pd.Series(cells.spread(parsed.to_numpy()), index=table.index)
            _note_words(cells, blank, table, name, column, receipt)
            _record(receipt, table, name, column, "number", found, cells=cells, blank=blank, odd=odd)
            found = _without_infinities(found, name, column, receipt)
            return _without_sentinel(found, name, column, receipt)
    moments = _feature_dates(table, name, column, cells, blank, receipt)
    return _text(table, name, column, cells, receipt) if moments is None else moments


def without_row_numbers(features: dict[str, pd.Series], name: str, receipt: Receipt) -> dict[str, pd.Series]:
    """The features without row numbers (counting from 0 or 1), which carry no information."""
    row_numbers = [c for c, values in features.items() if _counts_rows(values)]
    for c in row_numbers:
        receipt.note(f"{name}: the column {c!r} only numbers the rows; it is left out.")
    return {c: values for c, values in features.items() if c not in row_numbers}


def labels_of(
    table: pd.DataFrame, name: str, column: str, positive: str | None = None, receipt: Receipt | None = None
) -> pd.Series:
    """A yes/no column as nullable boolean. positive: the value that means yes, if it is not a usual word.

    `DataError` for a value that is neither yes nor no, or if `positive` never occurs. With `positive`, every other
    filled value means no; the receipt gets a sentence if there are several.
    """
    receipt = receipt or Receipt()
    values = without_categories(table[column])
    if pd.api.types.is_bool_dtype(values):
        _record(receipt, table, name, column, "yes or no", values)
        return values.astype("boolean")
    cells = Cells.of(values)
    distinct = cells.distinct
    words = distinct.str.lower()
    if positive is not None:
        wanted = positive.strip().lower()
        yes = words.isin([wanted, f"{wanted}.0"])
        if not yes.any():
            existing = ", ".join(map(repr, distinct.tolist()[:5])) or "blanks only"
            raise DataError(f"{name}: expected {positive!r} in the column {column!r}, found {existing}")
        if (~yes).sum() > 1:
            others = ", ".join(repr(str(v)) for v in distinct[~yes.to_numpy()][:5])
            receipt.note(f"{name}: in {column!r}, {positive!r} means churned; {others} all mean stayed.")
        blank = pd.Series(False, index=yes.index)
    else:
        numbers = pd.Series(pd.to_numeric(words, errors="coerce"), index=words.index)  # "1.00" means the same as "1"
        blank = words.isin((*BLANKS, *ERRORS))
        yes = words.isin(YES + LEFT) | (numbers == 1)
        unknown = ~(yes | blank | words.isin(NO + STAYED) | (numbers == 0))
        receipt.refuse(
            table,
            name,
            column,
            cells.rows(unknown),
            "yes or no (also 1/0, true/false)",
            "if another word means churned, give it with --positive",
        )
        blank |= unknown
    known = pd.array([*(None if b else bool(y) for b, y in zip(blank, yes, strict=True)), None], dtype="boolean")
    found = pd.Series(known.take(cells.codes), index=table.index)
    _record(receipt, table, name, column, "yes or no", found, cells=cells, blank=blank)
    return found


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _plain_numbers(values: pd.Series) -> pd.Series | None:
    """The column as float64 if every filled cell is plainly one, as most columns are; Arrow casts them fast."""
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return values.astype("Float64").astype("float64")
    if not isinstance(values.dtype, pd.StringDtype):
        return None
    text = pa.chunked_array(pa.array(values))
    if text.null_count == len(text):
        return None
    try:
        plain = text.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    pointed = text.filter(pc.match_substring(text, "."))
    if len(pointed) and pc.all(pc.match_substring_regex(pointed, r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$")).as_py():
        return None  # 1.234 everywhere: the points may be thousands marks
    return pd.Series(plain, index=values.index)


def _could_be_numbers(filled: pd.Series) -> bool:
    """Whether half of the distinct cells have digits: parsing columns of words as numbers takes long."""
    return bool(filled.str.contains("[0-9]", regex=True).mean() >= 0.5)


def _parsed(table: pd.DataFrame, name: str, column: str, cells: Cells, blank: pd.Series, receipt: Receipt) -> pd.Series:
    """The distinct cells as numbers; asks where commas or points can be either mark."""
    filled = cells.distinct[~blank]
    delimiter = table.attrs.get(DELIMITER)
    parsed = number_forms.parse(filled, delimiter, lambda: _mark_elsewhere(table, column))
    if parsed.doubt and np.isfinite(parsed.values).any():
        sign, other = (",", "comma") if parsed.mark == "comma" else (".", "point")
        chosen = receipt.ask(
            "thousands",
            file=name,
            column=column,
            evidence=f"{name}: every {other} in {column!r} stands before three digits, as in {parsed.unclear!r}: it "
            "could be a decimal or a thousands mark, and no other column decides.",
            readings={
                "decimal": f"decimal mark, {parsed.unclear} is {parsed.unclear.replace(sign, '.')}",
                "thousands": f"thousands mark, {parsed.unclear} is {parsed.unclear.replace(sign, '')}",
            },
        )
        if chosen == "thousands":
            parsed = number_forms.parse(filled, delimiter, mark="point" if parsed.mark == "comma" else "comma")
    elif parsed.notation and np.isfinite(parsed.values).any():
        receipt.note(f"{name}: numbers in {column!r} read with {parsed.notation} (first: {_first(filled)!r}).")
    found = pd.Series(np.nan, index=cells.distinct.index)
    found[~blank] = parsed.values
    return found


def _mark_elsewhere(table: pd.DataFrame, column: str) -> number_forms.Mark | None:
    """The decimal mark that the other columns of the file prove, if they agree."""
    proofs = {mark: _proves(table, column, f"^{form}$") for mark, form in number_forms.PROOF.items()}
    if proofs["comma"] == proofs["point"]:
        return None
    return "comma" if proofs["comma"] else "point"


def _proves(table: pd.DataFrame, column: str, form: str) -> bool:
    """Whether a cell of another text column of the table has this form."""
    for k, other in enumerate(table.columns):
        if other != column and isinstance(table.dtypes.iloc[k], pd.StringDtype):
            found = pc.match_substring_regex(pa.chunked_array(pa.array(table.iloc[:, k])), form)
            if pc.any(found).as_py():
                return True
    return False


def _numbers_in_spite_of(
    odd: pd.Series, cells: Cells, n_filled: int, table: pd.DataFrame, name: str, column: str, receipt: Receipt
) -> bool:
    """Whether a column is one of numbers although some filled cells are none; says or asks what becomes of these."""
    n_odd = int(cells.counts[odd.to_numpy()].sum())
    if not n_odd:
        return True
    share, n_numbers = n_odd / n_filled, n_filled - n_odd
    if share > 0.5 or not n_numbers:
        return False
    words = sorted(cells.count_of(odd).items(), key=lambda pair: -pair[1])
    first = row_of(table, cells.rows(odd))
    text = str(cells.distinct[odd].iloc[0])[:40]
    said = f"{name}: {n_odd:,} of {n_filled:,} cells in {column!r} are no numbers, the first {text!r} in row {first}"
    if share <= FEW_ODD or (len(words) == 1 and share <= 1 / 3):
        receipt.note(f"{said}; they count as missing.")
        return True
    if share <= SOME_ODD:
        chosen = receipt.ask(
            "odd",
            file=name,
            column=column,
            evidence=f"{said}.",
            readings={"number": "numbers, the odd cells missing", "text": "text, every cell a level"},
        )
        return chosen == "number"
    receipt.note(f"{said}; the column is read as text.")
    return False


def _note_words(cells: Cells, blank: pd.Series, table: pd.DataFrame, name: str, column: str, receipt: Receipt) -> None:
    """Say which words, such as "unknown", count as missing among numbers; NA and the like go without saying."""
    words = blank & cells.distinct.str.lower().isin(NO_NUMBER)
    if words.any():
        counted = ", ".join(f"{n:,} x {word!r}" for word, n in cells.count_of(words).items())
        receipt.note(
            f"{name}: words in {column!r} count as missing: {counted}, the first in row "
            f"{row_of(table, cells.rows(words))}."
        )


def _without_infinities(numbers: pd.Series, name: str, column: str, receipt: Receipt) -> pd.Series:
    """Infinities become missing: no amount, rating or age is infinite."""
    infinite = np.isinf(numbers.to_numpy())
    if infinite.any():
        receipt.note(f"{name}: {int(infinite.sum()):,} infinite values in {column!r} count as missing.")
        return numbers.mask(infinite)
    return numbers


def _without_sentinel(numbers: pd.Series, name: str, column: str, receipt: Receipt) -> pd.Series:
    """Proposes a number such as 999, far from all others and frequent, as a blank; it is kept unless that is chosen."""
    values = numbers.to_numpy()
    values = values[np.isfinite(values)]
    if len(values) < COUNTED_ROWS:
        return numbers
    low, high = values.min(), values.max()
    for extreme in (high, low):
        others = values[values != extreme]
        n = len(values) - len(others)
        if extreme not in SENTINELS or n < 0.01 * len(values) or n < 5 or len(others) < 5:
            continue
        least = 0 if extreme == -1 else abs(extreme) / 3
        if (extreme > 0 and others.max() > least) or (extreme < 0 and others.min() < 0):
            continue
        chosen = receipt.ask(
            "sentinel",
            file=name,
            column=column,
            evidence=f"{name}: {column!r} is {extreme:g} in {n:,} of {len(values):,} rows, far from all other values "
            f"({others.min():g} to {others.max():g}).",
            readings={"value": "a number like the others", "blank": f"{extreme:g} means no value"},
            stops=False,
        )
        return numbers.mask(numbers == extreme) if chosen == "blank" else numbers
    return numbers


def _are_days_of_a_spreadsheet(numbers: pd.Series, column: str) -> bool:
    """Whether a column named as a date holds numbers in the range of a spreadsheet's days."""
    filled = numbers.dropna()
    return (
        bool(_DATE_NAME.search(column)) and len(filled) > 0 and bool(filled.between(*SERIALS, inclusive="left").all())
    )


def serial_dates(numbers: pd.Series) -> pd.Series:
    """Days of a spreadsheet, which count from 1899-12-30, as dates; NaN is NaT."""
    seconds = pd.to_timedelta((numbers * 86_400).round(), unit="s")
    return (pd.Timestamp(SERIAL_ZERO) + seconds).astype("datetime64[us]")


def _counts_rows(values: pd.Series) -> bool:
    if len(values) < COUNTED_ROWS or not pd.api.types.is_float_dtype(values):
        return False
    return bool(values.iloc[0] in (0, 1) and (values.diff().iloc[1:] == 1).all())


# ---- dates -----------------------------------------------------------------------------------------------------------


def _feature_dates(
    table: pd.DataFrame, name: str, column: str, cells: Cells, blank: pd.Series, receipt: Receipt
) -> pd.Series | None:
    """A feature column as dates if its filled cells are, but for a few; dates far ahead mean an open end."""
    filled = cells.distinct[~blank]
    counts = cells.counts[~blank.to_numpy()]
    dated = filled.str.fullmatch(_ISO_DATE)
    if not dated.any():
        dated = filled.str.fullmatch(_OTHER_DATE)
    n_odd = int(counts[~dated.to_numpy()].sum())
    if not dated.any() or n_odd > FEW_ODD * counts.sum():
        return None
    written = filled[dated].where(~filled[dated].str.match("[0-9]{4}/"), filled[dated].str.replace("/", "-"))
    moments = in_order(dates_of(written), written, table, name, column, receipt)
    open_end = written.str.match("[3-9][0-9]{3}-|2[2-9][0-9]{2}-")
    if not (moments.notna() | open_end).all():
        return None
    if open_end.any():
        n = int(cells.counts[written.index[open_end]].sum())
        receipt.note(
            f"{name}: {n:,} dates in {column!r} such as {written[open_end].iloc[0]} mean an open end: missing."
        )
    known = np.full(len(cells.distinct), np.datetime64("NaT", "us"))
    known[written.index] = moments.mask(open_end).to_numpy("datetime64[us]")
    odd = pd.Series(False, index=cells.distinct.index)
    odd[filled.index[~dated]] = True
    if n_odd:
        row = row_of(table, cells.rows(odd))
        receipt.note(
            f"{name}: {n_odd:,} cells in {column!r} are no dates, the first {_first(filled[~dated])!r} in row {row}; "
            "they count as missing."
        )
    found = pd.Series(cells.spread(known, np.datetime64("NaT", "us")), index=table.index)
    _record(receipt, table, name, column, "date", found, cells=cells, blank=blank, odd=odd)
    return found


def in_order(
    dates: Dates, written: pd.Series, table: pd.DataFrame, name: str, column: str, receipt: Receipt
) -> pd.Series:
    """The dates in the order of day and month that AM/PM or another column of the file proves; else it is asked."""
    if dates.other is None:
        return dates.values
    day, month = _proves(table, column, DAY_FIRST), _proves(table, column, MONTH_FIRST)
    if day != month:
        receipt.note(
            f"{name}: dates in {column!r} read as {'day' if day else 'month'}-first, as in another column of the file."
        )
        return dates.values if day else dates.other
    if written.str.contains(AM_PM, regex=True).all():
        receipt.note(f"{name}: dates in {column!r} read as month-first, because the times have AM and PM.")
        return dates.other
    first = str(written.iloc[int((dates.values != dates.other).to_numpy().argmax())])
    both = [values[(dates.values != dates.other).to_numpy()].iloc[0] for values in (dates.values, dates.other)]
    chosen = receipt.ask(
        "order",
        file=name,
        column=column,
        evidence=f"{name}: the dates in {column!r} could be day-first or month-first, as in {first!r}.",
        readings={
            "day_first": f"day-first, {first} is {both[0]:%d %B %Y}",
            "month_first": f"month-first, {first} is {both[1]:%d %B %Y}",
        },
    )
    return dates.values if chosen == "day_first" else dates.other


def _dates_of_parquet(values: pd.Series, name: str, column: str, table: pd.DataFrame, receipt: Receipt) -> pd.Series:
    values = values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz is not None else values
    far = (values.dt.year >= LAST_YEAR) | (values.dt.year < 1)
    if far.any():
        receipt.note(f"{name}: {int(far.sum()):,} dates in {column!r} are in the year {LAST_YEAR} or later: missing.")
        values = values.mask(far)
    found = values.astype("datetime64[us]") if far.any() else values
    _record(receipt, table, name, column, "date", found)
    return found


# ---- text ------------------------------------------------------------------------------------------------------------


def _text(table: pd.DataFrame, name: str, column: str, cells: Cells, receipt: Receipt) -> pd.Series:
    """The column as text, blanks missing; says which words counted as blanks."""
    has_empty = bool((cells.codes < 0).any())
    blank = is_blank(cells.distinct, number=False) & ~distinguishes_none(cells.distinct, has_empty)
    placeholder = cells.distinct.str.lower().isin(PLACEHOLDERS) & ~blank
    if placeholder.any() and len(cells.distinct) > 1:
        word = str(cells.distinct[placeholder].iloc[0])
        n = int(cells.counts[placeholder.to_numpy()].sum())
        chosen = receipt.ask(
            "placeholder",
            file=name,
            column=column,
            evidence=f"{name}: {n:,} cells in {column!r} are {word!r}, which forms show while nothing is chosen.",
            readings={"blank": "no value", "level": "a value like the others"},
            stops=False,
        )
        blank |= placeholder if chosen == "blank" else False
    elif blank.any() and (words := cells.count_of(blank & ~cells.distinct.str.lower().isin(ERRORS))):
        counted = ", ".join(f"{n:,} x {word!r}" for word, n in words.items())
        receipt.note(f"{name}: words in {column!r} count as missing: {counted}.")
    text = cells.distinct.where(~blank)
    found = pd.Series(text.array.take(cells.codes, allow_fill=True), index=table.index, dtype="str")
    _record(receipt, table, name, column, "text", found, cells=cells, blank=blank)
    return found


def _first(cells: pd.Series) -> str:
    return str(cells.iloc[0])[:40] if len(cells) else ""


def without_categories(column: pd.Series) -> pd.Series:
    """The column with its categories as plain values."""
    return column.astype(column.cat.categories.dtype) if isinstance(column.dtype, pd.CategoricalDtype) else column


def _record(
    receipt: Receipt,
    table: pd.DataFrame,
    name: str,
    column: str,
    kind: str,
    found: pd.Series,
    *,
    cells: Cells | None = None,
    blank: pd.Series | None = None,
    odd: pd.Series | None = None,
) -> None:
    """Add the column to the receipt: what it was read as, its blanks by word, odd cells and a few samples."""
    empty = int(table[column].isna().sum()) if cells is None else int((cells.codes < 0).sum())
    blanks = dict(_blanks(cells, blank, empty))
    n_odd, first_odd = 0, None
    if cells is not None and odd is not None and odd.any():
        rows = cells.rows(odd)
        n_odd, first_odd = int(rows.sum()), (row_of(table, rows), _first(cells.distinct[odd]))
    receipt.columns.append(
        ColumnRead(
            file=name,
            column=str(column),
            role="feature" if str(column) not in ROLES else str(column),
            type=kind,
            blanks=blanks,
            odd=n_odd,
            first_odd=first_odd,
            samples=samples_of(table[column].iloc[:50].tolist(), found.iloc[:50].tolist()),
        )
    )


ROLES = ("customer_id", "action", "timestamp", "value", "churned", "label", "kind", "repeatable")
"""Standard names of columns that are no features."""


def _blanks(cells: Cells | None, blank: pd.Series | None, empty: int) -> Iterator[tuple[str, int]]:
    if empty:
        yield "", empty
    if cells is not None and blank is not None:
        yield from cells.count_of(blank).items()
