"""Prediction: the best of all plans, probabilities that are the model's own, and customers that do not meet."""

from dataclasses import replace
from itertools import product
from typing import get_args

import numpy as np
import pytest
import torch

from crm_models.core.records import DecodedPlans
from crm_models.core.schema import PlanFor
from crm_models.data.split import Outcomes
from crm_models.inference import beam, decoding
from crm_models.inference.decoding import churn_probabilities, decode_plans, score_customers, sequence_predictions
from crm_models.models.batches import history_batch
from crm_models.models.sequence import SequenceBatch, SequenceTransformer
from tests.small_cohorts import SMALL, random_cohort, training_data, untrained, with_churn, with_sequence

FIELDS = ("actions", "step_p", "plan_p", "runner_up", "runner_up_p")


def step_p_of(model: SequenceTransformer, arrays, row: int, plans: np.ndarray) -> np.ndarray:
    """(M, 3, A): probability of every action at each step of plans (M, 3), computed the plain way, without a beam."""
    history = history_batch(arrays, np.array([row]), arrays.n_history[[row]], model.config.max_events)
    n, length = len(plans), int((history.action > 0).sum())
    action = torch.cat([history.action[:, :length].expand(n, -1), torch.from_numpy(plans[:, :2])], dim=1)
    blank = torch.full((n, 2), torch.nan)
    gap, value = (torch.cat([c[:, :length].expand(n, -1), blank], dim=1) for c in (history.gap, history.value))
    batch = SequenceBatch(
        action=action,
        gap=gap,
        value=value,
        numeric=history.numeric.expand(n, -1),
        categorical=history.categorical.expand(n, -1),
    )
    with torch.inference_mode():
        hidden = model(batch).hidden[:, model.n_front + length - 1 :]
        recent = model.recent_actions(action)[:, model.n_front + length - 1 :]
        return model.logits(hidden, recent).softmax(dim=-1).numpy()


def tried_out(model: SequenceTransformer, arrays, row: int, plans: np.ndarray) -> tuple[np.ndarray, float]:
    """The most probable of plans (M, 3), and its probability, by computing every one."""
    p = np.take_along_axis(step_p_of(model, arrays, row, plans), plans[..., None] - 1, axis=2).prod(axis=(1, 2))
    return plans[p.argmax()], float(p.max())


def assert_same_plans(one: DecodedPlans, other: DecodedPlans) -> None:
    for name in FIELDS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-6, err_msg=name)


def everything_favours(model: SequenceTransformer, order: list[int]) -> SequenceTransformer:
    """A model whose probabilities fall in this order of ids, whatever came before: 1/2, 1/4, 1/8, ... (normalised)."""
    with torch.no_grad():
        prior = model.transition_prior
        for part in (model.norm, prior.after_one.trust, prior.after_two.trust, model.repeat_bias.trust):
            part.weight.zero_()
            part.bias.zero_()
        model.bias[torch.tensor(order) - 1] = -torch.arange(len(order)) * float(np.log(2))
    return model


# ---- plans -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_actions", "sharper"), [(3, 2.0), (5, 1.0), (5, 4.0), (12, 1.0), (12, 3.0)])
def test_a_plan_is_the_best_of_all_plans(n_actions, sharper):
    encoder, known = training_data(random_cohort(12, n_actions, shortest=1))
    model = untrained("sequence", encoder, sharper=sharper)
    use = np.array([p for p in product(range(1, n_actions + 1), repeat=3) if len(set(p)) == 3])
    decoded = decode_plans(model, known.arrays, encoder)
    for row in range(12):
        best, p = tried_out(model, known.arrays, row, use)
        assert decoded.plan_p[row] == pytest.approx(p, rel=1e-4)
        np.testing.assert_array_equal(decoded.actions[row], best)


def test_a_plan_for_scores_may_repeat_itself_and_is_the_best_of_all_plans():
    encoder, known = training_data(random_cohort(30, 6, shortest=4))
    model = untrained("sequence", encoder, sharper=3.0)
    predicted = sequence_predictions(model, known.arrays, known.outcomes)
    every = np.array(list(product(range(1, 7), repeat=3)))
    before_outcome = replace(known.arrays, n_history=np.diff(known.arrays.events.starts) - 3)
    repeats = 0
    for k, row in enumerate(known.outcomes.rows):
        best, p = tried_out(model, before_outcome, row, every)
        np.testing.assert_array_equal(predicted.plan[k], best)
        assert predicted.plan_p[k] == pytest.approx(p, rel=1e-4)
        repeats += len(set(best)) < 3
    assert repeats > 0


def by_step(model: SequenceTransformer, arrays, row: int, every: np.ndarray) -> np.ndarray:
    """(3, A) probability of each action at each step, summed over the plans (M, 3) that have it there."""
    each = np.take_along_axis(step_p_of(model, arrays, row, every), every[..., None] - 1, axis=2).prod(axis=(1, 2))
    return np.stack([np.bincount(every[:, k] - 1, weights=each, minlength=model.n_actions) for k in range(3)])


@pytest.mark.parametrize("sharper", [1.0, 3.0])
def test_single_steps_are_the_most_probable_actions_of_each_step_whatever_the_others_are(sharper):
    encoder, known = training_data(random_cohort(30, 6, shortest=4))
    model = untrained("sequence", encoder, sharper=sharper)
    predicted = sequence_predictions(model, known.arrays, known.outcomes)
    before_outcome = replace(known.arrays, n_history=np.diff(known.arrays.events.starts) - 3)
    every = np.array(list(product(range(1, 7), repeat=3)))
    for k, row in enumerate(known.outcomes.rows):
        expected = by_step(model, before_outcome, row, every)
        np.testing.assert_array_equal(predicted.single_steps[k], expected.argmax(axis=1) + 1)


def test_a_usable_plan_of_single_steps_has_their_probabilities_no_action_twice_and_no_retention_action():
    encoder, known = training_data(random_cohort(20, 5, retention=(5,), shortest=1))
    model = untrained("sequence", encoder, sharper=3.0)
    decoded = decode_plans(model, known.arrays, encoder, plan_for="steps")
    usable = np.array([p for p in product(range(1, 5), repeat=3) if len(set(p)) == 3])
    for row in range(20):
        plan = decoded.actions[row]
        assert len(set(plan)) == 3
        assert 5 not in plan
        _, together = tried_out(model, known.arrays, row, plan[None])
        assert decoded.plan_p[row] == pytest.approx(together, rel=1e-4)
        p = step_p_of(model, known.arrays, row, usable)
        # A step counts once for each different beginning, whatever follows it.
        whole = np.zeros((3, 5))
        for k in range(3):
            for beginning in {tuple(steps[: k + 1]) for steps in usable.tolist()}:
                m = next(m for m, steps in enumerate(usable.tolist()) if tuple(steps[: k + 1]) == beginning)
                whole[k, beginning[k] - 1] += np.prod([p[m, j, beginning[j] - 1] for j in range(k + 1)])
        for k in range(3):
            free = [a for a in range(1, 5) if a not in plan[:k]]
            assert plan[k] == max(free, key=lambda a: whole[k, a - 1])
            assert decoded.step_p[row, k] == pytest.approx(whole[k, plan[k] - 1], rel=1e-4)


@pytest.mark.parametrize("use_profile", [True, False])
def test_step_probabilities_are_the_models_own(use_profile):
    config = with_sequence(SMALL, use_profile=use_profile)
    encoder, known = training_data(random_cohort(30, 8, longest=12, shortest=1))
    model = untrained("sequence", encoder, config)
    decoded = decode_plans(model, known.arrays, encoder)
    np.testing.assert_allclose(decoded.plan_p, decoded.step_p.prod(axis=1))
    for row in range(30):
        p = step_p_of(model, known.arrays, row, decoded.actions[[row]])[0]
        np.testing.assert_allclose(decoded.step_p[row], p[np.arange(3), decoded.actions[row] - 1], atol=1e-6)
        np.testing.assert_allclose(decoded.runner_up_p[row], p[np.arange(3), decoded.runner_up[row] - 1], atol=1e-6)


def test_the_runner_up_is_the_best_action_that_could_have_stood_there():
    """Probabilities fall from id 3 over 1, 5, 2 to 4, and 5 is for retention: 3, 1 and 2 make the plan.

    The model favours the same actions at every step, so the six orders of the three are equally probable plans.
    """
    encoder, known = training_data(random_cohort(8, 5, retention=(5,)))
    model = everything_favours(untrained("sequence", encoder), [3, 1, 5, 2, 4])
    decoded = decode_plans(model, known.arrays, encoder)
    p = dict(zip([3, 1, 5, 2, 4], np.array([16, 8, 4, 2, 1]) / 31, strict=True))
    for plan, runners_up, step_p, runner_up_p in zip(
        decoded.actions.tolist(), decoded.runner_up.tolist(), decoded.step_p, decoded.runner_up_p, strict=True
    ):
        assert sorted(plan) == [1, 2, 3]
        could_stand = [[a for a in (3, 1, 2, 4) if a not in plan[: k + 1]] for k in range(3)]
        assert runners_up == [allowed[0] for allowed in could_stand]
        np.testing.assert_allclose(step_p, [p[a] for a in plan], rtol=1e-5)
        np.testing.assert_allclose(runner_up_p, [p[a] for a in runners_up], rtol=1e-5)


def test_a_plan_for_use_names_no_action_twice_and_none_for_retention():
    encoder, known = training_data(random_cohort(80, 7, retention=(2, 6)))
    decoded = decode_plans(untrained("sequence", encoder, sharper=4.0), known.arrays, encoder)
    assert all(len(set(plan)) == 3 for plan in decoded.actions.tolist())
    assert not np.isin(decoded.actions, [2, 6]).any()
    assert not np.isin(decoded.runner_up, [2, 6]).any()


def test_what_cannot_be_repeated_is_not_proposed_however_long_ago_it_was():
    """Histories of up to twelve events, of which the model sees two."""
    encoder, known = training_data(random_cohort(60, 20, longest=12, repeatable=False))
    model = untrained("sequence", encoder, with_sequence(SMALL, max_events=2))
    decoded, starts = decode_plans(model, known.arrays, encoder), known.arrays.events.starts
    for row in range(60):
        had = known.arrays.events.action[starts[row] : starts[row + 1]]
        assert not np.isin(decoded.actions[row], had).any()
        assert not np.isin(decoded.runner_up[row], had).any()


def test_where_actions_run_out_the_plan_ends_and_has_no_hole():
    """Six films that cannot be seen twice, histories of up to twelve: zero to six are left."""
    encoder, known = training_data(random_cohort(200, 6, longest=12, repeatable=False))
    decoded, starts = decode_plans(untrained("sequence", encoder), known.arrays, encoder), known.arrays.events.starts
    left = [6 - len(set(known.arrays.events.action[starts[k] : starts[k + 1]].tolist())) for k in range(200)]
    assert {0, 1, 2, 3} < set(left)
    for plan, step_p, plan_p, n_left in zip(decoded.actions, decoded.step_p, decoded.plan_p, left, strict=True):
        real = np.arange(3) < n_left
        assert (plan > 0).tolist() == real.tolist()
        assert (step_p > 0).tolist() == real.tolist()
        assert (plan_p > 0) == (n_left >= 3)


def test_a_single_action_can_be_planned_once_and_has_no_runner_up():
    encoder, known = training_data(random_cohort(20, 1, shortest=1))
    decoded = decode_plans(untrained("sequence", encoder), known.arrays, encoder)
    assert decoded.actions.tolist() == [[1, 0, 0]] * 20
    assert decoded.runner_up.tolist() == [[0, 0, 0]] * 20
    np.testing.assert_allclose(decoded.step_p, [[1.0, 0.0, 0.0]] * 20, atol=1e-6)


@pytest.mark.parametrize("use_profile", [True, False])
def test_customers_without_history_get_finite_numbers(use_profile):
    encoder, known = training_data(random_cohort(40, 6))
    none = np.flatnonzero(known.arrays.n_history == 0)
    assert len(none) > 0
    model = untrained("sequence", encoder, with_sequence(SMALL, use_profile=use_profile))
    decoded = decode_plans(model, known.arrays, encoder, none)
    assert (decoded.actions > 0).all()
    assert np.isfinite(decoded.step_p).all()
    assert ((decoded.plan_p > 0) & (decoded.plan_p < 1)).all()


# ---- scores on known outcomes ----------------------------------------------------------------------------------------


def test_true_steps_are_scored_given_the_true_steps_before_them():
    encoder, known = training_data(random_cohort(40, 6, as_of=70.0, longest=14))
    model, found = untrained("sequence", encoder), known.outcomes
    predicted = sequence_predictions(model, known.arrays, found)
    assert {1, 2, 3} == set(found.n_outcome.tolist())
    for k, row in enumerate(found.rows):
        first = known.arrays.events.starts[row] + found.n_history[k]
        true = known.arrays.events.action[first : first + found.n_outcome[k]]
        filled = np.pad(true, (0, 3 - len(true))).astype(np.int64)
        np.testing.assert_array_equal(predicted.actual[k], filled)
        p = step_p_of(model, known.arrays, row, filled[None])[0]
        expected = [np.log(p[j, a - 1]) if a else 0.0 for j, a in enumerate(filled)]
        np.testing.assert_allclose(predicted.actual_log_p[k], expected, atol=1e-5)
        assert predicted.rank[k] == (p[0] > p[0, true[0] - 1]).sum()


def test_ties_in_rank_go_to_the_lower_id():
    """Ids 1, 2 and 3 are equally probable, 4 less, 5 and 6 least."""
    encoder, known = training_data(random_cohort(60, 6, shortest=4))
    model = everything_favours(untrained("sequence", encoder), [1, 2, 3, 4, 5, 6])
    with torch.no_grad():
        model.bias.copy_(torch.tensor([2.0, 2.0, 2.0, 1.0, 0.0, 0.0]))
    predicted = sequence_predictions(model, known.arrays, known.outcomes)
    assert set(predicted.actual[:, 0]) == {1, 2, 3, 4, 5, 6}
    np.testing.assert_array_equal(predicted.rank, predicted.actual[:, 0] - 1)


# ---- customers do not meet -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scored():
    """Two random models, and 70 customers with histories of zero to twelve events."""
    encoder, known = training_data(random_cohort(70, 7, longest=12))
    return encoder, known, untrained("sequence", encoder), untrained("churn", encoder)


@pytest.mark.parametrize("size", [1, 3, 70])
def test_the_size_of_a_batch_changes_nothing(scored, monkeypatch, size):
    encoder, known, sequence, churn = scored
    whole = score_customers(sequence, churn, known.arrays, encoder)
    outcome = sequence_predictions(sequence, known.arrays, known.outcomes)
    monkeypatch.setattr(decoding, "SCORING_BATCH", size)
    cut = score_customers(sequence, churn, known.arrays, encoder)
    np.testing.assert_allclose(cut.churn_p, whole.churn_p, atol=1e-6)
    assert_same_plans(cut.plans, whole.plans)
    again = sequence_predictions(sequence, known.arrays, known.outcomes)
    np.testing.assert_allclose(again.actual_log_p, outcome.actual_log_p, atol=1e-5)
    np.testing.assert_array_equal(again.plan, outcome.plan)


def test_logits_of_a_few_customers_at_a_time_give_the_same_plans_and_steps(scored, monkeypatch):
    encoder, known, sequence, _ = scored
    whole = {
        plan_for: decode_plans(sequence, known.arrays, encoder, plan_for=plan_for) for plan_for in get_args(PlanFor)
    }
    monkeypatch.setattr(beam, "SCORES_AT_ONCE", 3 * beam.WIDE * 7)
    for plan_for, plans in whole.items():
        assert_same_plans(decode_plans(sequence, known.arrays, encoder, plan_for=plan_for), plans)


def test_with_many_actions_there_is_one_search_and_a_wider_one_finds_more_probable_plans(scored, monkeypatch):
    encoder, known, sequence, _ = scored
    best = decode_plans(sequence, known.arrays, encoder)
    monkeypatch.setattr(beam, "MANY_ACTIONS", 6)
    found = {}
    for width in (1, 3, 49):
        monkeypatch.setattr(beam, "WIDTH_FOR_MANY", width)
        found[width] = decode_plans(sequence, known.arrays, encoder)
        p = step_p_of(sequence, known.arrays, 8, found[width].actions[8:9])
        np.testing.assert_allclose(found[width].step_p[8], p[0, range(3), found[width].actions[8] - 1], atol=1e-5)
    assert found[1].plan_p.mean() < found[3].plan_p.mean() < best.plan_p.mean()
    assert_same_plans(found[49], best)


@pytest.mark.parametrize("count", [1, 2, 9, 17])
@pytest.mark.parametrize("n_actions", [17, 128, 130, 1281, 4000])
def test_the_largest_by_blocks_are_those_of_a_full_search(n_actions, count):
    values = torch.from_numpy(np.random.default_rng(n_actions).normal(size=(3, 2, n_actions)))
    values[0, :, 5:] = -torch.inf
    found, at = beam._largest(values, count)
    torch.testing.assert_close(found, values.topk(count, dim=2).values, rtol=0, atol=0)
    torch.testing.assert_close(values.gather(2, at), found, rtol=0, atol=0)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_narrow_search_says_for_whom_it_does_not_suffice(scored, monkeypatch, width):
    encoder, known, sequence, _ = scored
    narrow_or_wide, searched = beam._search, []

    def noted(model, history, widths, *least):
        searched.append((widths[0], len(history.length)))
        return narrow_or_wide(model, history, widths, *least)

    monkeypatch.setattr(beam, "NARROW", beam.WIDE)
    wide = decode_plans(sequence, known.arrays, encoder)
    monkeypatch.setattr(beam, "NARROW", width)
    monkeypatch.setattr(beam, "_search", noted)
    assert_same_plans(decode_plans(sequence, known.arrays, encoder), wide)
    assert [n for n, _ in searched] == [width, beam.WIDE]
    assert 0 < searched[1][1] <= searched[0][1] == 70


def test_permuting_customers_permutes_what_is_said_about_them(scored):
    encoder, known, sequence, churn = scored
    order = np.random.default_rng(0).permutation(70)
    whole, turned = decode_plans(sequence, known.arrays, encoder), decode_plans(sequence, known.arrays, encoder, order)
    for name in FIELDS:
        np.testing.assert_allclose(getattr(turned, name), getattr(whole, name)[order], atol=1e-6)
    p = churn_probabilities(churn, known.arrays)
    np.testing.assert_allclose(churn_probabilities(churn, known.arrays, order), p[order], atol=1e-6)


def test_what_happens_after_the_moment_changes_nothing():
    cohort = random_cohort(60, 6, longest=12, as_of=50.0)
    encoder, known = training_data(cohort)
    sequence, churn = untrained("sequence", encoder), untrained("churn", encoder)
    before = score_customers(sequence, churn, known.arrays, encoder)
    events = cohort.interactions.copy()
    later = events["timestamp"] >= 50
    events.loc[later, "action"] = cohort.actions["action"].iloc[0]
    events.loc[later, "value"] = 0.9
    changed = encoder.encode(replace(cohort, interactions=events), 50.0)
    assert (changed.events.action != known.arrays.events.action).any()
    after = score_customers(sequence, churn, changed, encoder)
    np.testing.assert_array_equal(after.churn_p, before.churn_p)
    assert_same_plans(after.plans, before.plans)


# ---- churn and scores ------------------------------------------------------------------------------------------------


def test_churn_probabilities_follow_the_log_odds(scored):
    _encoder, known, _, churn = scored
    with torch.inference_mode():
        log_odds, _ = churn(decoding.churn_batch(known.arrays, np.arange(70), churn))
    p = churn_probabilities(churn, known.arrays)
    assert p.dtype == np.float64
    np.testing.assert_allclose(np.log(p / (1 - p)), log_odds.numpy(), atol=1e-4)


def test_a_model_that_a_run_has_not_leaves_its_scores_out(scored):
    encoder, known, sequence, churn = scored
    no_churn = score_customers(sequence, None, known.arrays, encoder)
    no_plans = score_customers(None, churn, known.arrays, encoder)
    assert np.isnan(no_churn.churn_p).all()
    assert len(no_churn.plans) == 70
    assert no_plans.plans is None
    assert np.isfinite(no_plans.churn_p).all()


def test_nobody_to_score_is_no_error(scored):
    encoder, known, sequence, churn = scored
    nobody = np.zeros(0, np.int64)
    assert len(decode_plans(sequence, known.arrays, encoder, nobody)) == 0
    assert len(churn_probabilities(churn, known.arrays, nobody)) == 0
    nothing = Outcomes(rows=nobody, n_history=nobody, n_outcome=nobody)
    assert len(sequence_predictions(sequence, known.arrays, nothing).rank) == 0


def test_profiles_alone_are_enough_for_churn():
    cohort = random_cohort(30, 3, longest=0)
    encoder, known = training_data(cohort, with_churn(SMALL, max_events=0))
    p = churn_probabilities(untrained("churn", encoder), known.arrays)
    assert ((p > 0) & (p < 1)).all()
    assert len(np.unique(p)) > 10


# ---- cores -----------------------------------------------------------------------------------------------------------


def test_cores_with_batches_of_their_own_give_the_same_numbers_and_the_threads_back():
    for customers in (60, 300):  # one batch, and several
        _same_on_one_core_and_two(*training_data(random_cohort(customers)))


def _same_on_one_core_and_two(encoder, known):
    models = untrained("sequence", encoder), untrained("churn", encoder)
    before, found = torch.get_num_threads(), []
    try:
        for cores in (1, 2):
            torch.set_num_threads(cores)
            found.append(score_customers(*models, known.arrays, encoder))
            assert torch.get_num_threads() == cores
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0].churn_p, found[1].churn_p)
    for name, values in vars(found[0].plans).items():
        np.testing.assert_array_equal(getattr(found[1].plans, name), values)
