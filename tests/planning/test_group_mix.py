"""Plans by group: three customers in two groups, by hand, in one part or two."""

import numpy as np

from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.planning.group_mix import mix_by_group
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import Policy

POLICY = Policy(threshold=0.5, retention_actions=("R", "S", "T"))
WORDS = Catalogue(
    names=("a", "b", "c", "R", "S", "T"), labels=("A", "B", "C", "R", "S", "T"), n_actions=3, fallback=(), fallback_p=()
)
NONE = np.zeros((3, 3), int)
PLANS = DecodedPlans(
    actions=np.array([[1, 2, 3], [2, 1, 3], [1, 2, 0]]),
    step_p=np.full((3, 3), 0.5),
    plan_p=np.full(3, 0.1),
    runner_up=NONE,
    runner_up_p=NONE.astype(float),
)
SCORES = CustomerScores(
    customer_id=np.array(["x", "y", "z"], dtype=object),
    churn_p=np.array([0.9, 0.1, 0.2]),
    n_events=np.array([4, 4, 4]),
    plans=PLANS,
)


def test_counts_by_hand_in_one_part_and_in_two():
    group, names = np.array([0, 0, 2], np.int16), ["gold", "nobody", "basic"]
    whole = mix_by_group([make_plans(SCORES, WORDS, POLICY)], group, names)
    parts = [make_plans(SCORES.take(rows), WORDS, POLICY) for rows in (np.array([0]), np.array([1, 2]))]
    for found in (whole, mix_by_group(parts, group, names)):
        table = found.table()
        assert table["group"].tolist() == ["gold", "basic"]
        assert table["customers"].tolist() == [2, 1]
        assert table["at risk"].tolist() == [1, 0]
        assert list(table)[3:] == ["A", "B", "C", "R", "S", "T"]
        assert table.iloc[:, 3:].to_numpy().tolist() == [[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]]
