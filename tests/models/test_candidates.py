"""With candidates the soft-max over all actions is estimated, right in the mean; a candidate's logit is its own."""

import pytest
import torch
from torch.nn import functional as F

from crm_models.models import candidates
from crm_models.models.candidates import drawn_candidates, sampled_cross_entropy
from crm_models.training import objectives
from crm_models.training.objectives import next_action_loss
from tests.small_cohorts import random_cohort, training_data, untrained

A = 12


@pytest.fixture(scope="module")
def trained_looking():
    """A model whose parts all do something, and hidden states, recent actions and true next actions to try it on."""
    encoder, _ = training_data(random_cohort(n_actions=A))
    torch.manual_seed(0)
    model = untrained("sequence", encoder)
    with torch.no_grad():
        model.repeat_bias.worth.normal_(std=0.1)
        model.transition_prior.after_one.trust.weight.normal_()
    return model, torch.randn(9, 16), torch.randint(0, A + 1, (9, 6)), torch.randint(0, A, (9,))


def test_the_logits_of_candidates_are_those_of_all_actions(trained_looking, monkeypatch):
    model, hidden, recent, targets = trained_looking
    monkeypatch.setattr(candidates, "DRAWS", 3)
    among = drawn_candidates(model.draw_share, targets)
    assert set(targets.tolist()) <= set(among.ids.tolist())
    assert len(among.ids) < A
    everything = model.logits(hidden, recent, targets)
    torch.testing.assert_close(model.logits(hidden, recent, targets, among), everything[:, among.ids])


@pytest.mark.parametrize("draws", [2, 30])
def test_the_sum_of_the_soft_max_is_estimated_without_bias(trained_looking, monkeypatch, draws):
    """exp(loss) is the sum over all actions divided by the true action's part, in the mean over draws."""
    model, hidden, recent, targets = trained_looking
    monkeypatch.setattr(candidates, "DRAWS", draws)
    n, total = 1500, 0.0
    with torch.no_grad():
        logits, target = model.logits(hidden, recent, targets)[:1], targets[:1]
        for _ in range(n):
            among = drawn_candidates(model.draw_share, target)
            total += sampled_cross_entropy(logits[:, among.ids], target, among).exp()
        exact = F.cross_entropy(logits, target).exp()
    torch.testing.assert_close(total / n, exact, rtol=0.07, atol=0.0)


def test_many_actions_are_trained_with_candidates_and_few_with_all(trained_looking, monkeypatch):
    """With nearly every action drawn in nearly every draw, both losses agree."""
    model, hidden, recent, targets = trained_looking
    exact = next_action_loss(model, hidden, recent, targets)
    monkeypatch.setattr(objectives, "MOST_EXACT_ACTIONS", A - 1)
    monkeypatch.setattr(candidates, "DRAWS", 2000)
    hidden = hidden.clone().requires_grad_()
    sampled = next_action_loss(model, hidden, recent, targets)
    torch.testing.assert_close(sampled, exact, rtol=1e-4, atol=1e-5)
    (gradient,) = torch.autograd.grad(sampled, hidden)
    known = hidden.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(F.cross_entropy(model.logits(known, recent, targets), targets), known)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5)
