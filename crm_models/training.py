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
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from crm_models.cohort import Outcomes, Split
from crm_models.config import RunConfig, TrainingConfig
from crm_models.errors import ConfigError, RunError
from crm_models.features import CohortArrays, FeatureEncoder
from crm_models.models.churn import ChurnBatch, ChurnTransformer
from crm_models.models.sequence import SequenceBatch, SequenceTransformer
from crm_models.records import EpochEnd
from crm_models.schema import N_STEPS, ModelName

STREAMS = ("weights", "order", "windows", "dropout")
"""One random stream per purpose, so that a draw more in one changes nothing in another."""

SCORING_BATCH = 512

SMALLEST_BATCH = 16
"""`least_updates` cuts no batch smaller than this: gradients of fewer customers are mostly noise."""

SCORES_AT_ONCE = 50_000_000
"""Scores (targets x actions) that the loss holds at once, 200 MB: bounds memory where there are many actions."""


def never() -> bool:
    """The stop request of a caller who never stops."""
    return False


def resolve_device(name: str) -> torch.device:
    """`auto` is a GPU where torch finds one. `ConfigError` where `cuda` is asked for and there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but torch finds no GPU; use --device auto or cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


# ---- what is learned from --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything a model may learn from: arrays at the cohort's `as_of`, labels (N,), the split, and the outcomes."""

    arrays: CohortArrays
    labels: np.ndarray
    split: Split
    outcomes: Outcomes


def profile_tensors(arrays: CohortArrays, rows: np.ndarray) -> dict[str, Tensor]:
    """The profile part of a batch: numeric (B, F) and categorical (B, C)."""
    numeric, categorical = torch.from_numpy(arrays.numeric[rows]), torch.from_numpy(arrays.categorical[rows])
    return {"numeric": numeric, "categorical": categorical}


def history_batch(arrays: CohortArrays, rows: np.ndarray, stops: np.ndarray, max_events: int) -> SequenceBatch:
    """The last `max_events` events before position stops[b] of each customer rows[b]."""
    padded = arrays.events.padded(rows, stops, max_events, arrays.now_days)
    return SequenceBatch(
        action=torch.from_numpy(padded.action),
        gap=torch.from_numpy(padded.gap),
        value=torch.from_numpy(padded.value),
        **profile_tensors(arrays, rows),
    )


def outcome_batch(
    arrays: CohortArrays, found: Outcomes, at: np.ndarray, max_events: int
) -> tuple[SequenceBatch, Tensor, Tensor]:
    """Histories followed by the first two true steps, as a model sees them that plans step by step.

    Returns the batch, the true steps (B, 3) as ids with 0 where there is none, and the lengths of the histories (B,).
    Gaps and values of the steps are hidden: nobody knows them while planning.
    """
    rows, n_history = found.rows[at], found.n_history[at]
    padded = arrays.events.padded(rows, n_history, max_events, arrays.now_days)
    steps = true_steps(arrays, found, at)
    width = padded.action.shape[1]
    blank = np.full((len(rows), N_STEPS - 1), np.nan, np.float32)
    action = np.concatenate([padded.action, np.zeros((len(rows), N_STEPS - 1), np.int64)], axis=1)
    gap, value = (np.concatenate([a, blank], axis=1) for a in (padded.gap, padded.value))
    place = padded.length[:, None] + np.arange(N_STEPS - 1)
    np.put_along_axis(action, place, steps[:, :-1], axis=1)
    for context in (gap, value):
        np.put_along_axis(context, place, np.float32(np.nan), axis=1)
    assert action.shape[1] == width + N_STEPS - 1
    batch = SequenceBatch(
        action=torch.from_numpy(action),
        gap=torch.from_numpy(gap),
        value=torch.from_numpy(value),
        **profile_tensors(arrays, rows),
    )
    return batch, torch.from_numpy(steps), torch.from_numpy(padded.length)


def true_steps(arrays: CohortArrays, found: Outcomes, at: np.ndarray) -> np.ndarray:
    """(B, 3) ids of the events after the history, 0 where there are fewer."""
    first = arrays.events.starts[found.rows[at]] + found.n_history[at]
    place = np.arange(N_STEPS)
    real = place < found.n_outcome[at][:, None]
    index = np.where(real, first[:, None] + place, 0)
    return np.where(real, arrays.events.action[index], 0).astype(np.int64)


def churn_batch(arrays: CohortArrays, rows: np.ndarray, model: ChurnTransformer) -> ChurnBatch:
    """The churn model's view of the customers `rows`, at the moment the arrays were made for."""
    config = model.config
    numeric = [arrays.numeric[rows], *([arrays.behaviour[rows]] if config.use_behaviour else [])]
    n_history = arrays.n_history[rows] if config.max_events else np.zeros(len(rows), np.int64)
    padded = arrays.events.padded(rows, n_history, max(config.max_events, 1), arrays.now_days)
    return ChurnBatch(
        numeric=torch.from_numpy(np.concatenate(numeric, axis=1)),
        categorical=torch.from_numpy(arrays.categorical[rows]),
        action=torch.from_numpy(padded.action),
        age=torch.from_numpy(padded.age),
        gap=torch.from_numpy(padded.gap),
        value=torch.from_numpy(padded.value),
    )


# ---- the two tasks ---------------------------------------------------------------------------------------------------


class SequenceTask:
    """What the loop must know of the sequence model: its batches and its loss (Paper, equations 4 and 9)."""

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
        last = model.last_actions(batch.action)[real].to(device)
        return next_action_loss(model, hidden, last, targets[real].to(device) - 1), int(real.sum())

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


def next_action_loss(model: SequenceTransformer, hidden: Tensor, last: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy in nats of targets (M,), places 0 to A - 1, given hidden states (M, D) after actions `last`.

    With many actions the scores come in pieces, which are computed again on the way back instead of being kept.
    """
    size = max(1, SCORES_AT_ONCE // model.n_actions)
    if len(targets) <= size:
        return F.cross_entropy(model.logits(hidden, last, targets), targets)

    def total(part: Tensor, before: Tensor, own: Tensor) -> Tensor:
        return F.cross_entropy(model.logits(part, before, own), own, reduction="sum")

    pieces = zip(hidden.split(size), last.split(size), targets.split(size), strict=True)
    totals = [checkpoint(total, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    return torch.stack(totals).sum() / len(targets)


def outcome_log_p(
    model: SequenceTransformer, arrays: CohortArrays, found: Outcomes, at: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, 3, A) of every action at each true step given the true steps before it; and the steps."""
    device = model.action.weight.device
    batch, steps, length = outcome_batch(arrays, found, at, model.config.max_events)
    # The last event of the history, at index length - 1 + n_front, predicts the first step.
    place = (length - 1 + model.n_front)[:, None] + torch.arange(N_STEPS)
    hidden = model(batch.to(device), read=place.to(device)).hidden
    last = model.last_actions(batch.action).gather(1, place).to(device)
    return model.logits(hidden, last).log_softmax(dim=-1), steps.to(device)


class ChurnTask:
    """What the loop must know of the churn model: its batches, its loss (Paper, equation 5), and its calibration."""

    def __init__(self, model: ChurnTransformer, config: TrainingConfig, material: Material) -> None:
        self.model, self.config, self.material = model, config, material
        known = ~np.isnan(material.labels)
        self.train = material.split.train[known[material.split.train]]
        self.valid = material.split.valid[known[material.split.valid]]

    def lengths(self) -> np.ndarray:
        """Events per training example, for batches of like length."""
        return np.minimum(self.material.arrays.n_history[self.train], self.model.config.max_events)

    def loss(self, chosen: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, int]:
        """Mean binary cross-entropy in nats of customers `chosen`. Classes are not re-weighted: that would bend the
        probabilities that the threshold is set on; an imbalance only moves the offset of the sigmoid unit.

        Every member answers for itself: a loss of their average would let them lean on each other.
        """
        log_odds, _ = self.model.members(self._batch(chosen))
        labels = self._labels(chosen)[:, None].expand_as(log_odds)
        return F.binary_cross_entropy_with_logits(log_odds, labels), len(chosen)

    def valid_loss(self) -> float | None:
        """Mean binary cross-entropy of validation customers."""
        if not len(self.valid):
            return None
        logits, labels = self._all_logits(self.valid)
        return float(F.binary_cross_entropy_with_logits(logits, labels))

    def finish(self) -> dict[str, Any]:
        """Temperature scaling: one number, fitted on validation customers, that makes probabilities honest."""
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
        temperature = float(grid[losses.argmin()])
        self.model.temperature = torch.full_like(self.model.temperature, temperature)
        return {"temperature": temperature}

    def _all_logits(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        pairs = [self._logits(rows[k : k + SCORING_BATCH]) for k in range(0, len(rows), SCORING_BATCH)]
        return torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])

    def _logits(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        logits, _ = self.model(self._batch(rows))
        return logits, self._labels(rows)

    def _batch(self, rows: np.ndarray) -> ChurnBatch:
        return churn_batch(self.material.arrays, rows, self.model).to(self.model.output.weight.device)

    def _labels(self, rows: np.ndarray) -> Tensor:
        labels = torch.from_numpy(self.material.labels[rows].astype(np.float32))
        return labels.to(self.model.output.weight.device)


# ---- state -----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class TrainingState:
    """All that changes while one model trains. Made by `start` or `restore`, driven by `train`."""

    model: ModelName
    config: RunConfig
    module: Any
    optimizer: torch.optim.Optimizer
    best: dict[str, Tensor]
    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    seconds: float = 0.0
    is_over: bool = False
    facts: dict[str, Any] = field(default_factory=dict)  # what was fitted after the epochs: the temperature
    snapshot: dict[str, Tensor] = field(default_factory=dict)  # as `tensors` returns it, taken when an epoch ends

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
        optimizer = _optimizer(module, training)
        state = cls(model=model, config=config, module=module, optimizer=optimizer, best=_copy(module))
        # Taken now, so that a stop within the very first epoch has something to go back to.
        state.snapshot = state._now()
        return state

    def tensors(self) -> dict[str, Tensor]:
        """Weights, best weights and the optimiser's memory as they were when the latest epoch ended.

        Not as they are: a stop cuts an epoch in two, and going on from the middle of it would give other numbers.
        """
        return self.snapshot

    def _now(self) -> dict[str, Tensor]:
        out = {f"now.{k}": v for k, v in self.module.state_dict().items()}
        out |= {f"best.{k}": v for k, v in self.best.items()}
        for k, memory in self.optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{k}.{name}": value for name, value in memory.items()}
        return {k: v.detach().cpu().clone() for k, v in out.items()}

    def meta(self) -> dict[str, Any]:
        """The plain values that go with `tensors`."""
        names = ("epoch", "best_epoch", "best_loss", "seconds", "is_over")
        return {name: getattr(self, name) for name in names}

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
        for name, value in meta.items():
            setattr(state, name, value)
        state.snapshot = tensors
        state.rewind()
        return state

    def rewind(self) -> None:
        """Back to the end of the latest epoch, undoing half an epoch and the return to the best weights."""
        self.module.load_state_dict(_under("now.", self.snapshot))
        self.best = _under("best.", self.snapshot)
        memory: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("optimizer.", self.snapshot).items():
            k, name = key.split(".", 1)
            # A copy: the optimiser changes its memory in place, and would change the snapshot with it.
            memory.setdefault(int(k), {})[name] = value.clone()
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": memory, "param_groups": groups})


def _optimizer(module: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam. Paper, equation 9: lambda * ||theta||^2 is added to the loss, whose gradient is 2 * lambda * theta.

    DIFF from paper, Optimizer and Regularization: `standard` decays the weights directly (AdamW), biases and norms left
    alone, because Adam divides the gradient of the penalty by its own scale and so hardly decays large weights.
    """
    if config.l2_in_loss:
        return torch.optim.Adam(module.parameters(), lr=config.learning_rate, weight_decay=2 * config.weight_decay)
    matrices = [p for p in module.parameters() if p.dim() >= 2]
    others = [p for p in module.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    # Fused: one pass over all weights instead of six operations each, a fifth of an update where models are small.
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


# ---- the loop --------------------------------------------------------------------------------------------------------


def train(state: TrainingState, material: Material, should_stop: Callable[[], bool] = never) -> Iterator[EpochEnd]:
    """Train until the epochs or the patience run out, or `should_stop()` is true before a batch; yields each epoch.

    However it ends (also when the caller closes the iterator), the module holds the best weights and is in evaluation
    mode. A stop within an epoch discards that epoch; called again, training goes on after the latest whole one. Raises
    `RunError` where the loss stops being a finite number.
    """
    config = state.config.training(state.model)
    task: Any = (SequenceTask if state.model == "sequence" else ChurnTask)(state.module, config, material)
    state.rewind()
    try:
        while state.epoch < config.n_epochs and not state.is_over:
            began = time.perf_counter()
            train_loss = _one_epoch(state, task, config, should_stop)
            if train_loss is None:
                return
            state.module.eval()
            with torch.no_grad():
                valid_loss = task.valid_loss()
            state.seconds += time.perf_counter() - began
            yield _end_of_epoch(state, config, train_loss, valid_loss)
    finally:
        state.module.load_state_dict(state.best)
        state.module.eval()
        if state.best_epoch:
            state.facts = task.finish()
            state.best = _copy(state.module)


def _one_epoch(
    state: TrainingState, task: Any, config: TrainingConfig, should_stop: Callable[[], bool]
) -> float | None:
    """Mean training loss of one pass over the training examples; None where a stop cut it short."""
    epoch, seed = state.epoch, state.config.seed
    size = _batch_size(config, len(task.train))
    batches = _batches(task.train, task.lengths(), size, _rng(seed, "order", epoch))
    windows = _rng(seed, "windows", epoch)
    # Dropout draws from torch's own stream: seeded per epoch, a resumed run draws the same.
    torch.manual_seed(_seed_of(seed, "dropout") + epoch)
    state.module.train()
    total, count = 0.0, 0
    for k, chosen in enumerate(batches):
        if should_stop():
            return None
        for group in state.optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(config, epoch + k / len(batches))
        loss, n_targets = task.loss(chosen, windows)
        if not torch.isfinite(loss):
            raise RunError(
                f"the {state.model} model's loss became {loss.item()} in epoch {epoch + 1}; lower the learning rate "
                f"(now {config.learning_rate:g}) or check the data for extreme values"
            )
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if not config.l2_in_loss:
            nn.utils.clip_grad_norm_(state.module.parameters(), 1.0)
        state.optimizer.step()
        total, count = total + float(loss.detach()) * n_targets, count + n_targets
    return total / max(count, 1)


def _end_of_epoch(
    state: TrainingState, config: TrainingConfig, train_loss: float, valid_loss: float | None
) -> EpochEnd:
    """Keep the best weights, decide whether patience has run out, and say what happened."""
    state.epoch += 1
    monitored = valid_loss if config.monitor == "valid" and valid_loss is not None else train_loss
    best = monitored < state.best_loss or config.monitor == "last"
    if best:
        state.best_loss, state.best_epoch, state.best = monitored, state.epoch, _copy(state.module)
    state.is_over = state.epoch - state.best_epoch >= config.patience_epochs
    state.snapshot = state._now()
    return EpochEnd(
        model=state.model,
        epoch=state.epoch,
        n_epochs=config.n_epochs,
        train_loss=train_loss,
        valid_loss=valid_loss,
        best=best,
        seconds=round(state.seconds, 3),
    )


def _batch_size(config: TrainingConfig, n_examples: int) -> int | None:
    """Customers per update: the configured size, or less where that would make fewer updates than configured."""
    if config.batch_size is None:
        return None
    return min(config.batch_size, max(SMALLEST_BATCH, math.ceil(n_examples / config.least_updates)))


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


def _schedule(config: TrainingConfig, epoch: float) -> float:
    """Share of the learning rate at a (fractional) epoch: constant, or up for a tenth of the way and a cosine down."""
    if config.schedule == "constant":
        return 1.0
    done, warm_up = (epoch + 1e-3) / config.n_epochs, 0.1
    if done < warm_up:
        return done / warm_up
    return max(0.5 * (1 + math.cos(math.pi * (done - warm_up) / (1 - warm_up))), 1e-3)


def _rng(seed: int, stream: str, epoch: int) -> np.random.Generator:
    return np.random.default_rng([seed, STREAMS.index(stream), epoch])


def _seed_of(seed: int, stream: str) -> int:
    """A seed for torch from the same named streams that numpy draws from."""
    return int(np.random.default_rng([seed, STREAMS.index(stream)]).integers(2**40))


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
