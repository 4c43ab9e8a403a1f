"""Muon: an optimiser for the matrices of Transformer blocks, which learn in fewer updates than under Adam.

Adam scales each weight's step by that weight's own past. Muon takes the averaged gradient of a matrix as a whole and
makes it orthogonal: all directions in which the matrix maps its inputs are stepped by the same length, also those whose
gradient is faint. Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), for the
method and its polynomial; Liu et al., "Muon is Scalable for LLM Training" (2025), section 2.2, for the step's length.

`torch.optim.Muon` does the same one matrix at a time and in bfloat16, which on a CPU without that format took ten times
as long with matrices of 64 x 256. Here those of one shape go together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

STEPS = 5
"""Newton-Schulz steps: after so many, every singular value lies between 0.7 and 1.2."""

POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Of x, x^3 and x^5; chosen by Jordan et al. for the steepest start that stays near 1."""

AS_ADAM = 0.2
"""Root mean square of an update under Adam at the same learning rate (Liu et al.)."""


class Muon(torch.optim.Optimizer):
    """Steps matrices (O, I). A group of parameters may say `maps`: so many matrices lie stacked in each parameter.

    lr and weight_decay (decoupled) as for AdamW. stretch: the step, as a multiple of one that is as long as Adam's.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        stretch: float = 1.0,
        maps: int = 1,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "stretch": stretch, "maps": maps}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # there is no loss to return
        """One update of every parameter that has a gradient; closure is not supported."""
        if closure is not None:
            raise ValueError("Muon steps once per gradient; expected no closure")
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor, float]]] = {}
        for group in self.param_groups:
            for weight in (w for w in group["params"] if w.grad is not None):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                ahead = self._averaged(weight, group["momentum"])
                length = group["lr"] * group["stretch"] * AS_ADAM
                for matrix, direction in zip(weight.chunk(group["maps"]), ahead.chunk(group["maps"]), strict=True):
                    if matrix.shape[0] > matrix.shape[1]:  # wide ones make the smaller products
                        matrix, direction = matrix.mT, direction.mT
                    step = (matrix, direction, length * matrix.shape[1] ** 0.5)
                    alike.setdefault(tuple(matrix.shape), []).append(step)
        for found in alike.values():
            turned = orthogonal(torch.stack([direction for _, direction, _ in found]))
            for (matrix, _, length), step in zip(found, turned, strict=True):
                matrix.sub_(step, alpha=length)

    def _averaged(self, weight: Tensor, momentum: float) -> Tensor:
        """The running mean of the gradient, one update ahead (Nesterov)."""
        assert weight.grad is not None
        gradient, memory = weight.grad, self.state[weight]
        if "mean" not in memory:
            memory["mean"] = torch.zeros_like(weight)
        memory["mean"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(memory["mean"], momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """The matrices (N, O, I) with all their singular values near 1, by Newton-Schulz steps; zeros stay zeros.

    Any shape will do; where O <= I the products are small.
    """
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    once, cubed, fifth = POLYNOMIAL
    for _ in range(STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=cubed, alpha=fifth), x, beta=once)
    return x
