"""Curves and tables of the evaluation, ready to plot: every row is a point, every column says what it is."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from crm_models.evaluation import sequence_scores, wilson
from crm_models.records import ChurnPredictions, SequencePredictions
from crm_models.schema import N_STEPS

MAX_POINTS = 500
"""Points in a curve: what a screen can show; the browser is the bottleneck long before the arithmetic."""

LENGTH_EDGES = (1, 2, 3, 5, 10, 20, 50, 100)


def roc_table(predictions: ChurnPredictions) -> pd.DataFrame:
    """`threshold`, `fpr`, `tpr`, `flagged` per threshold, from nobody flagged to everybody; at most 500 rows."""
    fpr, tpr, threshold = roc_curve(predictions.churned, predictions.churn_p)
    keep = _thinned(len(fpr))
    n_churned = predictions.churned.sum()
    flagged = tpr * n_churned + fpr * (len(predictions.churned) - n_churned)
    table = pd.DataFrame({"threshold": threshold, "fpr": fpr, "tpr": tpr, "flagged": np.rint(flagged).astype(int)})
    table.loc[0, "threshold"] = 1.0  # scikit-learn has infinity where nobody is flagged
    return table.iloc[keep].reset_index(drop=True)


def precision_recall_table(predictions: ChurnPredictions) -> pd.DataFrame:
    """`threshold`, `precision`, `recall`: one row per threshold; at most 500 rows."""
    precision, recall, threshold = precision_recall_curve(predictions.churned, predictions.churn_p)
    table = pd.DataFrame({"threshold": np.append(threshold, 1.0), "precision": precision, "recall": recall})
    return table.iloc[_thinned(len(table))].reset_index(drop=True)


def calibration_table(predictions: ChurnPredictions, bins: int = 10) -> pd.DataFrame:
    """`predicted`, `observed`, `low`, `high`, `customers` per bin of equally many customers; Wilson's 95 % interval."""
    order = np.argsort(predictions.churn_p, kind="stable")
    rows = []
    for members in np.array_split(order, min(bins, max(len(order), 1))):
        if not len(members):
            continue
        observed = float(predictions.churned[members].mean())
        low, high = wilson(observed, len(members))
        rows.append((float(predictions.churn_p[members].mean()), observed, low, high, len(members)))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "customers"])


def lift_table(predictions: ChurnPredictions, points: int = 100) -> pd.DataFrame:
    """What contacting the riskiest customers first reaches: `contacted` (share), `customers`, `gain` (share of all
    churners reached), `lift` (gain over contacted), `threshold`."""
    order = np.argsort(-predictions.churn_p, kind="stable")
    n, total = len(order), max(float(predictions.churned.sum()), 1.0)
    reached = np.cumsum(predictions.churned[order])
    count = np.unique(np.maximum(np.rint(np.linspace(0, 1, points + 1)[1:] * n).astype(int), 1))
    gain = reached[count - 1] / total
    return pd.DataFrame(
        {
            "contacted": count / n,
            "customers": count,
            "gain": gain,
            "lift": gain / (count / n),
            "threshold": predictions.churn_p[order][count - 1],
        }
    )


def confusion_table(predictions: ChurnPredictions, threshold: float) -> pd.DataFrame:
    """Customers by what happened (rows `churned`, `stayed`) and what was said (columns `at risk`, `not at risk`)."""
    risky, churned = predictions.churn_p > threshold, predictions.churned > 0.5
    cells = [[int((risky & own).sum()), int((~risky & own).sum())] for own in (churned, ~churned)]
    return pd.DataFrame(cells, index=["churned", "stayed"], columns=["at risk", "not at risk"])


def confusion_scores(table: pd.DataFrame) -> dict[str, float | None]:
    """precision, recall, specificity, accuracy and f1 of a confusion table; None where it would divide by nothing."""
    (hit, missed), (false, clear) = table.to_numpy().tolist()

    def share(top: int, bottom: int) -> float | None:
        return top / bottom if bottom else None

    return {
        "precision": share(hit, hit + false),
        "recall": share(hit, hit + missed),
        "specificity": share(clear, clear + false),
        "accuracy": share(hit + clear, hit + missed + false + clear),
        "f1": share(2 * hit, 2 * hit + false + missed),
    }


def score_distribution(predictions: ChurnPredictions, bins: int = 20) -> pd.DataFrame:
    """Customers per bin of churn probability: `low`, `high`, `churned`, `stayed`."""
    edges = np.linspace(0, 1, bins + 1)
    own = predictions.churned > 0.5
    churned, stayed = (np.histogram(predictions.churn_p[at], edges)[0] for at in (own, ~own))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "churned": churned, "stayed": stayed})


def per_step_table(predictions: SequencePredictions) -> pd.DataFrame:
    """`step` 1 to 3: `accuracy` with `low` and `high` (95 %), `loss` in nats, `customers`."""
    rows = []
    for step in range(N_STEPS):
        known = predictions.actual[:, step] > 0
        n = int(known.sum())
        if n:
            right = float((predictions.plan[known, step] == predictions.actual[known, step]).mean())
            rows.append((step + 1, right, *wilson(right, n), -float(predictions.actual_log_p[known, step].mean()), n))
    return pd.DataFrame(rows, columns=["step", "accuracy", "low", "high", "loss", "customers"])


def per_length_table(predictions: SequencePredictions, n_actions: int) -> pd.DataFrame:
    """Scores by length of history: `events` (a range as text), `customers`, `step_accuracy`, `low`, `high`, `loss`."""
    edges = [*LENGTH_EDGES, math.inf]
    rows = []
    for first, after in pairwise(edges):
        own = (predictions.n_events >= first) & (predictions.n_events < after)
        if own.any():
            scores = sequence_scores(_some(predictions, own), n_actions)
            low, high = scores["intervals"]["step_accuracy"]
            name = (
                f"{first:g} or more"
                if after == math.inf
                else str(first)
                if after == first + 1
                else f"{first}-{after - 1:g}"
            )
            rows.append((name, int(own.sum()), scores["step_accuracy"], low, high, scores["loss"]))
    return pd.DataFrame(rows, columns=["events", "customers", "step_accuracy", "low", "high", "loss"])


def ruler(part: dict[str, Any], score: str) -> dict[str, Any]:
    """One headline number of a report between what it can be: `chance`, `baseline` (the best, with `baseline_name`),
    `ours` with `low` and `high`, `ceiling` or None."""
    higher_is_better = score not in ("loss", "log_loss", "brier", "ece")
    known = {name: b[score] for name, b in part["baselines"].items() if b.get(score) is not None}
    pick = max if higher_is_better else min
    best = pick(known, key=lambda name: known[name]) if known else None
    low, high = part["intervals"].get(score, (None, None))
    return {
        "score": score,
        "chance": part["chance"].get(score),
        "baseline_name": best,
        "baseline": known[best] if best else None,
        "ours": part[score],
        "low": low,
        "high": high,
        "ceiling": (part["ceiling"] or {}).get(score),
        "higher_is_better": higher_is_better,
    }


def _some(predictions: SequencePredictions, own: np.ndarray) -> SequencePredictions:
    return SequencePredictions(**{name: value[own] for name, value in vars(predictions).items()})


def _thinned(n: int) -> np.ndarray:
    """At most MAX_POINTS positions of n, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).round().astype(int))
