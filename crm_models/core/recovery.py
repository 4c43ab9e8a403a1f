"""Leftovers of processes that were killed while they wrote: found by their names, and finished or undone.

    .NAME.TOKEN.part     a file or folder that was being written, or a folder that was being deleted: removed
    .NAME.TOKEN.moves    renames that belong together, not all done yet: completed
    .NAME.TOKEN.old      a folder on its way out, while another takes its name: put back if the name is free

What a living process writes is locked (see `files`) and is left alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crm_models.core.files import MARKERS, MOVES, OLD, PART

_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<token>[a-z0-9_]{8}|\d+)\.(?P<ending>part|moves|old)", re.DOTALL)
"""Earlier versions used the number of their process, or the time in nanoseconds, as token."""


def leftovers(folder: Path) -> list[Path]:
    """Files and folders in a folder that a killed process left."""
    try:
        found = [entry for entry in sorted(folder.iterdir()) if _LEFTOVER.fullmatch(entry.name)]
    except OSError:
        return []
    free = []
    for entry in found:
        with _abandoned(entry) as is_free:
            free += [entry] if is_free else []
    return free


def recover(folder: Path, stem: str | None = None) -> list[str]:
    """Clear the leftovers in a folder; a sentence on each. stem: only those whose names begin so, up to the first dot.

    Renames that belong together are completed in any case.
    """
    found = [(entry, match) for entry in leftovers(folder) if (match := _LEFTOVER.fullmatch(entry.name))]
    said: list[str] = []
    for ending, clear in ((MOVES, _complete), (OLD, _put_back), (PART, _remove)):
        for entry, match in found:
            is_meant = stem is None or ending == MOVES or match["name"].split(".")[0] == stem
            if entry.suffix == ending and is_meant:
                with _abandoned(entry) as is_free:
                    said += clear(entry, folder / match["name"]) if is_free else []
    return said


def recover_path(path: Path) -> list[str]:
    """Clear the leftovers of a file or folder: beside it, and within it if it is a folder that this package writes."""
    said = recover(path.parent, path.name.split(".")[0])
    if any((path / marker).exists() for marker in MARKERS):
        said += recover(path)
    return said


def recover_workspace(workspace: Path) -> list[str]:
    """Clear the leftovers anywhere in a workspace: at its top, and up to three folders deep."""
    return [sentence for folder in workspace_folders(workspace) for sentence in recover(folder)]


def workspace_folders(workspace: Path) -> list[Path]:
    """The workspace and the folders in it that may hold leftovers: up to three levels deep, not within a leftover."""
    below = (f for depth in ("*", "*/*", "*/*/*") for f in workspace.glob(depth) if f.is_dir())
    return [workspace, *(f for f in below if not any(p.startswith(".") for p in f.relative_to(workspace).parts))]


def _complete(moves: Path, target: Path) -> list[str]:
    """Perform the renames of a list that are not done yet."""
    done = []
    with suppress(ValueError, TypeError):  # the list itself is damaged: it was not written by `files`
        for part, written in json.loads(moves.read_text(encoding="utf-8")):
            match, place = _LEFTOVER.fullmatch(Path(part).name), Path(written)
            if match is None or place != Path(part).with_name(match["name"]):
                continue
            with suppress(FileNotFoundError):
                os.replace(part, place)
                done.append(f"{place}: put in its place, which an interrupted command had left undone")
    moves.unlink(missing_ok=True)
    return done


def _put_back(old: Path, target: Path) -> list[str]:
    if target.exists() or not (old / "old").is_dir():
        return _remove(old, target)
    (old / "old").replace(target)
    old.rmdir()
    return [f"{target}: put back, because its replacement was interrupted"]


def _remove(part: Path, target: Path) -> list[str]:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:
        part.unlink(missing_ok=True)
    return [f"{part}: removed, a leftover of an interrupted command"]


@contextmanager
def _abandoned(entry: Path) -> Iterator[bool]:
    """Whether no process writes this leftover; nobody begins to meanwhile. What replaces a folder is locked for it."""
    locked = entry.with_suffix(PART) if entry.suffix == OLD and entry.with_suffix(PART).exists() else entry
    try:
        handle = os.open(locked, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_free = True
    except OSError:  # locked, or a file system without locks
        is_free = False
    try:
        yield is_free
    finally:
        os.close(handle)
