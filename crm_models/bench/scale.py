"""Benchmark of planning on several processes: rate, peak memory of the largest, and what Ray costs over local ones.

`python -m crm_models.bench.scale [--customers N] [--workers 1 2 4] [--ray]`. The plans of all runs are compared too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from crm_models.bench.speed import timed
from crm_models.core.files import read_json


def measure(customers: int, workers: list[int], *, events: int = 20, ray: bool = False) -> dict[str, Any]:
    """Seconds, customers a second and peak memory (MiB) of planning with so many processes, and whether plans differ.

    Histories of `events` events, the standard preset. ray: also by Ray on this machine, its start included.
    """
    with tempfile.TemporaryDirectory(prefix="crm-scale-") as name:
        folder = Path(name)
        lifelike = ["generate", "--scenario", "lifelike", "--events", str(events), "--quiet"]
        timed([*lifelike, "--customers", "2000", "--out", str(folder / "few")])
        timed(["train", str(folder / "few"), "--out", str(folder / "run"), "--epochs", "1", "--quiet"])
        timed([*lifelike, "--customers", str(customers), "--seed", "1", "--out", str(folder / "cohort")])
        runs = [("local", n) for n in workers] + ([("ray", n) for n in workers] if ray else [])
        rows = [_planned(folder, engine, n, customers) for engine, n in runs]
    result: dict[str, Any] = {"customers": customers, "events": events, "cores": os.cpu_count(), "runs": rows}
    result["same_plans"] = len({row.pop("plans") for row in rows}) == 1
    seconds = {(row["engine"], row["workers"]): row["seconds"] for row in rows}
    if ray:
        result["ray_over_local"] = {n: round(seconds["ray", n] / seconds["local", n], 2) for n in workers}
    return result


def _planned(folder: Path, engine: str, workers: int, customers: int) -> dict[str, Any]:
    out = folder / "plans.csv"
    plan = ["plan", str(folder / "run"), "--cohort", str(folder / "cohort"), "--quiet", "--out", str(out)]
    # One worker on this machine would use all cores, one on a cluster has one.
    found = timed([*plan, "--engine", engine, "--workers", str(workers), "--threads", "1"])
    manifest = read_json(folder / "plans.manifest.json")
    digest = hashlib.sha256()
    with out.open(encoding="utf-8") as rows:
        for row in rows:
            digest.update(row.rpartition(",")[0].encode())  # all but the last column, when they were scored
    return {
        "engine": engine,
        "workers": workers,
        "seconds": found["seconds"],
        "customers_per_second": round(customers / found["seconds"]),
        "largest_process_mib": max(manifest["computed"]["peak_mib"], found["peak_mib"] if engine == "local" else 0),
        "plans": digest.hexdigest(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=20, help="of each customer")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--ray", action="store_true", help="the same with Ray")
    args = parser.parse_args()
    print(json.dumps(measure(args.customers, args.workers, events=args.events, ray=args.ray), indent=2))
