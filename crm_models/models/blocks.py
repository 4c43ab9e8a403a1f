"""The parts both Transformers are made of: attention that can show its weights, and the block around it.

Letters: B batch, T positions, P positions already computed, H heads, D width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class KeyValue(NamedTuple):
    """Keys and values of positions that later ones look back on. Both (B, H, P, D / H)."""

    key: Tensor
    value: Tensor


class SelfAttention(nn.Module):
    """Multi-head self-attention (Paper, equations 3 and 12, and MultiHead in Core Transformer Architecture)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.project_in = nn.Linear(d_model, 3 * d_model)
        self.project_out = nn.Linear(d_model, d_model)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        past: KeyValue | None = None,
        need_weights: bool = False,
        read: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        """Mix positions of x (B, T, D) with each other and with `past`.

        mask: boolean, broadcastable to (B, H, T, P + T); True where a position (row) may look at another (column).
        read (B, R): only these positions of x are asked for; T then counts them alone, in `mask` and in the result.
        Returns the mixture (B, T, D), keys and values of past and present, and with `need_weights` the attention
        weights (B, H, T, P + T), whose rows sum to one.
        """
        query, key, value = (self._heads(part) for part in self._projected(x, read))
        if past is not None:
            key, value = torch.cat([past.key, key], dim=2), torch.cat([past.value, value], dim=2)
        weights = None
        if need_weights:
            # The fused kernel below never writes the weights down, so they are computed the long way when asked for.
            scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
            weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
            mixed = weights @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        batch, _, n_positions, _ = mixed.shape
        out = self.project_out(mixed.transpose(1, 2).reshape(batch, n_positions, -1))
        return out, KeyValue(key, value), weights

    def of_first(self, x: Tensor, mask: Tensor) -> Tensor:
        """What the first position gathers (B, D) from all of x (B, T, D), as row 0 of `forward`, but quicker.

        mask (B, T). With one query per head the order of the products is free: q . (K x) = (K' q) . x, and the mixture
        of values is the value of a mixture. So keys and values are never computed: 2 H products of D numbers a position
        in place of 2 D. The keys' bias would move all scores of a row alike, which the soft-max takes away.
        """
        batch, _, width = x.shape
        query, key, value = self.project_in.weight.view(3, self.n_heads, -1, width)  # each (H, D / H, D)
        bias = self.project_in.bias.view(3, self.n_heads, -1)
        asked = (torch.einsum("bd,hed->hbe", x[:, 0], query) + bias[0][:, None]) @ key
        scores = asked.transpose(0, 1) @ x.transpose(1, 2) / math.sqrt(query.shape[1])
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
        mixed = (weights @ x).transpose(0, 1) @ value.transpose(1, 2) + bias[2][:, None]
        return self.project_out(mixed.transpose(0, 1).reshape(batch, width))

    def _projected(self, x: Tensor, read: Tensor | None) -> tuple[Tensor, ...]:
        """Queries of the positions `read` (None: all), keys and values of all."""
        if read is None:
            return self.project_in(x).chunk(3, dim=-1)
        width = x.shape[-1]
        weight, bias = self.project_in.weight, self.project_in.bias
        query = F.linear(picked(x, read), weight[:width], bias[:width])
        return query, *F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)

    def _heads(self, x: Tensor) -> Tensor:
        batch, n_positions, width = x.shape
        return x.view(batch, n_positions, self.n_heads, width // self.n_heads).transpose(1, 2)


def picked(x: Tensor, positions: Tensor | None) -> Tensor:
    """The states (B, R, D) at positions (B, R) of x (B, T, D); None: all of them."""
    return x if positions is None else x.gather(1, positions[..., None].expand(-1, -1, x.shape[-1]))


class Block(nn.Module):
    """Attention, then a feed-forward network, each added to its input and normalised.

    norm_first: normalise what goes into each part (trains stably when stacked); otherwise what comes out of it, as the
    paper and the original Transformer have it. dropout: of what each part adds to its input. Inside the parts, on the
    attention weights and the wide layer, it would cost more time than all else without making predictions better.
    """

    def __init__(self, d_model: int, n_heads: int, d_feedforward: int, dropout: float, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = SelfAttention(d_model, n_heads)
        self.feed_forward = nn.Sequential(
            nn.Linear(d_model, d_feedforward),
            nn.GELU() if norm_first else nn.ReLU(),
            nn.Linear(d_feedforward, d_model),
        )
        self.norm_attention = nn.LayerNorm(d_model)
        self.norm_feed_forward = nn.LayerNorm(d_model)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        past: KeyValue | None = None,
        need_weights: bool = False,
        read: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        """One layer over x (B, T, D); arguments and results as in `SelfAttention.forward`."""
        if self.norm_first:
            mixed, present, weights = self.attention(self.norm_attention(x), mask, past, need_weights, read)
            x = picked(x, read) + self.drop(mixed)
            return x + self.drop(self.feed_forward(self.norm_feed_forward(x))), present, weights
        mixed, present, weights = self.attention(x, mask, past, need_weights, read)
        x = self.norm_attention(picked(x, read) + self.drop(mixed))
        return self.norm_feed_forward(x + self.drop(self.feed_forward(x))), present, weights

    def of_first(self, x: Tensor, mask: Tensor) -> Tensor:
        """The first position alone (B, D) of x (B, T, D), as `forward` would have it; mask (B, T)."""
        if self.norm_first:
            first = x[:, 0] + self.drop(self.attention.of_first(self.norm_attention(x), mask))
            return first + self.drop(self.feed_forward(self.norm_feed_forward(first)))
        first = self.norm_attention(x[:, 0] + self.drop(self.attention.of_first(x, mask)))
        return self.norm_feed_forward(first + self.drop(self.feed_forward(first)))


class FeatureTokens(nn.Module):
    """One token per feature: numbers by pieces of lines, levels by a lookup, blanks by a vector of their own.

    Sources: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (2021), for one token per feature;
    "On Embeddings for Numerical Features" (2022), equation 1, for the piecewise-linear encoding.
    """

    start: Tensor
    end: Tensor
    first_level: Tensor

    def __init__(
        self, edges: list[tuple[float, ...]], level_counts: list[int], d_model: int, bound: float | None = None
    ) -> None:
        """edges: per numeric feature; level_counts: codes per categorical feature; bound: of the first weights."""
        super().__init__()
        self.n_numeric, self.n_categorical = len(edges), len(level_counts)
        n_bins = max([len(e) - 1 for e in edges], default=1)
        # Features with fewer distinct quantiles have fewer bins; the unused ones are empty (start = end beyond 1).
        start, end = torch.full((self.n_numeric, n_bins), 2.0), torch.full((self.n_numeric, n_bins), 3.0)
        for k, own in enumerate(edges):
            start[k, : len(own) - 1], end[k, : len(own) - 1] = torch.tensor(own[:-1]), torch.tensor(own[1:])
        self.register_buffer("start", start)
        self.register_buffer("end", end)
        bound = 1 / math.sqrt(d_model) if bound is None else bound
        self.slope = nn.Parameter(torch.empty(self.n_numeric, n_bins, d_model).uniform_(-bound, bound))
        self.offset = nn.Parameter(torch.empty(self.n_numeric + self.n_categorical, d_model).uniform_(-bound, bound))
        self.blank = nn.Parameter(torch.empty(self.n_numeric, d_model).uniform_(-bound, bound))
        self.level = nn.Embedding(max(sum(level_counts), 1), d_model)
        nn.init.uniform_(self.level.weight, -bound, bound)
        first = torch.tensor([0, *level_counts[:-1]] if level_counts else [], dtype=torch.long).cumsum(0)
        self.register_buffer("first_level", first)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """numeric (B, F) in [0, 1] with NaN where missing, categorical (B, C) level codes; result (B, F + C, D)."""
        known = torch.isfinite(numeric)[..., None]
        # How far the number reaches into each bin: 1 for bins below it, 0 for bins above it, a share in its own.
        reach = ((numeric.nan_to_num()[..., None] - self.start) / (self.end - self.start)).clamp(0, 1)
        # A blank reaches into no bin, but wholly into one more that is its own.
        pieces = torch.cat([reach * known, (~known).to(reach)], dim=2)
        numbers = torch.einsum("bfk,fkd->bfd", pieces, torch.cat([self.slope, self.blank[:, None]], dim=1))
        levels = self.level(categorical + self.first_level)
        return torch.cat([numbers, levels], dim=1) + self.offset
