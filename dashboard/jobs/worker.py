"""The worker process: runs the jobs of the queue one at a time. `python -m dashboard.jobs.worker WORKSPACE`.

It imports torch once and forks a process for each command, which then runs exactly `python -m crm_models train ...`
without the two to three seconds of imports. The training page starts the worker before the click. The worker itself
never calls torch, so it has no threads that a fork could lose.
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
from crm_models.core.recovery import recover_workspace
from crm_models.core.schema import PlanFor
from dashboard.jobs.queue import SINGLE_STEPS, Job, JobFolder, last_error, remove_file

NICENESS = 10
"""Niceness of a training: it yields to the app, which then answers nearly as fast as on an idle machine."""
EAGER_SECONDS = 5.0
"""How long a new training runs at normal priority, because the viewer waits for its first point."""
WATCH_SECONDS = 0.05
"""How often the worker checks for a new job, the end of the current one, and a stop request."""


class Runner:
    """The worker of one workspace; a second one for the same workspace exits at once."""

    def __init__(self, queue: JobFolder) -> None:
        self.queue, self.folder, self.runs, self.workspace = queue, queue.folder, queue.runs, queue.workspace
        self._lock: IO[bytes] | None = None

    def work(self) -> None:
        """Run the queued jobs until the queue has been empty for a while. Exit at once if another worker is running."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock") as self._lock:
            if self._lock is None:
                return
            for sentence in recover_workspace(self.workspace):
                print(sentence, file=sys.stderr)
            (self.folder / "runner.pid").write_text(str(os.getpid()), encoding="utf-8")
            if self.queue.waiting():
                load_libraries()  # a job is waiting for them
            else:
                _set_group_priority(NICENESS)
                _at_low_priority(load_libraries, hurried=self.queue.waiting)
            unfinished = self.queue.under_way()
            if unfinished is not None:
                self._take_over(unfinished)
            self.queue.note_done()  # also if the note is damaged, which would start one worker after another
            while True:
                if queued := self.queue.waiting():
                    job = self.queue.read(queued[0])
                    if job is not None:
                        self._run(job, queued[0])
                    elif queued[0].exists():
                        self.queue.note_damaged(queued[0])
                    remove_file(queued[0])
                elif self.queue.is_wanted():
                    time.sleep(WATCH_SECONDS)
                else:
                    return

    def _take_over(self, job: Job) -> None:
        """Finish the job of a killed worker: its training may still be running, and its scores may be missing."""
        while is_locked(self.runs / job.run / "lock"):
            self.queue.note(job, "training")
            time.sleep(WATCH_SECONDS)
        self._score(job)
        self.queue.note_done()

    def _run(self, job: Job, file: Path) -> None:
        try:
            # Noted as current before it leaves the queue: a reader in between may see it twice, but never misses it.
            self.queue.note(job, "scoring" if job.task.startswith("score") else "training")
            file.unlink(missing_ok=True)
            if job.task == "paper":
                self._call(job, ["paper", str(self.workspace), *job.arguments])
            elif job.task == "tune":
                self._tune(job)
            elif job.task == "stability":
                cohort = str(self.workspace / "cohorts" / job.cohort)
                options = ["--cohort", cohort, "--threads", _threads(), *job.arguments, "--quiet"]
                self._call(job, ["stability", str(self.runs / job.run), *options])
            elif job.task in ("score", "score-others") or self._train(job):
                self._score(job)
        finally:
            self.queue.note_done()

    def _train(self, job: Job) -> bool:
        """Train as the command line does. Returns whether the training succeeded and can be scored."""
        out = self.runs / job.run
        if job.task == "resume":
            command = ["train", "--resume", "--out", str(out), "--threads", _threads()]
        else:
            cohort = self.workspace / "cohorts" / job.cohort
            command = ["train", str(cohort), "--out", str(out), "--threads", _threads(), *job.arguments]
        return self._call(job, [*command, "--quiet"]) == 0

    def _tune(self, job: Job) -> None:
        """Search as the command line does; an earlier search of this name is resumed."""
        cohort, out = self.workspace / "cohorts" / job.cohort, self.runs / job.run
        places = [str(cohort), "--out", str(out), "--runs", str(self.runs), "--threads", _threads()]
        self._call(job, ["tune", *places, *job.arguments, "--quiet"])

    def _score(self, job: Job) -> None:
        """Write the report on the held-out customers and the scores of all customers to the run folder."""
        out = self.runs / job.run
        if not _has_models(out):
            return
        self.queue.note(job, "scoring")
        cohort = str(self.workspace / "cohorts" / job.cohort)
        if job.task != "score-others" and not (out / "report.json").exists():
            # The cohort is passed explicitly, because the workspace may have moved since the run stored its path.
            report = str(out / "report.json")
            self._call(job, ["evaluate", str(out), "--cohort", cohort, "--out", report, "--threads", "1"])
        options = job.arguments if job.task.startswith("score") else ()  # those of a training are not for scoring
        own = () if job.task == "score-others" else ("--own",)
        self._call(job, ["score", str(out), cohort, *own, *options])

    def _call(self, job: Job, arguments: list[str]) -> int:
        """Run one command with its output in the run's log. Notes the reason of a failure; returns the exit status."""
        self.runs.mkdir(parents=True, exist_ok=True)
        log = self.queue.log(job.run)
        begin = log.stat().st_size if log.exists() else 0
        child = os.fork()
        if child == 0:
            if self._lock is not None:
                self._lock.close()  # otherwise the child would hold the lock after the worker has died
            if arguments[0] != "train":
                os.nice(NICENESS)
            _run_in_child(arguments, log)
        _set_group_priority(0 if arguments[0] == "train" else NICENESS)
        (self.folder / "child.pid").write_text(str(child), encoding="utf-8")  # for killing it by hand
        status, killed = self._watch(job, child)
        # A training that has a run folder records there itself how it ended.
        recorded = arguments[0] == "train" and (self.runs / job.run / "config.json").exists()
        if status != 0 and not killed and not recorded:
            self.queue.note_failure(job, last_error(log, begin) or f"the process ended with status {status}")
        return status

    def _watch(self, job: Job, child: int) -> tuple[int, bool]:
        """Wait for a child. Returns its exit status (minus the signal number if killed) and whether we killed it.

        A stop request is passed on to the training; the child is killed if it has no run folder yet.
        """
        request, run_lock = self.folder / "stop" / job.run, self.runs / job.run / "lock"
        killed, priority_until = False, time.monotonic() + EAGER_SECONDS
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
            if time.monotonic() > priority_until:
                yield_to_the_page(child)
                _set_group_priority(NICENESS)
                priority_until = math.inf
            time.sleep(WATCH_SECONDS)


def _has_models(run: Path) -> bool:
    """Whether a run has ended with a trained model: one that was stopped in its first epoch has none to score."""
    from crm_models.core.errors import CrmError
    from crm_models.runs.folder import RunFolder

    try:
        return (run / "weights.safetensors").exists() and bool(RunFolder(run).trained())
    except CrmError:
        return False


def _threads() -> str:
    """Threads of a training: all cores but one, which is left to the app."""
    return str(max(1, (os.cpu_count() or 2) - 1))


def load_libraries() -> None:
    """Import the modules of a training. Its optimizer imports torch's compiler, which takes another second."""
    for name in ("workflow", "runs.pipeline", "training.loop", "evaluation.report"):
        import_module(f"crm_models.{name}")
    import_module("torch._dynamo")


def _at_low_priority(work: Callable[[], None], hurried: Callable[[], object]) -> None:
    """Call a function at the priority of a training, in a thread, because a process cannot raise its priority again.

    Where Linux shares the cores among sessions, the priority of the session counts: see `_set_group_priority`. It is
    raised once `hurried` is true: a viewer who clicks meanwhile waits for these libraries.
    """

    def lowered() -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        work()

    thread = threading.Thread(target=lowered)
    thread.start()
    while thread.is_alive():
        thread.join(WATCH_SECONDS)
        if hurried():
            _set_group_priority(0)
            thread.join()


def yield_to_the_page(pid: int) -> None:
    """Lower a process to the priority of a training, thread by thread: on Linux each thread has its own."""
    threads = [int(folder.name) for folder in Path(f"/proc/{pid}/task").glob("*")] or [pid]
    for thread in threads:
        with suppress(OSError):
            if os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
                os.setpriority(os.PRIO_PROCESS, thread, NICENESS)


def _set_group_priority(niceness: int) -> None:
    """Set the priority of the worker's session with all its processes.

    With "autogroup", Linux shares the cores among sessions first and then within each. A process's niceness then counts
    only within its session, and the session has a niceness of its own. Elsewhere this does nothing.
    """
    for _ in range(3):
        try:
            Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
            return
        except BlockingIOError:  # Linux allows ten such writes a second for all users but root together
            time.sleep(0.12)
        except OSError:
            return


def _run_in_child(arguments: list[str], log: Path) -> NoReturn:
    """Run `python -m crm_models ARGUMENTS` (or `score RUN COHORT`, `paper FOLDER SEEDS`) in a fork, and exit."""
    status = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(out, 1)
        os.dup2(out, 2)
        internal = INTERNAL.get(arguments[0])
        status = internal(*arguments[1:]) if internal else _command_line(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _command_line(arguments: list[str]) -> int:
    from crm_models.cli.commands import main

    try:
        return main(arguments, is_logged=False)  # the app has logged who asked for it
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1


def _score_customers(run: str, cohort: str, *options: str) -> int:
    from crm_models.runs.folder import RunFolder
    from dashboard.jobs.scoring import keep
    from dashboard.jobs.tested import keep_tested

    folder = RunFolder(Path(run))
    plan_for: PlanFor = "steps" if SINGLE_STEPS in options else "whole"
    status = _status_of(lambda: keep(folder, Path(cohort), plan_for=plan_for, allow_drift="--allow-drift" in options))
    if status == 0 and "--own" in options:
        # After the scores, which the other pages wait for. If it fails, the evaluation page says why.
        _status_of(lambda: keep_tested(folder, Path(cohort)))
    return status


def _rerun_paper(folder: str, seeds: str) -> int:
    from dashboard.jobs.paper import keep

    return _status_of(lambda: keep(Path(folder), int(seeds)))


INTERNAL: dict[str, Callable[..., int]] = {"score": _score_customers, "paper": _rerun_paper}
"""Commands of the worker that the command line does not have."""


def _status_of(work: Callable[[], object]) -> int:
    """Call a function and return an exit status; errors are printed as on the command line."""
    from crm_models.core.errors import CrmError

    try:
        work()
    except (CrmError, OSError, MemoryError) as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    Runner(JobFolder(Path(sys.argv[1]))).work()
