"""Benchmark of training: memory and rate for cohorts of any size, mapped from disk beside held in memory.

`python -m crm_models.bench.training [--customers N ...] [--events 50] [--updates 400] [--actions A]`. Memory is
anonymous memory, which the system cannot take back; pages of mapped files, which it can, are in `peak_mib` only.
With `--workers 1 2` it measures what several processes gain, with `--evaluate` the command `evaluate`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from crm_models.bench.quality import configured
from crm_models.bench.speed import MemoryWatch, timed
from crm_models.core.provenance import peak_mib
from crm_models.runs.folder import RunFolder

NARROW = ("sequence.d_model=16", "sequence.d_feedforward=32", "sequence_training.n_epochs=1")
"""A model so small that reading histories is as much of the work as it can be."""

NARROW_CHURN = ("churn.d_model=16", "churn.d_feedforward=32", "churn_training.n_epochs=1")

WARM = 20
"""Updates before the time is taken."""


def measure(customers: int, events: int, updates: int, actions: int | None) -> dict[str, Any]:
    """Figures of `trained` for a lifelike cohort, or a log of `actions` actions, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="crm-training-") as name:
        cohort = Path(name) / "cohort"
        if actions is None:
            made = ["--customers", str(customers), "--events", str(events), "--out", str(cohort), "--quiet"]
            timed(["generate", "--scenario", "lifelike", *made])
        else:
            write_log(cohort, customers, events, actions)
        command = [sys.executable, "-m", __spec__.name, "--train", str(cohort), "--updates", str(updates)]
        found = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        return {"customers": customers, "events": events, "actions": actions or "lifelike"} | json.loads(found.stdout)


def trained(cohort: Path, updates: int) -> dict[str, Any]:
    """Seconds to begin, customers a second and memory (MiB) of `updates` updates of a narrow model and one validation.

    memory_rate_ratio: the rate with all arrays copied to memory, over that with mapped ones.
    """
    from crm_models.runs.pipeline import start_run, training_data

    watch = MemoryWatch()
    config = configured("sequence", 0, NARROW)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="crm-trained-") as out:
        run = start_run(cohort, Path(out) / "run", config)
        started = time.perf_counter()
        data = training_data(run)
        encoded = time.perf_counter()
        mapped = _rate(run.config(), run.encoder(), data, updates)
        figures = {
            "start_s": round(started - began, 1),
            "encode_s": round(encoded - started, 1),
            "customers_per_second": round(mapped),
            "anonymous_mib": watch.anonymous_mib,
            "peak_mib": peak_mib(),
        }
        events = data.arrays.events
        copied = {name: column.copy() for name, column in vars(events).items()}
        columns = {name: getattr(data.arrays, name).copy() for name in ("numeric", "categorical", "behaviour")}
        arrays = replace(data.arrays, events=replace(events, **copied), **columns)
        in_memory = _rate(run.config(), run.encoder(), replace(data, arrays=arrays), updates)
    return figures | {"memory_rate_ratio": round(in_memory / mapped, 3)}


def _rate(config: Any, encoder: Any, data: Any, updates: int) -> float:
    """Customers a second over `updates` updates after the first `WARM`, validation included in memory, not in time."""
    import torch

    from crm_models.models.runtime import prepare_torch
    from crm_models.training.loop import train
    from crm_models.training.objectives import SequenceObjective
    from crm_models.training.state import TrainingState

    prepare_torch(config.threads)
    state, times = TrainingState.start("sequence", config, encoder), list[float]()

    def enough() -> bool:
        times.append(time.perf_counter())
        return len(times) > updates + WARM

    for _ in train(state, data, enough):
        pass
    last, first = times[-1], times[WARM]
    rate = (len(times) - 1 - WARM) * config.sequence_training.batch_size / (last - first)
    few = replace(data, split=replace(data.split, valid=data.split.valid[:5000]))
    with torch.no_grad():
        SequenceObjective(state.module, config.sequence_training, few).valid_loss(state.module)
    return rate


def shared(customers: int, events: int, workers: list[int]) -> dict[str, Any]:
    """Seconds of one epoch of the standard sequence model by so many processes of one thread each, and the gain."""
    with tempfile.TemporaryDirectory(prefix="crm-shared-") as name:
        cohort = Path(name) / "cohort"
        made = ["--customers", str(customers), "--events", str(events), "--out", str(cohort), "--quiet"]
        timed(["generate", "--scenario", "lifelike", *made])
        seconds = {}
        for n in workers:
            out = Path(name) / f"by-{n}"
            options = ["--model", "sequence", "--epochs", "1", "--threads", "1", "--workers", str(n), "--quiet"]
            timed(["train", str(cohort), "--out", str(out), *options])
            seconds[n] = RunFolder(out).status().epochs[-1].seconds
    gain = {n: round(seconds[workers[0]] / taken, 2) for n, taken in seconds.items()}
    return {"customers": customers, "events": events, "epoch_s": seconds, "gain": gain}


def evaluated(customers: int, events: int) -> dict[str, Any]:
    """Seconds and memory (MiB) of `evaluate` in one process, of narrow models after an epoch."""
    with tempfile.TemporaryDirectory(prefix="crm-evaluated-") as name:
        cohort, run = Path(name) / "cohort", Path(name) / "run"
        made = ["--customers", str(customers), "--events", str(events), "--out", str(cohort), "--quiet"]
        timed(["generate", "--scenario", "lifelike", *made])
        narrow = [word for setting in (*NARROW, *NARROW_CHURN) for word in ("--set", setting)]
        timed(["train", str(cohort), "--out", str(run), "--quiet", *narrow])
        report = timed(["evaluate", str(run), "--out", str(Path(name) / "report.json"), "--workers", "1"])
    return {"customers": customers, "events": events, "evaluate": report}


def write_log(folder: Path, customers: int, events: int, actions: int) -> None:
    """A cohort whose actions are drawn by popularity, a quarter of them followed by a fixed one."""
    import numpy as np
    import pandas as pd

    from crm_models.data.cohort import Cohort
    from crm_models.data.storage import save_cohort

    rng = np.random.default_rng(0)
    action = np.minimum((actions ** rng.random(customers * events)).astype(np.int64) - 1, actions - 1)
    follows = rng.random(len(action)) < 0.25
    follows[::events] = False
    at = np.flatnonzero(follows)
    action[at] = (action[at - 1] * 7 + 13) % actions
    names, ids = (pd.Index([f"{letter}{k:07d}" for k in range(n)]) for letter, n in (("a", actions), ("c", customers)))
    log = pd.DataFrame(
        {
            "customer_id": pd.Categorical.from_codes(np.repeat(np.arange(customers), events), categories=ids),
            "action": pd.Categorical.from_codes(action, categories=names),
            "timestamp": np.tile(np.arange(events, dtype=np.float64), customers),
        }
    )
    table = pd.DataFrame({"action": names.astype("str")})
    cohort = Cohort.build(name="log", source="bench.training", customers=None, interactions=log, actions=table)
    save_cohort(cohort, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--events", type=int, default=50, help="of each customer")
    parser.add_argument("--updates", type=int, default=400, help="of the model, after the first few")
    parser.add_argument("--actions", type=int, help="a log with so many actions instead of a lifelike cohort")
    parser.add_argument("--train", type=Path, metavar="COHORT", help="measure in this process, on a cohort that exists")
    parser.add_argument("--workers", type=int, nargs="+", help="measure the gain of so many processes instead")
    parser.add_argument("--evaluate", action="store_true", help="measure `evaluate` instead")
    args = parser.parse_args()
    if args.evaluate:
        found: Any = [evaluated(n, args.events) for n in args.customers]
    elif args.train:
        found = trained(args.train, args.updates)
    elif args.workers:
        found = [shared(n, args.events, args.workers) for n in args.customers]
    else:
        found = [measure(n, args.events, args.updates, args.actions) for n in args.customers]
    print(json.dumps(found, indent=2))
