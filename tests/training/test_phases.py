"""Phases follow from the losses alone, so each case here is a list of losses and the phases it means."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from crm_models.core.config import TrainingConfig
from crm_models.training.phases import Phase, TrainingSchedule

PLAIN = TrainingConfig(n_epochs=12, patience_epochs=3)
SHORT = replace(PLAIN, short_phase_share=0.5)
ENOUGH = [3.0, 2.0, 1.0, 1.0, 0.981, 0.99]  # the second half gained 1.9 %
NOT_ENOUGH = [3.0, 2.0, 1.0, 0.99, 0.985, 0.979]  # 2.1 %


def schedule(config: TrainingConfig, *, can_pretrain: bool = False, is_judged: bool = True) -> TrainingSchedule:
    return TrainingSchedule(config=config, can_pretrain=can_pretrain, is_judged=is_judged)


def taken(table: TrainingSchedule, losses: list[float]) -> list[Phase]:
    """The phase of each epoch of a training with these validation losses; a refit has none of its own."""
    told, so_far, found = iter(losses), [], []
    while (phase := table.phase(so_far)) is not None:
        found.append(phase)
        so_far.append(math.inf if phase.final_refit else next(told))
        assert len(so_far) <= phase.until
    return found


def kinds(phases: list[Phase]) -> str:
    """A letter per epoch: pretraining, short, main; capitals for a refit."""
    return "".join(c.kind[0].upper() if c.final_refit else c.kind[0] for c in phases)


# ---- which phase ----------------------------------------------------------------------------------------------------


def test_one_phase_goes_through_all_epochs():
    phases = taken(schedule(PLAIN), [12.0 - k for k in range(12)])
    assert kinds(phases) == "m" * 12
    assert len(set(phases)) == 1
    assert (phases[0].first, phases[0].end, phases[0].fresh) == (0, 12, False)


def test_patience_ends_a_phase_and_equal_losses_are_no_gain():
    assert kinds(taken(schedule(PLAIN), [3.0, 1.0, 2.0, 1.0, 1.5, 0.1])) == "m" * 5


def test_without_patience_the_last_epoch_is_always_reached():
    assert kinds(taken(schedule(replace(PLAIN, monitor="last")), [float(k) for k in range(12)])) == "m" * 12


def test_a_short_phase_that_gained_little_in_its_second_half_is_the_end():
    assert kinds(taken(schedule(SHORT), ENOUGH)) == "s" * 6


def test_patience_ends_no_short_phase():
    assert kinds(taken(schedule(SHORT), [1.0, 2.0, 2.0, 2.0, 2.0, 2.0])) == "s" * 6


def test_one_that_still_gained_is_followed_by_one_from_fresh_weights_with_a_patience_of_its_own():
    phases = taken(schedule(SHORT), [*NOT_ENOUGH, 9.0, 8.0, 7.0, 7.1, 7.2, 7.3])
    assert kinds(phases) == "s" * 6 + "m" * 6
    assert (phases[6].first, phases[6].fresh) == (6, True)


@pytest.mark.parametrize(
    ("changes", "is_judged"), [({}, False), ({"short_phase_share": 0.4}, True), ({"short_phase_share": 0.0}, True)]
)
def test_there_is_no_short_phase_that_nobody_could_judge(changes, is_judged):
    table = schedule(replace(SHORT, **changes), is_judged=is_judged)
    assert kinds(taken(table, [12.0 - k for k in range(12)])) == "m" * 12


def test_pre_training_takes_the_place_of_the_short_phase_and_has_no_patience():
    table = schedule(replace(SHORT, pretraining_share=0.5), can_pretrain=True)
    phases = taken(table, [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.5, 1.6, 1.7, 1.8])
    assert kinds(phases) == "p" * 6 + "m" * 4
    assert not any(phase.fresh for phase in phases)  # the labels are learned by the weights that rehearsed


def test_where_there_is_no_earlier_date_nothing_is_pre_trained():
    assert kinds(taken(schedule(replace(SHORT, pretraining_share=0.5)), ENOUGH)) == "s" * 6


# ---- refit -----------------------------------------------------------------------------------------------------------


REFIT = replace(SHORT, final_refit=True)


def refits(table: TrainingSchedule, losses: list[float]) -> list[Phase]:
    phases = taken(table, losses)
    first = next(k for k, phase in enumerate(phases) if phase.final_refit)
    assert all(phase.final_refit for phase in phases[first:])
    assert all(phase.until == len(phases) for phase in phases[first:])
    return phases[first:]


@pytest.mark.parametrize(
    ("losses", "length"),
    [(ENOUGH, 6), ([3.0, 1.0, 1.2, 1.009, 1.011, 1.012], 4), ([1.0, 2.0, 2.0, 2.0, 2.0, 2.0], 1)],
)
def test_a_refit_takes_the_short_phase_again_for_as_long_as_it_was_as_good_as_at_its_best(losses, length):
    phases = refits(schedule(REFIT), losses)
    assert kinds(phases) == "S" * length
    assert (phases[0].first, phases[0].length, phases[0].n_epochs, phases[0].fresh) == (6, length, 6, True)


def test_it_takes_the_main_phase_up_to_its_best_epoch_where_that_one_was_clearly_better():
    phases = refits(schedule(REFIT), [*NOT_ENOUGH, 0.99, 0.98, 0.95, 0.96, 0.96, 0.96])
    assert kinds(phases) == "M" * 3
    assert (phases[0].first, phases[0].n_epochs, phases[0].fresh) == (12, 6, True)


@pytest.mark.parametrize("main", [[0.99, 0.98, 0.97, 0.98, 0.98, 0.98], [1.0, 1.0, 1.0, 1.0]])
def test_it_takes_the_short_one_where_the_main_one_was_hardly_better_or_no_better(main):
    assert kinds(refits(schedule(REFIT), [*NOT_ENOUGH, *main])) == "S" * 6


def test_without_a_short_phase_it_takes_the_only_one():
    phases = refits(schedule(replace(REFIT, short_phase_share=0.0)), [3.0, 1.0, 2.0, 2.0, 2.0])
    assert kinds(phases) == "M" * 2
    assert (phases[0].n_epochs, phases[0].fresh) == (12, True)


def test_after_pre_training_there_is_no_refit():
    table = schedule(replace(REFIT, pretraining_share=0.5), can_pretrain=True)
    assert kinds(taken(table, [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 3.0, 3.0, 3.0])) == "p" * 6 + "m" * 5


def test_there_is_nothing_to_refit_on_where_nobody_was_held_back():
    table = schedule(replace(REFIT, monitor="train"), is_judged=False)
    assert kinds(taken(table, [12.0 - k for k in range(12)])) == "m" * 12


# ---- learning rate ---------------------------------------------------------------------------------------------------


def rates(phase: Phase, *epochs: float) -> list[float]:
    return [phase.rate(PLAIN, epoch) / PLAIN.learning_rate for epoch in epochs]


def phase(**changes) -> Phase:
    return replace(Phase(kind="main", first=0, n_epochs=100, length=100, until=100), **changes)


def test_the_learning_rate_rises_for_a_tenth_and_falls_along_a_cosine():
    assert rates(phase(), 0, 5, 10, 55, 99.99) == pytest.approx([0, 0.5, 1, 0.5, 0.001], abs=1e-3)


def test_it_does_so_within_each_phase_as_high_as_the_phase_says():
    later = phase(first=20, top=0.5)
    assert rates(later, 20, 25, 30, 75, 119.99) == pytest.approx([0, 0.25, 0.5, 0.25, 0.0005], abs=1e-3)


def test_a_refit_that_ends_early_has_had_the_rates_of_the_epochs_it_repeats():
    again = phase(first=150, length=30, final_refit=True)
    assert rates(again, 150, 160, 179.9) == pytest.approx(rates(phase(), 0, 10, 29.9))


def test_a_constant_rate_is_constant():
    assert phase(top=0.5).rate(replace(PLAIN, schedule="constant"), 7.3) == PLAIN.learning_rate
