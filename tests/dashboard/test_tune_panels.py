"""Search for better settings on the training page: started, watched, stopped, gone on with, used and deleted there."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from crm_models import workflow
from crm_models.data.cohort import Cohort
from crm_models.data.storage import load_cohort, save_cohort
from crm_models.runs.folder import RunFolder
from crm_models.runs.trials import FILE, read_search
from dashboard.jobs.queue import Job, JobFolder
from tests.dashboard.test_queue import busy as busy
from tests.dashboard.test_queue import wait_until

NAME = "small-search-churn"
TINY = ("churn.d_model=8", "churn.n_blocks=1", "churn.n_members=1", "churn_training.min_updates_per_epoch=1")


@pytest.fixture(scope="session")
def made_search(made_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a search with three trials on the cohort `small`, made once."""
    runs = tmp_path_factory.mktemp("search")
    cohort = made_workspace / "cohorts" / "small"
    options = {"model": "churn", "trials": 3, "minutes": 60.0, "epochs": 2, "threads": 1, "settings": TINY}
    list(workflow.tune(cohort, runs / NAME, runs=runs, **options))
    return runs


@pytest.fixture
def searched(made_search: Path, made_workspace: Path, workspace: Path) -> Path:
    """The workspace with that search in it."""
    shutil.copytree(made_search, workspace / "runs", dirs_exist_ok=True)
    for file in (*workspace.glob(f"runs/{NAME}*/config.json"), workspace / "runs" / NAME / FILE):
        file.write_text(file.read_text().replace(str(made_workspace), str(workspace)))
    return workspace


def table_of_trials(app):
    return next(d.value for d in app.dataframe if "differs from the preset" in d.value)


def test_a_search_is_queued_with_model_minutes_and_preset(workspace, open_page, texts):
    app = open_page("train")
    app.selectbox("tune_model").set_value("churn")
    app.selectbox("tune_preset").set_value("strong")
    app.number_input("tune_minutes").set_value(5).run()
    next(b for b in app.button if b.label == "Start search").click().run()
    assert not app.exception
    (waiting,) = JobFolder(workspace).jobs()
    assert (waiting.job.run, waiting.job.cohort, waiting.job.task) == (NAME, "small", "tune")
    assert waiting.job.arguments == ("--model", "churn", "--preset", "strong", "--minutes", "5")
    assert f"{NAME} on small, churn model, from strong, 5 min: waiting, number 1" in texts(app)


def test_only_models_that_the_cohort_can_train_are_offered(workspace, open_page):
    whole = load_cohort(workspace / "cohorts" / "small")
    part = Cohort.build(name="part", source="t", customers=None, interactions=whole.interactions)
    save_cohort(part, workspace / "cohorts" / "part")
    assert open_page("train", cohort="part").selectbox("tune_model").options == ["Sequence (next actions)"]


def test_without_optuna_the_page_says_what_to_do_and_still_shows_what_was_found(
    searched, open_page, texts, monkeypatch
):
    monkeypatch.setitem(sys.modules, "optuna", None)
    app = open_page("train")
    assert not app.exception
    assert "The search needs the package Optuna" in texts(app)
    assert "make tune" in texts(app)
    assert not [b for b in app.button if b.label in ("Start search", "Resume search")]
    assert len(table_of_trials(app)) == 3


def test_what_a_search_found_is_told_with_its_trials_the_best_first(searched, open_page, texts):
    found = read_search(searched / "runs" / NAME)
    app = open_page("train")
    assert not app.exception
    trials = table_of_trials(app)
    assert trials["validation loss"].is_monotonic_increasing
    assert trials["state"].iloc[0] == "best"
    assert trials["trial"].iloc[0] == found.best.number
    assert "nothing: this is the preset" in list(trials["differs from the preset"])
    assert f"{found.best.loss:.4f}" in texts(app)


def test_trials_are_runs_in_the_history_and_no_page_follows_them_by_itself(searched, open_page):
    app = open_page("train")
    runs = next(d.value for d in app.dataframe if "churn AUC" in d.value)
    assert {f"{NAME}-01", f"{NAME}-02", f"{NAME}-03"} < set(runs["run"])
    assert app.selectbox("run").value == "second"
    assert app.multiselect("compare_runs").value == ["second"]
    assert open_page("train", run=f"{NAME}-02").selectbox("run").value == f"{NAME}-02"


def test_the_best_settings_are_trained_at_a_click(searched, open_page):
    file = searched / "runs" / NAME / FILE
    about = json.loads(file.read_text())
    about["trials"][2]["loss"] = 0.01
    about["best"] = about["trials"][2] | {"arguments": ["--preset", "standard", "--set", "churn.n_blocks=3"]}
    file.write_text(json.dumps(about))
    app = open_page("train")
    app.button("tune_train").click().run()
    assert not app.exception
    (waiting,) = JobFolder(searched).jobs()
    assert (waiting.job.run, waiting.job.task) == (f"{NAME}-best", "train")
    assert waiting.job.arguments == ("--preset", "standard", "--set", "churn.n_blocks=3")


def test_a_search_that_ended_goes_on_under_its_name(searched, open_page):
    app = open_page("train")
    app.number_input("tune_minutes").set_value(2).run()
    app.button("tune_go_on").click().run()
    (waiting,) = JobFolder(searched).jobs()
    assert (waiting.job.run, waiting.job.task) == (NAME, "tune")
    assert waiting.job.arguments == ("--model", "churn", "--preset", "standard", "--minutes", "2")


def test_a_search_is_deleted_with_its_trials_and_nothing_else(searched, open_page):
    app = open_page("train")
    app.button("tune_delete").click().run()
    assert not app.exception
    assert {f.name for f in (searched / "runs").iterdir() if not f.name.startswith(".")} == {"first", "second"}


def test_a_search_under_way_shows_how_far_it_is_and_can_be_stopped(searched, open_page, texts):
    runs, jobs = searched / "runs", JobFolder(searched)
    about = json.loads((runs / NAME / FILE).read_text())
    about |= {"state": "searching"}
    about["trials"][2]["state"] = "training"
    (runs / NAME / FILE).write_text(json.dumps(about))
    jobs.note(Job(run=NAME, cohort="small", task="tune", about="churn model"), "training")
    with RunFolder(runs / NAME).locked():
        app = open_page("train")
        assert not app.exception
        assert f"Searching: {NAME} on small, churn model" in texts(app)
        assert "Best of 2 trials so far" in texts(app)
        assert list(table_of_trials(app)["state"]).count("training") == 1
        app.button("stop_search").click().run()
        assert jobs.stop_is_asked(NAME)
        assert (runs / NAME / "stop").exists()
        assert app.button("stop_search").disabled
    (jobs.folder / "now.json").unlink()
    app.run()
    assert not app.exception
    best = read_search(runs / NAME).best
    assert app.multiselect("compare_runs").value == [best.run], "whoever watched finds the best trial opened"


def test_a_search_that_has_not_written_anything_yet_says_that_it_starts(workspace, open_page):
    JobFolder(workspace).note(Job(run=NAME, cohort="small", task="tune", about="churn model"), "training")
    app = open_page("train")
    assert not app.exception
    assert [b.label for b in app.button if b.key == "stop_search"] == ["Stop search"]


@pytest.mark.slow
def test_the_runner_searches_stops_when_asked_and_goes_on(busy):
    job = Job(run="s", cohort="c", task="tune", arguments=("--model", "churn", "--minutes", "10"))
    busy.add(job)
    wait_until(lambda: (busy.runs / "s" / FILE).exists() and (busy.runs / "s-01" / "events.jsonl").exists())
    busy.stop("s")
    wait_until(lambda: not busy.jobs())
    assert busy.failures() == []
    assert read_search(busy.runs / "s").state == "stopped"
    busy.add(Job(run="s", cohort="c", task="tune", arguments=("--model", "churn", "--trials", "1")))
    wait_until(lambda: not busy.jobs())
    assert (read_search(busy.runs / "s").state, len(read_search(busy.runs / "s").over)) == ("done", 1)
    assert RunFolder(busy.runs / "s-01").status().state == "finished"
