"""Layers shared by both Transformers: self-attention, Transformer block, feature tokens.

Letters: B batch, T positions, P positions already computed, R positions read, H heads, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOWEST_TURN = 100.0
"""Positions per radian of the slowest rotation; histories are tens of events long, texts (10,000) are thousands."""

ROWS_AT_ONCE = 1024
"""Positions whose wide layer is computed at once: a megabyte, which stays in the processor's cache."""

LEVEL_BOUND = 0.1
"""Largest initial weight of a category level relative to other feature tokens."""


class KeyValue(NamedTuple):
    """Keys and values of some positions. Both (B, H, P, D / H)."""

    key: Tensor
    value: Tensor


class SelfAttention(nn.Module):
    """Multi-head self-attention (Paper, equations 3 and 12, and MultiHead in Core Transformer Architecture)."""

    in_pairs: Tensor

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.project_in = nn.Linear(d_model, 3 * d_model)
        self.project_out = nn.Linear(d_model, d_model)
        d_head = d_model // n_heads
        n_pairs, head = d_head // 2, torch.arange(d_head)
        order = torch.cat([head[: 2 * n_pairs].view(2, n_pairs).T.flatten(), head[2 * n_pairs :]])
        turning = (torch.arange(2 * n_heads)[:, None] * d_head + order).flatten()  # queries and keys; values never do
        self.register_buffer("in_pairs", torch.cat([turning, torch.arange(2 * d_model, 3 * d_model)]), persistent=False)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        past: Sequence[KeyValue] = (),
        need_weights: bool = False,
        read: Tensor | None = None,
        rotation: Tensor | None = None,
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        """Attend from the positions of x (B, T, D) to x itself and to those before it, whose pieces are `past`.

        mask: boolean, broadcastable to (B, H, T, P + T); True where a position (row) may attend to another (column).
        None: every position attends to itself and to those before it, by a kernel that needs no mask.
        read (B, R): compute only these positions of x; the rows of `mask` and of the results are then R instead of T.
        rotation (B or 1, T, .): see `rotation_of`; None: attention does not depend on positions.
        Returns the output (B, T, D), keys and values of x, and with `need_weights`, which needs a mask, the attention
        weights (B, H, T, P + T), whose rows sum to one.
        """
        weight, bias = (self._ordered(part, rotation is not None) for part in self.project_in.parameters())
        query, key, value = (self._heads(part) for part in _projected(x, weight, bias, read))
        if rotation is not None:
            query = rotated(query, picked(rotation.expand(len(x), -1, -1), read))
            key = rotated(key, rotation)
        weights, present = None, KeyValue(key, value)
        if mask is not None and (need_weights or past):
            # The fused kernel below does not return the weights, and for the few tokens after a past it is slower.
            pieces = [*past, present]  # joined, the long past would be copied for every step
            scores = torch.cat([query @ piece.key.mT for piece in pieces], dim=3) / math.sqrt(query.shape[-1])
            weights = scores.masked_fill_(~mask, -torch.inf).softmax(dim=-1)
            shares = weights.split([piece.key.shape[2] for piece in pieces], dim=3)
            mixed = torch.stack([share @ piece.value for share, piece in zip(shares, pieces, strict=True)]).sum(dim=0)
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        out = self.project_out(mixed.transpose(1, 2).flatten(2))
        return out, present, weights if need_weights else None

    def of_first(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attention output (B, D) of the first position of x (B, T, D), row 0 of `forward`, in half the time.

        mask (B, T). With one query per head the products can be reordered: q . (K x) = (K' q) . x, and a weighted mean
        of values is the value of the weighted mean, so keys and values are never computed. The bias of the keys shifts
        all scores of a row alike and cancels in the softmax.
        """
        query, key, value = self.project_in.weight.view(3, self.n_heads, -1, x.shape[2])  # each (H, D / H, D)
        bias = self.project_in.bias.view(3, self.n_heads, -1)
        query_times_key = (torch.einsum("bd,hed->hbe", x[:, 0], query) + bias[0][:, None]) @ key
        scores = query_times_key.transpose(0, 1) @ x.mT / math.sqrt(query.shape[1])
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
        mixed = (weights @ x).transpose(0, 1) @ value.mT + bias[2][:, None]
        return self.project_out(mixed.transpose(0, 1).flatten(1))

    def _ordered(self, rows: Tensor, in_pairs: bool) -> Tensor:
        """Rows of `project_in`. in_pairs: coordinates k and k + n_pairs of a head turn together, so side by side."""
        return rows.index_select(0, self.in_pairs) if in_pairs else rows

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)


def _projected(x: Tensor, weight: Tensor, bias: Tensor, read: Tensor | None) -> tuple[Tensor, ...]:
    """Queries of the positions `read` (None: all positions); keys and values of all positions."""
    if read is None:
        return F.linear(x, weight, bias).chunk(3, dim=-1)
    (query, keys), (query_bias, key_bias) = (part.tensor_split([x.shape[-1]]) for part in (weight, bias))
    return F.linear(picked(x, read), query, query_bias), *F.linear(x, keys, key_bias).chunk(2, dim=-1)


def picked(x: Tensor, positions: Tensor | None) -> Tensor:
    """States (B, R, D) at positions (B, R) of x (B, T, D); None: all positions."""
    return x if positions is None else x.gather(1, positions[..., None].expand(-1, -1, x.shape[-1]))


def rotation_of(position: Tensor, d_head: int) -> Tensor:
    """Complex factors (..., pairs) by which queries and keys (..., d_head) at positions (...) are turned.

    Rotary positions (Su et al., "RoFormer", 2021, section 3.4.2): each pair of coordinates turns at a speed of its own,
    so the product of a query and a key depends on the distance between their positions alone. The last of an odd number
    of coordinates makes a pair with nothing, and stays.
    """
    n_pairs = d_head // 2
    speed = SLOWEST_TURN ** (-torch.arange(n_pairs, device=position.device) / max(n_pairs, 1))
    angle = F.pad(position[..., None] * speed, (0, d_head % 2))
    return torch.polar(torch.ones_like(angle), angle)


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Queries or keys x (B, H, T, d_head) in pairs, turned by rotation (B or 1, T, pairs): see `rotation_of`."""
    d_head = x.shape[-1]
    even = F.pad(x, (0, 1)) if d_head % 2 else x
    pairs = torch.view_as_complex(even.float().unflatten(3, (-1, 2)))
    return torch.view_as_real(pairs * rotation[:, None]).flatten(3)[..., :d_head]


class FeedForward(nn.Sequential):
    """Layers that see each position by itself; without gradients, `ROWS_AT_ONCE` positions at a time."""

    def forward(self, x: Tensor) -> Tensor:
        """Output (..., D) for positions x (..., D)."""
        layers: Callable[[Tensor], Tensor] = super().forward
        rows = x.flatten(0, -2)
        n_pieces = math.ceil(len(rows) / ROWS_AT_ONCE)
        if n_pieces < 2 or torch.is_grad_enabled() or x.device.type != "cpu":
            return layers(x)
        return torch.cat([layers(piece) for piece in rows.tensor_split(n_pieces)]).view_as(x)


class Block(nn.Module):
    """Transformer block: self-attention, then a feed-forward network, each with a residual connection and layer norm.

    DIFF from paper, Transformer Models: layer norm before each sublayer (`norm_first`), because stacked blocks then
    train more stably, and GELU, which scored better; in `paper` layer norm after each sublayer and ReLU.
    DIFF from paper, Optimizer and Regularization: dropout on the output of each sublayer beside L2 (0 in `paper`), not
    on attention weights and hidden layer, where it took more time than all else without improving predictions.
    """

    def __init__(self, d_model: int, n_heads: int, d_feedforward: int, dropout: float, norm_first: bool) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.attention = SelfAttention(d_model, n_heads)
        widen, narrow = nn.Linear(d_model, d_feedforward), nn.Linear(d_feedforward, d_model)
        self.feed_forward = FeedForward(widen, nn.GELU() if norm_first else nn.ReLU(), narrow)
        self.norm_attention = nn.LayerNorm(d_model)
        self.norm_feed_forward = nn.LayerNorm(d_model)
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, *how: Any, read: Tensor | None = None, **options: Any
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        """Apply the block to x (B, T, D); arguments and results as in `SelfAttention.forward`."""
        mixed, present, weights = self.attention(self._before(x), *how, read=read, **options)
        return self._after(picked(x, read), mixed), present, weights

    def of_first(self, x: Tensor, mask: Tensor) -> Tensor:
        """Output (B, D) of the first position of x (B, T, D), equal to row 0 of `forward`; mask (B, T)."""
        return self._after(x[:, 0], self.attention.of_first(self._before(x), mask))

    def _before(self, x: Tensor) -> Tensor:
        return self.norm_attention(x) if self.norm_first else x

    def _after(self, x: Tensor, mixed: Tensor) -> Tensor:
        """The block's output from its input and what attention made of it."""
        x = x + self.drop(mixed)
        if self.norm_first:
            return x + self.drop(self.feed_forward(self.norm_feed_forward(x)))
        x = self.norm_attention(x)
        return self.norm_feed_forward(x + self.drop(self.feed_forward(x)))


class FeatureTokens(nn.Module):
    """One token per feature: piecewise-linear for numbers, an embedding per level, a vector for missing numbers.

    Sources: Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data" (2021), for one token per feature;
    "On Embeddings for Numerical Features" (2022), equation 1, for the piecewise-linear encoding.
    """

    start: Tensor
    end: Tensor
    first_level: Tensor

    def __init__(
        self, edges: list[tuple[float, ...]], level_counts: list[int], d_model: int, bound: float | None = None
    ) -> None:
        """edges: per numeric feature; level_counts: codes per categorical feature; bound: of the initial weights."""
        super().__init__()
        self.n_numeric, self.n_categorical = len(edges), len(level_counts)
        n_bins = max([len(e) - 1 for e in edges], default=1)
        # Features with fewer distinct quantiles have fewer bins; the unused ones are empty (start = end beyond 1).
        start, end = torch.full((self.n_numeric, n_bins), 2.0), torch.full((self.n_numeric, n_bins), 3.0)
        for k, feature_edges in enumerate(edges):
            n = len(feature_edges) - 1
            start[k, :n], end[k, :n] = torch.tensor(feature_edges[:-1]), torch.tensor(feature_edges[1:])
        self.register_buffer("start", start)
        self.register_buffer("end", end)
        # Levels start near zero, so that one that is rare in training is hardly told from none.
        level_bound = LEVEL_BOUND / math.sqrt(d_model) if bound is None else bound
        bound = 1 / math.sqrt(d_model) if bound is None else bound
        self.slope = nn.Parameter(torch.empty(self.n_numeric, n_bins, d_model).uniform_(-bound, bound))
        self.offset = nn.Parameter(torch.empty(self.n_numeric + self.n_categorical, d_model).uniform_(-bound, bound))
        self.blank = nn.Parameter(torch.empty(self.n_numeric, d_model).uniform_(-bound, bound))
        self.level = nn.Embedding(max(sum(level_counts), 1), d_model)
        nn.init.uniform_(self.level.weight, -level_bound, level_bound)
        first = torch.tensor([0, *level_counts[:-1]] if level_counts else [], dtype=torch.long).cumsum(0)
        self.register_buffer("first_level", first)

    def forward(self, numeric: Tensor, categorical: Tensor) -> Tensor:
        """numeric (B, F) in [0, 1] with NaN where missing, categorical (B, C) level codes; result (B, F + C, D)."""
        return self.tokens(*self.inputs(numeric, categorical))

    def inputs(self, numeric: Tensor, categorical: Tensor) -> tuple[Tensor, Tensor]:
        """Shares of bins, and 1 for a missing number, (B, F, K + 1); places (B, C) of levels in the embedding."""
        known = torch.isfinite(numeric)[..., None]
        # Filled share of each bin: 1 for bins below the number, 0 for bins above it, a fraction for the bin it lies in.
        filled = ((numeric.nan_to_num()[..., None] - self.start) / (self.end - self.start)).clamp(0, 1)
        # A missing number fills no bin; an extra input selects the vector for missing numbers instead.
        return torch.cat([filled * known, (~known).to(filled)], dim=2), categorical + self.first_level

    def tokens(self, inputs: Tensor, levels: Tensor) -> Tensor:
        """Tokens (B, F + C, D) of what `inputs` returns."""
        numbers = torch.einsum("bfk,fkd->bfd", inputs, torch.cat([self.slope, self.blank[:, None]], dim=1))
        return torch.cat([numbers, self.level(levels)], dim=1) + self.offset
