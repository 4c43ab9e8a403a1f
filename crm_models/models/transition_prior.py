"""Transition prior: the logits start from counted transitions, so the network learns only what differs from them.

A Transformer has to learn from scratch which action follows which, and from few data never does; counts tell it at
once. With n(a, b) the number of times that b followed a among training customers, q(b) the popularity of b, and w the
number of events that popularity counts as, the transition probabilities with back-off are

    p(b | a) = (n(a, b) + w q(b)) / (n(a) + w),    so    log p(b | a) = log q(b) + log(1 + n(a, b) / (w q(b))) + const.

The first term is the initial bias of the output. The second, zero for pairs that never occurred, is added here. With
few actions the same is done once more for the last two actions, backed off to p(b | a) in the place of q(b).
Letters: A actions, C contexts, K counted successions, D width.

DIFF from paper, Transformer Models: the paper has no such term; off in `paper`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from crm_models.baselines.markov import leave_one_out_weight
from crm_models.models.candidates import Candidates, add_at

Successions = tuple[tuple[int, ...], ...]
"""(ids of successive actions ..., how often), grouped by all but the last id, by decreasing count."""


class CountedBonus(nn.Module):
    """Adds log(1 + n(c, b) / (w p(b))) to the logit of b after context c, times a trust that is learned."""

    following: Tensor
    bonus: Tensor
    bonus_without_one: Tensor

    def __init__(
        self,
        context: np.ndarray,
        after: np.ndarray,
        times: np.ndarray,
        p: np.ndarray,
        p_without: np.ndarray,
        width: int,
        n_contexts: int,
    ) -> None:
        """Arrays (K,), grouped by context, which counts from 1: context 0 gets no bonus. after: ids; times: counts.

        p and p_without: probability of the action by a shorter context, with and without one of the events.
        """
        super().__init__()
        self.weight = leave_one_out_weight(context, times, p_without)
        sizes = np.bincount(context, minlength=n_contexts + 1)
        column = np.arange(len(context)) - (sizes.cumsum() - sizes)[context]
        shape = (len(sizes), max(int(sizes.max()), 1))
        # Unused entries point to action 1 and add zero to it.
        for name, values in (
            ("following", after - 1),
            ("bonus", np.log1p(times / (self.weight * p)).astype(np.float32)),
            ("bonus_without_one", np.log1p((times - 1) / (self.weight * p_without)).astype(np.float32)),
        ):
            table = np.zeros(shape, values.dtype)
            table[context, column] = values
            self.register_buffer(name, torch.from_numpy(table), persistent=False)
        self.trust = nn.Linear(width, 1)
        nn.init.zeros_(self.trust.weight)
        nn.init.ones_(self.trust.bias)

    def forward(
        self, scores: Tensor, hidden: Tensor, context: Tensor, target: Tensor | None, among: Candidates | None
    ) -> Tensor:
        """Logits `scores` (..., A) with the bonus added, for hidden states (..., D) in the contexts (...).

        target, among: see `TransitionPrior.forward`.
        """
        following, bonus = self.following[context], self.bonus[context]
        if target is not None:
            is_target = (following == target[..., None]) & (bonus > 0)
            bonus = torch.where(is_target, self.bonus_without_one[context], bonus)
        return add_at(scores, following, self.trust(hidden) * bonus, among)


class TransitionPrior(nn.Module):
    """Adds to the logits what usually follows the last action, and with few actions what follows the last two."""

    number_of: Tensor

    def __init__(self, pairs: Successions, counts: tuple[int, ...], width: int, triples: Successions = ()) -> None:
        """counts: (A,) events per action. Without triples, the last action alone counts."""
        super().__init__()
        self.n_actions = len(counts)
        before, after, times = np.array(pairs).reshape(-1, 3).T
        popular = np.array([0, *counts], dtype=np.float64) + 1
        popular /= popular[1:].sum()
        p = popular[after]
        self.after_one = CountedBonus(before, after, times, p, p, width, n_contexts=len(counts))
        self.after_two = None
        if triples:
            earlier, last, after, times = np.array(triples).T
            contexts, context = np.unique(earlier * len(popular) + last, return_inverse=True)
            number_of = np.zeros(len(popular) ** 2, np.int64)
            number_of[contexts] = np.arange(1, len(contexts) + 1)
            self.register_buffer("number_of", torch.from_numpy(number_of), persistent=False)
            seen = np.zeros((len(popular), len(popular)))
            seen[before, np.array(pairs)[:, 1]] = np.array(pairs)[:, 2]
            n, of_last = seen[last, after], seen.sum(axis=1)[last]
            prior = self.after_one.weight * popular[after]
            p, p_without = ((n - one + prior) / (of_last - one + self.after_one.weight) for one in (0, 1))
            self.after_two = CountedBonus(context + 1, after, times, p, p_without, width, n_contexts=len(contexts))

    def forward(
        self,
        scores: Tensor,
        hidden: Tensor,
        recent: Tensor,
        target: Tensor | None = None,
        among: Candidates | None = None,
    ) -> Tensor:
        """Logits `scores` (..., A) with the prior added; hidden (..., D), recent (..., R) ids of the latest actions.

        target (...), indices 0 to A - 1: the true next action, in training. It is itself in the counts, which events
        predicted later are not, so it is left out of them (leave-one-out). among: the actions that the columns
        of `scores` stand for; None: all.
        """
        scores = self.after_one(scores, hidden, recent[..., -1], target, among)
        if self.after_two is not None and recent.shape[-1] > 1:
            context = self.number_of[recent[..., -2] * (self.n_actions + 1) + recent[..., -1]]
            scores = self.after_two(scores, hidden, context, target, among)
        return scores
