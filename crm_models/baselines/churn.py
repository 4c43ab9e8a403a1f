"""Churn baselines: majority, recency alone, and logistic regression on all features.

They return the same records as the Churn Transformer and are scored by the same code. They are fitted on training and
validation customers together, because they need no early stopping, and never on test customers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crm_models.core.records import ChurnPredictions
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Split, thinned

LOGISTIC_ROWS = 200_000
"""Most customers that logistic regression is fitted on: plenty for some hundred coefficients."""
PREDICTED_ROWS = 50_000
"""Customers that it predicts at once."""


def churn_baselines(
    arrays: CohortArrays, labels: np.ndarray, split: Split, encoder: FeatureEncoder
) -> dict[str, ChurnPredictions]:
    """All churn baselines by name, for the labelled test customers; `recency` only if there are events."""
    baselines = {"majority": majority(arrays, labels, split)}
    names = [feature.name for feature in encoder.behaviour]
    if "recency_days" in names:
        recency = [names.index("recency_days")]
        baselines["recency"] = _regression(arrays, labels, split, lambda rows: [arrays.behaviour[rows][:, recency]])
    return baselines | {"logistic": logistic(arrays, labels, split, encoder)}


def majority(arrays: CohortArrays, labels: np.ndarray, split: Split) -> ChurnPredictions:
    """The churn rate of the training and validation customers, as everyone's churn probability."""
    fitted, test = _labelled(labels, split)
    return _churn(arrays, labels, test, np.full(len(test), labels[fitted].mean()))


def logistic(arrays: CohortArrays, labels: np.ndarray, split: Split, encoder: FeatureEncoder) -> ChurnPredictions:
    """Logistic regression on profile and behaviour features: one-hot levels, median imputation, missing indicators."""

    def columns(rows: np.ndarray) -> list[np.ndarray]:
        codes = arrays.categorical[rows]
        levels = [codes[:, [k]] == np.arange(feature.n_codes) for k, feature in enumerate(encoder.categorical)]
        return [arrays.numeric[rows], arrays.behaviour[rows], *levels]

    return _regression(arrays, labels, split, columns)


def _regression(
    arrays: CohortArrays, labels: np.ndarray, split: Split, columns: Callable[[np.ndarray], list[np.ndarray]]
) -> ChurnPredictions:
    """Logistic regression on the columns of customers, each (len(rows), .)."""
    fitted, test = _labelled(labels, split)
    if len(np.unique(labels[fitted])) < 2:
        return majority(arrays, labels, split)
    fitted = thinned(fitted, LOGISTIC_ROWS)

    def design(rows: np.ndarray) -> np.ndarray:
        constant = np.zeros((len(rows), 1))  # there may be no feature at all
        return np.concatenate([*columns(rows), constant], axis=1).astype(np.float64)

    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    ).fit(design(fitted), labels[fitted])
    pieces = np.split(test, range(PREDICTED_ROWS, len(test), PREDICTED_ROWS)) if len(test) else []
    p = np.concatenate([np.zeros(0), *(model.predict_proba(design(rows))[:, 1] for rows in pieces)])
    return _churn(arrays, labels, test, p)


def _labelled(labels: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a known label to fit on (training and validation), and to score (test)."""
    fitted = np.sort(np.concatenate([split.train, split.valid]))
    return fitted[~np.isnan(labels[fitted])], split.test[~np.isnan(labels[split.test])]


def _churn(arrays: CohortArrays, labels: np.ndarray, test: np.ndarray, p: np.ndarray) -> ChurnPredictions:
    return ChurnPredictions(customer_id=arrays.customer_id[test], churned=labels[test], churn_p=p)
