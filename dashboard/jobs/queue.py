"""The queue of trainings: files in the workspace, which one runner process works off (see `runner`), one at a time.

`add` writes a job file and starts the runner where none is at work; everything is on disk, so a refresh, a second
viewer, a restart of the server or a kill of any of the processes loses nothing: whoever looks next calls `keep_going`,
which starts a runner again.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from crm_models.core.locks import is_locked

ROOT = Path(__file__).resolve().parents[2]
TAKEN_SECONDS = 0.3
"""How long a click waits for a ready runner to take the job: the page is then drawn once, not twice."""
WARM_SECONDS = 150.0
"""How long an idle runner stays, its libraries loaded, after a training page was last seen."""
RESTART_SECONDS = 5.0
"""Least time between two starts of a runner: one that fails at once must not be started with every look."""

JobState = Literal["waiting", "training", "scoring"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One thing to do for one run folder.

    task: `train` (then score), `resume` (then score), `score`, `tune` (a search; its trials are runs beside it), or
    `paper` (its re-run; belongs to no cohort). arguments: options of `train` or `tune`, as on the command line; of
    `paper`, the number of seeds.
    """

    run: str
    cohort: str
    task: Literal["train", "resume", "score", "tune", "paper"] = "train"
    arguments: tuple[str, ...] = ()
    about: str = ""  # for the screen: preset and what was changed


@dataclass(frozen=True, kw_only=True)
class JobAtWork:
    """A job with its place in the queue: waiting ones count from 1, the one at work is 0. since: seconds since 1970."""

    job: Job
    state: JobState
    place: int
    since: float


@dataclass(frozen=True, kw_only=True)
class FailedJob:
    """A training that did not get as far as a run folder, or scores that could not be computed, and why."""

    job: Job
    reason: str
    at: float


class JobFolder:
    """The files of the queue of one workspace. Cheap to make; what there is to know is on disk."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = Path(workspace)
        self.folder = self.workspace / "jobs"
        self.runs = self.workspace / "runs"

    # ---- what pages ask and do -----------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        """Put a job at the end of the queue and see that somebody works."""
        (self.folder / "failed" / f"{job.run}.json").unlink(missing_ok=True)
        (self.folder / "stop" / job.run).unlink(missing_ok=True)
        _write(self.folder / "queue" / f"{time.time_ns():020d}-{job.run}.json", asdict(job))
        self.keep_going()

    def wait_until_taken(self, run: str) -> None:
        """Give a runner that is ready and idle the moment it needs to take this job."""
        end = time.monotonic() + TAKEN_SECONDS
        while self.is_working() and time.monotonic() < end:
            first = next(iter(self.jobs()), None)
            if first is None or first.place == 0 or first.job.run != run:
                return  # taken, or in line behind another one
            time.sleep(0.01)

    def keep_going(self) -> None:
        """Start a runner where jobs wait, or were left half done, and nobody works on them."""
        if (self.waiting() or (self.folder / "now.json").exists()) and not self.is_working():
            self._start_once()

    def warm_up(self) -> None:
        """Have a runner ready, its libraries loaded, for a training that may be asked for soon."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "wanted").touch()
        if not self.is_working():
            self._start_once()

    def trouble(self) -> str:
        """Why nobody works although jobs wait: what the runner said last; "" where all is well."""
        if self.waiting() and not self.is_working() and not self._just_started():
            return last_error(self.folder / "runner.log") or "the process that trains could not be started"
        return ""

    def _start_once(self) -> None:
        """Every look at the queue comes through here, and a runner takes a moment to take its lock, or to fail."""
        if not self._just_started():
            (self.folder / "started").touch()
            self._start_runner()

    def _just_started(self) -> bool:
        return _age(self.folder / "started") < RESTART_SECONDS

    def _start_runner(self) -> None:
        """Start it through a shell that ends at once: the runner is nobody's child, and outlives the server."""
        runner = [sys.executable, "-m", "dashboard.jobs.worker", str(self.workspace.resolve())]
        with (self.folder / "runner.log").open("ab") as log:
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *runner],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=False,
            )

    def jobs(self) -> list[JobAtWork]:
        """The job at work first, then those that wait, in their order."""
        found = []
        now = _read(self.folder / "now.json")
        if now is not None:
            found.append(JobAtWork(job=_job(now["job"]), state=now["state"], place=0, since=now["since"]))
        for place, file in enumerate(self.waiting(), start=1):
            job = self.read(file)
            if job is not None:
                since = int(file.name[:20]) / 1e9
                found.append(JobAtWork(job=job, state="waiting", place=place, since=since))
        return found

    def failures(self) -> list[FailedJob]:
        """Jobs that ended before there was a run folder, newest first."""
        contents = [_read(file) for file in (self.folder / "failed").glob("*.json")]
        failed = [FailedJob(job=_job(c["job"]), reason=c["reason"], at=c["at"]) for c in contents if c is not None]
        return sorted(failed, key=lambda f: -f.at)

    def forget(self, run: str) -> None:
        """Take a run out of the queue and out of the list of failures."""
        for file in self.waiting():
            if _run_of(file) == run:
                file.unlink(missing_ok=True)
        (self.folder / "failed" / f"{run}.json").unlink(missing_ok=True)

    def stop(self, run: str) -> None:
        """Take the run out of the queue, or ask its training to stop; it ends within a batch."""
        self.forget(run)
        _write(self.folder / "stop" / run, {})
        self.ask_to_stop(run)

    def stop_is_asked(self, run: str) -> bool:
        """Whether somebody asked this run to stop and it has not ended yet."""
        return (self.folder / "stop" / run).exists() or (self.runs / run / "stop").exists()

    def ask_to_stop(self, run: str) -> None:
        """Leave the request in the folder of the run or search, where the training loop looks for it."""
        if any((self.runs / run / file).exists() for file in ("config.json", "tune.json")):
            (self.runs / run / "stop").touch()

    def is_working(self) -> bool:
        """Whether a runner is at work in this workspace."""
        return is_locked(self.folder / "lock")

    def log(self, run: str) -> Path:
        """What the processes of a run said."""
        return self.runs / f"{run}.log"

    # ---- what the runner asks and tells --------------------------------------------------------------------------

    def waiting(self) -> list[Path]:
        """The files of the jobs that wait, in their order."""
        return sorted((self.folder / "queue").glob("*.json"))

    def read(self, file: Path) -> Job | None:
        """The job of such a file; None where it is gone or damaged."""
        content = _read(file)
        return None if content is None else _job(content)

    def under_way(self) -> Job | None:
        """The job that is noted as being worked on, by this runner or by one that was killed."""
        now = _read(self.folder / "now.json")
        return None if now is None else _job(now["job"])

    def is_wanted(self) -> bool:
        """Whether a training page was seen lately, so that a runner stays ready."""
        return _age(self.folder / "wanted") < WARM_SECONDS

    def note(self, job: Job, state: JobState) -> None:
        """The job is being worked on from now."""
        _write(self.folder / "now.json", {"job": asdict(job), "state": state, "since": time.time()})

    def note_done(self) -> None:
        """No job is being worked on any more."""
        (self.folder / "now.json").unlink(missing_ok=True)

    def note_failure(self, job: Job, reason: str) -> None:
        """The job ended without leaving a word in a run folder."""
        _write(self.folder / "failed" / f"{job.run}.json", {"job": asdict(job), "reason": reason, "at": time.time()})


def last_error(log: Path, begin: int = 0) -> str:
    """The last `error: ` line of a log, without that word; else its last line; "" where it is empty."""
    if not log.exists():
        return ""
    with log.open("rb") as handle:
        handle.seek(begin)
        lines = [line for line in handle.read().decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else lines[-1] if lines else ""


def _age(file: Path) -> float:
    """Seconds since a file was last touched; infinite where there is none."""
    try:
        return time.time() - file.stat().st_mtime
    except OSError:
        return math.inf


def _run_of(file: Path) -> str:
    return re.sub(r"^\d{20}-", "", file.stem)


def _job(content: dict[str, object]) -> Job:
    return Job(**content | {"arguments": tuple(content["arguments"])})  # type: ignore[arg-type]  # it was a Job


def _write(file: Path, content: dict[str, object]) -> None:
    """Whole or not at all: to a temporary name, then renamed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.parent / f".{file.name}.{os.getpid()}.part"
    part.write_text(json.dumps(content), encoding="utf-8")
    part.replace(file)


def _read(file: Path) -> dict | None:
    """The content of a job file; None where it is gone (somebody took it) or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
