"""JSON files to tables: one object per line, or one array of objects."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa

from crm_models.core.errors import DataError
from crm_models.data.sources.archives import unpack
from crm_models.data.sources.frames import FIRST_ROW
from crm_models.data.sources.text_encoding import decode


def read_json(source: bytes | BinaryIO, name: str, fields: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """One row per JSON object, from one object per line (blank lines are skipped) or one array, packed or not.

    fields: the fields to read, each with the fields of a nested object to read as columns such as `value.amount` (none
    if it is not nested). Other fields are ignored, missing ones are None. `DataError` with the line of anything else.
    """
    # pyarrow.json is several times as fast, but crashes (segmentation fault, 26.0.1) on a line that is `null`.
    raw = unpack(source if isinstance(source, bytes) else source.read(), name)
    text = bytes(decode(raw, name).text)
    columns: dict[str, list[Any]] = {
        column: [] for field, inner in fields.items() for column in ([f"{field}.{key}" for key in inner] or [field])
    }
    for row in _objects(text, name):
        for field, inner in fields.items():
            value = row.get(field)
            if not inner:
                columns[field].append(_cell(value))
            for key in inner:
                columns[f"{field}.{key}"].append(_cell(value.get(key)) if isinstance(value, dict) else None)
    table = pd.DataFrame({column: pd.Series(cells, dtype=object) for column, cells in columns.items()})
    if not len(table):
        raise DataError(f"{name}: expected JSON objects, found none")
    table = table.infer_objects()
    table.attrs = {FIRST_ROW: 1}
    return table


class _Written(str):
    """A number as it is written."""


def read_flat(text: bytes, name: str) -> tuple[list[pa.ChunkedArray], list[str], bool]:
    """Cells as text and column names of JSON objects, and whether a string looks like 1.234: it can be either number.

    Numbers keep all their digits. `DataError` with the name of a nested field.
    """
    columns: dict[str, list[str | None]] = {}
    pointed, n = False, 0
    for n, row in enumerate(_objects(text, name, parse_float=_Written, parse_int=_Written), start=1):
        for field, value in row.items():
            if isinstance(value, dict | list):
                where = f"a nested field {field!r} in object {n}"
                raise DataError(
                    f"{name}: expected a table, found JSON with {where}; save it as CSV, a column per field"
                )
            pointed |= type(value) is str and re.fullmatch(r"[+-]?[1-9][0-9]{0,2}[.,][0-9]{3}", value) is not None
            cell = value if value is None or isinstance(value, str) else str(value)
            column = columns.setdefault(field, [])
            column += [None] * (n - 1 - len(column))
            column.append(cell)
    if not columns:
        raise DataError(f"{name}: expected JSON objects, found none")
    try:
        arrays = [
            pa.chunked_array([pa.array(cells + [None] * (n - len(cells)), pa.string())]) for cells in columns.values()
        ]
    except UnicodeEncodeError:
        raise DataError(f"{name}: expected text, found half of a character (such as \\ud83d) alone") from None
    return arrays, [" ".join(field.split()) for field in columns], pointed


def _objects(text: bytes, name: str, **options: Any) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        if text[:1000].lstrip().startswith(b"["):
            for number, row in enumerate(json.loads(text, **options), start=1):
                yield _object(row, name, f"number {number}")
            return
        for number, line in enumerate(io.BytesIO(text), start=1):
            if line.strip():
                yield _object(json.loads(line, **options), name, f"line {number}")
    except json.JSONDecodeError as error:
        if number == 1 and text.lstrip().startswith(b"{"):
            with suppress(ValueError):  # one object over several lines
                yield _object(json.loads(text), name, "line 1")
                return
        line_number = number or error.lineno
        raise DataError(f"{name} line {line_number}: expected a JSON object, found none ({error.msg})") from None
    except DataError:  # already has its message, and is also a ValueError
        raise
    except (ValueError, RecursionError):  # numbers of thousands of digits, very deep nesting
        raise DataError(f"{name} line {max(number, 1)}: expected a JSON object, found one too large to read") from None


def _object(row: Any, name: str, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{name} {where}: expected a JSON object, found {' '.join(repr(row).split())[:40]}")
    return row


def _cell(value: Any) -> Any:
    """A JSON value as a table cell: lists as text joined by bars, objects as text, huge integers as floats."""
    if isinstance(value, list):
        return "|".join(map(str, value)) or None
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < 10**308 else math.inf
    return value
