"""Pre-training takes the labels of an earlier date from the history, and few labels are needed after it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from crm_models.core.config import TrainingConfig
from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
from crm_models.data.sources.inactivity import label_by_inactivity
from crm_models.inference.decoding import churn_probabilities
from crm_models.training import pretraining
from crm_models.training.loop import TrainingState, train
from crm_models.training.objectives import TrainingData
from crm_models.training.pretraining import pretraining_of
from tests.small_cohorts import SMALL, training_data


def cohort(events: list[tuple], *, dated: bool = False, activity: list[str] | None = None, days: float = 5) -> Cohort:
    table = pd.DataFrame(events, columns=["customer_id", "action", "timestamp"])
    if dated:
        table["timestamp"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(table["timestamp"], unit="D")
    people = pd.DataFrame({"customer_id": list(dict.fromkeys(table["customer_id"]))})
    whole = Cohort.build(name="t", source="t", customers=people, interactions=table)
    return label_by_inactivity(whole, days, activity)


def found_in(of: Cohort) -> pretraining.PretrainingData:
    found = pretraining_of(of, FeatureEncoder.fit(of, np.arange(of.n_customers), of.as_of, 4))
    assert found is not None
    return found


# The last event is at day 20, so the labels ask for days 15 to 20, and pre-training for days 10 to 15.
EVENTS = [
    ("stays", "buy", 0),
    ("stays", "buy", 12),
    ("silent", "buy", 2),
    ("silent", "buy", 16),  # after the cut-off: not known then
    ("joins", "buy", 11),
    ("edge", "buy", 9),
    ("edge", "buy", 15),  # at the cut-off itself
    ("mails", "buy", 1),
    ("mails", "mail", 13),
    ("ends", "buy", 20),
]


@pytest.fixture(autouse=True)
def _few_are_enough(monkeypatch):
    monkeypatch.setattr(pretraining, "FEWEST", 2)


@pytest.mark.parametrize("dated", [False, True], ids=["numbers", "dates"])
def test_five_days_earlier(dated):
    found = found_in(cohort(EVENTS, dated=dated))
    by_name = dict(zip(found.arrays.customer_id, found.labels, strict=True))
    assert by_name.pop("stays") == by_name.pop("mails") == 0
    assert by_name.pop("silent") == by_name.pop("edge") == 1
    assert np.isnan([by_name.pop("joins"), by_name.pop("ends")]).all()
    assert not by_name
    assert found.arrays.n_history.tolist() == [1, 1, 0, 1, 1, 0]  # before day 10


def test_what_counts_as_activity_counts_in_pre_training_too():
    found = found_in(cohort(EVENTS, activity=["buy"]))
    assert found.labels[list(found.arrays.customer_id).index("mails")] == 1


def test_nothing_from_the_cut_off_on_is_looked_at():
    one = cohort(EVENTS)
    later = one.interactions["timestamp"] >= 15
    other = replace(one, interactions=one.interactions[~later].reset_index(drop=True))
    np.testing.assert_array_equal(found_in(one).labels, found_in(other).labels)
    np.testing.assert_array_equal(found_in(one).arrays.n_history, found_in(other).arrays.n_history)


def test_no_pre_training_where_churn_is_something_else_or_little_is_known(monkeypatch):
    one = cohort(EVENTS)
    encoder = FeatureEncoder.fit(one, np.arange(6), one.as_of, 4)
    assert pretraining_of(replace(one, settings={}), encoder) is None
    assert pretraining_of(cohort(EVENTS, days=9), encoder) is None  # all who were there on day 2 came back
    monkeypatch.setattr(pretraining, "FEWEST", 5)
    assert pretraining_of(one, encoder) is None


# ---- in training -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fading() -> Cohort:
    """Half of 400 customers come every third day or so; the others come less and less often, and most fall silent."""
    rng, rows = np.random.default_rng(0), []
    for k in range(400):
        pace, at = (1.0, 0.0) if k % 2 else (1.25, 0.0)
        gap = 3.0
        while (at := at + rng.exponential(gap)) < 120:
            rows.append((f"c{k:03d}", "buy", at))
            gap *= pace
    rows.append(("c000", "buy", 120.0))
    return cohort(rows, days=20)


def fitted(of: Cohort, share: float) -> tuple[list, float]:
    """The epochs of a short training on the labels of forty customers, and the AUC on the test customers."""
    training = TrainingConfig(n_epochs=12, batch_size=16, pretraining_share=share, monitor="last", learning_rate=3e-3)
    config = replace(SMALL, churn_training=training)
    encoder, known = training_data(of, config)
    few = known.labels.copy()
    few[known.split.train[40:]] = np.nan
    given = TrainingData(**vars(known) | {"labels": few, "pretraining": pretraining_of(of, encoder)})
    state = TrainingState.start("churn", config, encoder)
    epochs = list(train(state, given))
    test = known.split.test[~np.isnan(known.labels[known.split.test])]
    return epochs, roc_auc_score(known.labels[test], churn_probabilities(state.module, known.arrays, test))


def test_the_first_epochs_are_pre_training_and_few_labels_are_enough_then(fading):
    epochs, with_pretraining = fitted(fading, 0.5)
    assert [epoch.pretraining for epoch in epochs] == [True] * 6 + [False] * 6
    alone_epochs, alone = fitted(fading, 0.0)
    assert not any(epoch.pretraining for epoch in alone_epochs)
    assert with_pretraining > 0.8
    assert with_pretraining > alone


def test_the_training_loss_of_pre_training_is_never_the_best(fading):
    """Without validation customers the training loss decides, and the loss of pre-training is that of other labels."""
    training = TrainingConfig(n_epochs=6, pretraining_share=0.5, monitor="train", patience_epochs=1)
    config = replace(SMALL, churn_training=training)
    encoder, known = training_data(fading, config)
    state = TrainingState.start("churn", config, encoder)
    epochs = list(train(state, TrainingData(**vars(known) | {"pretraining": pretraining_of(fading, encoder)})))
    assert len(epochs) > 3  # patience does not run out in pre-training
    assert state.best_epoch > 3
