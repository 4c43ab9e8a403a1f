"""A run's test customers: the view that they are tested on, and the models' predictions for them, part by part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crm_models.core.engines import Engine
from crm_models.core.errors import RunError
from crm_models.core.places import Place, address_of
from crm_models.core.records import ChurnPredictions, SequencePredictions, concatenated
from crm_models.core.schema import CUSTOMER_ID
from crm_models.data.cohort import Cohort, Moment
from crm_models.data.drift import conformed
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Outcomes, Split, outcomes
from crm_models.data.storage import Parts, load_cohort
from crm_models.data.time_split import views_of
from crm_models.runs.folder import RunFolder
from crm_models.runs.scoring import ScoringJob
from crm_models.runs.trained import rows_of


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """A run's cohort with the run's split and the test outcomes: the input of evaluation and explanation.

    learned, learned_labels: customers as the models learned from them; another view only if the split is by time.
    """

    cohort: Cohort
    arrays: CohortArrays
    split: Split
    outcomes: Outcomes
    learned: CohortArrays
    learned_labels: np.ndarray


def held_out(
    run: RunFolder, encoder: FeatureEncoder, cohort: Path | None = None, *, allow_drift: bool = False
) -> HeldOut:
    """The run's cohort with the run's split. Raises `RunError` if the cohort has none of the run's test customers.

    cohort: folder of the cohort, if it is no longer where the run was trained. allow_drift: read what does not fit the
    training customers as missing, instead of raising `DataError`.
    """
    about = run.about()
    loaded = load_cohort(cohort or Path(about["cohort"]))
    if allow_drift:
        loaded = conformed(run.schema(), loaded)
    split = rows_of(loaded, run.split())
    if not len(split.test):
        raise RunError(
            f"{run.folder}: none of the run's test customers is in the cohort; evaluate on the run's own cohort"
        )
    views = views_of(loaded, run.config().split_date or None)
    tested, learned = views.tested, views.learned
    arrays = encoder.encode(tested, tested.as_of)
    return HeldOut(
        cohort=tested,
        arrays=arrays,
        split=split,
        outcomes=outcomes(tested).of_customers(split.test),
        learned=arrays if learned is tested else encoder.encode(learned, learned.as_of),
        learned_labels=learned.labels,
    )


@dataclass(frozen=True, kw_only=True)
class TestingJob:
    """Predict the test customers among those of a cohort folder, at the moment that they are tested at."""

    scoring: ScoringJob
    moment: Moment | None
    customers: np.ndarray

    def open(self, threads: int | None) -> Tester:
        """Load the models and open the cohort's tables."""
        return Tester(self, threads)


class Tester:
    """A testing job that is open in this process."""

    def __init__(self, job: TestingJob, threads: int | None) -> None:
        self._job, self._scorer = job, job.scoring.open(threads)

    def read(self, k: int) -> tuple[Cohort, CohortArrays]:
        """Part k at the moment of the test, and encoded."""
        part = replace(self._scorer.fitting(self._scorer.parts[k]), as_of=self._job.moment)
        return part, self._scorer.encoded(part, self._job.moment)

    def work(self, k: int, read: tuple[Cohort, CohortArrays]) -> tuple[SequencePredictions | None, np.ndarray | None]:
        """Predicted next actions and churn probabilities of the test customers of part k; None without the model."""
        from crm_models.inference.decoding import churn_probabilities, sequence_predictions

        (part, arrays), models = read, self._scorer.models
        test = np.flatnonzero(part.customers[CUSTOMER_ID].isin(self._job.customers))
        found = outcomes(part).of_customers(test)
        return (
            None if models.sequence is None else sequence_predictions(models.sequence, arrays, found),
            None if models.churn is None else churn_probabilities(models.churn, arrays, test),
        )


def predict_held_out(
    run: RunFolder, held: HeldOut, folder: Place, engine: Engine, *, allow_drift: bool = False, device: str = "auto"
) -> tuple[SequencePredictions | None, ChurnPredictions | None]:
    """Predictions for the test customers, for evaluation; None without the model or without test cases.

    folder: of the cohort `held`, which is read part by part.
    """
    scoring = ScoringJob(run=address_of(run.folder), cohort=address_of(folder), allow_drift=allow_drift, device=device)
    customers = held.arrays.customer_id[held.split.test]
    job = TestingJob(scoring=scoring, moment=held.cohort.as_of, customers=customers)
    predicted = list(engine.results(job, len(Parts(folder))))
    sequence = [part for part, _ in predicted if part is not None]
    churn_p = [p for _, p in predicted if p is not None]
    labels = held.cohort.labels[held.split.test]
    known = ~np.isnan(labels)
    return (
        concatenated(sequence) if sequence and len(held.outcomes.rows) else None,
        ChurnPredictions(customer_id=customers[known], churned=labels[known], churn_p=np.concatenate(churn_p)[known])
        if churn_p and known.any()
        else None,
    )
