"""State of a training: everything that changes while one model trains, saved after any epoch as tensors and values.

A training restored from it gives the same numbers as one that was never interrupted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from crm_models.core.config import RunConfig
from crm_models.core.schema import ModelName
from crm_models.data.features import FeatureEncoder
from crm_models.models.churn import ChurnTransformer
from crm_models.models.runtime import resolve_device
from crm_models.models.sequence import SequenceTransformer
from crm_models.training.optimizers import optimizers_of

STREAMS = ("weights", "order", "windows", "dropout")
"""One random stream per purpose, so that an extra draw in one does not change another."""

SAVED = ("epoch", "best_epoch", "best_loss", "seconds", "losses")


def rng_of(seed: int, stream: str, *epoch: int) -> np.random.Generator:
    """The numpy generator of a stream (in an epoch)."""
    return np.random.default_rng([seed, STREAMS.index(stream), *epoch])


def seed_of(seed: int, stream: str) -> int:
    """Seed for torch from one of the named streams."""
    return int(rng_of(seed, stream).integers(2**40))


@dataclass(kw_only=True)
class TrainingState:
    """Everything that changes while one model trains. Made by `start`, advanced by `train`.

    optimizers: by the prefix of their tensors in the snapshot. average: exponential moving average of the weights; if
    there is one, it is validated and kept. losses: the monitored loss of each epoch, infinite in the final refit.
    snapshot: weights, averaged weights, best weights and optimisers at the end of the latest epoch, which is what is
    saved: from the middle of an epoch, training could not go on to the same numbers.
    """

    model: ModelName
    config: RunConfig
    encoder: FeatureEncoder
    module: Any
    optimizers: dict[str, torch.optim.Optimizer]
    average: AveragedModel | None
    best: dict[str, Tensor]
    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    snapshot: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, model: ModelName, config: RunConfig, encoder: FeatureEncoder) -> TrainingState:
        """A model with random weights from the configuration's seed, on the configuration's device."""
        training, made = config.training(model), {"sequence": SequenceTransformer, "churn": ChurnTransformer}[model]
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(config.seed, "weights"))
            module = made(config.sequence if model == "sequence" else config.churn, encoder)
        module = module.to(resolve_device(config.device))
        state = cls(
            model=model,
            config=config,
            encoder=encoder,
            module=module,
            optimizers=optimizers_of(module, training),
            average=AveragedModel(module) if training.average_weights else None,
            best=weights_of(module),
        )
        state.take_snapshot()  # so that a stop within the first epoch has something to go back to
        return state

    def restored(self, snapshot: dict[str, Tensor], meta: dict[str, Any]) -> TrainingState:
        """This state, as it was when `snapshot` and the plain values `meta` were saved."""
        self.snapshot = snapshot
        for name in SAVED:
            setattr(self, name, meta[name])
        self.rewind()
        return self

    @property
    def meta(self) -> dict[str, Any]:
        """The plain values saved beside the snapshot."""
        return {name: getattr(self, name) for name in SAVED} | {"losses": [*self.losses]}

    @property
    def validated(self) -> nn.Module:
        """The module that is validated and whose best weights are kept: the averaged one, if weights are averaged."""
        return self.module if self.average is None else self.average.module

    @property
    def refit_epochs(self) -> int:
        """Epochs of the final refit so far."""
        return sum(map(math.isinf, self.losses))

    def take_snapshot(self) -> None:
        """Copy the present tensors."""
        parts = {"now": self.module.state_dict(), "best": self.best}
        parts |= {"average": self.average.state_dict()} if self.average is not None else {}
        for name, optimizer in self.optimizers.items():
            memories = optimizer.state_dict()["state"].items()
            parts[name] = {f"{k}.{what}": value for k, memory in memories for what, value in memory.items()}
        whole = {f"{part}.{name}": value for part, tensors in parts.items() for name, value in tensors.items()}
        self.snapshot = {name: value.detach().cpu().clone() for name, value in whole.items()}

    def rewind(self) -> None:
        """Go back to the snapshot: undoes an unfinished epoch and the loading of the best weights."""
        self.module.load_state_dict(self._part("now"))
        self.best = self._part("best")
        if self.average is not None:
            self.average.load_state_dict(self._part("average"))
        for part, optimizer in self.optimizers.items():
            memory: dict[int, dict[str, Tensor]] = {}
            for key, value in self._part(part).items():
                k, name = key.split(".", 1)
                # A copy, because the optimiser updates its state in place.
                memory.setdefault(int(k), {})[name] = value.clone()
            optimizer.load_state_dict(optimizer.state_dict() | {"state": memory})

    def start_anew(self) -> None:
        """Reset weights and optimisers to their initial state; keep the best weights so far."""
        best, self.snapshot = self.best, TrainingState.start(self.model, self.config, self.encoder).snapshot
        self.rewind()
        self.best = best
        self.take_snapshot()

    def load_best(self) -> None:
        """Put the best weights into the module, in evaluation mode."""
        self.module.load_state_dict(self.best)
        self.module.eval()

    def _part(self, name: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{name}."): v for k, v in self.snapshot.items() if k.startswith(f"{name}.")}


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the module's weights and buffers."""
    return {k: v.detach().clone() for k, v in module.state_dict().items()}
