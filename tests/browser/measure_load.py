"""How the app answers many viewers at once: `python tests/browser/measure_load.py [--viewers 50] [--idle 200] ...`.

Each viewer is a connection that moves the threshold slider on Plans every three seconds, as a browser asks for it,
while a training runs; the same beside an empty app of one slider. Then idle sessions, and a soak without pauses: what
the server holds before, during and after. No browsers, so all of the time is that of the server and of this script.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from crm_models import workflow
from crm_models.core.files import write_json
from crm_models.runs.folder import RunFolder
from dashboard.jobs import scoring
from dashboard.jobs.worker import NICENESS
from tests.browser.conftest import served
from tests.browser.visitor import Visitor

EMPTY = """
import streamlit as st
t = st.slider("Churn threshold", 0.0, 1.0, 0.5, 0.01)
st.metric("Customers at risk", round((1 - t) * 1000))
"""


async def moves(visitor: Visitor, seconds: float, every: float) -> list[float]:
    """The seconds of each move of a viewer's slider; every: from one move to the next, 0 without pause."""
    slider, fragment = next((s, f) for s, f in visitor.seen.of("slider") if "hreshold" in s.label)
    end = time.monotonic() + seconds
    await asyncio.sleep(random.uniform(0, every))
    took = []
    while (start := time.monotonic()) < end:
        await visitor.slide(slider.id, round(random.uniform(0.05, 0.95), 2), fragment)
        took.append(time.monotonic() - start)
        await asyncio.sleep(max(0.0, every - took[-1]))
    return took


async def crowd(
    address: str, page: str, viewers: int, seconds: float, every: float, pid: int
) -> tuple[list[float], float]:
    """The seconds of all moves of so many viewers, once each has the page, and the server's processor time of one."""
    async with AsyncExitStack() as stack:
        here = [await stack.enter_async_context(Visitor(address)) for _ in range(viewers)]
        for visitor in here:
            await visitor.open(page, "cohort=demo" if page else "")
        before = worked(pid)
        took = [each for moved in await asyncio.gather(*(moves(v, seconds, every) for v in here)) for each in moved]
        return took, (worked(pid) - before) / len(took)


async def idle(address: str, page: str, sessions: int, pid: int) -> int:
    """Bytes that the server holds while so many sessions are open and rest."""
    async with AsyncExitStack() as stack:
        for _ in range(sessions):
            visitor = await stack.enter_async_context(Visitor(address))
            await visitor.open(page, "cohort=demo")
        return held(pid)


def held(pid: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def worked(pid: int) -> float:
    """Seconds of processor time that a process has used, which a busy machine does not change much."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def server_pid() -> int:
    """The process of `served`: the child of this one that runs Streamlit."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return next(int(c) for c in children if b"streamlit" in Path(f"/proc/{c}/cmdline").read_bytes())


def say(what: str, took: list[float], seconds: float) -> None:
    """Print percentiles of moves."""
    p50, p95, p99 = (f"{value:.3f}" for value in np.percentile(took, [50, 95, 99]))
    print(
        f"{what}: {len(took):,} moves, {len(took) / seconds:.1f}/s, p50 {p50} s, p95 {p95} s, p99 {p99} s", flush=True
    )


@contextmanager
def training(cohort: Path, out: Path) -> Iterator[None]:
    """A training runs meanwhile, with the priority and the threads that the app's trainings have."""
    command = [sys.executable, "-m", "crm_models", "train", str(cohort), "--out", str(out), "--threads", "1", "--quiet"]
    process = subprocess.Popen(["nice", "-n", str(NICENESS), *command])
    while not (out / "events.jsonl").exists():
        time.sleep(0.2)
        assert process.poll() is None, "the training did not start"
    try:
        yield
        assert process.poll() is None, "the training ended too early: take more customers"
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=3.0, help="seconds from one move of a viewer to the next")
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--idle", type=int, default=200, help="open sessions that rest")
    parser.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="moves without pause for so long")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace, empty = Path(folder) / "workspace", Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        cohort, run = workspace / "cohorts" / "demo", workspace / "runs" / "demo-run"
        workflow.generate(cohort, scenario="lifelike", customers=args.customers)
        list(workflow.train(cohort, run, workflow.run_config(preset="standard", epochs=1)))
        write_json(run / "report.json", workflow.evaluate(run))
        scoring.keep(RunFolder(run), cohort)
        (workspace / "prepared").touch()
        if args.seconds:
            for what, script, page in (("empty app", empty, ""), ("Plans", None, "plans")):
                busy = training(cohort, workspace / "runs" / f"busy-{page}")
                with served(workspace, script) as address, busy:
                    took, each = asyncio.run(crowd(address, page, args.viewers, args.seconds, args.every, server_pid()))
                about = f"{args.viewers} viewers, a move every {args.every:g} s, a training beside"
                say(f"{what}, {about}, {1000 * each:.0f} ms of processor time a move", took, args.seconds)
        with served(workspace) as address:
            pid = server_pid()
            asyncio.run(crowd(address, "plans", 1, 2.0, 0.5, pid))
            before = held(pid)
            if args.idle:
                during = asyncio.run(idle(address, "plans", args.idle, pid))
                print(f"{args.idle} idle sessions: {before / 1e6:,.0f} MB before, {during / 1e6:,.0f} MB with them")
            for minute in range(round(args.soak)):
                took, _ = asyncio.run(crowd(address, "plans", args.viewers, 60.0, 0.0, pid))
                say(f"soak minute {minute + 1}, {held(pid) / 1e6:,.0f} MB", took, 60.0)


if __name__ == "__main__":
    main()
