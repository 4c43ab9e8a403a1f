"""The action mix at any threshold equals a count over everybody's plans."""

from collections import Counter

import numpy as np
import pytest

from crm_models.planning import action_mix
from crm_models.planning.plans import make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
from tests.planning.test_plans import catalogue, scores


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(action_mix, "BLOCK", 4)


def test_a_change_by_hand():
    policy = Policy(retention_actions=("x", "call", "z"))
    words = catalogue(policy)
    # Call, mail, visit for both: two retention steps make it x, call, mail; visit goes, x comes.
    gained = action_mix.change(scores([0.9, 0.1], [1, 2, 3]), words, policy, 2)
    assert dict(zip(words.labels, gained.tolist(), strict=True)) == {
        "call": 0,
        "mail": 0,
        "visit": -2,
        "gift": 0,
        "Provide a discount": 0,
        "x": 2,
        "z": 0,
    }
    assert not action_mix.change(scores([0.9], [1, 2, 3]), words, policy, 0).any()


def test_sums_stand_at_every_block_of_customers_in_order_of_risk():
    policy = Policy(retention_actions=("x", "y", "z"))
    everybody = scores(np.linspace(0, 1, 10), [[k % 4 + 1, 5, (k + 2) % 4 + 1] for k in range(10)])
    rows = RiskIndex(everybody.churn_p).rows
    sums = action_mix.change_sums(everybody, rows, catalogue(policy), policy, 3)
    assert len(sums) == 3  # after 0, 4 and 8 customers
    for k, total in enumerate(sums):
        expected = action_mix.change(everybody.take(rows[: 4 * k]), catalogue(policy), policy, 3)
        assert total.tolist() == expected.tolist()


@pytest.mark.parametrize("mode", ["override", "graded"])
@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.85, 1.0])
def test_the_mix_is_that_of_everybodys_plans(mode, threshold):
    rng = np.random.default_rng(0)
    everybody = scores(rng.choice([*np.linspace(0, 1, 9), np.nan], 30), [rng.permutation(5)[:3] + 1 for _ in range(30)])
    policy = Policy(threshold=threshold, mode=mode, retention_actions=("call", "x", "gift"))
    words, risk = catalogue(policy), RiskIndex(everybody.churn_p)
    plans = make_plans(everybody, words, policy)
    before = np.bincount(plans.before.ravel(), minlength=len(words.labels))

    def change_of_first(k: int, n: int) -> np.ndarray:
        return action_mix.change(everybody.take(risk.rows[:n]), words, policy, k)

    after = action_mix.mix_after(before, policy, risk, change_of_first)
    counted = Counter(plans.action.ravel().tolist())
    assert after.tolist() == [counted[code] for code in range(len(words.labels))]
