"""Text cells to numbers, in any usual way of writing them.

A comma or a point before three digits can be a decimal or a thousands mark. The column decides where one of its cells
is clear, else the other columns of the file, else the delimiter; where all are silent, the doubt is returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

Mark = Literal["comma", "point"]
"""The decimal mark of a column."""

_CURRENCIES = (
    *("US$", "R$", "A$", "C$", "€", "$", "£", "¥", "₹", "zł", "Kč", "kr.", "kr", "Fr.", "Fr", "EUR", "USD", "GBP"),
    *("CHF", "JPY", "CAD", "AUD", "PLN", "CZK", "SEK", "NOK", "DKK", "HUF", "INR", "BRL"),
)
_MARKS = "|".join(sign.replace("$", r"\$").replace(".", r"\.") for sign in _CURRENCIES)
_CURRENCY = rf"^[+-]?\s*({_MARKS})\s*(?=[0-9.,+-])|(?<=[0-9.,])\s*({_MARKS})$"

_SPACED = r"[+-]?[0-9]{1,3}(?:[ '][0-9]{3})+(?:[.,][0-9]+)?"
_OPEN_COMMA, _OPEN_POINT = r"[+-]?[1-9][0-9]{0,2},[0-9]{3}", r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}"
_DECIMAL_COMMA = r"[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]*),[0-9]*(?:[eE][+-]?[0-9]+)?"
_POINT_GROUPS = r"[+-]?[0-9]{1,3}(?:\.[0-9]{3})+"
_COMMA_GROUPS = r"[+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3})(?:\.[0-9]*)?"
_DECIMAL_POINT = r"[+-]?[0-9]*\.[0-9]*(?:[eE][+-]?[0-9]+)?"

PROOF = {
    "comma": r"[+-]?([0-9]+(\.[0-9]{3})*,([0-9]{1,2}|[0-9]{4,})|0?,[0-9]+)",
    "point": r"[+-]?([0-9]+(,[0-9]{3})*\.([0-9]{1,2}|[0-9]{4,})|0?\.[0-9]+)",
}
"""What a cell of another column looks like that proves the decimal mark of the file."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Distinct cells as numbers; NaN where a cell is none.

    notation: what was unusual about the writing, or "". doubt: the column can be read with either mark. mark: the
    decimal mark. unclear: the first cell that the mark changes.
    """

    values: np.ndarray
    notation: str = ""
    doubt: bool = False
    mark: Mark = "point"
    unclear: str = ""


def parse(
    cells: pd.Series, delimiter: str | None, proof: Callable[[], Mark | None] = lambda: None, mark: Mark | None = None
) -> Numbers:
    """Distinct trimmed cells as numbers. delimiter: of the file, if known; `;` suggests decimal commas.

    proof: the decimal mark that other columns of the file prove, asked only where this column is unclear. mark: the
    decimal mark, if it is known.
    """
    written = cells
    cells, percent, notations = _unmarked(cells)
    values = _floats(cells)
    punctuated = cells.str.contains("[.,]", regex=True).to_numpy(dtype=bool)
    doubt, unclear = False, ""
    if punctuated.any():
        marked = cells[punctuated]
        mark, doubt, how = (mark, False, "") if mark else _decimal_mark(marked, delimiter, proof)
        if doubt or how:
            is_open = marked.str.fullmatch(_OPEN_POINT) | marked.str.fullmatch(_OPEN_COMMA)
            unclear = str(written[punctuated][is_open].iloc[0])
        if how:
            notations.append(how)
        values = values.copy()
        values[punctuated] = _with_mark(marked, mark)
    if percent.any() and not percent[np.isfinite(values)].all():
        values = _shares(values, percent, notations)
    return Numbers(values=values, notation=", ".join(notations), doubt=doubt, mark=mark or "point", unclear=unclear)


def _unmarked(cells: pd.Series) -> tuple[pd.Series, np.ndarray, list[str]]:
    """Cells without currency, per cent, spaces between thousands and accountants' minus; which had a %; what was so."""
    notations = []
    plain = cells.str.replace("[\u2212\u2010\u2011\u2013]", "-", regex=True)
    plain = plain.str.replace("[\u00a0\u202f\u2009\u2007]", " ", regex=True).str.replace("[’´`]", "'", regex=True)
    parenthesised = plain.str.fullmatch(r"\([^()]*[0-9][^()]*\)").to_numpy(dtype=bool)
    if parenthesised.any():
        plain = plain.where(~parenthesised, "-" + plain.str.slice(1, -1).str.strip())
        notations.append("parentheses as minus")
    trailing = plain.str.fullmatch(r"[^+-].*[0-9]\s*-").to_numpy(dtype=bool)
    if trailing.any():
        plain = plain.where(~trailing, "-" + plain.str.slice(0, -1).str.strip())
        notations.append("minus behind the number")
    signs = plain.str.extract(_CURRENCY)
    sign = signs[0].fillna(signs[1])
    if sign.nunique() == 1:  # two currencies in one column cannot be compared
        plain = plain.where(
            sign.isna(), plain.str.replace(str(sign.dropna().iloc[0]), "", n=1, regex=False).str.strip()
        )
        plain = plain.str.replace(r"^([+-])\s+", r"\1", regex=True)
    percent = plain.str.fullmatch(r"[^%]*[0-9]\s*%").to_numpy(dtype=bool)
    if percent.any():
        plain = plain.str.replace(r"\s*%$", "", regex=True)
    spaced = plain.str.fullmatch(_SPACED).to_numpy(dtype=bool)
    if spaced.any():
        plain = plain.where(~spaced, plain.str.replace("[ ']", "", regex=True))
    return plain, percent, notations


def _decimal_mark(marked: pd.Series, delimiter: str | None, proof: Callable[[], Mark | None]) -> tuple[Mark, bool, str]:
    """The decimal mark of the cells that have commas or points, whether it is in doubt, and how it was decided."""
    open_comma, open_point = marked.str.fullmatch(_OPEN_COMMA), marked.str.fullmatch(_OPEN_POINT)
    is_open = open_comma | open_point
    comma = marked.str.fullmatch(_DECIMAL_COMMA) | marked.str.fullmatch(rf"{_POINT_GROUPS}\.[0-9]{{3}}")
    point = marked.str.fullmatch(_DECIMAL_POINT) | marked.str.fullmatch(_COMMA_GROUPS)
    clear_comma, clear_point = int((comma & ~point & ~is_open).sum()), int((point & ~comma & ~is_open).sum())
    if clear_comma or clear_point:
        more_commas = clear_comma > clear_point or (clear_comma == clear_point and delimiter == ";")
        return "comma" if more_commas else "point", False, ""
    if not is_open.any():
        return "point", False, ""
    mark = proof()
    if mark is not None:
        ordinary = mark == "point" and not open_comma.any()
        return mark, False, "" if ordinary else f"decimal {mark}s, as in other columns of the file"
    if open_point.any() and not open_comma.any():
        if delimiter == ";":
            # Files with ; between cells come from countries with decimal commas.
            return "comma", False, "points as thousands marks, because ; separates the cells"
        return "point", delimiter is not None, ""
    if delimiter == ";":
        return "comma", True, ""
    return "point", False, "commas as thousands marks"


def _with_mark(cells: pd.Series, mark: Mark) -> np.ndarray:
    if mark == "comma":
        groups, decimal, thousands = _POINT_GROUPS, _DECIMAL_COMMA, "."
        legible = cells.str.fullmatch(decimal) | cells.str.fullmatch(groups)
    else:
        legible = cells.str.fullmatch(_DECIMAL_POINT) | cells.str.fullmatch(_COMMA_GROUPS)
        thousands = ","
    plain = cells.str.replace(thousands, "", regex=False).str.replace(",", ".", regex=False)
    return np.where(legible.to_numpy(dtype=bool), _floats(plain), np.nan)


def _shares(values: np.ndarray, percent: np.ndarray, notations: list[str]) -> np.ndarray:
    """Cells with % beside cells without: 12% is 0.12 where these are shares; else the smaller group is no number."""
    plain = np.isfinite(values) & ~percent
    if (np.abs(values[plain]) <= 1).all():
        notations.append("12% as 0.12, because the cells without % are shares")
        return np.where(percent, values / 100, values)
    fewer = percent if percent.sum() <= plain.sum() else plain
    return np.where(fewer, np.nan, values)


def _floats(cells: pd.Series) -> np.ndarray:
    numbers = pd.Series(pd.to_numeric(cells, errors="coerce"), index=cells.index)
    return numbers.astype("float64").to_numpy()
