"""Texts that are no tables, told by how they begin: web pages, XML, SQL dumps, printed tables."""

from __future__ import annotations

import re

from crm_models.core.errors import DataError
from crm_models.data.sources.text_encoding import Text

_FORMS = (
    (rb"(?i)<(?:!doctype\s+html|html|head|body|table|meta|style|div)\b", "a web page (HTML)", "a spreadsheet"),
    (rb"<(?:\?xml|[!?])|<\w[^<>\r\n]*>(?:[ \t\r]*\n\s*)?<", "XML", "the program it comes from"),
    (rb"%PDF-", "a PDF", "the program it comes from"),
    (rb"\{\\rtf", "a text document (RTF)", "a word processor"),
    (
        rb"(?i:(?:(?:--|/\*|#|(?:set|begin|start|use|pragma|lock|drop|create database)\b|[ \t]*(?=\r?\n))"
        rb"[^\r\n]*\r?\n){0,200}"
        rb"(?:insert\s+into|create\s+table|copy\s+\S+\s*\(|replace\s+into)\s)",
        "an SQL dump",
        "the database",
    ),
    (
        rb"(?:\+-[-+]*\+|(?:.*\n){0,3}(?:-{3,}[ \t\r]*\n[ \t]*\|.*\|[ \t\r]*\n[ \t]*-{3,}|-+(?:\+-+)+))[ \t]*\r?\n",
        "a table printed with lines between its cells",
        "the program it comes from (mysql --batch, psql --csv)",
    ),
)
"""How a text begins, what it is, and who can save it as CSV."""


def refuse_foreign(text: Text, name: str) -> None:
    """`DataError` if a text is no table of cells, with what it is and what to do."""
    begin = bytes(text[: 1 << 16]).lstrip()
    for pattern, what, program in _FORMS:
        if re.match(pattern, begin):
            raise DataError(f"{name}: expected a table, found {what}; save it as CSV with {program}")


def is_json(text: Text) -> bool:
    """Whether a text begins as JSON objects do, one per line or in an array, or as an array of arrays."""
    return re.match(rb'\s*(?:\{\s*["}]|\[\s*[{\[])', text) is not None
