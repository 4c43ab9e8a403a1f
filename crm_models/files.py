"""Files and folders that are written whole or not at all: to a temporary name first, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crm_models.errors import DataError


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`, renamed to it on success and removed on any error."""
    target = Path(target)
    if target.exists() and not target.is_file():
        raise DataError(f"{target}: expected a file to write to, found something else; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        # mkstemp makes files private; a result is as readable as any other file the user writes.
        part.chmod(0o666 & ~_umask())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target`; on success it takes the place of `target`, on any error it is removed.

    An existing `target` is replaced only if it is empty or was written by us (holds one of `OUR_MARKERS`); otherwise
    `DataError`, so that a mistyped --out never deletes somebody's documents.
    """
    target = Path(target)
    if target.exists() and not target.is_dir():
        raise DataError(f"{target}: expected a folder to write to, found a file; choose another --out")
    if target.is_dir() and any(target.iterdir()) and not any((target / marker).exists() for marker in OUR_MARKERS):
        raise DataError(f"{target}: the folder holds other files; choose an empty or a new folder for --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield part
        part.chmod(0o777 & ~_umask())
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
            target.replace(old / "old")
            part.replace(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)


OUR_MARKERS = ("cohort.json", "config.json", "paper.json")
"""A folder holding one of these was written by this package."""


def write_json(target: Path, content: Any) -> None:
    """Write `content` as readable JSON, whole or not at all. NaN is refused: write None instead."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with new_file(target) as part:
        part.write_text(text + "\n", encoding="utf-8")


def read_json(source: Path) -> Any:
    """The content of a JSON file; `DataError` where it is missing or damaged."""
    try:
        return json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{source}: expected this file, found none") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{source}: expected JSON, found something unreadable ({error})") from None


def sha256(*sources: Path) -> str:
    """Hex digest over the bytes of the files, in the order given; missing ones count as empty."""
    digest = hashlib.sha256()
    for source in sources:
        if source.exists():
            with source.open("rb") as handle:
                for block in iter(lambda: handle.read(1 << 20), b""):
                    digest.update(block)
        digest.update(b"\0")
    return digest.hexdigest()


def _umask() -> int:
    # The only portable way to read the mask is to set it; the window is harmless for files we name ourselves.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
