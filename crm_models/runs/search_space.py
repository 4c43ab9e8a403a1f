"""Search space: the few settings that the search changes and their ranges, each with its reason."""

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
    """One setting and its range of values, both ends included; the value of the preset is always one of them.

    name: as in `--set`. now: the value of the preset; if it is an int, the values are low, low + step, ... log: sampled
    on a log scale.
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
    """The configuration that a search starts from, and the ranges that it varies. Made by `of`."""

    base: RunConfig
    ranges: tuple[Range, ...]
    keeps_feedforward: bool = False

    @classmethod
    def of(cls, config: RunConfig, model: ModelName, *, longest: int = 10**6, pinned: Collection[str] = ()) -> Space:
        """The search space of one model.

        longest: number of events of the longest history; a larger `max_events` would change nothing. pinned: names of
        settings that are not varied, because the user set them.
        """
        shape = _sequence_ranges(config, longest) if model == "sequence" else _churn_ranges(config, longest)
        candidates = [*_training_ranges(config, model), *_block_ranges(config, model), *shape]
        ranges = tuple(r for r in candidates if r is not None and r.name not in pinned)
        return cls(base=config, ranges=ranges, keeps_feedforward=f"{model}.d_feedforward" in pinned)

    def config(self, values: Mapping[str, Value]) -> RunConfig:
        """The base configuration with a value for each range, by name; always valid.

        The width of the feed-forward layer keeps its ratio to d_model. Numbers are rounded to three digits, so that
        they can be read and repeated; the value of the base is not rounded.
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


def _training_ranges(config: RunConfig, model: ModelName) -> list[Range | None]:
    """Optimiser settings. Not the batch size (the learning rate has the same effect) or epochs (early stopping)."""
    training = config.training(model)
    ranges = [
        # Adam on models of this size: below 3e-4 training ends before the loss has fallen, above 1e-2 the loss jumps.
        _range(f"{model}_training.learning_rate", training.learning_rate, 3e-4, 1e-2, log=True),
        # The decay per update is decay times learning rate: over a few thousand updates less than 1e-3 has no effect,
        # and 0.3 halves a weight.
        _range(f"{model}_training.weight_decay", training.weight_decay, 1e-3, 0.3, log=True),
    ]
    if training.muon_lr_scale and not training.l2_in_loss:
        # At the scale 1 (steps as long as Adam's) and at 6 the loss was worse than in between after as many epochs.
        ranges.append(_range(f"{model}_training.muon_lr_scale", training.muon_lr_scale, 1.0, 6.0, log=True))
    return ranges


def _block_ranges(config: RunConfig, model: ModelName) -> list[Range | None]:
    """Settings of the blocks. Without the heads: widths are multiples of them, so that every combination is valid."""
    shape = getattr(config, model)
    step = 16 if shape.d_model % 16 == 0 and 16 % shape.n_heads == 0 else shape.n_heads
    return [
        # Above 0.4 models of this width learn too slowly for their number of epochs.
        _range(f"{model}.dropout", shape.dropout, 0.0, 0.4),
        # Below 16 two heads have fewer than 8 dimensions each; twice the preset's width takes up to four times as long.
        _range(f"{model}.d_model", shape.d_model, math.ceil(16 / step) * step, 2 * shape.d_model, step=step),
        # Each block takes as much time as the first, and no preset has more than two.
        _range(f"{model}.n_blocks", shape.n_blocks, 1, 3),
    ]


def _sequence_ranges(config: RunConfig, longest: int) -> list[Range | None]:
    shape = config.sequence
    ranges = [
        # Fewer than ten events do not show habits; attention over more than 200 takes longer than everything else.
        _range("sequence.max_events", shape.max_events, 10, min(200, longest), log=True, longest=longest),
    ]
    if shape.use_time or shape.use_value:
        # Above 0.6 most gaps and values are hidden in training.
        dropout = config.sequence_training.context_dropout
        ranges.append(_range("sequence_training.context_dropout", dropout, 0.0, 0.6))
    return ranges


def _churn_ranges(config: RunConfig, longest: int) -> list[Range | None]:
    shape = config.churn
    ranges = [
        # Members share the training customers, so many learn little each; and scoring takes n_members times as long.
        _range("churn.n_members", shape.n_members, 1, 8),
        # 0: the history is seen through behaviour features only; 60 is the value of `strong`.
        _range("churn.max_events", shape.max_events, 0, 60, step=10, longest=longest),
    ]
    if shape.numeric_embedding == "piecewise":
        # Fewer than 4 quantile bins are hardly a curve; with 32 each has about 100 of a few thousand customers.
        ranges.append(_range("churn.n_bins", shape.n_bins, 4, 32, log=True))
    return ranges


def _range(
    name: str, now: Value, low: Value, high: Value, *, step: int = 1, log: bool = False, longest: int | None = None
) -> Range | None:
    """A range, widened to include the value of the base; None if all its values have the same effect."""
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
    """Settings of models and training in which a configuration differs from `base`, by their `--set` names."""
    changed = {}
    for part in ("sequence", "churn", "sequence_training", "churn_training"):
        ours, theirs = getattr(config, part), getattr(base, part)
        for f in fields(ours):
            if getattr(ours, f.name) != getattr(theirs, f.name):
                changed[f"{part}.{f.name}"] = getattr(ours, f.name)
    return changed
