"""Text cells to numbers, in any usual way of writing them.

A comma or a point before three digits can be a decimal or a thousands mark. The column decides where one of its cells
is clear, else the other columns of the file, else the delimiter; where all are silent, the doubt is returned.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

Mark = Literal["comma", "point"]
"""The decimal mark of a column."""
Settled = Literal["decimal", "thousands"]
"""What the mark before three digits is, where the user has said it."""

_CODES = "EUR|USD|GBP|CHF|JPY|CAD|AUD|PLN|CZK|SEK|NOK|DKK|HUF|INR|BRL|Fr|kr|Rs"
_BEFORE = rf"(?:US\$|R\$|A\$|C\$|[$€£¥₹₽₺₩₪₫₱₴฿]|(?:{_CODES})\b\.?)"
_CORE = r"[0-9.,' ]*[0-9][.,]?(?:[eE][+-]?[0-9]+)?"
_UNIT = r"(?:[cdkm]?m|ft|in|yd)[23]|(?![\x22\u2033']\s*\w)[^\d\s.,()+'-][^\d,()+-]{0,15}"  # 5" pipe is a text
_PARTS = rf"^([+-]?)\s*({_BEFORE}?)\s*([+-]?)\s*({_CORE}|[.,][0-9]+)\s*({_UNIT})?$"
"""Sign, currency, sign, number and unit of a cell."""
MAGNITUDES = {"k": 1e3, "tsd": 1e3, "mio": 1e6, "mn": 1e6, "million": 1e6, "mrd": 1e9, "bn": 1e9, "billion": 1e9}
"""Words behind a number that multiply it, and M; m is a metre."""
_DOUBTFUL = ("M", "mn", "MN", "Mn")
"""Those that may also mean months or minutes."""
_BEHIND = rf"^(?:(M|(?i:{'|'.join(MAGNITUDES)}))\b\.?)?\s*(.*)$"
MOST_UNITS = 4
"""From so many units in one column on, what stands behind its numbers are words, as in an address."""
BOOKED = ("cr", "dr", "soll", "haben", "s", "h")
"""Marks of bookkeepers, whose sign depends on whose account it is: no units; but 35 s are seconds and 2 h hours."""
_PLURALS = ("s", "e", "n", "en")
"""What the name of a unit may have behind it where it stands beside more than one."""

_SPACED = r"[0-9]{1,3}(?:[ '][0-9]{3})+(?:[.,][0-9]+)?"
_OPEN_COMMA, _OPEN_POINT = r"-?[1-9][0-9]{0,2},[0-9]{3}", r"-?[1-9][0-9]{0,2}\.[0-9]{3}"
_DECIMAL_COMMA = r"-?(?:[0-9]{1,3}(?:\.[0-9]{3})+|[0-9]*),[0-9]*(?:[eE][+-]?[0-9]+)?"
_POINT_GROUPS = r"-?[0-9]{1,3}(?:\.[0-9]{3})+"
_COMMA_GROUPS = r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3})(?:\.[0-9]*)?"
_DECIMAL_POINT = r"-?[0-9]*\.[0-9]*(?:[eE][+-]?[0-9]+)?"
LONG_FRACTION = r"[.,][0-9]{3,}(?:[eE]-.*)?$"  # 1.234E+03 has none: it is a whole number

PROOF = {
    "comma": r"[+-]?([0-9]+(\.[0-9]{3})*,([0-9]{1,2}|[0-9]{4,})|0?,[0-9]+)",
    "point": r"[+-]?([0-9]+(,[0-9]{3})*\.([0-9]{1,2}|[0-9]{4,})|0?\.[0-9]+)",
}
"""What a cell of another column looks like that proves the decimal mark of the file."""


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Distinct cells as numbers; NaN where a cell is none.

    notation: what was unusual about the writing, or "". doubt: marks before three digits can be either. mark: the
    decimal mark. unclear: the first cell that this changes. unit: what stands beside the numbers, such as "€" or "kg".
    units: what stands beside them where it is not the same, so that they are no numbers. magnitude: a cell with an M
    that may mean millions, months or minutes.
    """

    values: np.ndarray
    notation: str = ""
    doubt: bool = False
    mark: Mark = "point"
    unclear: str = ""
    unit: str = ""
    units: tuple[str, ...] = ()
    magnitude: str = ""


def parse(
    cells: pd.Series,
    delimiter: str | None,
    proof: Callable[[], Mark | None] = lambda: None,
    settled: Settled | None = None,
    *,
    millions: bool = True,
) -> Numbers:
    """Distinct trimmed cells as numbers.

    delimiter: of the file; `;` suggests decimal commas, and None means numbers that are stored as such, without doubt.
    proof: the decimal mark that other columns of the file prove, asked only where this column is unclear. settled: what
    a mark before three digits is, if it is known. millions: whether M and mn multiply; else they are a unit.
    """
    written = cells
    cells, beside = _without_units(_plain_signs(cells), millions)
    notations = beside.notations
    values = _floats(cells)
    punctuated = cells.str.contains("[.,]", regex=True).to_numpy(dtype=bool)
    mark: Mark = "point"
    doubt, unclear = False, ""
    if punctuated.any():
        marked = cells[punctuated]
        is_open = marked.str.fullmatch(_OPEN_POINT) | marked.str.fullmatch(_OPEN_COMMA)
        mark, doubt, how = _decimal_mark(marked, is_open, delimiter, proof)
        if doubt or how:
            unclear = str(written[punctuated][is_open].iloc[0])
        if settled == "thousands":
            marked = marked.where(~is_open, marked.str.replace("[.,]", "", regex=True))
        if how:
            notations.append(how)
        values = values.copy()
        values[punctuated] = _with_mark(marked, mark)
    values = values * beside.factors
    percent = (beside.unit == "%") & beside.marked
    if percent.any() and not percent[np.isfinite(values)].all():
        values = _shares(values, percent, notations)
    return Numbers(
        values=values,
        notation=", ".join(notations),
        doubt=doubt and settled is None,
        mark=mark,
        unclear=unclear,
        unit="" if percent.any() and not percent.all() else beside.unit,
        units=beside.units,
        magnitude=beside.magnitude,
    )


@dataclass(frozen=True, kw_only=True)
class _Beside:
    """What stands beside D numbers: (D,) which have the unit, (D,) factors such as 1,000, and what was unusual.

    unit: the one of the column, or "", as two currencies cannot be compared. units: several instead. magnitude: a cell
    with a doubtful M.
    """

    unit: str
    marked: np.ndarray
    factors: np.ndarray
    units: tuple[str, ...]
    notations: list[str]
    magnitude: str


def _plain_signs(cells: pd.Series) -> pd.Series:
    """Cells with ASCII digits, blanks, apostrophes and minus signs, without what spreadsheets put before a text."""
    if not cells.str.isascii().all():
        cells = cells.str.normalize("NFKC")
        cells = cells.str.replace("[\u2212\u2010\u2011\u2013\u2014]", "-", regex=True)
        cells = cells.str.replace("[’´`]", "'", regex=True)
    return cells.str.replace(r"^'(?=[0-9.,+-])", "", regex=True)


def _without_units(plain: pd.Series, millions: bool) -> tuple[pd.Series, _Beside]:
    """Cells as digits, marks and a minus in front, and what stood beside them."""
    written, notations = plain, []
    parenthesised = plain.str.fullmatch(r"\([^()]*[0-9][^()]*\)").to_numpy(dtype=bool)
    if parenthesised.any():
        plain = plain.where(~parenthesised, "-" + plain.str.slice(1, -1).str.strip())
        notations.append("parentheses as minus")
    if plain.str.contains(r"[0-9][.,]-+$", regex=True).any():  # 12,- and 12.-- have no cents
        plain = plain.str.replace(r"(?<=[0-9])[.,]-+$", "", regex=True)
    trailing = plain.str.fullmatch(r"[^+-].*[0-9]\s*-").to_numpy(dtype=bool)
    if trailing.any():
        plain = plain.where(~trailing, "-" + plain.str.slice(0, -1).str.strip())
        notations.append("minus behind the number")
    parts = plain.str.extract(_PARTS)
    before, behind = parts[1].fillna(""), parts[4].fillna("").str.extract(_BEHIND)
    if not millions:
        doubtful = behind[0].isin(_DOUBTFUL)
        behind = pd.DataFrame({0: behind[0].mask(doubtful), 1: behind[1].mask(doubtful, behind[0])})
    units = (before + " " + behind[1].str.strip()).str.strip()
    short = set(units)
    plurals = {u: one for u in short for end in _PLURALS if u.endswith(end) and len(one := u.removesuffix(end)) > 2}
    units = units.replace({unit: one for unit, one in plurals.items() if one in short})
    factors = behind[0].str.lower().map(MAGNITUDES | {"m": 1e6}).fillna(1.0)
    common = units[units != ""]
    if set(common) not in ({"s"}, {"h"}):
        common = common[~common.str.lower().isin(BOOKED)]
    known = (common == "%") | (before[common.index] != "") | behind[1][common.index].str.fullmatch(_BEFORE)
    is_unit = common.nunique() == 1 and (bool(known.all()) or 2 * len(common) > len(plain))
    unit = str(common.iloc[0]) if is_unit else ""
    signs = parts[0].fillna("") + parts[2].fillna("")
    usable = units.isin(("", unit)) & parts[3].notna() & (signs.str.len() < 2)
    core = parts[3].str.strip()
    spaced = core.str.fullmatch(_SPACED)
    core = core.where(~spaced.fillna(False).astype(bool), core.str.replace("[ ']", "", regex=True))
    clean = signs.str.replace("+", "", regex=False) + core
    multiplied = usable & behind[0].notna()
    if multiplied.any():
        notations.append(f"{behind[0][multiplied].iloc[0]!r} as {factors[multiplied].iloc[0]:,.0f}")
    magnitude = usable & behind[0].isin(_DOUBTFUL) if behind[0].dropna().isin(_DOUBTFUL).all() else usable & False
    if (units[magnitude] != "").any() or core[magnitude].str.contains("[.,]", regex=True).any():
        magnitude &= False  # amounts of money, and parts of a million
    several = common.unique() if len(common) > 0.9 * len(plain) else ()
    currencies = len(several) > 1 and all(re.fullmatch(_BEFORE, unit) for unit in several)
    return plain.where(~usable, clean), _Beside(
        unit=unit,
        marked=(usable & (units != "")).to_numpy(dtype=bool),
        factors=factors.where(usable, 1.0).to_numpy(dtype=float),
        units=tuple(map(str, several[:MOST_UNITS]))
        if currencies or (1 < len(several) < MOST_UNITS and len(several) < len(common))
        else (),
        notations=notations,
        magnitude=str(written[magnitude].iloc[0]) if magnitude.any() else "",
    )


def _decimal_mark(
    marked: pd.Series, is_open: pd.Series, delimiter: str | None, proof: Callable[[], Mark | None]
) -> tuple[Mark, bool, str]:
    """The decimal mark of the cells that have commas or points, whether it is in doubt, and how it was decided."""
    comma = marked.str.fullmatch(_DECIMAL_COMMA) | marked.str.fullmatch(rf"{_POINT_GROUPS}\.[0-9]{{3}}")
    point = marked.str.fullmatch(_DECIMAL_POINT) | marked.str.fullmatch(_COMMA_GROUPS)
    clear_comma, clear_point = comma & ~point & ~is_open, point & ~comma & ~is_open
    if clear_comma.any() or clear_point.any():
        n_comma, n_point = int(clear_comma.sum()), int(clear_point.sum())
        mark: Mark = "comma" if n_comma > n_point or (n_comma == n_point and delimiter == ";") else "point"
        clear = marked[clear_comma if mark == "comma" else clear_point]
        # Some 51.120 among amounts with two decimals are rather thousands than the only ones with three, and so are
        # those that would be much smaller than all others.
        few = marked[is_open].str.contains("," if mark == "comma" else ".", regex=False)
        amounts = np.abs(_with_mark(clear, mark))
        doubt = bool(few.any()) and (few.sum() <= len(clear) or np.median(amounts) >= 1000)
        doubt = doubt and not clear.str.contains(LONG_FRACTION, regex=True).any()
        return mark, bool(doubt) and delimiter is not None, ""
    if not is_open.any():
        return "point", False, ""
    open_comma, open_point = marked.str.fullmatch(_OPEN_COMMA), marked.str.fullmatch(_OPEN_POINT)
    proved = proof()
    if proved is not None:
        return proved, False, f"decimal {proved}s, as in other columns of the file"
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
    else:
        groups, decimal, thousands = _COMMA_GROUPS, _DECIMAL_POINT, ","
    legible = cells.str.fullmatch(decimal) | cells.str.fullmatch(groups) | cells.str.fullmatch("-?[0-9]+")
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
    return pd.to_numeric(cells, errors="coerce").astype("float64").to_numpy()
