"""What crosses the borders between stages: decoded plans, scores per customer, predictions, epoch events.

Plain frozen dataclasses over numpy; no torch here, so that evaluation, planning and export stay free of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crm_models.core.schema import (
    N_STEPS,
    ModelName,
)


@dataclass(frozen=True, kw_only=True)
class DecodedPlans:
    """The best three steps per customer, as the decoder found them.

    actions: (N, 3) action ids (1..A), 0 where no action was left to propose.
    step_p: (N, 3) probability of each step given the history and the steps before it.
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
    """What the models say about a stretch of customers; planning needs nothing else.

    customer_id: (N,) str. churn_p: (N,) in [0, 1], NaN where there is no churn model.
    n_events: (N,) length of the history the models saw. plans: for use (no repeats, nothing already had), or None
    where there is no sequence model.
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
            plans=None if plans is None else DecodedPlans(**{name: own[rows] for name, own in vars(plans).items()}),
        )


@dataclass(frozen=True, kw_only=True)
class SequencePredictions:
    """How a sequence model did on customers whose outcome is known; evaluation turns it into scores.

    customer_id: (N,) str. n_events: (N,) length of the history before the outcome.
    actual: (N, 3) true action ids, 0 where the outcome is shorter than three events.
    plan: (N, 3) the most probable plan, repeats allowed. plan_p: (N,) its probability.
    actual_log_p: (N, 3) natural log of the probability of each true step given the true steps before it; 0 where none.
    rank: (N,) place of the true next action among all A actions, 0 = first.
    """

    customer_id: np.ndarray
    n_events: np.ndarray
    actual: np.ndarray
    plan: np.ndarray
    plan_p: np.ndarray
    actual_log_p: np.ndarray
    rank: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ChurnPredictions:
    """Churn probabilities beside known labels. customer_id: (N,) str. churned: (N,) 0/1. churn_p: (N,) in [0, 1]."""

    customer_id: np.ndarray
    churned: np.ndarray
    churn_p: np.ndarray


@dataclass(frozen=True, kw_only=True)
class EpochEnd:
    """One epoch of training is over. Losses are means in nats; valid_loss is None where nothing is held back.

    epoch: counts from 1. n_epochs: expected number of epochs, more if a final refit follows. best: whether the
    monitored loss is the lowest so far. seconds: since training began. pretraining: train_loss is that of the
    pre-training labels. short_phase: the epoch belongs to the short first phase. final_refit: validation customers were
    trained on as well.
    """

    model: ModelName
    epoch: int
    n_epochs: int
    train_loss: float
    valid_loss: float | None
    best: bool
    seconds: float
    pretraining: bool = False
    short_phase: bool = False
    final_refit: bool = False
