"""Objectives: what each model is trained for: examples (rows of customers or outcomes), their sizes, and losses.

Draws and places of targets are known on the processor; a GPU is told them once a batch and asked for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crm_models.core.config import TrainingConfig
from crm_models.core.schema import N_STEPS
from crm_models.data.features import CohortArrays
from crm_models.data.split import Outcomes, Split, thinned
from crm_models.models.batches import CohortTensors, churn_batch, history_batch, outcome_batch, placed
from crm_models.models.blocks import picked
from crm_models.models.candidates import drawn_candidates, sampled_cross_entropy
from crm_models.models.runtime import most_logits
from crm_models.models.sequence import SequenceTransformer
from crm_models.training import parallel

SCORING_BATCH = 512

IN_BFLOAT16 = ("cuda",)
"""Devices on which matrix products of the sequence model are trained in bfloat16. Norms, soft-max, logits, loss and
weights stay in float32, as does all that scores: plans are those of the processor."""

SCORES_AT_ONCE = 4_000_000
"""Most logits (targets x actions) in memory at once, 16 MB: as many as the cache holds are faster than all at once."""

OUTCOMES_AT_ONCE = 8_000_000
"""Most log-probabilities (customers x steps x actions) of known outcomes in memory, 32 MB."""

ADDITIVE_INPUTS = 20_000_000
"""Most inputs of the additive model in memory while it is fitted, 80 MB: tens of thousands of customers."""

MOST_EXACT_ACTIONS = 5000
"""With more actions, the soft-max over all of them is estimated from candidates."""

TARGETS_AT_ONCE = 1024
"""Targets that share their candidates."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Training data of both models: arrays at the cohort's `as_of`, labels (N,), split, and outcomes.

    n_events: (N,) how many events of each customer, the first ones, may be learned from; None: all.
    """

    arrays: CohortArrays
    labels: np.ndarray
    split: Split
    outcomes: Outcomes
    n_events: np.ndarray | None = None


class _Objective:
    valid: np.ndarray

    def __init__(self, model: Any, config: TrainingConfig, data: TrainingData) -> None:
        self.model, self.config, self.data = model, config, data
        self.device = next(model.parameters()).device
        self.cohort = CohortTensors.of(data.arrays, self.device)

    def begin(self, final_refit: bool) -> None:
        """Fit what is fitted at once, before the first epoch of a phase."""

    def _mean(self, loss: Callable[[np.ndarray], tuple[Tensor, int]], size: int) -> float | None:
        """Mean of a loss over the targets of all validation examples, `size` at a time; None if there are none."""
        valid = self.valid[parallel.share(len(self.valid))]
        return parallel.mean(loss(valid[first : first + size]) for first in range(0, len(valid), size))


class SequenceObjective(_Objective):
    """Next-action prediction: cross-entropy of the sequence model (Paper, equations 4 and 9).

    DIFF from paper, Datasets: equation 1 prints 1/i, the summation index; read as the 1/T of equation 4.
    """

    def __init__(self, model: SequenceTransformer, config: TrainingConfig, data: TrainingData) -> None:
        super().__init__(model, config, data)
        self.n_events = np.diff(data.arrays.events.starts) if data.n_events is None else data.n_events
        # A full history plus the planned steps: what follows a full history while a plan is made.
        self.window = model.config.max_events + N_STEPS
        self.valid = np.flatnonzero(np.isin(data.outcomes.rows, data.split.valid))

    def examples(self, final_refit: bool = False) -> np.ndarray:
        """Training customers with at least one target, or (in `paper`) positions of their outcomes.

        DIFF from paper, Sequence Transformer Loss: every event is a target, for more targets per customer; in `paper`
        only the three steps are.
        """
        assert not final_refit, "the transition prior is counted on training customers"
        train = self.data.split.train
        if not self.config.all_positions:
            return np.flatnonzero(np.isin(self.data.outcomes.rows, train))
        return train[self.sizes(train)[1] > 0]

    def sizes(self, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M,) length of each example, and (M,) number of events to predict in it."""
        if not self.config.all_positions:
            return self.data.outcomes.n_history[examples], self.data.outcomes.n_outcome[examples]
        length = np.minimum(self.n_events[examples], self.window)
        # With a profile token in front, the first event is a target too.
        return length, length - 1 + self.model.n_front

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean cross-entropy in nats over the targets of the examples `chosen`, and how many targets."""
        own = parallel.share(len(chosen))
        if not self.config.all_positions:
            return self._outcome_loss(self.model, chosen[own])
        model, n_events = self.model, self.n_events[chosen]
        # From a history longer than the window, every epoch takes another random part.
        stops = rng.integers(np.minimum(self.window, n_events), n_events + 1)
        length = np.minimum(stops, self.window)
        # DIFF from paper, Optimizer and Regularization: context dropout hides gaps and values of random events, because
        # planned steps have none either; 0 in `paper`.
        hidden_context = rng.random((len(chosen), max(int(length.max()), 1))) < self.config.context_dropout
        full = history_batch(self.cohort, chosen[own], stops[own], self.window).to(self.device)
        hide = placed(hidden_context[own, : full.action.shape[1]], self.device)
        gap, value = (column.masked_fill(hide, torch.nan)[:, :-1] for column in (full.gap, full.value))
        batch = replace(full, action=full.action[:, :-1], gap=gap, value=value)
        targets = full.action[:, 1 - model.n_front :] - 1
        at = self._first(targets.shape[1], length[own] - 1 + model.n_front)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type in IN_BFLOAT16):
            hidden = model(batch).hidden
        return next_action_loss(model, hidden[*at], model.recent_actions(batch.action)[*at], targets[*at]), len(at[0])

    def valid_loss(self, model: SequenceTransformer) -> float | None:
        """Mean cross-entropy of the model per true step of validation customers; None if there are none."""
        return self._mean(lambda at: self._outcome_loss(model, at), outcomes_at_once(model, SCORING_BATCH))

    def _outcome_loss(self, model: SequenceTransformer, chosen: np.ndarray) -> tuple[Tensor, int]:
        log_p, steps = outcome_log_p(model, self.cohort, self.data.outcomes, chosen)
        at = self._first(N_STEPS, self.data.outcomes.n_outcome[chosen])
        return -log_p[*at, steps[*at] - 1].mean(), len(at[0])

    def _first(self, width: int, count: np.ndarray) -> Tensor:
        """Rows and columns (2, M) of the first count[b] places of each row b of a (B, width) tensor."""
        return placed(np.stack(np.nonzero(np.arange(width) < count[:, None])), self.device)


def next_action_loss(model: SequenceTransformer, hidden: Tensor, recent: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of targets (M,), indices 0 to A - 1, given hidden states (M, D) after `recent` (M, R).

    With many actions the logits, targets times actions, would be larger than everything else in training. They are then
    computed in chunks, each of which adds its gradients at once to those of the weights; the result carries only the
    gradient of `hidden`. With very many actions they are those of candidates.
    """
    is_sampled = model.n_actions > MOST_EXACT_ACTIONS
    size = TARGETS_AT_ONCE if is_sampled else max(1, most_logits(SCORES_AT_ONCE, hidden.device) // model.n_actions)
    if len(targets) <= size and not is_sampled:
        return F.cross_entropy(model.logits(hidden, recent, targets), targets)
    leaf, loss = hidden.detach().requires_grad_(), hidden.new_zeros(())
    for states, before, true in zip(*(rows.split(size) for rows in (leaf, recent, targets)), strict=True):
        if is_sampled:
            among = drawn_candidates(model.draw_share, true)
            part = sampled_cross_entropy(model.logits(states, before, true, among), true, among)
        else:
            part = F.cross_entropy(model.logits(states, before, true), true, reduction="sum")
        part = part / len(targets)
        part.backward()
        loss += part.detach()
    assert leaf.grad is not None
    return loss + ((hidden - hidden.detach()) * leaf.grad).sum()


def outcomes_at_once(model: SequenceTransformer, most: int) -> int:
    """For how many customers `outcome_log_p` is called at once: `most`, with very many actions fewer."""
    return max(1, min(most, OUTCOMES_AT_ONCE // (N_STEPS * model.n_actions)))


def outcome_log_p(
    model: SequenceTransformer, arrays: CohortArrays | CohortTensors, found: Outcomes, at: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, 3, A) of every action at each true step given the true steps before it; and those steps."""
    device = model.action.weight.device
    batch, steps, length = outcome_batch(arrays, found, at, model.config.max_events)
    # The last event of the history, at index length - 1 + n_front, predicts the first step.
    positions = length.to(device)[:, None] - 1 + model.n_front + torch.arange(N_STEPS, device=device)
    batch = batch.to(device)
    hidden, recent = model(batch, read=positions).hidden, picked(model.recent_actions(batch.action), positions)
    return model.logits(hidden, recent).log_softmax(dim=-1), steps.to(device)


class ChurnObjective(_Objective):
    """Churn prediction: binary cross-entropy of the churn model (Paper, equation 5).

    DIFF from paper, Datasets: equation 2 prints 1/j, the summation index; read as the 1/N of equations 5 to 7.
    """

    def __init__(self, model: Any, config: TrainingConfig, data: TrainingData) -> None:
        super().__init__(model, config, data)
        self.valid = self._labelled(data.split.valid)

    def _labelled(self, rows: np.ndarray) -> np.ndarray:
        return rows[~np.isnan(self.data.labels[rows])]

    def begin(self, final_refit: bool) -> None:
        """Fit the additive model, to an even sample of the examples where their inputs would fill the memory."""
        additive, features = self.model.additive, self.model.features
        if additive is None:
            return
        rows = thinned(self.examples(final_refit), ADDITIVE_INPUTS // max(additive.number.numel(), 1))
        numeric, categorical = self.cohort.churn_features(rows, self.model.config.use_behaviour)
        labels = placed(self.data.labels[rows].astype(np.float32), self.device)
        additive.fit(*features.inputs(numeric.to(self.device), categorical.to(self.device)), labels)

    def examples(self, final_refit: bool = False) -> np.ndarray:
        """Training customers with a known label; for the final refit the validation customers too."""
        split = self.data.split
        return self._labelled(np.sort(np.concatenate([split.train, split.valid])) if final_refit else split.train)

    def sizes(self, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M,) events of each example, and (M,) ones: a customer has one label."""
        length = np.minimum(self.data.arrays.n_history[examples], self.model.config.max_events)
        return length, np.ones(len(examples), np.int64)

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean binary cross-entropy in nats of customers `chosen`, and how many there are.

        Classes are not re-weighted, because that would distort the probabilities that the threshold is set on. Each
        customer trains one random ensemble member: training each member on every customer took M times longer and was
        no better, and training their mean would make them depend on each other.
        """
        member, own = rng.permutation(len(chosen)) % self.model.config.n_members, parallel.share(len(chosen))
        member_of = placed(member[own], self.device)
        return self._cross_entropy(lambda batch: self.model.of_member(batch, member_of), chosen[own])

    def valid_loss(self, model: Any) -> float | None:
        """Mean binary cross-entropy of the model over validation customers; None if there are none."""
        return self._mean(lambda rows: self._cross_entropy(lambda batch: model(batch)[0], rows), SCORING_BATCH)

    def _cross_entropy(self, log_odds: Callable[[Any], Tensor], rows: np.ndarray) -> tuple[Tensor, int]:
        batch = churn_batch(self.cohort, rows, self.model).to(self.device)
        labels = placed(self.data.labels[rows].astype(np.float32), self.device)
        return F.binary_cross_entropy_with_logits(log_odds(batch), labels), len(rows)
