"""`python -m tests.earlier_versions.write NAME`: a small workspace by the present version, kept with each release."""

from __future__ import annotations

import sys
from pathlib import Path

from crm_models import workflow
from crm_models.cli.commands import main
from crm_models.planning import Policy
from crm_models.runs.folder import RunFolder
from dashboard.jobs import scoring
from dashboard.jobs.queue import Job, JobFolder

WIDTHS = ("sequence.d_model=16", "sequence.d_feedforward=32", "churn.d_model=16", "churn.d_feedforward=32")
COMMANDS = (
    "generate --scenario lifelike --customers 120 --seed 3 --out {w}/cohorts/lifelike",
    "train {w}/cohorts/lifelike --out {w}/runs/finished --epochs 2 --threads 1 "
    + " ".join(f"--set {s}" for s in WIDTHS),
    "evaluate {w}/runs/finished --out {w}/runs/finished/report.json --threads 1",
    "campaign new {w}/runs/finished --out {w}/campaigns/small --threshold 0.2 --holdout 0.3 --threads 1",
    "campaign allocate {w}/campaigns/small --budget 60",
    "campaign approve {w}/campaigns/small --who ann",
    "campaign export {w}/campaigns/small --preset salesforce --out {w}/sent.csv",
    "campaign simulate {w}/campaigns/small",
    "tune {w}/cohorts/lifelike --out {w}/runs/search --runs {w}/runs --model churn --trials 2 --epochs 1 --threads 1 "
    "--set churn.d_model=16 --set churn.d_feedforward=32 --set churn.n_blocks=1",
)


class _Queue(JobFolder):
    """A queue whose jobs stay in it."""

    def _start_runner(self) -> None:
        pass


def write(workspace: Path) -> None:
    """Write the workspace; paths in it are those of /workspace."""
    for text in COMMANDS:
        if main(text.format(w=workspace).split()):
            raise SystemExit(2)
    finished = RunFolder(workspace / "runs" / "finished")
    scoring.keep(finished, workspace / "cohorts" / "lifelike")
    for mode in ("override", "graded"):
        policy = Policy(threshold=0.25, mode=mode, intensity=1.5)
        workflow.plan(finished.folder, workspace / f"plans-{mode}.csv", policy, threads=1)
    config = workflow.run_config(preset="paper", epochs=3, threads=1)
    epochs = workflow.train(workspace / "cohorts" / "lifelike", workspace / "runs" / "stopped", config)
    next(epochs)
    epochs.close()
    jobs = _Queue(workspace)
    jobs.add(Job(run="waiting", cohort="lifelike", arguments=("--preset", "paper"), about="paper preset"))
    jobs.note_failure(Job(run="gone", cohort="lifelike"), "no labels")
    for pattern in ("**/*lock", "*.manifest.json", "sent*", "jobs/started"):
        for file in workspace.glob(pattern):
            file.unlink()
    for file in [*workspace.glob("runs/*/*.json"), *workspace.glob("campaigns/*/*.json")]:
        file.write_text(file.read_text(encoding="utf-8").replace(str(workspace), "/workspace"), encoding="utf-8")


if __name__ == "__main__":
    write(Path(__file__).resolve().parent / sys.argv[1])
