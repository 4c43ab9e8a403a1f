"""Candidates: a part of the actions, drawn for the loss where there are too many to give each a logit.

With A actions a training step of the full soft-max takes A logits a target, nearly all of them of actions that never
follow. The sum over all actions in the soft-max is therefore estimated from candidates: each action is drawn with a
known probability, and the exponential of its logit is divided by it, so the estimated sum is right in the mean; that of
the true action is always exact. Source: sampled soft-max, Jean et al., "On Using Very Large Target Vocabulary for
Neural Machine Translation" (2015), section 3.2. Letters: M targets, A actions, C candidates.

DIFF from paper, Sequence Transformer Loss: the soft-max of equation 4 runs over all actions, which the paper has 50 of.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

DRAWS = 1024
"""Draws of candidates for a group of targets."""

FLATTENED = 0.5
"""Actions are drawn by popularity to this power: frequent ones weigh more in the sum, rare ones must be seen too."""


def draw_share(counts: Tensor) -> Tensor:
    """Probabilities (A,) with which actions that occurred counts (A,) times are drawn."""
    weight = (counts + 1) ** FLATTENED
    return weight / weight.sum()


class Candidates(NamedTuple):
    """ids (C,): indices of actions, 0 to A - 1, ascending. place (A,): column of each; is_in (A,): whether it is one.

    log_weight (C,): minus the log of the probability of being drawn; minus infinity for true actions not drawn.
    """

    ids: Tensor
    place: Tensor
    is_in: Tensor
    log_weight: Tensor


def drawn_candidates(share: Tensor, targets: Tensor) -> Candidates:
    """Candidates drawn with probabilities share (A,), and the true next actions targets (M,), indices."""
    is_drawn = torch.zeros_like(share, dtype=torch.bool)
    is_drawn[torch.multinomial(share, DRAWS, replacement=True)] = True
    is_in = is_drawn.index_fill(0, targets, True)
    ids, place = is_in.nonzero().squeeze(1), (is_in.cumsum(0) - 1).clamp(min=0)
    chance = -torch.expm1(DRAWS * torch.log1p(-share[ids]))
    return Candidates(ids, place, is_in, torch.where(is_drawn[ids], -chance.log(), -torch.inf))


def sampled_cross_entropy(logits: Tensor, targets: Tensor, among: Candidates) -> Tensor:
    """Sum of the cross-entropies in nats of targets (M,), estimated from the logits (M, C) of the candidates."""
    column = among.place[targets][:, None]
    true = logits.gather(1, column)
    weighted = (logits + among.log_weight).scatter(1, column, true)
    return (weighted.logsumexp(dim=1) - true.squeeze(1)).sum()


def add_at(scores: Tensor, actions: Tensor, bonus: Tensor, among: Candidates | None) -> Tensor:
    """Add to scores (..., C), in place, bonus (..., K) in the columns of actions (..., K) that are candidates."""
    if among is not None:
        bonus, actions = torch.where(among.is_in[actions], bonus, 0.0), among.place[actions]
    return scores.scatter_add_(-1, actions, bonus)
