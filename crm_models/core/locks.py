"""File locks that are released when the process that holds them ends, even by a crash."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from crm_models.core.errors import DataError


@contextmanager
def locked(file: Path) -> Iterator[IO[bytes] | None]:
    """The open file, locked until the block or the process ends; None if another process holds the lock."""
    with file.open("ab") as handle:
        yield handle if _acquire(handle) else None


@contextmanager
def waited_for(file: Path, patience_seconds: float = 10.0) -> Iterator[None]:
    """The lock, waited for; `DataError` if somebody else holds it for longer."""
    deadline = time.monotonic() + patience_seconds
    while True:
        with locked(file) as lock:
            if lock is not None:
                yield
                return
        if time.monotonic() > deadline:
            raise DataError(f"{file}: expected a lock that is free, found it in use by somebody else; try again")


def _acquire(handle: IO[bytes]) -> bool:
    """Whether the lock was acquired. Tries for 0.2 s, because `is_locked` takes the lock briefly."""
    for _ in range(20):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.01)
    return False


def is_locked(file: Path) -> bool:
    """Whether any process holds the lock on this file."""
    if not file.exists():
        return False
    with file.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
