"""A search: it starts from the preset, keeps its limits, survives any end, repeats nothing, and says what it found."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from crm_models import workflow
from crm_models.cli.commands import main
from crm_models.core.config import ChurnConfig, RunConfig, SequenceConfig, TrainingConfig
from crm_models.core.errors import ConfigError, DataError, RunError
from crm_models.core.files import MARKERS
from crm_models.data.cohort import Cohort
from crm_models.data.storage import load_cohort, save_cohort
from crm_models.runs import pipeline
from crm_models.runs import search as searching
from crm_models.runs.folder import RunFolder
from crm_models.runs.search import DEFAULT_TRIALS, Limits, search
from crm_models.runs.trials import FILE, Trial, best_of, better_by, read_search, summary

FEW = TrainingConfig(n_epochs=2, batch_size=64)
SMALL = RunConfig(
    models=("churn",),
    sequence=SequenceConfig(d_model=8, n_blocks=1, d_feedforward=8, max_events=6),
    churn=ChurnConfig(d_model=8, n_blocks=1, d_feedforward=8, max_events=6, n_members=2),
    sequence_training=FEW,
    churn_training=FEW,
    threads=1,
)
ENDLESS = replace(SMALL, churn_training=replace(FEW, n_epochs=50_000, patience_epochs=50_000))
OPTIONS = ["--model", "churn", "--epochs", "20", "--threads", "1"]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tuning") / "cohort"
    workflow.generate(folder, scenario="lifelike", customers=120, seed=1)
    return folder


@pytest.fixture(scope="module")
def four(cohort, tmp_path_factory) -> Path:
    """A search of four trials that ran through; tests only read it."""
    out = tmp_path_factory.mktemp("four") / "s"
    list(search(cohort, out, SMALL, Limits(trials=4)))
    return out


def told(trials) -> list[tuple]:
    """What of trials must be the same whenever they are run."""
    return [(t.number, t.run, t.state, t.loss, t.epochs, t.settings) for t in trials]


def trial(number: int, loss: float | None, state: str = "finished") -> Trial:
    return Trial(number=number, run="", state=state, loss=loss, epochs=1, seconds=1.0, settings={})  # type: ignore[arg-type]


def test_the_first_trial_is_the_starting_point_and_the_best_is_never_worse(four):
    found = read_search(four)
    assert (found.state, len(found.over)) == ("done", 4)
    assert found.trials[0].settings == {}
    assert RunFolder(four / "s-01").config() == SMALL
    assert found.best.loss == min(t.loss for t in found.trials) <= found.start.loss
    assert found.better_by == found.start.loss - found.best.loss >= 0


def test_every_trial_is_a_run_that_all_else_can_read_and_its_loss_is_the_one_on_validation_customers(four):
    for t in read_search(four).trials:
        run = RunFolder(four / t.run)
        assert run.about()["search"] == {"name": "s", "trial": t.number}
        assert (
            t.loss
            == min(epoch.valid_loss for epoch in run.status().epochs)
            == run.result()["models"]["churn"]["best_loss"]
        )
    report = workflow.evaluate(four / "s-02", threads=1)
    assert report["sequence"] is None
    assert 0 <= report["churn"]["auc"] <= 1


def test_what_test_customers_are_like_decides_nothing(four, cohort, tmp_path):
    whole = load_cohort(cohort)
    split = RunFolder(four / "s-01").split()
    test = whole.customers["customer_id"].isin(split[split["part"] == "test"]["customer_id"])
    numbers = whole.customers.select_dtypes("float").columns
    whole.customers.loc[test, numbers] = whole.customers.loc[test, numbers] * 100 + 7
    save_cohort(whole, tmp_path / "c")
    assert told(search(tmp_path / "c", tmp_path / "s", SMALL, Limits(trials=4))) == told(read_search(four).trials)


def test_no_trial_repeats_another_and_each_says_in_what_it_differs(four):
    settings = [json.dumps(t.settings) for t in read_search(four).trials]
    assert len(set(settings)) == 4
    for t in read_search(four).trials:
        config = RunFolder(four / t.run).config()
        assert all(getattr(getattr(config, k.split(".")[0]), k.split(".")[1]) == v for k, v in t.settings.items())


def test_a_search_that_was_ended_goes_on_to_the_same_trials_as_one_that_ran_through(four, cohort, tmp_path):
    out = tmp_path / "s"
    first = list(search(cohort, out, SMALL, Limits(trials=1)))
    between = list(islice(search(cohort, out, SMALL, Limits(trials=4)), 1))  # and its caller goes away
    rest = list(search(cohort, out, SMALL, Limits(trials=4)))
    assert [t.number for t in first + between + rest] == [1, 2, 3, 4]
    assert told(first + between + rest) == told(read_search(four).trials)
    assert list(search(cohort, out, SMALL, Limits(trials=4))) == []


def test_a_run_whose_end_was_never_noted_is_noted_and_not_trained_again(cohort, tmp_path, monkeypatch):
    import optuna

    with monkeypatch.context() as patched:
        patched.setattr(optuna.Study, "tell", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list(search(cohort, tmp_path / "s", SMALL, Limits(trials=1)))
    assert read_search(tmp_path / "s").state == "interrupted"
    begun = RunFolder(tmp_path / "s" / "s-01").events()
    (noted,) = search(cohort, tmp_path / "s", SMALL, Limits(trials=1))
    assert (noted.number, noted.state) == (1, "finished")
    assert RunFolder(tmp_path / "s" / "s-01").events() == begun


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_trial_loses_nothing(cohort, tmp_path):
    out, run = tmp_path / "s", RunFolder(tmp_path / "s" / "s-01")
    command = [sys.executable, "-m", "crm_models", "tune", str(cohort), "--out", str(out), "--trials", "1", *OPTIONS]
    with subprocess.Popen(command) as process:
        until(lambda: run.folder.exists() and run.status().epochs)
        process.send_signal(signal.SIGKILL)
    cut = read_search(out)
    assert (cut.state, cut.over, cut.trials[0].run) == ("interrupted", (), "s-01")
    (whole,) = workflow.tune(cohort, out, model="churn", trials=1, epochs=20, threads=1)
    (other,) = workflow.tune(cohort, tmp_path / "other" / "s", model="churn", trials=1, epochs=20, threads=1)
    assert told([whole]) == told([other])
    assert whole.state == "finished"


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


def test_the_time_ends_a_trial_in_the_middle_and_the_next_call_goes_on_with_it(cohort, tmp_path):
    for _ in range(2):
        (cut,) = search(cohort, tmp_path / "s", ENDLESS, Limits(minutes=2 / 60))
        assert (cut.number, cut.state) == (1, "open")
        assert read_search(tmp_path / "s").state == "time is up"
    run = RunFolder(tmp_path / "s" / "s-01")
    assert run.status().state == "stopped"
    assert [e["resumed"] for e in run.events() if e["event"] == "started"] == [False, True]
    assert "none has finished yet" in summary(tmp_path / "s")


def test_a_stop_request_ends_the_trial_under_way(cohort, tmp_path):
    def ask() -> None:
        until(lambda: (tmp_path / "s" / "s-01" / "events.jsonl").exists())
        RunFolder(tmp_path / "s").request_stop()

    thread = threading.Thread(target=ask)
    thread.start()
    (cut,) = search(cohort, tmp_path / "s", ENDLESS, Limits())
    thread.join()
    assert cut.state == "open"
    assert read_search(tmp_path / "s").state == "stopped"


def test_a_hopeless_trial_is_ended_early_and_the_first_never(cohort, tmp_path, monkeypatch):
    import optuna

    monkeypatch.setattr(optuna.pruners, "MedianPruner", lambda **_: optuna.pruners.ThresholdPruner(upper=-1.0))
    first, second = search(cohort, tmp_path / "s", SMALL, Limits(trials=2))
    assert [(t.state, t.epochs) for t in (first, second)] == [("finished", 2), ("pruned", 1)]
    ended = RunFolder(tmp_path / "s" / "s-02").status()
    assert (ended.state, ended.has_weights) == ("stopped", True)
    assert "worse than half" in ended.reason
    assert read_search(tmp_path / "s").best.number == 1


def test_only_a_trial_that_is_the_best_so_far_is_refitted(cohort, tmp_path):
    config = replace(SMALL, churn_training=replace(FEW, n_epochs=6, final_refit=True))
    list(search(cohort, tmp_path / "s", config, Limits(trials=6)))
    trials = [t for t in read_search(tmp_path / "s").trials if t.state == "finished"]
    best, states = float("inf"), []
    for t in trials:
        status = RunFolder(tmp_path / "s" / t.run).status()
        refits = sum(epoch.final_refit for epoch in status.epochs)
        if t.loss < best:
            assert (status.state, refits) == ("finished", max(e.epoch for e in status.epochs if e.best))
        else:
            assert (status.state, refits) == ("stopped", 1)
            assert "its final refit was left out" in status.reason
        best = min(best, t.loss)
        states.append(status.state)
    assert set(states) == {"finished", "stopped"}, "both kinds were there"


def test_a_trial_that_early_stopping_ended_stands_where_it_was_at_every_later_epoch(cohort, tmp_path):
    config = replace(SMALL, churn_training=replace(FEW, n_epochs=30, patience_epochs=1, learning_rate=0.3))
    (first,) = search(cohort, tmp_path / "s", config, Limits(trials=1))
    assert first.epochs < 30
    with searching._study(tmp_path / "s") as study:
        curve = study.trials[0].intermediate_values
    assert list(curve) == list(range(1, 31))
    losses = [epoch.valid_loss for epoch in RunFolder(tmp_path / "s" / "s-01").status().epochs]
    assert list(curve.values())[: first.epochs] == [min(losses[: k + 1]) for k in range(first.epochs)]
    assert {curve[k] for k in range(first.epochs, 31)} == {first.loss}


def test_a_trial_that_fails_is_counted_and_the_search_goes_on(cohort, tmp_path, monkeypatch):
    def fails(run, **_):
        pipeline._end(run, "failed", {}, 0.0, "the loss became nan")
        raise RunError("the loss became nan")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(searching, "fit", fails)
        (failed,) = search(cohort, tmp_path / "s", SMALL, Limits(trials=1))
    assert (failed.state, failed.reason, failed.loss) == ("failed", "the loss became nan", None)
    (second,) = search(cohort, tmp_path / "s", SMALL, Limits(trials=2))
    assert (second.number, second.state) == (2, "finished")
    assert read_search(tmp_path / "s").better_by is None, "nothing to hold it against"


def test_limits_without_numbers_end_after_twenty_trials_and_a_time_alone_has_no_number():
    assert Limits().most_trials == DEFAULT_TRIALS
    assert Limits(minutes=1).most_trials == float("inf")
    assert Limits(minutes=1, trials=3).most_trials == 3


def test_the_best_is_the_earliest_of_the_lowest_among_those_that_finished():
    trials = [trial(1, 0.5), trial(2, 0.25), trial(3, 0.25), trial(4, 0.125, "pruned"), trial(5, None, "failed")]
    assert best_of(trials).number == 2
    assert better_by(trials) == 0.25
    assert best_of(trials[3:]) is None
    assert better_by(trials[1:]) is None


def test_the_sequence_model_is_searched_as_well_and_runs_may_go_elsewhere(cohort, tmp_path):
    config = replace(SMALL, models=("sequence",))
    found = list(search(cohort, tmp_path / "s", config, Limits(trials=2), runs=tmp_path / "runs"))
    assert [t.run for t in found] == ["s-01", "s-02"]
    assert {f.name for f in (tmp_path / "runs").iterdir()} == {"s-01", "s-02"}
    assert {f.name for f in (tmp_path / "s").iterdir()} == {"tune.json", "study.db", "lock"}
    assert "sequence_training.context_dropout" in found[1].settings


# ---- refused before anything is written ------------------------------------------------------------------------------


def refuse(error, match, cohort, out, config=SMALL):
    before = sorted(out.iterdir()) if out.exists() else None
    with pytest.raises(error, match=match):
        list(search(cohort, out, config, Limits(trials=1)))
    assert (sorted(out.iterdir()) if out.exists() else None) == before


def test_without_optuna_it_says_in_one_line_what_to_install(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["tune", str(cohort), "--out", str(tmp_path / "s"), "--model", "churn"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: tune needs Optuna")
    requirements = (Path(__file__).parents[2] / "requirements-tune.txt").read_text()
    assert "pip install -r requirements-tune.txt" in said
    assert "optuna==" in requirements
    assert not (tmp_path / "s").exists()


def test_what_cannot_be_searched_is_refused(cohort, tmp_path):
    refuse(ConfigError, "one model at a time", cohort, tmp_path / "s", replace(SMALL, models=("sequence", "churn")))
    refuse(ConfigError, "validation customers", cohort, tmp_path / "s", replace(SMALL, valid_share=0.0))
    refuse(DataError, "expected a cohort folder", tmp_path / "nowhere", tmp_path / "s")
    whole = load_cohort(cohort)
    people = whole.customers.drop(columns="churned")
    silent = Cohort.build(name="silent", source="t", customers=people, interactions=whole.interactions)
    save_cohort(silent, tmp_path / "silent")
    refuse(DataError, "needs churn labels", tmp_path / "silent", tmp_path / "s")


def test_a_folder_with_something_else_is_left_alone(cohort, four, tmp_path):
    refuse(DataError, f"holds {MARKERS['cohort.json']}", cohort, cohort)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    refuse(DataError, "holds other files", cohort, tmp_path / "mine")
    with pytest.raises(DataError, match="holds a search"):
        list(workflow.train(cohort, four, SMALL))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (replace(SMALL, seed=1), "seed 0"),
        (replace(SMALL, models=("sequence",)), "the churn model"),
        (replace(SMALL, preset="strong"), "the preset standard"),
        (replace(SMALL, churn_training=replace(FEW, n_epochs=3)), "other settings"),
    ],
)
def test_another_search_does_not_go_on_with_this_one(cohort, four, config, named):
    refuse(RunError, f"a search with {named}", cohort, four, config)


def test_other_threads_are_the_same_search_and_another_cohort_is_not(cohort, four, tmp_path):
    assert list(search(cohort, four, replace(SMALL, threads=2), Limits(trials=4))) == []
    workflow.generate(tmp_path / "c", scenario="lifelike", customers=120, seed=2)
    refuse(RunError, "another cohort", tmp_path / "c", four)


def test_a_second_process_on_the_same_folder_is_refused(cohort, four):
    with RunFolder(four).locked():
        assert read_search(four).state == "done"
        with pytest.raises(RunError, match="another process"):
            list(search(cohort, four, SMALL, Limits(trials=5)))


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}', '{"format": 1}'])
def test_a_damaged_tune_json_is_one_error_that_names_it(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(DataError, match=FILE):
        read_search(tmp_path)
    with pytest.raises(DataError, match=f"found no {FILE}"):
        read_search(tmp_path / "nowhere")


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_tells_each_trial_and_a_line_that_repeats_the_best(cohort, tmp_path, capsys):
    options = ["--model", "churn", "--trials", "3", "--epochs", "1", "--set", "churn.d_model=16", "--threads", "1"]
    assert main(["tune", str(cohort), "--out", str(tmp_path / "s"), *options]) == 0
    said = capsys.readouterr()
    assert [line.split()[:3] for line in said.err.splitlines()] == [["trial", str(k), "finished"] for k in (1, 2, 3)]
    assert said.out.count("\n") == 1
    found = read_search(tmp_path / "s")
    assert not any("d_model" in r["name"] for r in found.about["space"]), "what is set is not searched"
    settings = found.arguments[found.arguments.index("--set") :][1::2]
    again = workflow.run_config(model="churn", settings=settings)
    best = RunFolder(tmp_path / "s" / found.best.run).config()
    assert (again.churn, again.churn_training) == (best.churn, best.churn_training)
    assert main(["tune", str(cohort), "--out", str(tmp_path / "s"), *options, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
