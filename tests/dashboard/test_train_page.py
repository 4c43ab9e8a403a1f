"""Train: settings become the options of the command line; the training under way, failures, history, comparison."""

import json
import shutil

import pytest

from crm_models import workflow
from crm_models.runs.folder import RunFolder
from dashboard.jobs.queue import Job, JobFolder
from dashboard.panels import train as train_panels
from dashboard.panels import train_form


def train_button(app):
    return app.button("train")


def test_train_both_models_queues_what_was_set(workspace, open_page, texts):
    app = open_page("train")
    app.number_input("train_epochs_standard").set_value(7)
    app.number_input("train_seed").set_value(3)
    app.text_input("train_name").set_value("My run")
    app.number_input("set_standard_sequence.d_model").set_value(48)
    app.checkbox("set_standard_churn.use_behaviour").uncheck()
    app.run()
    train_button(app).click().run()
    assert not app.exception
    (waiting,) = JobFolder(workspace).jobs()
    assert (waiting.job.run, waiting.job.cohort, waiting.job.about) == (
        "my-run",
        "small",
        "standard preset, 2 settings changed",
    )
    assert waiting.job.arguments == (
        *("--preset", "standard", "--seed", "3", "--epochs", "7"),
        *("--set", "sequence.d_model=48", "--set", "churn.use_behaviour=false"),
    )
    assert "waiting, number 1 in the queue" in texts(app)


def test_each_model_shows_and_keeps_its_own_learning(workspace, open_page):
    app = open_page("train")
    standard = workflow.run_config(preset="standard")
    for model in ("sequence", "churn"):
        shown = app.number_input(f"set_standard_{model}_training.learning_rate").value
        assert shown == standard.training(model).learning_rate
    assert app.number_input("train_epochs_standard").value is None
    assert app.number_input("train_epochs_standard").placeholder == "30 and 50"
    app.selectbox("train_models").set_value("churn").run()
    assert app.number_input("train_epochs_standard").placeholder == "50"
    app.number_input("set_standard_churn_training.learning_rate").set_value(3e-3)
    app.number_input("train_epochs_standard").set_value(30).run()
    train_button(app).click().run()
    (waiting,) = JobFolder(workspace).jobs()
    assert waiting.job.arguments == (
        *("--preset", "standard", "--model", "churn", "--seed", "0", "--epochs", "30"),
        *("--set", "churn_training.learning_rate=0.003"),
    )


def test_the_options_are_understood_by_the_command_line(workspace, open_page):
    app = open_page("train")
    app.get_by_key("train_preset").set_value("strong").run()
    train_button(app).click().run()
    (waiting,) = JobFolder(workspace).jobs()
    options = dict(zip(waiting.job.arguments[::2], waiting.job.arguments[1::2], strict=True))
    assert options == {"--preset": "strong", "--seed": "0"}
    assert workflow.run_config(preset="strong").preset == "strong"


def test_settings_that_do_not_go_together_say_so_and_start_nothing(workspace, open_page, texts):
    app = open_page("train")
    app.number_input("set_standard_sequence.n_heads").set_value(7).run()
    assert "is not a multiple of n_heads=7" in texts(app)
    assert train_button(app).disabled


def test_several_trainings_queue_up_and_one_can_be_removed(workspace, open_page):
    app = open_page("train")
    for _ in range(3):
        train_button(app).click().run()
    names = [j.job.run for j in JobFolder(workspace).jobs()]
    assert names == ["small-standard", "small-standard-2", "small-standard-3"]
    app.button("remove_2").click().run()
    assert [j.job.run for j in JobFolder(workspace).jobs()] == ["small-standard", "small-standard-3"]


def test_a_run_that_waits_for_two_things_has_two_lines(workspace, open_page):
    for task in ("stability", "score"):
        JobFolder(workspace).add(Job(run="first", cohort="small", task=task, about=task))
    app = open_page("train")
    assert not app.exception
    app.button("remove_2").click().run()
    assert JobFolder(workspace).jobs() == []


def test_the_first_point_is_awaited_until_an_epoch_is_there(workspace, monkeypatch):
    live = workspace / "runs" / "live"
    shutil.copytree(workspace / "runs" / "first", live)
    (live / "result.json").unlink()
    jobs, events = JobFolder(workspace), (live / "events.jsonl").read_text().splitlines(keepends=True)
    assert not train_panels._first_point_awaited()
    jobs.note(Job(run="live", cohort="small"), "training")
    with RunFolder(live).locked():
        (live / "events.jsonl").write_text("".join(line for line in events if '"epoch"' not in line))
        assert train_panels._first_point_awaited()
        (live / "events.jsonl").write_text("".join(events))
        assert not train_panels._first_point_awaited()


def test_a_training_under_way_shows_its_curves_and_can_be_stopped(workspace, open_page, texts):
    live = workspace / "runs" / "live"
    shutil.copytree(workspace / "runs" / "first", live)
    for file in ("result.json", "report.json"):
        (live / file).unlink()
    jobs = JobFolder(workspace)
    jobs.note(Job(run="live", cohort="small", about="paper preset"), "training")
    with RunFolder(live).locked():
        app = open_page("train")
        assert not app.exception
        assert "Training: live" in texts(app)
        assert "Table III" in app.get("plotly_chart")[0].proto.spec
        assert app.get("progress")[0].value > 0
        app.button("stop").click().run()
        assert jobs.stop_is_asked("live")
        assert RunFolder(live).stop_requested()


def test_a_failed_training_shows_its_reason(workspace, open_page, texts):
    result = workspace / "runs" / "second" / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"state": "failed", "reason": "<b>loss</b> was NaN"}))
    app = open_page("train")
    assert not app.exception
    assert "The training failed: <b>loss</b> was NaN" in texts(app)
    assert app.selectbox("run").value == "first"


def test_a_training_that_never_began_shows_its_reason_until_dismissed(workspace, open_page, texts):
    jobs = JobFolder(workspace)
    failed = {"job": {"run": "x", "cohort": "small", "task": "train", "arguments": [], "about": ""}, "at": 1.0}
    (jobs.folder / "failed").mkdir(parents=True)
    (jobs.folder / "failed" / "x.json").write_text(json.dumps(failed | {"reason": "expected labels, found none"}))
    app = open_page("train")
    assert "x did not start: expected labels, found none" in texts(app)
    app.button("dismiss_x").click().run()
    assert jobs.failures() == []


def test_an_interrupted_run_can_go_on(workspace, open_page, texts):
    (workspace / "runs" / "second" / "result.json").unlink()
    app = open_page("train")
    assert "was interrupted" in texts(app)
    next(b for b in app.button if b.label == "Resume training").click().run()
    assert [(j.job.run, j.job.task) for j in JobFolder(workspace).jobs()] == [("second", "resume")]


def test_a_trained_run_that_waits_for_its_scores_shows_its_curves(workspace, open_page, texts):
    (workspace / "runs" / "second" / "report.json").unlink(missing_ok=True)
    JobFolder(workspace).add(Job(run="second", cohort="small", task="score"))
    app = open_page("train", run="second")
    assert not app.exception
    assert "second: waiting" in texts(app).replace("*", "")
    assert "at the top of this page" not in texts(app)
    assert len(app.get("plotly_chart")) >= 2


def test_two_runs_are_compared_by_which_is_better_and_what_differs(workspace, open_page, texts):
    app = open_page("train")
    app.multiselect("compare_runs").set_value(["first", "second"]).run()
    assert not app.exception
    differ = next(d.value for d in app.dataframe if "setting" in d.value)
    assert differ["setting"].tolist() == ["Seed"]
    assert differ[["second", "first"]].values.tolist() == [["1", "0"]]
    text = texts(app)
    assert text.index("Which is better") < text.index("Settings that differ")
    assert "held-out customers" in text or "that both held out" in text
    scores = next(d.value for d in app.dataframe if "score" in d.value)
    assert {"chance", "first", "second", "ceiling"} <= set(scores.columns)


def test_a_run_is_deleted_with_its_log_after_a_second_click(workspace, open_page):
    (workspace / "runs" / "second.log").write_text("said")
    app = open_page("train")
    app.button("delete_run").click().run()
    assert not app.exception
    assert not (workspace / "runs" / "second").exists()
    assert not (workspace / "runs" / "second.log").exists()
    assert app.selectbox("run").value == "first"


@pytest.mark.parametrize(
    ("keep", "said"), [("customers", "needs interactions"), ("interactions", "needs churn labels")]
)
def test_what_a_cohort_cannot_train_is_said_before(workspace, open_page, texts, keep, said):
    from crm_models.data.cohort import Cohort
    from crm_models.data.storage import load_cohort, save_cohort

    whole = load_cohort(workspace / "cohorts" / "small")
    part = Cohort.build(
        name="part",
        source="test",
        customers=whole.customers if keep == "customers" else None,
        interactions=whole.interactions if keep == "interactions" else None,
    )
    save_cohort(part, workspace / "cohorts" / "part")
    app = open_page("train", cohort="part")
    assert not app.exception
    assert said in texts(app)
    assert not open_page("cohort", cohort="part").exception
    assert not open_page("home", cohort="part").exception


def test_a_training_that_ends_while_somebody_watches_is_opened_below(workspace, open_page, texts):
    live = workspace / "runs" / "live"
    shutil.copytree(workspace / "runs" / "first", live)
    result = live / "result.json"
    told = result.read_text()
    result.unlink()
    jobs = JobFolder(workspace)
    jobs.note(Job(run="live", cohort="small", about="paper preset"), "training")
    with RunFolder(live).locked():
        app = open_page("train")
        app.multiselect("compare_runs").set_value(["second", "first"]).run()
    result.write_text(told)
    (jobs.folder / "now.json").unlink()
    app.run()
    assert not app.exception
    assert app.multiselect("compare_runs").value == ["live"]
    assert "live: finished, paper preset" in texts(app)


def test_a_run_that_is_deleted_while_looked_at_gives_way_to_the_newest(workspace, open_page):
    app = open_page("train")
    app.multiselect("compare_runs").set_value(["first"]).run()
    shutil.rmtree(workspace / "runs" / "first")
    app.run()
    assert not app.exception
    assert app.multiselect("compare_runs").value == ["second"]


def test_three_runs_compared_show_what_differs_their_curves_and_scores(workspace, open_page, texts):
    shutil.copytree(workspace / "runs" / "second", workspace / "runs" / "third")
    app = open_page("train")
    app.multiselect("compare_runs").set_value(["first", "second", "third"]).run()
    assert not app.exception
    differs = next(d.value for d in app.dataframe if "setting" in d.value and len(d.value) < 10)
    seeds = differs[differs["setting"] == "Seed"].iloc[0]
    assert (seeds["first"], seeds["second"], seeds["third"]) == ("0", "1", "1")
    drawn = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    assert [len(fig["data"]) for fig in drawn] == [4, 4], "three runs and chance, for each model"
    assert len({(t["line"]["color"], t["line"]["dash"]) for t in drawn[0]["data"]}) == 4
    assert "Scores on held-out customers" in texts(app)


def test_runs_of_the_same_split_are_compared_with_an_interval(workspace, open_page, texts):
    shutil.copytree(workspace / "runs" / "second", workspace / "runs" / "third")
    app = open_page("train")
    app.multiselect("compare_runs").set_value(["second", "third"]).run()
    assert not app.exception
    said = "Churn: no clear difference between third and second: AUC by 0.000 (95%: +0.000 to +0.000)"
    assert said in texts(app)
    assert "on the 24 customers that both held out" in texts(app)


def test_a_run_stopped_in_its_first_epoch_says_so_and_shows_no_empty_ruler(workspace, open_page, texts):
    run = workspace / "runs" / "second"
    result = json.loads((run / "result.json").read_text()) | {"state": "stopped", "models": {}}
    (run / "result.json").write_text(json.dumps(result))
    (run / "events.jsonl").write_text("")
    (run / "report.json").write_text(json.dumps({"sequence": None, "churn": None, "notes": []}))
    app = open_page("train")
    assert not app.exception
    assert "Stopped before the end of its first epoch" in texts(app)
    assert app.get("plotly_chart") == []
    assert next(b for b in app.button if b.label == "Resume training")


def test_each_setting_is_named_in_the_words_of_the_form():
    assert train_form.label_of("sequence.d_model") == "Width, sequence model"
    assert train_form.label_of("churn_training.learning_rate") == "Learning rate, churn model (training)"
    assert train_form.label_of("test_share") == "Test share"
