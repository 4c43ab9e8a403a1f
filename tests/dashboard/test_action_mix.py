"""The mix of actions at any threshold: the same counts as making everybody's plans, without making them."""

from collections import Counter

import numpy as np
import pytest

from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.planning import action_mix
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
from dashboard.state import predictions

N, ACTIONS = 500, 9
CALL = ("Call", "a1", "Offer")
"""Retention actions, one of them an action that the model proposes too."""


@pytest.fixture
def everybody() -> CustomerScores:
    """Customers at random: some without a history, some whose risk is not known, many with the very same risk."""
    rng = np.random.default_rng(0)
    churn_p = rng.choice([*np.linspace(0, 1, 31), np.nan, 0.1 + 0.2, 0.4000004], N)
    actions = np.array([rng.permutation(np.arange(1, ACTIONS + 1))[:3] for _ in range(N)])
    ones = np.full((N, 3), 0.2)
    plans = DecodedPlans(actions=actions, step_p=ones, plan_p=ones[:, 0], runner_up=actions, runner_up_p=ones)
    return CustomerScores(
        customer_id=np.arange(N).astype(str), churn_p=churn_p, n_events=rng.integers(0, 3, N), plans=plans
    )


def words(policy: Policy) -> Catalogue:
    names = tuple(f"a{k}" for k in range(ACTIONS))
    extra = tuple(a for a in policy.retention_actions if a not in names)
    return Catalogue(
        names=names + extra, labels=names + extra, n_actions=ACTIONS, fallback=(0, 1, 2), fallback_p=(0.3, 0.2, 0.1)
    )


@pytest.mark.parametrize("mode", ["override", "graded"])
@pytest.mark.parametrize("intensity", [0.0, 0.5, 1.0, 7.0])
def test_the_mix_is_that_of_everybodys_plans_at_every_threshold(everybody, mode, intensity, monkeypatch, request):
    monkeypatch.setattr(action_mix, "BLOCK", 64)
    risk = RiskIndex(everybody.churn_p)
    for threshold in (0.0, 0.1, 0.3, 0.4, 0.5, 2 / 3, 0.9, 1.0):
        policy = Policy(threshold=threshold, mode=mode, intensity=intensity, retention_actions=CALL)
        found = predictions.mix(request.node.name, policy, everybody, words(policy), risk)
        plans = make_plans(everybody, words(policy), policy)
        for column, codes in (("before", plans.before), ("after", plans.action)):
            counted = Counter(plans.catalogue.labels[code] for code in codes.ravel() if code >= 0)
            assert Counter(found.set_index("action")[column].to_dict()) == counted
        assert found["after"].is_monotonic_decreasing


def test_after_the_first_look_a_threshold_makes_the_plans_of_a_few_customers_only(everybody, monkeypatch, request):
    monkeypatch.setattr(action_mix, "BLOCK", 64)
    risk = RiskIndex(everybody.churn_p)
    policies = [Policy(threshold=t, mode="graded") for t in (0.0, 0.11, 0.42, 0.77)]
    for policy in policies:
        predictions.mix(request.node.name, policy, everybody, words(policy), risk)
    planned = []

    def counted(scores, *rest):
        planned.append(len(scores.customer_id))
        return make_plans(scores, *rest)

    monkeypatch.setattr("crm_models.planning.action_mix.make_plans", counted)
    monkeypatch.setattr("dashboard.state.predictions.make_plans", counted)
    for policy in policies:
        planned.clear()
        predictions.mix(request.node.name, policy, everybody, words(policy), risk)
        assert sum(planned) <= 5 * 64
