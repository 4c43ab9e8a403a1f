"""A history scores its own actions up or down, each place by a weight of its own, and training finds the weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from crm_models.core.config import TrainingConfig
from crm_models.data.cohort import Cohort
from crm_models.models.candidates import add_at
from crm_models.models.repeat_bias import PACE, RepeatBias
from crm_models.training.loop import train
from crm_models.training.state import TrainingState
from tests.models.test_transition_prior import cohort_of
from tests.small_cohorts import SMALL, random_cohort, training_data, untrained, with_sequence


def test_each_place_of_the_history_adds_its_worth_to_its_action():
    repeats = RepeatBias(4, 2)
    with torch.no_grad():
        repeats.worth.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]) / PACE)
        repeats.trust.bias.fill_(0.5)
        repeats.trust.weight.copy_(torch.tensor([[1.0, 0.0]]))
        scores = torch.zeros(2, 3)
        hidden = torch.tensor([[0.0, 9.0], [0.5, 9.0]])  # trusted by half, and wholly
        recent = torch.tensor([[0, 0, 2, 1], [3, 3, 1, 0]])
        found = add_at(scores, *repeats(hidden, recent), None)
    torch.testing.assert_close(found, torch.tensor([[2.0, 1.5, 0.0], [3.0, 0.0, 3.0]]))


def test_it_starts_without_any_effect_and_the_setting_decides():
    encoder, _ = training_data(random_cohort())
    hidden, recent = torch.randn(5, 16), torch.randint(0, 7, (5, 6))
    on = untrained("sequence", encoder, sharper=1.0)
    off = untrained("sequence", encoder, with_sequence(SMALL, use_repeat_bias=False), sharper=1.0)
    torch.testing.assert_close(on.logits(hidden, recent), off.logits(hidden, recent))
    assert on.repeat_bias is not None
    assert off.repeat_bias is None


def test_the_recent_actions_of_a_position_end_with_its_own():
    encoder, _ = training_data(random_cohort())
    model = untrained("sequence", encoder, with_sequence(SMALL, max_events=3))
    recent = model.recent_actions(torch.tensor([[4, 5, 6, 1, 0]]))
    assert recent[0].tolist() == [[0, 0, 0], [0, 0, 4], [0, 4, 5], [4, 5, 6], [5, 6, 1], [6, 1, 0]]
    bare = untrained("sequence", encoder, with_sequence(SMALL, max_events=3, use_profile=False))
    assert bare.recent_actions(torch.tensor([[4, 5]]))[0].tolist() == [[0, 0, 4], [0, 4, 5]]


@pytest.mark.parametrize("again", [True, False])
def test_training_learns_whether_actions_come_again(again):
    """Every customer has favourites of their own, or does nothing twice."""
    rng = np.random.default_rng(0)
    worth = _trained_worth(cohort_of(*(_history(rng, again) for _ in range(200)), n_actions=60))
    assert (worth > 0.5).all() if again else (worth < -0.5).all()


def _history(rng: np.random.Generator, again: bool) -> list[int]:
    own = rng.choice(60, 8, replace=False) + 1
    return rng.choice(own[:2], 8).tolist() if again else own.tolist()


def _trained_worth(cohort: Cohort) -> torch.Tensor:
    """(3,) the bonus in log-odds of the three latest places after a short training."""
    encoder, known = training_data(cohort)
    # Follow-ups know of an action that comes twice in a row.
    config = with_sequence(SMALL, max_events=3, use_transition_prior=False)
    config = replace(config, sequence_training=TrainingConfig(n_epochs=10, batch_size=16, learning_rate=3e-3))
    state = TrainingState.start("sequence", config, encoder)
    list(train(state, known))
    return PACE * state.module.repeat_bias.worth.detach()
