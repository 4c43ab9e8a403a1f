"""Rows that are no data: blank ones, the header again, units below it, rulers, totals, and notes below the table."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from crm_models.data.sources.blanks import BLANKS, NO_NUMBER
from crm_models.data.sources.frames import is_text
from crm_models.data.sources.header import describes_columns
from crm_models.data.sources.receipt import Receipt, counted, row_of

FOOTER_LINES = 10
"""Most lines below a table that count as its footer."""
LAST_LINES = 5
"""Lines at the end of a table that can be totals although all their cells are filled."""
ALL_ROWS = 1_000_000
"""In longer tables, totals and rulers are looked for in the last rows only."""

TOTAL = re.compile(
    r"(?:(?:grand |gran |sub)?-?(?:total|totals|sum|summe|gesamt|gesamtsumme|gesamtergebnis|insgesamt|zwischensumme|"
    r"somme|totale|totaal|totalt|suma|celkem|celkom|spolu|razem|łącznie|ogółem|összesen|ukupno|skupaj|toplam|yhteensä|"
    r"average|avg|mean|median|durchschnitt|mittelwert|moyenne|promedio|media|průměr|średnia|átlag|minimum|maximum|min|"
    r"max|count|anzahl|nombre|итого|всего|合計|总计)(?: g[eé]n[eé]rale?)?\b|ø)[^\w@]*(?:[0-9].*)?$|"
    r"(?:(?:grand )?total|sum|average|number) (?:of|for|over) .+|(?:gesamt)?summe (?:der|aller|für|von) .+",
    re.IGNORECASE,
)
"""What stands in the first cell of a line of totals."""
GROUP_TOTAL = re.compile(r".+[ -](?:sub-?total|total|ergebnis|(?:teil|zwischen)?summe)", re.IGNORECASE)
"""The total of a group, as in "EU subtotal"; a company may be called so, too, in a row that is full."""
WEAK_TOTAL = re.compile(r"min|max|.+ total(?<!grand total)(?<!sub total)", re.IGNORECASE)
"""First names, and names of companies: no total where they are the only one."""
HEAD, TAIL = (
    ("h", "hd", "hdr", "head", "header", "kopf"),
    ("t", "tr", "trl", "tail", "trailer", "f", "footer", "e", "end"),
)
"""What control records around the data have in their first cell, where those of the data are all alike."""
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
    table = receipt.explain(table, file, _controls(table), "a control record around the data")
    total = _totals(table)
    first = str(table[total].iloc[0, :2].dropna().iloc[0])[:40] if total.any() else ""
    table = receipt.explain(table, file, total, f"a total, {first!r}")
    table = _without_headings(table, file, receipt)
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
    """Rows that begin with a word for a total: full ones only at the end, where no full row follows."""
    total = np.zeros(len(table), dtype=bool)
    columns = list(table.columns[:2])
    if not len(table) or not all(is_text(table[c]) for c in columns):
        return total
    places = _places(table)
    has_blank = table.iloc[places, 1:].isna().any(axis=1).to_numpy()
    looked = has_blank | (places >= len(table) - LAST_LINES)
    places, full = places[looked], ~has_blank[looked]
    tail = table.iloc[places]
    half_blank = 2 * tail.iloc[:, 1:].isna().mean(axis=1) >= 1
    names = tail[columns[0]].fillna(tail[columns[-1]])
    words, groups = (names.str.fullmatch(form.pattern, flags=form.flags) for form in (TOTAL, GROUP_TOTAL))
    found = (names.str.len().lt(40) & (words | (groups & half_blank))).to_numpy(dtype=bool, na_value=False)
    found = found & (~full | (np.cumsum((full & ~found)[::-1])[::-1] == 0))
    weak = names[found].str.fullmatch(WEAK_TOTAL.pattern, flags=WEAK_TOTAL.flags)
    if found.sum() > 1 or not weak.any():
        total[places[found]] = True
    return total


def _controls(table: pd.DataFrame) -> np.ndarray:
    """The first and last row, if they say that they are no data, as H and T around rows of D."""
    control = np.zeros(len(table), dtype=bool)
    if len(table) > 3 and is_text(kinds := table.iloc[:, 0]):
        ends = (kinds.iloc[0], kinds.iloc[-1])
        around = str(ends[0]).lower() in HEAD and str(ends[1]).lower() in TAIL
        if around and kinds.iloc[1:-1].nunique(dropna=False) == 1 and kinds.iloc[1] not in ends:
            control[[0, -1]] = True
    return control


def _without_headings(table: pd.DataFrame, file: str, receipt: Receipt) -> pd.DataFrame:
    """The table without rows of nothing but a name above rows that are all full, if these are headings of sections.

    Asked where their names are not written like the others; else they are kept, and said.
    """
    if table.shape[1] < 3 or len(table) < 3:
        return table
    ids, alone = table.iloc[:, 0], table.iloc[:, 0].notna().to_numpy()
    for column in table.columns[:0:-1]:
        if not alone.any():
            return table
        alone = alone & table[column].isna().to_numpy()
    if not alone.any() or alone[-1] or 2 * alone.sum() > len(table) or table[~alone].isna().any(axis=None):
        return table
    unlike = not {_shape(str(cell)) for cell in ids[alone]} & {_shape(str(cell)) for cell in ids[~alone].iloc[:1000]}
    readings = {"rows": "rows like the others, with nothing known", "headings": "headings of sections, left out"}
    chosen = receipt.ask(
        "headings",
        file=file,
        column=str(ids.name),
        evidence=f"{file}: {counted(int(alone.sum()), 'row')} with nothing but {str(ids.name)!r} (the first, "
        f"{str(ids[alone].iloc[0])!r}, is row {row_of(table, alone)}), where all others are full.",
        readings=dict(reversed(readings.items())) if unlike else readings,
        stops=unlike,
    )
    return receipt.explain(table, file, alone, "a heading of a section") if chosen == "headings" else table


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
            alike = _shape(cell) in shapes or _is_written_like(cell, above[above.columns[0]])
            note[k] = words > 2 or (after_blank and words > 1) or (not often and not alike)
        if not note[k]:
            note[:k] = False
            break
    return note


def _is_written_like(cell: str, others: pd.Series) -> bool:
    """Whether a cell is as long as another one and of the same signs, or an address as they are: UUIDs, e-mails."""
    signs, words = set(_shape(cell)), others.dropna().astype("str")
    if "@" in signs:
        return bool(words.str.contains("@", regex=False).mean() > 0.5)
    return "0" in signs and any(set(_shape(word)) == signs for word in words[words.str.len() == len(cell)])


def _shape(cell: str) -> str:
    """The cell with digits and letters alike: "C0012" and "K7" are both "a0"."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"[0-9]+", "0", cell))
