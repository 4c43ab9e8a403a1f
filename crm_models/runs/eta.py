"""How long a training will take, from what earlier ones took; and how long one that is under way still needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crm_models.core.config import RunConfig
from crm_models.core.records import EpochEnd
from crm_models.core.schema import ModelName

START_SECONDS = 3.0
"""From the command to the first batch: loading torch and the cohort; measured 2 to 4 s on two cores."""

# Seconds per token (one event or feature of one customer, once) = base + weights * per weight of the blocks. Measured
# on one core at 2,000 customers; another machine may be off by a factor of three, so an estimate from it says so.
_TOKEN_SECONDS = 3e-6
_WEIGHT_SECONDS = 2.5e-10


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """What one finished run took: its configuration, training customers, mean events each, seconds per epoch."""

    config: RunConfig
    customers: int
    events_each: float
    epoch_seconds: dict[ModelName, float]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """epoch_seconds: of each model. seconds: of all epochs at most (early stopping may end it sooner). measured:
    whether a run with the same shape of model stands behind it, or only the rough figures above.
    """

    epoch_seconds: dict[ModelName, float]
    seconds: float
    measured: bool


def past_run(about: dict[str, Any], result: dict[str, Any], events_each: float) -> PastRun:
    """A run's `config.json` and `result.json` as a measurement."""
    took = {name: facts["seconds"] / facts["epochs"] for name, facts in result["models"].items() if facts["epochs"]}
    config = RunConfig.from_dict(about["config"])
    return PastRun(config=config, customers=about["customers"]["train"], events_each=events_each, epoch_seconds=took)


def estimate(config: RunConfig, *, customers: int, events_each: float, past: Sequence[PastRun] = ()) -> Estimate:
    """The time of a training on a cohort of so many customers with so many events each.

    past: newest first; the first one with the same shape of a model is scaled by the amount of data.
    """
    train = customers * (1 - config.test_share - config.valid_share)
    epochs: dict[ModelName, float] = {}
    measured = True
    for model in config.models:
        own = _cost(config, model, train, events_each)
        alike = [p for p in past if model in p.epoch_seconds and _shape(p.config, model) == _shape(config, model)]
        measured = measured and bool(alike)
        if alike:
            p = alike[0]
            epochs[model] = p.epoch_seconds[model] * own / _cost(p.config, model, p.customers, p.events_each)
        else:
            epochs[model] = own
    seconds = START_SECONDS + sum(s * config.training(m).most_epochs for m, s in epochs.items())
    return Estimate(epoch_seconds=epochs, seconds=seconds, measured=measured)


def progress(config: RunConfig, done: Sequence[EpochEnd], expected: Estimate) -> tuple[float, float]:
    """(share done in [0, 1], seconds left at most) of a training under way, from the epochs that have ended.

    A model that has begun is timed by its own epochs, one that has not by the estimate. A model followed by another
    one has ended, however few epochs it took.
    """
    spent = left = 0.0
    begun = [m for m in config.models if any(e.model == m for e in done)]
    for model in config.models:
        epochs = [e for e in done if e.model == model]
        most = config.training(model).most_epochs
        if not epochs:
            left += expected.epoch_seconds.get(model, 0.0) * most
            continue
        each = epochs[-1].seconds / epochs[-1].epoch
        spent += epochs[-1].seconds
        if model == begun[-1]:
            left += each * ((epochs[-1].n_epochs if epochs[-1].final_refit else most) - epochs[-1].epoch)
    return (spent / (spent + left) if spent + left > 0 else 0.0), left


def _shape(config: RunConfig, model: ModelName) -> tuple[object, ...]:
    return (getattr(config, model), config.training(model).batch_size)


def _cost(config: RunConfig, model: ModelName, customers: float, events_each: float) -> float:
    """Rough seconds of one epoch; only its proportions matter where there is a measurement."""
    shape = getattr(config, model)
    tokens = customers * (min(events_each, shape.max_events) + (12 if model == "churn" else 1))
    copies = shape.ensemble_size if model == "churn" else 1
    weights = shape.n_blocks * (4 * shape.d_model**2 + 2 * shape.d_model * shape.d_feedforward)
    return copies * tokens * (_TOKEN_SECONDS + _WEIGHT_SECONDS * weights)
