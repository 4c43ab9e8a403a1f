"""Scores all customers of a cohort with a run, and keeps the scores beside its weights.

The worker does this after each training, and for runs trained on the command line when a page first needs them. Pages
only read the scores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crm_models import workflow
from crm_models.core.schema import PlanFor
from crm_models.data.drift import refuse
from crm_models.data.storage import digest
from crm_models.inference.score_store import scores_key, write_scores
from crm_models.runs.folder import RunFolder


def scores_file(run: RunFolder, cohort: Path, plan_for: PlanFor = "whole") -> Path:
    """The file for the scores of this cohort in the run folder; one for each thing that plans are made for."""
    return run.folder / "scores" / (f"{cohort.name}.parquet" if plan_for == "whole" else f"{cohort.name}.{plan_for}")


def key_of(run: RunFolder, cohort: Path) -> str:
    """Key of the weights and tables that scores were made from; scores with another key are out of date."""
    weights = (run.folder / "weights.safetensors").stat()
    return f"{weights.st_mtime_ns}-{weights.st_size}-{digest(cohort)}"


def keep(
    run: RunFolder,
    cohort: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    plan_for: PlanFor = "whole",
    allow_drift: bool = False,
) -> Path:
    """Return the file with the scores of all customers, and write it first if it is missing or out of date.

    Raises `DataError` for customers who differ too much from those the run was trained on, unless `allow_drift`.
    """
    file, key = scores_file(run, cohort, plan_for), key_of(run, cohort)
    if scores_key(file) != key:
        if not allow_drift:
            refuse(workflow.compare(run.folder, cohort), cohort)
        stream = workflow.score_stream(
            run, cohort, plan_for=plan_for, threads=1, progress=progress, allow_drift=allow_drift
        )
        write_scores(file, stream, key=key)
    return file
