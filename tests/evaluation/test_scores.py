"""Scores by hand, and what chance reaches."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.data.cohort import Cohort
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.evaluation.scores import (
    average_precision,
    best_baseline,
    calibration_error,
    churn_chance,
    churn_scores,
    possible_actions,
    sequence_chance,
    sequence_scores,
)


def sequences(actual: Any, plan: Any, rank: Any, log_p: Any = -1.0) -> SequencePredictions:
    actual = np.array(actual)
    return SequencePredictions(
        customer_id=np.array([f"c{k}" for k in range(len(actual))], dtype=object),
        n_events=np.full(len(actual), 5),
        actual=actual,
        plan=np.array(plan),
        single_steps=np.full(actual.shape, 9),
        plan_p=np.full(len(actual), 0.1),
        actual_log_p=np.where(actual > 0, log_p, 0.0),
        rank=np.array(rank),
    )


def churners(churned: Sequence[float], p: Sequence[float]) -> ChurnPredictions:
    ids = np.array([f"c{k}" for k in range(len(churned))], dtype=object)
    return ChurnPredictions(customer_id=ids, churned=np.array(churned, float), churn_p=np.array(p, float))


FOUR = sequences(
    actual=[[1, 2, 3], [4, 4, 4], [2, 1, 0], [3, 0, 0]],
    plan=[[1, 2, 3], [4, 1, 4], [1, 1, 1], [2, 2, 2]],
    rank=[0, 0, 2, 11],
    log_p=np.log([[0.5, 0.5, 0.5], [0.5, 0.25, 0.5], [0.25, 0.5, 1.0], [0.125, 1.0, 1.0]]),
)
"""Nine known steps: 3 of 3 right, 2 of 3, 1 of 2, 0 of 1."""


def test_sequence_scores_of_four_customers_by_hand():
    scores = sequence_scores(FOUR, n_actions=20)
    assert scores["customers"] == 4
    assert scores["step_accuracy"] == pytest.approx(6 / 9, abs=1e-8)
    assert scores["plan_accuracy"] == pytest.approx(1 / 2, abs=1e-8)  # only two have three known steps
    # Six steps at 1/2, two at 1/4, one at 1/8: 6 + 4 + 3 halvings over nine steps.
    assert scores["loss"] == pytest.approx(13 * math.log(2) / 9, abs=1e-8)
    assert scores["hr_at_1"] == 0.5
    assert scores["hr_at_10"] == 0.75  # the last one's true action stands in the twelfth place
    assert scores["ndcg_at_10"] == pytest.approx((1 + 1 + 1 / math.log2(4)) / 4, abs=1e-8)
    accuracies = {"step_accuracy", "plan_accuracy", "single_step_accuracy", "single_plan_accuracy"}
    assert set(scores["intervals"]) == {*accuracies, "loss", "hr_at_1", "hr_at_10", "ndcg_at_10"}
    # The single steps of the four are all 9, so none is right.
    assert (scores["single_step_accuracy"], scores["single_plan_accuracy"]) == (0, 0)
    for name, (low, high) in scores["intervals"].items():
        assert low <= scores[name] < high


def test_a_perfect_predictor_gets_one():
    actual = np.random.default_rng(0).integers(1, 9, (50, 3))
    scores = sequence_scores(sequences(actual, actual, np.zeros(50, int), 0.0), n_actions=8)
    assert [scores[k] for k in ("step_accuracy", "plan_accuracy", "hr_at_1", "hr_at_10", "ndcg_at_10")] == [1] * 5
    assert scores["loss"] == 0
    assert scores["intervals"]["step_accuracy"] == [pytest.approx(50 / (50 + 3.8415), abs=1e-4), 1.0]


@pytest.mark.parametrize("n_actions", [4, 10, 50])
def test_chance_is_what_all_equally_likely_outcomes_average_to(n_actions):
    # One customer per possible outcome of the step, an even distribution, and any fixed order of the actions.
    actual = np.repeat(np.arange(1, n_actions + 1)[:, None], 3, axis=1)
    rank = np.random.default_rng(1).permutation(n_actions)
    scores = sequence_scores(sequences(actual, np.full((n_actions, 3), 2), rank, -math.log(n_actions)), n_actions)
    chance = sequence_chance(n_actions)
    for name in ("step_accuracy", "loss", "hr_at_1", "hr_at_10", "ndcg_at_10"):
        assert scores[name] == pytest.approx(chance[name], abs=1e-8)
    assert chance["plan_accuracy"] == pytest.approx(chance["step_accuracy"] ** 3)


def test_the_chance_loss_of_the_paper_is_3_912():
    cohort, _ = generate(ScenarioSettings(scenario="paper", seed=0))
    assert (
        possible_actions(tuple(cohort.actions["kind"]), cohort.event_actions + 1) == 50
    )  # the retention actions never occur: nobody would guess them
    assert round(sequence_chance(50)["loss"], 3) == 3.912


def test_a_score_that_nobody_can_tell_is_none():
    short = sequences([[1, 0, 0]], [[1, 1, 1]], [0])
    scores = sequence_scores(short, n_actions=3)
    assert scores["plan_accuracy"] is None
    assert "loss" not in scores["intervals"]  # one customer alone says nothing about the spread
    json.dumps(scores, allow_nan=False)


def test_churn_scores_of_four_customers_by_hand():
    scores = churn_scores(churners([1, 0, 1, 0], [0.8, 0.6, 0.5, 0.2]))
    assert (scores["customers"], scores["churn_rate"]) == (4, 0.5)
    assert scores["accuracy"] == 0.5  # 0.6 is a false alarm; 0.5 is not strictly above the threshold
    assert scores["auc"] == 0.75  # of the four pairs only (0.5, 0.6) is the wrong way round
    assert scores["average_precision"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-8)
    assert scores["log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.5, 0.8]).mean(), abs=1e-8)
    assert scores["brier"] == pytest.approx((0.04 + 0.36 + 0.25 + 0.04) / 4, abs=1e-8)
    assert scores["ece"] == pytest.approx((0.2 + 0.6 + 0.5 + 0.2) / 4, abs=1e-8)  # four customers, four bins
    assert churn_scores(churners([1, 0, 1, 0], [0.8, 0.6, 0.5, 0.2]), threshold=0.45)["accuracy"] == 0.75


def test_with_one_class_auc_and_precision_are_none_and_the_rest_is_told():
    scores = churn_scores(churners([0, 0, 0], [0.1, 0.2, 0.3]))
    assert scores["auc"] is scores["average_precision"] is None
    assert scores["ece"] == pytest.approx(0.2)
    assert set(scores["intervals"]) == {"churn_rate", "accuracy", "log_loss", "brier", "ece"}


def test_nobody_to_score_gives_none_everywhere():
    scores = churn_scores(churners([], []))
    assert scores.pop("customers") == 0
    assert scores.pop("intervals") == {}
    assert set(scores.values()) == {None}


@pytest.mark.parametrize("digits", [0, 1, 8])
def test_average_precision_agrees_with_scikit_learn(digits):
    rng = np.random.default_rng(2)
    y = (rng.random(500) < 0.3).astype(float)
    p = np.clip(0.3 * y + rng.random(500), 0, 1).round(digits)
    order = np.argsort(p, kind="stable")
    assert average_precision(y[order], p[order]) == pytest.approx(average_precision_score(y, p), rel=1e-12)


def test_chance_is_what_the_churn_rate_alone_reaches():
    y = np.repeat([1.0, 0.0], [300, 700])
    scores, chance = churn_scores(churners(y, np.full(1000, 0.3))), churn_chance(0.3)
    for name, value in chance.items():
        assert scores[name] == pytest.approx(value, abs=1e-8)


def test_customers_with_the_same_probability_share_a_bin():
    # In one bin 100 customers at 0.3, 30 of them gone: no error, whatever their order.
    y = np.random.default_rng(3).permutation(np.repeat([1.0, 0.0], [30, 70]))
    assert calibration_error(y, np.full(100, 0.3)) == pytest.approx(0.0, abs=1e-12)
    # Two bins of 50: 0.1 off and 0.2 off.
    y = np.concatenate([np.repeat([1.0, 0.0], [15, 35]), np.repeat([1.0, 0.0], [45, 5])])
    assert calibration_error(y, np.repeat([0.2, 0.7], 50)) == pytest.approx(0.15)


def test_the_calibration_error_tells_honest_from_boastful_probabilities():
    rng = np.random.default_rng(4)
    p = rng.beta(1, 3, 20_000)
    y = (rng.random(20_000) < p).astype(float)
    boastful = p**2 / (p**2 + (1 - p) ** 2)  # log-odds doubled
    honest, other = churn_scores(churners(y, p)), churn_scores(churners(y, boastful))
    assert honest["ece"] < 0.012
    assert other["ece"] > 0.08
    assert honest["intervals"]["ece"][1] < other["intervals"]["ece"][0]


def test_the_order_of_the_customers_changes_no_score():
    rng = np.random.default_rng(5)
    told = churners((rng.random(400) < 0.3).astype(float), rng.random(400).round(2))
    order = rng.permutation(400)
    shuffled = replace(told, churned=told.churned[order], churn_p=told.churn_p[order])
    before, after = churn_scores(told), churn_scores(shuffled)
    assert before.keys() == after.keys()
    for name in before:
        assert after[name] == (before[name] if name == "intervals" else pytest.approx(before[name], abs=2e-8))
    for turned in permutations(range(4)):
        rows = list(turned)
        some = SequencePredictions(**{name: value[rows] for name, value in vars(FOUR).items()})
        assert sequence_scores(some, 20) == sequence_scores(FOUR, 20)


def test_the_best_baseline_is_that_of_the_score_asked_for():
    baselines = {"popular": {"loss": 1.8, "auc": 0.3}, "markov": {"loss": 1.2, "auc": 0.2}, "other": {"loss": None}}
    assert best_baseline(baselines, "loss") == "markov"
    assert best_baseline(baselines, "auc") == "popular"
    assert best_baseline(baselines, "brier") is None


def test_actions_that_count_for_chance_are_engagement_actions_and_others_that_occur():
    cohort = Cohort.build(
        name="t",
        source="t",
        customers=None,
        interactions=pd.DataFrame({"customer_id": ["a"], "action": ["offer"], "timestamp": [1.0]}),
        actions=pd.DataFrame(
            {
                "action": ["mail", "call", "offer", "gift"],
                "kind": ["engagement", "engagement", "retention", "retention"],
            }
        ),
    )
    assert (
        possible_actions(tuple(cohort.actions["kind"]), cohort.event_actions + 1) == 3
    )  # mail and call, though nobody had them, and the offer that somebody had


def test_the_loss_is_per_step_and_its_interval_never_below_zero():
    predictions = sequences(
        [[1, 1, 1], [1, 1, 0], [1, 1, 1]], [[1, 1, 1]] * 3, [0, 0, 0], [[-0.1] * 3, [-0.1, -2, 0], [-0.1] * 3]
    )
    scores = sequence_scores(predictions, 3)
    assert scores["loss"] == pytest.approx((0.3 + 2.1 + 0.3) / 8)
    assert scores["intervals"]["loss"][0] == 0.0
