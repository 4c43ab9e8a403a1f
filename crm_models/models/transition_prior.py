"""Transition prior: the logits start from counted transitions, so the network learns only what differs from them.

A Transformer has to learn from scratch which action follows which, and from few data never does; counts tell it at
once. With n(a, b) the number of times that b followed a among training customers, q(b) the popularity of b, and w the
number of events that popularity counts as, the transition probabilities with back-off are

    p(b | a) = (n(a, b) + w q(b)) / (n(a) + w),    so    log p(b | a) = log q(b) + log(1 + n(a, b) / (w q(b))) + const.

The first term is the initial bias of the output. The second, zero for pairs that never occurred, is added here.
Letters: A actions, D width.

DIFF from paper, Transformer Models: the paper has no such term; off in `paper`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crm_models.baselines.markov import leave_one_out_weight


class TransitionPrior(nn.Module):
    """Adds log(1 + n(a, b) / (w q(b))) to the logit of b after a, times a trust that is learned from the context."""

    following: Tensor
    bonus: Tensor
    bonus_without_one: Tensor

    def __init__(self, pairs: tuple[tuple[int, int, int], ...], counts: tuple[int, ...], width: int) -> None:
        """pairs: (id before, id after, count), per id before by decreasing count; counts: (A,) events per action."""
        super().__init__()
        before, after, times = torch.tensor(pairs, dtype=torch.long).reshape(-1, 3).T
        popular = torch.tensor([0, *counts], dtype=torch.float64) + 1
        popular = popular / popular[1:].sum()
        weight = leave_one_out_weight(before.numpy(), times.numpy(), popular[after].numpy())
        row_sizes = torch.bincount(before, minlength=len(popular))
        column = torch.arange(len(before)) - (row_sizes.cumsum(0) - row_sizes)[before]
        shape = (len(popular), max(int(row_sizes.max()), 1))
        # Unused entries point to action 1 and add zero to it.
        following, bonus, without_one = torch.zeros(shape, dtype=torch.long), torch.zeros(shape), torch.zeros(shape)
        following[before, column] = after - 1
        bonus[before, column] = torch.log1p(times / (weight * popular[after])).float()
        without_one[before, column] = torch.log1p((times - 1) / (weight * popular[after])).float()
        self.register_buffer("following", following, persistent=False)
        self.register_buffer("bonus", bonus, persistent=False)
        self.register_buffer("bonus_without_one", without_one, persistent=False)
        self.trust = nn.Linear(width, 1)
        nn.init.zeros_(self.trust.weight)
        nn.init.ones_(self.trust.bias)

    def forward(self, scores: Tensor, hidden: Tensor, last: Tensor, target: Tensor | None = None) -> Tensor:
        """Logits `scores` (..., A) with the prior added, after the actions `last` (...) as ids; hidden (..., D).

        target (...), indices 0 to A - 1: the true next action, in training. It is itself in the counts, which events
        predicted later are not, so it is left out of them (leave-one-out).
        """
        following, bonus = self.following[last], self.bonus[last]
        if target is not None:
            is_target = (following == target[..., None]) & (bonus > 0)
            bonus = torch.where(is_target, self.bonus_without_one[last], bonus)
        return scores.scatter_add(-1, following, self.trust(hidden) * bonus)
