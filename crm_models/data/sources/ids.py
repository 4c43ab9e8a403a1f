"""Ids and names of actions: kept as written, told apart where they differ, joined where only their bytes do.

Unicode has two forms of "é" and several characters that nobody sees; ids that differ only so are one. Leading zeros and
capitals are asked about, because they can tell customers apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import numpy as np
import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID
from crm_models.data.sources.blanks import BLANKS, NO_NUMBER, PIVOT
from crm_models.data.sources.column import Column
from crm_models.data.sources.frames import written_name
from crm_models.data.sources.receipt import Receipt, place_of

INVISIBLE = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x00AD, 0x200E, 0x200F])
"""Characters without width; a copy from a web page or an e-mail brings them along."""

FEW_ODD = 0.05
"""Up to this share of ids that are no numbers among others that are, they are pointed out."""
NOBODY = ("0", "-1")
"""Ids that mean no customer where all others are longer, or where none is as frequent: all guests have one."""
NIL = "00000000-0000-0000-0000-000000000000"

_EXPONENT = r"[0-9](?:[.,][0-9]+)?[eE]\+[0-9]{2,}"
_CUT = r"[1-9][0-9]{14}0+"
"""What a spreadsheet, which keeps 15 digits, leaves of a longer number."""

TWIN_KINDS: dict[str, tuple[str, Callable[[str], str]]] = {
    "zeros": ("leading zeros", lambda text: text.lstrip("0") if text.isdecimal() else text),
    "capitals": ("capitals", str.casefold),
}


def names_of(
    table: pd.DataFrame, name: str, column: str, receipt: Receipt | None = None, *, unique: bool = False
) -> pd.Series:
    """An id or action column as a categorical of text, as written ("007" stays); a blank is refused or rejected.

    unique: one row per id, so that an id such as "Null" is one customer and not a word for nobody.
    """
    cells = Column(table, name, column, receipt)
    visible = _visible(cells.distinct)
    text = _whole(visible)
    blank = text.isin(("", "\\N"))
    blank |= _words_for_nobody(cells, text, unique)
    cells.refuse((cells.codes < 0) | cells.rows(blank), "a name or number", "fill it or remove the row")
    _ask_about_cut_numbers(cells, text)
    odd = ~text.str.fullmatch("[0-9]+") & ~blank
    if 0 < odd.sum() <= FEW_ODD * len(text):
        first = f"{text[odd].iloc[0][:40]!r} in row {cells.first(odd)[0]}"
        n, others = int(odd.sum()), f"{len(text):,} ids in {cells.name!r}"
        cells.note(f"{n:,} of {others} are no numbers like the others ({first}).")
    text = text.mask(blank, "")
    n_unseen = cells.distinct[~blank].nunique() - visible[~blank].nunique()
    if n_unseen:
        cells.note(
            f"{n_unseen:,} spellings in {cells.name!r} differ from another only in invisible characters or the "
            "Unicode form of a letter; they are one."
        )
        cells.receipt.twins.append(
            {"file": name, "column": cells.name, "kind": "invisible", "count": n_unseen, "joined": True}
        )
    found = _categorical(text, cells.codes, table.index).rename(column)
    cells.record("text", found)
    return found


def unique_names_of(table: pd.DataFrame, file: str, column: str, receipt: Receipt | None = None) -> pd.Series:
    """`names_of` for one row per id; `DataError` with the row of a duplicate, unless bad rows are skipped."""
    receipt, name = receipt or Receipt(), written_name(table, column)
    ids = names_of(table, file, column, receipt, unique=True)
    duplicate = ids.duplicated() & ids.notna()
    if duplicate.any() and receipt.skip_bad_rows:
        receipt.reject(table, file, column, duplicate.to_numpy(), f"one row for each {name}")
    elif duplicate.any():
        raise DataError(
            f"{place_of(table, file, duplicate)}: duplicate {name} {ids[duplicate].iloc[0]!r} "
            f"(duplicate rows: {int(duplicate.sum()):,}); keep one row for each {name}"
        )
    return ids


def join_twins(events: pd.Series, customers: pd.Series, names: tuple[str, str], receipt: Receipt) -> dict[str, str]:
    """Ids of the two files that differ only in leading zeros or capitals and are the same customers: old to new.

    events, customers: categoricals. names: their files. Only ids without an exact partner count; the user is asked.
    """
    known, active = pd.Index(customers.cat.categories), pd.Index(events.cat.categories)
    lone_events, lone_customers = active[~active.isin(known)], known[~known.isin(active)]
    new_names: dict[str, str] = {}
    for kind, (difference, key) in TWIN_KINDS.items():
        partner = {key(text): text for text in lone_customers}
        pairs = {text: partner[key(text)] for text in lone_events if key(text) in partner and text not in new_names}
        if not pairs:
            continue
        here, there = next(iter(pairs.items()))
        chosen = receipt.ask(
            kind,
            file=names[0],
            column=CUSTOMER_ID,
            evidence=f"{len(pairs):,} ids differ only in {difference} between {names[0]} ({here!r}) and {names[1]} "
            f"({there!r}).",
            readings={"same": "the same customers, joined", "different": "different customers"},
        )
        receipt.twins.append(
            {"file": names[0], "column": CUSTOMER_ID, "kind": kind, "count": len(pairs), "joined": chosen == "same"}
        )
        if chosen == "same":
            # Programs drop zeros and never add them, so the longer spelling is the customer's; else that of customers.
            new_names |= {old: max(old, new, key=len) if kind == "zeros" else new for old, new in pairs.items()}
            new_names |= {new: max(old, new, key=len) for old, new in pairs.items() if kind == "zeros"}
    return new_names


def renamed(ids: pd.Series, new_names: dict[str, str]) -> pd.Series:
    """A categorical of ids with some of them spelled anew."""
    if not new_names:
        return ids
    text = pd.Series(ids.cat.categories).replace(new_names)
    return _categorical(text, ids.cat.codes.to_numpy(), ids.index)


def _categorical(text: pd.Series, codes: np.ndarray, index: pd.Index) -> pd.Series:
    """(R,) a categorical of the texts (D,) that the codes (R,) stand for, -1 for none; equal texts become one."""
    merged, names = pd.factorize(text)
    values = pd.Categorical.from_codes(np.append(merged, -1)[codes], categories=pd.Index(names, dtype="str"))
    return pd.Series(values, index=index)


def note_twins_within(ids: pd.Series, name: str, receipt: Receipt, column: str = CUSTOMER_ID) -> None:
    """Say which ids or actions of one file differ only in leading zeros or capitals; they are kept apart."""
    kept, things = ("actions", "actions") if column == ACTION else ("ids", "customers")
    categories = pd.Series(ids.cat.categories)
    for kind, (difference, key) in TWIN_KINDS.items():
        keys = categories.map(key)
        twin = keys.duplicated(keep=False)
        n = int(twin.sum() - keys[twin].nunique())
        if n:
            pair = categories[keys == keys[twin].iloc[0]].tolist()[:2]
            receipt.note(
                f"{name}: {n:,} {kept} differ from another only in {difference} ({pair[0]!r} and {pair[1]!r}); "
                f"they count as different {things}."
            )
            receipt.twins.append({"file": name, "column": column, "kind": kind, "count": n, "joined": False})


def _words_for_nobody(cells: Column, text: pd.Series, unique: bool) -> pd.Series:
    """Which distinct ids are words such as NULL that stand for no customer; kept if each stands in one row."""
    pivot = text.str.lower().isin(PIVOT) | (text == NIL)
    word = pivot | (text.str.lower().isin((*BLANKS, *NO_NUMBER)) & (text.str.len() > 0) & (text.str.lower() != "x"))
    number, filled = text.isin(NOBODY), text != ""
    others = ~number & ~word & filled
    if number.any() and others.any():
        often = cells.n_rows(number) > max(1, cells.counts[others].max()) and text[others].str.isdecimal().all()
        counted = often and text[others].astype("float64").max() <= others.sum()  # 0, 1, 2, 3 and no gap
        if (often and not counted) or text[others].str.len().min() > 2:  # shorter ones count from 0
            word |= number
    if not word.any():
        return word
    first = str(text[word].iloc[0])
    n, row = cells.n_rows(word), cells.first(word)[0]
    if unique and n == int(word.sum()) and not pivot.any():
        cells.note(f"the id {first!r} (row {row}) could mean no value; it is kept as written.")
        return word & False
    chosen = cells.ask(
        "word",
        f"{n:,} rows have {first!r} in {cells.name!r} (first: row {row}), which often means no value.",
        {"no_value": "no value; these rows cannot be read", "name": f"a name, {first}"},
    )
    return word if chosen == "no_value" else word & False


def _ask_about_cut_numbers(cells: Column, text: pd.Series) -> None:
    """Asks about ids that a spreadsheet has cut: several customers may have become one."""
    plain = text.str.normalize("NFKC")  # Asian programs have digits of another width
    cut = plain.str.fullmatch(_EXPONENT)
    how = "are written with an exponent"
    if not cut.any():
        long = plain.str.fullmatch("[0-9]{16,}")
        cut = plain.str.fullmatch(_CUT)
        # By chance, one in ten numbers of 16 digits ends so, and one in a hundred of 17.
        if not long.any() or cut.sum() < 2 or cut.sum() < 0.9 * long.sum():
            return
        how = "have zeros from the 16th digit on"
    cause = "a spreadsheet has probably cut them", "Export the file again without opening it in a spreadsheet."
    if pd.api.types.is_float_dtype(cells.values):
        cause = "of decimals, 15 digits are kept", "Store ids as whole numbers or as text."
    cells.ask(
        "cut",
        f"{int(cut.sum()):,} ids in {cells.name!r} {how} ({text[cut].iloc[0]!r} in row "
        f"{cells.first(cut)[0]}): {cause[0]}, and each may stand for several customers. {cause[1]}",
        {"keep": "as written, each a customer of its own", "stop": "not to be used"},
    )


def _visible(text: pd.Series) -> pd.Series:
    """Ids in one Unicode form, without invisible characters and outer blanks."""
    special = ~text.str.isascii()
    if not special.any():
        return text
    clean = text[special].map(lambda t: unicodedata.normalize("NFC", t).translate(INVISIBLE).replace("\u00a0", " "))
    return text.where(~special, clean.str.strip().reindex(text.index)).astype("str")


def _whole(text: pd.Series) -> pd.Series:
    """Ids without the .0 that spreadsheets and pandas write behind integers in a column with missing values."""
    whole = text.str.fullmatch(r"[0-9]+(?:[.,]00?)?")
    if whole.mean() > 0.5 and not text[~whole].str.fullmatch(r"[0-9]+[.,][0-9]+").any():
        return text.where(~whole, text.str.replace(r"[.,]00?$", "", regex=True))
    return text
