"""Stability in the app: the button queues more seeds; scores, plans and customers show where they disagree."""

from dataclasses import replace

import numpy as np

from crm_models.inference.score_store import read_scores
from crm_models.planning.plans import make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.stability import Stability
from crm_models.runs.folder import RunFolder
from crm_models.runs.stability import FILE, member, write_stability
from crm_models.runs.trained import plan_catalogue
from dashboard.jobs import scoring, worker
from dashboard.jobs.queue import Job, JobFolder


def disagree(run: RunFolder) -> Stability:
    """Three seeds that agree on all customers of the run but the first, whose risk is 0.2 to 0.9."""
    ids = read_scores(run.folder / "scores" / "small.parquet").customer_id
    churn_p = np.full((len(ids), 3), 0.1)
    churn_p[0] = 0.2, 0.9, 0.3
    scores = {"churn": {"auc": [0.4, 0.7, 0.6]}}
    found = Stability(
        seeds=(0, 1, 2), customer_id=ids, churn_p=churn_p, first=np.zeros((len(ids), 3), int), scores=scores
    )
    write_stability(run, found)
    return found


def test_the_button_queues_more_seeds_of_the_run(workspace, open_page, texts):
    app = open_page("evaluate", run="first")
    app.button("train_seeds").click().run()
    assert not app.exception
    (waiting,) = JobFolder(workspace).jobs()
    assert (waiting.job.task, waiting.job.run, waiting.job.arguments) == ("stability", "first", ("--seeds", "5"))
    assert "More seeds are being trained" in texts(app)
    assert "train_seeds" not in {button.key for button in app.button}
    app = open_page("train")
    assert "first on small, 4 more seeds: waiting, number 1 in the queue" in texts(app)


def test_the_worker_trains_them_as_the_command_line_does(workspace, monkeypatch):
    called = []
    monkeypatch.setattr(worker.Runner, "_call", lambda self, job, arguments: called.append(arguments) or 0)
    queue = JobFolder(workspace)
    worker.Runner(queue)._run(
        Job(run="first", cohort="small", task="stability", arguments=("--seeds", "5")), queue.folder / "none"
    )
    (arguments,) = called
    assert arguments[:4] == [
        "stability",
        str(workspace / "runs" / "first"),
        "--cohort",
        str(workspace / "cohorts/small"),
    ]
    assert arguments[-3:] == ["--seeds", "5", "--quiet"]


def test_pages_show_where_the_seeds_disagree(workspace, open_page, texts):
    run = RunFolder(workspace / "runs" / "first")
    found = disagree(run)
    app = open_page("evaluate", run="first")
    assert not app.exception
    assert "Of 120 customers 1 change side of the threshold 0.50, and 0 their first action" in texts(app)
    assert "Over the seeds: churn AUC 0.400 to 0.700." in texts(app)
    app = open_page("plans", run="first")
    assert {metric.label: metric.value for metric in app.metric}["Not confident"] == "1"
    app = open_page("plans", run="first", plans_tab="The plans")
    app.selectbox("confidence").select("not confident").run()
    (listed,) = app.dataframe
    assert listed.value["customer"].tolist() == [found.customer_id[0]]
    app.selectbox("confidence").select("confident").run()
    assert "119 customers" in texts(app)
    app = open_page("customers", run="first", customer=found.customer_id[0])
    assert "3 seeds of this run disagree on this plan. Churn probability 0.20 to 0.90." in texts(app)
    app = open_page("customers", run="first", customer=found.customer_id[1])
    assert "disagree on this plan" not in texts(app)
    # The seeds have planned as a whole, so they say nothing of single steps.
    scoring.keep(run, workspace / "cohorts" / "small", plan_for="steps")
    app = open_page("plans", run="first", plan_for="single steps", plans_tab="The plans")
    assert "Not confident" not in {metric.label for metric in app.metric}
    assert "confidence" not in {box.key for box in app.selectbox}
    app = open_page("customers", run="first", customer=found.customer_id[0], plan_for="single steps")
    assert "disagree on this plan" not in texts(app)


def test_whether_seeds_agree_is_the_same_with_and_without_the_plans(workspace):
    """Also where a graded policy leaves customers at risk the model's first action."""
    run = RunFolder(workspace / "runs" / "first")
    scores = read_scores(run.folder / "scores" / "small.parquet")
    n = len(scores.customer_id)
    rng = np.random.default_rng(0)
    found = Stability(
        seeds=(0, 1), customer_id=scores.customer_id, churn_p=np.tile(rng.random((n, 1)), 2),
        first=rng.integers(0, 2, (n, 2)), scores={},
    )  # fmt: skip
    scores = replace(scores, churn_p=found.churn_p[:, 0])
    for policy in (Policy(), Policy(mode="graded", intensity=0.0), Policy(mode="graded", intensity=2.0)):
        plans = make_plans(scores, plan_catalogue(run, policy), policy)
        assert found.confident(plans).tolist() == found.agree(policy).tolist()
        assert 0 < found.agree(policy).sum() < n


def test_a_damaged_file_is_named_and_the_pages_go_on(workspace, open_page, texts):
    run = RunFolder(workspace / "runs" / "first")
    (run.folder / FILE).write_bytes(b"PAR1 not really")
    app = open_page("evaluate", run="first")
    assert not app.exception
    assert FILE in texts(app)
    assert "Churn" in {tab.label for tab in app.tabs}
    assert not open_page("plans", run="first").exception
    assert member(run, 1).folder.parent == run.folder / "seeds"
