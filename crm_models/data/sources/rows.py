"""Rows that are no data: blank ones, the header again, units below it, rulers, totals, and notes below the table."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from crm_models.data.sources.blanks import BLANKS, NO_NUMBER
from crm_models.data.sources.frames import is_text
from crm_models.data.sources.header import describes_columns
from crm_models.data.sources.receipt import Receipt

FOOTER_LINES = 10
"""Most lines below a table that count as its footer."""
ALL_ROWS = 1_000_000
"""In longer tables, totals and rulers are looked for in the last rows only."""

TOTAL = re.compile(
    r"(?:grand |gran |sub)?-?(?:total|totals|sum|summe|gesamt|gesamtsumme|gesamtergebnis|insgesamt|zwischensumme|somme|"
    r"totale|totaal|suma|average|mean|durchschnitt|mittelwert|moyenne|promedio|count|anzahl|nombre|итого|всего|合計|总计)"
    r"(?: g[eé]n[eé]ral)?\b[^\w@]*(?:[0-9].*)?$",
    re.IGNORECASE,
)
"""What stands in the first cell of a line of totals."""
_RULER = r"[-=_*~.#+ ]*[-=_*~#][-=_*~.#+ ]*"


def data_rows(table: pd.DataFrame, file: str, header: Sequence[str], receipt: Receipt) -> pd.DataFrame:
    """The rows of the table that are data; the others are counted and noted with the number of the first.

    header: the names of the columns as the file has them.
    """
    blank = _blank(table)
    table = receipt.explain(table, file, blank, "nothing is filled")
    table = receipt.explain(table, file, _header_again(table, header), "the header again")
    table = receipt.explain(table, file, _rulers(table), "a ruler")
    table = receipt.explain(table, file, _units(table), "units or descriptions of the columns")
    table = receipt.explain(table, file, _totals(table), "a total")
    return receipt.explain(table, file, _notes_below(table, after_blank=bool(blank.any())), "a note below the table")


def _blank(table: pd.DataFrame) -> np.ndarray:
    blank = np.ones(len(table), dtype=bool)
    for column in table.columns:
        if not blank.any():
            break
        blank &= table[column].isna().to_numpy()
    return blank


def _header_again(table: pd.DataFrame, header: Sequence[str]) -> np.ndarray:
    """Rows whose filled cells all are the names of their columns, or half of them, where a name was changed above."""
    again = np.zeros(len(table), dtype=bool)
    named = [(c, name) for c, name in zip(table.columns, header, strict=True) if not name.startswith("column ")]
    if not named or not all(is_text(table[c]) for c, _ in named):
        return again
    first = table[[c for c, _ in named[:2]]]  # of millions of rows few remain
    matches = [first[c].isin(_spellings(name)).to_numpy(dtype=bool) for c, name in named[:2]]
    places = np.flatnonzero(np.logical_or.reduce(matches) | first.isna().all(axis=1).to_numpy())
    rows = table.iloc[places]
    matched = sum(rows[c].isin(_spellings(name)).to_numpy(dtype=int) for c, name in named)
    filled = rows[[c for c, _ in named]].notna().sum(axis=1).to_numpy()
    again[places[(matched > 0) & (matched >= np.minimum(filled, np.maximum(2, len(named) / 2)))]] = True
    return again


def _spellings(name: str) -> list[str]:
    return [name, name.upper(), name.lower(), name.title(), name.capitalize()]


def _places(table: pd.DataFrame) -> np.ndarray:
    """Rows where a total or a ruler is looked for."""
    if len(table) <= ALL_ROWS:
        return np.arange(len(table))
    return np.r_[0:3, len(table) - FOOTER_LINES : len(table)]


def _rulers(table: pd.DataFrame) -> np.ndarray:
    """Rows of nothing but signs such as --- or ===, in every cell."""
    ruler = np.zeros(len(table), dtype=bool)
    if table.shape[1] < 2 or not len(table) or not all(is_text(table[c]) for c in table):
        return ruler
    places = _places(table)
    for column in table.columns:
        places = places[table[column].iloc[places].str.fullmatch(_RULER).to_numpy(dtype=bool, na_value=False)]
        if not len(places):
            return ruler
    ruler[places] = True
    return ruler


def _units(table: pd.DataFrame) -> np.ndarray:
    """The first row, if it says units, types or descriptions of the columns."""
    units = np.zeros(len(table), dtype=bool)
    if len(table) > 3 and all(is_text(table[c]) for c in table):
        first, *below = table.iloc[:200].astype(object).where(table.iloc[:200].notna(), None).to_numpy().tolist()
        units[0] = describes_columns(first, below, (*BLANKS, *NO_NUMBER))
    return units


def _totals(table: pd.DataFrame) -> np.ndarray:
    """Rows that begin with a word for a total: at the end of the table, or elsewhere if another cell is blank."""
    total = np.zeros(len(table), dtype=bool)
    columns = list(table.columns[:2])
    if not len(table) or not all(is_text(table[c]) for c in columns):
        return total
    places = _places(table)
    has_blank = table.iloc[places, 1:].isna().any(axis=1).to_numpy()
    places = places[has_blank | (places >= len(table) - 3)]
    tail = table.iloc[places]
    names = tail[columns[0]].fillna(tail[columns[-1]])
    has_word = names.str.len().lt(24) & names.str.fullmatch(TOTAL.pattern, flags=TOTAL.flags)
    total[places[has_word.to_numpy(dtype=bool, na_value=False)]] = True
    return total


def _notes_below(table: pd.DataFrame, *, after_blank: bool) -> np.ndarray:
    """The last rows, if only the first cell of each is filled: a sentence, or not written like the cells above it.

    In a wide table a second cell may be filled, because a comma in a sentence separates cells.
    """
    note = np.zeros(len(table), dtype=bool)
    if table.shape[1] < 2 or not len(table) or not is_text(table[table.columns[0]]):
        return note
    for k in range(len(table) - 1, max(0, len(table) - 1 - FOOTER_LINES), -1):
        if table.iloc[k, 2 if table.shape[1] > 4 else 1 :].notna().any():
            break
        note[k] = True
    if not note.any():
        return note
    above = table[~note].iloc[-1000:]
    shapes = {_shape(cell) for cell in above[above.columns[0]].dropna()}
    often, two_often = (not above[above.columns[n:]].notna().any(axis=1).all() for n in (1, 2))  # short rows are usual
    for k in np.flatnonzero(note)[::-1]:
        cell = str(table.iloc[k, 0])
        words = len(cell.split())
        if pd.notna(table.iloc[k, 1]):
            note[k] = words > 2 and not two_often
        else:
            note[k] = words > 2 or (after_blank and words > 1) or (not often and _shape(cell) not in shapes)
        if not note[k]:
            note[:k] = False
            break
    return note


def _shape(cell: str) -> str:
    """The cell with digits and letters alike: "C0012" and "K7" are both "a0"."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"[0-9]+", "0", cell))
