"""Yes or no: the churn label of customers and other flags, in the words of several languages."""

from __future__ import annotations

import re

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import CHURNED
from crm_models.data.sources.blanks import BLANKS, ERRORS
from crm_models.data.sources.column import Column
from crm_models.data.sources.dates import dates_of, look_dated
from crm_models.data.sources.receipt import Receipt

YES = (
    *("yes", "y", "true", "t", "ja", "j", "oui", "o", "si", "sí", "sì", "sim", "s", "tak", "ano", "igen", "да", "on"),
    *("vrai", "wahr", "verdadero", "verdadeiro", "vero", "waar", "sant", "prawda", "evet", "истина", "x", "✓", "✔"),
    *("是", "はい", "真", "예"),
)
NO = (
    *("no", "n", "false", "f", "nein", "non", "não", "nao", "nie", "ne", "nem", "нет", "nee", "nej", "off"),
    *("faux", "falsch", "falso", "onwaar", "falskt", "fałsz", "hayır", "ложь", "✗", "✘"),
    *("否", "いいえ", "偽", "아니요"),
)
LEFT = (
    *("churned", "churn", "exited", "attrited", "attrited customer", "left", "terminated", "former"),
    *("lost", "lapsed", "inactive", "cancelled", "canceled", "closed"),
    *("abgewandert", "gekündigt", "inaktiv", "ehemalig", "résilié", "parti", "inactif", "baja", "inactivo", "opgezegd"),
)
STAYED = (
    *("not churned", "no churn", "stayed", "existing", "existing customer", "retained"),
    *("active", "current", "loyal", "subscribed", "open", "won"),
    *("aktiv", "bestand", "bestandskunde", "actif", "activo", "alta", "actief", "attivo"),
)
"""Words for churned and not churned in tables of customers, besides yes and no."""
FIRST_LEFT = 1970
"""Dates of leaving up to this year, such as 1970-01-01 and 1900-01-01, stand for none."""

_STAY = (
    "active|retained|retention|stayed|renewed|subscribed|current|loyal|aktiv|actif|activo|ativo|attivo|actief|geblieben"
)
_WHO = "customer|user|client|member|account|kunde"
_STAYED_NAME = re.compile(
    rf"(?:(?:is|still|ist|est|has|was)_?)?(?:(?:{_WHO})_?)?(?:{_STAY})(?:_?(?:{_WHO}|flag|status))?"
)
"""Names of columns whose yes means that a customer stayed."""


def says_stayed(name: str) -> bool:
    """Whether the name of a label, such as "IsActiveMember" or "retained", says that yes means stayed."""
    words = re.sub(r"[\W_]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)).strip("_").lower()
    return _STAYED_NAME.fullmatch(words) is not None


def labels_of(
    table: pd.DataFrame,
    name: str,
    column: str,
    positive: str | None = None,
    receipt: Receipt | None = None,
    *,
    written: str = "",
) -> pd.Series:
    """A yes/no column as nullable boolean. positive: the value that means yes, if it is not a usual word.

    written: the name of the label in the file; where it says that customers stayed (`says_stayed`), yes means no.

    `DataError` for a value that is neither yes nor no, or if `positive` never occurs. With `positive`, every other
    filled value means no; the receipt gets a sentence if there are several. Where only yes is written, it is asked what
    a blank means.
    """
    cells = Column(table, name, column, receipt)
    turned = positive is None and says_stayed(written)
    if turned:
        cells.note(f"{written!r} says who stayed: yes means not churned (unless --positive names the churned).")
    if pd.api.types.is_bool_dtype(cells.values) and positive is None:
        found = cells.values.astype("boolean") ^ turned
        cells.record("yes or no", found)
        return found
    words, dated = cells.distinct.str.lower().str.removeprefix("'"), False
    blank = words.isin((*BLANKS, *ERRORS))
    if positive is None:
        # "1.00" and "1,0" mean the same as "1"; databases of Microsoft write -1 for yes, data for machines for no.
        numbers = pd.to_numeric(words.str.replace(",", ".", regex=False), errors="coerce")
        one, zero, minus = (numbers == number for number in (1, 0, -1))
        yes = words.isin(YES + LEFT) | one | (minus & (not one.any()))
        unknown = ~(yes | blank | words.isin(NO + STAYED) | zero | (minus & (not zero.any())))
        if minus.any() and one.any():
            cells.note(f"-1 in {cells.name!r} means no, because 1 stands beside it.")
        expected = "yes or no (also 1/0, true/false)"
        dated = column == CHURNED and _are_past_dates(cells, blank)
        if dated:
            yes, unknown = ~blank, unknown & False
            cells.note(
                f"a date in {cells.name!r} means churned (first: {cells.first(yes)[1]!r}), a blank means stayed."
            )
        cells.refuse(cells.rows(unknown), expected, "if another word means churned, give it with --positive")
        blank |= unknown
    else:
        wanted = positive.strip().lower()
        yes, blank = words.isin([wanted, f"{wanted}.0"]), blank & False
        if not yes.any():
            existing = ", ".join(map(repr, cells.distinct.tolist()[:5])) or "blanks only"
            raise DataError(f"{name}: expected {positive!r} in the column {column!r}, found {existing}")
        if (~yes).sum() > 1:
            others = ", ".join(repr(str(v)) for v in cells.distinct[~yes][:5])
            cells.note(f"in {cells.name!r}, {positive!r} means churned; {others} all mean stayed.")
    if blank.all():
        cells.note(f"{cells.name!r} is blank in every row.")
    blank_is_no = dated or _blank_is_no(cells, yes, blank)
    known = (yes ^ (turned & ~words.isin(LEFT + STAYED))).astype("boolean").mask(blank)
    found = pd.Series(known.array.take(cells.codes, allow_fill=True), index=table.index)
    found = found.fillna(turned) if blank_is_no else found
    cells.record("yes or no", found, blank=blank)
    return found


def _are_past_dates(cells: Column, blank: pd.Series) -> bool:
    """Whether the cells are dates of leaving beside blanks: none is ahead, or stands for no date."""
    filled = cells.distinct[~blank]
    if not len(filled) or not ((cells.codes < 0).any() or blank.any()) or not look_dated(filled):
        return False
    dates = dates_of(filled).values
    return bool(dates.notna().all() and dates.min().year > FIRST_LEFT and dates.max() <= pd.Timestamp.now())


def _blank_is_no(cells: Column, yes: pd.Series, blank: pd.Series) -> bool:
    """Whether a blank means no: asked where every filled cell means yes, because a model needs both."""
    n_blank = int((cells.codes < 0).sum()) + cells.n_rows(blank)
    if not n_blank or not yes.any() or not (yes | blank).all():
        return False
    chosen = cells.ask(
        "blank_label",
        f"{cells.name!r} is {cells.distinct[yes].iloc[0]!r} in {cells.n_rows(yes):,} rows and blank in the other "
        f"{n_blank:,}.",
        {"no": "a blank means no", "unknown": "a blank means that it is not known"},
    )
    return chosen == "no"
