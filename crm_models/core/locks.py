"""Locks on files that end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def locked(file: Path) -> Iterator[IO[bytes] | None]:
    """The file, locked until the end of the block or of the process; None where another process holds the lock."""
    with file.open("ab") as handle:
        yield handle if _take(handle) else None


def _take(handle: IO[bytes]) -> bool:
    """Whether the lock became ours. Who asks `is_locked` holds it for a moment, so one refusal says nothing."""
    for _ in range(20):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.01)
    return False


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock on this file."""
    if not file.exists():
        return False
    with file.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
