"""Convert text columns to ids, numbers, labels and features; errors name file, row and column.

Conversion works on the distinct values of a column, which are few even in long tables.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from crm_models.core.errors import DataError
from crm_models.data.sources.dates import dates_of
from crm_models.data.sources.reading import DELIMITER, FIRST_ROW

YES = ("yes", "y", "true", "t", "ja", "j", "oui", "si", "sí", "sim")
NO = ("no", "n", "false", "f", "nein", "non", "não", "nao")
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

_CURRENCY_OR_PERCENT = r"^[+-]?([$€£¥])|([$€£¥%])$"

_DECIMAL_COMMA = r"[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]*),[0-9]+"
_THOUSANDS = r"[+-]?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?"
_DECIMAL_OR_THOUSANDS = r"[+-]?[1-9][0-9]{0,2},[0-9]{3}"
_ISO_DATE = r"(?:1[89]|20|21)[0-9]{2}[-/](?:0[1-9]|1[0-2])[-/](?:[0-2][0-9]|3[01])(?:[ T].*)?"
_OTHER_DATE = r"[0-9]{1,2}([./-])[0-9]{1,2}\1(?:1[89]|20|21)[0-9]{2}(?: .*)?"


def need_columns(table: pd.DataFrame, name: str, *columns: str) -> None:
    """`DataError` if the table has no rows, or lacks one of `columns`; the message lists the columns it has."""
    for column in columns:
        if column not in table:
            existing = ", ".join(str(c) for c in table.columns[:12]) or "no columns"
            raise DataError(f"{name}: expected the column {column!r}, found {existing}; rename or map it")
    if not len(table):
        raise DataError(f"{name}: expected rows below the header, found none")


def row_of(table: pd.DataFrame, bad: pd.Series | np.ndarray) -> int:
    """Number of the first bad row in the file: the row below a header is row 2."""
    return int(np.argmax(np.asarray(bad))) + int(table.attrs.get(FIRST_ROW, 2))


def names_of(table: pd.DataFrame, name: str, column: str) -> pd.Series:
    """An id or action column as a categorical of text, as written ("007" stays); `DataError` if a cell is blank."""
    codes, distinct = pd.factorize(_without_categories(table[column]))
    text = _text_of(pd.Series(distinct))
    blank = np.concatenate([(text == "").to_numpy(dtype=bool), [True]])[codes]  # code -1 is a missing value
    if blank.any():
        row = row_of(table, blank)
        raise DataError(
            f"{name} row {row}, column {column!r}: expected a name or number, found a blank; fill it or remove the row"
        )
    merged, names = pd.factorize(text)  # cells that differ only in surrounding blanks are one name
    categories = pd.Index(names, dtype="str")
    return pd.Series(pd.Categorical.from_codes(merged[codes], categories=categories), index=table.index, name=column)


def numbers_of(table: pd.DataFrame, name: str, column: str, notes: list[str] | None = None) -> pd.Series:
    """A column as float64; blanks and infinities are NaN, decimal commas and thousands separators are read.

    `DataError` for other text. notes: gets a sentence if there are infinities, or if the meaning of commas is unclear.
    """
    numbers, bad, assumed = to_numbers(table[column], table.attrs.get(DELIMITER))
    if bad.any():
        value = str(table[column].to_numpy()[bad][0])[:40]
        raise DataError(f"{name} row {row_of(table, bad)}, column {column!r}: expected a number, found {value!r}")
    _note_commas(notes, name, column, assumed)
    return _without_infinities(numbers, name, column, notes)


def feature_of(table: pd.DataFrame, name: str, column: str, notes: list[str] | None = None) -> pd.Series:
    """A feature column as numbers or dates if every filled cell is one, else as text; infinities are missing."""
    values = _without_categories(table[column])
    if pd.api.types.is_bool_dtype(values):
        return values
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.dt.tz_convert("UTC").dt.tz_localize(None) if values.dt.tz is not None else values
    numbers, bad, assumed = to_numbers(values, table.attrs.get(DELIMITER))
    if not bad.any() and numbers.notna().any():
        _note_commas(notes, name, column, assumed)
        return _without_infinities(numbers, name, column, notes)
    text = values.astype("str").where(values.notna()).astype("str")
    codes, distinct = pd.factorize(text)
    cells = pd.Series(distinct, dtype="str")
    if len(cells) and any(cells.str.fullmatch(form).all() for form in (_ISO_DATE, _OTHER_DATE)):
        moments, ambiguous = dates_of(cells.where(~cells.str.match("[0-9]{4}/"), cells.str.replace("/", "-")))
        if moments.notna().all():
            if ambiguous:
                say_ambiguous(notes, name, column)
            known = np.append(moments.to_numpy("datetime64[us]"), np.datetime64("NaT"))
            return pd.Series(known[codes], index=table.index)
    return text


def say_ambiguous(notes: list[str] | None, name: str, column: str) -> None:
    """Add a note that dates such as 03/04/2026 were read as day-first."""
    if notes is not None:
        notes.append(f"{name}: the dates in {column!r} could be day-first or month-first; read as day-first.")


def without_row_numbers(features: dict[str, pd.Series], name: str, notes: list[str]) -> dict[str, pd.Series]:
    """The features without row numbers (counting from 0 or 1), which carry no information."""
    row_numbers = [c for c, values in features.items() if _counts_rows(values)]
    notes += [f"{name}: the column {c!r} only numbers the rows; it is left out." for c in row_numbers]
    return {c: values for c, values in features.items() if c not in row_numbers}


def _counts_rows(values: pd.Series) -> bool:
    if len(values) < COUNTED_ROWS or not pd.api.types.is_float_dtype(values):
        return False
    return bool(values.iloc[0] in (0, 1) and (values.diff().iloc[1:] == 1).all())


def labels_of(
    table: pd.DataFrame, name: str, column: str, positive: str | None = None, notes: list[str] | None = None
) -> pd.Series:
    """A yes/no column as nullable boolean. positive: the value that means yes, if it is not a usual word.

    `DataError` for a value that is neither yes nor no, or if `positive` never occurs. With `positive`, every other
    filled value means no; notes gets a sentence if there are several.
    """
    values = _without_categories(table[column])
    if pd.api.types.is_bool_dtype(values):
        return values.astype("boolean")
    codes, distinct = pd.factorize(values.astype("str").where(values.notna()))
    words = pd.Series(distinct, dtype="str").str.strip().str.lower()
    if positive is not None:
        wanted = positive.strip().lower()
        yes = words.isin([wanted, f"{wanted}.0"])
        if not yes.any():
            existing = ", ".join(map(repr, distinct[:5])) or "blanks only"
            raise DataError(f"{name}: expected {positive!r} in the column {column!r}, found {existing}")
        if (~yes).sum() > 1 and notes is not None:
            others = ", ".join(repr(str(v)) for v in distinct[~yes.to_numpy()][:5])
            notes.append(f"{name}: in {column!r}, {positive!r} means churned; {others} all mean stayed.")
    else:
        numbers = _floats(words)  # "1.00" means the same as "1"
        yes = words.isin(YES + LEFT) | (numbers == 1)
        unknown = ~(yes | words.isin(NO + STAYED) | (numbers == 0))
        if unknown.any():
            bad = np.append(unknown.to_numpy(), False)[codes]
            value = str(distinct[int(np.argmax(unknown))])[:40]
            raise DataError(
                f"{name} row {row_of(table, bad)}, column {column!r}: expected yes or no (also 1/0, true/false), "
                f"found {value!r}; if another word means churned, give it with --positive"
            )
    known = pd.array([*yes.tolist(), None], dtype="boolean")  # the last is for code -1, a missing value
    return pd.Series(known.take(codes), index=table.index)


# ---- numbers ---------------------------------------------------------------------------------------------------------


def to_numbers(column: pd.Series, delimiter: str | None) -> tuple[pd.Series, np.ndarray, str | None]:
    """The numbers, a mask of filled cells that are not numbers, and how commas were read if their meaning is unclear.

    delimiter: that of the file, if known; `;` suggests decimal commas.
    """
    column = _without_categories(column)
    none_bad = np.zeros(len(column), dtype=bool)
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return column.astype("Float64").astype("float64"), none_bad, None
    if isinstance(column.dtype, pd.StringDtype):
        try:  # most columns are plain numbers, which Arrow converts fast
            plain = pa.array(column).cast(pa.float64()).to_numpy(zero_copy_only=False)
            return pd.Series(plain, index=column.index), none_bad, None
        except pa.ArrowInvalid:
            pass
    codes, distinct = pd.factorize(column.astype("str").where(column.notna()))
    numbers, assumed = _parsed(_unmarked(pd.Series(distinct, dtype="str").str.strip()), delimiter)
    bad = np.append(numbers.isna().to_numpy(), False)
    return pd.Series(np.append(numbers.to_numpy(), np.nan)[codes], index=column.index), bad[codes], assumed


def _unmarked(cells: pd.Series) -> pd.Series:
    """Cells without their currency or percent sign, if the whole column uses the same sign."""
    marks = cells.str.extract(_CURRENCY_OR_PERCENT).bfill(axis=1)[0]
    if marks.nunique() != 1:
        return cells
    mark = marks[marks.first_valid_index()]
    return cells.where(marks.isna(), cells.str.replace(mark, "", n=1, regex=False).str.strip())


def _parsed(cells: pd.Series, delimiter: str | None) -> tuple[pd.Series, str | None]:
    """Distinct cells as numbers, else NaN. Commas are decimal or thousands separators in the whole column."""
    numbers = _floats(cells)
    not_plain = cells[numbers.isna()]
    decimal, thousands = (bool(not_plain.str.fullmatch(form).all()) for form in (_DECIMAL_COMMA, _THOUSANDS))
    if not len(not_plain) or not (decimal or thousands):
        return numbers, None
    assumed = None
    if decimal and thousands:
        # Every comma is followed by three digits. Cells with a decimal point decide, else the delimiter: files with
        # decimal commas use `;`.
        has_points = bool(cells.str.fullmatch(r"[+-]?[0-9]*\.[0-9]+").any())
        decimal = delimiter == ";" and not has_points
        if not has_points and not_plain.str.fullmatch(_DECIMAL_OR_THOUSANDS).all():
            assumed = "decimal marks" if decimal else "thousands marks"
    if decimal:
        has_comma = cells.str.contains(",", regex=False)
        converted = cells.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
        # In a column with 0,5 a cell such as 2.000 is two thousand.
        grouped = cells.str.fullmatch(r"[+-]?[0-9]{1,3}(?:\.[0-9]{3})+")
        return _floats(cells.where(~(has_comma | grouped), converted)), assumed
    return _floats(cells.where(~cells.str.fullmatch(_THOUSANDS), cells.str.replace(",", "", regex=False))), assumed


def _floats(cells: pd.Series) -> pd.Series:
    return pd.Series(pd.to_numeric(cells, errors="coerce"), index=cells.index).astype("float64")


def _without_infinities(numbers: pd.Series, name: str, column: str, notes: list[str] | None) -> pd.Series:
    """Infinities become missing: no amount, rating or age is infinite."""
    infinite = np.isinf(numbers.to_numpy())
    if infinite.any():
        if notes is not None:
            notes.append(f"{name}: {int(infinite.sum()):,} infinite values in {column!r} count as missing.")
        return numbers.mask(infinite)
    return numbers


def _note_commas(notes: list[str] | None, name: str, column: str, assumed: str | None) -> None:
    if assumed and notes is not None:
        notes.append(f"{name}: the commas in {column!r} could be decimal or thousands marks; read as {assumed}.")


# ---- text ------------------------------------------------------------------------------------------------------------


def _without_categories(column: pd.Series) -> pd.Series:
    return column.astype(column.cat.categories.dtype) if isinstance(column.dtype, pd.CategoricalDtype) else column


def _text_of(distinct: pd.Series) -> pd.Series:
    """Distinct ids as text: integers without ".0", everything else as written."""
    if isinstance(distinct.dtype, pd.StringDtype) and len(distinct) and distinct.str.fullmatch(r"[0-9]+\.0").all():
        # Spreadsheets and pandas write 17850.0 for an integer in a column with missing values.
        return distinct.str.removesuffix(".0")
    if pd.api.types.is_float_dtype(distinct):
        values = distinct.astype("float64")
        if (values.abs() < 2**53).all() and (values % 1 == 0).all():
            return values.astype("int64").astype("str")
    return distinct.astype("str").str.strip()
