"""A sum over many rows, whose gradient is taken piece by piece on the way there.

The scores of a batch, targets times actions, can be larger than all else of a training together. In pieces, only one of
them is ever held; and with each piece's gradient taken as soon as its sum is there, nothing has to be computed again on
the way back, as it would with `torch.utils.checkpoint`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def chunked_sum(
    total: Callable[..., Tensor], hidden: Tensor, others: Sequence[Tensor], weights: Sequence[Tensor], size: int
) -> Tensor:
    """total(hidden, *others), a sum over rows, computed for `size` rows at a time.

    hidden (M, D) and weights, which `total` reads by itself, get gradients, though no gradients of gradients; others
    (M, ...) get none.
    """
    return _ChunkedSum.apply(total, size, others, hidden, *weights)


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        total: Callable[..., Tensor],
        size: int,
        others: Sequence[Tensor],
        hidden: Tensor,
        *weights: Tensor,
    ) -> Tensor:
        value = hidden.new_zeros(())
        by_row = torch.empty_like(hidden)
        by_weight: list[Tensor | None] = [None] * len(weights)
        pieces = zip(*(rows.split(size) for rows in (hidden, by_row, *others)), strict=True)
        for own, gradient, *rest in pieces:
            with torch.enable_grad():
                own = own.detach().requires_grad_()
                # A view, because a count of operations (`FlopCounterMode`) puts hooks on what modules are given,
                # and `autograd.grad` takes none on a leaf.
                part = total(own.view_as(own), *rest)
            first, *found = torch.autograd.grad(part, (own, *weights), allow_unused=True)
            value += part.detach()
            gradient.copy_(first)
            by_weight = [new if old is None else old.add_(new) for old, new in zip(by_weight, found, strict=True)]
        ctx.gradients = (by_row, *by_weight)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if own is None else gradient * own for own in ctx.gradients]
        return (None, None, None, *scaled)
