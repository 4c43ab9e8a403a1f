"""The job queue: files in the workspace, processed one at a time by one worker process (see `worker`).

`add` writes a job file and starts the worker if none is running. All state is on disk, so a page refresh, a second
viewer, a server restart or a killed process loses nothing: the next page view calls `keep_going`, which starts the
worker again.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from crm_models.core.files import write_json
from crm_models.core.locks import is_locked

ROOT = Path(__file__).resolve().parents[2]
TAKEN_SECONDS = 0.3
"""How long a click waits for an idle worker to take the job, so that the page is drawn once instead of twice."""
WARM_SECONDS = 150.0
"""How long an idle worker stays alive with its libraries loaded after a training page was last open."""
RESTART_SECONDS = 5.0
"""Minimum time between two starts of the worker, so that one that fails at once is not restarted by every page view."""

JobState = Literal["waiting", "training", "scoring"]
Task = Literal["train", "resume", "score", "score-others", "tune", "stability", "paper"]
STATES, TASKS = get_args(JobState), get_args(Task)


SINGLE_STEPS = "--single-steps"
"""Option of scoring: plans of the most probable action of each step by itself."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One task for one run folder.

    task: `train` (then score), `resume` (then score), `score`, `score-others` (a cohort other than the run's own),
    `tune` (a search, whose trials are runs beside it), `stability` (more seeds of a run), or `paper` (the re-run of the
        paper, without a cohort).
    arguments: command-line options of `train`, `tune` or `stability`, `--allow-drift` of `score-others`, `SINGLE_STEPS`
        of both kinds of scores, or the seeds of `paper`.
    """

    run: str
    cohort: str
    task: Task = "train"
    arguments: tuple[str, ...] = ()
    about: str = ""  # shown on screen: preset and changed settings


@dataclass(frozen=True, kw_only=True)
class JobAtWork:
    """A job with its place in the queue: 0 for the current one, waiting ones from 1. since: seconds since 1970."""

    job: Job
    state: JobState
    place: int
    since: float


@dataclass(frozen=True, kw_only=True)
class FailedJob:
    """A training that failed without a run folder, or scores that could not be computed, with the reason."""

    job: Job
    reason: str
    at: float


class JobFolder:
    """The queue of one workspace. It keeps no state in memory, so it is cheap to create."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = Path(workspace)
        self.folder = self.workspace / "jobs"
        self.runs = self.workspace / "runs"

    # ---- used by pages -------------------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        """Append a job to the queue, and start the worker if none is running."""
        remove_file(self.folder / "failed" / f"{job.run}.json")
        remove_file(self.folder / "stop" / job.run)
        # After the waiting ones, also if the clock was set back.
        last = max((int(file.name[:20]) for file in self.waiting() if file.name[:20].isdecimal()), default=0)
        _write(self.folder / "queue" / f"{max(time.time_ns(), last + 1):020d}-{job.run}.json", asdict(job))
        self.keep_going()

    def wait_until_taken(self, run: str) -> None:
        """Wait briefly until an idle worker has taken this job."""
        end = time.monotonic() + TAKEN_SECONDS
        while self.is_working() and time.monotonic() < end:
            first = next(iter(self.jobs()), None)
            if first is None or first.place == 0 or first.job.run != run:
                return  # taken, or behind another job
            time.sleep(0.01)

    def keep_going(self) -> None:
        """Start the worker if there are waiting or unfinished jobs and no worker is running."""
        if (self.waiting() or (self.folder / "now.json").exists()) and not self.is_working():
            self._start_once()

    def warm_up(self) -> None:
        """Keep a worker running with its libraries loaded, for a training that may be started soon."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "wanted").touch()
        if not self.is_working():
            self._start_once()

    def trouble(self) -> str:
        """Last output of the worker if jobs wait and it does not run; "" if there is no problem."""
        if self.waiting() and not self.is_working() and not self._just_started():
            return last_error(self.folder / "runner.log") or "the training process could not be started"
        return ""

    def _start_once(self) -> None:
        """Start the worker unless it was just started: it needs a moment to take its lock or to fail."""
        if not self._just_started():
            (self.folder / "started").touch()
            self._start_runner()

    def _just_started(self) -> bool:
        return _age(self.folder / "started") < RESTART_SECONDS

    def _start_runner(self) -> None:
        """Start the worker through a shell that exits at once, so that the worker outlives the server."""
        command = [sys.executable, "-m", "dashboard.jobs.worker", str(self.workspace.resolve())]
        with (self.folder / "runner.log").open("ab") as log:
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *command],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                check=False,
            )

    def jobs(self) -> list[JobAtWork]:
        """The current job, then the waiting ones in order."""
        # The waiting ones are read first: a job that is begun meanwhile is then seen twice, and not missed.
        waiting = [(file, self.read(file)) for file in self.waiting()]
        jobs = []
        job, now = self.under_way(), _read(self.folder / "now.json")
        if now is not None and job is not None and _is_note(now):
            jobs.append(JobAtWork(job=job, state=now["state"], place=0, since=float(now["since"])))
        for place, (file, job) in enumerate(waiting, start=1):
            if job is not None:
                jobs.append(JobAtWork(job=job, state="waiting", place=place, since=_since(file)))
        return jobs

    def failures(self) -> list[FailedJob]:
        """Jobs that failed without a run folder, newest first."""
        contents = [_read(file) for file in (self.folder / "failed").glob("*.json")]
        jobs = [(c, _job(c.get("job"))) for c in contents if c is not None]
        failed = [
            FailedJob(job=job, reason=str(c.get("reason", "")), at=_number(c.get("at")))
            for c, job in jobs
            if job is not None
        ]
        return sorted(failed, key=lambda f: -f.at)

    def damaged(self) -> list[Path]:
        """Files of the queue that cannot be read; they are left out, and a new job is not held up by them."""
        files = [*self.waiting(), *(self.folder / "failed").glob("*.json"), self.folder / "now.json"]
        return [file for file in files if file.exists() and _damaged(file)]

    def forget(self, run: str) -> None:
        """Remove a run from the queue and from the list of failures."""
        for file in self.waiting():
            if _run_of(file) == run:
                remove_file(file)
        remove_file(self.folder / "failed" / f"{run}.json")

    def stop(self, run: str) -> None:
        """Remove the run from the queue, or ask its training to stop, which takes at most one batch."""
        self.forget(run)
        _write(self.folder / "stop" / run, {})
        self.ask_to_stop(run)

    def stop_is_asked(self, run: str) -> bool:
        """Whether this run was asked to stop and has not ended yet."""
        return (self.folder / "stop" / run).exists() or (self.runs / run / "stop").exists()

    def ask_to_stop(self, run: str) -> None:
        """Write the stop request to the folder of the run or search, where the training loop checks for it."""
        if any((self.runs / run / file).exists() for file in ("config.json", "tune.json")):
            (self.runs / run / "stop").touch()

    def is_working(self) -> bool:
        """Whether a worker is running for this workspace."""
        return is_locked(self.folder / "lock")

    def log(self, run: str) -> Path:
        """The log file of a run: the output of its processes."""
        return self.runs / f"{run}.log"

    # ---- used by the worker --------------------------------------------------------------------------------------

    def waiting(self) -> list[Path]:
        """The files of the waiting jobs, in order."""
        return sorted((self.folder / "queue").glob("*.json"))

    def read(self, file: Path) -> Job | None:
        """The job in a queue file; None if it is gone or damaged."""
        return _job(_read(file))

    def under_way(self) -> Job | None:
        """The job noted as current, by this worker or by one that was killed."""
        now = _read(self.folder / "now.json")
        return _job(now.get("job")) if now is not None and _is_note(now) else None

    def is_wanted(self) -> bool:
        """Whether a training page was open recently, so that the worker should stay."""
        return _age(self.folder / "wanted") < WARM_SECONDS

    def note(self, job: Job, state: JobState) -> None:
        """Note a job as the current one."""
        _write(self.folder / "now.json", {"job": asdict(job), "state": state, "since": time.time()})

    def note_done(self) -> None:
        """Note that there is no current job."""
        remove_file(self.folder / "now.json")

    def note_damaged(self, file: Path) -> None:
        """Note a file of the queue that holds no job; it is left out."""
        job = Job(run=_run_of(file), cohort="")
        self.note_failure(job, f"{file}: expected a job, found it damaged; it was left out of the queue")

    def note_failure(self, job: Job, reason: str) -> None:
        """Note a job that failed without a run folder to hold the reason."""
        _write(self.folder / "failed" / f"{job.run}.json", {"job": asdict(job), "reason": reason, "at": time.time()})


def last_error(log: Path, begin: int = 0) -> str:
    """The last `error: ` line of a log without that prefix; without such a line, its last line; "" if it is empty."""
    if not log.exists():
        return ""
    with log.open("rb") as handle:
        handle.seek(begin)
        lines = [line for line in handle.read().decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else lines[-1] if lines else ""


def _age(file: Path) -> float:
    """Seconds since a file was last modified; infinite if there is none."""
    try:
        age = time.time() - file.stat().st_mtime
    except OSError:
        return math.inf
    return age if age > -RESTART_SECONDS else math.inf  # from the future, because the clock was set back


def remove_file(file: Path) -> None:
    """Delete a file, whatever it is: also a folder that stands in its place."""
    if file.is_dir():
        shutil.rmtree(file, ignore_errors=True)
    else:
        file.unlink(missing_ok=True)


def _run_of(file: Path) -> str:
    return re.sub(r"^\d{20}-", "", file.stem)


def _job(content: Any) -> Job | None:
    """The job that was written; None if what is left of it is no job."""
    known = {field.name for field in fields(Job)}
    if not isinstance(content, dict) or not {"run", "cohort", "task", "arguments"} <= set(content) <= known:
        return None
    arguments = content["arguments"]
    texts = [value for name, value in content.items() if name != "arguments"]
    if not isinstance(arguments, list) or not all(isinstance(text, str) for text in (*texts, *arguments)):
        return None
    places = (content["run"], content["cohort"])
    if content["task"] not in TASKS or not content["run"] or any("/" in name or name[:1] == "." for name in places):
        return None
    return Job(**content | {"arguments": tuple(arguments)})


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) else 0.0


def _is_note(now: dict[str, Any]) -> bool:
    """Whether this says what the worker does, and since when."""
    return now.get("state") in STATES and type(now.get("since")) in (int, float)


def _damaged(file: Path) -> bool:
    content = _read(file)
    if content is None or (file.name == "now.json" and not _is_note(content)):
        return True
    return _job(content.get("job", content)) is None


def _since(file: Path) -> float:
    """When a waiting job was added, from the name of its file (seconds since 1970)."""
    digits = file.name[:20]
    return int(digits) / 1e9 if digits.isdecimal() else 0.0


def _write(file: Path, content: dict[str, object]) -> None:
    """Write a job file, also where a folder stands in its place."""
    if file.is_dir():
        remove_file(file)
    write_json(file, content)


def _read(file: Path) -> dict[str, Any] | None:
    """The content of a job file; None if it is gone (already taken) or damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
