"""A fixed small run through every verb: its numbers change only when somebody means them to.

`python -m tests.fixed_run` prints them at full precision, to be compared before and after a change on one machine;
`python -m tests.fixed_run --record` keeps them for the test. Another processor gives other last digits, and a hundred
updates later other numbers: what is compared there is `early`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from crm_models import workflow
from crm_models.planning.policy import Policy

RECORD = Path(__file__).with_suffix(".json")

SMALL = ("sequence.d_model=16", "sequence.d_feedforward=32", "churn.d_model=16", "churn.d_feedforward=32")
VARIED = ("churn.n_members=2", "sequence_training.average_weights=0.9", "sequence.use_value=false")


def numbers(folder: Path) -> dict[str, Any]:
    """Losses, weights, scores and plans of four runs, by name; `folder` is empty and holds them afterwards."""
    lifelike, random, silent = (folder / name for name in ("lifelike", "random", "silent"))
    workflow.generate(lifelike, scenario="lifelike", customers=240, seed=3)
    workflow.generate(random, scenario="paper", seed=4)
    workflow.import_files(silent, "tables", [_regular_customers(folder / "tables")], churn_days=30.0)
    runs = {
        "standard": (lifelike, workflow.run_config(epochs=28, seed=5, threads=1, settings=SMALL)),
        "varied": (lifelike, workflow.run_config(epochs=3, seed=6, threads=1, settings=(*SMALL, *VARIED))),
        "paper": (random, workflow.run_config(preset="paper", seed=7, threads=1)),
        "inactivity": (silent, workflow.run_config(model="churn", epochs=12, seed=8, threads=1, settings=SMALL)),
    }
    return {name: dict(_of_run(folder / name, *made)) for name, made in runs.items()}


def early(found: dict[str, Any]) -> dict[str, Any]:
    """Of `numbers`, the losses of each model's first two epochs: too early for digits to have grown apart."""
    return {
        run: {name: value[:2] for name, value in facts.items() if name.endswith("loss")} for run, facts in found.items()
    }


def processor() -> str:
    """The name of this machine's processor, as Linux has it; "" elsewhere."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def _of_run(out: Path, cohort: Path, config: Any) -> Iterator[tuple[str, Any]]:
    epochs = list(workflow.train(cohort, out, config))
    for model in config.models:
        yield f"{model} train loss", [epoch.train_loss for epoch in epochs if epoch.model == model]
        yield f"{model} validation loss", [epoch.valid_loss for epoch in epochs if epoch.model == model]
    weights = load_file(out / "weights.safetensors")
    yield "weights", sorted(float(np.abs(own.astype(np.float64)).sum()) for own in weights.values())
    yield "encoder", hashlib.sha256((out / "encoder.json").read_bytes()).hexdigest()
    split = pd.read_parquet(out / "split.parquet")["part"].astype("str")
    yield "split", hashlib.sha256(" ".join(split).encode()).hexdigest()
    report = workflow.evaluate(out, threads=1)
    yield "report", {part: report[part] for part in ("sequence", "churn")}
    for mode, layout in (("override", "wide"), ("graded", "long")):
        policy = Policy(threshold=0.3, mode=mode, intensity=1.5)
        manifest = workflow.plan(out, out / "plans.csv", policy, layout=layout, threads=1)
        plans = pd.read_csv(out / "plans.csv").drop(columns="scored_at").head(12)
        yield f"{mode} plans", json.loads(plans.to_json(orient="split", index=False, double_precision=15))["data"]
        yield f"{mode} counts", manifest["counts"]


def _regular_customers(folder: Path) -> Path:
    """Tables of customers who come every few days, a third of whom stop for good at some time."""
    rng = np.random.default_rng(9)
    rows = []
    for customer in range(260):
        every, left = rng.uniform(3, 12), rng.uniform(60, 260) if rng.random() < 0.5 else np.inf
        days = np.cumsum(rng.exponential(every, 60))
        days = days[(days < 200) & (days < left)]
        actions = rng.choice(["Visit", "Buy", "Call", "Return"], len(days), p=[0.5, 0.3, 0.15, 0.05])
        rows += [
            (f"c{customer:03d}", a, pd.Timestamp(2026, 1, 1) + pd.Timedelta(days=d))
            for a, d in zip(actions, days, strict=True)
        ]
    folder.mkdir()
    table = pd.DataFrame(rows, columns=["customer_id", "action", "timestamp"])
    table.assign(value=rng.gamma(2, 20, len(table)).round(2)).to_csv(folder / "interactions.csv", index=False)
    return folder


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        found = numbers(Path(empty))
    if "--record" in sys.argv:
        recorded = {"processor": processor(), "numbers": found}
        RECORD.write_text(json.dumps(recorded, separators=(",", ":")) + "\n", encoding="utf-8")
    else:
        print(json.dumps(found, indent=1))
