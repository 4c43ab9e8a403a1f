"""Scores with 95 % intervals, each beside chance, baselines and ceiling: the report. The one stage that reads truth.

Scores are means over customers wherever that is possible, so that their intervals follow from the central limit theorem
and a million customers cost no more than a sort. Letters: M scored customers, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from crm_models.baselines import churn_baselines, sequence_baselines
from crm_models.cohort import Outcomes, Split
from crm_models.features import CohortArrays, FeatureEncoder
from crm_models.records import ChurnPredictions, Cohort, SequencePredictions
from crm_models.schema import KIND, N_STEPS
from crm_models.truth import Truth, churn_ceiling, churn_p, sequence_ceiling

Z = 1.959964
"""Half-width of a 95 % interval in standard errors."""

ECE_BINS = 10
TOP = 10
N_RESAMPLES = 200
RESAMPLE_LIMIT = 20_000

SUSPICIOUS_AUC = 0.97
"""Above this on real data, a column that knows the answer is likelier than a good model."""


# ---- sequence --------------------------------------------------------------------------------------------------------


def sequence_scores(predictions: SequencePredictions, n_actions: int) -> dict[str, Any]:
    """The sequence part of the report for one model or baseline, with `intervals` (95 %) beside it.

    step_accuracy: share of (customer, step) pairs whose planned action is the true one. plan_accuracy: share of
    customers with three known steps whose whole plan is right. loss: mean cross-entropy per known step in nats.
    hr_at_10 and ndcg_at_10: the true next action among all `n_actions`.
    """
    known = predictions.actual > 0
    steps = known.sum(axis=1)
    right = ((predictions.plan == predictions.actual) & known).sum(axis=1)
    whole = steps == N_STEPS
    hit = predictions.rank < min(TOP, n_actions)
    gain = np.where(hit, 1 / np.log2(predictions.rank + 2.0), 0.0)
    parts = {
        "step_accuracy": _ratio(right, steps, (0, 1)),
        "plan_accuracy": _ratio((right == N_STEPS)[whole], np.ones(int(whole.sum())), (0, 1)),
        "loss": _ratio(-(predictions.actual_log_p * known).sum(axis=1), steps, (0, math.inf)),
        "hr_at_10": _ratio(hit, np.ones(len(hit)), (0, 1)),
        "ndcg_at_10": _ratio(gain, np.ones(len(gain)), (0, 1)),
    }
    return {"customers": len(steps)} | _with_intervals(parts)


def sequence_chance(n_actions: int) -> dict[str, Any]:
    """What guessing evenly among A actions gives, exactly."""
    top = min(TOP, n_actions)
    return {
        "step_accuracy": 1 / n_actions,
        "plan_accuracy": n_actions**-N_STEPS,
        "loss": math.log(n_actions),
        "hr_at_10": top / n_actions,
        "ndcg_at_10": float((1 / np.log2(np.arange(top) + 2)).sum() / n_actions),
    }


def possible_actions(cohort: Cohort) -> int:
    """A for chance: engagement actions, and any other that occurs. Retention actions that never occur are no guess."""
    occurs = np.bincount(cohort.event_actions, minlength=len(cohort.actions)) > 0
    return int(((cohort.actions[KIND] == "engagement").to_numpy() | occurs).sum())


# ---- churn -----------------------------------------------------------------------------------------------------------


def churn_scores(predictions: ChurnPredictions, threshold: float = 0.5) -> dict[str, Any]:
    """The churn part of the report for one model or baseline, with `intervals` (95 %) beside it.

    accuracy counts a customer as a churner strictly above `threshold`. auc and average_precision are None where only
    one class is present. ece: expected calibration error over ten bins of equally many customers.
    """
    y, p = predictions.churned.astype(np.float64), predictions.churn_p
    one = np.ones(len(y))
    safe = np.clip(p, 1e-7, 1 - 1e-7)
    parts = {
        "churn_rate": _ratio(y, one, (0, 1)),
        "accuracy": _ratio((p > threshold) == (y > 0.5), one, (0, 1)),
        "log_loss": _ratio(-(y * np.log(safe) + (1 - y) * np.log(1 - safe)), one, (0, math.inf)),
        "brier": _ratio((p - y) ** 2, one, (0, 1)),
    }
    both = 0 < y.sum() < len(y)
    parts["auc"] = auc_with_interval(y, p) if both else None
    parts["average_precision"] = _resampled(y, p, average_precision_score) if both else None
    parts["ece"] = _resampled(y, p, calibration_error) if len(y) else None
    return {"customers": len(y)} | _with_intervals(parts)


def churn_chance(churn_rate: float) -> dict[str, Any]:
    """What is reached by knowing the churn rate and nothing else, exactly."""
    h = -sum(q * math.log(q) for q in (churn_rate, 1 - churn_rate) if q > 0)
    return {
        "churn_rate": churn_rate,
        "accuracy": max(churn_rate, 1 - churn_rate),
        "auc": 0.5,
        "average_precision": churn_rate,
        "log_loss": h,
        "brier": churn_rate * (1 - churn_rate),
        "ece": 0.0,
    }


def calibration_error(churned: np.ndarray, p: np.ndarray) -> float:
    """Mean distance between the predicted and the observed churn rate over ten bins of equally many customers."""
    order = np.argsort(p, kind="stable")
    bins = np.array_split(order, min(ECE_BINS, len(order)))
    return float(sum(abs(churned[b].mean() - p[b].mean()) * len(b) for b in bins) / len(order))


@dataclass(frozen=True)
class Estimate:
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float


def auc_with_interval(churned: np.ndarray, p: np.ndarray) -> Estimate:
    """Area under the ROC curve with DeLong's interval (DeLong et al., 1988), computed from ranks in O(n log n)."""
    positive, negative = p[churned > 0.5], p[churned <= 0.5]
    # Placement of each churner among the stayers, and the other way round; ties count half.
    above = _placement(positive, negative)
    below = 1 - _placement(negative, positive)
    value = float(above.mean())
    spread = 0.0
    for values in (above, below):
        spread += float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.25
    half = Z * math.sqrt(spread)
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0))


def _placement(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of `others` below each value, ties half."""
    ranked = np.sort(others)
    left, right = np.searchsorted(ranked, values, "left"), np.searchsorted(ranked, values, "right")
    return (left + right) / (2 * len(others))


def _ratio(top: np.ndarray, bottom: np.ndarray, limits: tuple[float, float]) -> Estimate | None:
    """Sum over customers divided by sum over customers, with the delta method's interval; Wilson's for plain shares."""
    top, bottom = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    n, total = len(top), bottom.sum()
    if total == 0:
        return None
    value = float(top.sum() / total)
    if (bottom == 1).all() and ((top == 0) | (top == 1)).all():
        return Estimate(value, *wilson(value, n))
    error = math.sqrt(float(((top - value * bottom) ** 2).sum())) / total * math.sqrt(n / max(n - 1, 1))
    return Estimate(value, max(value - Z * error, limits[0]), min(value + Z * error, limits[1]))


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share observed among n."""
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _resampled(y: np.ndarray, p: np.ndarray, score: Callable[[np.ndarray, np.ndarray], float]) -> Estimate:
    """A score with a bootstrap interval over customers, the seed fixed.

    Of more than 20,000 customers the resamples draw 20,000, and the interval is narrowed by the square root of the
    ratio.
    """
    rng = np.random.default_rng(0)
    value, n = float(score(y, p)), len(y)
    size = min(n, RESAMPLE_LIMIT)
    found = []
    for _ in range(N_RESAMPLES):
        at = rng.integers(0, n, size)
        if 0 < y[at].sum() < size:
            found.append(score(y[at], p[at]))
    if len(found) < 2:
        return Estimate(value, 0.0, 1.0)
    half = Z * float(np.std(found, ddof=1)) * math.sqrt(size / n)
    return Estimate(value, max(value - half, 0.0), min(value + half, 1.0))


def _with_intervals(parts: dict[str, Estimate | None]) -> dict[str, Any]:
    scores: dict[str, Any] = {name: None if e is None else _rounded(e.value) for name, e in parts.items()}
    intervals = {name: [_rounded(e.low), _rounded(e.high)] for name, e in parts.items() if e is not None}
    return scores | {"intervals": intervals}


def _rounded(value: float) -> float:
    return round(float(value), 8)


# ---- two models on the same customers --------------------------------------------------------------------------------


def difference_interval(ours: np.ndarray, theirs: np.ndarray) -> Estimate:
    """Mean of the paired differences of a score per customer (M,), with its 95 % interval."""
    gap = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    half = Z * float(gap.std(ddof=1)) / math.sqrt(len(gap)) if len(gap) > 1 else math.inf
    value = float(gap.mean()) if len(gap) else 0.0
    return Estimate(value, value - half, value + half)


def right_per_customer(predictions: SequencePredictions) -> np.ndarray:
    """(M,) share of known steps that the plan has right."""
    known = predictions.actual > 0
    return ((predictions.plan == predictions.actual) & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


def log_loss_per_customer(predictions: ChurnPredictions) -> np.ndarray:
    """(M,) cross-entropy of each customer's churn probability, in nats."""
    p = np.clip(predictions.churn_p, 1e-7, 1 - 1e-7)
    return -np.where(predictions.churned > 0.5, np.log(p), np.log(1 - p))


# ---- the report ------------------------------------------------------------------------------------------------------


def build_report(
    cohort: Cohort,
    arrays: CohortArrays,
    split: Split,
    found: Outcomes,
    encoder: FeatureEncoder,
    sequence: SequencePredictions | None,
    churn: ChurnPredictions | None,
    truth: Truth | None,
) -> dict[str, Any]:
    """The content of `report.json`: each part null where its model could not be trained, with `notes` in sentences.

    arrays: the cohort at its `as_of`. found: the test outcomes that `sequence` answers.
    """
    parts = {
        "sequence": None
        if sequence is None
        else _sequence_part(cohort, arrays, split, found, encoder, sequence, truth),
        "churn": None if churn is None else _churn_part(cohort, arrays, split, encoder, churn, truth),
    }
    return parts | {"notes": _notes(parts)}


def _sequence_part(
    cohort: Cohort,
    arrays: CohortArrays,
    split: Split,
    found: Outcomes,
    encoder: FeatureEncoder,
    ours: SequencePredictions,
    truth: Truth | None,
) -> dict[str, Any]:
    n_actions = possible_actions(cohort)
    fitted = np.concatenate([split.train, split.valid])
    others = sequence_baselines(arrays, fitted, arrays, found, encoder)
    baselines = {name: sequence_scores(theirs, n_actions) for name, theirs in others.items()}
    best = max(baselines, key=lambda name: baselines[name]["step_accuracy"] or 0.0)
    gap = difference_interval(right_per_customer(ours), right_per_customer(others[best]))
    ceiling = None
    if truth is not None:
        n_history = np.zeros(cohort.n_customers, np.int64)
        n_history[found.rows] = found.n_history
        ceiling = sequence_ceiling(truth, cohort, rows=found.rows, n_history=n_history)
    return sequence_scores(ours, n_actions) | {
        "chance": sequence_chance(n_actions),
        "baselines": baselines,
        "ceiling": ceiling,
        "over_best_baseline": {"score": "step_accuracy", "baseline": best, **vars(gap)},
    }


def _churn_part(
    cohort: Cohort,
    arrays: CohortArrays,
    split: Split,
    encoder: FeatureEncoder,
    ours: ChurnPredictions,
    truth: Truth | None,
) -> dict[str, Any]:
    labels = cohort.labels
    others = churn_baselines(arrays, labels, split, encoder)
    baselines = {name: churn_scores(theirs) for name, theirs in others.items()}
    best = min(baselines, key=lambda name: baselines[name]["log_loss"])
    gap = difference_interval(log_loss_per_customer(others[best]), log_loss_per_customer(ours))
    ceiling = None
    if truth is not None:
        test = split.test[~np.isnan(labels[split.test])]
        ceiling = churn_ceiling(churn_p(truth, cohort)[test])
    return churn_scores(ours) | {
        "chance": churn_chance(float(ours.churned.mean())),
        "baselines": baselines,
        "ceiling": ceiling,
        "over_best_baseline": {"score": "log_loss", "baseline": best, **vars(gap)},
    }


def _notes(parts: dict[str, Any]) -> list[str]:
    """Plain sentences on what the scores mean, and warnings where they are too good to be true."""
    said = []
    for name, part in parts.items():
        if part is None:
            said.append(f"There is no {name} model in this run: the data could not train it, or it was not asked for.")
            continue
        gap = part["over_best_baseline"]
        other = gap["baseline"].replace("_", " ")
        if gap["low"] > 0:
            said.append(f"The {name} model beats the best baseline ({other}) by more than sampling error.")
        elif gap["high"] < 0:
            said.append(f"The {name} model is worse than the best baseline ({other}): prefer the baseline.")
        else:
            said.append(f"The {name} model and the best baseline ({other}) differ by no more than sampling error.")
    churn = parts["churn"]
    if churn and churn["auc"] is not None and churn["ceiling"] is None and churn["auc"] > SUSPICIOUS_AUC:
        said.append(
            f"The churn AUC of {churn['auc']:.3f} is suspiciously high: look for a column that is known only after the "
            "customer has left."
        )
    if churn and churn["auc"] is None:
        said.append("The churn AUC is unknown: the test customers are all of one class.")
    return said
