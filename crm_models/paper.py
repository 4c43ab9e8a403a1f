"""The paper's printed figures and its re-run over many seeds; and what it takes to reach its other table.

Source: "Transformer Networks for Context-Aware Customer Relationship Management: Generating Personalized Engagement
Sequences" (Amirthavalli, Brijet, Murugeswari, Gunasundari; received 18 Dec 2024, accepted 26 Feb 2025).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from crm_models.cohort import outcomes, split_customers
from crm_models.config import RunConfig, preset
from crm_models.evaluation import churn_scores, sequence_scores
from crm_models.features import FeatureEncoder
from crm_models.records import ChurnPredictions, Cohort, SequencePredictions
from crm_models.schema import MODEL_NAMES, ModelName
from crm_models.truth import Truth

Say = Callable[[str], None]

TABLE_I = (
    ("MovieLens", 100, "5 sequences/user (ratings)"),
    ("Amazon Product Data", 100, "50 products x 3 features (rating, category, sentiment)"),
    ("Kaggle Customer Churn", 100, "Combined features + churn labels"),
)
"""Dataset statistics as printed: data set, users, features."""

TABLE_II = {"sequence": {"accuracy": 0.85, "loss": 0.22}, "churn": {"accuracy": 0.78, "loss": 0.35}}
"""Model performance metrics as printed first."""

TABLE_III = {
    "sequence": (4.0456, 4.0156, 3.9858, 3.9563, 3.9270, 3.8979, 3.8690, 3.8404, 3.8120, 3.7837),
    "churn": (0.8096, 0.7752, 0.7471, 0.7264, 0.7136, 0.7072, 0.7050, 0.7050, 0.7052, 0.7047),
}
"""Training loss of epochs 1 to 10 as printed."""

TABLE_IV = {"sequence": {"accuracy": 0.0167, "loss": 3.7837}, "churn": {"accuracy": 0.4000, "loss": 0.7047}}
"""Model performance metrics as printed last."""

SAMPLE_PLAN = (
    "Recommend movie 29",
    "Recommend movie 30",
    "Recommend movie 35",
    "Recommend movie 44",
    "Recommend movie 37",
)
"""What the paper prints as the plan "for the first five users": one action for each."""

CHANCE_LOSS = {"sequence": math.log(50), "churn": math.log(2)}
"""Loss in nats of a model that knows nothing: 50 actions, two classes."""

CONTRADICTIONS = (
    "Table II (accuracy 0.85 and 0.78) and Table IV (0.0167 and 0.4000) are both given as the result after ten epochs; "
    "no single experiment can have both. The losses of Table III end at Table IV's, so Table IV is the experiment and "
    "Table II is not.",
    "The data are drawn at random, so there is nothing to learn: chance is ln 50 = 3.912 nats and 1/50 for the "
    "sequence model, ln 2 = 0.693 nats and 1/2 for the churn model. A sequence loss that falls to 3.78 memorises 80 "
    "customers.",
    "0.0167 = 1/60 is one hit in 20 test customers x 3 steps: the accuracy is per step, although the text says that it "
    "is of the whole plan. 0.4000 is 8 of 20, below chance by luck.",
    "The churn loss is called a plateau that may be overfitting; it ends above ln 2, the loss of a model that always "
    "says one half.",
    "Equations 1 and 2 divide by the summation index (1/i, 1/j); equations 4 to 7 have 1/T and 1/N, which is what is "
    "meant. Equation 11 writes the AUC as a product of rates; it is the integral of the true positive rate over the "
    "false positive rate.",
    "The sample plan for five users lists five actions, one each, where a plan has three steps.",
)
"""Where the paper contradicts itself, in plain sentences."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """One model trained and scored: train_loss per epoch in nats, and its scores on the test customers."""

    train_loss: tuple[float, ...]
    scores: dict[str, Any]
    predictions: SequencePredictions | ChurnPredictions
    module: Any


def rerun(seeds: int, *, device: str = "auto", say: Say | None = None) -> dict[str, Any]:
    """Train the paper's two models on `seeds` fresh cohorts; returns the content of `paper.json`.

    Data and weights change with the seed, as they must have between the paper's run and anybody else's.
    """
    losses: dict[ModelName, list[tuple[float, ...]]] = {m: [] for m in MODEL_NAMES}
    accuracy: dict[ModelName, list[float]] = {m: [] for m in MODEL_NAMES}
    for seed, fitted in replications(seeds, device=device):
        for model in MODEL_NAMES:
            losses[model].append(fitted[model].train_loss)
            key = "step_accuracy" if model == "sequence" else "accuracy"
            accuracy[model].append(fitted[model].scores[key])
        if say is not None:
            ends = ", ".join(f"{model} loss {losses[model][-1][-1]:.4f}" for model in MODEL_NAMES)
            say(f"seed {seed + 1} of {seeds}: {ends}")
    return {
        "seeds": seeds,
        **{f"{model}_loss": [list(row) for row in losses[model]] for model in MODEL_NAMES},
        **{f"{model}_accuracy": accuracy[model] for model in MODEL_NAMES},
        "paper": printed(),
        "chance": {
            "sequence_loss": CHANCE_LOSS["sequence"],
            "sequence_accuracy": 1 / 50,
            "churn_loss": CHANCE_LOSS["churn"],
            "churn_accuracy": 0.5,
        },
        "inside": {
            **{f"{model}_loss": _inside_each(TABLE_III[model], losses[model]) for model in MODEL_NAMES},
            **{f"{model}_accuracy": _inside(TABLE_IV[model]["accuracy"], accuracy[model]) for model in MODEL_NAMES},
            **{
                f"{model}_accuracy_table_2": _inside(TABLE_II[model]["accuracy"], accuracy[model])
                for model in MODEL_NAMES
            },
        },
        "contradictions": list(CONTRADICTIONS),
    }


def printed() -> dict[str, Any]:
    """The paper's four tables as printed, as plain values."""
    return {
        "table_1": [list(row) for row in TABLE_I],
        "table_2": TABLE_II,
        "table_3": {model: list(TABLE_III[model]) for model in MODEL_NAMES},
        "table_4": TABLE_IV,
        "sample_plan": list(SAMPLE_PLAN),
    }


def replications(seeds: int, *, device: str = "auto") -> Iterator[tuple[int, dict[ModelName, Fitted]]]:
    """The paper's experiment once per seed: a fresh cohort, both models, ten full-batch epochs."""
    from crm_models.sources.synthetic import ScenarioSettings, generate

    for seed in range(seeds):
        cohort, _ = generate(ScenarioSettings(scenario="paper", seed=seed))
        config = replace(preset("paper"), seed=seed, device=device)  # type: ignore[arg-type]  # RunConfig checks it
        yield seed, fit_once(cohort, config)


def fit_once(cohort: Cohort, config: RunConfig) -> dict[ModelName, Fitted]:
    """Train and score every model of the configuration in memory, on the configuration's own split."""
    split = split_customers(cohort, seed=config.seed, test_share=config.test_share, valid_share=config.valid_share)
    encoder = FeatureEncoder.fit(cohort, split.train, cohort.as_of, config.churn.n_bins)
    raise NotImplementedError(split, encoder, outcomes, churn_scores, sequence_scores, Truth, np)


def _inside(value: float, over_seeds: list[float]) -> bool:
    return bool(min(over_seeds) <= value <= max(over_seeds))


def _inside_each(values: tuple[float, ...], rows: list[tuple[float, ...]]) -> list[bool]:
    """For each epoch, whether the printed loss lies between the lowest and the highest over the seeds."""
    return [_inside(value, [row[k] for row in rows]) for k, value in enumerate(values)]
