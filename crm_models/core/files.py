"""Atomic writes: files and folders are written under a temporary name, then take their place.

A process that is killed meanwhile leaves what was there, and hidden leftovers beside it; `recovery` clears them. Each
temporary file or folder is locked while it is written, so that nobody takes it for a leftover.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from crm_models.core.errors import CrmError, DataError
from crm_models.core.places import Place, Remote, place

DAMAGED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
"""What code that interprets damaged content raises."""


# ---- names -----------------------------------------------------------------------------------------------------------


def absolute(path: Path | str) -> Path:
    """The path from the root, without links. `DataError` for one that leads nowhere: links in a circle, a NUL."""
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{str(path)!r}: expected a path, found one that leads nowhere ({error})") from None


MARKERS = {
    "cohort.json": "a cohort",
    "config.json": "a run",
    "paper.json": "a re-run of the paper",
    "tune.json": "a search for better settings",
    "campaign.json": "a campaign",
}
"""The file that marks each kind of folder this package writes, and the name of the kind in messages."""


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


# ---- files -----------------------------------------------------------------------------------------------------------


@contextmanager
def new_file(target: Place) -> Iterator[Path]:
    """A temporary path beside `target`, renamed to it on success and removed on any error."""
    with new_files() as part_of:
        yield part_of(target)


PartOf = Callable[[Place], Path]
"""From a target to the temporary path to write; see `new_files`."""


@contextmanager
def new_files() -> Iterator[PartOf]:
    """A function from a target to a temporary path beside it. On success all targets are replaced, on any error none.

    They are replaced in the order in which they were asked for. Two renames cannot be one step, so a list of them is
    written first: `recovery` completes it for a process that is killed in between.
    """
    parts: dict[Path, Path] = {}
    uploads: dict[Remote, Path] = {}

    with ExitStack() as locks:

        def part_of(target: Place) -> Path:
            need_file_target(target)
            target = place(target)
            if isinstance(target, Remote):
                uploads[target] = locks.enter_context(target.part())
                return uploads[target]
            own = absolute(target)
            own.parent.mkdir(parents=True, exist_ok=True)
            part, lock = _locked(lambda: _temporary(own, PART))
            locks.callback(os.close, lock)
            parts[own] = part
            return part

        try:
            yield part_of
            for part in parts.values():
                # mkstemp makes files private; a result is as readable as any other file the user writes.
                part.chmod(0o666 & ~_umask())
                sync(part)
            _replace_all(parts, _noted_moves(parts, locks) if len(parts) > 1 else None)
            for remote, part in uploads.items():
                remote.put(part)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)


PART, OLD, MOVES = ".part", ".old", ".moves"
"""Endings of leftovers: what is being written, what it replaces (in a folder), and renames that belong together."""


def _noted_moves(parts: dict[Path, Path], locks: ExitStack) -> Path:
    """A file beside the last target with the list of the renames, which nobody else touches before `locks` end."""
    target = list(parts)[-1]
    part, lock = _locked(lambda: _temporary(target, PART))
    locks.callback(os.close, lock)
    locks.callback(part.unlink, missing_ok=True)
    part.write_text(json.dumps([[str(part), str(target)] for target, part in parts.items()]), encoding="utf-8")
    sync(part)
    return part.replace(part.with_suffix(MOVES))


def _replace_all(parts: dict[Path, Path], moves: Path | None) -> None:
    """Rename every part to its target. If only some can be, the others and their list are left to `recovery`."""
    n_done = 0
    try:
        for target, part in parts.items():
            part.replace(target)
            n_done += 1
    finally:
        if moves is not None and n_done in (0, len(parts)):
            moves.unlink(missing_ok=True)
        elif moves is not None:
            parts.clear()


def _temporary(target: Path, ending: str) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=ending, dir=target.parent)
    os.close(handle)
    return Path(name)


def _locked(make: Callable[[], Path]) -> tuple[Path, int]:
    """A new file or folder and the open handle that locks it until it is closed, by us or by the end of the process."""
    while True:
        path = make()
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # `recovery` took it for a leftover before it was locked
        with suppress(OSError):  # a file system without locks: leftovers are then not told from what is being written
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.stat()):
                return path, handle
        os.close(handle)


# ---- folders ---------------------------------------------------------------------------------------------------------


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target`, removed at the end, unless it was renamed."""
    part, lock = _locked(lambda: Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=PART, dir=target.parent)))
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


@contextmanager
def folder_beside(target: Place) -> Iterator[Place]:
    """A temporary folder beside `target`, removed in the end; on shared storage, other machines write to it too."""
    target = place(target)
    if isinstance(target, Remote):
        folder = target.with_name(f".{target.name}.{uuid.uuid4().hex}{PART}")
        try:
            yield folder
        finally:
            folder.remove()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target) as part:
        part.chmod(0o777 & ~_umask())
        yield part


@contextmanager
def new_folder(target: Path, marker: str) -> Iterator[Path]:
    """A temporary folder beside `target` that takes its place on success and is removed on any error.

    marker: the key of `MARKERS` for this kind of folder. `need_own_folder` says which folders are never replaced.
    """
    need_own_folder(target, marker)
    target = absolute(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target) as part:
        yield part
        put_in_place(part, target)


def put_in_place(part: Path, target: Path) -> None:
    """Rename a temporary folder to `target`; what `target` held is in `part` afterwards, or deleted."""
    part.chmod(0o777 & ~_umask())
    for file in part.rglob("*"):
        if file.is_file():
            sync(file)
    if target.exists():
        exchange(part, target)
    else:
        part.replace(target)


def exchange(part: Path, target: Path) -> None:
    """Give two folders each other's name, in one step where the system can do so (Linux).

    Elsewhere `target` is moved away and deleted, and `recovery` puts it back for a process killed in between.
    """
    if _exchanged(part, target):
        return
    old = part.with_suffix(OLD)
    old.mkdir()
    try:
        target.replace(old / "old")
        try:
            part.replace(target)
        except OSError:
            (old / "old").replace(target)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


_RENAME_EXCHANGE, _AT_FDCWD = 2, -100


def _exchanged(part: Path, target: Path) -> bool:
    """Whether the system exchanged two names; False if it does not know how."""
    if not sys.platform.startswith("linux"):
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    sys.audit("os.rename", str(part), str(target), -1, -1)
    if rename(_AT_FDCWD, os.fsencode(part), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(target))


def delete_folder(folder: Path) -> None:
    """Delete a folder. It is renamed first, so that a half-deleted folder is never taken for a complete one."""
    if folder.exists():
        with temporary_folder(folder) as gone, suppress(FileNotFoundError):  # somebody else deletes it, too
            folder.replace(gone)


def sync(file: Path) -> None:
    """Wait until the content of a file is on the disk."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


# ---- content ---------------------------------------------------------------------------------------------------------


def write_json(target: Path, content: Any) -> None:
    """Write `content` as indented JSON, atomically. NaN is a `ValueError`: write None instead."""
    with new_file(target) as part:
        part.write_text(json_text(content), encoding="utf-8")


def json_text(content: Any) -> str:
    """The content as indented JSON. NaN is a `ValueError`."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(source: Place) -> Any:
    """The content of a JSON file; `DataError` if it is missing or damaged."""
    return read_json_sized(source)[0]


def read_json_sized(source: Place) -> tuple[Any, int]:
    """The same, with the length of the file in bytes."""
    try:
        raw = source.read_bytes()
        return json.loads(raw.decode("utf-8")), len(raw)
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
    except DAMAGED as error:
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


def noted(*files: Path) -> dict[str, dict[str, Any]]:
    """Length and SHA-256 of files by name, for a record beside them; see `need_undamaged`."""
    return {file.name: {"bytes": file.stat().st_size, "sha256": _digest(file)} for file in files}


def need_undamaged(file: Path, notes: Mapping[str, Any], remedy: str) -> None:
    """`DataError` if the file has the length that was noted, but not the content: bits have changed.

    One of another length was put there by somebody, or is truncated, which its reader notices.
    """
    note = notes.get(file.name)
    if note is not None and file.is_file():
        facts = file.stat()
        if facts.st_size == note["bytes"] and _digest_once(file, facts.st_mtime_ns, facts.st_ino) != note["sha256"]:
            raise DataError(f"{file}: expected it as it was written, found it damaged (another SHA-256); {remedy}")


@lru_cache(maxsize=256)
def _digest_once(file: Path, mtime_ns: int, inode: int) -> str:
    return _digest(file)


def _digest(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _umask() -> int:
    # The only portable way to read the umask is to set it. The short window is harmless for files named here.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
