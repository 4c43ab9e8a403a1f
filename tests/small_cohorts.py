"""Small cohorts and small models that the tests of training, prediction and the models share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from crm_models.core.config import ChurnConfig, RunConfig, SequenceConfig, TrainingConfig
from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
from crm_models.data.split import outcomes, split_customers
from crm_models.training.objectives import TrainingData
from crm_models.training.state import TrainingState

SMALL = RunConfig(
    device="cpu",
    sequence=SequenceConfig(d_model=16, d_feedforward=32, max_events=6),
    churn=ChurnConfig(d_model=16, d_feedforward=32, max_events=4),
    sequence_training=TrainingConfig(n_epochs=3, batch_size=16),
    churn_training=TrainingConfig(n_epochs=3, batch_size=16),
)
"""The standard preset, made small."""


def random_cohort(
    n: int = 60,
    n_actions: int = 6,
    *,
    longest: int = 10,
    shortest: int = 0,
    seed: int = 0,
    as_of: float | None = None,
    repeatable: bool = True,
    retention: tuple[int, ...] = (),
) -> Cohort:
    """Histories without any pattern, profiles with blanks; the actions with the ids in `retention` are of that kind."""
    rng = np.random.default_rng(seed)
    count = rng.integers(shortest, longest + 1, n)
    total = int(count.sum())
    names = [f"a{k:03d}" for k in range(1, n_actions + 1)]
    events = pd.DataFrame(
        {
            "customer_id": np.repeat(np.arange(n), count),
            "action": rng.choice(names, total),
            "timestamp": np.concatenate([np.sort(rng.uniform(0, 100, k)) for k in count]),
            "value": np.where(rng.random(total) < 0.3, np.nan, rng.random(total)),
        }
    )
    people = pd.DataFrame(
        {
            "customer_id": np.arange(n),
            "churned": rng.random(n) < 0.4,
            "age": np.where(rng.random(n) < 0.2, np.nan, rng.uniform(18, 70, n)),
            "income": rng.uniform(0, 1, n),
            "tier": rng.choice(["basic", "plus", "gold"], n),
        }
    )
    kinds = ["retention" if k in retention else "engagement" for k in range(1, n_actions + 1)]
    actions = pd.DataFrame({"action": names, "kind": kinds, "repeatable": repeatable})
    return Cohort.build(
        name="t", source="test", customers=people, interactions=events, actions=actions, as_of=as_of, outcome="none"
    )


def training_data(cohort: Cohort, config: RunConfig = SMALL) -> tuple[FeatureEncoder, TrainingData]:
    """The cohort's encoder and everything a model may learn from."""
    split = split_customers(cohort, seed=config.seed, test_share=config.test_share, valid_share=config.valid_share)
    encoder = FeatureEncoder.fit(cohort, split.train, cohort.as_of, config.churn.n_bins)
    arrays = encoder.encode(cohort, cohort.as_of)
    return encoder, TrainingData(arrays=arrays, labels=cohort.labels, split=split, outcomes=outcomes(cohort))


def untrained(
    model: str, encoder: FeatureEncoder, config: RunConfig = SMALL, *, sharper: float = 2.0
) -> torch.nn.Module:
    """A model with random weights in evaluation mode; `sharper` scales them, so that it prefers something."""
    module = TrainingState.start(model, config, encoder).module.eval()
    with torch.no_grad():
        for weight in module.parameters():
            if weight.dim() > 1:
                weight.mul_(sharper)
        if getattr(module, "repeat_bias", None) is not None:
            module.repeat_bias.worth.copy_((sharper - 1) * torch.linspace(-0.1, 0.1, len(module.repeat_bias.worth)))
    return module


def with_sequence(config: RunConfig, **changes: object) -> RunConfig:
    """The configuration with other values for the shape of the sequence model."""
    return replace(config, sequence=replace(config.sequence, **changes))


def with_churn(config: RunConfig, **changes: object) -> RunConfig:
    """The configuration with other values for the shape of the churn model."""
    return replace(config, churn=replace(config.churn, **changes))
