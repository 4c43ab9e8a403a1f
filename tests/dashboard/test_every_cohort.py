"""Every sort of cohort, by clicking: what a button says is what it does, and no page shows an exception."""

import json

import pytest

from crm_models.cli.commands import main
from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID
from crm_models.data.cohort import Cohort, select
from crm_models.data.storage import load_cohort, save_cohort
from crm_models.runs.folder import RunFolder
from dashboard.jobs.queue import JobFolder


def parts_of(whole: Cohort, sort: str) -> Cohort:
    """A cohort of a sort: customers alone, events alone, both, too few, of one class, with foreign words."""
    people, events = whole.customers, whole.interactions.astype({CUSTOMER_ID: "str", ACTION: "str"})
    tables = {"customers": people, "interactions": events}
    if sort == "labels alone":
        tables["interactions"] = None
    elif sort == "events alone":
        tables["customers"] = None
    elif sort == "tiny":
        few = select(whole, range(6))
        tables = {
            "customers": few.customers,
            "interactions": few.interactions.astype({CUSTOMER_ID: "str", ACTION: "str"}),
        }
    elif sort == "one class":
        tables["customers"] = people.assign(**{CHURNED: False})
    elif sort == "foreign words":
        first, second = sorted(events[ACTION].unique())[:2]
        tables["interactions"] = events.replace({ACTION: {first: "参观 <b>商店</b>", second: "Öffnet: „neu“ | =1+1"}})
    return Cohort.build(name=sort, source="test", as_of=None, **tables)


SORTS = {
    "both": ("Train both models", {"sequence", "churn"}),
    "labels alone": ("Train the churn model", {"churn"}),
    "events alone": ("Train the sequence model", {"sequence"}),
    "one class": ("Train the sequence model", {"sequence"}),
    "foreign words": ("Train both models", {"sequence", "churn"}),
    "tiny": (None, set()),
}


@pytest.mark.parametrize("sort", SORTS)
def test_the_button_says_which_models_it_trains_and_trains_them(workspace, open_page, texts, sort):
    label, models = SORTS[sort]
    folder = workspace / "cohorts" / "part"
    save_cohort(parts_of(load_cohort(workspace / "cohorts" / "small"), sort), folder)
    app = open_page("train", cohort="part")
    assert not app.exception
    if label is None:
        assert app.button("train").disabled
        assert "cannot train a model" in texts(app)
        return
    assert app.button("train").label == label
    app.get_by_key("train_preset").set_value("paper").run()
    app.number_input("train_epochs_paper").set_value(1).run()
    app.button("train").click().run()
    assert not app.exception
    (job,) = JobFolder(workspace).jobs()
    run = workspace / "runs" / job.job.run
    # Exactly what the worker runs; see `dashboard.jobs.worker`.
    assert main(["train", str(folder), "--out", str(run), "--threads", "1", *job.job.arguments, "--quiet"]) == 0
    assert set(RunFolder(run).trained()) == models
    assert json.loads((run / "result.json").read_text())["state"] == "finished"
