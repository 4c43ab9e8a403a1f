"""Names that earlier versions wrote into run folders, turned into today's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

_WEIGHTS = {"follow_ups": "transition_prior", "repeats": "repeat_bias"}
_EPOCH_FACTS = {"rehearsal": "pretraining", "short": "short_phase", "refit": "final_refit"}


def current_weights(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Weights, or anything else kept by the name of a weight, under the names that the models use now."""
    pattern = re.compile(r"(?<![^.])(" + "|".join(_WEIGHTS) + r")(?=\.)")
    return {pattern.sub(lambda found: _WEIGHTS[found.group()], name): value for name, value in tensors.items()}


def current_epoch(event: Mapping[str, Value]) -> dict[str, Value]:
    """An epoch event of `events.jsonl` with the keys that `EpochEnd` has now."""
    return {_EPOCH_FACTS.get(name, name): value for name, value in event.items()}
