"""Comparison of two runs: paired on the customers that both held out."""

import numpy as np
import pytest

from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.evaluation.compare import compare_churn, compare_sequences


def churn(ids, churned, p):
    return ChurnPredictions(customer_id=np.array(ids, object), churned=np.array(churned, float), churn_p=np.array(p))


IDS = [f"c{k}" for k in range(12)]
LABELS = [1, 0] * 6


def test_the_better_of_two_rankings_is_told_by_how_much():
    right, wrong = churn(IDS, LABELS, [0.9, 0.1] * 6), churn(IDS, LABELS, [0.1, 0.9] * 6)
    auc, log_loss = compare_churn(right, wrong)
    assert (auc.score, auc.gap.value, auc.n_customers, auc.is_clear) == ("auc", 1.0, 12, True)
    assert log_loss.gap.value == pytest.approx(np.log(0.9) - np.log(0.1))
    assert [d.gap.value for d in compare_churn(wrong, right)] == [-auc.gap.value, -log_loss.gap.value]


def test_only_customers_held_out_by_both_count_in_whatever_order():
    p = np.linspace(0.1, 0.9, 12)
    first = churn(["x", *IDS], [1, *LABELS], [0.5, *p])
    second = churn([*IDS[::-1], "y", "z"], [*LABELS[::-1], 0, 1], [*p[::-1], 0.1, 0.2])
    differences = compare_churn(first, second)
    assert [d.n_customers for d in differences] == [12, 12]
    assert [d.gap.value for d in differences] == [0, 0]
    assert not any(d.is_clear for d in differences)
    assert compare_churn(first, churn([f"y{k}" for k in range(20)], [0] * 20, [0.1] * 20)) == [], "none in common"


def test_one_class_has_no_ranking():
    one = churn(IDS, [0] * 12, [0.2] * 12)
    assert [d.score for d in compare_churn(one, one)] == ["log_loss"]


def test_steps_that_are_unknown_do_not_count():
    actual = np.tile([1, 2, 0], (12, 1))

    def plans(plan, log_p):
        return SequencePredictions(
            customer_id=np.array(IDS, object), n_events=np.full(12, 3), actual=actual, plan=np.tile(plan, (12, 1)),
            single_steps=np.tile(plan, (12, 1)),
            plan_p=np.full(12, 0.5), actual_log_p=np.tile([log_p, log_p, 0.0], (12, 1)), rank=np.zeros(12, int),
        )  # fmt: skip

    accuracy, loss = compare_sequences(plans([1, 2, 9], -0.5), plans([1, 1, 9], -1.0))
    assert (accuracy.score, accuracy.gap.value) == ("step_accuracy", 0.5)
    assert (loss.score, loss.gap.value) == ("loss", 0.5), "a lower loss is better"
