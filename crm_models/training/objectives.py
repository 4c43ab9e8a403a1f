"""Objectives: training examples, training loss, validation loss and calibration of each model.

The training loop knows nothing of actions or churn; it gets its batches and losses from an objective.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crm_models.core.config import TrainingConfig
from crm_models.core.schema import N_STEPS
from crm_models.data.features import CohortArrays
from crm_models.data.split import Outcomes, Split
from crm_models.models.batches import churn_batch, history_batch, outcome_batch
from crm_models.models.blocks import picked
from crm_models.models.churn import ChurnBatch, ChurnTransformer
from crm_models.models.sequence import SequenceBatch, SequenceTransformer
from crm_models.training.chunked_loss import chunked_sum
from crm_models.training.phases import Phase
from crm_models.training.pretraining import PretrainingData

SCORING_BATCH = 512

SCORES_AT_ONCE = 4_000_000
"""Most logits (targets x actions) in memory at once, 16 MB. This bounds memory with many actions, and chunks of about
the size of the cache are faster than all logits of a batch at once."""

TEMPERATURES_VARY = 0.15
"""Standard deviation of the prior on the log temperature, with mean 0. Early stopping leaves models nearly calibrated,
and a few hundred customers without a prior would give 0.85 or 1.15 by chance."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Training data of both models: arrays at the cohort's `as_of`, labels (N,), split, and outcomes.

    pretraining: pre-training data of the churn model, if the cohort has any.
    """

    arrays: CohortArrays
    labels: np.ndarray
    split: Split
    outcomes: Outcomes
    pretraining: PretrainingData | None = None


class SequenceObjective:
    """Next-action prediction: batches and cross-entropy of the sequence model (Paper, equations 4 and 9).

    DIFF from paper, Datasets: equation 1 prints 1/i, the summation index; read as the 1/T of equation 4.
    """

    can_pretrain = False

    def __init__(self, model: SequenceTransformer, config: TrainingConfig, training_data: TrainingData) -> None:
        self.model, self.config, self.training_data = model, config, training_data
        outcomes, arrays = training_data.outcomes, training_data.arrays
        self.valid = np.flatnonzero(np.isin(outcomes.rows, training_data.split.valid))
        # DIFF from paper, Sequence Transformer Loss: every event is a target, for more targets per customer; in `paper`
        # only the three steps are.
        if config.all_positions:
            n_events = np.diff(arrays.events.starts)[training_data.split.train]
            # With a profile token in front, even a single event is a target.
            self.train = training_data.split.train[n_events >= 2 - model.n_front]
        else:
            self.train = np.flatnonzero(np.isin(outcomes.rows, training_data.split.train))

    def begin(self, phase: Phase) -> None:
        """Nothing to do: every phase uses the same examples."""

    def lengths(self) -> np.ndarray:
        """Events per training example, for batches of like length."""
        arrays = self.training_data.arrays
        if self.config.all_positions:
            return np.diff(arrays.events.starts)[self.train]
        return self.training_data.outcomes.n_history[self.train]

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean cross-entropy in nats over the targets of training examples `chosen`, and how many targets."""
        if not self.config.all_positions:
            return self._outcome_loss(chosen)
        arrays, model = self.training_data.arrays, self.model
        n_events = np.diff(arrays.events.starts)[chosen]
        # A full history plus the planned steps, so that the position embeddings of those steps are trained as well.
        window = model.config.max_events + N_STEPS
        # From a history longer than the window, every epoch takes another random part.
        stops = rng.integers(np.minimum(window, n_events), n_events + 1)
        full = history_batch(arrays, chosen, stops, window)
        # DIFF from paper, Optimizer and Regularization: context dropout hides gaps and values of random events, because
        # planned steps have none either; 0 in `paper`.
        hide = torch.from_numpy(rng.random(full.action.shape) < self.config.context_dropout)
        batch = SequenceBatch(
            action=full.action[:, :-1],
            gap=full.gap.masked_fill(hide, torch.nan)[:, :-1],
            value=full.value.masked_fill(hide, torch.nan)[:, :-1],
            numeric=full.numeric,
            categorical=full.categorical,
        )
        device = model.action.weight.device
        targets = full.action if model.has_profile else full.action[:, 1:]
        is_target = targets > 0
        hidden = model(batch.to(device)).hidden[is_target.to(device)]
        recent = model.recent_actions(batch.action)[is_target].to(device)
        return next_action_loss(model, hidden, recent, targets[is_target].to(device) - 1), int(is_target.sum())

    def valid_loss(self) -> float | None:
        """Mean cross-entropy per true step of validation customers."""
        total, count = 0.0, 0
        for first in range(0, len(self.valid), SCORING_BATCH):
            loss, n = self._outcome_loss(self.valid[first : first + SCORING_BATCH])
            total, count = total + float(loss) * n, count + n
        return total / count if count else None

    def _outcome_loss(self, at: np.ndarray) -> tuple[Tensor, int]:
        log_p, steps = outcome_log_p(self.model, self.training_data.arrays, self.training_data.outcomes, at)
        is_known = steps > 0
        return -log_p.gather(2, (steps - 1).clamp(min=0)[..., None]).squeeze(-1)[is_known].mean(), int(is_known.sum())

    def finish(self) -> dict[str, Any]:
        """Nothing to fit after the epochs."""
        return {}


def next_action_loss(model: SequenceTransformer, hidden: Tensor, recent: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of targets (M,), indices 0 to A - 1, given hidden states (M, D) after `recent` (M, R).

    With many actions the logits are computed in chunks; see `chunked_sum`.
    """
    size = max(1, SCORES_AT_ONCE // model.n_actions)
    if len(targets) <= size:
        return F.cross_entropy(model.logits(hidden, recent, targets), targets)

    def total(states: Tensor, before: Tensor, true: Tensor) -> Tensor:
        return F.cross_entropy(model.logits(states, before, true), true, reduction="sum")

    return chunked_sum(total, hidden, (recent, targets), list(model.parameters()), size) / len(targets)


def outcome_log_p(
    model: SequenceTransformer, arrays: CohortArrays, found: Outcomes, at: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, 3, A) of every action at each true step given the true steps before it; and those steps."""
    device = model.action.weight.device
    batch, steps, length = outcome_batch(arrays, found, at, model.config.max_events)
    # The last event of the history, at index length - 1 + n_front, predicts the first step.
    positions = (length - 1 + model.n_front)[:, None] + torch.arange(N_STEPS)
    hidden = model(batch.to(device), read=positions.to(device)).hidden
    recent = picked(model.recent_actions(batch.action), positions).to(device)
    return model.logits(hidden, recent).log_softmax(dim=-1), steps.to(device)


@dataclass(frozen=True, kw_only=True)
class _Examples:
    """Training examples: arrays and labels (N,) of all customers at one moment, and the rows to train on."""

    arrays: CohortArrays
    labels: np.ndarray
    train: np.ndarray

    @classmethod
    def of(cls, data: TrainingData | PretrainingData, rows: np.ndarray) -> _Examples:
        """Examples of the customers `rows` with a known label."""
        return cls(arrays=data.arrays, labels=data.labels, train=rows[~np.isnan(data.labels[rows])])


class ChurnObjective:
    """Churn prediction: batches, binary cross-entropy (Paper, equation 5) and calibration of the churn model.

    The phase decides which customers and labels are trained on; see `begin`.

    DIFF from paper, Datasets: equation 2 prints 1/j, the summation index; read as the 1/N of equations 5 to 7.
    """

    def __init__(self, model: ChurnTransformer, config: TrainingConfig, training_data: TrainingData) -> None:
        self.model, self.config, self.training_data = model, config, training_data
        self.labelled = self.examples = _Examples.of(training_data, training_data.split.train)
        self.valid = _Examples.of(training_data, training_data.split.valid).train
        pretraining = training_data.pretraining
        self.can_pretrain = (
            pretraining is not None and len(_Examples.of(pretraining, training_data.split.train).train) > 0
        )

    @property
    def train(self) -> np.ndarray:
        """Rows of the customers that the present phase trains on."""
        return self.examples.train

    def begin(self, phase: Phase) -> None:
        """Choose the examples of the phase: pre-training has its own labels, a final refit adds validation rows."""
        split, pretraining = self.training_data.split, self.training_data.pretraining
        rows = np.sort(np.concatenate([split.train, split.valid])) if phase.final_refit else split.train
        data = pretraining if pretraining is not None and phase.kind == "pretraining" else self.training_data
        self.examples = _Examples.of(data, rows)

    def lengths(self) -> np.ndarray:
        """Events per training example, for batches of like length."""
        return np.minimum(self.examples.arrays.n_history[self.train], self.model.config.max_events)

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean binary cross-entropy in nats of customers `chosen`.

        Classes are not re-weighted, because that would distort the probabilities that the threshold is set on. Each
        customer trains one random ensemble member: training each member on every customer took M times longer and was
        no better, and training their mean would make them depend on each other.
        """
        labels, batch = self._labels(self.examples, chosen), self._batch(self.examples, chosen)
        losses = []
        for model in self.model.ensemble:
            member = torch.from_numpy(rng.permutation(len(chosen)) % model.config.n_members).to(labels.device)
            losses.append(F.binary_cross_entropy_with_logits(model.of_member(batch, member), labels))
        return torch.stack(losses).mean(), len(chosen)

    def valid_loss(self) -> float | None:
        """Mean binary cross-entropy of validation customers."""
        if not len(self.valid):
            return None
        logits, labels = self._all_logits(self.valid)
        return float(F.binary_cross_entropy_with_logits(logits, labels))

    def finish(self) -> dict[str, Any]:
        """Calibration by temperature scaling: the MAP estimate of one number on validation customers.

        DIFF from paper, Model Training: the threshold is set on probabilities, so they have to be calibrated; off in
        `paper`. The prior is that of `TEMPERATURES_VARY`.
        """
        if not self.config.calibrate or len(self.valid) < 50:
            return {}
        # An earlier call may have set the temperature already.
        self.model.temperature = torch.ones_like(self.model.temperature)
        with torch.no_grad():
            logits, labels = self._all_logits(self.valid)
        grid = torch.logspace(-1, 1, 201, dtype=torch.float64)
        losses = torch.stack(
            [F.binary_cross_entropy_with_logits(logits.double().cpu() / t, labels.double().cpu()) for t in grid]
        )
        negative_log_posterior = len(self.valid) * losses + (grid.log() / TEMPERATURES_VARY) ** 2 / 2
        temperature = float(grid[negative_log_posterior.argmin()])
        self.model.temperature = torch.full_like(self.model.temperature, temperature)
        return {"temperature": temperature}

    def _all_logits(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Log-odds and labels of the customers `rows`."""
        parts = [rows[k : k + SCORING_BATCH] for k in range(0, len(rows), SCORING_BATCH)]
        logits = [self.model(self._batch(self.labelled, part))[0] for part in parts]
        return torch.cat(logits), self._labels(self.labelled, rows)

    def _batch(self, examples: _Examples, rows: np.ndarray) -> ChurnBatch:
        return churn_batch(examples.arrays, rows, self.model).to(self.model.output.weight.device)

    def _labels(self, examples: _Examples, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(examples.labels[rows].astype(np.float32)).to(self.model.output.weight.device)
