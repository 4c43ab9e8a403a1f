"""Damaged files: named with what to do, contained to what needs them. More by chance: `python -m tests.faults`."""

import json
import re
import shutil
from pathlib import Path

import pytest

from dashboard.jobs import paper as paper_job
from dashboard.jobs.queue import Job, JobFolder
from dashboard.jobs.worker import Runner
from dashboard.state import store

NEEDED = ("config.json", "encoder.json", "result.json", "schema.json", "split.parquet")
"""Files of a run that every prediction needs, beside its weights."""


def flip(file: Path) -> None:
    """Change one bit in the middle of a file, and its time, as a write would."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("kind", ["other", "half", "bit"])
@pytest.mark.parametrize("name", NEEDED)
def test_each_damaged_file_of_a_run_is_named_with_what_to_do(workspace, name, kind):
    file = workspace / "runs" / "second" / name
    whole = file.read_bytes()
    flip(file) if kind == "bit" else file.write_bytes(b"[]" if kind == "other" else whole[: len(whole) // 2])
    (trouble,) = store.damaged_runs().items()
    assert trouble[0] == "second"
    assert str(file) in trouble[1]
    assert re.search("train it again|delete it", trouble[1])
    assert [card.run_id for card in store.run_cards()] == ["first"]


@pytest.fixture
def damaged_workspace(workspace) -> Path:
    """The newest run, the newest cohort, a campaign, files of the queue and the paper's re-run are damaged at once."""
    flip(workspace / "runs" / "second" / "encoder.json")
    for name, marker in (("cohorts/newest", "cohort.json"), ("campaigns/newest", "campaign.json")):
        (workspace / name).mkdir(parents=True)
        (workspace / name / marker).write_text('{"format": 1, "name": 3}')
    for name in ("jobs/queue/1-x.json", "jobs/now.json", "jobs/failed/z.json", "paper/demonstration.json"):
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text('{"run": 1}')
    return workspace


PAGES = ("home", "cohort", "train", "evaluate", "attention", "customers", "plans", "campaigns", "paper")


@pytest.mark.parametrize("page", PAGES)
def test_much_damage_breaks_no_page_and_the_others_work_with_what_is_sound(damaged_workspace, open_page, page):
    app = open_page(page)
    assert not app.exception
    assert len(app.title) == 1
    assert app.selectbox("cohort").value == "small"
    assert app.selectbox("run").value == "first"


def test_a_damaged_newest_run_is_named_at_home_which_shows_the_next_one(damaged_workspace, open_page, texts):
    said = texts(open_page("home"))
    assert "The run second cannot be read:" in said
    assert "encoder.json" in said
    assert "Highest churn risk" in said


def test_a_link_to_a_damaged_run_says_why_it_cannot_be_opened(damaged_workspace, open_page, texts):
    said = texts(open_page("plans", run="second"))
    assert "encoder.json" in said


def test_a_damaged_campaign_is_named_and_can_be_deleted(damaged_workspace, open_page, texts):
    app = open_page("campaigns")
    assert "The campaign newest cannot be read:" in texts(app)
    app.button("delete_damaged_newest").click().run()
    assert not (damaged_workspace / "campaigns" / "newest").exists()
    assert not app.exception


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"run": 1}', "\0"])
def test_a_damaged_file_in_the_queue_stops_nobody(workspace, open_page, texts, content):
    jobs = JobFolder(workspace)
    jobs.add(Job(run="x", cohort="small"))
    for file in (jobs.waiting()[0], jobs.folder / "now.json", jobs.folder / "failed" / "z.json"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    for page in ("home", "train"):
        app = open_page(page)
        assert not app.exception
    assert texts(app).count("expected a job, found it damaged") == 3
    jobs.add(Job(run="y", cohort="small"))
    assert [job.job.run for job in jobs.jobs()] == ["y"]


def test_the_worker_leaves_a_damaged_job_out_and_says_so(workspace):
    jobs = JobFolder(workspace)
    jobs.add(Job(run="x", cohort="small"))
    (bad,) = jobs.waiting()
    bad.write_text("{}")
    (jobs.folder / "now.json").mkdir()
    Runner(jobs).work()
    assert jobs.waiting() == []
    assert not (jobs.folder / "now.json").exists()
    assert [failure.job.run for failure in jobs.failures()] == ["x"]
    assert str(bad) in jobs.failures()[0].reason


def test_a_damaged_report_is_named_as_missing_and_asked_for_anew(workspace, open_page, texts):
    report = workspace / "runs" / "second" / "report.json"
    report.write_text("[]")
    app = open_page("evaluate")
    assert "Scoring all customers" in texts(app)
    assert not report.exists(), "the worker writes only what is missing"
    assert [job.job.task for job in JobFolder(workspace).jobs()] == ["score"]


@pytest.mark.parametrize("content", ["{}", "[]", "\0", json.dumps({"result": 3, "stage": "done"})])
def test_a_damaged_rerun_of_the_paper_is_named(workspace, open_page, texts, content):
    file = paper_job.state_file(workspace / paper_job.FOLDER)
    file.parent.mkdir()
    file.write_text(content)
    app = open_page("paper")
    assert not app.exception
    assert "demonstration.json: damaged" in texts(app)


def test_a_damaged_run_can_be_deleted_on_the_training_page(workspace, open_page, texts):
    (workspace / "runs" / "second" / "config.json").write_text("{")
    app = open_page("train")
    assert "The run second cannot be read:" in texts(app)
    app.button("delete_damaged_second").click().run()
    assert not (workspace / "runs" / "second").exists()
    assert not app.exception


def test_half_a_cohort_names_the_missing_table(workspace, open_page, texts):
    (workspace / "cohorts" / "small" / "customers.parquet").unlink()
    assert "customers.parquet" in texts(open_page("home", cohort="small"))
    shutil.rmtree(workspace / "cohorts" / "small")
    assert not open_page("home").exception
