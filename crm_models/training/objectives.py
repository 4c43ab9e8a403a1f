"""What each model learns, and from what: examples, losses, and what is fitted after the epochs.

The training loop knows nothing of actions or churn; it asks a task for the loss of a batch and for the validation loss.
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
from crm_models.training.chunked_loss import sum_in_pieces
from crm_models.training.phases import Course
from crm_models.training.pretraining import Rehearsal

SCORING_BATCH = 512

SCORES_AT_ONCE = 4_000_000
"""Scores (targets x actions) that the loss holds at once, 16 MB: bounds memory where there are many actions, and pieces
near the size of the cache are quicker than all scores of a batch at once."""

TEMPERATURES_VARY = 0.15
"""Standard deviation of a temperature's logarithm around 0, before anybody has looked: models that stop early are near
1 as they are, and a few hundred customers alone would say 0.85 or 1.15 by the luck of their draw."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything a model may learn from: arrays at the cohort's `as_of`, labels (N,), the split, and the outcomes.

    rehearsal: the churn model's pre-training, where the cohort allows one.
    """

    arrays: CohortArrays
    labels: np.ndarray
    split: Split
    outcomes: Outcomes
    rehearsal: Rehearsal | None = None


class SequenceTask:
    """What the loop must know of the sequence model: its batches and its loss (Paper, equations 4 and 9)."""

    can_rehearse = False

    def __init__(self, model: SequenceTransformer, config: TrainingConfig, material: Material) -> None:
        self.model, self.config, self.material = model, config, material
        found, arrays = material.outcomes, material.arrays
        self.valid = np.flatnonzero(np.isin(found.rows, material.split.valid))
        if config.all_positions:
            n_events = np.diff(arrays.events.starts)[material.split.train]
            # A lone event is a target where a profile token stands in front of it.
            self.train = material.split.train[n_events >= 2 - model.n_front]
        else:
            self.train = np.flatnonzero(np.isin(found.rows, material.split.train))

    def begin(self, course: Course) -> None:
        """Every course learns from the same."""

    def lengths(self) -> np.ndarray:
        """Events per training example, for batches of like length."""
        arrays = self.material.arrays
        if self.config.all_positions:
            return np.diff(arrays.events.starts)[self.train]
        return self.material.outcomes.n_history[self.train]

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean cross-entropy in nats over the targets of training examples `chosen`, and how many targets."""
        if not self.config.all_positions:
            return self._outcome_loss(chosen)
        arrays, model = self.material.arrays, self.model
        n_events = np.diff(arrays.events.starts)[chosen]
        # As long as a full history and the steps planned after it, so that the positions of those are learned as well.
        window = model.config.max_events + N_STEPS
        # A history longer than the window gives another stretch of it in every epoch.
        stops = rng.integers(np.minimum(window, n_events), n_events + 1)
        whole = history_batch(arrays, chosen, stops, window)
        hide = torch.from_numpy(rng.random(whole.action.shape) < self.config.hide_context)
        batch = SequenceBatch(
            action=whole.action[:, :-1],
            gap=whole.gap.masked_fill(hide, torch.nan)[:, :-1],
            value=whole.value.masked_fill(hide, torch.nan)[:, :-1],
            numeric=whole.numeric,
            categorical=whole.categorical,
        )
        device = model.action.weight.device
        targets = whole.action if model.has_profile else whole.action[:, 1:]
        real = targets > 0
        hidden = model(batch.to(device)).hidden[real.to(device)]
        recent = model.recent_actions(batch.action)[real].to(device)
        return next_action_loss(model, hidden, recent, targets[real].to(device) - 1), int(real.sum())

    def valid_loss(self) -> float | None:
        """Mean cross-entropy per true step of validation customers."""
        total, count = 0.0, 0
        for first in range(0, len(self.valid), SCORING_BATCH):
            loss, n = self._outcome_loss(self.valid[first : first + SCORING_BATCH])
            total, count = total + float(loss) * n, count + n
        return total / count if count else None

    def _outcome_loss(self, at: np.ndarray) -> tuple[Tensor, int]:
        log_p, steps = outcome_log_p(self.model, self.material.arrays, self.material.outcomes, at)
        real = steps > 0
        return -log_p.gather(2, (steps - 1).clamp(min=0)[..., None]).squeeze(-1)[real].mean(), int(real.sum())

    def finish(self) -> dict[str, Any]:
        """Nothing is fitted after the epochs."""
        return {}


def next_action_loss(model: SequenceTransformer, hidden: Tensor, recent: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of targets (M,), places 0 to A - 1, given hidden states (M, D) after `recent` (M, R).

    With many actions the scores come in pieces; see `sum_in_pieces`.
    """
    size = max(1, SCORES_AT_ONCE // model.n_actions)
    if len(targets) <= size:
        return F.cross_entropy(model.logits(hidden, recent, targets), targets)

    def total(part: Tensor, before: Tensor, own: Tensor) -> Tensor:
        return F.cross_entropy(model.logits(part, before, own), own, reduction="sum")

    return sum_in_pieces(total, hidden, (recent, targets), list(model.parameters()), size) / len(targets)


def outcome_log_p(
    model: SequenceTransformer, arrays: CohortArrays, found: Outcomes, at: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, 3, A) of every action at each true step given the true steps before it; and the steps."""
    device = model.action.weight.device
    batch, steps, length = outcome_batch(arrays, found, at, model.config.max_events)
    # The last event of the history, at index length - 1 + n_front, predicts the first step.
    place = (length - 1 + model.n_front)[:, None] + torch.arange(N_STEPS)
    hidden = model(batch.to(device), read=place.to(device)).hidden
    recent = picked(model.recent_actions(batch.action), place).to(device)
    return model.logits(hidden, recent).log_softmax(dim=-1), steps.to(device)


@dataclass(frozen=True, kw_only=True)
class _Question:
    """Who is asked about, as seen when: arrays and labels (N,) of all customers, and the rows to learn from."""

    arrays: CohortArrays
    labels: np.ndarray
    train: np.ndarray

    @classmethod
    def of(cls, asked: Material | Rehearsal, train: np.ndarray) -> _Question:
        """The question about those of the customers `train` whose answer is known."""
        return cls(arrays=asked.arrays, labels=asked.labels, train=train[~np.isnan(asked.labels[train])])


class ChurnTask:
    """What the loop must know of the churn model: its batches, its loss (Paper, equation 5), and its calibration.

    What it learns from, and of whom, is the course's to say; see `begin`.
    """

    def __init__(self, model: ChurnTransformer, config: TrainingConfig, material: Material) -> None:
        self.model, self.config, self.material = model, config, material
        self.own = self.asked = _Question.of(material, material.split.train)
        self.valid = _Question.of(material, material.split.valid).train
        rehearsal = material.rehearsal
        self.can_rehearse = rehearsal is not None and len(_Question.of(rehearsal, material.split.train).train) > 0

    @property
    def train(self) -> np.ndarray:
        """Rows of the customers that the epoch learns from."""
        return self.asked.train

    def begin(self, course: Course) -> None:
        """Get ready for an epoch of the course.

        A rehearsal asks the earlier question, the others the real one; a refit learns from validation customers too.
        """
        split, rehearsal = self.material.split, self.material.rehearsal
        rows = np.sort(np.concatenate([split.train, split.valid])) if course.refit else split.train
        asked = rehearsal if rehearsal is not None and course.kind == "rehearsal" else self.material
        self.asked = _Question.of(asked, rows)

    def lengths(self) -> np.ndarray:
        """Events per training example, for batches of like length."""
        return np.minimum(self.asked.arrays.n_history[self.train], self.model.config.max_events)

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean binary cross-entropy in nats of customers `chosen`. Classes are not re-weighted: that would bend the
        probabilities that the threshold is set on; an imbalance only moves the offset of the sigmoid unit.

        Every customer is one member's alone, drawn anew each time. All members answering for all customers cost as many
        times as much and were no better; answering together they would lean on each other.
        """
        labels, batch = self._labels(self.asked, chosen), self._batch(self.asked, chosen)
        losses = []
        for copy in self.model.copies:
            member = torch.from_numpy(rng.permutation(len(chosen)) % copy.config.n_members).to(labels.device)
            losses.append(F.binary_cross_entropy_with_logits(copy.of_member(batch, member), labels))
        return torch.stack(losses).mean(), len(chosen)

    def valid_loss(self) -> float | None:
        """Mean binary cross-entropy of validation customers."""
        if not len(self.valid):
            return None
        logits, labels = self._all_logits(self.valid)
        return float(F.binary_cross_entropy_with_logits(logits, labels))

    def finish(self) -> dict[str, Any]:
        """Temperature scaling: one number, fitted on validation customers, that makes probabilities honest.

        The most probable one given those customers and what is known of temperatures; see `TEMPERATURES_VARY`.
        """
        if not self.config.calibrate or len(self.valid) < 50:
            return {}
        # Fitted on log-odds as they were trained, whatever an earlier call has set.
        self.model.temperature = torch.ones_like(self.model.temperature)
        with torch.no_grad():
            logits, labels = self._all_logits(self.valid)
        grid = torch.logspace(-1, 1, 201, dtype=torch.float64)
        losses = torch.stack(
            [F.binary_cross_entropy_with_logits(logits.double().cpu() / t, labels.double().cpu()) for t in grid]
        )
        surprise = len(self.valid) * losses + (grid.log() / TEMPERATURES_VARY) ** 2 / 2
        temperature = float(grid[surprise.argmin()])
        self.model.temperature = torch.full_like(self.model.temperature, temperature)
        return {"temperature": temperature}

    def _all_logits(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Log-odds and labels as of now, of the customers `rows`."""
        parts = [rows[k : k + SCORING_BATCH] for k in range(0, len(rows), SCORING_BATCH)]
        logits = [self.model(self._batch(self.own, part))[0] for part in parts]
        return torch.cat(logits), self._labels(self.own, rows)

    def _batch(self, asked: _Question, rows: np.ndarray) -> ChurnBatch:
        return churn_batch(asked.arrays, rows, self.model).to(self.model.output.weight.device)

    def _labels(self, asked: _Question, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(asked.labels[rows].astype(np.float32)).to(self.model.output.weight.device)
