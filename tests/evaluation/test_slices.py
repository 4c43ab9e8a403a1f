"""Scores by group: by hand, worst first, and small groups left out."""

import numpy as np
import pytest

from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.data.profile import BEHAVIOUR, LENGTH, SEGMENT, SINCE_LAST, group_customers, profile
from crm_models.evaluation.intervals import wilson
from crm_models.evaluation.slices import churn_slices, sequence_slices
from tests.small_cohorts import random_cohort


def test_the_group_whose_prediction_is_furthest_off_comes_first():
    churned = np.array([1, 0] * 10 + [0] * 20 + [1] * 4)
    p = np.array([0.55, 0.45] * 10 + [0.9] * 20 + [0.5] * 4)
    group = np.repeat([0, 1, 2], [20, 20, 4])
    table = churn_slices(
        ChurnPredictions(customer_id=np.arange(44), churned=churned, churn_p=p), group, ["a", "b", "c"]
    )
    assert table["group"].tolist() == ["b", "a"], "four customers are too few"
    assert table["gap"].tolist() == pytest.approx([0.9, 0.0])
    assert table["is_off"].tolist() == [True, False]
    assert (table["low"].iloc[1], table["high"].iloc[1]) == wilson(0.5, 20)
    assert np.isnan(table["auc"].iloc[0]), "one class has no ranking"
    assert table["auc"].iloc[1] == 1.0


def test_the_accuracy_of_a_group_counts_its_known_steps():
    actual = np.array([[1, 2, 0]] * 10 + [[1, 2, 3]] * 10)
    plan = np.array([[1, 9, 9]] * 10 + [[1, 2, 3]] * 10)
    half = np.zeros((20, 3))
    predictions = SequencePredictions(
        customer_id=np.arange(20), n_events=np.full(20, 4), actual=actual, plan=plan, single_steps=plan,
        plan_p=half[:, 0], actual_log_p=half, rank=np.zeros(20, int),
    )  # fmt: skip
    table = sequence_slices(predictions, np.repeat([1, 0], 10), ["whole", "short"])
    assert table[["group", "customers", "accuracy"]].to_numpy().tolist() == [["short", 10, 0.5], ["whole", 10, 1.0]]


def test_no_group_is_large_enough():
    few = ChurnPredictions(customer_id=np.arange(3), churned=np.array([1, 0, 1]), churn_p=np.full(3, 0.5))
    assert churn_slices(few, np.zeros(3, int), ["a"]).empty


@pytest.mark.parametrize("as_of", [None, 60.0])
def test_customers_are_grouped_as_the_profile_counts_them(as_of):
    cohort = random_cohort(80, seed=4, as_of=as_of)
    facts = profile(cohort)
    for by, table, column in ((SEGMENT, facts.segments, "segment"), (LENGTH, facts.history, "events")):
        codes, names = group_customers(cohort, by)
        counts = dict(zip(names, np.bincount(codes, minlength=len(names)), strict=True))
        assert {name: counts[name] for name in table[column]} == dict(
            zip(table[column], table["customers"], strict=True)
        )
    codes, names = group_customers(cohort, "tier")
    tier = facts.features[facts.features["feature"] == "tier"]
    assert dict(zip(tier["group"], tier["customers"], strict=True)) == {
        name: int((codes == k).sum()) for k, name in enumerate(names) if (codes == k).any()
    }
    codes, names = group_customers(cohort, SINCE_LAST)
    assert names[-1] == "no event"
    assert len(codes) == 80
    assert len(BEHAVIOUR) == 3
