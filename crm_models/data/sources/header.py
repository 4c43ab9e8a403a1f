"""Where a table begins: titles above the header, headers of two rows, and rows of units or types below it."""

from __future__ import annotations

import re
from collections.abc import Sequence

TITLE_ROWS = 20
"""Most rows above a header that count as its title."""
TYPES = ("string", "str", "text", "char", "varchar", "object", "id", "key", "category", "int", "integer", "number")
"""What stands below the name of an id in a row of types."""
_NUMBER = re.compile(r"[+-]?[^\w\s]?\s?[0-9][0-9.,:/ '-]*\s?[%€$]?")
_CODE = re.compile(r"[A-Z]{1,3}[0-9]{1,4}|Unnamed: [0-9]+|Column ?[0-9]+|[0-9]{1,3}")


def header_row(rows: Sequence[Sequence[str]]) -> int:
    """The place of the header among the first rows of a table: 0, unless titles, groups or codes stand above it."""
    widths = [len(row) for row in rows]
    usual = max(set(widths), key=widths.count) if widths else 1
    if usual < 2 or usual not in widths[: TITLE_ROWS + 1]:
        return 0
    start = widths.index(usual)
    last = min(len(rows) - 1, TITLE_ROWS)
    while usual > 2 and start < last and _n_filled(rows[start]) < 2:
        start += 1
    below = next((k for k in range(start, last) if _n_filled(rows[k]) > usual // 4), start)
    if not any(_NUMBER.fullmatch(cell.strip()) for cell in rows[below]):
        start = below
    # Two cells on a line above, such as "Date:,2026-01-31,,,,", are a title where the table is much wider.
    full = [k for k, row in enumerate(rows[:start]) if _n_filled(row) > max(1, usual // 2)]
    if full:
        return full[0]
    return start + 1 if _is_above_the_names(rows[start:]) else start


def _is_above_the_names(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row groups or numbers the columns and the names follow: words above columns of numbers."""
    if len(rows) < 3:
        return False
    above, names = rows[0], rows[1]
    data = [row for row in rows[2:12] if len(row) == len(names) and any(map(str.isalnum, "".join(row)))]
    filled = [cell.strip() for cell in above if cell.strip()]
    vague = len(filled) < 0.7 * len(names) or sum(bool(_CODE.fullmatch(c)) for c in filled) > 0.7 * len(filled)
    words = [cell.strip() for cell in names]
    named = [word for word in words if word]
    grouped = _joined(above, names) is not None
    if not (vague or grouped) or not data or len(above) > len(names):
        return False
    if not grouped and len(set(named)) < max(len(named), len(words) - 2):
        return False
    if any(_NUMBER.fullmatch(word) for word in words):
        return False
    numbers = (sum(bool(_NUMBER.fullmatch(row[k].strip())) for row in data) for k, word in enumerate(words) if word)
    return max(numbers, default=0) > 0.8 * len(data)  # the header again may be among the rows


def joined_names(rows: Sequence[Sequence[str]], start: int) -> list[str] | None:
    """The names of the columns from a header of two rows, such as "2025 visits"; None if the second has them alone.

    start: the place of the second row.
    """
    return _joined(rows[start - 1], rows[start]) if start else None


def _joined(above: Sequence[str], names: Sequence[str]) -> list[str] | None:
    """Names with their group, where names repeat, the groups tell them apart, and no column is without a name."""
    joined, group = [], ""
    above = [*above, *[""] * (len(names) - len(above))]
    for over, name in zip(map(str.strip, above), map(str.strip, names), strict=False):
        group = over or (group if name else "")
        joined.append(f"{group} {name}".strip())
    named = [name.strip() for name in names if name.strip()]
    repeat = len(set(named)) < len(named) and all(any(map(str.isalpha, name)) for name in named)
    is_header = all(cell.strip() for cell in above) and len(set(above)) == len(above)  # with types below it
    return joined if repeat and not is_header and all(joined) and len(set(joined)) == len(joined) else None


def _n_filled(row: Sequence[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


def describes_columns(first: Sequence[str | None], below: Sequence[Sequence[str | None]], words: Sequence[str]) -> bool:
    """Whether the first row below a header holds units, types or descriptions: no number where all others have one.

    words: cells that mean a missing value, and so say nothing.
    """
    odd = even = 0
    for k, cell in enumerate(first):
        column = [row[k] for row in below if row[k] is not None]
        if k == 0 and cell is not None and cell.lower() not in TYPES and _is_word_among(cell, column, len(below)):
            return False  # an id like all others
        is_number = bool(column) and sum(any(c.isdigit() for c in str(v)) for v in column) > 0.9 * len(column)
        if not is_number or cell is None or str(cell).lower() in words:
            continue
        if any(c.isdigit() for c in str(cell)):
            even += 1
        else:
            odd += 1
    return odd >= 2 and not even


def _is_word_among(cell: str, column: Sequence[str | None], n_rows: int) -> bool:
    """Whether a cell is one word among words that are all filled and differ, none of them shorter than it."""
    words = [str(word) for word in column]
    distinct = len(words) == n_rows and len({cell, *words}) == n_rows + 1
    return distinct and cell.isalpha() and all(map(str.isalpha, words)) and len(cell) <= max(map(len, words))
