"""Estimated time of a training from earlier runs, and remaining time of a running one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crm_models.core.config import RunConfig
from crm_models.core.records import EpochEnd
from crm_models.core.schema import ModelName

START_SECONDS = 3.0
"""Seconds from the command to the first batch, for loading torch and the cohort; measured 2 to 4 s on two cores."""

# Seconds per token (an event or a feature of a customer) and epoch: a constant, plus one per weight of the blocks.
# Measured on one core with 2,000 customers; other machines differ by up to a factor of three, so an estimate from these
# is marked as not measured.
_TOKEN_SECONDS = 3e-6
_WEIGHT_SECONDS = 2.5e-10


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """Time of a finished run: configuration, number of training customers, mean events of each, seconds per epoch."""

    config: RunConfig
    customers: int
    events_each: float
    epoch_seconds: dict[ModelName, float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated training time. epoch_seconds: per epoch of each model. seconds: for all epochs, at most (early stopping
    may end it sooner). measured: whether it is based on a run with models of the same shape, or on the constants above.
    """

    epoch_seconds: dict[ModelName, float]
    seconds: float
    measured: bool


def past_run(about: dict[str, Any], result: dict[str, Any], events_each: float) -> PastRun:
    """Time of a run from its `config.json` and `result.json`."""
    epoch_seconds = {
        name: facts.get("seconds", 0.0) / facts["epochs"]
        for name, facts in result["models"].items()
        if facts.get("epochs")
    }
    config = RunConfig.from_dict(about["config"])
    return PastRun(
        config=config, customers=about["customers"]["train"], events_each=events_each, epoch_seconds=epoch_seconds
    )


def estimate(config: RunConfig, *, customers: int, events_each: float, past: Sequence[PastRun] = ()) -> Estimate:
    """Estimated time of a training on `customers` customers with `events_each` events each.

    past: newest first; for each model the first run with the same shape is scaled to the amount of data.
    """
    train = customers * (1 - config.test_share - config.valid_share)
    epochs: dict[ModelName, float] = {}
    measured = True
    for model in config.models:
        cost = _cost(config, model, train, events_each)
        similar = [p for p in past if model in p.epoch_seconds and _shape(p.config, model) == _shape(config, model)]
        measured = measured and bool(similar)
        if similar:
            p = similar[0]
            epochs[model] = p.epoch_seconds[model] * cost / _cost(p.config, model, p.customers, p.events_each)
        else:
            epochs[model] = cost
    seconds = START_SECONDS + sum(s * config.training(m).most_epochs for m, s in epochs.items())
    return Estimate(epoch_seconds=epochs, seconds=seconds, measured=measured)


def progress(config: RunConfig, done: Sequence[EpochEnd], expected: Estimate) -> tuple[float, float]:
    """(share done in [0, 1], seconds left at most) of a running training, from its completed epochs.

    A model with completed epochs is timed by these, the others by the estimate. A model whose successor has started is
    complete, however few epochs it took.
    """
    spent = left = 0.0
    started = [m for m in config.models if any(e.model == m for e in done)]
    for model in config.models:
        epochs = [e for e in done if e.model == model]
        max_epochs = config.training(model).most_epochs
        if not epochs:
            left += expected.epoch_seconds.get(model, 0.0) * max_epochs
            continue
        epoch_seconds = epochs[-1].seconds / epochs[-1].epoch
        spent += epochs[-1].seconds
        if model == started[-1]:
            n_epochs = epochs[-1].n_epochs if epochs[-1].final_refit else max_epochs
            left += epoch_seconds * (n_epochs - epochs[-1].epoch)
    return (spent / (spent + left) if spent + left > 0 else 0.0), left


def _shape(config: RunConfig, model: ModelName) -> tuple[object, ...]:
    return (getattr(config, model), config.training(model).batch_size)


def _cost(config: RunConfig, model: ModelName, customers: float, events_each: float) -> float:
    """Rough seconds of one epoch; if there is a similar run, only the ratio of two costs matters."""
    shape = getattr(config, model)
    tokens = customers * (min(events_each, shape.max_events) + (12 if model == "churn" else 1))
    weights = shape.n_blocks * (4 * shape.d_model**2 + 2 * shape.d_model * shape.d_feedforward)
    return tokens * (_TOKEN_SECONDS + _WEIGHT_SECONDS * weights)
