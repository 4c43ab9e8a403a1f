"""The split by time in the app: chosen in the form, said on the evaluation page, compared with the random split."""

from crm_models import workflow
from crm_models.core.files import write_json
from crm_models.runs.folder import RunFolder
from dashboard.jobs import scoring
from dashboard.jobs.queue import JobFolder


def test_the_form_trains_what_can_be_split_by_time(workspace, open_page, texts):
    app = open_page("train")
    app.selectbox("train_split").set_value("time").run()
    assert "Only the sequence model will be trained: a split by time needs churn labels by inactivity" in texts(app)
    app.text_input("train_split_date").set_value("soon").run()
    assert "must be a date such as 2026-01-31" in texts(app)
    assert app.button("train").disabled
    app.text_input("train_split_date").set_value("2025-12-01").run()
    app.button("train").click().run()
    assert not app.exception
    (waiting,) = JobFolder(workspace).jobs()
    options = dict(zip(waiting.job.arguments[::2], waiting.job.arguments[1::2], strict=True))
    expected = {"--preset": "standard", "--model": "sequence", "--seed": "0"}
    assert options == expected | {"--split": "time", "--split-date": "2025-12-01"}


def test_evaluation_and_comparison_say_how_much_is_lost(workspace, open_page, texts):
    cohort, run = workspace / "cohorts" / "small", workspace / "runs" / "later"
    config = workflow.run_config(preset="paper", epochs=3, seed=0, threads=1, split="time")
    list(workflow.train(cohort, run, config))
    write_json(run / "report.json", workflow.evaluate(run, threads=1))
    scoring.keep(RunFolder(run), cohort)
    app = open_page("evaluate", run="later")
    assert not app.exception
    assert "learned what was known by 2026-01-01 00:00:00" in texts(app)
    assert "against the random split (first; 95%: " in texts(app)
    app = open_page("train")
    app.multiselect("compare_runs").set_value(["later", "first"]).run()
    assert not app.exception
    assert "Lost by the split by time" in texts(app)
