"""Faults at the n-th operation on files: Python tells of each by an audit event before it does it."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
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


def at_operation(number: int, fault: Callable[[], None]) -> Callable[[], None]:
    """Arms the fault at the n-th operation, counted from 1, of the process that calls what is returned."""

    def arm() -> None:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            if _changes_files(event, arguments):
                count += 1
                if count == number:
                    fault()

        sys.addaudithook(hook)

    return arm


def counting(file: Path) -> Callable[[], None]:
    """Counts the operations of the process into a file, one byte each."""

    def arm() -> None:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        sys.addaudithook(lambda event, arguments: (_changes_files(event, arguments) and os.write(handle, b".")) or None)

    return arm


def kill() -> None:
    """End at once, as by SIGKILL: nothing is cleaned up."""
    os._exit(KILLED)


def no_space() -> None:
    """The disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def small_files(limit: int) -> Callable[[], None]:
    """No file may grow beyond the limit in bytes, whoever writes it: also libraries in C."""

    def arm() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return arm
