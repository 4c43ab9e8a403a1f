"""Atomic writes: files and folders are written under a temporary name, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crm_models.core.errors import CrmError, DataError
from crm_models.core.places import Place, Remote, place


@contextmanager
def new_file(target: Place) -> Iterator[Path]:
    """A temporary path beside `target`, renamed to it on success and removed on any error."""
    need_file_target(target)
    target = place(target)
    if isinstance(target, Remote):
        with target.replaced() as part:
            yield part
        return
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
def folder_beside(target: Place) -> Iterator[Place]:
    """A temporary folder beside `target`, removed in the end; on shared storage, other machines write to it too."""
    target = place(target)
    if isinstance(target, Remote):
        folder = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
        try:
            yield folder
        finally:
            folder.remove()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        part.chmod(0o777 & ~_umask())
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


MARKERS = {
    "cohort.json": "a cohort",
    "config.json": "a run",
    "paper.json": "a re-run of the paper",
    "tune.json": "a search for better settings",
    "campaign.json": "a campaign",
}
"""The file that marks each kind of folder this package writes, and the name of the kind in messages."""


@contextmanager
def new_folder(target: Path, marker: str) -> Iterator[Path]:
    """A temporary folder beside `target` that replaces it on success and is removed on any error.

    marker: the key of `MARKERS` for this kind of folder. `need_own_folder` says which folders are never replaced.
    """
    need_own_folder(target, marker)
    target = Path(os.path.abspath(target))  # "." has no name to derive the temporary one from
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    old: Path | None = None
    try:
        yield part
        part.chmod(0o777 & ~_umask())
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
            target.replace(old / "old")
        part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)


def need_own_folder(target: Path, marker: str) -> None:
    """`DataError` unless `target` does not exist, is empty, or is a folder of the same kind, which may be replaced.

    So a mistyped --out deletes no documents, and a run never replaces the cohort it was trained on.
    """
    target = Path(target)
    if target.exists() and not target.is_dir():
        raise DataError(f"{target}: expected a folder to write to, found a file; choose another --out")
    if not target.is_dir() or (target / marker).exists() or not any(target.iterdir()):
        return
    other = next((kind for file, kind in MARKERS.items() if (target / file).exists()), None)
    if other is not None:
        raise DataError(
            f"{target}: the folder holds {other}, which is not replaced by {MARKERS[marker]}; choose another folder"
        )
    raise DataError(f"{target}: the folder holds other files; choose an empty or a new folder for --out")


def need_file_target(target: Place) -> None:
    """`DataError` if `target` exists and is not a file."""
    target = place(target)
    if target.exists() and not target.is_file():
        raise DataError(f"{target}: expected a file to write to, found something else; choose another name")


def write_json(target: Place, content: Any) -> None:
    """Write `content` as indented JSON, atomically. NaN is a `ValueError`: write None instead."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with new_file(target) as part:
        part.write_text(text + "\n", encoding="utf-8")


def read_json(source: Place) -> Any:
    """The content of a JSON file; `DataError` if it is missing or damaged."""
    try:
        return json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{source}: expected this file, found none") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError, OSError) as error:
        raise DataError(f"{source}: expected JSON, found an unreadable file ({error})") from None


@contextmanager
def read_whole(source: Place, expected: str, remedy: str) -> Iterator[None]:
    """Context for code that interprets the content of `source`: errors in it become one `DataError`."""
    try:
        yield
    except CrmError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:160]
        raise DataError(f"{source}: expected {expected}, found it damaged ({reason}); {remedy}") from None


def sha256(*sources: Place) -> str:
    """Hex SHA-256 digest of the files in the order given; a missing file counts as empty."""
    digest = hashlib.sha256()
    for source in sources:
        if source.exists():
            with source.open("rb") as handle:
                for block in iter(lambda: handle.read(1 << 20), b""):
                    digest.update(block)
        digest.update(b"\0")
    return digest.hexdigest()


def _umask() -> int:
    # The only portable way to read the umask is to set it. The short window is harmless for files named here.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
