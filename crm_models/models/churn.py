"""The Churn Transformer: churn probability from profile, behaviour features and history.

BERT-like (Paper, Variants Used): bidirectional over one token per feature and one per recent event. The output of a
[CLS] token in front goes through the sigmoid unit.

A model is an ensemble of members whose log-odds are averaged. Members share all weights except two vectors each: one
scales the input tokens, one maps the output of [CLS] to log-odds (Wen et al., "BatchEnsemble", 2020; Gorishniy et al.,
"TabM", 2024). In training each customer goes to one member, drawn anew in each epoch: at the cost of one model. An
`AdditiveModel` of the same features, fitted before the first epoch, votes as one more member.
Letters: B batch, M members, T positions, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crm_models.core.config import ChurnConfig
from crm_models.data.features import FeatureEncoder
from crm_models.models.additive import AdditiveModel
from crm_models.models.blocks import Block, FeatureTokens


@dataclass(frozen=True, kw_only=True)
class ChurnBatch:
    """Inputs of B customers: numeric (B, F) with NaN, categorical (B, C), and their latest events, right-padded.

    numeric holds profile and behaviour features, in this order. action (B, T) ids, 0 = padding; age, gap, value (B, T).
    """

    numeric: Tensor
    categorical: Tensor
    action: Tensor
    age: Tensor
    gap: Tensor
    value: Tensor

    def to(self, device: torch.device) -> ChurnBatch:
        """The same batch on another device."""
        return ChurnBatch(**{name: value.to(device) for name, value in vars(self).items()})


MEMBER_SCALE_SD = 0.5
"""Standard deviation of the members' initial input scales around 1: this makes the members differ."""


class ChurnTransformer(nn.Module):
    """Predicts the log-odds of churn.

    DIFF from paper, Transformer Models: `standard` and `strong` are wider than the 16 units of the paper and `paper`.
    """

    def __init__(self, config: ChurnConfig, encoder: FeatureEncoder) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        # DIFF from paper, Data Preprocessing and Feature Engineering: behaviour features (RFM and others) from the
        # history, which the paper leaves to Future Directions; not in `paper`.
        numeric = [*encoder.numeric, *(encoder.behaviour if config.use_behaviour else ())]
        # DIFF from paper, Transformer Models: a piecewise-linear embedding of numbers, because churn risk is rarely
        # linear in a number; one linear map per feature in `paper`.
        piecewise = config.numeric_embedding == "piecewise"
        edges = [f.edges if piecewise else (0.0, 1.0) for f in numeric]
        # A linear embedding is a Linear(1, D), which PyTorch initialises in [-1, 1]; piecewise ones start smaller.
        bound = None if piecewise else 1.0
        self.features = FeatureTokens(edges, [f.n_codes for f in encoder.categorical], width, bound)
        self.feature_names = tuple(f.name for f in numeric) + tuple(f.name for f in encoder.categorical)
        self.reader = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.reader, std=width**-0.5 if piecewise else 1.0)
        # DIFF from paper, Transformer Models: recent events are tokens beside the features, so that their order and
        # timing count; `paper` has feature tokens only.
        self.use_events = config.max_events > 0 and encoder.n_actions > 0
        if self.use_events:
            self.action = nn.Embedding(encoder.n_actions + 1, width)
            nn.init.normal_(self.action.weight, std=width**-0.5)
            self.from_context = nn.Linear(4, width)
        self.drop = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(width, config.n_heads, config.d_feedforward, config.dropout, config.norm_first)
            for _ in range(config.n_blocks)
        )
        self.norm = nn.LayerNorm(width) if config.norm_first else nn.Identity()
        # DIFF from paper, Transformer Models: an ensemble of members instead of one model, against overfitting; one
        # member in `paper`.
        self.output = nn.Linear(width, config.n_members)
        self.scale = None
        if config.n_members > 1:
            self.scale = nn.Parameter(1 + MEMBER_SCALE_SD * torch.randn(config.n_members, 1, width))
        self.additive = AdditiveModel(self.features) if config.use_additive else None

    def forward(self, batch: ChurnBatch, need_weights: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Log-odds of churn (B,); with `need_weights` also the attention weights per block (B, H, T', T').

        Both are means over members; an additive model has no attention. T' counts [CLS], then features
        (`feature_names`), then events.
        """
        log_odds, all_weights = self.members(batch, need_weights)
        return log_odds.mean(dim=1), [w.unflatten(0, (-1, self.config.n_members)).mean(dim=1) for w in all_weights]

    def members(self, batch: ChurnBatch, need_weights: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Log-odds of each member (B, M), those of an additive model last (B, M + 1).

        With `need_weights` also the attention per block (B * M, H, T', T').
        """
        inputs = self.features.inputs(batch.numeric, batch.categorical)
        x, mask = self._tokens(batch, inputs)
        if self.scale is not None:
            x = (x[:, None] * self.scale).flatten(0, 1)
            mask = mask.repeat_interleave(len(self.scale), dim=0)
        x, all_weights = self._encode(x, mask, need_weights)
        # Each member has its own output unit.
        log_odds = self.output(x.unflatten(0, (-1, self.config.n_members))).diagonal(dim1=1, dim2=2)
        if self.additive is not None:
            log_odds = torch.cat([log_odds, self.additive(*inputs)[:, None]], dim=1)
        return log_odds, all_weights

    def of_member(self, batch: ChurnBatch, member: Tensor) -> Tensor:
        """Log-odds (B,), each customer's by the one member (B,) given for it."""
        x, mask = self._tokens(batch, self.features.inputs(batch.numeric, batch.categorical))
        if self.scale is not None:
            x = x * self.scale[member]
        return self.output(self._encode(x, mask)[0]).gather(1, member[:, None]).squeeze(1)

    def _tokens(self, batch: ChurnBatch, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Tokens (B, T', D) of [CLS], features and events, and a mask (B, T') that is False for padding."""
        features = self.features.tokens(*inputs)
        x = torch.cat([self.reader.expand(len(features), 1, -1), features], dim=1)
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if not self.use_events:
            return x, mask
        known = torch.isfinite(batch.value)
        context = [batch.age, batch.gap, torch.where(known, batch.value, 0.0), known.float()]
        events = self.action(batch.action) + self.from_context(torch.stack(context, dim=-1))
        return torch.cat([x, events], dim=1), torch.cat([mask, batch.action > 0], dim=1)

    def _encode(self, x: Tensor, mask: Tensor, need_weights: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Output of [CLS] (N, D) after all blocks over tokens (N, T', D), and the attention weights if requested."""
        x, all_weights = self.drop(x), []
        # Only the output of [CLS] is used, so the last block computes nothing else, unless its weights are requested.
        full_blocks = self.blocks if need_weights else self.blocks[:-1]
        for block in full_blocks:
            x, _, weights = block(x, mask[:, None, None, :], need_weights=need_weights)
            all_weights += [weights] if need_weights else []
        first = x[:, 0] if need_weights else self.blocks[-1].of_first(x, mask)  # type: ignore[operator]  # it is a Block
        return self.norm(first), all_weights
