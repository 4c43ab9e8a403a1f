"""Evaluation report: every score beside chance, baselines and ceiling. The only evaluation module that reads truth.

DIFF from paper, Evaluation Metrics: the paper prints accuracies and losses alone; chance, baselines, ceiling and 95 %
intervals show whether a score means anything on so few customers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from crm_models.baselines.churn import churn_baselines
from crm_models.baselines.sequence import sequence_baselines
from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.core.schema import N_STEPS
from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
from crm_models.data.truth import Truth, churn_ceiling, churn_p, sequence_ceiling
from crm_models.evaluation.held_out import HeldOut
from crm_models.evaluation.intervals import (
    Estimate,
    auc_difference,
    difference_interval,
)
from crm_models.evaluation.scores import (
    best_baseline,
    churn_chance,
    churn_scores,
    log_loss_per_customer,
    possible_actions,
    right_per_customer,
    rounded,
    sequence_chance,
    sequence_scores,
)
from crm_models.evaluation.verdict import notes


def build_report(
    held: HeldOut,
    encoder: FeatureEncoder,
    sequence: SequencePredictions | None,
    churn: ChurnPredictions | None,
    truth: Truth | None = None,
    customers: Cohort | None = None,
) -> dict[str, Any]:
    """The content of `report.json`: a part for each model, None if it could not be trained, and `notes` in sentences.

    sequence, churn: predictions for the test customers. truth: with `customers`, the test customers alone. Each part
    has the model's scores and their `intervals`, `of_customers` of the cohort, `chance`, `baselines`, `ceiling` (None
    without truth), `comparisons` with the best baseline (see `_compared`), and the first of these again as
    `over_best_baseline`. `ceiling` is the expected score of the true probabilities; the churn part's `ceiling_as_drawn`
    is their score on the outcomes actually drawn.
    """
    parts: dict[str, dict[str, Any] | None] = {"sequence": None, "churn": None}
    told = None if truth is None or customers is None else (truth, customers)
    if sequence is not None and len(sequence.rank):
        parts["sequence"] = _sequence_part(held, encoder, sequence, told)
    if churn is not None and len(churn.churn_p):
        parts["churn"] = _churn_part(held, encoder, churn, told)
    for part in parts.values():
        if part is not None:
            part["of_customers"] = len(held.arrays)
    return parts | {"notes": notes(parts)}


def _sequence_part(
    held: HeldOut, encoder: FeatureEncoder, ours: SequencePredictions, told: tuple[Truth, Cohort] | None
) -> dict[str, Any]:
    arrays, split, outcomes = held.arrays, held.split, held.outcomes
    n_actions = possible_actions(encoder.kinds, arrays.events.action)
    fitted = np.concatenate([split.train, split.valid])
    others = sequence_baselines(held.learned, fitted, arrays, outcomes, encoder)
    baselines = {name: sequence_scores(other, n_actions) for name, other in others.items()}
    steps = (ours.actual > 0).sum(axis=1)

    def gap(score: str, best: str) -> Estimate:
        if score == "loss":
            mine, other = (-p.actual_log_p.sum(axis=1) / steps for p in (ours, others[best]))
            return difference_interval(other, mine, steps)
        if score == "hr_at_1":
            return difference_interval(ours.rank == 0, others[best].rank == 0)
        mine, other = (right_per_customer(p, single=score == "single_step_accuracy") for p in (ours, others[best]))
        if score == "plan_accuracy":
            return difference_interval(mine[steps == N_STEPS] == 1, other[steps == N_STEPS] == 1)
        return difference_interval(mine, other, steps)

    ceiling = None
    if told is not None:
        rows, n_history = np.searchsorted(split.test, outcomes.rows), np.zeros(len(split.test), np.int64)
        n_history[rows] = outcomes.n_history
        ceiling = sequence_ceiling(*told, rows=rows, n_history=n_history)
    comparisons = [
        _compared(score, best, gap(score, best))
        for score, best in _best(baselines, "step_accuracy", "plan_accuracy", "loss", "hr_at_1", "single_step_accuracy")
    ]
    return sequence_scores(ours, n_actions) | {
        "chance": sequence_chance(n_actions),
        "baselines": baselines,
        "ceiling": ceiling,
        "comparisons": comparisons,
        "over_best_baseline": comparisons[0],
    }


def _churn_part(
    held: HeldOut, encoder: FeatureEncoder, ours: ChurnPredictions, told: tuple[Truth, Cohort] | None
) -> dict[str, Any]:
    arrays, labels, split = held.arrays, held.labels, held.split
    if held.learned is not arrays:  # as learned from, but for the test customers
        is_test = np.isin(np.arange(len(arrays)), split.test)
        arrays = replace(arrays, behaviour=np.where(is_test[:, None], arrays.behaviour, held.learned.behaviour))
        labels = np.where(is_test, labels, held.learned_labels)
    others = churn_baselines(arrays, labels, split, encoder)
    baselines = {name: churn_scores(other) for name, other in others.items()}

    def gap(score: str, best: str) -> Estimate:
        if score == "auc":
            return auc_difference(ours.churned, ours.churn_p, others[best].churn_p)
        return difference_interval(log_loss_per_customer(others[best]), log_loss_per_customer(ours))

    ceiling = as_drawn = None
    if told is not None:
        p = churn_p(*told)[~np.isnan(labels[split.test])]
        ceiling, as_drawn = churn_ceiling(p), churn_scores(replace(ours, churn_p=p))
    comparisons = [_compared(score, best, gap(score, best)) for score, best in _best(baselines, "log_loss", "auc")]
    return churn_scores(ours) | {
        "chance": churn_chance(float(ours.churned.mean())),
        "baselines": baselines,
        "ceiling": ceiling,
        "ceiling_as_drawn": as_drawn,
        "comparisons": comparisons,
        "over_best_baseline": comparisons[0],
    }


def _best(baselines: dict[str, dict[str, Any]], *scores: str) -> list[tuple[str, str]]:
    """(score, name of its best baseline) for each of the scores that a baseline has."""
    return [(score, name) for score in scores if (name := best_baseline(baselines, score)) is not None]


def _compared(score: str, baseline: str, gap: Estimate) -> dict[str, Any]:
    """Difference to a baseline on the same customers: `value` is positive if our model is better, for every score.

    low and high: ends of its 95 % interval, None if there are too few customers.
    """
    has_interval = math.isfinite(gap.low)
    interval = {name: rounded(getattr(gap, name)) if has_interval else None for name in ("low", "high")}
    return {"score": score, "baseline": baseline, "value": rounded(gap.value), **interval}
