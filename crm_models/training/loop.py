"""Training loop of both models, from batches to weights: a generator of one `EpochEnd` per epoch.

The loop writes no files and shows nothing; its caller does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from crm_models.core.config import TrainingConfig
from crm_models.core.errors import RunError
from crm_models.core.records import EpochEnd
from crm_models.training import parallel
from crm_models.training.objectives import ChurnObjective, SequenceObjective, TrainingData
from crm_models.training.optimizers import update_average
from crm_models.training.schedule import Phase, phase_of
from crm_models.training.state import TrainingState, rng_of, seed_of, weights_of

SMALLEST_BATCH = 16
"""Least batch size that `min_updates_per_epoch` may lead to; gradients of fewer customers are mostly noise."""

SORTED_BATCHES = 16
"""Batches' worth of shuffled examples that are sorted by length together: batches stay random, with little padding."""

OTHER_SEED = 1_000_003
"""Between the seeds of processes that train together, which must not drop the same units."""


def train(
    state: TrainingState, data: TrainingData, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[EpochEnd]:
    """Train until the epochs or the patience run out, or `should_stop()` is true before a batch; yields each epoch.

    At the end, also when the caller closes the iterator, the module has the best weights and is in evaluation mode. A
    stop within an epoch discards that epoch; the next call resumes after the last completed one. Raises `RunError` if
    the loss of an epoch is not finite.
    """
    config = state.config.training(state.model)
    made: Any = SequenceObjective if state.model == "sequence" else ChurnObjective
    objective = made(state.module, config, data)
    is_judged = config.monitor == "valid" and len(objective.valid) > 0
    should_stop = parallel.agreed(should_stop)
    state.rewind()
    try:
        while (phase := phase_of(config, state.losses, is_judged)) is not None:
            began = time.perf_counter()
            if state.epoch == phase.first:
                if phase.final_refit:
                    state.start_anew()
                objective.begin(phase.final_refit)
            train_loss = _one_epoch(state, objective, phase, should_stop)
            if train_loss is None:
                return
            state.validated.eval()
            with torch.no_grad():
                valid_loss = None if phase.final_refit else objective.valid_loss(state.validated)
            state.seconds += time.perf_counter() - began
            yield _end_of_epoch(state, phase, train_loss, valid_loss)
    finally:
        state.load_best()


def _one_epoch(state: TrainingState, objective: Any, phase: Phase, should_stop: Callable[[], bool]) -> float | None:
    """Mean training loss of one pass over the training examples; None if it was stopped."""
    epoch, seed, config = state.epoch, state.config.seed, objective.config
    examples = objective.examples(phase.final_refit)
    lengths, n_targets = objective.sizes(examples)
    batches = _batches(examples, lengths, n_targets, config, rng_of(seed, "order", epoch))
    windows = rng_of(seed, "windows", epoch)
    # Dropout uses torch's global generator; seeded per epoch, a resumed training draws the same numbers.
    torch.manual_seed(seed_of(seed, "dropout") + epoch + OTHER_SEED * parallel.rank())
    state.module.train()
    # Summed where the model is: asking a GPU for a number makes it wait for the processor.
    total, count = torch.zeros(2, dtype=torch.float64, device=objective.device)
    for k, chosen in enumerate(batches):
        if should_stop():
            return None
        state.module.zero_grad()
        loss, n_targets = objective.loss(chosen, windows)
        loss.backward()
        loss, n_targets = parallel.combined(state.module, loss.detach(), n_targets)
        # DIFF from paper, Optimizer and Regularization: gradients are clipped to norm 1, for stable updates at a high
        # learning rate; not in `paper`.
        if not config.l2_in_loss:
            nn.utils.clip_grad_norm_(state.module.parameters(), 1.0)
        for optimizer in state.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = phase.rate(config, epoch + k / len(batches))
            optimizer.step()
        if state.average is not None:
            update_average(state.average, state.module, config.average_weights)
        total, count = total + loss.double() * n_targets, count + n_targets
    mean = float(total / count.clamp(min=1))
    if not math.isfinite(mean):
        raise RunError(
            f"the {state.model} model's loss became {mean} in epoch {epoch + 1}; lower the learning rate "
            f"(now {config.learning_rate:g}) or check the data for extreme values"
        )
    return mean


def _end_of_epoch(state: TrainingState, phase: Phase, train_loss: float, valid_loss: float | None) -> EpochEnd:
    """Record the losses, keep the weights if they are the best, and take the snapshot."""
    config = state.config.training(state.model)
    state.epoch += 1
    monitored = valid_loss if config.monitor == "valid" and valid_loss is not None else train_loss
    state.losses.append(math.inf if phase.final_refit else monitored)
    best = not phase.final_refit and (config.monitor == "last" or monitored < state.best_loss)
    if best:
        state.best_loss, state.best_epoch = monitored, state.epoch
    if best or (phase.final_refit and state.epoch == phase.end):
        state.best = weights_of(state.validated)
    state.take_snapshot()
    return EpochEnd(
        model=state.model,
        epoch=state.epoch,
        n_epochs=phase.end,
        train_loss=train_loss,
        valid_loss=valid_loss,
        best=best,
        seconds=round(state.seconds, 3),
        final_refit=phase.final_refit,
    )


def _batches(
    examples: np.ndarray, lengths: np.ndarray, n_targets: np.ndarray, config: TrainingConfig, rng: np.random.Generator
) -> list[np.ndarray]:
    """Batches of examples of similar length, in random order, all with about the same number of targets.

    With as many customers in each instead, an event of a short history would weigh more than one of a long history.

    DIFF from paper, Model Training: mini-batches learn faster; `paper` updates once per epoch on all customers, which
    the paper does not say but which reproduces Table III.
    """
    if config.batch_size is None:
        return [examples]
    least = math.ceil(len(examples) / config.min_updates_per_epoch)
    size = min(config.batch_size, max(SMALLEST_BATCH, least))
    order, batches = rng.permutation(len(examples)), []
    for first in range(0, len(order), SORTED_BATCHES * size):
        chunk = order[first : first + SORTED_BATCHES * size]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        filled = np.cumsum(n_targets[chunk])
        number = (filled - 1) * math.ceil(len(chunk) / size) // filled[-1]
        batches += [examples[chunk[number == k]] for k in np.unique(number)]
    return [batches[k] for k in rng.permutation(len(batches))]
