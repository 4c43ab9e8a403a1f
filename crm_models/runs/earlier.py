"""Renaming of weights and event keys in run folders of earlier versions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

_WEIGHTS = {"follow_ups": "transition_prior", "repeats": "repeat_bias"}
_EPOCH_KEYS = {"rehearsal": "pretraining", "short": "short_phase", "refit": "final_refit"}


def current_weights(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Weights, or other values by weight name, with the current names."""
    pattern = re.compile(r"(?<![^.])(" + "|".join(_WEIGHTS) + r")(?=\.)")
    return {pattern.sub(lambda match: _WEIGHTS[match.group()], name): value for name, value in tensors.items()}


def current_epoch(event: Mapping[str, Value]) -> dict[str, Value]:
    """An epoch event of `events.jsonl` with the current keys of `EpochEnd`."""
    return {_EPOCH_KEYS.get(name, name): value for name, value in event.items()}
