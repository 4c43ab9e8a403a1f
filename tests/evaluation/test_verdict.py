"""The sentence on a model and its best baseline, for each way they can stand."""

import math

import numpy as np
import pytest

from crm_models.evaluation.intervals import difference_interval
from crm_models.evaluation.verdict import verdict


def part(score: str, value: float, low: float | None, high: float | None, customers: int = 50) -> dict:
    gap = {"score": score, "baseline": "markov_2", "value": value, "low": low, "high": high}
    return {"customers": customers, "over_best_baseline": gap, "comparisons": [gap]}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            part("step_accuracy", 0.2, 0.1, 0.3),
            "The churn model beats the best baseline (Markov chain of order 2): step accuracy higher by 0.200, "
            "95% interval 0.100 to "
            "0.300.",
        ),
        (
            part("loss", 0.2, 0.1, 0.3),
            "The churn model beats the best baseline (Markov chain of order 2): loss lower by 0.200, 95% "
            "interval 0.100 to 0.300.",
        ),
        (
            part("auc", -0.2, -0.3, -0.1),
            "The churn model is worse than the best baseline (Markov chain of order 2): AUC lower by 0.200, 95% "
            "interval 0.100 to "
            "0.300.",
        ),
        (
            part("log_loss", -0.2, -0.3, -0.1),
            "The churn model is worse than the best baseline (Markov chain of order 2): log loss higher by "
            "0.200, 95% interval 0.100 "
            "to 0.300.",
        ),
        (
            part("auc", 0.02, -0.1, 0.1),
            "The churn model and the best baseline (Markov chain of order 2) differ by no more than sampling "
            "error: AUC higher by "
            "0.020.",
        ),
        (
            part("log_loss", -0.02, -0.1, 0.1),
            "The churn model and the best baseline (Markov chain of order 2) differ by no more than sampling "
            "error: log loss higher "
            "by 0.020.",
        ),
        (
            part("auc", 0.0004, -0.1, 0.1),
            "The churn model and the best baseline (Markov chain of order 2) differ by no more than sampling "
            "error: AUC equal.",
        ),
        (
            part("auc", 0.2, 0.0, 0.4),  # an interval that ends at zero proves nothing
            "The churn model and the best baseline (Markov chain of order 2) differ by no more than sampling "
            "error: AUC higher by "
            "0.200.",
        ),
        (
            part("auc", 0.2, 0.1, 0.3, customers=9),
            "9 held-out customers are too few to compare the churn model with the baselines.",
        ),
        (
            part("auc", 0.2, None, None),
            "50 held-out customers are too few to compare the churn model with the baselines.",
        ),
    ],
)
def test_the_sentence(given, sentence):
    assert verdict("churn", given) == sentence


def test_ten_customers_are_enough():
    assert "beats" in verdict("churn", part("auc", 0.2, 0.1, 0.3, customers=10))


def test_of_nobody_the_difference_is_zero_and_unbounded():
    nothing = difference_interval(np.zeros(0), np.zeros(0))
    assert (nothing.value, nothing.low, nothing.high) == (0.0, -math.inf, math.inf)
