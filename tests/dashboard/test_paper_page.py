"""Paper: before the first re-run, in the middle of it, stopped, failed and finished; every number from the run."""

import json
import time
from pathlib import Path

import pytest

from crm_models.core.schema import MODEL_NAMES
from crm_models.paper.rerun import printed
from dashboard.jobs import paper as paper_job
from dashboard.jobs.queue import Job, JobFolder
from dashboard.state import paper_store

CLAIMED = printed()


def result(seeds: int) -> dict:
    """The content of `paper.json`, as of a run whose numbers nobody else has."""
    inside = {f"{model}_loss": [k < 7 for k in range(10)] for model in MODEL_NAMES}
    return {
        "seeds": seeds,
        "sequence_loss": [[5.0 - 0.1 * k + seed for k in range(10)] for seed in range(seeds)],
        "churn_loss": [[0.9 - 0.01 * k] * 10 for k in range(seeds)],
        "sequence_accuracy": [1 / 60 if seed else 0.1333 for seed in range(seeds)],
        "churn_accuracy": [0.35 + 0.05 * seed for seed in range(seeds)],
        "paper": CLAIMED,
        "ceiling": {"sequence_accuracy": 0.02, "sequence_loss": 3.912, "churn_accuracy": 0.5, "churn_loss": 0.6931},
        "inside": inside
        | {f"{model}_accuracy": model == "churn" for model in MODEL_NAMES}
        | {f"{model}_accuracy_table_2": False for model in MODEL_NAMES},
        "roc": {"fpr": [0.0, 0.4, 1.0], "tpr": [0.0, 0.5, 1.0], "auc": 0.4321},
        "sample_plans": [[f"user {k}", [f"Film {k}-{step}" for step in (1, 2, 3)]] for k in range(1, 6)],
        "attention": {
            "rows": ["step 1", "step 2", "step 3"],
            "columns": [*(f"rating {k}" for k in range(1, 6)), "step 1", "step 2"],
            "weights": [[1 / 7] * 7] * 3,
        },
    }


def at_signal(sequence: float, churn: float) -> dict:
    """What the tiny models reach at one signal."""
    own = {"customers": 600, "chance": {}, "ceiling": {}, "loss": 1.5, "log_loss": 0.4}
    kinds = {"chance": 0.0833, "ceiling": 0.9}
    parts = {
        "sequence": own
        | {"step_accuracy": sequence}
        | {k: {"step_accuracy": v, "loss": 2.0} for k, v in kinds.items()},
        "churn": own | {"accuracy": churn} | {k: {"accuracy": v, "log_loss": 0.5} for k, v in kinds.items()},
    }
    sizes = (
        "customers",
        "max_events",
        "sequence_epochs",
        "churn_epochs",
        "batch_size",
        "sequence_width",
        "churn_width",
    )
    return dict.fromkeys(sizes, 12) | {"customers": 3000, "seconds": 4.0} | parts


def keep(workspace: Path, **state: object) -> None:
    """Lay the state of a demonstration into the workspace."""
    known = {"wanted": 20, "seconds": 12.5, "result": None, "stage": "seeds", "ended": None, "lifelike": {}}
    file = paper_job.state_file(workspace / "paper")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known | {"signals_done": 0} | state))


def finished(workspace: Path) -> None:
    keep(
        workspace,
        result=result(4),
        stage="done",
        ended=time.time(),
        signals_done=11,
        lifelike={"0.0": at_signal(0.081, 0.722), "1.0": at_signal(0.8765, 0.8123)},
    )


def queue(workspace: Path) -> JobFolder:
    return JobFolder(workspace / "paper")


@pytest.fixture
def tables(texts):
    """All cells of the page's plain tables, as one text."""
    return lambda app: "\n".join(table.value.to_csv(index=False) for table in app.table).replace("\u2060", "")


def test_the_first_visitor_finds_the_printed_tables_and_the_re_run_started(workspace, open_page, texts, tables):
    app = open_page("paper")
    assert not app.exception
    (job,) = queue(workspace).jobs()
    assert (job.job.task, job.job.arguments) == ("paper", ("20",))
    assert "Generating random customers" in app.get("progress")[0].proto.text
    for printed_figure in ("0.85", "0.0167", "4.0456", "0.7047", "Amazon Product Data"):
        assert printed_figure in tables(app)
    assert "lie inside the range" not in texts(app)
    assert next(b for b in app.button if b.label == "Run the paper").disabled is False


def test_a_second_visitor_starts_nothing_more(workspace, open_page):
    open_page("paper")
    open_page("paper")
    assert len(queue(workspace).jobs()) == 1


def test_in_the_middle_of_the_re_run_the_tables_hold_what_is_there(workspace, open_page, texts, tables):
    keep(workspace, result=result(3))
    queue(workspace).note(Job(run="rerun-1", cohort="", task="paper", arguments=("20",)), "training")
    app = open_page("paper")
    assert not app.exception
    assert app.get("progress")[0].proto.text == "Re-run 3 of 20: 6 models trained"
    assert app.get("progress")[0].value == 15
    assert "7 of 10 printed losses of the Sequence Transformer" in texts(app)
    assert "lie inside the range of 3 re-runs" in texts(app)
    assert "5.0000–7.0000" in tables(app)
    for scenario in ("movielens", "amazon", "churn"):
        assert scenario in tables(app)
    assert "Churn Transformer in Tables II, III and IV" in tables(app)
    assert "The models for this chapter are trained after the re-runs" in texts(app)


def test_a_finished_run_tells_its_own_numbers(workspace, open_page, texts, tables):
    finished(workspace)
    app = open_page("paper")
    assert not app.exception
    assert {m.label: m.value for m in app.metric} == {
        "Table III: losses inside": "14 of 20",
        "Table IV: accuracies inside": "1 of 2",
        "Table II: accuracies inside": "0 of 2",
        "With full signal": "87.6% · 81.2%",
    }
    assert "3 of 4 re-runs give exactly the 0.0167 of Table IV" in texts(app)
    assert "The best of them gets 13.3%" in texts(app)
    assert "4 re-runs of the whole paper took 12.5 s, just now" in texts(app)
    assert "Film 5-3" in tables(app)
    assert "'Film 1-1'" in app.code[1].value
    figures = " ".join(chart.proto.spec for chart in app.get("plotly_chart"))
    assert "AUC 0.432" in figures
    assert "Download the report (HTML)" in [button.label for button in app.get("download_button")]


def test_the_signal_takes_the_audience_from_chance_to_table_2(workspace, open_page, texts):
    finished(workspace)
    app = open_page("paper")
    assert "Sequence Transformer: 8.1% of the next actions right" in texts(app)
    assert "Table II (85%) not reached" in texts(app)
    app.slider(paper_store.SIGNAL).set_value(1.0).run()
    assert not app.exception
    assert "Sequence Transformer: 87.6% of the next actions right; chance 8.3%, ceiling 90.0%" in texts(app)
    assert "Table II (85%) reached" in texts(app)
    app.slider(paper_store.SIGNAL).set_value(0.5).run()
    assert "The models for signal 0.5 are being trained" in texts(app)


def test_run_the_paper_starts_over_also_while_it_runs(workspace, open_page):
    finished(workspace)
    app = open_page("paper")
    app.get_by_key(paper_store.SEEDS).set_value(5)
    for _ in range(2):
        next(b for b in app.button if b.label == "Run the paper").click().run()
        assert not app.exception
    (job,) = queue(workspace).jobs()
    assert job.job.arguments == ("5",)
    assert "Generating random customers" in app.get("progress")[0].proto.text


def test_a_new_run_shows_the_last_result_and_says_so_until_its_first_re_run_is_there(
    workspace, open_page, texts, tables
):
    finished(workspace)
    app = open_page("paper")
    next(b for b in app.button if b.label == "Run the paper").click().run()

    def is_the_last(app) -> bool:
        said = "this is the result of the last run: 4 re-runs, just now" in texts(app)
        assert said == ("lie inside the range of 4 re-runs" in texts(app)) == ("5.0000–8.0000" in tables(app))
        return said

    assert is_the_last(app), "the new one waits"
    last = {"result": result(4), "ended": time.time()}
    queue(workspace).note(Job(run="rerun-2", cohort="", task="paper", arguments=("20",)), "training")
    keep(workspace, last=last)
    app = open_page("paper")
    assert is_the_last(app), "the new one has begun"
    assert {m.label: m.value for m in app.metric}["Table III: losses inside"] == "14 of 20"
    keep(workspace, last=last, result=result(1))
    assert not is_the_last(open_page("paper")), "the new one has a re-run of its own"


def test_a_run_that_ended_before_its_first_re_run_leaves_the_last_result(workspace, open_page, texts):
    keep(workspace, last={"result": result(4), "ended": time.time()})
    app = open_page("paper")
    assert not app.exception
    assert "ended before its first seed was done. Below is the result of the last run: 4 re-runs" in texts(app)
    assert "lie inside the range of 4 re-runs" in texts(app)


def test_a_re_run_can_be_stopped_and_what_it_found_stays(workspace, open_page, texts):
    keep(workspace, result=result(3))
    job = Job(run="rerun-1", cohort="", task="paper", arguments=("20",))
    queue(workspace).note(job, "training")
    app = open_page("paper")
    next(b for b in app.button if b.label == "Stop the re-run").click().run()
    assert queue(workspace).stop_is_asked("rerun-1")
    (workspace / "paper" / "jobs" / "now.json").unlink()
    app = open_page("paper")
    assert "Stopped after 3 of 20 re-runs" in texts(app)
    assert "Stop the re-run" not in {b.label for b in app.button}
    assert {m.label for m in app.metric} >= {"Table III: losses inside"}


def test_a_failed_re_run_says_why_and_can_be_tried_again(workspace, open_page, texts):
    failed = workspace / "paper" / "jobs" / "failed" / "rerun-1.json"
    failed.parent.mkdir(parents=True)
    job = {"run": "rerun-1", "cohort": "", "task": "paper", "arguments": ["20"], "about": "the paper"}
    failed.write_text(json.dumps({"job": job, "reason": "no space left on <b>device</b>", "at": time.time()}))
    app = open_page("paper")
    assert not app.exception
    assert "The re-run of the paper failed: no space left on <b>device</b>" in texts(app)
    assert queue(workspace).jobs() == [], "a failure is not started again by looking at it"
    next(b for b in app.button if b.label == "Run the paper").click().run()
    assert "failed" not in texts(app)
    assert len(queue(workspace).jobs()) == 1


def test_the_state_grows_step_by_step_and_begins_empty(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        "crm_models.core.files.write_json", lambda file, state: written.append(json.loads(json.dumps(state)))
    )
    monkeypatch.setattr(
        "dashboard.jobs.paper.write_json", lambda f, state: written.append(json.loads(json.dumps(state)))
    )
    monkeypatch.setattr("crm_models.paper.rerun.rerun_steps", lambda seeds: (result(k) for k in range(1, seeds + 1)))
    monkeypatch.setattr("crm_models.paper.rerun.lifelike", lambda signal, customers: at_signal(signal, signal))
    paper_job.keep(tmp_path, seeds=2)
    assert [s["result"] and s["result"]["seeds"] for s in written[:3]] == [None, 1, 2]
    assert [s["stage"] for s in written] == ["seeds"] * 3 + ["signals"] * 11 + ["done"]
    assert set(written[-1]["lifelike"]) == {str(signal) for signal in paper_job.SIGNALS}


def test_the_finished_result_is_kept_until_another_one_is_finished(tmp_path, monkeypatch):
    monkeypatch.setattr("crm_models.paper.rerun.lifelike", lambda signal, customers: at_signal(signal, signal))

    def state() -> dict:
        return json.loads(paper_job.state_file(tmp_path).read_text())

    def cut_off(seeds):
        yield result(1)
        raise KeyboardInterrupt

    monkeypatch.setattr("crm_models.paper.rerun.rerun_steps", lambda seeds: iter([result(seeds)]))
    paper_job.keep(tmp_path, seeds=3)
    assert (state()["stage"], state()["last"]) == ("done", None)
    monkeypatch.setattr("crm_models.paper.rerun.rerun_steps", cut_off)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            paper_job.keep(tmp_path, seeds=5)
        assert state()["last"]["result"]["seeds"] == 3
