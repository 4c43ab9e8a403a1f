"""What usually comes after an action, as a head start of the scores: the network learns only what differs from it.

A Transformer finds out from scratch which action follows which, and where data are few it never does; a table of counts
knows at once. With n(a, b) the times that b followed a among the training customers, q(b) the popularity of b, and w
the events by which popularity counts, the table with back-off says

    p(b | a) = (n(a, b) + w q(b)) / (n(a) + w),    so    log p(b | a) = log q(b) + log(1 + n(a, b) / (w q(b))) + const.

The first part is where the output's bias starts. The second, zero for all that never followed, is added here.
Letters: A actions, K follow-ups kept per action, M positions, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crm_models.baselines.markov import leave_one_out_weight


class TransitionPrior(nn.Module):
    """Adds log(1 + n(a, b) / (w q(b))) to the score of b after a, as far as the context is trusted to bear it out."""

    following: Tensor
    bonus: Tensor
    bonus_without_one: Tensor

    def __init__(self, pairs: tuple[tuple[int, int, int], ...], counts: tuple[int, ...], width: int) -> None:
        """pairs: (id before, id after, times), per action before by falling times; counts: (A,) events per action."""
        super().__init__()
        before, after, times = torch.tensor(pairs, dtype=torch.long).reshape(-1, 3).T
        popular = torch.tensor([0, *counts], dtype=torch.float64) + 1
        popular = popular / popular[1:].sum()
        weight = leave_one_out_weight(before.numpy(), times.numpy(), popular[after].numpy())
        row_sizes = torch.bincount(before, minlength=len(popular))
        place = torch.arange(len(before)) - (row_sizes.cumsum(0) - row_sizes)[before]
        shape = (len(popular), max(int(row_sizes.max()), 1))
        # Places without a follow-up point to action 1 and add nothing to it.
        following, bonus, without_one = torch.zeros(shape, dtype=torch.long), torch.zeros(shape), torch.zeros(shape)
        following[before, place] = after - 1
        bonus[before, place] = torch.log1p(times / (weight * popular[after])).float()
        without_one[before, place] = torch.log1p((times - 1) / (weight * popular[after])).float()
        self.register_buffer("following", following, persistent=False)
        self.register_buffer("bonus", bonus, persistent=False)
        self.register_buffer("bonus_without_one", without_one, persistent=False)
        self.trust = nn.Linear(width, 1)
        nn.init.zeros_(self.trust.weight)
        nn.init.ones_(self.trust.bias)

    def forward(self, scores: Tensor, hidden: Tensor, last: Tensor, target: Tensor | None = None) -> Tensor:
        """Scores (..., A) with the bonus added, after the actions `last` (...) ids; hidden (..., D).

        target (...), places 0 to A - 1: what really came next, while training. That one event is in the table, as no
        event to be predicted later will be, so it is counted out (leave-one-out).
        """
        following, bonus = self.following[last], self.bonus[last]
        if target is not None:
            is_target = (following == target[..., None]) & (bonus > 0)
            bonus = torch.where(is_target, self.bonus_without_one[last], bonus)
        return scores.scatter_add(-1, following, self.trust(hidden) * bonus)
