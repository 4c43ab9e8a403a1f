"""One training loop for both models: it yields one `EpochEnd` per epoch, and whoever iterates decides what follows.

The loop owns no file and no screen. A `TrainingState` holds all that changes while training, can be turned into tensors
and plain values after any epoch, and restored to go on to the very same numbers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from crm_models.core.config import RunConfig, TrainingConfig
from crm_models.core.errors import ConfigError, RunError
from crm_models.core.records import EpochEnd
from crm_models.core.schema import ModelName
from crm_models.data.features import FeatureEncoder
from crm_models.models.blocks import Block
from crm_models.models.churn import ChurnTransformer
from crm_models.models.sequence import SequenceTransformer
from crm_models.training.muon import Muon
from crm_models.training.objectives import ChurnObjective, SequenceObjective, TrainingData
from crm_models.training.phases import Phase, TrainingSchedule

STREAMS = ("weights", "order", "windows", "dropout")
"""One random stream per purpose, so that a draw more in one changes nothing in another."""

SMALLEST_BATCH = 16
"""`min_updates_per_epoch` cuts no batch smaller than this: gradients of fewer customers are mostly noise."""

REFIT_EPOCHS = "refit_epochs"
"""Among the facts of a state once it holds weights that validation customers were learned into: in how many epochs."""


def never() -> bool:
    """The stop request of a caller who never stops."""
    return False


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where torch finds one. `ConfigError` where `cuda` is asked for and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but torch finds no GPU; use --device auto or cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


# ---- state -----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class TrainingState:
    """All that changes while one model trains. Made by `start` or `restore`, driven by `train`."""

    model: ModelName
    config: RunConfig
    module: Any
    optimizers: dict[str, torch.optim.Optimizer]  # by the name under which their memory is kept
    average: AveragedModel | None  # a running mean of the weights; where there is one, it is what counts
    best: dict[str, Tensor]
    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)  # per epoch, what is monitored; infinite where it says nothing
    facts: dict[str, Any] = field(default_factory=dict)  # what was found after the judged epochs: the temperature
    snapshot: dict[str, Tensor] = field(default_factory=dict)  # as `tensors` returns it, taken when an epoch ends
    fresh: dict[str, Tensor] = field(default_factory=dict)  # the first snapshot

    @classmethod
    def start(cls, model: ModelName, config: RunConfig, encoder: FeatureEncoder) -> TrainingState:
        """A model with fresh weights, drawn from the configuration's seed, on the configuration's device."""
        training = config.training(model)
        with torch.random.fork_rng():
            torch.manual_seed(_seed_of(config.seed, "weights"))
            module: nn.Module = (
                SequenceTransformer(config.sequence, encoder)
                if model == "sequence"
                else ChurnTransformer(config.churn, encoder)
            )
        module = module.to(resolve_device(config.device))
        state = cls(
            model=model,
            config=config,
            module=module,
            optimizers=_optimizers(module, training),
            average=_average(module, training),
            best=_copy(module),
        )
        # Taken now, so that a stop within the very first epoch has something to go back to.
        state.snapshot = state.fresh = state._now()
        return state

    @property
    def judged(self) -> nn.Module:
        """The module that is validated, and whose best weights are kept: the mean of the weights where there is one."""
        return self.module if self.average is None else self.average.module

    def tensors(self) -> dict[str, Tensor]:
        """Weights, their mean, the best weights and the optimiser's memory as they were when the latest epoch ended.

        Not as they are: a stop cuts an epoch in two, and going on from the middle of it would give other numbers.
        """
        return self.snapshot

    def _now(self) -> dict[str, Tensor]:
        out = {f"now.{k}": v for k, v in self.module.state_dict().items()}
        out |= {f"best.{k}": v for k, v in self.best.items()}
        if self.average is not None:
            out |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for own, optimizer in self.optimizers.items():
            for k, memory in optimizer.state_dict()["state"].items():
                out |= {f"{own}.{k}.{name}": value for name, value in memory.items()}
        return {k: v.detach().cpu().clone() for k, v in out.items()}

    def meta(self) -> dict[str, Any]:
        """The plain values that go with `tensors`."""
        names = ("epoch", "best_epoch", "best_loss", "seconds")
        return {name: getattr(self, name) for name in names} | {"losses": [*self.losses], "facts": {**self.facts}}

    @classmethod
    def restore(
        cls,
        model: ModelName,
        config: RunConfig,
        encoder: FeatureEncoder,
        tensors: dict[str, Tensor],
        meta: dict[str, Any],
    ) -> TrainingState:
        """The state that `tensors` and `meta` were taken from."""
        state = cls.start(model, config, encoder)
        for name in meta.keys() & state.meta().keys():
            setattr(state, name, meta[name])
        if "losses" not in meta:  # written by an earlier version; when the best was is what patience needs
            state.losses = [math.inf] * state.epoch
            if state.best_epoch:
                state.losses[state.best_epoch - 1] = state.best_loss
        state.snapshot = tensors
        state.rewind()
        return state

    def start_anew(self) -> None:
        """Back to fresh weights and an optimiser without memory; the best weights so far stay the best."""
        best, self.snapshot = self.best, self.fresh
        self.rewind()
        self.best = best
        self.snapshot = self._now()

    def rewind(self) -> None:
        """Back to the end of the latest epoch, undoing half an epoch and the return to the best weights."""
        self.module.load_state_dict(_under("now.", self.snapshot))
        self.best = _under("best.", self.snapshot)
        if self.average is not None:
            self.average.load_state_dict(_under("average.", self.snapshot))
        for own, optimizer in self.optimizers.items():
            memory: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(f"{own}.", self.snapshot).items():
                k, name = key.split(".", 1)
                # A copy: the optimiser changes its memory in place, and would change the snapshot with it.
                memory.setdefault(int(k), {})[name] = value.clone()
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": memory, "param_groups": groups})


def _optimizers(module: nn.Module, config: TrainingConfig) -> dict[str, torch.optim.Optimizer]:
    """Adam. Paper, equation 9: lambda * ||theta||^2 is added to the loss, whose gradient is 2 * lambda * theta.

    DIFF from paper, Optimizer and Regularization: `standard` decays the weights directly (AdamW), biases and norms left
    alone, because Adam divides the gradient of the penalty by its own scale and so hardly decays large weights; and the
    matrices of the blocks go by Muon, which learns as much in a little over half of the updates.
    """
    rate, decay = config.learning_rate, config.weight_decay
    if config.l2_in_loss:
        return {"optimizer": torch.optim.Adam(module.parameters(), lr=rate, weight_decay=2 * decay)}
    turned = _turned(module) if config.muon_lr_scale else []
    apart = {id(p) for group in turned for p in group["params"]}
    left = [p for p in module.parameters() if id(p) not in apart]
    groups = [
        {"params": [p for p in left if p.dim() >= 2], "weight_decay": decay},
        {"params": [p for p in left if p.dim() < 2], "weight_decay": 0.0},
    ]
    # Fused: one pass over all weights instead of six operations each, a fifth of an update where models are small.
    found: dict[str, torch.optim.Optimizer] = {"optimizer": torch.optim.AdamW(groups, lr=rate, fused=True)}
    if turned:
        found["muon"] = Muon(turned, lr=rate, weight_decay=decay, stretch=config.muon_lr_scale)
    return found


def _turned(module: nn.Module) -> list[dict[str, Any]]:
    """The matrices inside the blocks; embeddings and what reads scores off at the end are lookups, not maps."""
    blocks = [block for block in module.modules() if isinstance(block, Block)]
    stacked = [block.attention.project_in.weight for block in blocks]  # queries, keys and values
    alone = [
        linear.weight
        for block in blocks
        for linear in (block.attention.project_out, *block.feed_forward)
        if isinstance(linear, nn.Linear)
    ]
    return [{"params": stacked, "maps": 3}, {"params": alone, "maps": 1}]


def _average(module: nn.Module, config: TrainingConfig) -> AveragedModel | None:
    """The running mean of the weights, where there is to be one."""
    return AveragedModel(module) if config.average_weights else None


@torch.no_grad()
def _follow(average: AveragedModel, module: nn.Module, kept: float) -> None:
    """Move the mean towards the weights as they are now: early on by more, to start well.

    `AveragedModel.update_parameters` goes through the weights one by one: a twentieth of an update of a small model.
    """
    done = int(average.n_averaged)
    share = 1 - min(kept, (done + 1) / (done + 10)) if done else 1.0
    torch._foreach_lerp_([*average.module.parameters()], [*module.parameters()], share)
    average.n_averaged += 1


# ---- the loop --------------------------------------------------------------------------------------------------------


def train(
    state: TrainingState, training_data: TrainingData, should_stop: Callable[[], bool] = never
) -> Iterator[EpochEnd]:
    """Train until the epochs or the patience run out, or `should_stop()` is true before a batch; yields each epoch.

    However it ends (also when the caller closes the iterator), the module holds the best weights and is in evaluation
    mode. A stop within an epoch discards that epoch; called again, training goes on after the latest whole one. Raises
    `RunError` where the loss stops being a finite number.
    """
    config = state.config.training(state.model)
    kind: Any = SequenceObjective if state.model == "sequence" else ChurnObjective
    objective = kind(state.module, config, training_data)
    judged = kind(state.judged, config, training_data)
    is_judged = config.monitor == "valid" and len(objective.valid) > 0
    schedule = TrainingSchedule(config=config, can_pretrain=objective.can_pretrain, is_judged=is_judged)
    state.rewind()
    try:
        while (phase := schedule.phase(state.losses)) is not None:
            began = time.perf_counter()
            if phase.fresh and state.epoch == phase.first:
                if phase.final_refit:
                    _conclude(state, objective)
                state.start_anew()
            objective.begin(phase)
            train_loss = _one_epoch(state, objective, phase, should_stop)
            if train_loss is None:
                return
            judged.model.eval()
            with torch.no_grad():
                valid_loss = None if phase.final_refit else judged.valid_loss()
            state.seconds += time.perf_counter() - began
            yield _end_of_epoch(state, phase, train_loss, valid_loss)
    finally:
        if state.best_epoch and REFIT_EPOCHS not in state.facts:
            _conclude(state, objective)
        else:
            _load_best(state)


def _conclude(state: TrainingState, objective: Any) -> None:
    """Go to the best weights, and find what is found when the judged epochs are over."""
    _load_best(state)
    state.facts = objective.finish()
    state.best = _copy(state.module)


def _load_best(state: TrainingState) -> None:
    state.module.load_state_dict(state.best)
    state.module.eval()


def _one_epoch(state: TrainingState, objective: Any, phase: Phase, should_stop: Callable[[], bool]) -> float | None:
    """Mean training loss of one pass over the training examples; None where a stop cut it short."""
    epoch, seed, config = state.epoch, state.config.seed, objective.config
    size = _batch_size(config, len(objective.train))
    batches = _batches(objective.train, objective.lengths(), size, _rng(seed, "order", epoch))
    windows = _rng(seed, "windows", epoch)
    # Dropout draws from torch's own stream: seeded per epoch, a resumed run draws the same.
    torch.manual_seed(_seed_of(seed, "dropout") + epoch)
    state.module.train()
    total, count = 0.0, 0
    for k, chosen in enumerate(batches):
        if should_stop():
            return None
        rate = phase.rate(config, epoch + k / len(batches))
        loss, n_targets = objective.loss(chosen, windows)
        if not torch.isfinite(loss):
            raise RunError(
                f"the {state.model} model's loss became {loss.item()} in epoch {epoch + 1}; lower the learning rate "
                f"(now {config.learning_rate:g}) or check the data for extreme values"
            )
        state.module.zero_grad()
        loss.backward()
        if not config.l2_in_loss:
            nn.utils.clip_grad_norm_(state.module.parameters(), 1.0)
        for optimizer in state.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        if state.average is not None:
            _follow(state.average, state.module, config.average_weights)
        total, count = total + float(loss.detach()) * n_targets, count + n_targets
    return total / max(count, 1)


def _end_of_epoch(state: TrainingState, phase: Phase, train_loss: float, valid_loss: float | None) -> EpochEnd:
    """Keep the weights that are to be kept, and say what happened."""
    config = state.config.training(state.model)
    state.epoch += 1
    monitored, comparable = train_loss, phase.kind != "pretraining"  # its training loss answers another question
    if config.monitor == "valid" and valid_loss is not None:
        monitored, comparable = valid_loss, True  # validation asks the real one all the time
    state.losses.append(monitored if comparable and not phase.final_refit else math.inf)
    best = not phase.final_refit and (config.monitor == "last" or state.losses[-1] < state.best_loss)
    if best:
        state.best_loss, state.best_epoch, state.best = monitored, state.epoch, _copy(state.judged)
    if phase.final_refit and state.epoch == phase.until:
        # What was fitted on validation customers stays: now they are learned from, nobody could tell it anew.
        fitted = {name: state.best[name] for name, _ in state.module.named_buffers()}
        state.best = _copy(state.judged) | fitted
        state.facts[REFIT_EPOCHS] = sum(map(math.isinf, state.losses))
    state.snapshot = state._now()
    return EpochEnd(
        model=state.model,
        epoch=state.epoch,
        n_epochs=phase.until,
        train_loss=train_loss,
        valid_loss=valid_loss,
        best=best,
        seconds=round(state.seconds, 3),
        pretraining=phase.kind == "pretraining",
        short_phase=phase.kind == "short" and not phase.final_refit,
        final_refit=phase.final_refit,
    )


def _batch_size(config: TrainingConfig, n_examples: int) -> int | None:
    """Customers per update: the configured size, or less where that would make fewer updates than configured."""
    if config.batch_size is None:
        return None
    return min(config.batch_size, max(SMALLEST_BATCH, math.ceil(n_examples / config.min_updates_per_epoch)))


def _batches(
    examples: np.ndarray, lengths: np.ndarray, batch_size: int | None, rng: np.random.Generator
) -> list[np.ndarray]:
    """Examples cut into batches of like length, in random order.

    Examples are shuffled, sorted by length only within stretches of sixteen batches, and cut: batches stay random, and
    little of them is padding.
    """
    if batch_size is None or len(examples) <= batch_size:
        return [examples]
    order = rng.permutation(len(examples))
    stretch = 16 * batch_size
    order = np.concatenate(
        [
            piece[np.argsort(lengths[piece], kind="stable")]
            for piece in (order[k : k + stretch] for k in range(0, len(order), stretch))
        ]
    )
    batches = [examples[order[k : k + batch_size]] for k in range(0, len(order), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches))]


def _rng(seed: int, stream: str, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, STREAMS.index(stream), epoch])


def _seed_of(seed: int, stream: str) -> int:
    """A seed for torch from the same named streams that numpy draws from."""
    return int(np.random.default_rng([seed, STREAMS.index(stream)]).integers(2**40))


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
