"""Drivers of planned steps: they add up, agree with Shapley values by hand, and are those that matter."""

from dataclasses import replace

import numpy as np
import pytest

from crm_models.data.cohort import select
from crm_models.inference.decoding import decode_plans, step_probabilities
from crm_models.inference.shapley import SINCE_LAST
from crm_models.inference.step_drivers import StepExplainer
from tests.small_cohorts import SMALL, random_cohort, training_data, untrained, with_sequence

COHORT = random_cohort(50, n_actions=4, seed=5, as_of=90.0)


@pytest.fixture(scope="module")
def explainer() -> StepExplainer:
    encoder, _ = training_data(COHORT)
    return StepExplainer.of(untrained("sequence", encoder, sharper=4.0), encoder, COHORT, 90.0)


@pytest.fixture(scope="module")
def plans(explainer):
    return decode_plans(explainer.model, explainer.encoded(COHORT), explainer.encoder)


@pytest.fixture(scope="module")
def background(explainer):
    return explainer.background(COHORT, 5)


def test_probabilities_of_given_steps_are_those_of_the_decoded_plan(explainer, plans):
    p = step_probabilities(explainer.model, explainer.encoded(COHORT), plans.actions)
    assert p == pytest.approx(plans.step_p, abs=1e-6)
    none = plans.actions.copy()
    none[3, 2] = 0
    p = step_probabilities(explainer.model, explainer.encoded(COHORT), none)
    assert np.isnan(p[3, 2])
    assert p[3, :2] == pytest.approx(plans.step_p[3, :2], abs=1e-6)


def test_base_and_points_add_up_to_the_probability_of_each_step(explainer, plans, background):
    for row, steps in enumerate(explainer.explain(COHORT, plans.actions, background)):
        assert [one.step for one in steps] == [1, 2, 3]
        for k, one in enumerate(steps):
            assert one.action == explainer.encoder.action_labels[plans.actions[row, k] - 1]
            assert one.step_p == pytest.approx(plans.step_p[row, k], abs=1e-6)
            assert one.base + sum(driver.points for driver in one.drivers) / 100 == pytest.approx(one.step_p, abs=1e-9)


def test_the_base_is_the_mean_over_the_customers_compared_with(explainer, plans, background):
    (first, *_) = next(explainer.explain(select(COHORT, np.array([7])), plans.actions[[7]], background))
    theirs = step_probabilities(
        explainer.model, explainer.encoded(background), np.repeat(plans.actions[[7]], 5, axis=0)
    )
    assert first.base == pytest.approx(theirs[:, 0].mean(), abs=1e-6)


def test_two_differences_in_the_profile_give_the_shapley_values_by_hand(explainer, plans):
    row = int(np.flatnonzero(np.diff(COHORT.starts) > 3)[0])
    one, steps = select(COHORT, np.array([row])), plans.actions[[row]]
    other = replace(one, customers=one.customers.assign(age=20.0, tier="gold", income=0.5))
    mine = replace(one, customers=one.customers.assign(age=60.0, tier="basic", income=0.5))
    second = next(explainer.explain(mine, steps, explainer.background(other, 1)))[1]
    points = {driver.name: driver.points for driver in second.drivers}

    def p(age, tier):
        cohort = replace(one, customers=one.customers.assign(age=age, tier=tier, income=0.5))
        return float(step_probabilities(explainer.model, explainer.encoded(cohort), steps)[0, 1])

    by_age = (p(60, "gold") - p(20, "gold") + p(60, "basic") - p(20, "basic")) / 2
    by_tier = (p(20, "basic") - p(20, "gold") + p(60, "basic") - p(60, "gold")) / 2
    assert (points["age"], points["tier"]) == pytest.approx((100 * by_age, 100 * by_tier), abs=1e-3)
    assert [points[name] for name in ("income", "a001", SINCE_LAST)] == pytest.approx([0, 0, 0], abs=1e-3)


def test_a_model_without_a_profile_has_no_features_among_its_drivers(plans):
    encoder, _ = training_data(COHORT)
    model = untrained("sequence", encoder, with_sequence(SMALL, use_profile=False))
    explainer = StepExplainer.of(model, encoder, COHORT, 90.0)
    steps = next(explainer.explain(select(COHORT, np.array([1])), plans.actions[[1]], explainer.background(COHORT, 2)))
    assert {driver.name for driver in steps[0].drivers} == {"a001", "a002", "a003", "a004", SINCE_LAST}


def test_steps_that_are_none_have_no_drivers(explainer, plans, background):
    steps = plans.actions[:2].copy()
    steps[0], steps[1, 1:] = 0, 0
    nobody, first_only = explainer.explain(select(COHORT, np.arange(2)), steps, background)
    assert nobody == ()
    assert [one.step for one in first_only] == [1]


def test_the_drivers_are_those_that_matter_more_than_three_at_random(explainer, plans, background):
    tried = explainer.faithfulness(COHORT, plans.actions, background)
    assert tried.top > 1.3 * tried.random > 0
    assert "moves the probability of the first step by" in tried.said()
