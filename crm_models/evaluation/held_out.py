"""What a run is evaluated on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_models.data.features import CohortArrays
from crm_models.data.split import Outcomes, Split
from crm_models.data.streaming import View


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A run's cohort as it is evaluated. arrays, labels (N,): all customers at the moment that they are tested at.

    outcomes: of the test customers. view: how the customers were seen. learned, learned_labels: customers as the models
    learned from them, which is another view only if the split is by time.
    """

    arrays: CohortArrays
    labels: np.ndarray
    split: Split
    outcomes: Outcomes
    view: View
    learned: CohortArrays
    learned_labels: np.ndarray
