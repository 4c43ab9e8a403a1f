"""Scores by group of customers: where a model is worse than on the whole, with intervals, worst first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.evaluation.intervals import auc_with_interval, share, wilson
from crm_models.evaluation.scores import right_per_customer

MIN_CUSTOMERS = 10
"""Smaller groups are left out: their intervals hold nearly everything."""


def churn_slices(predictions: ChurnPredictions, group: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Calibration and ranking by group; group: (M,) index in `names` of each customer.

    Columns: `group`, `customers`, `predicted` (mean probability), `observed` (churn rate) with `low`, `high`, `gap`
    (predicted minus observed), `auc` with `auc_low`, `auc_high` (NaN with one class), `is_off` (predicted outside the
    interval). Sorted by how far the prediction lies outside, then by the size of the gap.
    """
    rows = []
    for code, name in enumerate(names):
        at = group == code
        n = int(at.sum())
        if n < MIN_CUSTOMERS:
            continue
        y, p = predictions.churned[at], predictions.churn_p[at]
        low, high = wilson(float(y.mean()), n)
        ranked = auc_with_interval(y, p) if 0 < y.sum() < n else None
        auc = (np.nan, np.nan, np.nan) if ranked is None else (ranked.value, ranked.low, ranked.high)
        rows.append((name, n, p.mean(), y.mean(), low, high, p.mean() - y.mean(), *auc))
    columns = ["group", "customers", "predicted", "observed", "low", "high", "gap", "auc", "auc_low", "auc_high"]
    table = pd.DataFrame(rows, columns=columns)
    below, above = (table["low"] - table["predicted"]).to_numpy(), (table["predicted"] - table["high"]).to_numpy()
    outside = np.maximum(np.maximum(below, above), 0.0)
    order = np.lexsort((-table["gap"].abs().to_numpy(), -outside))
    return table.assign(is_off=outside > 0).iloc[order].reset_index(drop=True)


def sequence_slices(predictions: SequencePredictions, group: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Step accuracy by group: `group`, `customers`, `accuracy`, `low`, `high`; lowest first."""
    rows = []
    right, known = right_per_customer(predictions), (predictions.actual > 0).sum(axis=1)
    for code, name in enumerate(names):
        at = group == code
        estimate = share(right[at] * known[at], known[at]) if at.sum() >= MIN_CUSTOMERS else None
        if estimate is not None:
            rows.append((name, int(at.sum()), estimate.value, estimate.low, estimate.high))
    table = pd.DataFrame(rows, columns=["group", "customers", "accuracy", "low", "high"])
    return table.sort_values("accuracy", kind="stable").reset_index(drop=True)
