"""A run's test customers, part by part: the view that they are tested on, and the models' predictions for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from crm_models.core.engines import Engine
from crm_models.core.errors import RunError
from crm_models.core.places import Place, address_of, here, place
from crm_models.core.records import ChurnPredictions, SequencePredictions, concatenated
from crm_models.core.schema import CUSTOMER_ID
from crm_models.data.cohort import Cohort, joined, select
from crm_models.data.features import CohortArrays
from crm_models.data.split import outcomes
from crm_models.data.storage import Parts, customer_table
from crm_models.data.streaming import Known, Side, View
from crm_models.evaluation.held_out import HeldOut
from crm_models.runs.encoding import encoded
from crm_models.runs.folder import RunFolder
from crm_models.runs.scoring import Scorer, ScoringJob
from crm_models.runs.trained import rows_of


def held_out(run: RunFolder, engine: Engine, cohort: Place | None = None, *, allow_drift: bool = False) -> HeldOut:
    """The run's cohort with the run's split. Raises `RunError` if the cohort has none of the run's test customers.

    The arrays are in files of the run folder, mapped into memory. cohort: folder of the cohort, if it is no longer
    where the run was trained. allow_drift: read what does not fit the training customers as missing, instead of raising
    `DataError`.
    """
    folder, config = place(cohort or run.about()["cohort"]), run.config()
    names = customer_table(folder, [CUSTOMER_ID])[CUSTOMER_ID].astype("str").to_numpy(dtype=object)
    split = rows_of(names, run.split())
    if not len(split.test):
        raise RunError(
            f"{run.folder}: none of the run's test customers is in the cohort; evaluate on the run's own cohort"
        )

    def seen(side: Side) -> tuple[View, CohortArrays, Known]:
        view = View.of(Parts(folder), config.split_date, side)
        arrays, known = encoded(run, folder, view, engine, allow_drift=allow_drift)
        return view, replace(arrays, customer_id=names), known

    view, arrays, known = seen("tested")
    _, learned, before = seen("learned") if config.split == "time" else (view, arrays, known)
    return HeldOut(
        arrays=arrays,
        labels=known.labels,
        split=split,
        outcomes=known.outcomes.of_customers(split.test),
        view=view,
        learned=learned,
        learned_labels=before.labels,
    )


def customers_tested(held: HeldOut, folder: Place) -> Cohort:
    """The test customers alone, at the moment that they are tested at; folder: of the cohort `held`."""
    parts, test = Parts(folder), held.split.test
    return joined(
        select(part, test[(test >= first) & (test < last)] - first)
        for part, (first, last) in zip(held.view.parts(parts), pairwise(parts.starts), strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class TestingJob:
    """Predict the test customers of a run, as `view` sees them."""

    scoring: ScoringJob
    view: View

    def open(self, threads: int | None) -> Tester:
        """Load the models and open the cohort's tables."""
        with here(place(self.scoring.run)) as folder:
            return Tester(RunFolder(folder), self, threads)


class Tester:
    """A testing job that is open in this process."""

    def __init__(self, run: RunFolder, job: TestingJob, threads: int | None) -> None:
        self._view, self._scorer = job.view, Scorer(run, job.scoring, threads)
        split = run.split()
        self._customers = split[CUSTOMER_ID][split["part"] == "test"]

    def read(self, k: int) -> tuple[Cohort, CohortArrays]:
        """Part k at the moment of the test, and encoded."""
        part = self._view.part(self._scorer.fitting(self._scorer.parts[k]))
        return part, self._scorer.encoded(part, part.as_of)

    def work(self, k: int, read: tuple[Cohort, CohortArrays]) -> tuple[SequencePredictions | None, np.ndarray | None]:
        """Predicted next actions and churn probabilities of the test customers of part k; None without the model."""
        from crm_models.inference.decoding import churn_probabilities, sequence_predictions

        (part, arrays), models = read, self._scorer.models
        test = np.flatnonzero(part.customers[CUSTOMER_ID].isin(self._customers))
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
    predicted = list(engine.results(TestingJob(scoring=scoring, view=held.view), len(Parts(folder))))
    sequence = [part for part, _ in predicted if part is not None]
    churn_p = [p for _, p in predicted if p is not None]
    customers, labels = held.arrays.customer_id[held.split.test], held.labels[held.split.test]
    known = ~np.isnan(labels)
    return (
        concatenated(sequence) if sequence and len(held.outcomes.rows) else None,
        ChurnPredictions(customer_id=customers[known], churned=labels[known], churn_p=np.concatenate(churn_p)[known])
        if churn_p and known.any()
        else None,
    )
