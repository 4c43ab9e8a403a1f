"""What earlier versions wrote is still read: their cohorts, runs, settings and imports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest

from crm_models import campaigns, workflow
from crm_models.campaigns import ledger
from crm_models.campaigns.reading import read
from crm_models.core.engines import InProcess
from crm_models.core.errors import ConfigError, RunError
from crm_models.planning import Policy
from crm_models.runs.folder import RunFolder
from crm_models.runs.held_out import held_out, predict_held_out
from crm_models.runs.tensors import load_tensors, save_tensors
from crm_models.runs.trials import read_search
from crm_models.upkeep.checking import check_workspace
from dashboard.jobs.queue import JobFolder
from dashboard.panels.widgets import PAGES
from tests.dashboard.conftest import ENTRY

WRITTEN = [folder for folder in sorted(Path(__file__).parent.iterdir()) if (folder / "runs").is_dir()]


def copied(written: Path, target: Path) -> Path:
    """A copy of what a version wrote, its runs, searches and campaigns pointing to what lies beside them."""
    shutil.copytree(written, target, dirs_exist_ok=True)
    cohort, run = str(target / "cohorts" / "lifelike"), str(target / "runs" / "finished")
    for pattern in ("runs/*/config.json", "runs/*/tune.json"):
        for file in target.glob(pattern):
            about = json.loads(file.read_text(encoding="utf-8"))
            file.write_text(json.dumps(about | {"cohort": cohort}), encoding="utf-8")
    for file in target.glob("campaigns/*/campaign.json"):
        about = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(about | {"cohort_folder": cohort, "run": run}), encoding="utf-8")
    return target


@pytest.fixture(params=WRITTEN, ids=lambda folder: folder.name)
def workspace(request, tmp_path: Path) -> Path:
    return copied(request.param, tmp_path)


@pytest.fixture
def first_workspace(tmp_path: Path) -> Path:
    """Of the version that averaged several churn models and had a temperature."""
    return copied(WRITTEN[0], tmp_path)


@pytest.fixture
def workspace_with_campaign(tmp_path: Path) -> Path:
    """Of the version before files had checksums."""
    return copied(Path(__file__).parent / "2026-11-26", tmp_path)


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


def test_a_run_of_averaged_models_plans_as_it_did(first_workspace):
    """`strong` was three churn models; a run may still hold them."""
    out = first_workspace / "now.csv"
    workflow.plan(first_workspace / "runs" / "strong", out, Policy(), threads=1)
    then, now = (pd.read_csv(file).drop(columns="scored_at") for file in (first_workspace / "plans-strong.csv", out))
    pd.testing.assert_frame_equal(now, then, rtol=1e-4, atol=1e-5)


def churn_p_of_test_customers(run: RunFolder) -> np.ndarray:
    held = held_out(run, InProcess(threads=1))
    return predict_held_out(run, held, Path(run.about()["cohort"]), InProcess(threads=1))[1].churn_p


def test_the_temperature_of_a_run_is_kept_in_its_output_layer(first_workspace):
    """Log-odds are divided by it, as they were."""
    file = first_workspace / "runs" / "finished" / "weights.safetensors"
    before = churn_p_of_test_customers(RunFolder(file.parent))
    tensors = load_file(file)
    assert tensors["churn.temperature"] == 1  # too few validation customers to fit it
    save_file(tensors | {"churn.temperature": torch.tensor(2.0)}, file)
    after = churn_p_of_test_customers(RunFolder(file.parent))
    np.testing.assert_allclose(np.log(after / (1 - after)), np.log(before / (1 - before)) / 2, rtol=1e-4, atol=1e-6)


def test_a_training_that_an_earlier_version_began_is_refused_with_what_to_do(first_workspace):
    """Its schedule is gone; to go on by another would give a model that neither version trains."""
    with pytest.raises(RunError, match=r"an earlier version began this training.*train a new run"):
        list(workflow.resume(first_workspace / "runs" / "interrupted", threads=1))


def test_a_training_with_an_optimiser_that_is_gone_is_refused_with_what_to_do(workspace_with_campaign):
    """For a while the levels of categories had one of their own, whose state was saved as `levels`."""
    run = workspace_with_campaign / "runs" / "stopped"
    file = run / "checkpoint.safetensors"
    tensors, meta = load_tensors(file, "the state of a training", "")
    save_tensors(file, tensors | {"sequence.levels.0.momentum_buffer": torch.zeros(3, 2)}, meta)
    with pytest.raises(RunError, match=r"an earlier version began this training.*optimiser.*train a new run"):
        list(workflow.resume(run, threads=1))


@pytest.mark.parametrize(
    ("earlier", "today"),
    [
        ("sequence.use_follow_ups=false", "sequence.use_transition_prior=false"),
        ("sequence.use_repeats=false", "sequence.use_repeat_bias=false"),
        ("sequence_training.muon_stretch=2", "sequence_training.muon_lr_scale=2"),
        ("sequence_training.hide_context=0.1", "sequence_training.context_dropout=0.1"),
        ("churn_training.least_updates=8", "churn_training.min_updates_per_epoch=8"),
        ("churn_training.refit=false", "churn_training.final_refit=false"),
    ],
)
def test_a_setting_is_understood_by_its_earlier_name(earlier, today):
    config = workflow.run_config(settings=[earlier])
    assert config == workflow.run_config(settings=[today])
    assert config != workflow.run_config()


@pytest.mark.parametrize(
    "setting",
    [
        "churn.n_copies=1",
        "churn.ensemble_size=1",
        "churn_training.rehearsal_share=0",
        "churn_training.short_share=0",
        "churn_training.calibrate=false",
    ],
)
def test_a_removed_setting_may_be_switched_off_but_not_on(setting):
    assert workflow.run_config(settings=[setting]) == workflow.run_config()
    name, value = setting.split("=")
    on = "true" if value == "false" else "3" if value == "1" else "0.2"
    with pytest.raises(ConfigError, match="was removed"):
        workflow.run_config(settings=[f"{name}={on}"])


# ---- 2026-11-26: with campaign, queue and search ---------------------------------------------------------------------


def test_a_campaign_is_read_and_measured_as_it_was(workspace_with_campaign):
    campaign = campaigns.Campaign.load(workspace_with_campaign / "campaigns" / "small")
    then = campaign.reading()
    assert then["assigned"]["plan"] + then["assigned"]["holdout"] > 0
    now = read(campaign, campaign.outcomes())
    assert now["assigned"] == then["assigned"]
    assert now["difference"] == pytest.approx(then["difference"])
    state = ledger.state(campaign)
    assert state.approved_by == "ann"
    assert ledger.is_fixed(campaign)
    assert len(campaign.decisions()) == campaign.scores().customer_id.size == 120


def test_a_stopped_training_goes_on(workspace_with_campaign):
    run = RunFolder(workspace_with_campaign / "runs" / "stopped")
    assert run.status().state == "interrupted"
    first, *_ = workflow.resume(run.folder, threads=1)
    assert (first.model, first.epoch) == ("sequence", 2)
    assert run.status().state == "finished"


def test_a_search_and_its_trials_are_read(workspace_with_campaign):
    search = read_search(workspace_with_campaign / "runs" / "search")
    assert (search.state, [trial.state for trial in search.trials]) == ("done", ["finished", "finished"])
    assert search.best.loss == min(trial.loss for trial in search.trials)


def test_the_queue_is_read(workspace_with_campaign):
    jobs = JobFolder(workspace_with_campaign)
    assert [(job.job.run, job.state) for job in jobs.jobs()] == [("waiting", "waiting")]
    assert [(failed.job.run, failed.reason) for failed in jobs.failures()] == [("gone", "no labels")]
    assert jobs.damaged() == []


def test_everything_of_an_earlier_version_is_sound(workspace):
    assert check_workspace(workspace).damaged == []


@pytest.mark.pages
def test_every_page_opens_on_the_workspace(workspace, monkeypatch):
    monkeypatch.setenv("CRM_WORKSPACE", str(workspace))
    monkeypatch.setattr(JobFolder, "_start_runner", lambda jobs: None)
    (workspace / "prepared").touch()
    for name in PAGES:
        app = AppTest.from_file(str(ENTRY), default_timeout=120)
        app.query_params["cohort"] = "lifelike"
        app = app.run() if name == "home" else app.switch_page(f"app_pages/{name}.py").run()
        assert [error.message for error in app.exception] == []
        assert {error.value for error in app.error} <= {"**gone** did not start: no labels"}  # a job that had failed
        assert len(app.title) == 1
        assert app.sidebar.selectbox[0].value == "lifelike"
