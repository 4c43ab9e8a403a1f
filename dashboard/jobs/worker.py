"""The process that works off the queue of trainings, one at a time: `python -m dashboard.jobs.worker WORKSPACE`.

It loads torch once and forks a process for each command, which is the very `python -m crm_models train ...` of the
command line, less the two to three seconds that its imports take; the training page starts it ahead of the click. It
uses no torch itself, so there are no threads to lose in a fork.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import IO, NoReturn

from crm_models.core.locks import is_locked, locked
from dashboard.jobs.queue import Job, JobFolder, last_error

NICENESS = 10
"""Training yields to the page: at this priority the app answers as fast as on an idle machine where it can."""
EAGER_SECONDS = 5.0
"""How long a training has the priority of everything else at first: somebody waits for its first point."""
WATCH_SECONDS = 0.05
"""How often the runner looks for a job, for the end of one, and for a request to stop."""


class Runner:
    """Works for one workspace; a second one beside it goes at once."""

    def __init__(self, queue: JobFolder) -> None:
        self.queue, self.folder, self.runs, self.workspace = queue, queue.folder, queue.runs, queue.workspace
        self._held: IO[bytes] | None = None  # its lock

    def work(self) -> None:
        """Work off the queue, and go when it has been empty for a while; at once where another runner is at it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock") as self._held:
            if self._held is None:
                return
            (self.folder / "runner.pid").write_text(str(os.getpid()), encoding="utf-8")
            if self.queue.waiting():
                load_libraries()  # somebody waits for them
            else:
                _set_group_priority(NICENESS)
                _quietly(load_libraries)
            left = self.queue.under_way()
            if left is not None:
                self._take_over(left)
            while True:
                if queued := self.queue.waiting():
                    job = self.queue.read(queued[0])
                    if job is not None:
                        self._do(job, queued[0])
                    queued[0].unlink(missing_ok=True)
                elif self.queue.is_wanted():
                    time.sleep(WATCH_SECONDS)
                else:
                    return

    def _take_over(self, job: Job) -> None:
        """Finish what a killed runner left: its training may still go on by itself, and its scores may be missing."""
        while is_locked(self.runs / job.run / "lock"):
            self.queue.note(job, "training")
            time.sleep(WATCH_SECONDS)
        self._score(job)
        self.queue.note_done()

    def _do(self, job: Job, file: Path) -> None:
        try:
            # Noted as under way before it leaves the queue: whoever looks in between sees it twice, never not at all.
            self.queue.note(job, "scoring" if job.task == "score" else "training")
            file.unlink(missing_ok=True)
            if job.task == "paper":
                self._call(job, ["paper", str(self.workspace), *job.arguments])
            elif job.task == "tune":
                self._tune(job)
            elif job.task == "score" or self._train(job):
                self._score(job)
        finally:
            self.queue.note_done()

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
        self.queue.note(job, "scoring")
        cohort = str(self.workspace / "cohorts" / job.cohort)
        if not (out / "report.json").exists():
            # The cohort is named, because a run remembers where it lay, and a workspace may have been moved.
            report = str(out / "report.json")
            self._call(job, ["evaluate", str(out), "--cohort", cohort, "--out", report, "--threads", "1"])
        self._call(job, ["score", str(out), cohort])

    def _call(self, job: Job, arguments: list[str]) -> int:
        """Run one command, its output into the run's log; returns its exit status, files the reason of a failure."""
        self.runs.mkdir(parents=True, exist_ok=True)
        log = self.queue.log(job.run)
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
            self.queue.note_failure(job, last_error(log, begin) or f"the process ended with status {status}")
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
                    self.queue.ask_to_stop(job.run)
                elif not run_lock.exists():
                    os.kill(child, signal.SIGTERM)
                    killed = True
            if time.monotonic() > eager_until:
                yield_to_the_page(child)
                _set_group_priority(NICENESS)
                eager_until = math.inf
            time.sleep(WATCH_SECONDS)


def _threads() -> str:
    """How many threads a training computes with: one core is left to the page."""
    return str(max(1, (os.cpu_count() or 2) - 1))


def load_libraries() -> None:
    """Import what a training imports; its optimizer reaches for torch's compiler, which takes a second of its own."""
    for name in ("workflow", "runs.pipeline", "training.loop", "evaluation.report"):
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
    for _ in range(3):
        try:
            Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
            return
        except BlockingIOError:  # Linux takes ten such requests a second, of all users but root together
            time.sleep(0.12)
        except OSError:
            return


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
    from crm_models.cli.commands import main

    try:
        return main(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1


def _score_everybody(run: str, cohort: str) -> int:
    from crm_models.runs.folder import RunFolder
    from dashboard.jobs.scoring import keep

    return _status_of(lambda: keep(RunFolder(Path(run)), Path(cohort)))


def _rerun_paper(folder: str, seeds: str) -> int:
    from dashboard.jobs.paper import keep

    return _status_of(lambda: keep(Path(folder), int(seeds)))


def _status_of(work: Callable[[], object]) -> int:
    """The exit status of a piece of work, its error told as the command line tells errors."""
    from crm_models.core.errors import CrmError

    try:
        work()
    except (CrmError, OSError, MemoryError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    Runner(JobFolder(Path(sys.argv[1]))).work()
