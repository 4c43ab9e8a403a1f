"""A rehearsal of churn by inactivity: the same question asked at an earlier date, which the history itself answers.

What a customer did in the last 90 days before the cut-off is known of everybody, labelled or not. So a model may learn
from it first, as if the cut-off lay 90 days earlier (self-supervised pre-training: what comes next in a history is its
own label), and then from the labels, which it needs fewer of. Letters: N customers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from crm_models.data.cohort import Cohort, Moment, moment_days
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.sources.inactivity import silent

FEWEST = 100
"""Customers known at the earlier date, below which a rehearsal teaches nothing."""


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """arrays: the N customers as seen at the earlier date. labels (N,): 1 fell silent, 0 did not, NaN not yet seen."""

    arrays: CohortArrays
    labels: np.ndarray


def rehearse(cohort: Cohort, encoder: FeatureEncoder) -> Rehearsal | None:
    """The rehearsal of a cohort whose churn is inactivity; None where it is something else, or the history too short.

    Nothing at or after the cohort's own `as_of` is looked at: what the labels say stays unknown.
    """
    length = cohort.settings.get("churn_days")
    if length is None or cohort.as_of is None or not cohort.has_events:
        return None
    moment = _earlier(cohort.as_of, float(length))
    labels = silent(cohort, moment_days(moment), moment_days(cohort.as_of), cohort.settings.get("churn_activity"))
    known = labels[~np.isnan(labels)]
    if len(known) < FEWEST or len(np.unique(known)) < 2:
        return None
    return Rehearsal(arrays=encoder.encode(cohort, moment), labels=labels)


def _earlier(moment: Moment, length: float) -> Moment:
    return moment - pd.Timedelta(days=length) if isinstance(moment, pd.Timestamp) else moment - length
