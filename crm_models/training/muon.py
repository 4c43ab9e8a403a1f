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

MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """Optimiser of matrices (O, I); lr and weight_decay (decoupled) are those of AdamW.

    stretch: step length as a multiple of Adam's. maps: number of matrices stacked in each parameter of a group.
    """

    def __init__(
        self, params: Iterable[Any], lr: float = 1e-3, *, weight_decay: float = 0.0, stretch: float = 1.0, maps: int = 1
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "stretch": stretch, "maps": maps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # it returns no loss
        """One update of every parameter that has a gradient; closure is not supported."""
        if closure is not None:
            raise ValueError("Muon steps once per gradient; expected no closure")
        by_shape: dict[tuple[Any, ...], list[tuple[Tensor, Tensor]]] = {}
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            for new in (weight for weight in weights if not self.state[weight]):
                self.state[new]["mean"] = torch.zeros_like(new)
            if not weights:
                continue
            gradients, means = [w.grad for w in weights], [self.state[w]["mean"] for w in weights]
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_lerp_(means, gradients, 1 - MOMENTUM)
            for pair in zip(weights, torch._foreach_lerp(gradients, means, MOMENTUM), strict=True):
                parts = [x.unflatten(0, (group["maps"], -1)) for x in pair]
                if parts[0].shape[1] > parts[0].shape[2]:  # products of wide matrices are smaller
                    parts = [x.mT for x in parts]
                length = group["lr"] * group["stretch"] * AS_ADAM * parts[0].shape[2] ** 0.5
                by_shape.setdefault((*parts[0].shape[1:], length), []).append((parts[0], parts[1]))
        for (*_, length), pairs in by_shape.items():
            matrices, directions = zip(*pairs, strict=True)
            steps = orthogonal(torch.cat(directions)).split([len(stack) for stack in matrices])
            torch._foreach_add_(matrices, steps, alpha=-length)


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
