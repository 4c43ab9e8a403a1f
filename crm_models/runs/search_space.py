"""Which settings the search may turn and how far: few of them, around what works, each bound with its reason."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from crm_models.core.config import RunConfig
from crm_models.core.schema import ModelName

Value = int | float


@dataclass(frozen=True, kw_only=True)
class Range:
    """One setting and the values it may take, both ends included; the preset's own value is always one of them.

    name: as in `--set`. Whole numbers where `now`, the preset's value, is one: low, low + step, ... log: factors count,
    not differences.
    """

    name: str
    now: Value
    low: Value
    high: Value
    step: int = 1
    log: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return isinstance(self.now, int)


@dataclass(frozen=True, kw_only=True)
class Space:
    """The configuration that a search starts from, and the ranges it may turn. Made by `of`."""

    base: RunConfig
    ranges: tuple[Range, ...]
    keeps_feedforward: bool = False

    @classmethod
    def of(cls, config: RunConfig, model: ModelName, *, longest: int = 10**6, pinned: Collection[str] = ()) -> Space:
        """What can be turned for one model.

        longest: events of the longest history; seeing more than all of them changes nothing. pinned: names that stay
        as they are, because somebody set them.
        """
        shape = _sequence_shape(config, longest) if model == "sequence" else _churn_shape(config, longest)
        found = [*_learning(config, model), *_blocks(config, model), *shape]
        ranges = tuple(r for r in found if r is not None and r.name not in pinned)
        return cls(base=config, ranges=ranges, keeps_feedforward=f"{model}.d_feedforward" in pinned)

    def config(self, values: Mapping[str, Value]) -> RunConfig:
        """The base with a value for each range, by name; always a valid configuration.

        The feed-forward part keeps its proportion to the width. Numbers are rounded to three digits, so that a person
        can read and repeat them; the base's own value stays what it is.
        """
        config = self.base
        for r in self.ranges:
            part, name = r.name.split(".")
            owner, value = getattr(config, part), values[r.name]
            changes: dict[str, Any] = {name: value if r.is_whole or value == r.now else float(f"{value:.3g}")}
            if name == "d_model" and not self.keeps_feedforward:
                changes["d_feedforward"] = max(1, round(owner.d_feedforward * value / owner.d_model))
            changed: dict[str, Any] = {part: replace(owner, **changes)}
            config = replace(config, **changed)
        return config


def _learning(config: RunConfig, model: ModelName) -> list[Range | None]:
    """Not the batch size: the learning rate does what it would. Not the epochs: early stopping ends them."""
    training = config.training(model)
    found = [
        # Adam on models of this size: below 3e-4 the epochs end before the loss has fallen, above 1e-2 it jumps.
        _range(f"{model}_training.learning_rate", training.learning_rate, 3e-4, 1e-2, log=True),
        # Decay works as decay times learning rate: over a few thousand updates less than 1e-3 is not felt, and 0.3
        # takes half of a weight away.
        _range(f"{model}_training.weight_decay", training.weight_decay, 1e-3, 0.3, log=True),
    ]
    if training.muon_lr_scale and not training.l2_in_loss:
        # Steps as long as Adam's were behind longer ones after as many epochs, and steps of 6 were again.
        found.append(_range(f"{model}_training.muon_lr_scale", training.muon_lr_scale, 1.0, 6.0, log=True))
    return found


def _blocks(config: RunConfig, model: ModelName) -> list[Range | None]:
    """Not the heads: widths are multiples of them, so that every combination is a model."""
    shape = getattr(config, model)
    step = 16 if shape.d_model % 16 == 0 and 16 % shape.n_heads == 0 else shape.n_heads
    return [
        # Above 0.4 models of this width learn too slowly to end within their epochs.
        _range(f"{model}.dropout", shape.dropout, 0.0, 0.4),
        # Below 16 two heads have less than 8 numbers each; twice the preset's width takes up to four times as long.
        _range(f"{model}.d_model", shape.d_model, math.ceil(16 / step) * step, 2 * shape.d_model, step=step),
        # Each block takes as much time as the first, and no preset has more than two.
        _range(f"{model}.n_blocks", shape.n_blocks, 1, 3),
    ]


def _sequence_shape(config: RunConfig, longest: int) -> list[Range | None]:
    shape = config.sequence
    found = [
        # Ten events are the least that shows a habit; attention over more than 200 costs more than all else.
        _range("sequence.max_events", shape.max_events, 10, min(200, longest), log=True, longest=longest),
    ]
    if shape.use_time or shape.use_value:
        # 0 trusts gaps and values fully; above 0.6 most of what they say is never seen.
        hidden = config.sequence_training.context_dropout
        found.append(_range("sequence_training.context_dropout", hidden, 0.0, 0.6))
    return found


def _churn_shape(config: RunConfig, longest: int) -> list[Range | None]:
    shape = config.churn
    found = [
        # One member is no ensemble; they share out the customers to learn from, and each takes a model's time to score.
        _range("churn.n_members", shape.n_members, 1, 8),
        # 0 leaves the history to recency, frequency and their kin; 60 is what `strong` sees.
        _range("churn.max_events", shape.max_events, 0, 60, step=10, longest=longest),
    ]
    if shape.numeric_embedding == "piecewise":
        # Fewer than 4 quantile bins are hardly a curve; 32 leave a hundred of a few thousand customers in each.
        found.append(_range("churn.n_bins", shape.n_bins, 4, 32, log=True))
    return found


def _range(
    name: str, now: Value, low: Value, high: Value, *, step: int = 1, log: bool = False, longest: int | None = None
) -> Range | None:
    """A range, widened to hold the base's value; None where every value would mean the same."""
    if longest is not None and longest <= low:
        return None
    if log and now <= 0:
        low, log = 0.0, False
    low, high = min(low, now), max(high, now)
    if isinstance(now, int):
        step = step if (now - low) % step == 0 else 1
        high -= (high - low) % step
    return Range(name=name, now=now, low=low, high=high, step=step, log=log)


def differences(config: RunConfig, base: RunConfig) -> dict[str, Any]:
    """The settings of models and training in which a configuration differs from another one, by their `--set` names."""
    found = {}
    for part in ("sequence", "churn", "sequence_training", "churn_training"):
        ours, theirs = getattr(config, part), getattr(base, part)
        for f in fields(ours):
            if getattr(ours, f.name) != getattr(theirs, f.name):
                found[f"{part}.{f.name}"] = getattr(ours, f.name)
    return found
