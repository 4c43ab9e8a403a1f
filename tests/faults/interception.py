"""Faults at the n-th operation on files: Python tells of each by an audit event before it does it."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.place import KILLED

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.chmod", "shutil.rmtree"}


def _changes_files(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event is about to change something on disk."""
    if event != "open":
        return event in _CHANGES
    mode, flags = arguments[1], arguments[2]
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    return bool(writes or (isinstance(mode, str) and set(mode) & set("wa+x")))


@dataclass(frozen=True)
class AtOperation:
    """Arms a fault at the n-th operation, counted from 1, of the process that calls it."""

    number: int
    fault: Callable[[], None]

    def __call__(self) -> None:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if _changes_files(event, arguments):
                count += 1
                if count == self.number:
                    self.fault()

        sys.addaudithook(hook)


@dataclass(frozen=True)
class Counting:
    """Counts the operations of the process that calls it into a file, one byte each."""

    file: Path

    def __call__(self) -> None:
        handle = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.addaudithook(lambda event, arguments: (_changes_files(event, arguments) and os.write(handle, b".")) or None)


def kill() -> None:
    """End at once, as by SIGKILL: nothing is cleaned up."""
    os._exit(KILLED)


def no_space() -> None:
    """The disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@dataclass(frozen=True)
class SmallFiles:
    """No file may grow beyond the limit in bytes, whoever writes it: also libraries in C."""

    limit: int

    def __call__(self) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))
