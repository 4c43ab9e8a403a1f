"""Ceilings are exact: by hand on two segments and two actions, by brute force, and by simulation."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from crm_models.bench import ceilings
from crm_models.core.errors import DataError
from crm_models.data.cohort import Cohort, select
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.data.sources.synthetic.settings import AS_OF
from crm_models.data.storage import save_cohort
from crm_models.data.truth import (
    Belief,
    ChurnTruth,
    Truth,
    believe,
    best_plans,
    churn_ceiling,
    churn_p,
    expected_auc,
    load_truth,
    next_p,
    sequence_ceiling,
)


def small_truth() -> Truth:
    """Two segments, equally likely: one keeps doing what it did (0.9), the other alternates (0.9)."""
    nothing = ChurnTruth(
        signal=1.0,
        base_rate=0.5,
        intercept=0.0,
        recency=0.0,
        complaint=0.0,
        rating=0.0,
        tenure=0.0,
        tier={},
        segment=(math.log(3), -math.log(3)),
    )
    return Truth(
        actions=("x", "y"),
        prior=(0.5, 0.5),
        start=(0.5, 0.5),
        transition=(((0.9, 0.1), (0.1, 0.9)), ((0.1, 0.9), (0.9, 0.1))),
        profile=(),
        churn=nothing,
    )


def small_cohort(histories: dict[str, str]) -> Cohort:
    events = [(c, a, float(t)) for c, actions in histories.items() for t, a in enumerate(actions)]
    table = pd.DataFrame(events, columns=["customer_id", "action", "timestamp"])
    people, actions = pd.DataFrame({"customer_id": list(histories)}), pd.DataFrame({"action": ["x", "y"]})
    return Cohort.build(
        name="t", source="t", customers=people, interactions=table, actions=actions, as_of=100.0, outcome="simulated"
    )


def test_the_posterior_by_hand():
    belief = believe(small_truth(), small_cohort({"a": "xx", "b": "xyx", "c": "x", "d": ""}))
    # a: one repeat, 0.9 against 0.1. b: two alternations, 0.1^2 against 0.9^2. c and d: nothing seen that tells.
    np.testing.assert_allclose(belief.segment[:, 0], [0.9, 0.01 / 0.82, 0.5, 0.5])
    assert belief.last.tolist() == [0, 0, 0, -1]


def test_the_next_action_and_the_best_plan_by_hand():
    truth = small_truth()
    belief = believe(truth, small_cohort({"a": "xx"}))
    # P(x next) = 0.9 * 0.9 + 0.1 * 0.1.
    np.testing.assert_allclose(next_p(truth, belief)[0], [0.82, 0.18])
    plans = best_plans(truth, belief)
    assert plans.plan.tolist() == [[0, 0, 0]]
    np.testing.assert_allclose(plans.plan_p, [0.9 * 0.9**3 + 0.1 * 0.1**3])


def test_the_best_plan_equals_brute_force_over_all_plans():
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.ones(4), size=(3, 4))
    start = rng.dirichlet(np.ones(4))
    truth = Truth(
        actions=tuple("abcd"),
        prior=(0.2, 0.3, 0.5),
        start=tuple(start),
        transition=tuple(tuple(tuple(row) for row in table) for table in transition),
        profile=(),
        churn=small_truth().churn,
    )
    belief = Belief(segment=rng.dirichlet(np.ones(3), size=6), last=np.array([-1, 0, 1, 2, 3, 0]))
    plans = best_plans(truth, belief)
    for k in range(6):
        best, entropy = (0.0, None), 0.0
        for plan in np.ndindex(4, 4, 4):
            p = 0.0
            for s in range(3):
                first = start[plan[0]] if belief.last[k] < 0 else transition[s, belief.last[k], plan[0]]
                p += belief.segment[k, s] * first * transition[s, plan[0], plan[1]] * transition[s, plan[1], plan[2]]
            best = max(best, (p, plan), key=lambda pair: pair[0])
            entropy -= p * math.log(p)
        assert tuple(plans.plan[k]) == best[1]
        assert plans.plan_p[k] == pytest.approx(best[0])
        assert plans.entropy[k] == pytest.approx(entropy)


def test_churn_averages_over_what_is_not_known_of_the_segment():
    p = churn_p(small_truth(), small_cohort({"a": "xx", "c": "x"}))
    # Log-odds of ln 3 and -ln 3 are 0.75 and 0.25.
    np.testing.assert_allclose(p, [0.9 * 0.75 + 0.1 * 0.25, 0.5])


def test_the_expected_auc_equals_the_sum_over_pairs():
    p = np.random.default_rng(0).choice([0.1, 0.2, 0.5, 0.9], 40)
    top = bottom = 0.0
    for i in range(40):
        for j in range(40):
            if i != j:
                weight = p[i] * (1 - p[j])
                top += weight * ((p[i] > p[j]) + 0.5 * (p[i] == p[j]))
                bottom += weight
    assert expected_auc(p) == pytest.approx(top / bottom)


def test_constant_probabilities_rank_nothing():
    ceiling = churn_ceiling(np.full(100, 0.3))
    assert ceiling["auc"] == pytest.approx(0.5)
    assert ceiling["accuracy"] == pytest.approx(0.7)
    assert ceiling["brier"] == pytest.approx(0.21)


def test_without_signal_the_ceiling_is_chance():
    cohort, truth = generate(ScenarioSettings(scenario="lifelike", customers=400, signal=0.0))
    ceiling = sequence_ceiling(truth, cohort)
    assert ceiling["step_accuracy"] == pytest.approx(1 / 12)
    assert ceiling["plan_accuracy"] == pytest.approx(1 / 12**3)
    assert ceiling["loss"] == pytest.approx(math.log(12))
    assert churn_ceiling(churn_p(truth, cohort))["auc"] == pytest.approx(0.5)


def test_permuting_customers_permutes_beliefs_and_probabilities():
    cohort, truth = generate(ScenarioSettings(scenario="lifelike", customers=100))
    order = np.random.default_rng(0).permutation(100)
    moved = select(cohort, order)
    np.testing.assert_allclose(believe(truth, moved).segment, believe(truth, cohort).segment[order])
    np.testing.assert_allclose(churn_p(truth, moved), churn_p(truth, cohort)[order])


def test_the_outcome_tells_the_belief_nothing():
    cohort, truth = generate(ScenarioSettings(scenario="lifelike", customers=200))
    history_only = cohort.interactions["timestamp"] < AS_OF
    cut = Cohort.build(
        name="t",
        source="t",
        customers=cohort.customers,
        interactions=cohort.interactions[history_only],
        actions=cohort.actions,
        as_of=AS_OF,
        outcome="simulated",
    )
    np.testing.assert_array_equal(believe(truth, cut).segment, believe(truth, cohort).segment)


def test_the_truth_survives_json_and_is_none_where_it_was_deleted(tmp_path):
    cohort, truth = generate(ScenarioSettings(scenario="lifelike", customers=30))
    folder = save_cohort(cohort, tmp_path / "c", extra={"truth.json": truth.to_json()})
    assert load_truth(folder) == truth
    (folder / "truth.json").write_text(json.dumps({"actions": []}))
    with pytest.raises(DataError, match=r"truth\.json"):
        load_truth(folder)
    (folder / "truth.json").unlink()
    assert load_truth(folder) is None


# ---- by simulation ---------------------------------------------------------------------------------------------------


def check_by_simulation(scenario: str, customers: int, signal: float, seed: int) -> None:
    """What the true probabilities score on outcomes that were really drawn is the ceiling, within four errors."""
    settings = ScenarioSettings(scenario=scenario, customers=customers, signal=signal, seed=seed)
    cohort, truth = generate(settings)
    rows = ceilings.next_actions(cohort, truth) + (ceilings.churn(cohort, truth) if cohort.has_labels else [])
    assert [row for row in rows if not abs(row[-1]) < 4] == []


@pytest.mark.parametrize(
    ("scenario", "customers", "signal", "seed"),
    [
        ("lifelike", 20_000, 1.0, 0),
        ("lifelike", 20_000, 0.5, 1),
        ("lifelike", 20_000, 0.0, 2),
        ("paper", 20_000, 1.0, 3),
        ("movielens", 400, 1.0, 4),
        ("amazon", 400, 0.5, 5),
        ("churn", 400, 1.0, 6),
        ("churn", 200, 0.0, 7),
    ],
)
def test_ceilings_agree_with_what_is_drawn(scenario, customers, signal, seed):
    check_by_simulation(scenario, customers, signal, seed)


@pytest.mark.slow
def test_ceilings_agree_with_a_quarter_of_a_million_draws():
    """`python -m crm_models.bench.ceilings lifelike` draws a million."""
    check_by_simulation("lifelike", 85_000, 1.0, 3)
