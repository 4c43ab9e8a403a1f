"""The schedule of a training: when it stops, what is repeated, and the learning rate at every moment."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models.core.config import TrainingConfig
from crm_models.training.schedule import Phase, phase_of

CONFIG = TrainingConfig(n_epochs=8, patience_epochs=2)
REFIT = replace(CONFIG, final_refit=True)


def test_patience_ends_the_first_phase_and_the_refit_repeats_its_best_epochs():
    losses = [3.0, 2.0, 1.0, 1.5]
    assert phase_of(REFIT, losses, True) == Phase(first=0, n_epochs=8)
    losses.append(1.5)
    refit = Phase(first=5, n_epochs=3, final_refit=True)
    infinite = [float("inf")] * 3
    assert [phase_of(REFIT, losses + infinite[:k], True) for k in range(4)] == [refit, refit, refit, None]
    assert phase_of(CONFIG, losses, True) is None


def test_without_validation_customers_there_is_no_refit():
    assert phase_of(REFIT, [1.0, 2.0, 3.0], False) is None


def test_all_epochs_are_taken_while_the_loss_falls_and_the_first_of_equals_is_the_best():
    assert phase_of(CONFIG, [8.0 - k for k in range(7)], True) is not None
    assert phase_of(CONFIG, [8.0 - k for k in range(8)], True) is None
    assert phase_of(CONFIG, [1.0, 1.0, 1.0], True) is None
    assert phase_of(replace(CONFIG, monitor="last"), [1.0, 2.0, 3.0, 4.0], False) is not None


@given(st.lists(st.floats(0.1, 9.0), min_size=1, max_size=8), st.integers(1, 8), st.booleans())
def test_the_phases_depend_on_the_losses_alone_and_always_end(losses, patience, refit):
    """Followed epoch by epoch, as a training that is resumed after each of them would."""
    config = TrainingConfig(n_epochs=8, patience_epochs=patience, final_refit=refit)
    seen: list[float] = []
    kinds = []
    while (phase := phase_of(config, seen, True)) is not None:
        kinds.append(phase.final_refit)
        seen.append(float("inf") if phase.final_refit else losses[len(seen) % len(losses)])
        assert len(kinds) <= config.most_epochs
    n = kinds.count(False)
    best = min(range(n), key=seen.__getitem__)
    assert kinds == [False] * n + [True] * (best + 1 if refit else 0)
    assert n == min(8, best + 1 + patience) or n == 8


def test_the_rate_rises_then_falls_to_almost_nothing_and_the_refit_takes_the_same_rates():
    config = TrainingConfig(n_epochs=20, learning_rate=2e-3)
    phase, refit = Phase(first=0, n_epochs=20), Phase(first=13, n_epochs=7, final_refit=True)
    rates = [phase.rate(config, k / 4) for k in range(80)]
    top = rates.index(max(rates))
    assert top == 8  # a tenth of 20 epochs
    assert rates[top] == pytest.approx(2e-3, rel=1e-3)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < 2e-3 / 100
    assert [refit.rate(config, 13 + k / 4) for k in range(28)] == pytest.approx(rates[:28])


def test_a_constant_rate_is_constant():
    config = TrainingConfig(schedule="constant", learning_rate=5e-3)
    assert {Phase(first=0, n_epochs=9).rate(config, k) for k in range(9)} == {5e-3}


def test_patience_does_not_end_a_warm_up():
    """With many epochs the rate rises for long; ended then, a training would have hardly begun."""
    config = TrainingConfig(n_epochs=100, patience_epochs=2)
    assert phase_of(config, [1.0, 2.0, 3.0, 4.0], True) is not None
    assert phase_of(config, [1.0] + [2.0] * 9, True) is None
    assert phase_of(replace(config, schedule="constant"), [1.0, 2.0, 3.0], True) is None
