"""Home: the state of things in figures, and the one step to take next."""

import json
import shutil

import numpy as np
import pytest

from crm_models.inference.score_store import read_scores
from dashboard.jobs.queue import Job, JobFolder


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_the_figures_are_those_of_the_cohort_and_of_the_run(workspace, open_page):
    app = open_page("home")
    everybody = read_scores(workspace / "runs" / "second" / "scores" / "small.parquet")
    shown = metrics(app)
    assert shown["Customers"] == "120"
    assert shown["Customers at risk"] == str(int((np.round(everybody.churn_p, 6) > 0.5).sum()))
    assert shown["Run"] == "Paper"


def test_the_riskiest_customers_come_first_with_three_steps(workspace, open_page):
    table = open_page("home").dataframe[0].value
    everybody = read_scores(workspace / "runs" / "second" / "scores" / "small.parquet")
    assert table["customer"].iloc[0] == everybody.customer_id[np.argmax(everybody.churn_p)]
    assert table["churn probability"].is_monotonic_decreasing
    assert (table[["step 1", "step 2", "step 3"]] != "").all().all()


def test_without_a_cohort_it_says_where_to_get_one(empty_workspace, open_page, texts):
    app = open_page("home")
    assert "No customers yet" in texts(app)
    assert [b.label for b in app.button] == ["Get a cohort"]


def test_without_a_run_the_next_step_is_training(workspace, open_page):
    shutil.rmtree(workspace / "runs")
    app = open_page("home")
    assert not app.exception
    assert app.button("next_step").label == "Train both models"
    assert metrics(app)["Customers at risk"] == "–"


def test_while_something_is_trained_it_says_so_honestly(workspace, open_page, texts):
    JobFolder(workspace).add(Job(run="new", cohort="small"))
    assert "A training is about to begin" in texts(open_page("home"))


def test_a_run_without_scores_asks_for_them_once(workspace, open_page, texts):
    shutil.rmtree(workspace / "runs" / "second" / "scores")
    app = open_page("home")
    assert "Scoring all customers" in texts(app)
    app.run()
    assert [(j.job.run, j.job.task) for j in JobFolder(workspace).jobs()] == [("second", "score")]


@pytest.mark.parametrize("damage", ["cohort.json", "customers.parquet"])
def test_a_damaged_cohort_breaks_no_page(workspace, open_page, texts, damage):
    (workspace / "cohorts" / "small" / damage).write_bytes(b"\x00damaged")
    for page in ("home", "cohort", "train"):
        app = open_page(page)
        assert not app.exception
        assert len(app.title) == 1


def test_a_damaged_run_is_left_out(workspace, open_page):
    (workspace / "runs" / "second" / "config.json").write_text("{")
    app = open_page("home")
    assert not app.exception
    assert app.selectbox("run").options == ["first"]


def fail(workspace, run: str, reason: str) -> None:
    result = workspace / "runs" / run / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"state": "failed", "reason": reason, "models": {}}))


def test_a_failed_run_gives_way_to_one_that_can_be_used(workspace, open_page, texts):
    fail(workspace, "second", "the loss was NaN")
    app = open_page("home")
    assert not app.exception
    assert app.selectbox("run").value == "first"
    assert metrics(app)["Run"] == "Paper"
    assert "NaN" not in texts(app)


def test_where_every_run_failed_it_says_why_and_offers_to_train_again(workspace, open_page, texts):
    for run in ("first", "second"):
        fail(workspace, run, "no <b>space</b> left")
    app = open_page("home")
    assert not app.exception
    assert "The last training on this cohort failed: no <b>space</b> left" in texts(app)
    assert app.button("next_step").label == "Train both models"
    assert metrics(app)["Run"] == "none yet"


def test_the_scores_stand_between_chance_and_ceiling(workspace, open_page):
    report = json.loads((workspace / "runs" / "second" / "report.json").read_text())
    figure = json.loads(open_page("home").get("plotly_chart")[0].proto.spec)
    shown = {text for trace in figure["data"] if trace.get("text") for text in trace["text"]}
    churn = report["churn"]
    for value in (churn["auc"], churn["chance"]["auc"], churn["ceiling"]["auc"], report["sequence"]["step_accuracy"]):
        assert f"{value:.3f}" in shown
