"""Records passed between stages: decoded plans, scores per customer, predictions, epoch events.

Plain frozen dataclasses over numpy, so that evaluation, planning and export need no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from crm_models.core.schema import (
    N_STEPS,
    ModelName,
)


@dataclass(frozen=True, kw_only=True)
class DecodedPlans:
    """Three steps for each customer: the most probable plan, or the most probable action of each step by itself.

    actions: (N, 3) action ids (1..A), 0 if no action was left to propose.
    step_p: (N, 3) probability of each step given the history and the steps before it; of single steps, given the
        history alone.
    plan_p: (N,) probability of the three steps together.
    runner_up: (N, 3) the next best action id at that step (0: none), with runner_up_p (N, 3).
    """

    actions: np.ndarray
    step_p: np.ndarray
    plan_p: np.ndarray
    runner_up: np.ndarray
    runner_up_p: np.ndarray

    def __post_init__(self) -> None:
        assert self.actions.shape == self.step_p.shape == (len(self.plan_p), N_STEPS)

    def __len__(self) -> int:
        return len(self.plan_p)


@dataclass(frozen=True, kw_only=True)
class CustomerScores:
    """Churn probabilities and plans of N customers: the input of planning.

    customer_id: (N,) str. churn_p: (N,) in [0, 1], NaN without a churn model. n_events: (N,) length of the history.
    plans: usable plans (see `decode_plans`), or None without a sequence model.
    """

    customer_id: np.ndarray
    churn_p: np.ndarray
    n_events: np.ndarray
    plans: DecodedPlans | None

    def take(self, rows: np.ndarray) -> CustomerScores:
        """The scores of some customers, in the order given."""
        plans = self.plans
        return CustomerScores(
            customer_id=self.customer_id[rows],
            churn_p=self.churn_p[rows],
            n_events=self.n_events[rows],
            plans=None if plans is None else DecodedPlans(**{name: array[rows] for name, array in vars(plans).items()}),
        )


@dataclass(frozen=True, kw_only=True)
class SequencePredictions:
    """Predictions of a sequence model for customers with a known outcome: the input of evaluation.

    customer_id: (N,) str. n_events: (N,) length of the history before the outcome.
    actual: (N, 3) true action ids, 0 if the outcome is shorter than three events.
    plan: (N, 3) the most probable plan, repeats allowed. plan_p: (N,) its probability.
    single_steps: (N, 3) the most probable action of each step by itself.
    actual_log_p: (N, 3) natural log of the probability of each true step given the true steps before it; 0 if none.
    rank: (N,) rank of the true next action among all A actions, 0 = first.
    """

    customer_id: np.ndarray
    n_events: np.ndarray
    actual: np.ndarray
    plan: np.ndarray
    plan_p: np.ndarray
    actual_log_p: np.ndarray
    rank: np.ndarray
    single_steps: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ChurnPredictions:
    """Churn probabilities with known labels. customer_id: (N,) str. churned: (N,) 0/1. churn_p: (N,) in [0, 1]."""

    customer_id: np.ndarray
    churned: np.ndarray
    churn_p: np.ndarray


Predictions = TypeVar("Predictions", SequencePredictions, ChurnPredictions)


def concatenated(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of parts of the customers, at least one part, as those of all."""
    fields = vars(parts[0])
    return replace(parts[0], **{name: np.concatenate([vars(part)[name] for part in parts]) for name in fields})


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """End of a training epoch. Losses are means in nats; valid_loss is None without validation customers.

    epoch: counts from 1. n_epochs: expected number of epochs, more if a final refit follows. best: whether the
    monitored loss is the lowest so far. seconds: since training began. final_refit: it also trained on validation
    customers.
    """

    model: ModelName
    epoch: int
    n_epochs: int
    train_loss: float
    valid_loss: float | None
    best: bool
    seconds: float
    final_refit: bool = False
