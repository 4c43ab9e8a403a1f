"""Benchmark of campaigns: seconds and peak memory of each step for a million customers.

`python -m crm_models.campaigns.benchmark [--customers N]`. Each step runs in a process of its own, whose peak memory
the operating system reports. Scores are drawn at random: what the models take is measured by `crm_models.bench.speed`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from crm_models.campaigns.folder import Campaign

PREPARE = "prepare"

RULES = """name,kind,actions,column,op,value,most,days,counts,pause_days,first,last
no discount for premium,suppress,Provide a discount,tier,is,premium,,,,,,
known customers,eligible,kind:retention,tenure_days,>=,60,,,,,,
known customers,eligible,,churn_probability,>=,0.2,,,,,,
few contacts,cap,kind:retention,,,,12,60,*,,,
pause after calls,suppress,kind:retention,,,,2,90,Call the customer,14,,
"""
OFFERS = """action,channel,cost,success_rate,capacity
Offer proactive support,phone,6,0.15,50000
Send a loyalty offer,email,2,0.08,
Provide a discount,email,10,0.2,100000
"""


def prepare(folder: Path, customers: int) -> None:
    """A cohort, a run with barely trained models, and scores drawn at random."""
    from dataclasses import replace

    from crm_models.core.presets import preset
    from crm_models.core.records import CustomerScores, DecodedPlans
    from crm_models.data.sources.synthetic import ScenarioSettings, generate
    from crm_models.data.storage import save_cohort
    from crm_models.inference.score_store import write_scores
    from crm_models.runs.pipeline import fit, start_run

    cohort, truth = generate(ScenarioSettings(scenario="lifelike", customers=customers, events=20))
    save_cohort(cohort, folder / "cohort", extra={"truth.json": truth.to_json()})
    few, few_truth = generate(ScenarioSettings(scenario="lifelike", customers=200))
    save_cohort(few, folder / "few", extra={"truth.json": few_truth.to_json()})
    config = replace(preset("paper").with_epochs(1), threads=1, device="cpu")
    list(fit(start_run(folder / "few", folder / "run", config, chosen=False, overwrite=False)))
    rng = np.random.default_rng(0)
    steps = np.argsort(rng.random((customers, 12), dtype=np.float32), axis=1)[:, :3] + 1
    p = rng.random((customers, 3))
    scores = CustomerScores(
        customer_id=cohort.customers["customer_id"].to_numpy(),
        churn_p=rng.beta(1.5, 3, customers),
        n_events=np.full(customers, 20),
        plans=DecodedPlans(
            actions=steps, step_p=p, plan_p=p.prod(axis=1), runner_up=np.zeros_like(steps), runner_up_p=np.zeros_like(p)
        ),
    )
    write_scores(folder / "scores.parquet", [scores], key="random")
    (folder / "rules.csv").write_text(RULES, encoding="utf-8")
    (folder / "offers.csv").write_text(OFFERS, encoding="utf-8")


def _make(folder: Path) -> None:
    from crm_models.campaigns import making
    from crm_models.campaigns.offers import read_offers
    from crm_models.campaigns.rules import read_rules
    from crm_models.campaigns.split import Split
    from crm_models.inference.score_store import read_scores
    from crm_models.planning.policy import Policy

    making.new(
        folder / "run",
        folder / "campaign",
        cohort=folder / "cohort",
        policy=Policy(threshold=0.3),
        rules=read_rules(folder / "rules.csv"),
        offers=read_offers(folder / "offers.csv"),
        split=Split(salt="benchmark"),
        scores=read_scores(folder / "scores.parquet"),
    )


def _campaign(folder: Path) -> Campaign:
    from crm_models.campaigns.folder import Campaign

    return Campaign.load(folder / "campaign")


def _allocate(folder: Path) -> None:
    from crm_models.campaigns.budgeting import fund

    campaign = _campaign(folder)
    fund(campaign, money=0.3 * campaign.customers, value=200.0)


def _export(folder: Path, **options: Any) -> None:
    from crm_models.campaigns.exporting import export
    from crm_models.campaigns.presets import ExportOptions

    export(_campaign(folder), folder / "file.csv", ExportOptions(**options))


def _confirm(folder: Path) -> None:
    from crm_models.campaigns.loaded import confirm

    confirm(_campaign(folder), "salesforce")


def _simulate(folder: Path) -> None:
    from crm_models.campaigns.simulation import simulate

    simulate(_campaign(folder))


STEPS: dict[str, Callable[[Path], None]] = {
    "rules and control group": _make,
    "allocation": _allocate,
    "export csv": _export,
    "export salesforce": lambda folder: _export(folder, preset="salesforce"),
    "confirm as loaded": _confirm,
    "export what changed": lambda folder: _export(folder, preset="salesforce", changed_only=True),
    "simulation and reading": _simulate,
}


def measure(customers: int) -> dict[str, Any]:
    """Seconds, peak memory (MiB) and customers a second of every step; the time includes starting Python."""
    with tempfile.TemporaryDirectory(prefix="crm-campaigns-") as name:
        folder = Path(name)
        _timed(PREPARE, folder, customers)  # not here: a child's peak counts from that of its parent
        return {"customers": customers, "cores": os.cpu_count()} | {
            step: _timed(step, folder, customers) for step in STEPS
        }


def _timed(step: str, folder: Path, customers: int) -> dict[str, float]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "crm_models.campaigns.benchmark", "--step", step, str(folder)]
    process = subprocess.Popen([*command, "--customers", str(customers)])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the step {step!r} ended with {process.returncode}")
    seconds = time.perf_counter() - began
    return {
        "seconds": round(seconds, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "customers_per_second": round(customers / seconds),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step is None:
        print(json.dumps(measure(args.customers), indent=2))
    elif args.step[0] == PREPARE:
        prepare(Path(args.step[1]), args.customers)
    else:
        STEPS[args.step[0]](Path(args.step[1]))
