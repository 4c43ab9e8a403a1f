"""The additive model: logistic regression on bins, blanks and levels, which votes beside the Transformer's members."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from crm_models.models.additive import PENALTY, AdditiveModel
from crm_models.models.batches import churn_batch
from crm_models.models.blocks import FeatureTokens
from crm_models.training import objectives
from crm_models.training.objectives import ChurnObjective
from tests.small_cohorts import SMALL, random_cohort, training_data, untrained, with_churn

EDGES = [(0.0, 0.25, 0.5, 1.0), (0.0, 1.0)]


@pytest.fixture(scope="module")
def seen():
    """Inputs and places of levels of 300 customers with two numbers, blanks among them, and three levels; labels."""
    rng = np.random.default_rng(3)
    numeric = rng.random((300, 2)).astype(np.float32)
    level = rng.integers(0, 3, (300, 1))
    labels = (rng.random(300) < np.where(level[:, 0] == 2, 0.7, numeric[:, 0] ** 2)).astype(np.float32)
    numeric[::7, 1] = np.nan
    tokens = FeatureTokens(EDGES, [3], d_model=4)
    return tokens, *tokens.inputs(torch.from_numpy(numeric), torch.from_numpy(level)), torch.from_numpy(labels)


def test_it_fits_as_a_library_does_on_the_same_columns(seen):
    tokens, inputs, levels, labels = seen
    model = AdditiveModel(tokens)
    model.fit(inputs, levels, labels)
    columns = np.concatenate([inputs.flatten(1).numpy(), np.eye(3)[levels[:, 0]]], axis=1)
    theirs = LogisticRegression(C=1 / PENALTY, tol=1e-8, max_iter=10_000).fit(columns, labels.numpy())
    np.testing.assert_allclose(model(inputs, levels), theirs.decision_function(columns), atol=2e-3)
    np.testing.assert_allclose(model.number.flatten(), theirs.coef_[0, :-3], atol=2e-3)


def test_fitting_anew_forgets_the_fit_before(seen):
    tokens, inputs, levels, labels = seen
    once, twice = AdditiveModel(tokens), AdditiveModel(tokens)
    once.fit(inputs, levels, labels)
    twice.fit(inputs, levels, 1 - labels)
    twice.fit(inputs, levels, labels)
    for own, other in zip(once.parameters(), twice.parameters(), strict=True):
        torch.testing.assert_close(own, other)
        assert not own.requires_grad
        assert own.grad is None


def test_one_class_alone_is_no_trouble(seen):
    tokens, inputs, levels, _ = seen
    model = AdditiveModel(tokens)
    model.fit(inputs, levels, torch.zeros(300))
    assert torch.isfinite(model(inputs, levels)).all()
    assert (model(inputs, levels) < -3).all()


def test_it_learns_from_training_customers_alone_and_in_the_final_refit_from_validation_too():
    encoder, data = training_data(random_cohort(80))
    model = untrained("churn", encoder)
    objective = ChurnObjective(model, SMALL.churn_training, data)
    fits = []
    for labels in (data.labels, np.where(np.isin(np.arange(80), data.split.test), 1 - data.labels, data.labels)):
        objective.data = replace(data, labels=labels)
        fits.append(fitted(objective, final_refit=False))
    torch.testing.assert_close(fits[0], fits[1], msg="test customers change nothing")
    objective.data = replace(data, labels=data.labels.copy())
    objective.data.labels[data.split.valid] = 1 - data.labels[data.split.valid]
    torch.testing.assert_close(fits[0], fitted(objective, final_refit=False), msg="nor do validation customers")
    assert (fits[0] - fitted(objective, final_refit=True)).abs().max() > 1e-3


def test_with_too_many_inputs_for_the_memory_an_even_sample_is_enough(monkeypatch):
    encoder, data = training_data(random_cohort(80))
    objective = ChurnObjective(untrained("churn", encoder), SMALL.churn_training, data)
    whole = fitted(objective, final_refit=False)
    monkeypatch.setattr(objectives, "ADDITIVE_INPUTS", 20 * objective.model.additive.number.numel())
    assert (whole - fitted(objective, final_refit=False)).abs().max() > 1e-3
    without = ChurnObjective(
        untrained("churn", encoder, with_churn(SMALL, use_additive=False)), SMALL.churn_training, data
    )
    without.begin(final_refit=False)
    batch = churn_batch(data.arrays, np.arange(5), without.model)
    assert without.model.members(batch)[0].shape == (5, 4)


def fitted(objective: ChurnObjective, final_refit: bool) -> torch.Tensor:
    """The weights of numbers after fitting."""
    objective.begin(final_refit)
    return objective.model.additive.number.detach().clone()
