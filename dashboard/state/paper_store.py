"""State of the paper's re-run: its queue, its progress, and how to start or stop it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from crm_models.core.errors import CrmError
from dashboard.jobs import paper as paper_job
from dashboard.jobs.queue import Job, JobFolder
from dashboard.state import access
from dashboard.state.workspace import mark, marked_json, workspace_folder

# Session keys; the signal is a query parameter too.
SIGNAL = "paper_signal"
SEEDS = "paper_seeds"
PULSE = "paper_pulse"


def queue() -> JobFolder:
    """The queue of the paper's re-runs, separate from that of the trainings."""
    return JobFolder(workspace_folder() / paper_job.FOLDER)


def state() -> dict[str, Any] | None:
    """Progress of the re-run, or the result of the last one (see `jobs.paper.keep`); None before the first."""
    content = _content()
    return content if content is not None and paper_job.is_state(content) else None


def damaged() -> Path | None:
    """The file of the state if it is damaged; a new re-run replaces it."""
    content = _content()
    if content is None or paper_job.is_state(content):
        return None
    return paper_job.state_file(workspace_folder() / paper_job.FOLDER)


def _content() -> Any:
    """What the file of the state holds; None if there is none, "damaged" if it is unreadable."""
    file = paper_job.state_file(workspace_folder() / paper_job.FOLDER)
    version = mark(file)
    try:
        return marked_json(str(file), version) if version else None
    except (CrmError, OSError):
        return "damaged"


def shown(state: dict[str, Any] | None) -> dict[str, Any] | None:
    """The result to show, or None: `result`, `ended`, and `is_last` (True if it belongs to the previous re-run)."""
    if state is None:
        return None
    if state["result"]:
        # Until the new re-run starts, the file holds the state of the previous one.
        return {"result": state["result"], "ended": state["ended"], "is_last": is_over(state) and bool(queue().jobs())}
    last = state.get("last")
    return last | {"is_last": True} if last else None


def is_over(state: dict[str, Any]) -> bool:
    """Whether the re-run with this state was finished."""
    return bool(state["stage"] == "done")


def run(seeds: int) -> None:
    """Re-run the paper in the background; a re-run in progress is stopped first."""
    with access.doing("paper.run", "paper"):
        _stop()
        start(seeds)


def start(seeds: int) -> None:
    """Queue a re-run; nobody need be allowed to: the page starts the first one by itself."""
    # A unique name, so that the stop request for the previous re-run does not stop the new one.
    name = f"{paper_job.RUN}-{time.time_ns()}"
    queue().add(Job(run=name, cohort="", task="paper", arguments=(str(seeds),), about="the paper"))


def stop() -> None:
    """Stop the re-run; its results so far are kept."""
    with access.doing("paper.run", "paper"):
        _stop()


def _stop() -> None:
    for job in queue().jobs():
        queue().stop(job.job.run)
    for failure in queue().failures():
        queue().forget(failure.job.run)


def pulse() -> str:
    """A text that changes when the re-run of the paper starts, completes a step or ends."""
    jobs = queue()
    jobs.keep_going()
    at_work = " ".join(f"{job.job.run}:{job.state}:{job.place}" for job in jobs.jobs())
    return f"{at_work} {len(jobs.failures())} {mark(paper_job.state_file(workspace_folder() / paper_job.FOLDER))}"
