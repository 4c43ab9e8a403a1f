"""What a customer did before, as a head start of the scores: people buy the same again, or never see a film twice.

Attention can find out which actions a history holds, but to raise just those among thousands of scores it would have to
carry each one's embedding through all layers. Here the history points at its own actions instead, as in pointer
networks (Vinyals et al., 2015; "copy" in Gu et al., 2016): one weight per place tells how much more or less likely an
action is for having been done so many events ago. Letters: A actions, R places of the history, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

PACE = 16.0
"""Log-odds per unit of weight. An update moves a weight by about the learning rate, and from "as likely as ever" to
"hardly ever again" it is several log-odds: with 1 the epochs would end before the weights are there."""


class RepeatBias(nn.Module):
    """Adds a bonus, or a malus, to the score of each action of the recent history, as far as the context bears it out.

    It starts at zero: before any training nothing is known of repeats.
    """

    def __init__(self, n_places: int, width: int) -> None:
        """n_places: R, the most recent events that count."""
        super().__init__()
        self.worth = nn.Parameter(torch.zeros(n_places))
        self.trust = nn.Linear(width, 1)
        nn.init.zeros_(self.trust.weight)
        nn.init.ones_(self.trust.bias)

    def forward(self, scores: Tensor, hidden: Tensor, recent: Tensor) -> Tensor:
        """Scores (..., A) after the histories recent (..., R): ids, the latest last, 0 where there was none before.

        hidden: (..., D). An action that the history holds more than once gets a bonus for each time.
        """
        bonus = torch.where(recent > 0, PACE * self.worth, 0.0) * self.trust(hidden)
        return scores.scatter_add(-1, (recent - 1).clamp(min=0), bonus)
