"""Home: the state of things in figures, and the one step to take next."""

import shutil

import numpy as np
import pytest

from crm_models.scores import read_scores
from dashboard.jobs import Job, JobFolder


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
