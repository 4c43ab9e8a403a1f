"""Scores with 95 % intervals, each beside chance, baselines and ceiling: the report. The one stage that reads truth.

Letters: M scored customers, A actions.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from crm_models.baselines.simple import churn_baselines, sequence_baselines
from crm_models.core.records import ChurnPredictions, Cohort, SequencePredictions
from crm_models.core.schema import DEFAULT_THRESHOLD, KIND, N_STEPS
from crm_models.data.cohort import Outcomes, Split
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.truth import Truth, churn_ceiling, churn_p, sequence_ceiling
from crm_models.evaluation.intervals import (
    Estimate,
    Z,
    auc_difference,
    auc_with_interval,
    bootstrapped,
    difference_interval,
    mean,
    share,
)

ECE_BINS = 10
TOP = 10

SUSPICIOUS_AUC = 0.97
"""Above this on real data, a column that knows the answer is likelier than a good model."""

WORTH_A_SENTENCE = 0.01
"""AUC by which the outcomes as drawn must move the ceiling before a note says so."""

ALARM = 3.29 / Z
"""How many half-intervals above the ceiling raise an alarm: luck goes that far in one of a thousand evaluations."""

FEWEST_COMPARED = 10
"""With fewer customers than this no model is said to be better than another."""

LOWER_IS_BETTER = frozenset({"loss", "log_loss", "brier", "ece"})


# ---- sequence --------------------------------------------------------------------------------------------------------


def sequence_scores(predictions: SequencePredictions, n_actions: int) -> dict[str, Any]:
    """The sequence part of the report for one model or baseline, with `intervals` (95 %) beside it.

    step_accuracy: share of (customer, step) pairs whose planned action is the true one, over the steps that are known.
    plan_accuracy: share of customers with three known steps whose whole plan is right. loss: mean cross-entropy per
    known step in nats. hr_at_1, hr_at_10 and ndcg_at_10: the true next action in the ranking of all actions; with
    `n_actions` below ten, all of them are the top.
    """
    known = predictions.actual > 0
    steps = known.sum(axis=1)
    right = ((predictions.plan == predictions.actual) & known).sum(axis=1)
    hit = predictions.rank < min(TOP, n_actions)
    parts = {
        "step_accuracy": share(right, steps),
        "plan_accuracy": share((right == N_STEPS)[steps == N_STEPS]),
        "loss": mean(-(predictions.actual_log_p * known).sum(axis=1), steps, low=0.0),
        "hr_at_1": share(predictions.rank == 0),
        "hr_at_10": share(hit),
        "ndcg_at_10": share(np.where(hit, 1 / np.log2(predictions.rank + 2.0), 0.0)),
    }
    return {"customers": len(steps)} | _with_intervals(parts)


def sequence_chance(n_actions: int) -> dict[str, Any]:
    """What guessing evenly among A actions gives, exactly."""
    top = min(TOP, n_actions)
    return {
        "step_accuracy": 1 / n_actions,
        "plan_accuracy": n_actions**-N_STEPS,
        "loss": math.log(n_actions),
        "hr_at_1": 1 / n_actions,
        "hr_at_10": top / n_actions,
        "ndcg_at_10": float((1 / np.log2(np.arange(top) + 2)).sum() / n_actions),
    }


def possible_actions(cohort: Cohort) -> int:
    """A for chance: engagement actions, and any other that occurs. Retention actions that never occur are no guess."""
    occurs = np.bincount(cohort.event_actions, minlength=len(cohort.actions)) > 0
    return int(((cohort.actions[KIND] == "engagement").to_numpy() | occurs).sum())


def right_per_customer(predictions: SequencePredictions) -> np.ndarray:
    """(M,) share of known steps that the plan has right."""
    known = predictions.actual > 0
    return ((predictions.plan == predictions.actual) & known).sum(axis=1) / np.maximum(known.sum(axis=1), 1)


# ---- churn -----------------------------------------------------------------------------------------------------------


def churn_scores(predictions: ChurnPredictions, threshold: float = DEFAULT_THRESHOLD) -> dict[str, Any]:
    """The churn part of the report for one model or baseline, with `intervals` (95 %) beside it.

    accuracy counts a customer as a churner strictly above `threshold`. auc and average_precision are None where only
    one class is present. ece: see `calibration_error`. log_loss in nats, probabilities kept 1e-7 away from 0 and 1.
    """
    y, p = predictions.churned.astype(np.float64), predictions.churn_p
    both = 0 < y.sum() < len(y)
    wanted = {"ece": _sorted_calibration_error} | ({"average_precision": average_precision} if both else {})
    resampled = bootstrapped(y, p, wanted)
    parts = {
        "churn_rate": share(y),
        "accuracy": share((p > threshold) == (y > 0.5)),
        "auc": auc_with_interval(y, p) if both else None,
        "average_precision": resampled.get("average_precision"),
        "log_loss": mean(log_loss_per_customer(predictions), low=0.0),
        "brier": share((p - y) ** 2),
        "ece": resampled.get("ece"),
    }
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


def log_loss_per_customer(predictions: ChurnPredictions) -> np.ndarray:
    """(M,) cross-entropy of each customer's churn probability, in nats."""
    p = np.clip(predictions.churn_p, 1e-7, 1 - 1e-7)
    return -np.where(predictions.churned > 0.5, np.log(p), np.log(1 - p))


def average_precision(churned: np.ndarray, p: np.ndarray) -> float:
    """Precision averaged over the churners found, going down from the highest p; p (M,) must rise.

    Customers with the same p are found together.
    """
    y = churned[::-1]
    ends = np.append(np.flatnonzero(np.diff(p[::-1])), len(p) - 1)
    found = np.cumsum(y)[ends]
    return float((np.diff(found, prepend=0.0) * found / (ends + 1)).sum() / found[-1])


def calibration_error(churned: np.ndarray, p: np.ndarray) -> float:
    """Mean distance between predicted and observed churn rate over ten bins, each customer counting the same.

    The bins hold equally many customers, as far as those with the same p stay together. Even a perfect model has an
    error above 0 in a finite sample: on 1,000 customers about 0.03.
    """
    order = np.argsort(p, kind="stable")
    return _sorted_calibration_error(churned[order], p[order])


def calibration_bins(p: np.ndarray, n_bins: int = ECE_BINS) -> np.ndarray:
    """Where each bin of the rising p (M,) begins, and M at the end; no two customers with the same p are parted."""
    cuts = np.rint(np.linspace(0, len(p), n_bins + 1)[1:-1]).astype(np.int64)
    cuts = np.searchsorted(p, p[cuts.clip(max=len(p) - 1)], "left") if len(p) else cuts[:0]
    return np.unique(np.concatenate([[0], cuts, [len(p)]]))


def _sorted_calibration_error(churned: np.ndarray, p: np.ndarray) -> float:
    return float(np.abs(np.add.reduceat(churned - p, calibration_bins(p)[:-1])).sum() / len(p))


def _with_intervals(parts: dict[str, Estimate | None]) -> dict[str, Any]:
    """Plain numbers by name, and `intervals` with those whose ends are finite."""
    scores: dict[str, Any] = {name: None if e is None else _rounded(e.value) for name, e in parts.items()}
    finite = {name: e for name, e in parts.items() if e is not None and math.isfinite(e.high)}
    return scores | {"intervals": {name: [_rounded(e.low), _rounded(e.high)] for name, e in finite.items()}}


def _rounded(value: float) -> float:
    return round(float(value), 8)


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

    arrays: the cohort at its `as_of`. found: the test outcomes that `sequence` answers. Each part has the model's
    scores and their `intervals`, `chance`, `baselines`, `ceiling` (null without truth), `comparisons` with the best
    baseline (see `_compared`), and the first of them again as `over_best_baseline`. `ceiling` is what the truth scores
    on average over all outcomes it might have drawn; the churn part's `ceiling_as_drawn`, on those that it drew.
    """
    parts: dict[str, dict[str, Any] | None] = {"sequence": None, "churn": None}
    if sequence is not None and len(sequence.rank):
        parts["sequence"] = _sequence_part(cohort, arrays, split, found, encoder, sequence, truth)
    if churn is not None and len(churn.churn_p):
        parts["churn"] = _churn_part(cohort, arrays, split, encoder, churn, truth)
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
    others = sequence_baselines(arrays, np.concatenate([split.train, split.valid]), arrays, found, encoder)
    baselines = {name: sequence_scores(theirs, n_actions) for name, theirs in others.items()}
    steps = (ours.actual > 0).sum(axis=1)

    def gap(score: str, best: str) -> Estimate:
        if score == "loss":
            mine, other = (-p.actual_log_p.sum(axis=1) / steps for p in (ours, others[best]))
            return difference_interval(other, mine, steps)
        if score == "hr_at_1":
            return difference_interval(ours.rank == 0, others[best].rank == 0)
        if score == "plan_accuracy":
            mine, other = (right_per_customer(p)[steps == N_STEPS] == 1 for p in (ours, others[best]))
            return difference_interval(mine, other)
        return difference_interval(right_per_customer(ours), right_per_customer(others[best]), steps)

    ceiling = None
    if truth is not None:
        n_history = np.zeros(cohort.n_customers, np.int64)
        n_history[found.rows] = found.n_history
        ceiling = sequence_ceiling(truth, cohort, rows=found.rows, n_history=n_history)
    comparisons = [
        _compared(score, best, gap(score, best))
        for score, best in _best(baselines, "step_accuracy", "plan_accuracy", "loss", "hr_at_1")
    ]
    return sequence_scores(ours, n_actions) | {
        "chance": sequence_chance(n_actions),
        "baselines": baselines,
        "ceiling": ceiling,
        "comparisons": comparisons,
        "over_best_baseline": comparisons[0],
    }


def _churn_part(
    cohort: Cohort,
    arrays: CohortArrays,
    split: Split,
    encoder: FeatureEncoder,
    ours: ChurnPredictions,
    truth: Truth | None,
) -> dict[str, Any]:
    others = churn_baselines(arrays, cohort.labels, split, encoder)
    baselines = {name: churn_scores(theirs) for name, theirs in others.items()}

    def gap(score: str, best: str) -> Estimate:
        if score == "auc":
            return auc_difference(ours.churned, ours.churn_p, others[best].churn_p)
        return difference_interval(log_loss_per_customer(others[best]), log_loss_per_customer(ours))

    ceiling = as_drawn = None
    if truth is not None:
        test = split.test[~np.isnan(cohort.labels[split.test])]
        p = churn_p(truth, cohort)[test]
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
    """Each of the scores with the name of the baseline that is best in it; scores that cannot be told are left out."""
    told = []
    for score in scores:
        known = {name: own[score] for name, own in baselines.items() if own[score] is not None}
        if known:
            told.append((score, (min if score in LOWER_IS_BETTER else max)(known, key=known.__getitem__)))
    return told


def _compared(score: str, baseline: str, gap: Estimate) -> dict[str, Any]:
    """Ours against a baseline on the same customers: `value` is positive where ours is better, whatever the score.

    low and high: its 95 % interval, None where too few customers tell.
    """
    known = math.isfinite(gap.low)
    ends = {"low": _rounded(gap.low) if known else None, "high": _rounded(gap.high) if known else None}
    return {"score": score, "baseline": baseline, "value": _rounded(gap.value), **ends}


# ---- in words --------------------------------------------------------------------------------------------------------

_IN_WORDS = {
    "step_accuracy": "step accuracy",
    "plan_accuracy": "plan accuracy",
    "loss": "loss",
    "hr_at_1": "HR@1, the next action alone,",
    "log_loss": "log loss",
    "auc": "AUC",
}


def verdict(name: str, part: dict[str, Any], score: str | None = None) -> str:
    """Whether a part of a report (`sequence` or `churn`) beats its best baseline, in one sentence.

    score: one of those in `comparisons`; the first of them if None.
    """
    told = {comparison["score"]: comparison for comparison in part["comparisons"]}
    gap = part["over_best_baseline"] if score is None else told[score]
    other, what = gap["baseline"].replace("_", " "), _IN_WORDS[gap["score"]]
    if part["customers"] < FEWEST_COMPARED or gap["low"] is None:
        return f"{part['customers']} held-out customers are too few to compare the {name} model with the baselines."
    better, worse = ("lower", "higher") if gap["score"] in LOWER_IS_BETTER else ("higher", "lower")
    size = abs(gap["value"])
    ends = sorted(abs(gap[end]) for end in ("low", "high"))
    figures = f"{what} {{}} by {size:.3f}, 95 % interval {ends[0]:.3f} to {ends[1]:.3f}"
    if gap["low"] > 0:
        return f"The {name} model beats the best baseline ({other}): {figures.format(better)}."
    if gap["high"] < 0:
        return f"The {name} model is worse than the best baseline ({other}): {figures.format(worse)}."
    how = "equal" if size < 0.0005 else f"{better if gap['value'] > 0 else worse} by {size:.3f}"
    return f"The {name} model and the best baseline ({other}) differ by no more than sampling error: {what} {how}."


def _standing(gap: dict[str, Any]) -> int:
    """1 where ours is better than the baseline beyond sampling error, -1 where it is worse, else 0."""
    if gap["low"] is None:
        return 0
    return int(gap["low"] > 0) - int(gap["high"] < 0)


def _notes(parts: dict[str, dict[str, Any] | None]) -> list[str]:
    """Plain sentences on what the scores mean, and warnings where they are too good to be true."""
    said = []
    for name, part in parts.items():
        if part is None:
            said.append(
                f"There are no {name} scores: the run has no {name} model, or no held-out customer has a known outcome."
            )
        else:
            said.append(verdict(name, part))
            # The first guess of each step and the probabilities of all can tell different stories.
            headline = _standing(part["over_best_baseline"])
            said += [verdict(name, part, c["score"]) for c in part["comparisons"][1:] if _standing(c) != headline]
            said += _chosen_together(part)
            said += _above_ceiling(name, part)
            said += _luck(part)
    churn = parts["churn"]
    if churn is not None and churn["auc"] is None:
        said.append("The churn AUC is unknown: the test customers are all of one class.")
    elif churn is not None and churn["ceiling"] is None and churn["auc"] > SUSPICIOUS_AUC:
        said.append(
            f"The churn AUC of {churn['auc']:.3f} is suspiciously high: look for a column that is known only after the "
            "customer has left."
        )
    return said


def _chosen_together(part: dict[str, Any]) -> list[str]:
    """Why a model may be right less often step by step, where it is right more often in whole plans."""
    told = {comparison["score"]: _standing(comparison) for comparison in part["comparisons"]}
    if not told.get("step_accuracy", 0) < 0 < told.get("plan_accuracy", 0):
        return []
    return [
        "A plan is the three steps that are most probable together. One common action, planned three times, can be "
        "right in more single steps, and as a whole plan hardly ever."
    ]


def _luck(part: dict[str, Any]) -> list[str]:
    """What the drawn outcomes make of the ceiling, where that is worth a sentence."""
    expected, drawn = ((part.get(name) or {}).get("auc") for name in ("ceiling", "ceiling_as_drawn"))
    if expected is None or drawn is None or abs(drawn - expected) < WORTH_A_SENTENCE:
        return []
    return [
        f"Who leaves is drawn by chance: on these {part['customers']:,} customers the true probabilities themselves "
        f"have an AUC of {drawn:.3f}, where {expected:.3f} is to be expected."
    ]


def _above_ceiling(name: str, part: dict[str, Any]) -> list[str]:
    """A warning where the headline score lies above the ceiling by more than luck explains: the answer has leaked."""
    score = "step_accuracy" if name == "sequence" else "auc"
    ours, ceiling = part[score], (part["ceiling"] or {}).get(score)
    if ours is None or ceiling is None or score not in part["intervals"]:
        return []
    if ours - ALARM * (ours - part["intervals"][score][0]) <= ceiling:
        return []
    return [
        f"The {name} model's {_IN_WORDS[score]} of {ours:.3f} is above the ceiling of {ceiling:.3f} by more than luck "
        "explains: the answer must have leaked into what it reads."
    ]
