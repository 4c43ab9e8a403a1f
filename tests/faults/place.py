"""What the campaigns share: a workspace with one of everything, commands on it, and a child process for each try."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import pandas as pd

from crm_models.cli.commands import main
from crm_models.core.files import sha256
from crm_models.core.recovery import leftovers, recover_workspace, workspace_folders
from crm_models.core.sealed import read_record
from crm_models.planning.export import manifest_path
from crm_models.upkeep.checking import check_workspace

KILLED = 137
QUICK = ("--preset", "paper", "--epochs", "1", "--threads", "1", "--quiet")


@dataclass
class Tally:
    """What a campaign tried, and a sentence on each failure."""

    tried: int = 0
    failed: list[str] = field(default_factory=list)

    def count(self, what: str, problems: Sequence[str]) -> None:
        """Count a try with its problems."""
        self.tried += 1
        self.failed += [f"{what}: {problem}" for problem in problems]


@dataclass(frozen=True)
class Command:
    """A command on the workspace, for which {w} stands. output: the file that tells whether its result is right."""

    arguments: tuple[str, ...]
    output: str = ""

    def on(self, workspace: Path) -> list[str]:
        """The arguments for one workspace."""
        return [argument.format(w=workspace) for argument in self.arguments]


def _command(text: str, output: str = "", *more: str) -> Command:
    return Command((*text.split(), *more), output)


COMMANDS = {
    "generate": _command("generate --scenario lifelike --customers 50 --seed 2 --out {w}/cohorts/small --quiet"),
    "import": _command("import tables {w}/mine --out {w}/cohorts/mine --accept-doubts --quiet"),
    "train": _command("train {w}/cohorts/small --out {w}/runs/other --overwrite", "", *QUICK),
    "evaluate": _command("evaluate {w}/runs/run --out {w}/runs/run/report.json --threads 1", "runs/run/report.json"),
    "plan": _command("plan {w}/runs/run --out {w}/plans.csv --threads 1 --quiet", "plans.csv"),
    "explain": _command("explain {w}/runs/run --customer C000007 --out {w}/drivers.csv --threads 1", "drivers.csv"),
    "campaign new": _command("campaign new {w}/runs/run --out {w}/campaigns/new --threshold 0.1 --quiet --threads 1"),
    "allocate": _command("campaign allocate {w}/campaigns/small --budget 60 --quiet"),
    "approve": _command("campaign approve {w}/campaigns/small --who ann"),
    "export": _command("campaign export {w}/campaigns/sent --preset salesforce --out {w}/sent.csv", "sent.csv"),
    "simulate": _command("campaign simulate {w}/campaigns/sent", "campaigns/sent/reading.json"),
    "report": _command("campaign report {w}/campaigns/sent --out {w}/campaign.html"),
    "backup": _command("workspace backup {w}/../backup.tar --workspace {w}"),
    "restore": _command("workspace restore {w}/../earlier.tar --workspace {w} --overwrite"),
}
"""Commands that write."""


def make_workspace(root: Path) -> Path:
    """A workspace with a cohort, two runs, two campaigns, plans, jobs and a backup beside it."""
    workspace = root / "workspace"
    mine = workspace / "mine"
    mine.mkdir(parents=True)
    events = "".join(f"c{k % 9},{'call' if k % 2 else 'mail'},2026-01-{k % 28 + 1:02d},{k}.5\n" for k in range(60))
    (mine / "interactions.csv").write_text("customer_id,action,timestamp,value\n" + events)
    rows = "".join(f"c{k},{'yes' if k % 3 else 'no'},{30 + k}\n" for k in range(9))
    (mine / "customers.csv").write_text("customer_id,churned,age\n" + rows)
    jobs = workspace / "jobs" / "failed"
    jobs.mkdir(parents=True)
    job = '{"run": "gone", "cohort": "small", "task": "train", "arguments": [], "about": "paper"}'
    (jobs / "gone.json").write_text(f'{{"job": {job}, "reason": "no labels", "at": 1.7e9}}')
    (workspace / "prepared").touch()
    _do("generate --scenario lifelike --customers 60 --out {w}/cohorts/small --quiet", workspace)
    for run in ("run", "other"):
        _do(f"train {{w}}/cohorts/small --out {{w}}/runs/{run} {' '.join(QUICK)}", workspace)
    for name in ("small", "sent"):
        _do(f"campaign new {{w}}/runs/run --out {{w}}/campaigns/{name} --threshold 0.1 --holdout 0.3", workspace)
    for name in ("import", "evaluate", "plan", "export", "simulate", "allocate", "approve"):
        _do(" ".join(COMMANDS[name].arguments), workspace)
    _do("workspace backup {w}/../earlier.tar --workspace {w}", workspace)
    return workspace


def _do(text: str, workspace: Path) -> None:
    ended = in_child(text.format(w=workspace).split())
    assert ended.status == 0, ended.said


@dataclass(frozen=True)
class Ended:
    """How a child ended, and what it printed."""

    status: int
    said: str

    def problems(self) -> list[str]:
        """What no command may do, whatever the state of the disk: end otherwise than with 0 or 2, or with a riddle."""
        found = [] if self.status in (0, 2) else [f"exit status {self.status}"]
        found += [text for text in ("unexpected ", "Traceback") if text in self.said]
        return [f"{problem}: {self.said.strip()[-200:]}" for problem in found]


_FORKS = multiprocessing.get_context("forkserver")
"""Children are forks of a process of its own, which has loaded the libraries and has no threads to lose."""
_FORKS.set_forkserver_preload(["tests.faults.libraries"])


class Started:
    """A command at work in a child process; `before` is called there first, to arm a fault."""

    def __init__(self, arguments: Sequence[str], before: Callable[[], None] | None = None) -> None:
        self._said, writing = _FORKS.Pipe(duplex=False)  # not a file, whose size a campaign may limit
        self._process = _FORKS.Process(target=_run, args=(list(arguments), before, writing))
        self._process.start()
        writing.close()

    def wait(self) -> Ended:
        """How it ended."""
        with os.fdopen(os.dup(self._said.fileno()), encoding="utf-8", errors="replace") as printed:
            said = printed.read()
        self._said.close()
        self._process.join()
        return Ended(self._process.exitcode or 0, said)


def in_child(arguments: Sequence[str], before: Callable[[], None] | None = None) -> Ended:
    """Run a command in a child process to its end."""
    return Started(arguments, before).wait()


def _run(arguments: list[str], before: Callable[[], None] | None, writing: Connection) -> None:
    status = 99
    try:
        os.dup2(writing.fileno(), 1)
        os.dup2(writing.fileno(), 2)
        writing.close()
        if before is not None:
            before()
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = int(stop.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def fresh(workspace: Path, root: Path) -> Path:
    """A copy of the workspace and of the backup beside it, in place of an earlier copy."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(workspace.parent, root, symlinks=True)
    copy = root / workspace.name
    for file in [*copy.glob("runs/*/config.json"), *copy.glob("campaigns/*/campaign.json")]:
        file.write_text(file.read_text().replace(str(workspace), str(copy)))
    return copy


def unsound(workspace: Path) -> list[str]:
    """What is wrong after a fault and the recovery of the next start: damage, leftovers, files that do not agree."""
    recover_workspace(workspace)
    recover_workspace(workspace.parent)
    found = list(check_workspace(workspace).damaged)
    found += [f"{entry} is left" for folder in workspace_folders(workspace) for entry in leftovers(folder)]
    for name in ("cohorts/small/cohort.json", "cohorts/mine/cohort.json", "runs/other/config.json", "plans.csv"):
        if not (workspace / name).exists():
            found.append(f"{name} is gone")
    plans = workspace / "plans.csv"
    if plans.exists():
        manifest = read_record(manifest_path(plans), "a manifest", {"csv_sha256": str}, remedy="", versioned=False)
        if manifest["csv_sha256"] != hashlib.sha256(plans.read_bytes()).hexdigest():
            found.append("plans.csv is not that of its manifest")
    return found


def result(workspace: Path, command: Command) -> str:
    """What a command wrote, apart from times, as a text that can be compared."""
    file = workspace / command.output
    if not command.output or not file.exists():
        return ""
    if file.suffix == ".csv":
        table = pd.read_csv(file, dtype="str", keep_default_na=False)
        table = table.drop(columns=[c for c in table.columns if "scored_at" in c.lower()])
        return table.to_csv(index=False)
    return sha256(file) if file.name == "report.json" else ""
