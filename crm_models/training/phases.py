"""Training phases: initial weights, learning-rate schedule and training customers of each epoch; early stopping.

Usually there is one main phase. A shorter one may come first: pre-training, whose weights the main phase starts from,
or a short phase, whose weights are kept if more epochs would hardly help and discarded otherwise. With `final_refit`,
and without pre-training, the best phase is repeated at the end on training and validation customers.

Phases depend only on the settings and the losses so far, so a resumed training needs no other state.

DIFF from paper, Model Training: the paper has one phase, as has `paper`. Pre-training needs fewer labels, a short phase
overfits less where there is little to learn, and the final refit also learns from validation customers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from crm_models.core.config import TrainingConfig

Kind = Literal["pretraining", "short", "main"]

AFTER_PRETRAINING = 0.5
"""Share of the learning rate after pre-training; a higher rate would undo the pre-training."""

SHORTEST_PHASE = 5
"""Least number of epochs of a short phase; fewer do not show whether more would help."""

STILL_GAINS = 0.02
"""A short phase is enough if its second half lowered the loss by at most this share. Measured gains: about 0.005 where
there is little to learn and more epochs overfit, 0.03 to 0.2 elsewhere. The main phase must be better than the short
one by the same share to be preferred."""

AS_GOOD = 0.01
"""Validation losses closer than this share count as equal: a few hundred customers cannot tell them apart."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """At most `length` epochs from epoch `first` (counted from 0), with a learning-rate schedule for `n_epochs`.

    until: the expected number of epochs of the whole training. top: peak learning rate as a share of the configured
    one. fresh: whether it starts from new random weights. final_refit: whether it also trains on validation customers,
    so that there is no validation loss.
    """

    kind: Kind
    first: int
    n_epochs: int
    length: int
    until: int
    top: float = 1.0
    fresh: bool = False
    final_refit: bool = False

    @property
    def end(self) -> int:
        """The epoch after the last one of the phase."""
        return self.first + self.length

    def rate(self, config: TrainingConfig, epoch: float) -> float:
        """Learning rate at a fractional epoch: constant, or one cycle (linear warm-up over a tenth, then cosine).

        DIFF from paper, Model Training: one cycle reaches a lower loss in as many epochs; constant in `paper`.
        """
        if config.schedule == "constant":
            return config.learning_rate
        return config.learning_rate * self.top * _one_cycle((epoch - self.first + 1e-3) / self.n_epochs)


@dataclass(frozen=True, kw_only=True)
class TrainingSchedule:
    """The phases of one training.

    can_pretrain: whether there is pre-training data. is_judged: whether early stopping uses a validation loss.

    DIFF from paper, Experimental Setup: more epochs than ten, ended by early stopping; ten in `paper`.
    """

    config: TrainingConfig
    can_pretrain: bool
    is_judged: bool

    def phase(self, losses: Sequence[float]) -> Phase | None:
        """The phase of the next epoch, or None when training is over.

        losses: the monitored loss of each epoch so far; infinite for epochs that cannot be the best.
        """
        completed: list[Phase] = []
        for phase in self._planned():
            completed.append(phase)
            end = self._end(phase, losses)
            if end is None:
                return phase
            if phase.kind == "short" and not _still_gains(losses[:end]):
                break
        # After pre-training a final refit gained nothing on two cohorts (TRIED.md).
        if not self.config.final_refit or not self.is_judged or completed[0].kind == "pretraining":
            return None
        return _final_refit(completed, losses[:end], len(losses))

    def _planned(self) -> list[Phase]:
        n_epochs = self.config.n_epochs

        def phase(kind: Kind, first: int, length: int, top: float = 1.0, fresh: bool = False) -> Phase:
            return Phase(kind=kind, first=first, n_epochs=length, length=length, until=n_epochs, top=top, fresh=fresh)

        n_pretraining = int(self.config.pretraining_share * n_epochs) if self.can_pretrain else 0
        if n_pretraining:
            after = phase("main", n_pretraining, n_epochs - n_pretraining, top=AFTER_PRETRAINING)
            return [phase("pretraining", 0, n_pretraining), after]
        n_short = int(self.config.short_phase_share * n_epochs) if self.is_judged else 0
        if n_short >= SHORTEST_PHASE:
            return [phase("short", 0, n_short), phase("main", n_short, n_epochs - n_short, fresh=True)]
        return [phase("main", 0, n_epochs)]

    def _end(self, phase: Phase, losses: Sequence[float]) -> int | None:
        """The epoch after the last one of a phase, or None while it runs. Early stopping happens here.

        Only the main phase stops early; the others are short, and their learning rate falls only at their end.
        """
        # DIFF from paper, Experimental Setup: the validation loss is monitored, because the training loss also falls
        # while a model overfits; `paper` monitors the training loss.
        phase_losses = losses[phase.first : phase.end]
        if phase.kind == "main" and self.config.monitor != "last":
            best = 0
            for k, loss in enumerate(phase_losses):
                best = k if loss < phase_losses[best] else best
                if k - best >= self.config.patience_epochs:
                    return phase.first + k + 1
        return phase.end if len(phase_losses) == phase.length else None


def _final_refit(completed: Sequence[Phase], losses: Sequence[float], n_done: int) -> Phase | None:
    """The phase to repeat on training and validation customers, or None when that is done.

    losses: validation losses of the completed phases. The main phase is repeated up to its best epoch, but only if it
    was clearly better than the short phase: otherwise its best epoch is chance, at a high learning rate. The short
    phase is repeated up to its last epoch with a loss within `AS_GOOD` of its best.
    """
    best = completed[0]
    if best.kind == "short" and (len(completed) == 1 or min(losses) >= (1 - STILL_GAINS) * min(losses[: best.end])):
        phase_losses = losses[: best.end]
        length = max(k for k, loss in enumerate(phase_losses, start=1) if loss <= (1 + AS_GOOD) * min(phase_losses))
    else:
        best = completed[-1]
        phase_losses = losses[best.first :]
        length = phase_losses.index(min(phase_losses)) + 1
    first, until = len(losses), len(losses) + length
    if n_done >= until:
        return None
    return replace(best, first=first, length=length, until=until, fresh=True, final_refit=True)


def _still_gains(losses: Sequence[float]) -> bool:
    """Whether the second half of a short phase lowered the loss by more than `STILL_GAINS`."""
    return min(losses) < (1 - STILL_GAINS) * min(losses[: len(losses) // 2])


def _one_cycle(done: float) -> float:
    """Learning rate as a share of its peak after the share `done` of the schedule."""
    warm_up = 0.1
    if done < warm_up:
        return done / warm_up
    return max(0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))), 1e-3)
