"""The Sequence Transformer: probabilities of the next action, given the customer's profile and history.

GPT-like (Paper, Variants Used): causal, autoregressive over the three steps. Equation 8 has two arguments, the
engagement history and the customer's features; the features become one token in front of the history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crm_models.core.config import SequenceConfig
from crm_models.core.schema import N_STEPS, PADDING
from crm_models.data.features import FeatureEncoder
from crm_models.models.blocks import Block, FeatureTokens, KeyValue, rotation_of
from crm_models.models.candidates import Candidates, add_at, draw_share
from crm_models.models.repeat_bias import RepeatBias
from crm_models.models.transition_prior import TransitionPrior

INITIAL_NORM_SCALE = 0.1
"""Initial weights of the last layer norm: how much the untrained network adds to the logits."""

MINUTES_PER_DAY = 24 * 60
MINUTES_SCALE = 5.0
"""Divides log(1 + minutes): an hour is 0.8, a day 1.5, a year 2.6."""


@dataclass(frozen=True, kw_only=True)
class SequenceBatch:
    """Histories of B customers, right-padded, and their profiles.

    action (B, T) ids, 0 = padding; gap, log(1 + days), and value (B, T), NaN where unknown (always for a planned step).
    numeric (B, F) with NaN, categorical (B, C): the profile.
    """

    action: Tensor
    gap: Tensor
    value: Tensor
    numeric: Tensor
    categorical: Tensor

    def to(self, device: torch.device) -> SequenceBatch:
        """The same batch on another device."""
        return SequenceBatch(**{name: value.to(device) for name, value in vars(self).items()})


class SequenceOutput(NamedTuple):
    """hidden (B, T', D): position t predicts the event after t; T' counts the profile token in front, if there is one.

    past: keys and values per block; weights: attention per block (B, H, T', T'), empty unless requested.
    """

    hidden: Tensor
    past: list[KeyValue]
    weights: list[Tensor]


class SequenceTransformer(nn.Module):
    """Predicts a distribution over the A actions at every position of a history.

    DIFF from paper, Transformer Models: all presets but `paper` are wider and see more events.
    """

    action_features: Tensor
    draw_share: Tensor

    def __init__(self, config: SequenceConfig, encoder: FeatureEncoder) -> None:
        super().__init__()
        self.config = config
        self.n_actions = encoder.n_actions
        width = config.d_model
        self.action = nn.Embedding(self.n_actions + 1, width)
        # DIFF from paper, Transformer Models: attention sees distances between events (`rotation_of`), so that "now" is
        # the same place in any history; in `paper` an embedding per place, also of steps planned after the longest.
        self.position = None if config.rotary_positions else nn.Embedding(config.max_events + N_STEPS, width)
        # DIFF from paper, Transformer Models: an event token also carries product features (named in Datasets, but not
        # in the architecture), gaps and values; all off in `paper`.
        features = torch.tensor(encoder.action_features, dtype=torch.float32).reshape(self.n_actions + 1, -1)
        self.register_buffer("action_features", features, persistent=False)
        self.use_action_features = config.use_action_features and features.shape[1] > 0
        if self.use_action_features:
            self.from_features = nn.Linear(features.shape[1], width, bias=False)
        self.n_context = 2 * (int(config.use_time) + int(config.use_value))
        if self.n_context:
            self.from_context = nn.Linear(self.n_context, width)
        # DIFF from paper, Transformer Models: the customer's profile is one token in front of the history (named in
        # equation 8, but not in the architecture); off in `paper`.
        self.has_profile = config.use_profile
        if self.has_profile:
            edges, n_codes = [f.edges for f in encoder.numeric], [f.n_codes for f in encoder.categorical]
            self.profile = FeatureTokens(edges, n_codes, width)
            self.start = nn.Parameter(torch.zeros(width))
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(width, config.n_heads, config.d_feedforward, config.dropout, config.norm_first)
            for _ in range(config.n_blocks)
        )
        self.norm = nn.LayerNorm(width) if config.norm_first else nn.Identity()
        if isinstance(self.norm, nn.LayerNorm):
            # Small at first: an untrained network would outweigh popularity and transition prior.
            nn.init.constant_(self.norm.weight, INITIAL_NORM_SCALE)
        counts = torch.tensor(encoder.action_counts or (0,) * self.n_actions, dtype=torch.float32)
        # DIFF from paper, Transformer Models: the output layer shares the weights of the action embedding, so fewer
        # weights are learned from few events; a separate layer in `paper`.
        self.output = None if config.tie_weights else nn.Linear(width, self.n_actions)
        if config.tie_weights:
            # DIFF from paper, Transformer Models: the initial bias is log popularity, which then need not be learned;
            # PyTorch's default initialisation in `paper`.
            self.bias = nn.Parameter(((counts + 1) / (counts + 1).sum()).log())
            # With shared weights PyTorch's default (variance 1) would make the first logits huge.
            nn.init.normal_(self.action.weight, std=width**-0.5)
            if self.position is not None:
                nn.init.normal_(self.position.weight, std=width**-0.5)
        self.register_buffer("draw_share", draw_share(counts), persistent=False)
        self.transition_prior = None
        if config.use_transition_prior and encoder.action_pairs:
            successions = encoder.action_pairs, encoder.action_counts, width, encoder.action_triples
            self.transition_prior = TransitionPrior(*successions)
        self.repeat_bias = RepeatBias(config.max_events, width) if config.use_repeat_bias else None

    @property
    def n_front(self) -> int:
        """Positions in front of the first event: 1 with a profile token, else 0."""
        return int(self.has_profile)

    def forward(self, batch: SequenceBatch, need_weights: bool = False, read: Tensor | None = None) -> SequenceOutput:
        """Hidden states of a batch of histories, the input of `logits`. read (B, R): compute only these positions."""
        # The first event of a history is at position 0, the profile token in front of it at -1.
        position = torch.arange(-self.n_front, batch.action.shape[1], device=batch.action.device)[None]
        x = self.embed(batch.action, batch.gap, batch.value, position[:, self.n_front :])
        if self.has_profile:
            profile = self.start + self.profile(batch.numeric, batch.categorical).sum(dim=1)
            x = torch.cat([profile[:, None], x], dim=1)
        # With right padding no real event has padding before it, so no mask is needed where none is shown.
        mask = x.new_ones(x.shape[1], x.shape[1], dtype=torch.bool).tril() if need_weights else None
        return self.run_blocks(self.drop(x), position, mask, None, need_weights, read)

    def embed(self, action: Tensor, gap: Tensor, value: Tensor, position: Tensor) -> Tensor:
        """Event tokens (B, T, D) from ids, gaps, values (B, T) and positions broadcastable to (B, T)."""
        x = self.action(action)
        if self.position is not None:
            x = x + self.position(position)
        if self.use_action_features:
            x = x + self.from_features(self.action_features[action])
        if self.n_context:
            if self.config.gap_unit == "minute":
                gap = torch.log1p(torch.expm1(gap) * MINUTES_PER_DAY) / MINUTES_SCALE
            used = ([gap] if self.config.use_time else []) + ([value] if self.config.use_value else [])
            known = [torch.isfinite(c) for c in used]
            parts = [torch.where(k, c, 0.0) for c, k in zip(used, known, strict=True)] + [k.float() for k in known]
            x = x + self.from_context(torch.stack(parts, dim=-1))
        return x

    def run_blocks(
        self,
        x: Tensor,
        position: Tensor,
        mask: Tensor | None,
        past: list[list[KeyValue]] | None,
        need_weights: bool = False,
        read: Tensor | None = None,
    ) -> SequenceOutput:
        """Apply all blocks to new tokens x (B, T, D) that attend to each block's `past`; see `SelfAttention.forward`.

        position (B or 1, T): their places in the history. read (B, R): the last block computes only these tokens, each
        of which attends to itself and to those before it; keys and values are kept for all.
        """
        how: dict[str, Any] = {"mask": mask, "need_weights": need_weights}
        if self.position is None:
            how["rotation"] = rotation_of(position, self.config.d_model // self.config.n_heads)
        presents, weights = [], []
        for k, block in enumerate(self.blocks):
            if read is not None and k == len(self.blocks) - 1:
                seen = torch.arange(x.shape[1], device=x.device) <= read[..., None]
                how |= {"mask": seen[:, None], "read": read}
            x, present, shown = block(x, past=() if past is None else past[k], **how)
            presents.append(present)
            weights += [] if shown is None else [shown]
        return SequenceOutput(self.norm(x), presents, weights)

    def logits(
        self, hidden: Tensor, recent: Tensor, target: Tensor | None = None, among: Candidates | None = None
    ) -> Tensor:
        """Logits (..., A) of actions 1..A, in this order, from hidden states (..., D) after actions recent (..., R).

        recent: see `recent_actions`. target: in training, the true next action; see `TransitionPrior`. among: compute
        the logits (..., C) of these candidates only.
        """
        scores = self._network_logits(hidden, slice(None) if among is None else among.ids)
        bonuses = [] if self.repeat_bias is None else [self.repeat_bias(hidden, recent)]
        bonuses += [] if self.transition_prior is None else self.transition_prior(hidden, recent, target)
        for actions, bonus in bonuses:
            scores = add_at(scores, actions, bonus, among)
        return scores

    def _network_logits(self, hidden: Tensor, ids: Tensor | slice) -> Tensor:
        """Logits of the actions `ids`, without repeat bias and transition prior."""
        if self.output is not None:
            return F.linear(hidden, self.output.weight[ids], self.output.bias[ids])
        weights = self.action.weight[PADDING + 1 :][ids]
        if self.use_action_features:
            weights = weights + self.from_features(self.action_features[PADDING + 1 :][ids])
        return (hidden @ weights.T).add_(self.bias[ids])

    def recent_actions(self, action: Tensor) -> Tensor:
        """Ids (B, T', R) of the R = `max_events` latest actions at each position of actions (B, T), its own last.

        0 where there are fewer, as for all R at the profile token. A view: it takes no memory.
        """
        n_recent = self.config.max_events
        return F.pad(action, (self.n_front + n_recent - 1, 0)).unfold(1, n_recent, 1)
