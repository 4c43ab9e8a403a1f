"""Which cells mean "no value": empty ones, words such as NA or NULL, and the errors of spreadsheets.

A word is judged by its column: NA is Namibia among two-letter codes, and None a level where the file has empty cells
too. Every word that counted as missing is counted in the receipt.
"""

from __future__ import annotations

import pandas as pd

BLANKS = ("", "na", "n/a", "nan", "none", "null", "nil", "?", "-", "#n/a", "nat", "<na>")
"""Texts that mean a missing value in columns of any kind; case is ignored."""

PIVOT = tuple(
    f"({word})"
    for word in ("blank", "leer", "vide", "en blanco", "vuoto", "leeg", "em branco", "puste", "prázdné", "tom")
)
"""What a pivot table writes for a blank."""
ERRORS = ("\\n", "#ref!", "#div/0!", "#value!", "#name?", "#num!", "#null!", "(null)", "[null]", "<null>", *PIVOT)
"""What MySQL writes for NULL, and what spreadsheets write for a failed formula and for a blank in a pivot table."""

NO_NUMBER = (
    *("unknown", "not available", "not applicable", "not set", "not specified", "unspecified", "undefined", "missing"),
    *("no data", "n.a.", "n.v.t.", "n/d", "s/d", "tbd", "tba", "--", "---", "..", "...", "…", "–", "—", "*", "x"),
    *("unbekannt", "keine angabe", "k.a.", "k. a.", "nicht bekannt", "fehlt", "inconnu", "inconnue", "non renseigné"),
    *("non disponible", "desconocido", "sin datos", "no disponible", "sconosciuto", "onbekend", "okänd", "ukendt"),
)
"""Words that are missing values among numbers and dates; in a column of text they are a level like others."""

PLACEHOLDERS = (
    *("select", "please select", "-select-", "--select--", "select...", "select one", "choose", "please choose"),
    *("bitte wählen", "auswählen", "choisir", "sélectionner", "seleccionar", "not selected", "none selected"),
)
"""What a form shows while nothing is chosen: proposed as blanks, because the customer did not say it."""


def is_blank(cells: pd.Series, *, number: bool) -> pd.Series:
    """Whether each distinct cell of a column means no value. number: the column holds numbers or dates otherwise."""
    words = cells.str.lower()
    if number:
        return words.isin((*BLANKS, *ERRORS, *NO_NUMBER))
    blank = words.isin((*BLANKS, *ERRORS))
    filled = cells[~blank]
    if blank.any() and len(filled) and filled.str.fullmatch("[A-Z]{2}").all():
        blank &= cells != "NA"
    return blank
