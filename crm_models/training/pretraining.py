"""Pre-training data for churn by inactivity: the same label at an earlier cut-off, computed from the history.

Whether a customer was silent in the last `churn_days` before the cut-off is known for every customer, labelled or not.
A model that first learns this, with the cut-off moved back by as many days (self-supervised pre-training), needs fewer
labels afterwards. Letters: N customers.

DIFF from paper, Future Directions: the paper trains from scratch and only proposes pre-trained models; `paper` does not
pre-train.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crm_models.data.cohort import Cohort, Moment, moment_days
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.sources.inactivity import silent

FEWEST = 100
"""Least number of customers with a known label at the earlier date; with fewer, pre-training does not help."""


@dataclass(frozen=True, kw_only=True)
class PretrainingData:
    """arrays: N customers encoded at the earlier date. labels (N,): 1 fell silent, 0 did not, NaN unknown."""

    arrays: CohortArrays
    labels: np.ndarray


def pretraining_of(cohort: Cohort, encoder: FeatureEncoder) -> PretrainingData | None:
    """Pre-training data of a cohort whose churn is inactivity; None for other labels or too short a history.

    Nothing at or after the cohort's `as_of` is read, so the labels cannot leak.
    """
    churn_days = cohort.settings.get("churn_days")
    if churn_days is None or cohort.as_of is None or not cohort.has_events:
        return None
    moment = _earlier(cohort.as_of, float(churn_days))
    labels = silent(cohort, moment_days(moment), moment_days(cohort.as_of), cohort.settings.get("churn_activity"))
    known = labels[~np.isnan(labels)]
    if len(known) < FEWEST or len(np.unique(known)) < 2:
        return None
    return PretrainingData(arrays=encoder.encode(cohort, moment), labels=labels)


def _earlier(moment: Moment, days: float) -> Moment:
    return moment - pd.Timedelta(days=days) if isinstance(moment, pd.Timestamp) else moment - days
