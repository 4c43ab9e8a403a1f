"""Logs of JSON lines that are only ever appended to; a line that a killed process left half written is no line."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from crm_models.core.errors import DataError


def append_line(file: Path, content: dict[str, Any]) -> None:
    """Append one line; on any error the file is as before, apart from the half line that it may have ended with."""
    line = json.dumps(content, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    with file.open("a+b") as handle:
        end, rest = _complete(handle.seek(0, os.SEEK_END), handle)
        handle.truncate(end)
        try:
            handle.write(rest + line)
            handle.flush()
        except OSError:
            handle.truncate(end)
            raise


def read_lines(file: Path) -> list[str]:
    """The lines of a log, without a last one that is half written. `DataError` if it is no text."""
    try:
        text = file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: expected lines of text, found a damaged file ({error})") from None
    *lines, last = text.split("\n")
    return [*lines, last] if _is_json(last) else lines


def _complete(size: int, handle: Any) -> tuple[int, bytes]:
    """Where the last complete line ends, and a newline if it lacks one."""
    handle.seek(max(0, size - 1))
    if size == 0 or handle.read(1) == b"\n":
        return size, b""
    handle.seek(0)
    content = handle.read()
    start = content.rfind(b"\n") + 1
    return (size, b"\n") if _is_json(content[start:]) else (start, b"")


def _is_json(text: str | bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
