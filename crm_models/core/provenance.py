"""When a file was written, and what computed its numbers."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import version

VERSIONS_OF = ("torch", "numpy", "pandas", "pyarrow", "scikit-learn")


def now() -> str:
    """This moment in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Python, platform and the libraries that decide the numbers, each with its version."""
    return {"python": platform.python_version(), "machine": platform.machine()} | {n: version(n) for n in VERSIONS_OF}
