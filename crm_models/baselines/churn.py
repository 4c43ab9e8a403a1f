"""Churn baselines: the majority, recency alone, and logistic regression.

They answer in the same records as the Churn Transformer, so the same code scores them. They are fitted on training and
validation customers together, because they need no early stopping; test customers are never looked at.
"""

from __future__ import annotations

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crm_models.core.records import ChurnPredictions
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Split

LOGISTIC_ROWS = 200_000
"""Customers that logistic regression is fitted on at most: plenty for some hundred coefficients."""


def churn_baselines(
    arrays: CohortArrays, labels: np.ndarray, split: Split, encoder: FeatureEncoder
) -> dict[str, ChurnPredictions]:
    """All churn baselines, for the labelled customers of the test split; `recency` only where there are events."""
    made = {"majority": majority(arrays, labels, split)}
    names = [feature.name for feature in encoder.behaviour]
    if "recency_days" in names:
        column = arrays.behaviour[:, [names.index("recency_days")]]
        made["recency"] = _regression(arrays, labels, split, column, None)
    return made | {"logistic": logistic(arrays, labels, split, encoder)}


def majority(arrays: CohortArrays, labels: np.ndarray, split: Split) -> ChurnPredictions:
    """The churn rate of the customers fitted on, for everybody."""
    fitted, test = _labelled(labels, split)
    return _churn(arrays, labels, test, np.full(len(test), labels[fitted].mean()))


def logistic(arrays: CohortArrays, labels: np.ndarray, split: Split, encoder: FeatureEncoder) -> ChurnPredictions:
    """Logistic regression on profile and behaviour features: one-hot levels, medians and a mark for what is missing."""
    numbers = np.concatenate([arrays.numeric, arrays.behaviour], axis=1)
    return _regression(arrays, labels, split, numbers, encoder)


def _regression(
    arrays: CohortArrays, labels: np.ndarray, split: Split, numbers: np.ndarray, encoder: FeatureEncoder | None
) -> ChurnPredictions:
    """Logistic regression on numbers (N, F), with the categorical features where their encoder is given."""
    fitted, test = _labelled(labels, split)
    if len(np.unique(labels[fitted])) < 2:
        return majority(arrays, labels, split)
    fitted = fitted[np.linspace(0, len(fitted) - 1, min(len(fitted), LOGISTIC_ROWS)).astype(np.int64)]
    features = encoder.categorical if encoder is not None else ()

    def design(rows: np.ndarray) -> np.ndarray:
        levels = [arrays.categorical[rows][:, [k]] == np.arange(feature.n_codes) for k, feature in enumerate(features)]
        constant = np.zeros((len(rows), 1))  # there may be no feature at all
        return np.concatenate([numbers[rows], *levels, constant], axis=1).astype(np.float64)

    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    ).fit(design(fitted), labels[fitted])
    p = model.predict_proba(design(test))[:, 1] if len(test) else np.zeros(0)
    return _churn(arrays, labels, test, p)


def _labelled(labels: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on (training and validation) and to score (test), as far as their label is known."""
    fitted = np.sort(np.concatenate([split.train, split.valid]))
    return fitted[~np.isnan(labels[fitted])], split.test[~np.isnan(labels[split.test])]


def _churn(arrays: CohortArrays, labels: np.ndarray, test: np.ndarray, p: np.ndarray) -> ChurnPredictions:
    return ChurnPredictions(customer_id=arrays.customer_id[test], churned=labels[test], churn_p=p)
