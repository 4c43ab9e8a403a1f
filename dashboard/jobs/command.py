"""The process of one job: it loads torch before the job is known, and then runs its commands.

`python -m dashboard.jobs.command NICENESS` loads the libraries, NICENESS lower in priority, and waits for commands on
stdin. What it runs then is exactly `python -m crm_models ...` without the two to three seconds of imports.

A fork of a process that has loaded them would be ready at once, too, but Arrow and BLAS have threads, and a fork may
find their locks held by threads that it does not have.
"""

from __future__ import annotations

import faulthandler
import json
import os
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from crm_models.core.schema import PlanFor
from dashboard.jobs.queue import ROOT, SINGLE_STEPS

BEGUN = b"null\n"
"""What the process answers when it begins a command, with its libraries loaded; the exit status follows."""


class CommandProcess:
    """Such a process, as the worker sees it: one command after the other."""

    def __init__(self, niceness: int) -> None:
        command = [sys.executable, "-m", "dashboard.jobs.command", str(niceness)]
        self.has_begun = False
        # Unbuffered: an answer that was read ahead into a buffer would not be seen by `select`.
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def begin(self, arguments: list[str], log: Path, niceness: int) -> None:
        """Have it run a command, with its output in this log."""
        assert self.process.stdin is not None
        self.has_begun = False
        with suppress(BrokenPipeError):  # it has ended, as `status` says
            self.process.stdin.write(_line([arguments, str(log), niceness]))

    def status(self) -> int | None:
        """Exit status of the command, minus the signal number if it was killed; None while it runs."""
        assert self.process.stdout is not None
        told = self.process.stdout.readline() if select.select([self.process.stdout], [], [], 0)[0] else b""
        if told == BEGUN:
            self.has_begun = True
            return None
        return int(told) if told else self.process.poll()

    def dismiss(self) -> None:
        """End it: no command is left."""
        self.process.communicate()


def main(niceness: int) -> None:
    """Load the libraries; run a command for each line of stdin (arguments, log, niceness), and say its exit status."""
    answers = os.dup(1)
    os.dup2(2, 1)
    # In a thread, because a process cannot raise its priority again.
    loading = threading.Thread(target=_load_at, args=(niceness,), daemon=True)
    loading.start()
    for line in iter(sys.stdin.readline, ""):
        arguments, log, niceness = json.loads(line)
        loading.join()
        lower_priority(threading.get_native_id(), niceness)
        with suppress(BrokenPipeError):  # the worker has been killed; what was begun is finished
            os.write(answers, _line(None))
        status = run(arguments, Path(log))
        with suppress(BrokenPipeError):
            os.write(answers, _line(status))
    os._exit(0)


def run(arguments: list[str], log: Path) -> int:
    """Run one command with the output of the process in this log; returns the exit status."""
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(out)
    faulthandler.enable()  # a process that has to be aborted says where it was
    try:
        internal = INTERNAL.get(arguments[0])
        return internal(*arguments[1:]) if internal else _command_line(arguments)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def load_libraries() -> None:
    """Import the modules of a training. Its optimizer imports torch's compiler, which takes another second."""
    for name in ("workflow", "runs.pipeline", "training.loop", "evaluation.report"):
        import_module(f"crm_models.{name}")
    import_module("torch._dynamo")


def _load_at(niceness: int) -> None:
    lower_priority(threading.get_native_id(), niceness)
    load_libraries()


def lower_priority(thread: int, niceness: int) -> None:
    """Lower a thread to this niceness, unless it is lower already; threads that it starts have the same."""
    with suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, thread) < niceness:
            os.setpriority(os.PRIO_PROCESS, thread, niceness)


def _line(content: object) -> bytes:
    return json.dumps(content).encode() + b"\n"


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

    folder, own = RunFolder(Path(run)), OWN in options
    plan_for: PlanFor = "steps" if SINGLE_STEPS in options else "whole"
    status = 0
    report = folder.folder / "report.json"
    if own and not report.exists():
        # The cohort is passed explicitly, because the workspace may have moved since the run stored its path.
        status = _command_line(["evaluate", run, "--cohort", cohort, "--out", str(report), "--threads", "1"])
    scored = _status_of(lambda: keep(folder, Path(cohort), plan_for=plan_for, allow_drift="--allow-drift" in options))
    if scored == 0 and own:
        # After the scores, which the other pages wait for. If it fails, the evaluation page says why.
        _status_of(lambda: keep_tested(folder, Path(cohort)))
    return scored or status


def _rerun_paper(folder: str, seeds: str) -> int:
    from dashboard.jobs.paper import keep

    return _status_of(lambda: keep(Path(folder), int(seeds)))


OWN = "--own"
"""Option of scoring: the run's own cohort, whose held-out customers are evaluated, too."""

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
    main(int(sys.argv[1]))
