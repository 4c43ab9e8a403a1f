"""The worker process: runs the jobs of the queue one at a time. `python -m dashboard.jobs.worker WORKSPACE`.

Each job has a process of its own (see `command`), which is ready with its libraries loaded where a job may come: the
training page starts the worker before the click.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from pathlib import Path

from crm_models.core.locks import is_locked, locked
from crm_models.core.recovery import recover_workspace
from dashboard.jobs.command import OWN, CommandProcess, lower_priority
from dashboard.jobs.queue import Job, JobFolder, last_error, remove_file

NICENESS = 10
"""Niceness of a training: it yields to the app, which then answers nearly as fast as on an idle machine."""
EAGER_SECONDS = 5.0
"""How long a new training runs at normal priority, because the viewer waits for its first point."""
WATCH_SECONDS = 0.05
"""How often the worker checks for a new job, the end of the current one, and a stop request."""
STOP_SECONDS = 60.0
"""How long a training may take to stop; then it is aborted, and its log says where it was."""


class Runner:
    """The worker of one workspace; a second one for the same workspace exits at once."""

    def __init__(self, queue: JobFolder) -> None:
        self.queue, self.folder, self.runs, self.workspace = queue, queue.folder, queue.runs, queue.workspace
        self._process: CommandProcess | None = None

    def work(self) -> None:
        """Run the queued jobs until the queue has been empty for a while. Exit at once if another worker is running."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder / "lock") as lock:
            if lock is None:
                return
            for sentence in recover_workspace(self.workspace):
                print(sentence, file=sys.stderr)
            (self.folder / "runner.pid").write_text(str(os.getpid()), encoding="utf-8")
            if self.queue.waiting():
                self._prepare(0)  # a job is waiting for it
            else:
                _set_group_priority(NICENESS)
            unfinished = self.queue.under_way()
            if unfinished is not None:
                self._take_over(unfinished)
            self.queue.note_done()  # also if the note is damaged, which would start one worker after another
            self._work_off()
            self._end_process()

    def _work_off(self) -> None:
        while True:
            if queued := self.queue.waiting():
                job = self.queue.read(queued[0])
                if job is not None:
                    self._run(job, queued[0])
                elif queued[0].exists():
                    self.queue.note_damaged(queued[0])
                remove_file(queued[0])
            elif self.queue.is_wanted():
                self._prepare(NICENESS)
                time.sleep(WATCH_SECONDS)
            else:
                return

    def _prepare(self, niceness: int) -> CommandProcess:
        """The process of the next job. niceness: at which it loads the libraries, if it does not run yet."""
        if self._process is not None and self._process.process.poll() is not None:
            self._end_process()
        if self._process is None:
            self._process = CommandProcess(niceness)
        return self._process

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.dismiss()
        self._process = None

    def _take_over(self, job: Job) -> None:
        """Finish the job of a killed worker: its training may still be running, and its scores may be missing."""
        while is_locked(self.runs / job.run / "lock"):
            self.queue.note(job, "training")
            time.sleep(WATCH_SECONDS)
        self._score(job)
        self._end_process()
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
            self._end_process()
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
        cohort = str(self.workspace / "cohorts" / job.cohort)  # that of the run may be noted with an earlier place
        options = job.arguments if job.task.startswith("score") else ()  # those of a training are not for scoring
        own = () if job.task == "score-others" else (OWN,)
        self._call(job, ["score", str(out), cohort, *own, *options])

    def _call(self, job: Job, arguments: list[str]) -> int:
        """Run one command with its output in the run's log. Notes the reason of a failure; returns the exit status."""
        self.runs.mkdir(parents=True, exist_ok=True)
        log = self.queue.log(job.run)
        begin = log.stat().st_size if log.exists() else 0
        eager = arguments[0] == "train"
        process = self._prepare(0)
        _set_group_priority(0 if eager else NICENESS)
        process.begin(arguments, log, 0 if eager else NICENESS)
        (self.folder / "child.pid").write_text(str(process.process.pid), encoding="utf-8")  # for killing it by hand
        status, killed = self._watch(job, process)
        # A training that has a run folder records there itself how it ended.
        recorded = eager and (self.runs / job.run / "config.json").exists()
        if status != 0 and not killed and not recorded:
            why = last_error(log, begin) or last_error(self.folder / "runner.log")
            self.queue.note_failure(job, why or f"the process ended with status {status}")
        return status

    def _watch(self, job: Job, command: CommandProcess) -> tuple[int, bool]:
        """Wait for a command. Returns its exit status (minus the signal number if killed) and whether we killed it.

        A stop request is passed on to the training; the command is killed if it has no run folder yet.
        """
        request, run_lock = self.folder / "stop" / job.run, self.runs / job.run / "lock"
        killed, is_eager, begun, asked = False, True, math.inf, math.inf
        while (status := command.status()) is None:
            if request.exists():
                if is_locked(run_lock):
                    self.queue.ask_to_stop(job.run)
                    asked = min(asked, time.monotonic())
                    if time.monotonic() > asked + STOP_SECONDS:
                        command.process.send_signal(signal.SIGABRT)
                        killed = True
                elif not run_lock.exists():
                    command.process.terminate()
                    killed = True
            if command.has_begun:
                begun = min(begun, time.monotonic())
            if is_eager and time.monotonic() > begun + EAGER_SECONDS:
                yield_to_the_page(command.process.pid)
                _set_group_priority(NICENESS)
                is_eager = False
            time.sleep(WATCH_SECONDS)
        request.unlink(missing_ok=True)
        return status, killed


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


def yield_to_the_page(pid: int) -> None:
    """Lower a process to the priority of a training, thread by thread: on Linux each thread has its own."""
    threads = [int(folder.name) for folder in Path(f"/proc/{pid}/task").glob("*")] or [pid]
    for thread in threads:
        lower_priority(thread, NICENESS)


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


if __name__ == "__main__":
    Runner(JobFolder(Path(sys.argv[1]))).work()
