"""Data-parallel training: several processes share each batch, and their weights stay the same.

Each process holds the model and computes the gradient of its share of every batch; the sum of all, divided by the
targets of all, is what one process would have computed, up to rounding (and random dropout). The first process leads:
it alone writes files and decides when to stop. How the processes join: `runs/processes.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, distributed, nn


def rank() -> int:
    """The number of this process, 0 for the one that leads."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(n: int) -> np.ndarray:
    """Which of n rows are this process's; examples of a batch stand by length, so that all have as much to do."""
    return np.arange(n)[rank() :: world()]


def combined(module: nn.Module, loss: Tensor, n_targets: int) -> tuple[Tensor, int | Tensor]:
    """Replace the gradients of a mean loss over this process's targets by those over all; returns both for all."""
    if world() == 1:
        return loss, n_targets
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss[None], loss.new_ones(1)])
    flat = flat * n_targets if n_targets else torch.zeros_like(flat)  # a mean over nothing is no number
    distributed.all_reduce(flat)
    *means, mean = (flat[:-1] / flat[-1]).split([*(weight.numel() for weight in weights), 1])
    for weight, gradient in zip(weights, means, strict=True):
        weight.grad = gradient.view_as(weight)
    return mean[0], flat[-1]


def mean(losses: Iterable[tuple[Tensor, int]]) -> float | None:
    """Mean of losses, each with its weight, over all processes; None if there are none. A GPU is asked once."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for loss, weight in losses:
        total, count = total.to(loss.device) + loss.double() * weight, count + weight
    if world() > 1:
        both = torch.tensor([float(total), count], dtype=torch.float64)  # where one had no loss, it is no GPU's
        distributed.all_reduce(both)
        total, count = both[0], int(both[1])
    return float(total) / count if count else None


def agreed(question: Callable[[], bool]) -> Callable[[], bool]:
    """The question as the process that leads answers it; every process has to ask."""

    def answer() -> bool:
        if world() == 1:
            return question()
        told = torch.tensor([int(rank() == 0 and question())])
        distributed.broadcast(told, src=0)
        return bool(told)

    return answer
