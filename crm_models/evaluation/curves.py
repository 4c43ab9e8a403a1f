"""Curves and tables of the evaluation as data frames ready to plot, one row per point.

A threshold flags the customers with a churn probability strictly above it, as it does in the plans. Customers with the
same probability are flagged together, so the order of customers does not matter. All of it is O(M log M) in the M
customers.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd

from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.core.schema import N_STEPS
from crm_models.evaluation.intervals import wilson
from crm_models.evaluation.scores import calibration_bins, sequence_scores
from crm_models.planning.policy import is_at_risk, rounded

MAX_POINTS = 500
"""Most points in a curve: enough for a screen; the browser is slower than the computation."""

LENGTH_EDGES = (1, 2, 3, 5, 10, 20, 50, 100)


# ---- churn -----------------------------------------------------------------------------------------------------------


def roc_table(predictions: ChurnPredictions) -> pd.DataFrame:
    """ROC curve: `threshold`, `fpr`, `tpr`, `flagged` from nobody flagged to everybody; at most 500 rows.

    All corners of the convex hull are kept (at most 250), so that no optimal threshold is lost. Empty if there is only
    one class.

    DIFF from paper, equation 11: the area under it is an integral, not the printed product of rates.
    """
    threshold, flagged, caught = _cuts(predictions)
    n, total = len(predictions.churn_p), int(caught[-1])
    if not 0 < total < n:
        return pd.DataFrame({"threshold": [], "fpr": [], "tpr": [], "flagged": []}, dtype=float)
    fpr, tpr = (flagged - caught) / (n - total), caught / total
    keep = _thinned(fpr + tpr, _hull(flagged - caught, caught))
    table = pd.DataFrame({"threshold": threshold, "fpr": fpr, "tpr": tpr, "flagged": flagged})
    return table.iloc[keep].reset_index(drop=True)


def roc_point(predictions: ChurnPredictions, threshold: float) -> dict[str, float | None]:
    """Point of a threshold on the ROC curve: `threshold`, `fpr`, `tpr` (None without such customers), `flagged`."""
    (hit, missed), (false, clear) = confusion_table(predictions, threshold).to_numpy().tolist()
    return {
        "threshold": threshold,
        "fpr": _share(false, false + clear),
        "tpr": _share(hit, hit + missed),
        "flagged": hit + false,
    }


def precision_recall_table(predictions: ChurnPredictions) -> pd.DataFrame:
    """Precision-recall curve: `threshold`, `precision`, `recall`, `flagged`, up to everybody; at most 500 rows.

    Empty without churners.
    """
    threshold, flagged, caught = (column[1:] for column in _cuts(predictions))
    if not len(caught) or not caught[-1]:
        return pd.DataFrame({"threshold": [], "precision": [], "recall": [], "flagged": []}, dtype=float)
    precision, recall = caught / flagged, caught / caught[-1]
    table = pd.DataFrame({"threshold": threshold, "precision": precision, "recall": recall, "flagged": flagged})
    # Precision jumps where few are flagged; points at equal distances along the curve show this part in detail.
    length = np.cumsum(np.abs(np.diff(precision, prepend=precision[0])) + np.diff(recall, prepend=0.0))
    return table.iloc[_thinned(length)].reset_index(drop=True)


def calibration_table(predictions: ChurnPredictions, bins: int = 10) -> pd.DataFrame:
    """Calibration: `predicted`, `observed`, `low`, `high` (Wilson, 95 %), `customers` per bin of equal size.

    The bins are those of the calibration error; customers with the same probability share a bin.
    """
    order = np.argsort(predictions.churn_p, kind="stable")
    p, y = predictions.churn_p[order], predictions.churned[order]
    rows = []
    for first, after in pairwise(calibration_bins(p, bins).tolist()):
        n, observed = after - first, float(y[first:after].mean())
        rows.append((float(p[first:after].mean()), observed, *wilson(observed, n), n))
    return pd.DataFrame(rows, columns=["predicted", "observed", "low", "high", "customers"])


def lift_table(predictions: ChurnPredictions, points: int = 100) -> pd.DataFrame:
    """Lift of contacting the riskiest customers first: `contacted` (share), `customers`, `gain` (share of churners
    reached), `lift` (gain / contacted), `threshold` (probability of the last customer contacted).

    Among customers with the same probability, the expected number of churners is used. Empty without churners.
    """
    _, flagged, caught = _cuts(predictions)
    if not caught[-1]:
        columns = ["contacted", "customers", "gain", "lift", "threshold"]
        return pd.DataFrame({column: [] for column in columns}, dtype=float)
    n = len(predictions.churn_p)
    count = np.unique(np.maximum(np.rint(np.linspace(0, 1, points + 1)[1:] * n).astype(int), 1))
    gain = np.interp(count, flagged, caught) / caught[-1]
    return pd.DataFrame(
        {
            "contacted": count / n,
            "customers": count,
            "gain": gain,
            "lift": gain / (count / n),
            "threshold": np.sort(rounded(predictions.churn_p))[n - count],
        }
    )


def confusion_table(predictions: ChurnPredictions, threshold: float) -> pd.DataFrame:
    """Confusion matrix: customers by outcome (rows `churned`, `stayed`) and prediction (`at risk`, `not at risk`)."""
    risky, churned = is_at_risk(predictions.churn_p, threshold), predictions.churned > 0.5
    cells = [[int((risky & actual).sum()), int((~risky & actual).sum())] for actual in (churned, ~churned)]
    return pd.DataFrame(cells, index=["churned", "stayed"], columns=["at risk", "not at risk"])


def confusion_scores(table: pd.DataFrame) -> dict[str, float | None]:
    """precision, recall, specificity, accuracy and f1 of a confusion table; None if the denominator is 0."""
    (hit, missed), (false, clear) = table.to_numpy().tolist()
    return {
        "precision": _share(hit, hit + false),
        "recall": _share(hit, hit + missed),
        "specificity": _share(clear, clear + false),
        "accuracy": _share(hit + clear, hit + missed + false + clear),
        "f1": _share(2 * hit, 2 * hit + false + missed),
    }


def score_distribution(predictions: ChurnPredictions, bins: int = 20) -> pd.DataFrame:
    """Customers per bin of churn probability: `low`, `high`, `churned`, `stayed`; a bin holds low <= p < high."""
    edges = np.linspace(0, 1, bins + 1)
    is_churner = predictions.churned > 0.5
    churned, stayed = (np.histogram(predictions.churn_p[at], edges)[0] for at in (is_churner, ~is_churner))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "churned": churned, "stayed": stayed})


def _cuts(predictions: ChurnPredictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct thresholds, decreasing; number of customers flagged by each; number of churners among them.

    The first flags nobody, the last everybody.
    """
    if not len(predictions.churn_p):
        return np.zeros(1), np.zeros(1, np.int64), np.zeros(1, np.int64)
    risk = rounded(predictions.churn_p)
    order = np.argsort(-risk, kind="stable")
    p, y = risk[order], predictions.churned[order] > 0.5
    # Customers strictly above a threshold end where the next lower probability begins.
    ends = np.flatnonzero(np.diff(p)) + 1
    flagged = np.concatenate([[0], ends, [len(p)]])
    caught = np.concatenate([[0], np.cumsum(y)])[flagged]
    below_all = 0.0 if p[-1] > 0 else np.nextafter(0.0, -1.0)
    return np.concatenate([p[:1], p[ends], [below_all]]), flagged, caught


def _hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Positions of the corners of the upper convex hull of a curve (x and y non-decreasing whole numbers)."""
    kept = np.arange(len(x))
    while True:
        # Drop points on or below the line between their neighbours until none is left.
        dx, dy = np.diff(x[kept]), np.diff(y[kept])
        corner = dy[:-1] * dx[1:] > dy[1:] * dx[:-1]
        if corner.all():
            return kept
        kept = np.concatenate([kept[:1], kept[1:-1][corner], kept[-1:]])


def _thinned(length: np.ndarray, required: np.ndarray | None = None) -> np.ndarray:
    """At most MAX_POINTS positions at equal distances along a curve of cumulative `length`, both ends included.

    required: positions to keep, thinned to half of MAX_POINTS if there are more.
    """
    if len(length) <= MAX_POINTS:
        return np.arange(len(length))
    keep = np.zeros(0, np.int64) if required is None else required
    if len(keep) > MAX_POINTS // 2:
        keep = keep[np.linspace(0, len(keep) - 1, MAX_POINTS // 2).round().astype(int)]
    even = np.searchsorted(length, np.linspace(length[0], length[-1], MAX_POINTS - len(keep) - 1))
    return np.unique(np.concatenate([[0], keep, even.clip(max=len(length) - 1)[:-1], [len(length) - 1]]))


# ---- sequence --------------------------------------------------------------------------------------------------------


def per_step_table(predictions: SequencePredictions) -> pd.DataFrame:
    """Scores by step 1 to 3: `step`, `accuracy` with `low` and `high` (95 %), `loss` in nats, `customers`."""
    rows = []
    for step in range(N_STEPS):
        known = predictions.actual[:, step] > 0
        n = int(known.sum())
        if n:
            accuracy = float((predictions.plan[known, step] == predictions.actual[known, step]).mean())
            loss = -float(predictions.actual_log_p[known, step].mean())
            rows.append((step + 1, accuracy, *wilson(accuracy, n), loss, n))
    return pd.DataFrame(rows, columns=["step", "accuracy", "low", "high", "loss", "customers"])


def per_length_table(predictions: SequencePredictions, n_actions: int) -> pd.DataFrame:
    """Scores by length of history: `events` (a range as text), `customers`, `step_accuracy`, `low`, `high`, `loss`."""
    rows = []
    for first, after in pairwise([*LENGTH_EDGES, math.inf]):
        in_range = (predictions.n_events >= first) & (predictions.n_events < after)
        if in_range.any():
            scores = sequence_scores(_some(predictions, in_range), n_actions)
            low, high = scores["intervals"]["step_accuracy"]
            last = after - 1
            name = f"{first} or more" if after == math.inf else f"{first}" if last == first else f"{first}-{last:g}"
            rows.append((name, int(in_range.sum()), scores["step_accuracy"], low, high, scores["loss"]))
    return pd.DataFrame(rows, columns=["events", "customers", "step_accuracy", "low", "high", "loss"])


def _some(predictions: SequencePredictions, keep: np.ndarray) -> SequencePredictions:
    return SequencePredictions(**{name: value[keep] for name, value in vars(predictions).items()})


def _share(top: int, bottom: int) -> float | None:
    return top / bottom if bottom else None
