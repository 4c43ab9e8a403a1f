"""Columns of numbers: plain ones at once, others cell by cell, with what is in doubt asked about."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crm_models.data.sources import number_forms
from crm_models.data.sources.blanks import NO_NUMBER, is_blank
from crm_models.data.sources.column import Column
from crm_models.data.sources.frames import DELIMITER, is_text
from crm_models.data.sources.receipt import Receipt

_HEADER_UNIT = re.compile(r".*[\[(]\s*([^\d\s\[\]()][^\[\]()]{0,11})\s*[\])]$")


def numbers_of(table: pd.DataFrame, name: str, column: str, receipt: Receipt | None = None) -> pd.Series:
    """A column as float64; blanks and infinities are NaN, decimal commas and thousands separators are read.

    `DataError` for other text, unless bad rows are skipped. The receipt gets what is unusual or in doubt.
    """
    cells = Column(table, name, column, receipt)
    plain = plain_numbers(cells.values)
    if plain is not None:
        cells.record("number", plain, unit=unit_of(cells.name))
        return without_infinities(plain, cells)
    blank = is_blank(cells.distinct, number=True)
    values, unit, units = parsed(cells, blank)
    advice = [f"the cells have several units ({units}): convert them to one"] if units else []
    cells.refuse(cells.rows(~blank & values.isna()), "a number", *advice)
    found = cells.spread(values.to_numpy())
    note_words(cells, blank)
    cells.record("number", found, blank=blank, unit=unit)
    return without_infinities(found, cells)


def plain_numbers(values: pd.Series) -> pd.Series | None:
    """The column as float64 if every filled cell is plainly one, as most columns are; Arrow casts them fast."""
    if pd.api.types.is_bool_dtype(values) or pd.api.types.is_numeric_dtype(values):
        return values.astype("Float64").astype("float64")
    if not is_text(values):
        return None
    text = pa.chunked_array(pa.array(values))
    if text.null_count == len(text):
        return None
    try:
        plain = text.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    pointed = text.filter(pc.match_substring(text, "."))
    is_open = pc.match_substring_regex(pointed, r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$")
    # 1.234 everywhere, or now and then among amounts with two decimals: the points may be thousands marks.
    if len(pointed) and pc.any(is_open).as_py():
        long = pc.match_substring_regex(pointed, number_forms.LONG_FRACTION)
        if pc.all(pc.equal(is_open, long)).as_py():
            return None
    return pd.Series(plain, index=values.index)


def could_be_numbers(filled: pd.Series) -> bool:
    """Whether half of the distinct cells have digits: parsing columns of words as numbers takes long."""
    return bool(filled.str.contains(r"\d", regex=True).mean() >= 0.5)


def parsed(cells: Column, blank: pd.Series) -> tuple[pd.Series, str, str]:
    """(D,) the distinct cells as numbers, their unit, and several units instead, listed.

    Asks where commas or points can be either mark, and where M can mean a million.
    """
    filled = cells.distinct[~blank]
    delimiter = cells.table.attrs.get(DELIMITER)
    found = number_forms.parse(filled, delimiter, lambda: _mark_elsewhere(cells))
    first = str(filled.iloc[0])[:40] if len(filled) else ""
    millions = not found.magnitude or bool(unit_of(cells.name)) or _mean_millions(cells, found.magnitude)
    if not millions:
        found = number_forms.parse(filled, delimiter, lambda: _mark_elsewhere(cells), millions=False)
    listed = ", ".join(map(repr, found.units))
    if listed:
        cells.note(
            f"numbers in {cells.name!r} have different units ({listed}; first: {first!r}): these are no numbers."
        )
    if found.doubt and np.isfinite(found.values).any():
        sign, other = (",", "comma") if found.mark == "comma" else (".", "point")
        among = filled.str.count(r"[.,]").gt(0) & ~filled.str.fullmatch(rf"[^{sign}]*\{sign}[0-9]{{3}}\D*")
        chosen = cells.ask(
            "thousands",
            f"every {other} in {cells.name!r} stands before three digits, as in {found.unclear!r}: it could be a "
            "decimal or a thousands mark, and no other column decides."
            if not among.any()
            else f"some cells in {cells.name!r} have three digits behind the {other}, as {found.unclear!r}, and the "
            f"others not, as {filled[among].iloc[0]!r}: it could be a decimal or a thousands mark.",
            {
                "decimal": f"decimal mark, {found.unclear} is {found.unclear.replace(sign, '.')}",
                "thousands": f"thousands mark, {found.unclear} is {found.unclear.replace(sign, '')}",
            },
        )
        if chosen == "thousands":
            found = number_forms.parse(filled, delimiter, settled="thousands", millions=millions)
    elif found.notation and np.isfinite(found.values).any():
        cells.note(f"numbers in {cells.name!r} read with {found.notation} (first: {first!r}).")
    elif delimiter == "," and found.mark == "comma" and (with_comma := filled[filled.str.contains(",")]).any():
        cells.note(f"commas in {cells.name!r} read as decimal marks (first: {with_comma.iloc[0][:40]!r}).")
    values = pd.Series(found.values, index=filled.index).reindex(cells.distinct.index)
    return values, found.unit or unit_of(cells.name), listed


def _mean_millions(cells: Column, example: str) -> bool:
    """Whether 12M is twelve millions: asked, because it is also how months and minutes are written."""
    chosen = cells.ask(
        "millions",
        f"numbers in {cells.name!r} have an M and no currency, as {example!r}: it could mean millions, months or "
        "minutes.",
        {"millions": f"{example} is millions", "unit": f"{example} is a number with a unit"},
    )
    return chosen == "millions"


def unit_of(name: str) -> str:
    """The unit that the name of a column ends with, as in "income [EUR]" and "share (%)"."""
    match = _HEADER_UNIT.match(name)
    return match.group(1) if match else ""


def _mark_elsewhere(cells: Column) -> number_forms.Mark | None:
    """The decimal mark that the other columns of the file prove, if they agree."""
    proofs = {mark: cells.proves(f"^{form}$") for mark, form in number_forms.PROOF.items()}
    if proofs["comma"] == proofs["point"]:
        return None
    return "comma" if proofs["comma"] else "point"


def note_words(cells: Column, blank: pd.Series) -> None:
    """Say which words, such as "unknown", count as missing among numbers; NA and the like go without saying."""
    words = blank & cells.distinct.str.lower().isin(NO_NUMBER)
    if words.any():
        counted = ", ".join(f"{n:,} x {word!r}" for word, n in cells.count_of(words).items())
        cells.note(f"words in {cells.name!r} count as missing: {counted}, the first in row {cells.first(words)[0]}.")


def without_infinities(numbers: pd.Series, cells: Column) -> pd.Series:
    """Infinities become missing: no amount, rating or age is infinite."""
    infinite = np.isinf(numbers.to_numpy())
    if infinite.any():
        cells.note(f"{int(infinite.sum()):,} infinite values in {cells.name!r} count as missing.")
        return numbers.mask(infinite)
    return numbers
