"""One damaged or half-deleted file: every page names it or does without it, and none shows an exception."""

import json
import shutil

import pytest

from dashboard.jobs import paper as paper_job
from dashboard.jobs.queue import Job, JobFolder
from dashboard.jobs.worker import Runner

FILES = {
    "cohorts/small/cohort.json": ("home", "customers"),
    "cohorts/small/customers.parquet": ("cohort", "customers"),
    "cohorts/small/interactions.parquet": ("cohort", "customers"),
    "cohorts/small/actions.parquet": ("cohort", "train"),
    "runs/second/config.json": ("home", "train"),
    "runs/second/encoder.json": ("plans", "customers"),
    "runs/second/events.jsonl": ("home", "train"),
    "runs/second/report.json": ("home", "evaluate"),
    "runs/second/result.json": ("home", "train"),
    "runs/second/scores/small.parquet": ("home", "plans"),
    "runs/second/split.parquet": ("evaluate", "attention"),
    "runs/second/weights.safetensors": ("attention", "customers"),
}
"""Each file, and two pages that read it."""


@pytest.mark.parametrize("kind", ["other", "half"])
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_breaks_no_page(workspace, open_page, file, kind):
    damaged = workspace / file
    whole = damaged.read_bytes()
    damaged.write_bytes(b"[]" if kind == "other" else whole[: len(whole) // 2])
    for page in FILES[file]:
        app = open_page(page, cohort="small", run="second", customer="C000001")
        assert not app.exception, page
        assert len(app.title) == 1


@pytest.mark.parametrize("kind", ["gone", "folder"])
@pytest.mark.parametrize("file", ["cohorts/small/cohort.json", "runs/second/encoder.json", "runs/second/report.json"])
def test_a_file_that_is_gone_or_no_file_breaks_no_page(workspace, open_page, file, kind):
    (workspace / file).unlink()
    if kind == "folder":
        (workspace / file).mkdir()
    for page in FILES[file]:
        assert not open_page(page, cohort="small", run="second", customer="C000001").exception, page


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
