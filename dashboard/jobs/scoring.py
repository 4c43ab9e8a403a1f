"""Scores every customer of a cohort with a run and keeps them beside its weights.

The runner of the queue does it after each training, and for runs that were trained on the command line when a page
first asks for them; pages only read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crm_models import workflow
from crm_models.data.storage import digest
from crm_models.inference.score_store import scores_key, write_scores
from crm_models.runs.folder import RunFolder


def scores_file(run: RunFolder, cohort: Path) -> Path:
    """Where the scores of this cohort lie in the run folder."""
    return run.folder / "scores" / f"{cohort.name}.parquet"


def key_of(run: RunFolder, cohort: Path) -> str:
    """Names the exact weights and tables that scores belong to; another key means that they must be made again."""
    weights = (run.folder / "weights.safetensors").stat()
    return f"{weights.st_mtime_ns}-{weights.st_size}-{digest(cohort)}"


def keep(run: RunFolder, cohort: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """The file with everybody's scores; made first where it is missing or belongs to other weights or tables."""
    file, key = scores_file(run, cohort), key_of(run, cohort)
    if scores_key(file) != key:
        write_scores(file, workflow.score_stream(run, cohort, threads=1, progress=progress), key=key)
    return file
