"""Objectives: what each model is trained for. The training loop knows nothing of actions or churn.

An objective gives training examples (rows of customers or of outcomes), how many targets each has, and losses.
"""

from __future__ import annotations

from dataclasses import dataclass

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
from crm_models.models.candidates import drawn_candidates, sampled_cross_entropy
from crm_models.models.churn import ChurnTransformer
from crm_models.models.sequence import SequenceBatch, SequenceTransformer
from crm_models.training import parallel
from crm_models.training.chunked_loss import chunked_sum

SCORING_BATCH = 512

SCORES_AT_ONCE = 4_000_000
"""Most logits (targets x actions) in memory at once, 16 MB. This bounds memory with many actions, and chunks of about
the size of the cache are faster than all logits of a batch at once."""

OUTCOMES_AT_ONCE = 8_000_000
"""Most log-probabilities (customers x steps x actions) of known outcomes in memory, 32 MB."""

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


class SequenceObjective:
    """Next-action prediction: cross-entropy of the sequence model (Paper, equations 4 and 9).

    DIFF from paper, Datasets: equation 1 prints 1/i, the summation index; read as the 1/T of equation 4.
    """

    def __init__(self, model: SequenceTransformer, config: TrainingConfig, data: TrainingData) -> None:
        self.model, self.config, self.data = model, config, data
        self.n_events = np.diff(data.arrays.events.starts) if data.n_events is None else data.n_events
        # A full history plus the planned steps: what follows a full history while a plan is made.
        self.window = model.config.max_events + N_STEPS
        self.valid = np.flatnonzero(np.isin(data.outcomes.rows, data.split.valid))

    def examples(self, final_refit: bool = False) -> np.ndarray:
        """Training customers with at least one target, or (in `paper`) positions of their outcomes."""
        assert not final_refit, "the transition prior is counted on training customers"
        # DIFF from paper, Sequence Transformer Loss: every event is a target, for more targets per customer; in `paper`
        # only the three steps are.
        if not self.config.all_positions:
            return np.flatnonzero(np.isin(self.data.outcomes.rows, self.data.split.train))
        return self.data.split.train[self.sizes(self.data.split.train)[1] > 0]

    def sizes(self, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M,) length of each example, and (M,) number of events to predict in it."""
        if not self.config.all_positions:
            return self.data.outcomes.n_history[examples], self.data.outcomes.n_outcome[examples]
        length = np.minimum(self.n_events[examples], self.window)
        # With a profile token in front, the first event is a target too.
        return length, length - 1 + self.model.n_front

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean cross-entropy in nats over the targets of the examples `chosen`, and how many targets."""
        if not self.config.all_positions:
            return self._outcome_loss(chosen[parallel.share(len(chosen))])
        model, n_events = self.model, self.n_events[chosen]
        # From a history longer than the window, every epoch takes another random part.
        stops = rng.integers(np.minimum(self.window, n_events), n_events + 1)
        # DIFF from paper, Optimizer and Regularization: context dropout hides gaps and values of random events, because
        # planned steps have none either; 0 in `paper`.
        width = max(int(np.minimum(stops, self.window).max()), 1)
        hidden_context = rng.random((len(chosen), width)) < self.config.context_dropout
        own = parallel.share(len(chosen))
        full = history_batch(self.data.arrays, chosen[own], stops[own], self.window)
        hide = torch.from_numpy(hidden_context[own, : full.action.shape[1]])
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
        """Mean cross-entropy per true step of validation customers; None if there are none."""
        total, count = 0.0, 0
        valid, size = self.valid[parallel.share(len(self.valid))], outcomes_at_once(self.model, SCORING_BATCH)
        for first in range(0, len(valid), size):
            loss, n = self._outcome_loss(valid[first : first + size])
            total, count = total + float(loss) * n, count + n
        total, count = parallel.summed(total, count)
        return total / count if count else None

    def _outcome_loss(self, at: np.ndarray) -> tuple[Tensor, int]:
        log_p, steps = outcome_log_p(self.model, self.data.arrays, self.data.outcomes, at)
        is_known = steps > 0
        return -log_p.gather(2, (steps - 1).clamp(min=0)[..., None]).squeeze(-1)[is_known].mean(), int(is_known.sum())


def next_action_loss(model: SequenceTransformer, hidden: Tensor, recent: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of targets (M,), indices 0 to A - 1, given hidden states (M, D) after `recent` (M, R).

    With many actions the logits are computed in chunks (`chunked_sum`), with very many those of candidates only.
    """
    is_sampled = model.n_actions > MOST_EXACT_ACTIONS
    size = TARGETS_AT_ONCE if is_sampled else max(1, SCORES_AT_ONCE // model.n_actions)
    if len(targets) <= size and not is_sampled:
        return F.cross_entropy(model.logits(hidden, recent, targets), targets)

    def total(states: Tensor, before: Tensor, true: Tensor) -> Tensor:
        if not is_sampled:
            return F.cross_entropy(model.logits(states, before, true), true, reduction="sum")
        among = drawn_candidates(model.draw_share, true)
        return sampled_cross_entropy(model.logits(states, before, true, among), true, among)

    return chunked_sum(total, hidden, (recent, targets), list(model.parameters()), size) / len(targets)


def outcomes_at_once(model: SequenceTransformer, most: int) -> int:
    """For how many customers `outcome_log_p` is called at once: `most`, with very many actions fewer."""
    return max(1, min(most, OUTCOMES_AT_ONCE // (N_STEPS * model.n_actions)))


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


class ChurnObjective:
    """Churn prediction: binary cross-entropy of the churn model (Paper, equation 5).

    DIFF from paper, Datasets: equation 2 prints 1/j, the summation index; read as the 1/N of equations 5 to 7.
    """

    def __init__(self, model: ChurnTransformer, config: TrainingConfig, data: TrainingData) -> None:
        self.model, self.config, self.data = model, config, data
        self.labels = torch.from_numpy(data.labels.astype(np.float32))
        self.valid = self._labelled(data.split.valid)

    def _labelled(self, rows: np.ndarray) -> np.ndarray:
        return rows[~np.isnan(self.data.labels[rows])]

    def examples(self, final_refit: bool = False) -> np.ndarray:
        """Training customers with a known label; for the final refit the validation customers too."""
        split = self.data.split
        rows = np.sort(np.concatenate([split.train, split.valid])) if final_refit else split.train
        return self._labelled(rows)

    def sizes(self, examples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(M,) events of each example, and (M,) ones: a customer has one label."""
        length = np.minimum(self.data.arrays.n_history[examples], self.model.config.max_events)
        return length, np.ones(len(examples), np.int64)

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean binary cross-entropy in nats of customers `chosen`.

        Classes are not re-weighted, because that would distort the probabilities that the threshold is set on. Each
        customer trains one random ensemble member: training each member on every customer took M times longer and was
        no better, and training their mean would make them depend on each other.
        """
        device = self.model.output.weight.device
        member = torch.from_numpy(rng.permutation(len(chosen)) % self.model.config.n_members)
        own = parallel.share(len(chosen))
        batch = churn_batch(self.data.arrays, chosen[own], self.model).to(device)
        log_odds = self.model.of_member(batch, member[own].to(device))
        return F.binary_cross_entropy_with_logits(log_odds, self.labels[chosen[own]].to(device)), len(own)

    def valid_loss(self) -> float | None:
        """Mean binary cross-entropy of validation customers; None if there are none."""
        total, valid = 0.0, self.valid[parallel.share(len(self.valid))]
        for first in range(0, len(valid), SCORING_BATCH):
            rows = valid[first : first + SCORING_BATCH]
            batch = churn_batch(self.data.arrays, rows, self.model).to(self.model.output.weight.device)
            labels = self.labels[rows].to(batch.numeric.device)
            total += float(F.binary_cross_entropy_with_logits(self.model(batch)[0], labels, reduction="sum"))
        total, count = parallel.summed(total, len(valid))
        return total / count if count else None
