"""Files of lines that are only ever appended, each chained to the one before by a hash.

A line's `sha256` is that of its content and of the line before it (`prev`), so a line that is changed, removed or cut
off later is found when the file is read. Whoever appends holds a lock.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from crm_models.core.errors import DataError
from crm_models.core.files import DAMAGED
from crm_models.core.lines import append_line, read_lines

START = "0" * 64


def lines(file: Path) -> list[dict[str, Any]]:
    """All lines of a chained file, [] if there is none. Raises `DataError` if one was changed, removed or cut off."""
    found: list[dict[str, Any]] = []
    before = START
    for number, text in enumerate(read_lines(file), start=1):
        try:
            line = json.loads(text)
            intact = line["prev"] == before and line["sha256"] == _hash(line)
        except DAMAGED:
            intact = False
        if not intact:
            raise DataError(
                f"{file} line {number}: expected the line as it was written, found it or the line before it changed; "
                "the file is no longer evidence: restore it from a backup, or move it away"
            )
        found.append(line)
        before = line["sha256"]
    return found


def append(file: Path, content: dict[str, Any], before: str) -> dict[str, Any]:
    """Append a line after the one whose `sha256` is `before` (`START` for the first); returns it."""
    line = content | {"prev": before}
    line["sha256"] = _hash(line)
    append_line(file, line)
    return line


def last_hash(file: Path) -> str:
    """The `sha256` of the last line, without reading the others; `START` if there is none."""
    if not file.exists() or not file.stat().st_size:
        return START
    with file.open("rb") as handle:
        size = handle.seek(0, 2)
        block = 1 << 12
        while True:
            handle.seek(max(size - block, 0))
            tail = handle.read().rstrip(b"\n").rsplit(b"\n", 1)
            if len(tail) > 1 or block >= size:
                break
            block *= 2
    try:
        return str(json.loads(tail[-1])["sha256"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{file}: expected a last line as it was written, found it changed or cut off") from None


def _hash(line: dict[str, Any]) -> str:
    content = {name: value for name, value in line.items() if name != "sha256"}
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
