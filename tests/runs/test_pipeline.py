"""From a cohort folder to a run folder: refused early, stopped softly, resumed to the same numbers, loaded whole."""

import shutil
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crm_models.core.config import ChurnConfig, RunConfig, SequenceConfig, TrainingConfig
from crm_models.core.engines import InProcess
from crm_models.core.errors import CrmError, DataError, RunError
from crm_models.data.cohort import Cohort
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.data.storage import load_cohort, save_cohort
from crm_models.runs.folder import RunFolder
from crm_models.runs.held_out import held_out, predict_held_out
from crm_models.runs.pipeline import fit, reopen, start_run
from crm_models.runs.trained import load_models

FEW = TrainingConfig(n_epochs=4, batch_size=32, patience_epochs=99)
CONFIG = RunConfig(
    sequence=SequenceConfig(d_model=8, n_heads=2, n_blocks=1, d_feedforward=8, max_events=8),
    churn=ChurnConfig(d_model=8, n_heads=2, n_blocks=1, d_feedforward=8, max_events=4, n_bins=4),
    sequence_training=FEW,
    churn_training=FEW,
    threads=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    cohort, _ = generate(ScenarioSettings(scenario="lifelike", customers=150))
    return save_cohort(cohort, tmp_path_factory.mktemp("fitting") / "cohort")


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory) -> RunFolder:
    run = start_run(folder, tmp_path_factory.mktemp("runs") / "run", CONFIG)
    list(fit(run))
    return run


def losses(run: RunFolder) -> list[tuple]:
    return sorted((e.model, e.epoch, e.train_loss, e.valid_loss, e.best) for e in run.status().epochs)


def test_a_finished_run_holds_what_its_description_says(finished):
    files = {f.name for f in finished.folder.iterdir()}
    expected = {"config.json", "encoder.json", "split.parquet", "events.jsonl", "weights.safetensors", "result.json"}
    assert expected <= files
    assert "checkpoint.safetensors" not in files
    assert finished.status().state == "finished"
    assert finished.trained() == ("sequence", "churn")
    assert [len(losses(finished)), finished.events()[-1]["event"]] == [8, "finished"]


def test_training_keeps_to_the_split_that_it_wrote_down(finished, folder):
    split = finished.split()
    assert split["part"].value_counts().to_dict() == {"train": 98, "test": 30, "valid": 22}
    assert list(split["customer_id"]) == list(load_cohort(folder).customers["customer_id"])


def test_a_stop_keeps_the_best_weights_and_a_resume_ends_at_the_same_numbers(finished, folder, tmp_path):
    run = start_run(folder, tmp_path / "run", CONFIG)
    for event in fit(run):
        if event.model == "sequence" and event.epoch == 2:
            run.request_stop()
    assert run.status().state == "stopped"
    assert load_models(run).sequence is not None
    assert load_models(run).churn is None
    list(fit(reopen(run)))
    assert run.status().state == "finished"
    assert losses(run) == losses(finished)
    weights = [(r.folder / "weights.safetensors").read_bytes() for r in (run, finished)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-9] + b"\x01" + raw[-8:]])
def test_a_damaged_checkpoint_is_named_and_without_it_the_training_begins_anew(finished, folder, tmp_path, damage):
    run = start_run(folder, tmp_path / "run", CONFIG)
    next(fit(run))
    file = run.folder / "checkpoint.safetensors"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(RunError, match=r"checkpoint.safetensors: expected the state of a training.*delete it"):
        next(fit(reopen(run)))
    file.unlink()
    list(fit(reopen(run)))
    assert losses(run) == losses(finished)


@pytest.mark.parametrize("file", ["weights.safetensors", "encoder.json"])
def test_a_flipped_bit_of_what_the_models_are_made_of_is_found(finished, tmp_path, file):
    run = RunFolder(shutil.copytree(finished.folder, tmp_path / "run"))
    content = bytearray((run.folder / file).read_bytes())
    content[-1000] ^= 1
    (run.folder / file).write_bytes(content)
    with pytest.raises(CrmError, match=rf"{file}: expected .*train it again"):
        load_models(run)


def test_a_finished_run_cannot_be_resumed(finished):
    with pytest.raises(RunError, match="nothing to resume"):
        reopen(finished)


def test_a_run_is_not_resumed_on_a_cohort_that_has_changed(folder, tmp_path):
    cohort = load_cohort(folder)
    own = save_cohort(cohort, tmp_path / "cohort")
    run = start_run(own, tmp_path / "run", CONFIG)
    cohort.customers.loc[0, "income"] = 1.0
    save_cohort(cohort, own)
    with pytest.raises(RunError, match="has changed since the run began"):
        list(fit(run))


def test_the_test_customers_are_predicted_and_nobody_else(finished):
    held, folder = held_out(finished, InProcess(threads=1)), Path(finished.about()["cohort"])
    sequence, churn = predict_held_out(finished, held, folder, InProcess(threads=1))
    test_ids = set(finished.split().query("part == 'test'")["customer_id"])
    assert set(churn.customer_id) == test_ids
    assert set(sequence.customer_id) <= test_ids


def test_a_loss_that_is_no_number_fails_the_run_with_its_reason(folder, tmp_path, monkeypatch):
    losses = chain([0.7, float("nan")], repeat(0.7))

    def overflowing(objective, chosen, rng):
        return objective.model.output.bias.sum() * 0 + next(losses), len(chosen)

    monkeypatch.setattr("crm_models.training.objectives.ChurnObjective.loss", overflowing)
    run = start_run(folder, tmp_path / "run", replace(CONFIG, models=("churn",)))
    with pytest.raises(RunError, match="lower the learning rate"):
        list(fit(run))
    assert run.status().state == "failed"
    assert "lower the learning rate" in run.status().reason
    with pytest.raises(RunError, match="failed"):
        run.need_weights()


def build(n: int, churned=None, events: bool = True) -> Cohort:
    people = pd.DataFrame({"customer_id": [f"c{k}" for k in range(n)], "age": np.arange(n) + 20.0})
    if churned is not None:
        people["churned"] = [churned[k % len(churned)] for k in range(n)]
    rows = [(f"c{k}", "xy"[t % 2], float(t)) for k in range(n) for t in range(6)] if events else []
    table = pd.DataFrame(rows, columns=["customer_id", "action", "timestamp"]) if rows else None
    return Cohort.build(name="t", source="t", customers=people, interactions=table)


@pytest.mark.parametrize(
    ("cohort", "models", "word"),
    [
        (build(10, [0, 1]), ("sequence", "churn"), "at least 20"),
        (build(60, [1]), ("churn",), "one class only"),
        (build(60), ("churn",), "no"),
        (build(60, [0, 1], events=False), ("sequence",), "needs interactions"),
    ],
    ids=["ten customers", "one class", "no labels", "no events"],
)
def test_data_that_cannot_train_a_model_are_refused_before_anything_is_written(cohort, models, word, tmp_path):
    own = save_cohort(cohort, tmp_path / "cohort")
    with pytest.raises(DataError, match=word):
        start_run(own, tmp_path / "run", replace(CONFIG, models=models), chosen=True)
    assert not (tmp_path / "run").exists()


def test_a_model_that_nobody_insisted_on_is_left_out_with_a_note(tmp_path):
    own = save_cohort(build(60, [0, 1], events=False), tmp_path / "cohort")
    run = start_run(own, tmp_path / "run", CONFIG)
    assert run.config().models == ("churn",)
    assert "sequence model was left out" in run.about()["notes"][0]


def test_an_earlier_run_is_replaced_only_when_asked_to(finished, folder):
    with pytest.raises(RunError, match="holds a run already"):
        start_run(folder, finished.folder, CONFIG)
