"""Benchmark of scoring on one thread: decoding and churn probabilities, as a share of the rate of matrix products.

`python -m crm_models.bench.scoring [--customers 1024] [--events 50] [--rounds 25]`. The product of two matrices,
decoding and churn take turns; of each the least and the median processor time count, so that a busy machine matters
little.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crm_models.bench.rates import MATRIX, gigaflops_of
from crm_models.bench.speed import timed
from crm_models.data.storage import load_cohort
from crm_models.runs.folder import RunFolder
from crm_models.runs.trained import load_models


def measure(customers: int, events: int, rounds: int) -> dict[str, Any]:
    """Microseconds a customer, and the share of the rate of matrix products, of the standard preset after an epoch."""
    import torch

    from crm_models.inference.decoding import churn_probabilities, decode_plans

    with tempfile.TemporaryDirectory(prefix="crm-scoring-") as name:
        cohort, run = Path(name) / "cohort", Path(name) / "run"
        made = ["--customers", str(customers), "--events", str(events), "--out", str(cohort), "--quiet"]
        timed(["generate", "--scenario", "lifelike", *made])
        timed(["train", str(cohort), "--out", str(run), "--epochs", "1", "--quiet"])
        models = load_models(RunFolder(run), threads=1)
        loaded = load_cohort(cohort)
    arrays, (one, other) = models.encoder.encode(loaded, loaded.as_of), torch.rand(2, MATRIX, MATRIX)
    work: dict[str, Callable[[], object]] = {
        "product": lambda: one @ other,
        "decoding": lambda: decode_plans(models.sequence, arrays, models.encoder),  # type: ignore[arg-type]  # trained above
        "churn": lambda: churn_probabilities(models.churn, arrays),  # type: ignore[arg-type]  # trained above
    }
    gigaflops = {name: gigaflops_of(do) for name, do in work.items()}
    seconds = np.array([[_processor_seconds(do) for do in work.values()] for _ in range(rounds)])
    found: dict[str, Any] = {"customers": customers, "events": events, "rounds": rounds}
    for word, (product, decoding, churn) in (("least", seconds.min(axis=0)), ("median", np.median(seconds, axis=0))):
        rate = gigaflops["product"] / product
        done = gigaflops["decoding"] + gigaflops["churn"]
        found[word] = {
            "product_gflops": round(rate, 1),
            "decoding_us": round(decoding / customers * 1e6),
            "churn_us": round(churn / customers * 1e6),
            "matrix_share": round(done / (decoding + churn) / rate, 3),
        }
    return found


def _processor_seconds(do: Callable[[], object]) -> float:
    began = time.process_time()
    do()
    return time.process_time() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1024)
    parser.add_argument("--events", type=int, default=50, help="of each customer")
    parser.add_argument("--rounds", type=int, default=25)
    args = parser.parse_args()
    print(json.dumps(measure(args.customers, args.events, args.rounds), indent=2))
