"""Additive model: the log-odds of churn as a sum of one term per feature; it votes beside the Transformer's members.

What features say one by one, a Transformer has to find among all that they might say together. A generalized additive
model (Hastie and Tibshirani, 1986) looks for nothing else and makes other errors, so their mean is better than either.
Here it is logistic regression on the inputs of `FeatureTokens`: shares of bins, blanks, levels.
Letters: B customers, F numeric and C categorical features, K bins.

DIFF from paper, Transformer Models: the paper has one Transformer; off in `paper`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crm_models.models.blocks import FeatureTokens

PENALTY = 1 / 0.3
"""Weight of half the squared norm of all terms in the summed loss; a level seen a few times hardly counts."""


class AdditiveModel(nn.Module):
    """One weight per bin, blank and level, and a constant; all zero until `fit`. Gradient descent leaves it alone."""

    def __init__(self, features: FeatureTokens) -> None:
        super().__init__()
        n_numeric, n_bins = features.start.shape
        self.number = nn.Parameter(torch.zeros(n_numeric, n_bins + 1), requires_grad=False)
        self.level = nn.Parameter(torch.zeros(features.level.num_embeddings), requires_grad=False)
        self.constant = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, inputs: Tensor, levels: Tensor) -> Tensor:
        """Log-odds (B,) from shares of bins and blanks (B, F, K + 1) and places of levels (B, C)."""
        return inputs.flatten(1) @ self.number.flatten() + self.level[levels].sum(dim=1) + self.constant

    def fit(self, inputs: Tensor, levels: Tensor, labels: Tensor) -> None:
        """Maximise the penalised likelihood of labels (B,), which are 0 or 1; the problem has one solution."""
        weights = [self.number, self.level, self.constant]
        for weight in weights:
            weight.zero_().requires_grad_()
        optimizer = torch.optim.LBFGS(weights, max_iter=200, tolerance_change=1e-7, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            penalty = PENALTY / 2 * (self.number.square().sum() + self.level.square().sum()) / len(labels)
            total = F.binary_cross_entropy_with_logits(self(inputs, levels), labels) + penalty
            total.backward()
            return total

        optimizer.step(loss)
        for weight in weights:
            weight.requires_grad_(False)
            weight.grad = None
