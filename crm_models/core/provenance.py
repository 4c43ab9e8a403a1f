"""When a file was written, what computed its numbers, and in how much memory."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from crm_models.core.errors import RunError

VERSIONS_OF = ("torch", "numpy", "pandas", "pyarrow", "scikit-learn")


def now() -> str:
    """This moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Python, platform and the libraries that decide the numbers, each with its version."""
    return {"python": platform.python_version(), "machine": platform.machine()} | {n: version(n) for n in VERSIONS_OF}


def need_same(theirs: dict[str, str], what: str) -> None:
    """`RunError` if another machine, which made `what`, has other versions than this one."""
    ours = versions()
    for name, version_there in theirs.items():
        if version_there != ours[name]:
            raise RunError(
                f"{what}: expected the same versions on every machine, found {name} {version_there} on one and "
                f"{ours[name]} here; install requirements.lock on every machine"
            )


def peak_mib() -> int:
    """Most memory that this process has held so far, in MiB; 0 where the system does not say (all but Linux)."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
