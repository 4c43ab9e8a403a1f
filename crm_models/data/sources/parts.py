"""Columns that are read by file, where several files of one table write numbers or dates differently.

1.500 is 1500 in a file with decimal commas, whatever another file has, and 05/01 is in January if 25/01 is in the same
file: each file proves only itself. Files that prove nothing are read together, and what is in doubt there is asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crm_models.core.errors import ConfigError, DataError
from crm_models.data.sources.dates import DAY_FIRST, MONTH_FIRST
from crm_models.data.sources.frames import DELIMITER, PARTS, WRITING, is_text, written_name
from crm_models.data.sources.number_forms import PROOF
from crm_models.data.sources.receipt import Receipt

_UNIT = "[^0-9.,]{0,4}"
_FORMS = {
    rf"^{_UNIT}[0-9]*(?:\W[0-9]{{3}})*[.,][0-9]+{_UNIT}$": {
        mark: f"^{_UNIT}{form}{_UNIT}$" for mark, form in PROOF.items()
    },
    r"^[0-9]{1,2}[/.-][0-9]{1,2}[/.-][0-9]{2,4}\b": {"day_first": DAY_FIRST, "month_first": MONTH_FIRST},
}
"""What a cell looks like that could be read in two ways, and what those look like that prove one of them."""
HEAD = 1000
"""Rows that are looked at first: most columns are clear there."""
SEMICOLON = "semicolon"
"""The proof of decimal commas where no cell is one: the cells of the file are separated by it."""


def read_by_file(
    read: Callable[[pd.DataFrame, str, str, Receipt], pd.Series],
    table: pd.DataFrame,
    file: str,
    column: str,
    receipt: Receipt,
) -> pd.Series:
    """The column as `read` reads it: all files at once, or those apart that write it differently, with a note.

    What a file proves in spite of a recipe or an answer is asked about or refused. `DataError` if the files differ in
    type or unit.
    """
    name = written_name(table, column)
    settled = [subject for subject in ("order", "thousands") if receipt.given(receipt.key(file, name, subject))[0]]
    parts = table.attrs.get(PARTS, [])
    if (len(parts) < 2 and not settled) or not (is_text(table[column]) and any(_has(table[column], f) for f in _FORMS)):
        return read(table, file, column, receipt)
    parts = parts or [{"file": file, "start": 0, DELIMITER: table.attrs.get(DELIMITER)}]
    ends = [*np.searchsorted(table.index.to_numpy(), [part["start"] for part in parts[1:]]).tolist(), len(table)]
    groups: dict[str, list[int]] = {}
    neutral: list[int] = []
    for k, part in enumerate(parts):
        writing = _writing(table, slice(ends[k - 1] if k else 0, ends[k]), column, part[DELIMITER])
        (neutral if writing is None else groups.setdefault(writing, [])).append(k)
    if "comma" in groups and SEMICOLON in groups:
        groups["comma"] += groups.pop(SEMICOLON)
    next(iter(groups.values()), []).extend(neutral)
    names = {writing: " + ".join(parts[k]["file"] for k in sorted(numbers)) for writing, numbers in groups.items()}
    if len(groups) < 2:
        found = read(table, file, column, receipt)
    else:
        listed = "; ".join(f"{where} ({writing or 'unclear'})" for writing, where in names.items())
        receipt.note(f"{name!r} is read by file, because the files write it differently: {listed}.")
        part_of = np.searchsorted(ends, np.arange(len(table)), "right")
        found = pd.concat(
            [
                read(_apart(table, np.isin(part_of, numbers), (names[w], w), parts, numbers), file, column, receipt)
                for w, numbers in groups.items()
            ]
        )
        units = {known.unit for known in receipt.columns if known.column == name and known.file in names.values()}
        if found.dtype == object or len(units) > 1:
            raise DataError(f"{listed}: expected {name!r} alike in these files, found other units or types; --drop it")
        found = found.reindex(table.index)
    for subject in settled:
        for writing, where in names.items():
            _refuse_contradiction(subject, writing, where, name, receipt, receipt.key(file, name, subject))
    return found


def _apart(
    table: pd.DataFrame, rows: np.ndarray, writing: tuple[str, str], parts: list[dict[str, Any]], numbers: list[int]
) -> pd.DataFrame:
    """The rows of some files, as a table with their delimiter if they have only one."""
    apart, delimiters = table[rows], {parts[k][DELIMITER] for k in numbers}
    apart.attrs = table.attrs | {WRITING: writing, DELIMITER: delimiters.pop() if len(delimiters) == 1 else ""}
    return apart


def _writing(table: pd.DataFrame, rows: slice, column: str, delimiter: str | None) -> str | None:
    """What a file proves about the column: a decimal mark, an order of day and month, or "".

    None if no cell of it could be read in two ways.
    """
    others = [c for c in table.columns if c != column and is_text(table[c])]
    for form, proofs in _FORMS.items():
        if not _has(table[column].iloc[rows], form):
            continue
        head = slice(rows.start, min(rows.start + HEAD, rows.stop))
        for columns, where in (([column], head), ([column], rows), (others, rows)):
            proved = [p for p, pattern in proofs.items() if any(_has(table[c].iloc[where], pattern) for c in columns)]
            if proved:
                return proved[0] if len(proved) == 1 else ""
        return SEMICOLON if delimiter == ";" and "comma" in proofs else ""
    return None


def _has(cells: pd.Series, pattern: str) -> bool:
    blocks = (cells.iloc[:HEAD], cells.iloc[HEAD:])
    return any(pc.any(pc.match_substring_regex(pa.array(block), pattern)).as_py() for block in blocks)


def _refuse_contradiction(subject: str, writing: str, where: str, name: str, receipt: Receipt, key: str) -> None:
    """`ConfigError` for an answer that a file contradicts; one of a recipe is asked about."""
    meant, by = receipt.given(key)
    if subject == "thousands":  # a file with ; is in doubt about commas, another about points
        meant = "comma" if (meant == "decimal") == (";" in writing) else "point"
    proved = "comma" if writing == SEMICOLON else writing
    family = ("comma", "point") if subject == "thousands" else ("day_first", "month_first")
    if proved not in family or proved == meant or any(doubt.id == key for doubt in receipt.doubts):
        return
    said = f"{key}={receipt.given(key)[0]}"
    if by == "answer":
        raise ConfigError(f"--answer {said}: {where} proves the opposite of it ({proved}) in {name!r}")
    receipt.ask(
        "recipe",
        file=where,
        column=name,
        evidence=f"{where}: the recipe says {said}, and {name!r} proves the opposite ({proved}).",
        readings={"file": f"as the file proves, {proved}", "stop": "not to be used"},
    )
