"""Policies by hand, and laws that hold for any scores."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.planning.plans import (
    FALLBACK,
    GRADED,
    MODEL,
    OVERRIDE,
    STEP_FALLBACK,
    STEP_MODEL,
    STEP_RETENTION,
    Catalogue,
    make_plans,
    reasons,
)
from crm_models.planning.policy import Policy

ACTIONS = ("call", "mail", "visit", "gift", "Provide a discount")


def catalogue(policy: Policy) -> Catalogue:
    extra = tuple(a for a in policy.retention_actions if a not in ACTIONS)
    return Catalogue(
        names=ACTIONS + extra, labels=ACTIONS + extra, n_actions=5, fallback=(1, 0, 2), fallback_p=(0.5, 0.3, 0.2)
    )


def scores(churn_p, actions=None, n_events=None) -> CustomerScores:
    """One customer per probability; the model proposes call, mail, visit unless told otherwise."""
    n = len(churn_p)
    plans = None
    if actions is not None:
        actions = np.tile(actions, (n, 1)) if np.ndim(actions) == 1 else np.array(actions)
        plans = DecodedPlans(
            actions=actions,
            step_p=np.tile([0.5, 0.4, 0.3], (n, 1)),
            plan_p=np.full(n, 0.06),
            runner_up=np.tile([4, 4, 4], (n, 1)),
            runner_up_p=np.tile([0.2, 0.2, 0.2], (n, 1)),
        )
    return CustomerScores(
        customer_id=np.array([f"c{k}" for k in range(n)], dtype=object),
        churn_p=np.array(churn_p, dtype=float),
        n_events=np.full(n, 5) if n_events is None else np.array(n_events),
        plans=plans,
    )


def plan(policy: Policy, *arguments, **named):
    return make_plans(scores(*arguments, **named), catalogue(policy), policy)


def labels(plans, row: int) -> list[str]:
    return [plans.catalogue.labels[code] for code in plans.action[row]]


def test_override_replaces_all_three_steps_of_who_is_at_risk():
    plans = plan(Policy(), [0.5, 0.71], [1, 2, 3])
    assert labels(plans, 0) == ["call", "mail", "visit"]
    assert labels(plans, 1) == ["Offer proactive support", "Send a loyalty offer", "Provide a discount"]
    assert plans.at_risk.tolist() == [False, True]
    assert plans.source.tolist() == [MODEL, OVERRIDE]
    assert plans.step_source.tolist() == [[STEP_MODEL] * 3, [STEP_RETENTION] * 3]
    assert np.isnan(plans.step_p[1]).all()


def test_graded_keeps_the_models_best_steps_behind_the_retention_actions():
    plans = plan(Policy(mode="graded", threshold=0.4), [0.5], [1, 2, 3])
    assert labels(plans, 0) == ["Offer proactive support", "call", "mail"]
    assert plans.source.tolist() == [GRADED]
    assert plans.step_source[0].tolist() == [STEP_RETENTION, STEP_MODEL, STEP_MODEL]
    np.testing.assert_array_equal(plans.step_p[0], [np.nan, 0.5, 0.4])


def test_a_model_step_that_retention_proposes_already_is_skipped():
    policy = Policy(mode="graded", threshold=0.4, retention_actions=("Provide a discount", "a", "b"))
    plans = plan(policy, [0.5], [5, 2, 3])
    assert labels(plans, 0) == ["Provide a discount", "mail", "visit"]


def test_a_customer_without_history_gets_the_popular_actions_unless_at_risk():
    plans = plan(Policy(), [0.2, 0.9], [1, 2, 3], n_events=[0, 0])
    assert labels(plans, 0) == ["mail", "call", "visit"]
    assert plans.source.tolist() == [FALLBACK, OVERRIDE]
    assert plans.step_source[0].tolist() == [STEP_FALLBACK] * 3


def test_without_a_sequence_model_plans_are_fallback_or_override():
    assert plan(Policy(), [0.2, 0.9]).source.tolist() == [FALLBACK, OVERRIDE]


def test_an_unknown_churn_probability_is_never_at_risk():
    plans = plan(Policy(threshold=0.0), [float("nan")], [1, 2, 3])
    assert plans.at_risk.tolist() == [False]
    assert plans.source.tolist() == [MODEL]


def test_steps_the_model_left_open_are_filled_with_popular_actions_not_yet_planned():
    plans = plan(Policy(), [0.1], [2, 0, 0])
    assert labels(plans, 0) == ["mail", "call", "visit"]
    assert plans.step_source[0].tolist() == [STEP_MODEL, STEP_FALLBACK, STEP_FALLBACK]
    assert plans.source.tolist() == [MODEL]


def test_every_step_says_why_it_is_there():
    plans = plan(Policy(), [0.2, 0.71, 0.1], [1, 2, 3], n_events=[5, 5, 0])
    why = reasons(plans)
    assert why[0][0] == "most likely in this plan (probability 0.50; next best: gift 0.20)"
    likelier = reasons(replace(plans, runner_up_p=np.full((3, 3), 0.6)))
    assert (
        likelier[0][0]
        == "most likely in this plan (probability 0.50; likelier alone, but in a less likely plan: gift 0.60)"
    )
    narrow = reasons(plan(Policy(threshold=0.2), [0.203997, 0.200001]))
    assert narrow[0][0] == "churn probability 0.204 exceeds 0.200"
    assert narrow[1][0] == "churn probability 0.200001 exceeds 0.2"
    assert why[1] == ["churn probability 0.71 exceeds 0.50"] * 3
    assert why[2][0] == "no history: a popular action (50% of all events)"


probabilities = st.lists(st.floats(0, 1) | st.just(float("nan")), min_size=1, max_size=30)
policies = st.builds(
    Policy,
    threshold=st.floats(0, 1),
    mode=st.sampled_from(["override", "graded"]),
    intensity=st.floats(0, 3),
    retention_actions=st.sampled_from(
        [("x", "y", "z"), ("call", "Provide a discount", "z"), ("mail", "visit", "call")]
    ),
)
model_plans = st.permutations([1, 2, 3, 4, 5]).map(lambda order: order[:3])


@given(probabilities, policies, model_plans)
def test_no_plan_repeats_an_action_and_every_step_is_filled(churn_p, policy, actions):
    plans = plan(policy, churn_p, actions)
    assert (plans.action >= 0).all()
    assert all(len(set(row)) == 3 for row in plans.action.tolist())


@given(probabilities, st.floats(0, 1), st.floats(0, 1))
def test_raising_the_threshold_never_adds_a_customer_at_risk(churn_p, one, other):
    low, high = sorted((one, other))
    at_low, at_high = (plan(Policy(threshold=t), churn_p, [1, 2, 3]).at_risk for t in (low, high))
    assert not (at_high & ~at_low).any()


@given(probabilities, policies, model_plans)
def test_permuting_customers_permutes_plans(churn_p, policy, actions):
    order = np.random.default_rng(0).permutation(len(churn_p))
    plain, moved = plan(policy, churn_p, actions), plan(policy, np.array(churn_p)[order], actions)
    np.testing.assert_array_equal(moved.action, plain.action[order])
    np.testing.assert_array_equal(moved.source, plain.source[order])


@given(probabilities, st.floats(0, 1))
def test_intensity_zero_changes_nothing(churn_p, threshold):
    plans = plan(Policy(mode="graded", intensity=0.0, threshold=threshold), churn_p, [1, 2, 3])
    np.testing.assert_array_equal(plans.action, plans.before)
