"""Schedule of a training: one phase that early stopping ends, and for the churn model a final refit.

The final refit begins from new weights and learns from training and validation customers together, for as many epochs
as were best. Both depend on the settings and the losses so far only, so a resumed training needs no other state.

DIFF from paper, Model Training: the final refit also learns from validation customers; `paper` has neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from crm_models.core.config import TrainingConfig

WARM_UP = 0.1
"""Share of the epochs in which the learning rate rises."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """At most `n_epochs` epochs from epoch `first`, counted from 0."""

    first: int
    n_epochs: int
    final_refit: bool = False

    @property
    def end(self) -> int:
        """The epoch after the last one."""
        return self.first + self.n_epochs

    def rate(self, config: TrainingConfig, epoch: float) -> float:
        """Learning rate at a fractional epoch: constant, or one cycle (linear warm-up, then a cosine).

        DIFF from paper, Model Training: one cycle reaches a lower loss in as many epochs; constant in `paper`.
        """
        if config.schedule == "constant":
            return config.learning_rate
        done = (epoch - self.first + 1e-3) / config.n_epochs
        falling = 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))
        return config.learning_rate * (done / WARM_UP if done < WARM_UP else max(falling, 1e-3))


def phase_of(config: TrainingConfig, losses: Sequence[float], is_judged: bool) -> Phase | None:
    """The phase of the next epoch, or None when training is over. Patience does not end a warm-up.

    losses: the monitored loss of each epoch so far. is_judged: whether it is that of validation customers.

    DIFF from paper, Experimental Setup: more epochs than ten, and the validation loss is monitored, because the
    training loss also falls while a model overfits; `paper` has ten and monitors the training loss.
    """
    best = 0
    for epoch, loss in enumerate(losses[: config.n_epochs]):
        best = epoch if loss < losses[best] else best
        warmed_up = epoch + 1 >= WARM_UP * config.n_epochs or config.schedule == "constant"
        out_of_patience = config.monitor != "last" and warmed_up and epoch - best >= config.patience_epochs
        if out_of_patience or epoch + 1 == config.n_epochs:
            break
    else:
        return Phase(first=0, n_epochs=config.n_epochs)
    refit = Phase(first=epoch + 1, n_epochs=best + 1, final_refit=True)
    return refit if config.final_refit and is_judged and len(losses) < refit.end else None
