"""Repeat bias: raises or lowers the logits of actions in the history (the same product again, no film twice).

Attention can find which actions a history holds, but to change just their logits among thousands it would have to carry
each action's embedding through all layers. Here the history points at its actions, as in pointer networks (Vinyals et
al., 2015; "copy" in Gu et al., 2016): one weight per position says how much more or less likely an action is for having
been done that many events ago. Letters: A actions, R positions in the history, D width.

DIFF from paper, Transformer Models: the paper has no such term; off in `paper`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PACE = 16.0
"""Log-odds per unit of weight. An update moves a weight by about the learning rate, and ruling an action out takes
several log-odds: with 1, training would end before the weights got there."""


class RepeatBias(nn.Module):
    """A learned bias, positive or negative, of each recent action's logit, scaled by the context; zero at first."""

    def __init__(self, n_places: int, width: int) -> None:
        """n_places: R, the number of most recent events that count."""
        super().__init__()
        self.worth = nn.Parameter(torch.zeros(n_places))
        self.trust = nn.Linear(width, 1)
        nn.init.zeros_(self.trust.weight)
        nn.init.ones_(self.trust.bias)

    def forward(self, hidden: Tensor, recent: Tensor) -> tuple[Tensor, Tensor]:
        """Indices of actions (..., R) and what is added to their logits (..., R), for hidden states (..., D).

        recent (..., R): ids of the latest actions, the latest last, 0 where there are fewer. An action that occurs more
        than once gets a bias for each time.
        """
        bias = torch.where(recent > 0, PACE * self.worth, 0.0) * self.trust(hidden)
        return (recent - 1).clamp(min=0), bias
