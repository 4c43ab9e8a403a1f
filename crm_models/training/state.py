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
from crm_models.core.errors import ConfigError
from crm_models.core.schema import ModelName
from crm_models.data.features import FeatureEncoder
from crm_models.models.churn import ChurnTransformer
from crm_models.models.sequence import SequenceTransformer
from crm_models.training.optimizers import optimizers_of

STREAMS = ("weights", "order", "windows", "dropout")
"""One random stream per purpose, so that an extra draw in one does not change another."""

SAVED = ("epoch", "best_epoch", "best_loss", "seconds", "losses")


def resolve_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is a GPU if torch finds one. `ConfigError` for `cuda` without a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but torch finds no GPU; use --device auto or cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def rng_of(seed: int, stream: str, epoch: int) -> np.random.Generator:
    """The numpy generator of a stream in an epoch."""
    return np.random.default_rng([seed, STREAMS.index(stream), epoch])


def seed_of(seed: int, stream: str) -> int:
    """Seed for torch from one of the named streams."""
    return int(np.random.default_rng([seed, STREAMS.index(stream)]).integers(2**40))


@dataclass(kw_only=True)
class TrainingState:
    """Everything that changes while one model trains. Made by `start` or `restore`, advanced by `train`.

    average: exponential moving average of the weights; if there is one, it is validated and kept. losses: the monitored
    loss of each epoch, infinite in the final refit. snapshot: tensors at the end of the latest epoch.
    """

    model: ModelName
    config: RunConfig
    encoder: FeatureEncoder
    module: Any
    optimizers: dict[str, torch.optim.Optimizer]  # by the prefix of their state in `tensors`
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
        training = config.training(model)
        with torch.random.fork_rng():
            torch.manual_seed(seed_of(config.seed, "weights"))
            module: nn.Module = (
                SequenceTransformer(config.sequence, encoder)
                if model == "sequence"
                else ChurnTransformer(config.churn, encoder)
            )
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

    @property
    def validated(self) -> nn.Module:
        """The module that is validated and whose best weights are kept: the averaged one, if weights are averaged."""
        return self.module if self.average is None else self.average.module

    @property
    def refit_epochs(self) -> int:
        """Epochs of the final refit so far."""
        return sum(map(math.isinf, self.losses))

    def tensors(self) -> dict[str, Tensor]:
        """Weights, averaged weights, best weights and optimiser states at the end of the latest epoch.

        Not the present ones: resuming from the middle of an epoch would give other numbers.
        """
        return self.snapshot

    def take_snapshot(self) -> None:
        """Copy everything that `tensors` returns."""
        out = {f"now.{k}": v for k, v in self.module.state_dict().items()}
        out |= {f"best.{k}": v for k, v in self.best.items()}
        if self.average is not None:
            out |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for prefix, optimizer in self.optimizers.items():
            for k, memory in optimizer.state_dict()["state"].items():
                out |= {f"{prefix}.{k}.{name}": value for name, value in memory.items()}
        self.snapshot = {k: v.detach().cpu().clone() for k, v in out.items()}

    def meta(self) -> dict[str, Any]:
        """The plain values saved beside `tensors`."""
        return {name: getattr(self, name) for name in SAVED} | {"losses": [*self.losses]}

    @classmethod
    def restore(
        cls,
        model: ModelName,
        config: RunConfig,
        encoder: FeatureEncoder,
        tensors: dict[str, Tensor],
        meta: dict[str, Any],
    ) -> TrainingState:
        """The state saved as `tensors` and `meta`."""
        state = cls.start(model, config, encoder)
        for name in SAVED:
            setattr(state, name, meta[name])
        state.snapshot = tensors
        state.rewind()
        return state

    def start_anew(self) -> None:
        """Reset weights and optimisers to their initial state; keep the best weights so far."""
        best, self.snapshot = self.best, TrainingState.start(self.model, self.config, self.encoder).snapshot
        self.rewind()
        self.best = best
        self.take_snapshot()

    def rewind(self) -> None:
        """Go back to the end of the latest epoch: undoes an unfinished epoch and the loading of the best weights."""
        self.module.load_state_dict(_under("now.", self.snapshot))
        self.best = _under("best.", self.snapshot)
        if self.average is not None:
            self.average.load_state_dict(_under("average.", self.snapshot))
        for prefix, optimizer in self.optimizers.items():
            memory: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(f"{prefix}.", self.snapshot).items():
                k, name = key.split(".", 1)
                # A copy, because the optimiser updates its state in place.
                memory.setdefault(int(k), {})[name] = value.clone()
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": memory, "param_groups": groups})

    def load_best(self) -> None:
        """Put the best weights into the module, in evaluation mode."""
        self.module.load_state_dict(self.best)
        self.module.eval()


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of the module's weights and buffers."""
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
