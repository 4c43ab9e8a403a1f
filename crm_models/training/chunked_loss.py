"""Chunked loss: each chunk is back-propagated at once, so only one chunk of logits is in memory.

The logits of a batch, targets times actions, can be larger than everything else in training. The gradient of each chunk
is computed in the forward pass, so nothing is computed again in the backward pass, unlike `torch.utils.checkpoint`.
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

    hidden (M, D) and weights, which `total` uses by itself, get first-order gradients; others (M, ...) get none.
    """
    return _ChunkedSum.apply(total, size, others, hidden, *weights)  # type: ignore[no-untyped-call]  # of torch


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
        hidden_gradient = torch.empty_like(hidden)
        weight_gradients: list[Tensor | None] = [None] * len(weights)
        chunks = zip(*(rows.split(size) for rows in (hidden, hidden_gradient, *others)), strict=True)
        for chunk, gradient, *rest in chunks:
            with torch.enable_grad():
                chunk = chunk.detach().requires_grad_()
                # A view, because `FlopCounterMode` puts hooks on the inputs of modules, and `autograd.grad` does not
                # accept them on a leaf.
                part = total(chunk.view_as(chunk), *rest)
            of_chunk, *of_weights = torch.autograd.grad(part, (chunk, *weights), allow_unused=True)
            value += part.detach()
            gradient.copy_(of_chunk)
            weight_gradients = [
                new if old is None else old.add_(new) for old, new in zip(weight_gradients, of_weights, strict=True)
            ]
        ctx.gradients = (hidden_gradient, *weight_gradients)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [None if chunk_sum is None else gradient * chunk_sum for chunk_sum in ctx.gradients]
        return (None, None, None, *scaled)
