"""What earlier versions wrote is still read: their cohorts, runs, half-done trainings, settings and imports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from crm_models import workflow
from crm_models.planning import Policy

WRITTEN = [folder for folder in sorted(Path(__file__).parent.iterdir()) if (folder / "runs").is_dir()]


@pytest.fixture(params=WRITTEN, ids=lambda folder: folder.name)
def workspace(request, tmp_path: Path) -> Path:
    """A copy of what that version wrote, its runs pointing to the cohort beside them."""
    shutil.copytree(request.param, tmp_path, dirs_exist_ok=True)
    for file in tmp_path.glob("runs/*/config.json"):
        about = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(about | {"cohort": str(tmp_path / "cohorts" / "lifelike")}), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("mode", ["override", "graded"])
def test_a_finished_run_plans_as_it_did(workspace, mode):
    out = workspace / "now.csv"
    workflow.plan(workspace / "runs" / "finished", out, Policy(threshold=0.25, mode=mode, intensity=1.5), threads=1)
    then, now = (pd.read_csv(file).drop(columns="scored_at") for file in (workspace / f"plans-{mode}.csv", out))
    pd.testing.assert_frame_equal(now, then, rtol=1e-4, atol=1e-5)


def test_a_finished_run_is_evaluated_as_it_was(workspace):
    run = workspace / "runs" / "finished"
    then, now = json.loads((run / "report.json").read_text(encoding="utf-8")), workflow.evaluate(run, threads=1)
    for model, score in (("sequence", "loss"), ("churn", "log_loss"), ("churn", "auc")):
        assert now[model][score] == pytest.approx(then[model][score], rel=1e-4)


def test_a_training_that_an_earlier_version_began_is_finished(workspace):
    run = workspace / "runs" / "interrupted"
    epochs = list(workflow.resume(run, threads=1))
    assert epochs[0].model == "churn"
    assert epochs[0].epoch == 13
    finished = [
        event
        for line in (workspace / "runs" / "finished" / "events.jsonl").read_text(encoding="utf-8").splitlines()
        if (event := json.loads(line))["event"] == "epoch" and event["model"] == "churn"
    ]
    assert [epoch.train_loss for epoch in epochs] == pytest.approx(
        [event["train_loss"] for event in finished[12:]], rel=1e-3
    )
    assert workflow.run_summary(run).startswith(f"{run}: finished")


@pytest.mark.parametrize(
    ("earlier", "today"),
    [
        ("sequence.use_follow_ups=false", "sequence.use_transition_prior=false"),
        ("sequence.use_repeats=false", "sequence.use_repeat_bias=false"),
        ("churn.n_copies=2", "churn.ensemble_size=2"),
        ("sequence_training.muon_stretch=2", "sequence_training.muon_lr_scale=2"),
        ("sequence_training.hide_context=0.1", "sequence_training.context_dropout=0.1"),
        ("churn_training.least_updates=8", "churn_training.min_updates_per_epoch=8"),
        ("churn_training.rehearsal_share=0.1", "churn_training.pretraining_share=0.1"),
        ("churn_training.short_share=0", "churn_training.short_phase_share=0"),
        ("churn_training.refit=false", "churn_training.final_refit=false"),
    ],
)
def test_a_setting_is_understood_by_its_earlier_name(earlier, today):
    config = workflow.run_config(settings=[earlier])
    assert config == workflow.run_config(settings=[today])
    assert config != workflow.run_config()
