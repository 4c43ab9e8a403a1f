"""Muon: an optimiser for the matrices of Transformer blocks that needs fewer updates than Adam.

Adam scales the step of each weight by the gradients of that weight. Muon orthogonalises the averaged gradient of a
whole matrix, so that all its singular directions get steps of the same length, also those with a small gradient.
Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024), for the method and its
polynomial; Liu et al., "Muon is Scalable for LLM Training" (2025), section 2.2, for the step length.

`torch.optim.Muon` updates one matrix at a time in bfloat16, which on a CPU without that format took ten times as long
with matrices of 64 x 256. Here all matrices of one shape are updated together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

STEPS = 5
"""Newton-Schulz steps; after five, every singular value lies between 0.7 and 1.2."""

POLYNOMIAL = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5, chosen by Jordan et al. for the steepest slope at 0 whose results stay near 1."""

AS_ADAM = 0.2
"""Root mean square of an update under Adam at the same learning rate (Liu et al.)."""


class Muon(torch.optim.Optimizer):
    """Optimiser of matrices (O, I).

    lr and weight_decay (decoupled) as for AdamW. stretch: step length as a multiple of Adam's. maps: number of matrices
    stacked in each parameter of a group.
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
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # it returns no loss
        """One update of every parameter that has a gradient; closure is not supported."""
        if closure is not None:
            raise ValueError("Muon steps once per gradient; expected no closure")
        by_shape: dict[tuple[int, ...], list[tuple[Tensor, Tensor, float]]] = {}
        for group in self.param_groups:
            for weight in (w for w in group["params"] if w.grad is not None):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                gradient = self._averaged(weight, group["momentum"])
                length = group["lr"] * group["stretch"] * AS_ADAM
                for matrix, direction in zip(weight.chunk(group["maps"]), gradient.chunk(group["maps"]), strict=True):
                    if matrix.shape[0] > matrix.shape[1]:  # products of wide matrices are smaller
                        matrix, direction = matrix.mT, direction.mT
                    step = (matrix, direction, length * matrix.shape[1] ** 0.5)
                    by_shape.setdefault(tuple(matrix.shape), []).append(step)
        for steps in by_shape.values():
            directions = orthogonal(torch.stack([direction for _, direction, _ in steps]))
            for (matrix, _, length), direction in zip(steps, directions, strict=True):
                matrix.sub_(direction, alpha=length)

    def _averaged(self, weight: Tensor, momentum: float) -> Tensor:
        """Exponential moving average of the gradient with Nesterov momentum."""
        assert weight.grad is not None
        gradient, memory = weight.grad, self.state[weight]
        if "mean" not in memory:
            memory["mean"] = torch.zeros_like(weight)
        memory["mean"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(memory["mean"], momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (N, O, I) with all singular values moved to near 1 by Newton-Schulz steps; zero matrices stay zero.

    Any shape is allowed; O <= I is faster.
    """
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    linear, cubic, quintic = POLYNOMIAL
    for _ in range(STEPS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=cubic, alpha=quintic), x, beta=linear)
    return x
