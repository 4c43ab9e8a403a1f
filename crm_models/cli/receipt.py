"""The receipt of an import as a few lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any


def receipt_lines(receipt: dict[str, Any]) -> Iterator[str]:
    """The files, the rows and the columns of a receipt; one line each where nothing is odd."""
    for file in receipt["files"]:
        layout = ", ".join(
            part for part in (file["encoding"], f"separator {file['delimiter']!r}" if file["delimiter"] else "") if part
        )
        written = f" ({layout})" if layout else ""
        yield f"  read: {file['name']}, {file['rows']:,} rows as {file['kind']}{written}"
    rows = receipt["rows"]
    yield (
        f"  rows: {rows['read']:,} read = {rows['kept']:,} kept + {rows['rejected']:,} rejected + "
        f"{rows['explained']:,} left out for a reason"
    )
    types = Counter(column["type"] for column in receipt["columns"])
    if types:
        yield f"  columns: {', '.join(f'{n} {kind}' for kind, n in types.items())}; details in receipt.json"
    for column in receipt["columns"]:
        if column["odd"]:
            row, text = column["first_odd"]
            yield f"  odd: {column['file']}, {column['column']!r}: {column['odd']:,} cells, first {text!r} in row {row}"
