"""Pre-training of churn by inactivity: the same label at an earlier date, which the history itself provides.

Whether a customer was silent in the last 90 days before the cut-off is known for everybody, labelled or not. A model
can learn that first, with the cut-off moved back by 90 days (self-supervised pre-training), and needs fewer labels
afterwards. Letters: N customers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crm_models.data.cohort import Cohort, Moment, moment_days
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.sources.inactivity import silent

FEWEST = 100
"""With fewer customers known at the earlier date, pre-training teaches nothing."""


@dataclass(frozen=True, kw_only=True)
class PretrainingData:
    """arrays: N customers as seen at the earlier date. labels (N,): 1 fell silent, 0 did not, NaN not yet seen."""

    arrays: CohortArrays
    labels: np.ndarray


def pretraining_of(cohort: Cohort, encoder: FeatureEncoder) -> PretrainingData | None:
    """Pre-training data of a cohort whose churn is inactivity; None for other labels, or where history is too short.

    Nothing at or after the cohort's `as_of` is read, so the labels stay unknown.
    """
    length = cohort.settings.get("churn_days")
    if length is None or cohort.as_of is None or not cohort.has_events:
        return None
    moment = _earlier(cohort.as_of, float(length))
    labels = silent(cohort, moment_days(moment), moment_days(cohort.as_of), cohort.settings.get("churn_activity"))
    known = labels[~np.isnan(labels)]
    if len(known) < FEWEST or len(np.unique(known)) < 2:
        return None
    return PretrainingData(arrays=encoder.encode(cohort, moment), labels=labels)


def _earlier(moment: Moment, length: float) -> Moment:
    return moment - pd.Timedelta(days=length) if isinstance(moment, pd.Timestamp) else moment - length
