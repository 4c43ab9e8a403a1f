"""The campaigns: each is a generator that tries one thing after the other and counts it in a tally, for ever."""

from __future__ import annotations

import asyncio
import io
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
from streamlit.testing.v1 import AppTest

from crm_models.core.errors import CrmError
from crm_models.data.sources import import_cohort
from dashboard.jobs.queue import Job, JobFolder
from tests.browser.conftest import served
from tests.browser.visitor import Visitor
from tests.faults.interception import AtOperation, Counting, SmallFiles, kill, no_space
from tests.faults.place import COMMANDS, KILLED, Started, Tally, fresh, in_child, result, unsound
from tests.malformed.trial import try_one

ENTRY = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
PAGES = ("home", "cohort", "train", "evaluate", "attention", "customers", "plans", "campaigns", "paper")
CROWD = 100
"""Viewers at once."""
EARLIER = sorted((Path(__file__).parents[1] / "earlier_versions").glob("*/runs"))

Campaign = Callable[[Path, random.Random, Tally], Iterator[None]]


def kills(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """A process is killed at one of its operations on files: the old state or the new one, and the next goes on."""
    for name, number, copy in _commands(workspace, rng):
        ended = in_child(COMMANDS[name].on(copy), AtOperation(number, kill))
        problems = [] if ended.status in (KILLED, 0) else ended.problems() or [ended.said.strip()[-200:]]
        problems += unsound(copy)
        tally.count(f"{name} killed at operation {number}", problems or _again(name, copy))
        yield


def _commands(workspace: Path, rng: random.Random) -> Iterator[tuple[str, int, Path]]:
    """Every command in turn, one of its operations on files, and a fresh copy of the workspace, without end."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        operations = cache(lambda name: _operations(workspace, root, name))
        while True:
            for name in rng.sample(list(COMMANDS), len(COMMANDS)):
                number = rng.randint(1, operations(name))
                yield name, number, fresh(workspace, root / "at")


def _operations(workspace: Path, root: Path, name: str) -> int:
    count, copy = root / "count", fresh(workspace, root / "at")
    in_child(COMMANDS[name].on(copy), Counting(count))
    return max(1, count.stat().st_size)


def _again(name: str, workspace: Path) -> list[str]:
    """Problems of the same command after a kill; what was done already may be refused."""
    ended = in_child(COMMANDS[name].on(workspace))
    done = name in ("campaign new", "allocate") and ended.status == 2 and not ended.problems()
    if ended.status == 0 or done:
        return ended.problems()
    return [f"the next try ends with {ended.status}: {ended.said.strip()[-200:]}"]


def full_disk(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """The disk is full at one of the operations, or after some bytes of a file: one error line, and the old state."""
    for name, number, copy in _commands(workspace, rng):
        limit = rng.choice([0, 1, 100, 1_000, 5_000, 20_000])
        by_bytes = rng.random() < 0.5
        arm = SmallFiles(limit) if by_bytes else AtOperation(number, no_space)
        what = f"{name}, files up to {limit} bytes" if by_bytes else f"{name}, full at operation {number}"
        ended = in_child(COMMANDS[name].on(copy), arm)
        tally.count(what, ended.problems() + unsound(copy))
        yield


def bits(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """One bit of one file is flipped: the command names the damage, or its result is the right one."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "at"
        expected = {}
        for name in ("evaluate", "plan", "explain", "export"):
            copy = fresh(workspace, root)
            in_child(COMMANDS[name].on(copy))
            expected[name] = result(copy, COMMANDS[name])
        while True:
            for name in rng.sample(list(COMMANDS), len(COMMANDS)):
                copy = fresh(workspace, root)
                with _flipped(rng.choice(_files(copy)), rng) as what:
                    ended = in_child(COMMANDS[name].on(copy))
                    problems = ended.problems()
                    if name in expected and ended.status == 0 and result(copy, COMMANDS[name]) != expected[name]:
                        problems.append("another result, and no word of the damage")
                tally.count(f"{name} with {what}", problems)
                yield


def damaged_pages(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """One bit of one file is flipped, or the file is cut, emptied, or another kind of JSON: no page breaks."""
    with tempfile.TemporaryDirectory() as folder:
        copy = fresh(workspace, Path(folder) / "at")
        os.environ["CRM_WORKSPACE"] = str(copy)
        while True:
            file, page = rng.choice(_files(copy)), rng.choice(PAGES)
            with _damaged(file, rng) as what:
                tally.count(f"page {page} with {what}", _page(page))
            yield


def earlier_files(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """The same with files of earlier versions, which have no checksums: named, or done without; never a riddle."""
    with tempfile.TemporaryDirectory() as folder:
        copies = []
        for k, runs in enumerate(EARLIER):
            root = Path(folder) / str(k)
            fresh(runs.parent, root)
            copies.append(root)
        while True:
            copy = rng.choice(copies) / rng.choice(EARLIER).parent.name
            copy = next(f for f in copy.parent.iterdir() if (f / "runs").is_dir())
            run, cohort = rng.choice(sorted(copy.glob("runs/*"))), next(copy.glob("cohorts/*"))
            with _damaged(rng.choice(_files(run) + _files(cohort)), rng) as what:
                command = rng.choice(
                    [
                        ["plan", str(run), "--cohort", str(cohort), "--out", str(copy / "now.csv"), "--threads", "1"],
                        ["evaluate", str(run), "--cohort", str(cohort), "--threads", "1"],
                        ["check", str(cohort)],
                    ]
                )
                tally.count(f"{command[0]} with {what}", in_child(command).problems())
            yield


def clock(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """The clock was set back: every file is from the future. Commands and pages work, and the queue keeps its order."""
    with tempfile.TemporaryDirectory() as folder:
        while True:
            copy, later = (
                fresh(workspace, Path(folder) / "at"),
                time.time() + rng.choice([60, 86_400, 10 * 365 * 86_400]),
            )
            for file in copy.rglob("*"):
                os.utime(file, (later, later))
            name = rng.choice([name for name in COMMANDS if name != "campaign new"])
            ended = in_child(COMMANDS[name].on(copy))
            tally.count(f"{name} on files of the future", ended.problems() or ["refused"] * (ended.status == 2))
            jobs = JobFolder(copy)
            jobs._start_runner = lambda: None  # type: ignore[method-assign]
            waiting = jobs.folder / "queue" / f"{int(later * 1e9):020d}-first.json"
            jobs.add(Job(run="first", cohort="small"))
            jobs.waiting()[0].rename(waiting)
            jobs.add(Job(run="second", cohort="small"))
            order = [job.job.run for job in jobs.jobs()]
            tally.count("the queue", [] if order == ["first", "second"] else [f"order {order}"])
            os.environ["CRM_WORKSPACE"] = str(copy)
            page = rng.choice(PAGES)
            tally.count(f"page {page} on files of the future", _page(page))
            yield


def together(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """Two commands at once on one workspace: each is done or refused, and everything is sound."""
    with tempfile.TemporaryDirectory() as folder:
        while True:
            copy = fresh(workspace, Path(folder) / "at")
            first, second = rng.choice(list(COMMANDS)), rng.choice(list(COMMANDS))
            both = [Started(COMMANDS[name].on(copy)) for name in (first, second)]
            problems = [problem for started in both for problem in started.wait().problems()]
            tally.count(f"{first} beside {second}", problems + unsound(copy))
            yield


def viewers(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """Many viewers open pages while runs, cohorts and campaigns are made and deleted under them: no page breaks."""
    with tempfile.TemporaryDirectory() as folder:
        copy = fresh(workspace, Path(folder) / "at")
        os.environ["CRM_WORKSPACE"] = str(copy)
        while True:
            page, ended = rng.choice(PAGES), threading.Event()
            others = threading.Thread(target=_come_and_go, args=(copy, ended))
            others.start()
            problems = _page(page)
            ended.set()
            others.join()
            tally.count(f"page {page} while others change the workspace", problems)
            yield


def crowd(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """A hundred viewers of a server open pages at once, while others change the workspace: each page has its title."""
    with tempfile.TemporaryDirectory() as folder:
        copy, ended = fresh(workspace, Path(folder) / "at"), threading.Event()
        with served(copy) as address:
            others = threading.Thread(target=_come_and_go, args=(copy, ended))
            others.start()
            try:
                while True:
                    pages = rng.choices([page for page in PAGES if page not in ("train", "paper")], k=CROWD)
                    for page, problems in zip(pages, asyncio.run(_opened(address, pages)), strict=True):
                        tally.count(f"page {page} in a crowd", problems)
                        yield
            finally:
                ended.set()
                others.join()


async def _opened(address: str, pages: list[str]) -> list[list[str]]:
    """What breaks when a viewer each opens these pages at the same time."""

    async def problems(page: str) -> list[str]:
        async with Visitor(address) as visitor:
            seen = await visitor.open("" if page == "home" else page, "cohort=small")
            broken = [error.message[:200] for error, _ in seen.of("exception")]
            return broken + ["no title"] * (sum(heading.tag == "h1" for heading, _ in seen.of("heading")) != 1)

    return await asyncio.gather(*map(problems, pages))


def _come_and_go(workspace: Path, ended: threading.Event) -> None:
    """Runs, campaigns and cohorts vanish and return, until the end."""
    while not ended.is_set():
        for place in ("runs/other", "campaigns/small", "cohorts/mine"):
            (workspace / place).rename(workspace / f"{place}-away")
            time.sleep(0.01)
            (workspace / f"{place}-away").rename(workspace / place)


def malformed(workspace: Path, rng: random.Random, tally: Tally) -> Iterator[None]:
    """Files to import, damaged as exports are or with bytes changed: read as meant, or refused in one line."""
    events, people = ((workspace / "mine" / f"{name}.csv").read_bytes() for name in ("interactions", "customers"))
    packed = io.BytesIO()
    pd.read_csv(io.BytesIO(people)).to_parquet(packed)
    samples = {"interactions.csv": events, "customers.csv": people, "customers.parquet": packed.getvalue()}
    with tempfile.TemporaryDirectory() as folder:
        while True:
            trial = try_one(np.random.default_rng(rng.getrandbits(64)), Path(folder) / "export")
            shutil.rmtree(Path(folder) / "export", ignore_errors=True)
            problems = [trial.said] if trial.ending in ("wrong", "broken") else []
            tally.count(f"import of {trial.kind} damaged by {' + '.join(trial.damages)}", problems)
            yield
            name = rng.choice(list(samples))
            file = Path(folder) / name
            file.write_bytes(_mangled(samples[name], rng))
            problems = []
            try:
                import_cohort("tables", [file], accept_doubts=True)
            except CrmError as error:
                problems = ["an error of several lines"] if "\n" in str(error) else []
            except Exception as error:
                kept = Path(tempfile.mkdtemp(prefix="malformed-")) / name
                kept.write_bytes(file.read_bytes())
                problems = [f"{type(error).__name__}: {error} (kept as {kept})"]
            file.unlink()
            tally.count(f"import of a changed {name}", problems)
            yield


CAMPAIGNS: dict[str, Campaign] = {
    "kills": kills,
    "full disk": full_disk,
    "bits": bits,
    "earlier files": earlier_files,
    "pages": damaged_pages,
    "clock": clock,
    "together": together,
    "viewers": viewers,
    "crowd": crowd,
    "malformed": malformed,
}
"""All campaigns by name; another one is a function like these and a line here."""


# ---- damage ----------------------------------------------------------------------------------------------------------


class _changed:
    """Context in which a file has other bytes; it is as it was afterwards."""

    def __init__(self, file: Path, content: bytes, what: str) -> None:
        self.file, self.content, self.what = file, content, what

    def __enter__(self) -> str:
        self.before = self.file.read_bytes()
        self.file.write_bytes(self.content)
        return self.what

    def __exit__(self, *_: object) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(self.before)


def _flipped(file: Path, rng: random.Random) -> _changed:
    content = bytearray(file.read_bytes())
    bit = rng.randrange(8 * len(content))
    content[bit // 8] ^= 1 << bit % 8
    return _changed(file, bytes(content), f"bit {bit} of {file.parent.name}/{file.name} flipped")


def _damaged(file: Path, rng: random.Random) -> _changed:
    kind = rng.choice(["bit", "bit", "cut", "empty", "other JSON", "other values"])
    content, name = file.read_bytes(), f"{file.parent.name}/{file.name}"
    if kind == "cut":
        return _changed(file, content[: rng.randrange(len(content))], f"{name} cut")
    if kind == "empty":
        return _changed(file, b"", f"{name} empty")
    if kind == "other JSON":
        other = rng.choice([b"[]", b"{}", b"null", b'"x"', b"3", b"\0", b"[" * 100_000])
        return _changed(file, other, f"{name} being {other[:9]!r}")
    if kind == "other values" and file.suffix in (".json", ".jsonl"):
        old, new = rng.choice([(b"1", b'"x"'), (b'"', b"'"), (b": ", b": null, "), (b"true", b"7"), (b"[", b"{")])
        places = content.count(old)
        if places:
            parts = content.split(old)
            at = rng.randrange(places) + 1
            return _changed(file, old.join(parts[:at]) + new + old.join(parts[at:]), f"{name} with {new!r}")
    return _flipped(file, rng)


def _mangled(content: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(content) + 1), rng.choice([1, 1, 2, 8, 64])
        odd = rng.choice(
            [b"", b"\0", b'"', b"\n", b",", b";", b"\xff\xfe", b"1e999", b"-", b"=1+1", bytes([rng.randrange(256)])]
        )
        content = content[:at] + odd + content[at + rng.choice([0, length]) :]
        if rng.random() < 0.1:
            content = content[: rng.randrange(len(content) + 1)]
    return content


def _files(folder: Path) -> list[Path]:
    """The files of a workspace that have content, apart from what is imported."""
    return sorted(f for f in folder.rglob("*") if f.is_file() and f.stat().st_size and "mine" not in f.parts)


def _page(name: str) -> list[str]:
    """What breaks when a page is opened."""
    app = AppTest.from_file(str(ENTRY), default_timeout=300)
    app.query_params["cohort"] = "small"
    with patch.object(JobFolder, "_start_runner", lambda jobs: None):  # a worker would outlive the campaign
        app = app.switch_page(f"app_pages/{name}.py").run() if name != "home" else app.run()
    return [f"{error.message[:200]}" for error in app.exception] + ["no title"] * (len(app.title) != 1)
