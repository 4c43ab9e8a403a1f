"""Training loop of both models: a generator of one `EpochEnd` per epoch.

The loop writes no files and shows nothing; its caller does. A `TrainingState` holds everything that changes during
training. It can be saved as tensors and plain values after any epoch; a restored training gives the same numbers.
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
"""One random stream per purpose, so that an extra draw in one does not change another."""

SMALLEST_BATCH = 16
"""Least batch size that `min_updates_per_epoch` may lead to; gradients of fewer customers are mostly noise."""

REFIT_EPOCHS = "refit_epochs"
"""Key in `TrainingState.facts`: number of epochs of the final refit, set when it is done."""


def never() -> bool:
    """Default of `should_stop`: never stop."""
    return False


def resolve_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is a GPU if torch finds one. `ConfigError` for `cuda` without a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but torch finds no GPU; use --device auto or cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


# ---- state -----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class TrainingState:
    """Everything that changes while one model trains. Made by `start` or `restore`, advanced by `train`."""

    model: ModelName
    config: RunConfig
    module: Any
    optimizers: dict[str, torch.optim.Optimizer]  # by the prefix of their state in `tensors`
    average: AveragedModel | None  # exponential moving average of the weights; if any, it is validated and kept
    best: dict[str, Tensor]
    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)  # monitored, per epoch; infinite if it cannot be the best
    facts: dict[str, Any] = field(default_factory=dict)  # fitted after the epochs: the temperature; `REFIT_EPOCHS`
    snapshot: dict[str, Tensor] = field(default_factory=dict)  # state at the end of the latest epoch
    fresh: dict[str, Tensor] = field(default_factory=dict)  # the first snapshot

    @classmethod
    def start(cls, model: ModelName, config: RunConfig, encoder: FeatureEncoder) -> TrainingState:
        """A model with random weights from the configuration's seed, on the configuration's device."""
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
        # So that a stop within the first epoch has a snapshot to go back to.
        state.snapshot = state.fresh = state._take_snapshot()
        return state

    @property
    def validated(self) -> nn.Module:
        """The module that is validated and whose best weights are kept: the averaged one, if weights are averaged."""
        return self.module if self.average is None else self.average.module

    def tensors(self) -> dict[str, Tensor]:
        """Weights, averaged weights, best weights and optimiser states at the end of the latest epoch.

        Not the present ones: resuming from the middle of an epoch would give other numbers.
        """
        return self.snapshot

    def _take_snapshot(self) -> dict[str, Tensor]:
        out = {f"now.{k}": v for k, v in self.module.state_dict().items()}
        out |= {f"best.{k}": v for k, v in self.best.items()}
        if self.average is not None:
            out |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for prefix, optimizer in self.optimizers.items():
            for k, memory in optimizer.state_dict()["state"].items():
                out |= {f"{prefix}.{k}.{name}": value for name, value in memory.items()}
        return {k: v.detach().cpu().clone() for k, v in out.items()}

    def meta(self) -> dict[str, Any]:
        """The plain values saved beside `tensors`."""
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
        """The state saved as `tensors` and `meta`."""
        state = cls.start(model, config, encoder)
        for name in meta.keys() & state.meta().keys():
            setattr(state, name, meta[name])
        if "losses" not in meta:  # saved by an earlier version; early stopping needs the best epoch only
            state.losses = [math.inf] * state.epoch
            if state.best_epoch:
                state.losses[state.best_epoch - 1] = state.best_loss
        state.snapshot = tensors
        state.rewind()
        return state

    def start_anew(self) -> None:
        """Reset weights and optimisers to their initial state; keep the best weights so far."""
        best, self.snapshot = self.best, self.fresh
        self.rewind()
        self.best = best
        self.snapshot = self._take_snapshot()

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


def _optimizers(module: nn.Module, config: TrainingConfig) -> dict[str, torch.optim.Optimizer]:
    """Adam with L2 (Paper, equation 9): lambda * ||theta||^2 in the loss has the gradient 2 * lambda * theta.

    DIFF from paper, Optimizer and Regularization: unless `l2_in_loss` (the preset `paper`), AdamW decays the weights
    directly, without biases and norms, because Adam rescales the gradient of the penalty and so hardly decays large
    weights; and Muon updates the matrices of the blocks, because it needs little more than half of the updates.
    """
    rate, decay = config.learning_rate, config.weight_decay
    if config.l2_in_loss:
        return {"optimizer": torch.optim.Adam(module.parameters(), lr=rate, weight_decay=2 * decay)}
    matrices = _block_matrices(module) if config.muon_lr_scale else []
    with_muon = {id(p) for group in matrices for p in group["params"]}
    with_adam = [p for p in module.parameters() if id(p) not in with_muon]
    groups = [
        {"params": [p for p in with_adam if p.dim() >= 2], "weight_decay": decay},
        {"params": [p for p in with_adam if p.dim() < 2], "weight_decay": 0.0},
    ]
    # Fused: one pass over all weights instead of six operations each; this saves a fifth of an update of a small model.
    optimizers: dict[str, torch.optim.Optimizer] = {"optimizer": torch.optim.AdamW(groups, lr=rate, fused=True)}
    if matrices:
        optimizers["muon"] = Muon(matrices, lr=rate, weight_decay=decay, stretch=config.muon_lr_scale)
    return optimizers


def _block_matrices(module: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups of the matrices inside the blocks; embeddings and output layers stay with AdamW."""
    blocks = [block for block in module.modules() if isinstance(block, Block)]
    stacked = [block.attention.project_in.weight for block in blocks]  # queries, keys and values
    single = [
        linear.weight
        for block in blocks
        for linear in (block.attention.project_out, *block.feed_forward)
        if isinstance(linear, nn.Linear)
    ]
    return [{"params": stacked, "maps": 3}, {"params": single, "maps": 1}]


def _average(module: nn.Module, config: TrainingConfig) -> AveragedModel | None:
    """Exponential moving average of the weights, or None if it is not configured.

    DIFF from paper, Optimizer and Regularization: averaged weights scored better at almost no cost (churn model);
    no averaging in `paper`.
    """
    return AveragedModel(module) if config.average_weights else None


@torch.no_grad()
def _update_average(average: AveragedModel, module: nn.Module, decay: float) -> None:
    """Update the moving average of the weights, with a smaller decay in the first updates.

    `AveragedModel.update_parameters` handles one parameter at a time: a twentieth of an update of a small model.
    """
    n_updates = int(average.n_averaged)
    share = 1 - min(decay, (n_updates + 1) / (n_updates + 10)) if n_updates else 1.0
    torch._foreach_lerp_([*average.module.parameters()], [*module.parameters()], share)
    average.n_averaged += 1


# ---- the loop --------------------------------------------------------------------------------------------------------


def train(
    state: TrainingState, training_data: TrainingData, should_stop: Callable[[], bool] = never
) -> Iterator[EpochEnd]:
    """Train until the epochs or the patience run out, or `should_stop()` is true before a batch; yields each epoch.

    At the end, also when the caller closes the iterator, the module has the best weights and is in evaluation mode. A
    stop within an epoch discards that epoch; the next call resumes after the last completed one. Raises `RunError` if
    the loss is not finite.
    """
    config = state.config.training(state.model)
    objective_class: Any = SequenceObjective if state.model == "sequence" else ChurnObjective
    objective = objective_class(state.module, config, training_data)
    validation = objective_class(state.validated, config, training_data)
    has_validation = config.monitor == "valid" and len(objective.valid) > 0
    schedule = TrainingSchedule(config=config, can_pretrain=objective.can_pretrain, is_judged=has_validation)
    state.rewind()
    try:
        while (phase := schedule.phase(state.losses)) is not None:
            began = time.perf_counter()
            if phase.fresh and state.epoch == phase.first:
                if phase.final_refit:
                    _calibrate(state, objective)
                state.start_anew()
            objective.begin(phase)
            train_loss = _one_epoch(state, objective, phase, should_stop)
            if train_loss is None:
                return
            validation.model.eval()
            with torch.no_grad():
                valid_loss = None if phase.final_refit else validation.valid_loss()
            state.seconds += time.perf_counter() - began
            yield _end_of_epoch(state, phase, train_loss, valid_loss)
    finally:
        if state.best_epoch and REFIT_EPOCHS not in state.facts:
            _calibrate(state, objective)
        else:
            _load_best(state)


def _calibrate(state: TrainingState, objective: Any) -> None:
    """Load the best weights and fit what is fitted after the epochs: the temperature of the churn model."""
    _load_best(state)
    state.facts = objective.finish()
    state.best = _copy(state.module)


def _load_best(state: TrainingState) -> None:
    state.module.load_state_dict(state.best)
    state.module.eval()


def _one_epoch(state: TrainingState, objective: Any, phase: Phase, should_stop: Callable[[], bool]) -> float | None:
    """Mean training loss of one pass over the training examples; None if it was stopped."""
    epoch, seed, config = state.epoch, state.config.seed, objective.config
    size = _batch_size(config, len(objective.train))
    batches = _batches(objective.train, objective.lengths(), size, _rng(seed, "order", epoch))
    windows = _rng(seed, "windows", epoch)
    # Dropout uses torch's global generator; seeded per epoch, a resumed training draws the same numbers.
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
        # DIFF from paper, Optimizer and Regularization: gradients are clipped to norm 1, for stable updates at a high
        # learning rate; not in `paper`.
        if not config.l2_in_loss:
            nn.utils.clip_grad_norm_(state.module.parameters(), 1.0)
        for optimizer in state.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        if state.average is not None:
            _update_average(state.average, state.module, config.average_weights)
        total, count = total + float(loss.detach()) * n_targets, count + n_targets
    return total / max(count, 1)


def _end_of_epoch(state: TrainingState, phase: Phase, train_loss: float, valid_loss: float | None) -> EpochEnd:
    """Record the losses, keep the weights if they are the best, and take the snapshot."""
    config = state.config.training(state.model)
    state.epoch += 1
    monitored, comparable = train_loss, phase.kind != "pretraining"  # its training loss is that of another label
    if config.monitor == "valid" and valid_loss is not None:
        monitored, comparable = valid_loss, True  # the validation loss is always that of the real label
    state.losses.append(monitored if comparable and not phase.final_refit else math.inf)
    best = not phase.final_refit and (config.monitor == "last" or state.losses[-1] < state.best_loss)
    if best:
        state.best_loss, state.best_epoch, state.best = monitored, state.epoch, _copy(state.validated)
    if phase.final_refit and state.epoch == phase.until:
        # Keep what was fitted on validation customers: the model has now trained on them, so it cannot be fitted again.
        fitted = {name: state.best[name] for name, _ in state.module.named_buffers()}
        state.best = _copy(state.validated) | fitted
        state.facts[REFIT_EPOCHS] = sum(map(math.isinf, state.losses))
    state.snapshot = state._take_snapshot()
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
    """Customers per update: `batch_size`, or less if that gives fewer than `min_updates_per_epoch` updates.

    DIFF from paper, Model Training: mini-batches learn faster; `paper` updates once per epoch on all customers, which
    the paper does not say but which reproduces Table III.
    """
    if config.batch_size is None:
        return None
    return min(config.batch_size, max(SMALLEST_BATCH, math.ceil(n_examples / config.min_updates_per_epoch)))


def _batches(
    examples: np.ndarray, lengths: np.ndarray, batch_size: int | None, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches of examples of similar length, in random order.

    Shuffled examples are sorted by length within chunks of sixteen batches: batches stay random, with little padding.
    """
    if batch_size is None or len(examples) <= batch_size:
        return [examples]
    order = rng.permutation(len(examples))
    chunk_size = 16 * batch_size
    order = np.concatenate(
        [
            chunk[np.argsort(lengths[chunk], kind="stable")]
            for chunk in (order[k : k + chunk_size] for k in range(0, len(order), chunk_size))
        ]
    )
    batches = [examples[order[k : k + batch_size]] for k in range(0, len(order), batch_size)]
    return [batches[k] for k in rng.permutation(len(batches))]


def _rng(seed: int, stream: str, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, STREAMS.index(stream), epoch])


def _seed_of(seed: int, stream: str) -> int:
    """Seed for torch from one of the named streams."""
    return int(np.random.default_rng([seed, STREAMS.index(stream)]).integers(2**40))


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
