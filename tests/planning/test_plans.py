"""Policies by hand, and laws that hold for any scores."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
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
    assert why[0][0] == "from the most likely three-step sequence (probability 0.50; runner-up: gift 0.20)"
    likelier = reasons(replace(plans, runner_up_p=np.full((3, 3), 0.6)))
    assert (
        likelier[0][0]
        == "from the most likely three-step sequence (probability 0.50; more likely on its own: gift 0.60)"
    )
    narrow = reasons(plan(Policy(threshold=0.2), [0.203997, 0.200001]))
    assert narrow[0][0] == "churn probability 0.204 exceeds 0.200"
    assert narrow[1][0] == "churn probability 0.200001 exceeds 0.2"
    assert why[1] == ["churn probability 0.71 exceeds 0.50"] * 3
    assert why[2][0] == "no history: popular action (50% of all events)"


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


def test_the_catalogue_of_a_run_holds_its_actions_then_retention_actions_that_are_new():
    cohort = Cohort.build(
        name="t",
        source="t",
        customers=None,
        interactions=pd.DataFrame({"customer_id": ["a", "a"], "action": ["m1", "m2"], "timestamp": [1.0, 2.0]}),
        actions=pd.DataFrame({"action": ["m1", "m2", "m3"], "label": ["Mail", "Call", "Visit"]}),
    )
    encoder = FeatureEncoder.fit(cohort, np.array([0]), None)
    # One retention action goes by the label of an action, one by its name, one is new.
    policy = Policy(retention_actions=("Call", "m3", "Offer"))
    words = Catalogue.of(encoder, [[2, 0.5], [1, 0.25]], policy)
    assert words.names == ("m1", "m2", "m3", "Offer")
    assert words.labels == ("Mail", "Call", "Visit", "Offer")
    assert (words.n_actions, words.fallback, words.fallback_p) == (3, (1, 0), (0.5, 0.25))
    assert [words.code(action) for action in policy.retention_actions] == [1, 2, 3]
    for id_of_no_action in (0, 4):
        with pytest.raises(ValueError):
            Catalogue.of(encoder, [[id_of_no_action, 0.5]], policy)


def test_counts_by_hand():
    policy = Policy(threshold=0.5)
    plans = plan(policy, [0.9, 0.1, 0.1], [[1, 2, 3], [1, 2, 3], [1, 2, 3]], n_events=[3, 3, 0])
    assert plans.counts() == {
        "customers": 3,
        "at_risk": 1,
        "empty": 0,
        "by_source": {"model": 1, "override": 1, "graded": 0, "fallback": 1},
    }
    nothing = replace(catalogue(policy), fallback=(), fallback_p=())
    empty = make_plans(scores([0.1, 0.2, 0.9]), nothing, policy)
    assert (empty.counts()["empty"], len(empty)) == (2, 3)
    assert empty.action[:2].tolist() == [[-1, -1, -1]] * 2
    # Code 0 is an action like any other.
    assert make_plans(scores([0.1]), replace(nothing, fallback=(0,), fallback_p=(0.4,)), policy).counts()["empty"] == 0


def test_a_single_event_is_a_history():
    plans = plan(Policy(), [0.1, 0.1], [3, 2, 1], n_events=[1, 0])
    assert plans.source.tolist() == [MODEL, FALLBACK]
    assert plans.before.tolist() == [[2, 1, 0], [1, 0, 2]]


def test_runners_up_move_with_their_steps_and_are_none_elsewhere():
    policy = Policy(mode="graded", threshold=0.5)
    decoded = scores([0.6, 0.1], [[1, 2, 3], [1, 2, 3]])
    assert decoded.plans is not None
    plans = replace(
        decoded.plans,
        runner_up=np.array([[4, 0, 1], [1, 0, 5]]),
        runner_up_p=np.array([[0.3, 0.2, 0.1], [0.3, 0.2, 0.1]]),
    )
    made = make_plans(replace(decoded, plans=plans, n_events=np.array([5, 0])), catalogue(policy), policy)
    # One retention step comes first, so the model's first two steps stand second and third.
    assert made.runner_up.tolist() == [[-1, 3, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(made.runner_up_p[0], [np.nan, 0.3, 0.2])
    assert made.step_p[0, 1:].tolist() == [0.5, 0.4]


def test_steps_can_be_given_in_place_of_the_policys():
    plans = make_plans(scores([0.1, 0.1], [1, 2, 3]), catalogue(Policy()), Policy(), np.array([0, 2]))
    assert (plans.step_source == STEP_RETENTION).sum(axis=1).tolist() == [0, 2]
    assert not plans.at_risk.any()


def test_reasons_of_steps_that_are_not_the_models():
    policy = Policy()
    nothing = replace(catalogue(policy), fallback=(), fallback_p=())
    assert len(set(reasons(make_plans(scores([0.1]), nothing, policy))[0])) == 1
    with_history, without = (
        reasons(make_plans(scores([0.1], n_events=[n]), catalogue(policy), policy))[0][0] for n in (5, 0)
    )
    assert with_history != without
    assert "no history" in without
    assert "50%" in with_history
    assert "50%" in without


def test_the_next_best_action_of_a_step_is_named_also_where_it_is_the_first_of_the_catalogue():
    decoded = scores([0.1], [2, 3, 4])
    assert decoded.plans is not None
    one = replace(decoded.plans, runner_up=np.array([[1, 2, 5]]), runner_up_p=np.array([[0.5, 0.5, 0.1]]))
    first, second, _ = reasons(make_plans(replace(decoded, plans=one), catalogue(Policy()), Policy()))[0]
    assert "runner-up: call 0.50" in first  # equally likely is not more likely
    assert "more likely on its own" in second
    assert "mail 0.50" in second


def test_a_retention_action_that_is_the_first_of_the_catalogue_is_a_retention_step():
    plans = plan(Policy(retention_actions=("call", "x", "y")), [0.9], [3, 2, 4])
    assert labels(plans, 0) == ["call", "x", "y"]
    assert plans.step_source.tolist() == [[STEP_RETENTION] * 3]


def test_reasons_of_steps_that_are_not_the_models_word_for_word():
    policy = Policy()
    nothing = replace(catalogue(policy), fallback=(), fallback_p=())
    assert reasons(make_plans(scores([0.1]), nothing, policy)) == [["no action left to propose"] * 3]
    words = catalogue(policy)
    with_history, without = (reasons(make_plans(scores([0.1], n_events=[n]), words, policy))[0][0] for n in (5, 0))
    assert with_history == "no prediction for this step: popular action (50% of all events)"
    assert without == "no history: popular action (50% of all events)"
