"""Two runs on the same customers: which is better at what, by how much, with the interval of the paired difference.

Only customers that both runs held out count: on others, one of the two would be tested on what it learned from. Runs
tested on other outcomes of them, from another date on, are not compared: the list of differences is empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crm_models.core.records import ChurnPredictions, Predictions, SequencePredictions
from crm_models.evaluation.intervals import Estimate, auc_difference, difference_interval
from crm_models.evaluation.scores import log_loss_per_customer, right_per_customer

MIN_CUSTOMERS = 10
"""Fewer customers held out by both runs are not compared."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One score of two runs. gap: first minus second, positive if the first is better, with its 95% interval."""

    score: str
    gap: Estimate
    n_customers: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.gap.low > 0 or self.gap.high < 0


def compare_sequences(first: SequencePredictions, second: SequencePredictions) -> list[Difference]:
    """Differences in step accuracy and in the loss per step."""
    first, second = _paired(first, second)
    known = (first.actual > 0).sum(axis=1)
    if len(known) < MIN_CUSTOMERS or not np.array_equal(first.actual, second.actual):
        return []
    accuracy = difference_interval(right_per_customer(first), right_per_customer(second), known)
    ours, theirs = (-p.actual_log_p.sum(axis=1) / np.maximum(known, 1) for p in (first, second))
    gaps = {"step_accuracy": accuracy, "loss": difference_interval(theirs, ours, known)}
    return [Difference(score=score, gap=gap, n_customers=len(known)) for score, gap in gaps.items()]


def compare_churn(first: ChurnPredictions, second: ChurnPredictions) -> list[Difference]:
    """Differences in the AUC and in the log loss; the AUC needs both classes."""
    first, second = _paired(first, second)
    n = len(first.churn_p)
    if n < MIN_CUSTOMERS or not np.array_equal(first.churned, second.churned):
        return []
    gaps = {"log_loss": difference_interval(log_loss_per_customer(second), log_loss_per_customer(first))}
    if 0 < first.churned.sum() < n:
        gaps = {"auc": auc_difference(first.churned, first.churn_p, second.churn_p)} | gaps
    return [Difference(score=score, gap=gap, n_customers=n) for score, gap in gaps.items()]


def _paired(first: Predictions, second: Predictions) -> tuple[Predictions, Predictions]:
    """Both, for the customers that both have, in the order of the first."""
    at = pd.Index(second.customer_id).get_indexer(pd.Index(first.customer_id))
    return _take(first, np.flatnonzero(at >= 0)), _take(second, at[at >= 0])


def _take(predictions: Predictions, rows: np.ndarray) -> Predictions:
    return replace(predictions, **{name: values[rows] for name, values in vars(predictions).items()})
