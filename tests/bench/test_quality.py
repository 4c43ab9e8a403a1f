"""Benchmarks hold out what they say, and report what the contract names."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crm_models.bench import quality
from crm_models.bench.rates import gigaflops_of
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.presets import preset
from crm_models.data.cohort import Cohort

QUICK = preset("standard").with_epochs(1)
SMALL = {"d_model": 8, "n_heads": 2, "n_blocks": 1, "d_feedforward": 8}
CONFIG = replace(QUICK, sequence=replace(QUICK.sequence, **SMALL), churn=replace(QUICK.churn, **SMALL), threads=1)


def cohort(n: int = 60) -> Cohort:
    """Everybody goes round the same circle of four actions."""
    rows = [(f"c{k}", "abcd"[(k + t) % 4], float(t)) for k in range(n) for t in range(2 + k % 6)]
    people = pd.DataFrame(
        {"customer_id": [f"c{k}" for k in range(n)], "churned": [k % 3 == 0 for k in range(n)], "age": np.arange(n)}
    )
    table = pd.DataFrame(rows, columns=["customer_id", "action", "timestamp"])
    return Cohort.build(name="t", source="t", customers=people, interactions=table)


def test_customers_with_too_few_events_are_left_out_and_the_first_held_out_event_is_the_target():
    found = quality.sequence(cohort(), CONFIG, holdout=1)
    # Histories have 2 to 7 events, ten customers each; more than two are needed.
    assert found["customers"] == 50
    assert {"step_accuracy", "loss", "hr_at_10", "ndcg_at_10", "fit_s", "predict_s"} <= set(found)
    # The circle is deterministic: after one action, Markov knows the next.
    assert found["baselines"]["markov"]["step_accuracy"] == 1.0
    assert found["hr_at_10"] == 1.0


def test_actions_that_training_saw_rarely_are_scored_by_themselves():
    class Encoder:
        action_counts = (9, 1, 8, 2)

    class Predictions:
        actual = np.array([[1, 0, 0], [2, 0, 0], [4, 0, 0], [2, 0, 0]])
        actual_log_p = np.log([[0.9, 1, 1], [0.5, 1, 1], [0.25, 1, 1], [0.125, 1, 1]])
        rank = np.array([0, 0, 12, 3])

    # Actions 2 and 4 are the rarer half: probabilities 1/2, 1/4 and 1/8, ranks 0, 12 and 3.
    found = quality._of_rare_actions(Predictions, Encoder)
    assert found == {"rare_loss": round(2 * np.log(2), 6), "rare_hr_at_10": round(2 / 3, 6)}


def test_the_held_out_event_is_never_trained_on():
    """An action that occurs only in held-out events is no better known than one that never occurs."""
    base = cohort()
    events = base.interactions.astype({"action": "str", "customer_id": "str"})
    last = ~events["customer_id"].duplicated(keep="last")
    events.loc[last, "action"] = "never seen before"
    people = base.customers
    edited = Cohort.build(name="t", source="t", customers=people, interactions=events)
    found = quality.sequence(edited, CONFIG, holdout=1)
    assert found["step_accuracy"] == 0.0
    assert found["baselines"]["popular"]["step_accuracy"] == 0.0


def test_leave_one_out_trains_on_neither_of_the_last_two_events_and_predicts_from_the_second_last(monkeypatch):
    seen = {}

    def fitted(model, config, encoder, training_data):
        seen["learned"], seen["monitor"] = training_data.n_events, config.sequence_training.monitor
        seen["valid"], seen["counts"] = training_data.outcomes, encoder.action_counts
        return untrained(model, config, encoder, training_data)

    untrained = quality._fitted
    monkeypatch.setattr(quality, "_fitted", fitted)
    found = quality.sequence(cohort(12), CONFIG, 1, early_stopping=False, protocol="leave-one-out")
    # Histories have 2 to 7 events, two customers each: of two events there is none to learn from.
    assert found["customers"] == 10
    assert sorted(seen["learned"][seen["valid"].rows]) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert list(seen["valid"].n_history) == list(seen["learned"][seen["valid"].rows])
    assert (seen["monitor"], sum(seen["counts"])) == ("valid", 30)
    assert "last one predicted from a history that holds the second-last; all 4 actions" in found["protocol"]
    with pytest.raises(ConfigError, match="holds out one event, found a holdout of 2"):
        quality.sequence(cohort(), CONFIG, 2, protocol="leave-one-out")


def test_folds_cover_every_labelled_customer_once():
    found = quality.churn(cohort(), CONFIG, folds=3)
    assert found["customers"] == 60
    assert {"auc", "auc_sd", "log_loss", "ece", "ece_pooled", "fit_s", "predict_s"} <= set(found)
    assert found["baselines"]["majority"]["auc"] == 0.5


def test_few_labels_are_all_that_a_fold_learns_from(monkeypatch):
    seen = []

    def fitted(model, config, encoder, training_data):
        learned, checked = (
            int((~np.isnan(training_data.labels[rows])).sum())
            for rows in (training_data.split.train, training_data.split.valid)
        )
        assert checked > 0
        seen.append(learned + checked)
        return real(model, config, encoder, training_data)

    real = quality._fitted
    monkeypatch.setattr(quality, "_fitted", fitted)
    found = quality.churn(cohort(), CONFIG, folds=3, n_labels=25)
    assert seen == [25, 25, 25]
    assert found["customers"] == 60  # all are tested on
    with pytest.raises(DataError, match="from 20 to 39 labels"):
        quality.churn(cohort(), CONFIG, folds=3, n_labels=40)


def test_scores_of_several_seeds_are_means_with_a_spread():
    def run(auc: float, rule: float) -> dict:
        return {
            "customers": 9,
            "auc": auc,
            "auc_sd": 0.3,
            "folds": 3,
            "baselines": {"rule": {"customers": 9, "auc": rule}},
        }

    found = quality.over_seeds({4: run(0.7, 0.5), 5: run(0.9, 0.6)})
    assert found["auc"] == 0.8
    assert found["auc_sd"] == 0.1  # over seeds, not the 0.3 over folds
    assert (found["customers"], found["folds"]) == (9, 3)
    assert found["baselines"]["rule"]["auc"] == 0.55
    assert found["by_seed"]["5"] == {"customers": 9, "auc": 0.9, "auc_sd": 0.3, "folds": 3}


def test_the_share_of_the_matrix_rate_counts_the_products_of_training():
    def work() -> None:
        import torch

        a, b = torch.rand(10, 20, requires_grad=True), torch.rand(20, 30)
        (a @ b).sum().backward()
        query = torch.rand(2, 3, 5, 8)
        torch.nn.functional.scaled_dot_product_attention(query, query, query)

    products = 2 * 10 * 20 * 30  # forward
    products += 2 * 10 * 20 * 30  # back, to a alone
    attention = 2 * (2 * 3) * (5 * 5 * 8) * 2  # scores, and the mixture
    assert gigaflops_of(work) * 1e9 == pytest.approx(products + attention)


def test_too_little_data_is_refused():
    with pytest.raises(DataError, match="more than 10 events"):
        quality.sequence(cohort(), CONFIG, holdout=9)
    with pytest.raises(DataError, match="at least 30 churned"):
        quality.churn(cohort(), CONFIG, folds=30)


def test_the_papers_preset_validates_on_nobody():
    config = replace(preset("paper").with_epochs(1), threads=1)
    assert config.valid_share == 0
    assert quality.churn(cohort(30), config, folds=2)["customers"] == 30


def test_too_few_churned_customers_to_train_and_validate_are_refused():
    people = pd.DataFrame({"customer_id": range(40), "churned": [k < 2 for k in range(40)], "age": range(40)})
    few = Cohort.build(name="t", source="t", customers=people, interactions=None)
    with pytest.raises(DataError, match="both classes to train on and to validate on"):
        quality.churn(few, CONFIG, folds=2)
