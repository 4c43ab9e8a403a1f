"""The Churn Transformer: how likely a customer is to leave, from profile, behaviour and history.

BERT-like (Paper, Variants Used): bidirectional over one token per feature and one per recent event. A [CLS] token in
front gathers what matters; its output goes through the sigmoid unit.

Several members answer each question, and their log-odds are averaged. They share all weights but two vectors each: one
that scales the tokens on their way in, one that reads [CLS] on its way out (parameter-efficient ensembles: Wen et al.,
"BatchEnsemble", 2020; Gorishniy et al., "TabM", 2024). While training, each customer of a batch is one member's alone,
another one's in the next epoch: an ensemble for the price of one model. `strong` averages several such models, drawn
independently and trained side by side (Lakshminarayanan et al., "Deep Ensembles", 2017), for the price of each.
Letters: B batch, M members, T positions, D width, H heads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from crm_models.core.config import ChurnConfig
from crm_models.data.features import FeatureEncoder
from crm_models.models.blocks import Block, FeatureTokens


@dataclass(frozen=True, kw_only=True)
class ChurnBatch:
    """B customers: numeric (B, F) with NaN, categorical (B, C), and their latest events right-padded.

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


SPREAD = 0.5
"""Standard deviation of the members' first scales around 1: what makes them see the same customer differently."""


class ChurnTransformer(nn.Module):
    """Predicts the log-odds of churn."""

    temperature: Tensor

    def __init__(self, config: ChurnConfig, encoder: FeatureEncoder) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        numeric = [*encoder.numeric, *(encoder.behaviour if config.use_behaviour else ())]
        piecewise = config.numeric_embedding == "piecewise"
        edges = [f.edges if piecewise else (0.0, 1.0) for f in numeric]
        # One line per feature is a Linear(1, D), whose first weights PyTorch draws from [-1, 1]; pieces start smaller.
        bound = None if piecewise else 1.0
        self.features = FeatureTokens(edges, [f.n_codes for f in encoder.categorical], width, bound)
        self.feature_names = tuple(f.name for f in numeric) + tuple(f.name for f in encoder.categorical)
        self.action_labels = encoder.action_labels
        self.reader = nn.Parameter(torch.zeros(width))
        nn.init.normal_(self.reader, std=width**-0.5 if piecewise else 1.0)
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
        self.output = nn.Linear(width, config.n_members)
        self.scale = (
            nn.Parameter(1 + SPREAD * torch.randn(config.n_members, 1, width)) if config.n_members > 1 else None
        )
        # Temperature scaling (Guo et al., 2017): fitted on validation customers after training; 1 until then.
        self.register_buffer("temperature", torch.ones(()))
        alone = replace(config, ensemble_size=1)
        self.others = nn.ModuleList(ChurnTransformer(alone, encoder) for _ in range(config.ensemble_size - 1))

    @property
    def copies(self) -> list[ChurnTransformer]:
        """This model and those that it answers together with."""
        return [self, *self.others]

    def forward(self, batch: ChurnBatch, need_weights: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Log-odds of churn (B,); with `need_weights` also the attention per block (B, H, T', T').

        Both are means over members and copies. T' counts [CLS], then features, then events: see `token_names`.
        """
        log_odds, all_weights = zip(*(copy.members(batch, need_weights) for copy in self.copies), strict=True)
        shown = [
            torch.stack(block).unflatten(1, (-1, self.config.n_members)).mean(dim=(0, 2))
            for block in zip(*all_weights, strict=True)
        ]
        return torch.stack(log_odds).mean(dim=(0, 2)) / self.temperature, shown

    def members(self, batch: ChurnBatch, need_weights: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Each member's own log-odds (B, M), and with `need_weights` the attention per block (B * M, H, T', T').

        Of this copy alone.
        """
        x, seen = self._tokens(batch)
        if self.scale is not None:
            x = (x[:, None] * self.scale).flatten(0, 1)
            seen = seen.repeat_interleave(len(self.scale), dim=0)
        x, all_weights = self._read(x, seen, need_weights)
        read = x.unflatten(0, (-1, self.config.n_members))
        return self.output(read).diagonal(dim1=1, dim2=2), all_weights  # each member has its own output unit

    def of_member(self, batch: ChurnBatch, member: Tensor) -> Tensor:
        """Log-odds (B,), each customer's from the one member (B,) named for them."""
        x, seen = self._tokens(batch)
        if self.scale is not None:
            x = x * self.scale[member]
        x, _ = self._read(x, seen, need_weights=False)
        return self.output(x).gather(1, member[:, None]).squeeze(1)

    def _tokens(self, batch: ChurnBatch) -> tuple[Tensor, Tensor]:
        """[CLS], features and events (B, T', D), and which of them there are (B, T')."""
        x = self.features(batch.numeric, batch.categorical)
        seen = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if self.use_events:
            x = torch.cat([x, self._event_tokens(batch)], dim=1)
            seen = torch.cat([seen, batch.action > 0], dim=1)
        x = torch.cat([self.reader.expand(len(x), 1, -1), x], dim=1)
        return x, torch.cat([seen.new_ones(len(x), 1), seen], dim=1)

    def _read(self, x: Tensor, seen: Tensor, need_weights: bool) -> tuple[Tensor, list[Tensor]]:
        """What [CLS] has gathered (N, D) from tokens (N, T', D) after all blocks, and their attention if asked for."""
        x, all_weights = self.drop(x), []
        # Only [CLS] is read in the end, so the last block computes nothing else, unless its map is asked for.
        whole = self.blocks if need_weights else self.blocks[:-1]
        for block in whole:
            x, _, weights = block(x, seen[:, None, None, :], need_weights=need_weights)
            all_weights += [weights] if need_weights else []
        first = x[:, 0] if need_weights else self.blocks[-1].of_first(x, seen)  # type: ignore[operator]  # it is a Block
        return self.norm(first), all_weights

    def _event_tokens(self, batch: ChurnBatch) -> Tensor:
        known = torch.isfinite(batch.value)
        context = [batch.age, batch.gap, torch.where(known, batch.value, 0.0), known.float()]
        return self.action(batch.action) + self.from_context(torch.stack(context, dim=-1))

    def token_names(self, events: list[int]) -> list[str]:
        """What stands on the axes of the attention map: [CLS], the features, and the events with these action ids."""
        return ["[CLS]", *self.feature_names, *(self.action_labels[a - 1] for a in events)]
