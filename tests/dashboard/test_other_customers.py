"""Other customers scored with a run, by clicking: compared before, and with the last scores after."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crm_models.data.cohort import select
from crm_models.data.storage import load_cohort, save_cohort
from dashboard.jobs.queue import JobFolder
from dashboard.jobs.worker import Runner


@pytest.fixture
def months(workspace, monkeypatch):
    """The workspace with two more cohorts: `march` (100 of the 120 customers, richer) and `broken` (income is text)."""
    small = load_cohort(workspace / "cohorts" / "small")
    march = select(small, np.arange(20, 120))
    richer = march.customers.assign(income=march.customers["income"] * 2)
    save_cohort(replace(march, customers=richer), workspace / "cohorts" / "march")
    text = march.customers["income"].astype("str").where(march.customers.index != 3, "unknown")
    save_cohort(replace(march, customers=march.customers.assign(income=text)), workspace / "cohorts" / "broken")
    return workspace


def score(workspace) -> None:
    """What the worker does with the queued jobs, in this process."""
    from dashboard.jobs import command

    jobs = JobFolder(workspace)
    for file in jobs.waiting():
        job = jobs.read(file)
        arguments = [str(workspace / "runs" / job.run), str(workspace / "cohorts" / job.cohort), *job.arguments]
        status = command._score_customers(*arguments)
        if status:
            jobs.note_failure(job, "said by the command")
        file.unlink()


def opened(open_page, name):
    app = open_page("plans", cohort="small", run="second")
    app.session_state["others"] = True
    app.run()
    app.selectbox("other_cohort").set_value(name).run()
    assert not app.exception
    return app


def test_another_cohort_is_compared_scored_and_compared_with_the_last_scores(months, open_page, texts):
    app = opened(open_page, "march")
    assert "Compared with the training customers" in texts(app)
    assert "'income' is outside the range for" in texts(app)
    app.button("score_others").click().run()
    (job,) = JobFolder(months).jobs()
    assert (job.job.task, job.job.run, job.job.cohort, job.job.arguments) == ("score-others", "second", "march", ())
    assert "Scoring these customers" in texts(app)
    score(months)
    app.run()
    assert not app.exception
    shown = {metric.label: metric.value for metric in app.metric}
    assert (shown["New"], shown["Gone"]) == ("0", "20")
    assert "Other plan" in shown
    assert "Download their plans (CSV)" in [button.proto.label for button in app.get("download_button")]
    app.get_by_key("changes_shown").set_value("gone").run()
    assert not app.exception
    listed = app.dataframe[-1].value
    assert (
        listed["customer"].tolist() == load_cohort(months / "cohorts" / "small").customers["customer_id"][:20].tolist()
    )
    assert "before" not in listed
    assert "These 20 customers (CSV)" in [button.proto.label for button in app.get("download_button")]


def test_customers_who_do_not_fit_are_refused_until_the_viewer_insists(months, open_page, texts):
    app = opened(open_page, "broken")
    assert "held numbers in training; the first that is none: 'unknown'" in texts(app)
    assert app.button("score_others").disabled
    app.checkbox("allow_drift").check().run()
    app.button("score_others").click().run()
    (job,) = JobFolder(months).jobs()
    assert job.job.arguments == ("--allow-drift",)
    score(months)
    app.run()
    assert not app.exception
    assert {m.label: m.value for m in app.metric}["Gone"] == "20"


def test_without_another_cohort_it_says_where_to_get_one(workspace, open_page, texts):
    app = open_page("plans")
    app.session_state["others"] = True
    app.run()
    assert "Bring this month's customers in on the Cohort page" in texts(app)


def test_ids_can_be_downloaded_exactly(workspace, open_page):
    from crm_models.planning import Policy
    from dashboard.panels import customer_list
    from dashboard.panels.plans import Bound, Export
    from dashboard.state import store

    card = store.run_card("second")
    scores = store.scores(card)
    phones = replace(scores, customer_id=np.array([f"+49{k}" for k in range(120)], object))
    bound = Bound(policy=Policy(), filter=customer_list.Filter())
    for exact in (False, True):
        export = Export(card, phones, store.risk_index(card), bound, scope="all", layout="wide", api_exact=exact)
        file = export.file()
        first = pd.read_csv(file, dtype=str)["customer_id"].iloc[0]
        assert first == ("+490" if exact else "'+490")
        manifest = json.loads(file.with_name(f"{file.stem}.manifest.json").read_text())
        assert manifest["text"] == ("exact" if exact else "spreadsheet-safe")


def test_the_worker_scores_the_named_cohort_alone(months):
    from dashboard.jobs.queue import Job

    (months / "runs" / "second" / "report.json").unlink()
    calls = []
    runner = Runner(JobFolder(months))
    runner._call = lambda job, arguments: calls.append(arguments) or 0
    runner._score(Job(run="second", cohort="march", task="score-others", arguments=("--allow-drift",)))
    assert calls == [["score", str(months / "runs" / "second"), str(months / "cohorts" / "march"), "--allow-drift"]]
