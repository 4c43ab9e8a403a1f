"""The paper's re-run as its page sees it: its queue, how far it is, and how to start it over or stop it."""

from __future__ import annotations

import time
from typing import Any

from dashboard.jobs import paper as paper_job
from dashboard.jobs.queue import Job, JobFolder
from dashboard.state.places import mark, marked_json, workspace

# Session keys; the signal is in the address too.
SIGNAL = "paper_signal"
SEEDS = "paper_seeds"
PULSE = "paper_pulse"


def queue() -> JobFolder:
    """The queue of the paper's re-runs, beside that of the trainings."""
    return JobFolder(workspace() / paper_job.FOLDER)


def state() -> dict[str, Any] | None:
    """How far the paper's re-run is, or how the last one ended (see `paper_live.keep`); None before the first."""
    file = paper_job.state_file(workspace() / paper_job.FOLDER)
    written = mark(file)
    return marked_json(str(file), written) if written else None


def shown(state: dict[str, Any] | None) -> dict[str, Any] | None:
    """What of a state there is to show: `result`, `ended` and `is_last`, whether it is of the run before; or None."""
    if state is None:
        return None
    if state["result"]:
        # Until the new one has begun, the state is that of the one before.
        return {"result": state["result"], "ended": state["ended"], "is_last": is_over(state) and bool(queue().jobs())}
    last = state.get("last")
    return last | {"is_last": True} if last else None


def is_over(state: dict[str, Any]) -> bool:
    """Whether the demonstration that a state tells of was finished."""
    return bool(state["stage"] == "done")


def run(seeds: int) -> None:
    """Re-run the paper in the background; what is under way gives way to it."""
    stop()
    # A name of its own for each: the request to stop the one before must not meet the new one.
    name = f"{paper_job.RUN}-{time.time_ns()}"
    queue().add(Job(run=name, cohort="", task="paper", arguments=(str(seeds),), about="the paper"))


def stop() -> None:
    """End the re-run; what it has found so far stays."""
    for job in queue().jobs():
        queue().stop(job.job.run)
    for failure in queue().failures():
        queue().forget(failure.job.run)


def pulse() -> str:
    """Changes whenever the re-run of the paper gets a step further, begins or ends."""
    jobs = queue()
    jobs.keep_going()
    at_work = " ".join(f"{job.job.run}:{job.state}:{job.place}" for job in jobs.jobs())
    return f"{at_work} {len(jobs.failures())} {mark(paper_job.state_file(workspace() / paper_job.FOLDER))}"
