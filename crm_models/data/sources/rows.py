"""Rows that are no data: blank ones, the header again, totals, and notes below the table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crm_models.data.sources.reading import FOOTER_LINES, TOTAL
from crm_models.data.sources.receipt import Receipt

TOTALS_WITHIN = 1_000_000
"""In longer tables, totals are looked for in the last rows only."""


def data_rows(table: pd.DataFrame, file: str, header: Sequence[str], receipt: Receipt) -> pd.DataFrame:
    """The rows of the table that are data; the others are counted and noted with the number of the first.

    header: the names of the columns as the file has them.
    """
    blank = _blank(table)
    table = receipt.explain(table, file, blank, "nothing is filled")
    table = receipt.explain(table, file, _header_again(table, header), "the header again")
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
    again = np.ones(len(table), dtype=bool)
    for column, name in zip(table.columns, header, strict=True):
        if not again.any():
            break
        if not isinstance(table[column].dtype, pd.StringDtype):
            return np.zeros(len(table), dtype=bool)
        values = table[column]
        again &= (values.isna() | (values == name)).to_numpy(dtype=bool)
    return again


def _totals(table: pd.DataFrame) -> np.ndarray:
    """Rows that begin with a word for a total: at the end of the table, or elsewhere if another cell is blank."""
    total = np.zeros(len(table), dtype=bool)
    if not len(table) or not isinstance(table[table.columns[0]].dtype, pd.StringDtype):
        return total
    first = len(table) - FOOTER_LINES if len(table) > TOTALS_WITHIN else 0
    tail = table.iloc[first:]
    names = tail[tail.columns[0]]
    has_word = names.str.len().lt(24) & names.str.fullmatch(TOTAL.pattern, flags=TOTAL.flags)
    for k in np.flatnonzero(has_word.to_numpy(dtype=bool, na_value=False)):
        has_blank = tail.iloc[k : k + 1, 1:].isna().to_numpy().any()
        total[first + k] = first + k >= len(table) - 3 or bool(has_blank)
    return total


def _notes_below(table: pd.DataFrame, *, after_blank: bool) -> np.ndarray:
    """The last rows, if only the first cell of each is filled and it is a sentence, or stands below a blank row."""
    note = np.zeros(len(table), dtype=bool)
    if table.shape[1] < 2 or not len(table):
        return note
    for k in range(len(table) - 1, max(0, len(table) - 1 - FOOTER_LINES), -1):
        filled = table.iloc[k : k + 1].notna().to_numpy()[0]
        words = len(str(table.iloc[k : k + 1, 0].to_numpy()[0]).split())
        if filled[1:].any() or not (words > 2 or (after_blank and words > 1)):
            break
        note[k] = True
    return note
