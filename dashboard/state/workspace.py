"""Workspace folders: where they are, how they are named, listed and deleted, and when a file has changed."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import streamlit as st

from crm_models.core.files import read_json
from dashboard.jobs.queue import JobFolder
from dashboard.jobs.tested import mark as mark
from dashboard.jobs.tested import stamp as stamp


def workspace_folder() -> Path:
    """The folder of cohorts, runs and exports: `CRM_WORKSPACE`, or `workspace` where the app was started."""
    return Path(os.environ.get("CRM_WORKSPACE") or "workspace").resolve()


def cohorts_folder() -> Path:
    """Folder of all cohort folders."""
    return workspace_folder() / "cohorts"


def cohort_key(name: str) -> tuple[str, str]:
    """The folder of a cohort and its stamp: what caches of its content go by."""
    folder = cohorts_folder() / name
    return str(folder), stamp(folder)


def runs_folder() -> Path:
    """Folder of all run folders."""
    return workspace_folder() / "runs"


def exports_folder() -> Path:
    """Folder of the plans written for download."""
    return workspace_folder() / "exports"


def jobs() -> JobFolder:
    """The queue of trainings."""
    return JobFolder(workspace_folder())


def new_name(wish: str, folder: Path, taken: Collection[str] = ()) -> str:
    """A free folder name from what the user typed, safe in a path and in an address. taken: further names in use."""
    ascii_text = unicodedata.normalize("NFKD", wish).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")[:48] or "cohort"
    free, k = name, 2
    while free in taken or (folder / free).exists():
        free, k = f"{name}-{k}", k + 1
    return free


def nearest(name: str, options: Sequence[str]) -> str | None:
    """The option that is spelled most like the name, the first if none is like it; None without options."""
    return next(iter([*get_close_matches(name, options, n=1), *options]), None)


def newest_first(folder: Path, marker: str) -> list[str]:
    """Names of the subfolders that hold a file called `marker`, newest file first."""
    dated = []
    for file in folder.glob(f"*/{marker}"):
        with suppress(OSError):  # deleted by somebody else at this moment
            dated.append((file.stat().st_mtime_ns, file.parent.name))
    return [name for _, name in sorted(dated, reverse=True) if not name.startswith(".")]


@st.cache_data(max_entries=64, show_spinner=False)
def marked_json(file: str, mark: str) -> Any:
    """The content of a JSON file, read once per `mark`."""
    return read_json(Path(file))
