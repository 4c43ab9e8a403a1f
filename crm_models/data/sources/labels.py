"""Yes or no: the churn label of customers and other flags, in the words of several languages."""

from __future__ import annotations

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.data.sources.blanks import BLANKS, ERRORS
from crm_models.data.sources.columns import Cells, record, without_categories
from crm_models.data.sources.receipt import Receipt

YES = (
    *("yes", "y", "true", "t", "ja", "j", "oui", "o", "si", "sí", "sì", "sim", "s", "tak", "ano", "igen", "да"),
    *("vrai", "wahr", "verdadero", "verdadeiro", "vero", "waar", "sant", "prawda", "evet", "是"),
)
NO = (
    *("no", "n", "false", "f", "nein", "non", "não", "nao", "nie", "ne", "nem", "нет", "nee", "nej"),
    *("faux", "falsch", "falso", "onwaar", "falskt", "fałsz", "hayır", "否"),
)
LEFT = (
    *("churned", "churn", "exited", "attrited", "attrited customer", "left"),
    *("lost", "lapsed", "inactive", "cancelled", "canceled", "closed"),
)
STAYED = (
    *("not churned", "no churn", "stayed", "existing", "existing customer", "retained"),
    *("active", "current", "loyal", "subscribed", "open"),
)
"""Words for churned and not churned in tables of customers, besides yes and no."""


def labels_of(
    table: pd.DataFrame, name: str, column: str, positive: str | None = None, receipt: Receipt | None = None
) -> pd.Series:
    """A yes/no column as nullable boolean. positive: the value that means yes, if it is not a usual word.

    `DataError` for a value that is neither yes nor no, or if `positive` never occurs. With `positive`, every other
    filled value means no; the receipt gets a sentence if there are several.
    """
    receipt = receipt or Receipt()
    values = without_categories(table[column])
    if pd.api.types.is_bool_dtype(values):
        record(receipt, table, name, column, "yes or no", values)
        return values.astype("boolean")
    cells = Cells.of(values)
    distinct = cells.distinct
    words = distinct.str.lower()
    if positive is not None:
        wanted = positive.strip().lower()
        yes = words.isin([wanted, f"{wanted}.0"])
        if not yes.any():
            existing = ", ".join(map(repr, distinct.tolist()[:5])) or "blanks only"
            raise DataError(f"{name}: expected {positive!r} in the column {column!r}, found {existing}")
        if (~yes).sum() > 1:
            others = ", ".join(repr(str(v)) for v in distinct[~yes.to_numpy()][:5])
            receipt.note(f"{name}: in {column!r}, {positive!r} means churned; {others} all mean stayed.")
        blank = pd.Series(False, index=yes.index)
    else:
        numbers = pd.Series(pd.to_numeric(words, errors="coerce"), index=words.index)  # "1.00" means the same as "1"
        blank = words.isin((*BLANKS, *ERRORS))
        yes = words.isin(YES + LEFT) | (numbers == 1)
        unknown = ~(yes | blank | words.isin(NO + STAYED) | (numbers == 0))
        receipt.refuse(
            table,
            name,
            column,
            cells.rows(unknown),
            "yes or no (also 1/0, true/false)",
            "if another word means churned, give it with --positive",
        )
        blank |= unknown
    known = pd.array([*(None if b else bool(y) for b, y in zip(blank, yes, strict=True)), None], dtype="boolean")
    found = pd.Series(known.take(cells.codes), index=table.index)
    record(receipt, table, name, column, "yes or no", found, cells=cells, blank=blank)
    return found
