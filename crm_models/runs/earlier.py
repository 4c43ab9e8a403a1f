"""Run folders of earlier versions: other names of weights and event keys, and parts of models that are gone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

Value = TypeVar("Value")

_WEIGHTS = {"follow_ups": "transition_prior", "repeats": "repeat_bias"}
_EPOCH_KEYS = {"refit": "final_refit"}
_REMOVED_EPOCH_KEYS = {"rehearsal", "pretraining", "short", "short_phase"}


def current_weights(tensors: Mapping[str, Value]) -> dict[str, Value]:
    """Weights, or other values by weight name, with the current names."""
    pattern = re.compile(r"(?<![^.])(" + "|".join(_WEIGHTS) + r")(?=\.)")
    named = {pattern.sub(lambda match: _WEIGHTS[match.group()], name): value for name, value in tensors.items()}
    return {
        name.replace("transition_prior.trust.", "transition_prior.after_one.trust."): v for name, v in named.items()
    }


def current_epoch(event: Mapping[str, Value]) -> dict[str, Value]:
    """An epoch event of `events.jsonl` with the current keys of `EpochEnd`."""
    named = {_EPOCH_KEYS.get(name, name): value for name, value in event.items()}
    return {name: value for name, value in named.items() if name not in _REMOVED_EPOCH_KEYS}


def churn_members(weights: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The weights of each churn model of a run; one, unless an earlier version averaged several (`strong`).

    Earlier versions divided the mean log-odds by a temperature, which is folded into the output layers here.
    """
    parts: dict[int, dict[str, Tensor]] = {}
    for name, value in weights.items():
        found = re.fullmatch(r"others\.(\d+)\.(.*)", name)
        parts.setdefault(int(found[1]) + 1 if found else 0, {})[found[2] if found else name] = value
    temperature = weights.get("temperature", 1.0)
    for part in parts.values():
        part.pop("temperature", None)
        part |= {name: part[name] / temperature for name in ("output.weight", "output.bias") if name in part}
    return [parts[k] for k in sorted(parts)]


def averaged(models: list[Any]) -> Any:
    """One module whose log-odds and attention weights are the means of the churn models, as in earlier versions."""
    import torch
    from torch import nn

    class DeepEnsemble(nn.Module):
        """Asked for its shape, it answers as the first of its models."""

        def __init__(self) -> None:
            super().__init__()
            self.models = nn.ModuleList(models)

        def __getattr__(self, name: str) -> Any:
            return super().__getattr__(name) if name == "models" else getattr(self.models[0], name)

        def forward(self, batch: Any, need_weights: bool = False) -> tuple[Tensor, list[Tensor]]:
            log_odds, weights = zip(*(model(batch, need_weights) for model in self.models), strict=True)
            blocks = zip(*weights, strict=True)
            return torch.stack(log_odds).mean(dim=0), [torch.stack(block).mean(dim=0) for block in blocks]

    return DeepEnsemble()
