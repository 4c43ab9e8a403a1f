"""A cohort read part by part for training: the same arrays, counts and outcomes as if it were read as a whole."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm_models.data import storage, streaming, successions
from crm_models.data.features import FeatureEncoder
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.data.split import outcomes, split_customers
from crm_models.data.storage import Parts
from crm_models.data.streaming import Known, View, mapped, training_sample
from crm_models.data.successions import ActionCounts
from tests.models.test_transition_prior import cohort_of


@pytest.fixture(scope="module", params=["dated outcome", "no cut-off"])
def cohort(request):
    made, _ = generate(ScenarioSettings(scenario="lifelike", customers=90, seed=3))
    return made if request.param == "dated outcome" else replace(made, as_of=None, outcome="none")


@pytest.fixture
def folder(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "PART_CUSTOMERS", 40)
    return storage.save_cohort(cohort, tmp_path / "cohort")


def test_parts_give_the_encoder_and_the_arrays_of_the_whole(cohort, folder, tmp_path):
    train = split_customers(cohort, seed=0).train
    parts = Parts(folder)
    view = View.of(parts, "", "learned")
    sample, counts = training_sample(view.parts(parts), train)
    rows = np.arange(len(train))
    encoder = FeatureEncoder.fit(sample, rows, sample.as_of, now_days=view.now_days, counts=counts)
    assert encoder == FeatureEncoder.fit(cohort, train, cohort.as_of)

    arrays = mapped((encoder.encode(part, part.as_of, view.now_days) for part in parts), tmp_path)
    everyone = Known.joined(map(Known.of, parts))
    whole = encoder.encode(cohort, cohort.as_of)
    for name in ("numeric", "categorical", "behaviour", "n_history", "now_days"):
        np.testing.assert_array_equal(getattr(arrays, name), getattr(whole, name))
    for name, column in vars(whole.events).items():
        np.testing.assert_array_equal(getattr(arrays.events, name), column)
    assert isinstance(arrays.events.days.base, np.memmap)
    np.testing.assert_array_equal(everyone.labels, cohort.labels)
    for name, column in vars(outcomes(cohort)).items():
        np.testing.assert_array_equal(getattr(everyone.outcomes, name), column)
    assert list(tmp_path.iterdir()) == [folder], "no file is left behind"


def test_scales_of_many_customers_come_from_an_even_sample_and_counts_from_all(cohort, folder, monkeypatch):
    train = split_customers(cohort, seed=0).train
    monkeypatch.setattr(streaming, "FITTED_CUSTOMERS", 20)
    sample, counts = training_sample(Parts(folder), train)
    assert list(sample.customers["customer_id"]) == list(cohort.customers["customer_id"].iloc[train[::3]])
    assert counts.single.sum() == np.diff(cohort.starts)[train].sum()


@settings(max_examples=15)
@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=9), min_size=2, max_size=8))
def test_successions_are_counted_as_one_by_one(histories):
    counts = ActionCounts(4)
    for part in (histories[:1], histories[1:]):
        counts.add(cohort_of(*part, n_actions=4), np.arange(len(part)))
    for length in (2, 3):
        runs = [tuple(h[k : k + length]) for h in histories for k in range(len(h) - length + 1)]
        assert sorted(counts.successions(length)) == sorted((*run, runs.count(run)) for run in set(runs))


def test_with_too_many_successions_those_seen_once_are_forgotten(monkeypatch):
    monkeypatch.setattr(successions, "MOST_COUNTED", 2)
    counts = ActionCounts(3).add(cohort_of([1, 2, 1, 2, 3, 1], n_actions=3), np.array([0]))
    assert counts.successions(2) == ((1, 2, 2),)
