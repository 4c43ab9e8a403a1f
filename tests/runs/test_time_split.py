"""A run with a split by time: the same test customers as the random split, less to learn from, and it says so."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crm_models import workflow
from crm_models.core.config import RunConfig
from crm_models.core.engines import InProcess
from crm_models.core.errors import DataError
from crm_models.data import storage
from crm_models.data.cohort import Cohort
from crm_models.data.sources.inactivity import label_by_inactivity
from crm_models.data.split import outcomes
from crm_models.data.storage import Parts, load_cohort, save_cohort
from crm_models.data.streaming import View
from crm_models.data.time_split import views_of
from crm_models.runs.encoding import encoded
from crm_models.runs.folder import RunFolder
from crm_models.runs.held_out import held_out
from crm_models.runs.pipeline import start_run
from tests.core.test_engines import PickledEngine
from tests.runs.test_pipeline import CONFIG

CONFIGS = {
    "random": replace(CONFIG.with_epochs(2), seed=5),
    "time": replace(CONFIG.with_epochs(2), seed=5, split="time"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """120 customers, half of whom fall silent on a day of their own; from day 70 on they do other things."""
    rng, rows = np.random.default_rng(1), []
    for k in range(120):
        last = rng.uniform(20, 100) if k % 2 else 101
        for day in np.cumsum(rng.exponential(4, 40)):
            if day < last:
                rows.append((f"c{k}", str(rng.choice(list("xy") if day < 70 else list("yz"))), float(day)))
    table = pd.DataFrame(rows, columns=["customer_id", "action", "timestamp"])
    cohort = Cohort.build(name="t", source="t", customers=None, interactions=table)
    return save_cohort(label_by_inactivity(cohort, 20.0), tmp_path_factory.mktemp("time") / "cohort")


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory) -> dict[str, RunFolder]:
    root = tmp_path_factory.mktemp("runs")
    for name, config in CONFIGS.items():
        list(workflow.train(folder, root / name, config))
    return {name: RunFolder(root / name) for name in CONFIGS}


def test_the_run_says_its_date_and_what_it_means(runs):
    config = runs["time"].config()
    assert RunConfig.from_dict(config.to_dict()) == config
    assert 75 < float(config.split_date) < 85
    (note,) = runs["time"].about()["notes"]
    assert f"trained on what was known by {config.split_date}" in note
    assert "trained on what was known" in workflow.run_summary(runs["time"].folder)
    assert runs["random"].about()["notes"] == []


def test_test_customers_and_their_outcomes_are_those_of_the_random_split(runs):
    random, time = (held_out(run, InProcess(threads=1)) for run in (runs["random"], runs["time"]))
    for name in ("rows", "n_history", "n_outcome"):
        np.testing.assert_array_equal(getattr(random.outcomes, name), getattr(time.outcomes, name))
    np.testing.assert_array_equal(random.labels[random.split.test], time.labels[time.split.test])
    assert random.learned is random.arrays
    assert time.learned.events.days.max() < float(runs["time"].config().split_date)
    assert set(time.split.train) <= set(random.split.train)


def test_the_report_says_the_date_and_baselines_learn_no_more_than_the_models(runs):
    reports = {name: workflow.evaluate(run.folder, threads=1) for name, run in runs.items()}
    assert "split" not in reports["random"]
    date = runs["time"].config().split_date
    assert reports["time"]["split"] == {"kind": "time", "date": date}
    assert workflow.report_summary(reports["time"]).startswith(f"out of time, from {date} on, ")
    for model, baseline in (("sequence", "popular"), ("churn", "logistic")):
        known, unknown = (reports[name][model]["baselines"][baseline] for name in ("random", "time"))
        assert reports["time"][model]["customers"] == reports["random"][model]["customers"]
        assert known != unknown
    # The action that only came up late is unknown to the popularity learned before.
    counts = runs["time"].encoder().action_counts
    assert counts[2] < runs["random"].encoder().action_counts[2] / 2


def test_a_model_without_dated_labels_is_left_out_or_refused(tmp_path):
    cohort = workflow.generate(tmp_path / "generated", scenario="lifelike", customers=80)
    run = start_run(tmp_path / "generated", tmp_path / "run", CONFIGS["time"])
    assert run.config().models == ("sequence",)
    assert "the labels of this cohort have no date" in run.about()["notes"][0]
    assert len(outcomes(cohort).rows) > 0
    with pytest.raises(DataError, match="--churn-days"):
        start_run(tmp_path / "generated", tmp_path / "other", replace(CONFIGS["time"], models=("churn",)), chosen=True)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("side", ["learned", "tested"])
@pytest.mark.parametrize("labels", [True, False])
def test_parts_are_encoded_as_the_whole_is_seen(tmp_path, monkeypatch, folder, side, labels):
    cohort = load_cohort(folder)
    if not labels:  # nor a cut-off, and all of it before day 0
        events = cohort.interactions.assign(timestamp=cohort.interactions["timestamp"] - 1000)
        cohort = replace(cohort, settings={}, as_of=None, interactions=events)
    monkeypatch.setattr(storage, "PART_CUSTOMERS", 50)
    run = start_run(save_cohort(cohort, tmp_path / "cohort"), tmp_path / "run", CONFIGS["time"])
    whole = getattr(views_of(cohort, run.config().split_date), side)
    expected = run.encoder().encode(whole, whole.as_of)
    view = View.of(Parts(tmp_path / "cohort"), run.config().split_date, side)
    arrays, known = encoded(run, tmp_path / "cohort", view, PickledEngine(workers=1))
    for name in ("numeric", "categorical", "behaviour", "n_history", "now_days"):
        np.testing.assert_array_equal(getattr(arrays, name), getattr(expected, name))
    for name, column in vars(expected.events).items():
        np.testing.assert_array_equal(getattr(arrays.events, name), column)
    np.testing.assert_array_equal(known.labels, whole.labels)
    for name, column in vars(outcomes(whole)).items():
        np.testing.assert_array_equal(getattr(known.outcomes, name), column)
