"""Speed and memory benchmark: generating a million customers, planning for a hundred thousand.

Each measurement runs in its own process, whose peak memory the operating system reports. The rate of matrix products is
measured too, so that figures from two machines can be compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def measure(*, generated: int = 1_000_000, planned: int = 100_000, events: int = 50) -> dict[str, Any]:
    """Seconds, rates and peak memory (MiB) of generating `generated` customers and planning for `planned`.

    Planning uses the standard preset and histories of `events` events. It is measured again with half of the customers:
    the difference in memory is what depends on the cohort. (With fewer customers it would end before memory has
    levelled off, which it does after a few parts of a cohort.)
    """
    from crm_models.bench.rates import matrix_product_gflops

    with tempfile.TemporaryDirectory(prefix="crm-speed-") as folder:
        work = Path(folder)
        rate = matrix_product_gflops()
        lifelike = ["generate", "--scenario", "lifelike", "--quiet"]
        generation = timed([*lifelike, "--customers", str(generated), "--out", str(work / "million")])
        few = ["--customers", "2000", "--events", str(events), "--out", str(work / "few")]
        timed([*lifelike, *few])
        timed(["train", str(work / "few"), "--out", str(work / "run"), "--epochs", "1", "--quiet"])
        plans = {}
        for name, n in (("plan", planned), ("plan_half", planned // 2)):
            cohort = work / name
            timed([*lifelike, "--customers", str(n), "--events", str(events), "--seed", "1", "--out", str(cohort)])
            out = work / f"{name}.csv"
            plans[name] = timed(["plan", str(work / "run"), "--cohort", str(cohort), "--quiet", "--out", str(out)])
            plans[name] |= {"customers": n, "customers_per_second": round(n / plans[name]["seconds"])}
    return {
        "cores": os.cpu_count(),
        "matrix_product_gflops": round(rate, 1),
        "generate": generation
        | {"customers": generated, "customers_per_second": round(generated / generation["seconds"])},
        **plans,
        "plan_memory_growth": round(plans["plan"]["peak_mib"] / plans["plan_half"]["peak_mib"], 3),
        "plans_per_gflop": round(planned / plans["plan"]["seconds"] / rate, 2),
    }


def timed(arguments: list[str]) -> dict[str, Any]:
    """Run a command of `crm_models`; seconds of the whole process and its memory in MiB.

    anonymous_mib: what the system cannot take back, unlike the pages of mapped files, which are in `peak_mib`.
    """
    began = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen([sys.executable, "-m", "crm_models", *arguments], stdout=sys.stderr, env=environment)
    watch = MemoryWatch(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"crm_models {arguments[0]} ended with {process.returncode}")
    return {
        "seconds": round(seconds, 2),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "anonymous_mib": watch.anonymous_mib,
    }


class MemoryWatch:
    """The most anonymous memory (MiB) of a process so far, looked at fifty times a second."""

    def __init__(self, process: int | str = "self") -> None:
        self.anonymous_mib = 0
        self._status = Path(f"/proc/{process}/status")
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        with suppress(OSError):  # the process has ended
            while found := self._status.read_text(encoding="ascii").partition("RssAnon:")[2].split():
                self.anonymous_mib = max(self.anonymous_mib, int(found[0]) // 1024)
                time.sleep(0.02)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
