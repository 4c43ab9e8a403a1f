"""Drivers of the steps of a plan: by how many points each feature and kind of event raises or lowers their probability.

The method of `drivers`, on the sequence model: the probability of a step is that after the customer's history and the
steps planned before it, as decoded for the plan. All three steps are explained at once.

Letters: N customers, A actions of the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from crm_models.core.schema import CUSTOMER_ID, N_STEPS
from crm_models.data.behaviour import moment_of_view
from crm_models.data.cohort import Cohort, Moment, select
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.inference.decoding import step_probabilities
from crm_models.inference.drivers import (
    CHUNK,
    SAMPLE,
    Faithfulness,
    Reasons,
    measured_faithfulness,
    strongest_first,
)
from crm_models.inference.shapley import Players, Predict, contributions, history_seen, without
from crm_models.models.sequence import SequenceTransformer

PAIRS = 64
"""As in `drivers`. More, because the next action differs more between customers than the risk."""
PAIRS_IN_BULK = 16


@dataclass(frozen=True, kw_only=True)
class StepReasons(Reasons):
    """Drivers of one step of a customer's plan: base + sum of their points / 100 = step_p.

    step: 1 to 3. action: its label. step_p: probability of the action after the history and the steps before it.
    """

    step: int
    action: str
    step_p: float


@dataclass(frozen=True, kw_only=True)
class StepExplainer:
    """Explains planned steps of one run at one moment. now_days: moment that times since an event are measured from."""

    model: SequenceTransformer
    encoder: FeatureEncoder
    moment: Moment | None
    now_days: float

    @classmethod
    def of(
        cls,
        model: SequenceTransformer,
        encoder: FeatureEncoder,
        cohort: Cohort,
        moment: Moment | None,
        now_days: float | None = None,
    ) -> StepExplainer:
        """now_days: by default the moment, or the last event of the cohort."""
        return cls(model=model, encoder=encoder, moment=moment, now_days=moment_of_view(cohort, moment, now_days))

    def encoded(self, cohort: Cohort) -> CohortArrays:
        """The customers as the model reads them."""
        return self.encoder.encode(cohort, self.moment, self.now_days)

    def background(self, cohort: Cohort, pairs: int = PAIRS) -> Cohort:
        """Customers to compare with, from short to long histories; all with a history, if any has one."""
        rows = np.random.default_rng(0).permutation(cohort.n_customers)[:SAMPLE]
        sample = history_seen(select(cohort, np.sort(rows)), self.moment, self.encoder)
        count = np.diff(sample.starts)
        order = np.argsort(count, kind="stable")
        order = order[count[order] > 0] if count.any() else order
        n = min(pairs, len(order))
        return select(sample, order[((np.arange(n) + 0.5) * len(order) / n).astype(int)])

    def explain(self, cohort: Cohort, steps: np.ndarray, background: Cohort) -> Iterator[tuple[StepReasons, ...]]:
        """Drivers of the steps (N, 3) of each customer, in order. steps: ids 1..A, 0 for none, which is left out."""
        for first in range(0, cohort.n_customers, CHUNK):
            at = np.arange(first, min(first + CHUNK, cohort.n_customers))
            part = history_seen(select(cohort, at), self.moment, self.encoder)
            players = self._players(part)
            found = contributions(part, background, players, self._predict(steps[at]))
            for row, customer_id in enumerate(part.customers[CUSTOMER_ID]):
                yield tuple(
                    StepReasons(
                        customer_id=str(customer_id),
                        step=k + 1,
                        action=self.encoder.action_labels[steps[at[row], k] - 1],
                        step_p=float(found[row].p[k]),
                        base=float(found[row].base[k]),
                        drivers=strongest_first(players[row], found[row], k),
                    )
                    for k in range(N_STEPS)
                    if steps[at[row], k] > 0
                )

    def faithfulness(self, cohort: Cohort, steps: np.ndarray, background: Cohort) -> Faithfulness:
        """Whether the drivers of the first step are those that matter, measured on customers who have one."""
        rows = np.flatnonzero(steps[:, 0] > 0)
        sample, first = history_seen(select(cohort, rows), self.moment, self.encoder), steps[rows]
        explained = [one[0] for one in self.explain(sample, first, background)]
        players = self._players(sample)
        return measured_faithfulness(
            np.array([one.step_p for one in explained]),
            explained,
            lambda names: without(sample, background, players, names, self._predict(first))[:, 0],
            of="probability of the first step",
        )

    def _predict(self, steps: np.ndarray) -> Predict:
        """Probabilities of these steps (N, 3) of each customer."""
        return lambda cohort, of: step_probabilities(self.model, self.encoded(cohort), steps[of])

    def _players(self, cohort: Cohort) -> list[Players]:
        return [
            Players.of(self.encoder, self.now_days, cohort, row, sees_profile=self.model.has_profile)
            for row in range(cohort.n_customers)
        ]
