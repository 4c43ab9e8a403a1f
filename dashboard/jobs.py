"""The queue of trainings: files in the workspace, and one runner process that works them off, one at a time.

`add` writes a job file and starts the runner where none is at work; everything is on disk, so a refresh, a second
viewer, a restart of the server or a kill of any of the processes loses nothing: whoever looks next calls `keep_going`,
which starts a runner again.

The runner is `python -m dashboard.jobs WORKSPACE`. It loads torch once and forks a process for each command, which is
the very `python -m crm_models train ...` of the command line, less the two to three seconds that its imports take; the
training page starts it ahead of the click. It uses no torch itself, so there are no threads to lose in a fork.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Literal, NoReturn

ROOT = Path(__file__).resolve().parents[1]
NICENESS = 10
"""Training yields to the page: at this priority the app answers as fast as on an idle machine where it can."""
EAGER_SECONDS = 5.0
"""How long a training has the priority of everything else at first: somebody waits for its first point."""
TAKEN_SECONDS = 0.3
"""How long a click waits for a ready runner to take the job: the page is then drawn once, not twice."""
WATCH_SECONDS = 0.05
"""How often the runner looks for a job, for the end of one, and for a request to stop."""
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
        self._held: IO[bytes] | None = None  # the runner's lock, in the runner

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
        if (self._queued() or (self.folder / "now.json").exists()) and not self.is_working():
            self._start_once()

    def warm_up(self) -> None:
        """Have a runner ready, its libraries loaded, for a training that may be asked for soon."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "wanted").touch()
        if not self.is_working():
            self._start_once()

    def trouble(self) -> str:
        """Why nobody works although jobs wait: what the runner said last; "" where all is well."""
        if self._queued() and not self.is_working() and not self._just_started():
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
        runner = [sys.executable, "-m", "dashboard.jobs", str(self.workspace.resolve())]
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
        for place, file in enumerate(self._queued(), start=1):
            content = _read(file)
            if content is not None:
                since = int(file.name[:20]) / 1e9
                found.append(JobAtWork(job=_job(content), state="waiting", place=place, since=since))
        return found

    def failures(self) -> list[FailedJob]:
        """Jobs that ended before there was a run folder, newest first."""
        contents = [_read(file) for file in (self.folder / "failed").glob("*.json")]
        failed = [FailedJob(job=_job(c["job"]), reason=c["reason"], at=c["at"]) for c in contents if c is not None]
        return sorted(failed, key=lambda f: -f.at)

    def forget(self, run: str) -> None:
        """Take a run out of the queue and out of the list of failures."""
        for file in self._queued():
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

    # ---- what the runner does ------------------------------------------------------------------------------------

    def work(self) -> None:
        """Work off the queue, and go when it has been empty for a while; at once where another runner is at it."""
        with locked(self.folder / "lock") as self._held:
            if self._held is None:
                return
            (self.folder / "runner.pid").write_text(str(os.getpid()), encoding="utf-8")
            _set_group_priority(NICENESS)
            _quietly(load_libraries)
            left = _read(self.folder / "now.json")
            if left is not None:
                self._take_over(_job(left["job"]))
            while True:
                if queued := self._queued():
                    content = _read(queued[0])
                    if content is not None:
                        self._do(_job(content), queued[0])
                    queued[0].unlink(missing_ok=True)
                elif self._is_wanted():
                    time.sleep(WATCH_SECONDS)
                else:
                    return

    def _is_wanted(self) -> bool:
        return _age(self.folder / "wanted") < WARM_SECONDS

    def _take_over(self, job: Job) -> None:
        """Finish what a killed runner left: its training may still go on by itself, and its scores may be missing."""
        while is_locked(self.runs / job.run / "lock"):
            self._note(job, "training")
            time.sleep(WATCH_SECONDS)
        self._score(job)
        (self.folder / "now.json").unlink(missing_ok=True)

    def _do(self, job: Job, file: Path) -> None:
        try:
            # Noted as under way before it leaves the queue: whoever looks in between sees it twice, never not at all.
            self._note(job, "scoring" if job.task == "score" else "training")
            file.unlink(missing_ok=True)
            if job.task == "paper":
                self._call(job, ["paper", str(self.workspace), *job.arguments])
            elif job.task == "tune":
                self._tune(job)
            elif job.task == "score" or self._train(job):
                self._score(job)
        finally:
            (self.folder / "now.json").unlink(missing_ok=True)

    def _train(self, job: Job) -> bool:
        """Train as the command line does; whether there is something to score."""
        out = self.runs / job.run
        if job.task == "resume":
            what = ["train", "--resume", "--out", str(out), "--threads", _threads()]
        else:
            cohort = self.workspace / "cohorts" / job.cohort
            what = ["train", str(cohort), "--out", str(out), "--threads", _threads(), *job.arguments]
        return self._call(job, [*what, "--quiet"]) == 0

    def _tune(self, job: Job) -> None:
        """Search as the command line does, from where an earlier job of this name has ended."""
        cohort, out = self.workspace / "cohorts" / job.cohort, self.runs / job.run
        where = [str(cohort), "--out", str(out), "--runs", str(self.runs), "--threads", _threads()]
        self._call(job, ["tune", *where, *job.arguments, "--quiet"])

    def _score(self, job: Job) -> None:
        """Write the report on the held-out customers and the scores of all customers beside the weights."""
        out = self.runs / job.run
        if not (out / "result.json").exists() or not (out / "weights.safetensors").exists():
            return
        self._note(job, "scoring")
        cohort = str(self.workspace / "cohorts" / job.cohort)
        if not (out / "report.json").exists():
            # The cohort is named, because a run remembers where it lay, and a workspace may have been moved.
            report = str(out / "report.json")
            self._call(job, ["evaluate", str(out), "--cohort", cohort, "--out", report, "--threads", "1"])
        self._call(job, ["score", str(out), cohort])

    def _call(self, job: Job, arguments: list[str]) -> int:
        """Run one command, its output into the run's log; returns its exit status, files the reason of a failure."""
        self.runs.mkdir(parents=True, exist_ok=True)
        log = self.log(job.run)
        begin = log.stat().st_size if log.exists() else 0
        child = os.fork()
        if child == 0:
            if self._held is not None:
                self._held.close()  # the lock says that the runner is alive, and must not outlive it in a child
            if arguments[0] != "train":
                os.nice(NICENESS)
            _become(arguments, log)
        _set_group_priority(0 if arguments[0] == "train" else NICENESS)
        (self.folder / "child.pid").write_text(str(child), encoding="utf-8")  # for a person who must end it by hand
        status, killed = self._watch(job, child)
        # A training that got as far as its run folder tells there itself how it ended.
        told = arguments[0] == "train" and (self.runs / job.run / "config.json").exists()
        if status != 0 and not killed and not told:
            reason = last_error(log, begin) or f"the process ended with status {status}"
            _write(
                self.folder / "failed" / f"{job.run}.json", {"job": asdict(job), "reason": reason, "at": time.time()}
            )
        return status

    def _watch(self, job: Job, child: int) -> tuple[int, bool]:
        """Wait for a child: its exit status (minus a signal), and whether we ended it.

        A request to stop is passed on to the training, or kills it where there is no run folder yet to take it.
        """
        request, run_lock = self.folder / "stop" / job.run, self.runs / job.run / "lock"
        killed, eager_until = False, time.monotonic() + EAGER_SECONDS
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                request.unlink(missing_ok=True)
                return os.waitstatus_to_exitcode(status), killed
            if request.exists():
                if is_locked(run_lock):
                    self.ask_to_stop(job.run)
                elif not run_lock.exists():
                    os.kill(child, signal.SIGTERM)
                    killed = True
            if time.monotonic() > eager_until:
                yield_to_the_page(child)
                _set_group_priority(NICENESS)
                eager_until = math.inf
            time.sleep(WATCH_SECONDS)

    def _queued(self) -> list[Path]:
        return sorted((self.folder / "queue").glob("*.json"))

    def _note(self, job: Job, state: JobState) -> None:
        _write(self.folder / "now.json", {"job": asdict(job), "state": state, "since": time.time()})


def _threads() -> str:
    """How many threads a training computes with: one core is left to the page."""
    return str(max(1, (os.cpu_count() or 2) - 1))


def load_libraries() -> None:
    """Import what a training imports; its optimizer reaches for torch's compiler, which takes a second of its own."""
    for name in ("workflow", "fitting", "training", "evaluation"):
        import_module(f"crm_models.{name}")
    import_module("torch._dynamo")


def _quietly(work: Callable[[], None]) -> None:
    """Do a piece of work at the priority of a training, in a thread: a process could not take the lower one back.

    Among sessions that share the cores, the session's own priority counts: see `_set_group_priority`.
    """

    def quiet() -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        work()

    thread = threading.Thread(target=quiet)
    thread.start()
    thread.join()


def yield_to_the_page(pid: int) -> None:
    """From now on the process has the priority of a training, with all its threads: on Linux each has its own."""
    threads = [int(folder.name) for folder in Path(f"/proc/{pid}/task").glob("*")] or [pid]
    for thread in threads:
        with suppress(OSError):
            if os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, NICENESS)


def _set_group_priority(niceness: int) -> None:
    """The priority of the runner's session, with all its processes.

    Linux may share the cores out among sessions first and only then within each ("autogroup"): there a process that
    yields does so beside its like alone, and the session has a priority of its own. Elsewhere this does nothing.
    """
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")


def _become(arguments: list[str], log: Path) -> NoReturn:
    """In a forked child: be `python -m crm_models ARGUMENTS` (or `score RUN COHORT`, `paper FOLDER SEEDS`), and end."""
    status = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(out, 1)
        os.dup2(out, 2)
        own = {"score": _score_everybody, "paper": _rerun_paper}.get(arguments[0])
        status = own(*arguments[1:]) if own else _command_line(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _command_line(arguments: list[str]) -> int:
    from crm_models.__main__ import main

    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1


def _score_everybody(run: str, cohort: str) -> int:
    from crm_models.runs import RunFolder
    from dashboard.scoring import keep

    return _status_of(lambda: keep(RunFolder(Path(run)), Path(cohort)))


def _rerun_paper(folder: str, seeds: str) -> int:
    from dashboard.paper_live import keep

    return _status_of(lambda: keep(Path(folder), int(seeds)))


def _status_of(work: Callable[[], object]) -> int:
    """The exit status of a piece of work, its error told as the command line tells errors."""
    from crm_models.errors import CrmError

    try:
        work()
    except (CrmError, OSError, MemoryError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


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
    return Job(**content | {"arguments": tuple(content["arguments"])})  # type: ignore[arg-type, call-overload]  # it was a Job


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


@contextmanager
def locked(file: Path) -> Iterator[IO[bytes] | None]:
    """The file, locked until the end of the block or of the process; None where another process holds the lock."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as handle:
        yield handle if _take(handle) else None


def _take(handle: IO[bytes]) -> bool:
    """Whether the lock became ours. A page that looks holds it for a moment, so one refusal says nothing."""
    for _ in range(20):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.01)
    return False


def is_locked(file: Path) -> bool:
    """Whether a process holds the lock on this file."""
    if not file.exists():
        return False
    with file.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


if __name__ == "__main__":
    JobFolder(Path(sys.argv[1])).work()
