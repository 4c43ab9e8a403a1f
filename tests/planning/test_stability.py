"""Where seeds disagree, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.stability import Stability

FOUND = Stability(
    seeds=(0, 1, 2),
    customer_id=np.array(["a", "b", "c", "d"], dtype=object),
    churn_p=np.array([[0.9, 0.8, 0.7], [0.6, 0.4, 0.6], [0.1, 0.2, 0.1], [0.1, 0.5, 0.1]]),
    first=np.array([[0, 1, 0], [0, 0, 0], [0, 0, 1], [2, 2, 2]]),
    scores={"churn": {"auc": [0.8, 0.7, 0.75]}},
)


def plans_of(ids: list[str], threshold: float, mode: str = "override"):
    n = len(ids)
    catalogue = Catalogue(names=("x", "y", "z"), labels=("x", "y", "z"), n_actions=3, fallback=(), fallback_p=())
    policy = Policy(threshold=threshold, mode=mode, retention_actions=("x", "y", "z"))
    steps = np.tile([1, 2, 3], (n, 1))
    plans = DecodedPlans(
        actions=steps, step_p=steps / 4, plan_p=np.ones(n), runner_up=0 * steps, runner_up_p=0.0 * steps
    )
    known = dict(zip(FOUND.customer_id, FOUND.churn_p[:, 0], strict=True))
    churn_p = np.array([known.get(name, 0.1) for name in ids])
    ids = np.array(ids, dtype=object)
    return make_plans(
        CustomerScores(customer_id=ids, churn_p=churn_p, n_events=np.ones(n), plans=plans), catalogue, policy
    )


def test_counts_by_hand():
    # b changes side of 0.5; a and c change their first action, but a gets retention actions whatever the seed.
    assert FOUND.counts(0.5) == {"customers": 4, "change_side": 1, "change_first_action": 2, "not_confident": 2}
    # At 0.3, everybody but d (0.1 and 0.5) is on one side.
    assert FOUND.counts(0.3) == {"customers": 4, "change_side": 1, "change_first_action": 2, "not_confident": 2}
    assert FOUND.counts(0.95)["not_confident"] == 2
    assert FOUND.spread("churn", "auc") == (0.7, 0.8)
    assert FOUND.spread("sequence", "loss") is None


@pytest.mark.parametrize("mode", ["override", "graded"])
def test_plans_are_matched_by_customer_and_unknown_ones_are_blank(mode):
    plans = plans_of(["d", "c", "new", "b", "a"], 0.5, mode)
    assert FOUND.confident(plans).tolist()[:2] == [True, False]
    assert FOUND.confident(plans).isna().tolist() == [False, False, True, False, False]
    assert FOUND.confident(plans).tolist()[3:] == [False, True]


def test_without_a_churn_model_only_the_first_action_counts():
    blank = replace(FOUND, churn_p=np.full((4, 3), np.nan))
    assert blank.counts(0.5) == {"customers": 4, "change_side": 0, "change_first_action": 2, "not_confident": 2}
