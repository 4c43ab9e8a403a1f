"""Scores of predictions with 95 % intervals, and the scores of chance.

Letters: M scored customers, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.core.schema import DEFAULT_THRESHOLD, N_STEPS
from crm_models.evaluation.intervals import (
    Estimate,
    auc_with_interval,
    bootstrapped,
    mean,
    share,
)
from crm_models.planning.policy import is_at_risk

ECE_BINS = 10
TOP = 10
IDS_AT_ONCE = 1_000_000

LOWER_IS_BETTER = frozenset({"loss", "log_loss", "brier", "ece"})


def sequence_scores(predictions: SequencePredictions, n_actions: int) -> dict[str, Any]:
    """The sequence part of the report for one model or baseline, with `intervals` (95 %) beside it.

    step_accuracy: share of (customer, step) pairs whose planned action is the true one, over the steps that are known.
    plan_accuracy: share of customers with three known steps whose whole plan is right. single_step_accuracy and
    single_plan_accuracy: the same two for the most probable action of each step by itself. loss: mean cross-entropy per
    known step in nats. hr_at_1, hr_at_10 and ndcg_at_10: the true next action in the ranking of all actions; with
    `n_actions` below ten, all of them are the top.

    DIFF from paper, Evaluation Metrics: ranking scores (hr_at_k, ndcg_at_10) beside accuracy, because a CRM can offer
    more than one action; and both accuracies, because the paper's words mean plans and its 0.0167 means steps.
    """
    known = predictions.actual > 0
    steps = known.sum(axis=1)
    hit = predictions.rank < min(TOP, n_actions)
    accuracies = {}
    for name, planned in (("", predictions.plan), ("single_", predictions.single_steps)):
        right = ((planned == predictions.actual) & known).sum(axis=1)
        accuracies[f"{name}step_accuracy"] = share(right, steps)
        accuracies[f"{name}plan_accuracy"] = share((right == N_STEPS)[steps == N_STEPS])
    parts = {
        **accuracies,
        "loss": mean(-(predictions.actual_log_p * known).sum(axis=1), steps, low=0.0),
        "hr_at_1": share(predictions.rank == 0),
        "hr_at_10": share(hit),
        "ndcg_at_10": share(np.where(hit, 1 / np.log2(predictions.rank + 2.0), 0.0)),
    }
    return {"customers": len(steps)} | _with_intervals(parts)


def sequence_chance(n_actions: int) -> dict[str, Any]:
    """Exact scores of guessing uniformly among A actions."""
    top = min(TOP, n_actions)
    return {
        "step_accuracy": 1 / n_actions,
        "plan_accuracy": n_actions**-N_STEPS,
        "single_step_accuracy": 1 / n_actions,
        "single_plan_accuracy": n_actions**-N_STEPS,
        "loss": math.log(n_actions),
        "hr_at_1": 1 / n_actions,
        "hr_at_10": top / n_actions,
        "ndcg_at_10": float((1 / np.log2(np.arange(top) + 2)).sum() / n_actions),
    }


def possible_actions(kinds: Sequence[str], occurring: np.ndarray) -> int:
    """A for chance: the engagement actions, and all others among the ids (1 to A) of the actions that occur."""
    occurs = np.array(["", *kinds]) == "engagement"
    for first in range(0, len(occurring), IDS_AT_ONCE):
        occurs[occurring[first : first + IDS_AT_ONCE]] = True
    return int(occurs.sum())


def right_per_customer(predictions: SequencePredictions, single: bool = False) -> np.ndarray:
    """(M,) share of known steps that the plan predicts correctly; single: that the single steps do."""
    steps = predictions.single_steps if single else predictions.plan
    known = predictions.actual > 0
    return ((steps == predictions.actual) & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def churn_scores(predictions: ChurnPredictions, threshold: float = DEFAULT_THRESHOLD) -> dict[str, Any]:
    """The churn part of the report for one model or baseline, with `intervals` (95 %) beside it.

    accuracy predicts churn if `is_at_risk` at `threshold`. auc and average_precision are None if only one class is
    present. ece: see `calibration_error`. log_loss in nats, with probabilities clipped to 1e-7 from 0 and 1.

    DIFF from paper, Evaluation Metrics: calibration (ece, brier) beside accuracy, loss and AUC, because the threshold
    is set on probabilities; average precision, because churners are few.
    """
    y, p = predictions.churned.astype(np.float64), predictions.churn_p
    both = 0 < y.sum() < len(y)
    metrics = {"ece": _sorted_calibration_error} | ({"average_precision": average_precision} if both else {})
    resampled = bootstrapped(y, p, metrics)
    parts = {
        "churn_rate": share(y),
        "accuracy": share(is_at_risk(p, threshold) == (y > 0.5)),
        "auc": auc_with_interval(y, p) if both else None,
        "average_precision": resampled.get("average_precision"),
        "log_loss": mean(log_loss_per_customer(predictions), low=0.0),
        "brier": share((p - y) ** 2),
        "ece": resampled.get("ece"),
    }
    return {"customers": len(y)} | _with_intervals(parts)


def churn_chance(churn_rate: float) -> dict[str, Any]:
    """Exact scores of predicting the churn rate for every customer."""
    entropy = -sum(q * math.log(q) for q in (churn_rate, 1 - churn_rate) if q > 0)
    return {
        "churn_rate": churn_rate,
        "accuracy": max(churn_rate, 1 - churn_rate),
        "auc": 0.5,
        "average_precision": churn_rate,
        "log_loss": entropy,
        "brier": churn_rate * (1 - churn_rate),
        "ece": 0.0,
    }


def log_loss_per_customer(predictions: ChurnPredictions) -> np.ndarray:
    """(M,) cross-entropy of each customer's churn probability, in nats."""
    p = np.clip(predictions.churn_p, 1e-7, 1 - 1e-7)
    return -np.where(predictions.churned > 0.5, np.log(p), np.log(1 - p))


def average_precision(churned: np.ndarray, p: np.ndarray) -> float:
    """Average precision: mean precision at each churner, in order of falling p; p (M,) must be sorted ascending.

    Customers with the same p are counted together.
    """
    y = churned[::-1]
    ends = np.append(np.flatnonzero(np.diff(p[::-1])), len(p) - 1)
    hits = np.cumsum(y)[ends]
    return float((np.diff(hits, prepend=0.0) * hits / (ends + 1)).sum() / hits[-1])


def calibration_error(churned: np.ndarray, p: np.ndarray) -> float:
    """Expected calibration error (ECE): mean difference of predicted and observed churn rate over ten bins.

    Bins are weighted by customers, and of equal size as far as customers with the same p stay together. Even a perfect
    model has an error above 0 in a finite sample: about 0.03 on 1,000 customers.
    """
    order = np.argsort(p, kind="stable")
    return _sorted_calibration_error(churned[order], p[order])


def calibration_bins(p: np.ndarray, n_bins: int = ECE_BINS) -> np.ndarray:
    """First index of each bin of p (M,), sorted ascending, and M at the end; equal p are in the same bin."""
    cuts = np.rint(np.linspace(0, len(p), n_bins + 1)[1:-1]).astype(np.int64)
    cuts = np.searchsorted(p, p[cuts.clip(max=len(p) - 1)], "left") if len(p) else cuts[:0]
    return np.unique(np.concatenate([[0], cuts, [len(p)]]))


def _sorted_calibration_error(churned: np.ndarray, p: np.ndarray) -> float:
    return float(np.abs(np.add.reduceat(churned - p, calibration_bins(p)[:-1])).sum() / len(p))


def _with_intervals(parts: dict[str, Estimate | None]) -> dict[str, Any]:
    """Plain numbers by name, with `intervals` [low, high] where the ends are finite."""
    scores: dict[str, Any] = {name: None if e is None else rounded(e.value) for name, e in parts.items()}
    finite = {name: e for name, e in parts.items() if e is not None and math.isfinite(e.high)}
    return scores | {"intervals": {name: [rounded(e.low), rounded(e.high)] for name, e in finite.items()}}


def rounded(value: float) -> float:
    """The value rounded to the eight digits of a report."""
    return round(float(value), 8)


def best_baseline(baselines: dict[str, dict[str, Any]], score: str) -> str | None:
    """Name of the best baseline in a score; None if no baseline has it."""
    known = {name: scores[score] for name, scores in baselines.items() if scores.get(score) is not None}
    return (min if score in LOWER_IS_BETTER else max)(known, key=known.__getitem__) if known else None
