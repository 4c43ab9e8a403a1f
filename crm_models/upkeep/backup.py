"""A workspace in one archive, made while the app runs, and back.

Files are replaced by renames, so a second name for a file (a hard link) holds its content at that moment. Every cohort,
run and campaign is taken as a whole: if one of its files changes meanwhile, it is taken again. The archive is a tar
whose first member lists all files with their SHA-256; restoring checks each and replaces the workspace in one step.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path, PurePosixPath
from typing import Any

from crm_models.core.errors import DataError
from crm_models.core.files import (
    absolute,
    json_text,
    new_file,
    noted,
    put_in_place,
    read_json,
    temporary_folder,
    write_json,
)
from crm_models.core.locks import is_locked
from crm_models.core.provenance import now, versions
from crm_models.core.sealed import FORMAT, PLACES, Types, read_record, sealed

LIST = "backup.json"
"""The first member of an archive."""

UNITS = ("cohorts", "runs", "campaigns")
"""Folders whose subfolders are taken as a whole."""
LEFT_OUT = ("lock", "prepare.lock", "child.pid", "started", "wanted", "stop")
"""Files that concern running processes only."""
APPENDED = (".jsonl", ".log")
"""Endings of files that are appended to, and so are copied."""

_TYPES: Types = {"made_at": str, "workspace": str, "content": dict}
"""Entries of the list."""

ATTEMPTS, WAIT_SECONDS = 50, 0.1


def backup(workspace: Path, out: Path) -> dict[str, Any]:
    """Write the workspace as an archive (`.tar`, or `.tar.gz` / `.tgz`, compressed); returns its list of files."""
    workspace = absolute(workspace)
    if not workspace.is_dir():
        raise DataError(f"{workspace}: expected a workspace folder, found none; name it with --workspace")
    if absolute(out).is_relative_to(workspace):
        raise DataError(f"{out}: expected a file outside of the workspace, found one inside; choose another")
    # Within the workspace, because a hard link does not reach another file system.
    with temporary_folder(workspace / "backup") as staging, new_file(out) as part:
        for folder in sorted(workspace.iterdir()):
            if folder.name in UNITS and folder.is_dir():
                for unit in sorted(folder.iterdir()):
                    _take(unit, staging / folder.name / unit.name)
            else:
                _take(folder, staging / folder.name)
        files = sorted(file for file in staging.rglob("*") if file.is_file())
        about = sealed(
            {
                "format": FORMAT,
                "made_at": now(),
                "workspace": str(workspace),
                "versions": versions(),
                "content": {_name(file, staging): _facts(file) for file in files},
            }
        )
        mode = "w:gz" if out.name.endswith((".gz", ".tgz")) else "w"
        with tarfile.open(part, mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]  # a mode that is computed
            text = json_text(about).encode()
            entry = tarfile.TarInfo(LIST)
            entry.size, entry.mtime = len(text), int(time.time())
            archive.addfile(entry, io.BytesIO(text))
            for file in files:
                archive.add(file, _name(file, staging), recursive=False)
    return about


def _take(source: Path, target: Path) -> None:
    """Take a file, or a folder as it is at one moment; nothing if it is gone."""
    if source.name.startswith(".") or source.name in LEFT_OUT:
        return
    for _ in range(ATTEMPTS):
        before = _marks(source)
        with suppress(FileNotFoundError):  # replaced or deleted at this moment
            for file in _files(source):
                _copy(file, target / file.relative_to(source) if file != source else target)
            if _marks(source) == before:
                return
        shutil.rmtree(target, ignore_errors=True)
        if not source.exists():
            return
        time.sleep(WAIT_SECONDS)
    raise DataError(f"{source}: expected it to stay as it is for a moment, found it changing all the time; try again")


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
    for file in sorted(source.rglob("*")):
        if file.is_file() and not any(n.startswith(".") or n in LEFT_OUT for n in file.relative_to(source).parts):
            yield file


def _marks(source: Path) -> list[tuple[str, int, int]]:
    """What tells whether a file was replaced; those that are appended to may grow."""
    marks = []
    with suppress(FileNotFoundError):
        for file in _files(source):
            facts = file.stat()
            marks.append((str(file), facts.st_ino, 0 if _grows(file) else facts.st_mtime_ns))
    return marks


def _grows(file: Path) -> bool:
    return file.suffix in (*APPENDED, ".db")


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".db":  # the study of a search
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
    elif _grows(file):
        shutil.copy2(file, target)
    else:
        try:
            os.link(file, target)
        except OSError:  # a file system without links
            shutil.copy2(file, target)


def _facts(file: Path) -> dict[str, Any]:
    return noted(file)[file.name] | {"mtime_ns": file.stat().st_mtime_ns}


def _name(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def restore(archive: Path, workspace: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Make a workspace from an archive, completely or not at all; returns the archive's list of files.

    `DataError` for a damaged archive, one of a newer version, a workspace that holds something (unless `overwrite`), or
    one that is in use. Paths in it are changed to the new place.
    """
    workspace = absolute(workspace)
    if workspace.exists() and not workspace.is_dir():
        raise DataError(f"{workspace}: expected a folder to restore to, found a file; choose another --workspace")
    if workspace.is_dir() and any(workspace.iterdir()):
        if not overwrite:
            raise DataError(
                f"{workspace}: holds something already; choose another --workspace, or replace it with --overwrite"
            )
        _need_idle(workspace)
    workspace.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(workspace) as part:
        about = _unpack(Path(archive), part)
        _move_places(part, about["workspace"], str(workspace))
        for name, facts in about["content"].items():
            os.utime(part / name, ns=(facts["mtime_ns"], facts["mtime_ns"]))
        put_in_place(part, workspace)
    return about


def _need_idle(workspace: Path) -> None:
    for lock in (workspace / "jobs" / "lock", *workspace.glob("runs/*/lock")):
        if is_locked(lock):
            raise DataError(f"{workspace}: in use, a process holds {lock}; stop the app and all trainings first")


def _unpack(archive: Path, folder: Path) -> dict[str, Any]:
    damaged = "expected a backup of a workspace, found a damaged file"
    try:
        with tarfile.open(archive) as source:
            first = source.next()
            if first is None or first.name != LIST or not first.isfile():
                raise DataError(f"{archive}: expected a backup of a workspace, found another archive")
            _extract(source, first, folder)
            try:
                about = read_record(folder / LIST, "a backup", _TYPES, remedy="use another backup")
            except DataError as error:
                raise DataError(str(error).replace(str(folder / LIST), f"{archive}, {LIST}")) from None
            (folder / LIST).unlink()
            missing = dict(about["content"])
            for entry in source:
                if entry is first or entry.name == LIST:
                    continue
                facts = missing.pop(entry.name, None)
                if facts is None or not entry.isfile() or not _is_inside(entry.name):
                    raise DataError(f"{archive}: {damaged} ({entry.name!r} is not in its list)")
                if _extract(source, entry, folder) != facts["sha256"]:
                    raise DataError(f"{archive}: {damaged} ({entry.name!r} has another SHA-256); nothing was restored")
            if missing:
                raise DataError(f"{archive}: {damaged} ({next(iter(missing))!r} is missing); nothing was restored")
    except FileNotFoundError:
        raise DataError(f"{archive}: expected a backup, found no such file") from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{archive}: {damaged} ({error}); nothing was restored") from None
    return about


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _extract(source: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path) -> str:
    """Write a member below the folder; returns its SHA-256."""
    content, target, digest = source.extractfile(entry), folder / entry.name, hashlib.sha256()
    assert content is not None  # the caller has checked that it is a file
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as handle:
        for block in iter(lambda: content.read(1 << 20), b""):
            digest.update(block)
            handle.write(block)
    return digest.hexdigest()


def _move_places(folder: Path, before: str, after: str) -> None:
    """Change paths in the records from the old place of the workspace to the new one; checksums leave them out."""
    if before == after:
        return
    for pattern in ("runs/*/config.json", "runs/*/tune.json", "campaigns/*/campaign.json"):
        for file in folder.glob(pattern):
            with suppress(DataError):  # it was damaged when the backup was made, and stays so
                content = read_json(file)
                if isinstance(content, dict):
                    moved = {
                        name: after + path.removeprefix(before)
                        for name in PLACES
                        if isinstance(path := content.get(name), str) and Path(path).is_relative_to(before)
                    }
                    write_json(file, content | moved)
