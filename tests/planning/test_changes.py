"""What changed between two scorings, by hand."""

import numpy as np
import pytest

from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.planning.changes import changes
from crm_models.planning.plans import Catalogue
from crm_models.planning.policy import Policy

WORDS = Catalogue(
    names=("a", "b", "c", *Policy().retention_actions), labels=("a", "b", "c", *Policy().retention_actions),
    n_actions=3, fallback=(), fallback_p=(),
)  # fmt: skip


def scores(ids: str, p: list[float], first: list[int]) -> CustomerScores:
    n = len(ids)
    actions = np.array([[a, a % 3 + 1, (a + 1) % 3 + 1] for a in first])
    half = np.full((n, 3), 0.5)
    plans = DecodedPlans(
        actions=actions, step_p=half, plan_p=half[:, 0], runner_up=np.zeros((n, 3), int), runner_up_p=half
    )
    return CustomerScores(
        customer_id=np.array(list(ids), object), churn_p=np.array(p), n_events=np.full(n, 3), plans=plans
    )


EARLIER = scores("wxyz", [0.1, 0.4, 0.8, 0.3], [1, 1, 1, 1])
LATER = scores("zynx", [0.4, 0.85, 0.9, 0.6], [1, 2, 1, 1])


def test_who_is_new_who_left_and_whose_risk_moved():
    found = changes(EARLIER, LATER, WORDS, Policy(), points=10)
    assert LATER.customer_id[found.new].tolist() == ["n"]
    assert EARLIER.customer_id[found.gone].tolist() == ["w"]
    assert LATER.customer_id[found.moved].tolist() == ["x", "z"], "largest first; exactly ten points count"
    assert LATER.customer_id[found.newly_at_risk].tolist() == ["x"]
    assert found.before.tolist() == pytest.approx([0.3, 0.8, np.nan, 0.4], nan_ok=True)
    assert found.common == 3


def test_a_plan_changes_through_the_model_or_through_the_risk():
    found = changes(EARLIER, LATER, WORDS, Policy(threshold=0.95))
    assert LATER.customer_id[found.plan_changed].tolist() == ["y"]
    assert LATER.customer_id[changes(EARLIER, LATER, WORDS, Policy()).plan_changed].tolist() == ["x"]


def test_without_a_churn_model_nothing_moved():
    unknown = scores("xyz", [np.nan] * 3, [1, 1, 1])
    found = changes(unknown, unknown, WORDS, Policy())
    assert [len(a) for a in (found.new, found.gone, found.moved, found.plan_changed, found.newly_at_risk)] == [0] * 5
