"""Uplift: the Qini by its definition and in known cases, Hillstrom's published counts, and the generated truth."""

import numpy as np
import pandas as pd
import pytest

from crm_models import workflow
from crm_models.campaigns.effects import difference
from crm_models.campaigns.learning import learn, learn_from_log, lines
from crm_models.campaigns.making import new
from crm_models.campaigns.simulation import simulate
from crm_models.campaigns.split import Split
from crm_models.campaigns.uplift import (
    Trial,
    arm_models,
    features_of,
    folds_of,
    groups,
    pseudo_effects,
    qini,
    qini_with_interval,
    read_uplift,
)
from crm_models.core.errors import DataError
from crm_models.planning.policy import Policy


def test_qini_by_its_definition():
    rng = np.random.default_rng(0)
    score, treated, outcome = rng.random(50), rng.random(50) < 0.5, (rng.random(50) < 0.4).astype(float)
    order = np.argsort(-score)
    t, y = treated[order], outcome[order]
    gains = []
    for k in range(1, 51):
        n_t, n_c = t[:k].sum(), (~t[:k]).sum()
        gains.append(y[:k][t[:k]].sum() - (y[:k][~t[:k]].sum() * n_t / n_c if n_c else 0))
    assert qini(score, treated, outcome) == pytest.approx((np.mean(gains) - gains[-1] / 2) / 50)
    assert qini(score, treated, outcome, np.full(50, 2)) == pytest.approx(qini(score, treated, outcome), abs=0.01)


def trial(n: int = 6_000, seed: int = 1, propensity: bool = False) -> tuple[Trial, np.ndarray]:
    """An action that helps where x is above 0 and harms below, given with a probability of 0.7; and the true effect."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    effect = np.where(x[:, 0] > 0, 0.2, -0.2)
    arm = (rng.random(n) < 0.7).astype(np.int64)
    outcome = (rng.random(n) < 0.4 + 0.1 * np.tanh(x[:, 1]) + effect * arm).astype(float)
    p = np.tile([0.3, 0.7], (n, 1)) if propensity else None
    made = Trial(x=x, arm=arm, outcome=outcome, actions=("a",), customer=np.arange(n), propensity=p, risk=rng.random(n))
    return made, effect


def test_a_true_ranking_is_worth_more_than_a_random_one_and_a_reversed_one_less():
    made, effect = trial()
    treated = made.arm == 1
    good, bad = (qini(s, treated, made.outcome) for s in (effect, -effect))
    assert good > 0.02 > 0 > bad
    nothing = qini_with_interval(np.ones(len(treated)), treated, made.outcome)
    assert nothing.low < 0 < nothing.high


def test_the_learned_ranking_is_proven_and_both_baselines_are_not(monkeypatch):
    made, effect = trial()
    (found,) = read_uplift(made)
    assert found["useful"]
    assert found["qini"]["uplift"]["low"] > 0.02
    assert found["qini"]["risk"]["low"] < 0 < found["qini"]["risk"]["high"]
    assert found["average"]["low"] < effect.mean() < found["average"]["high"]
    verdicts = [g["verdict"] for g in found["groups"]]
    assert (verdicts[0], verdicts[-1]) == ("sleeping dogs", "persuaded")
    assert sum(g["customers"] for g in found["groups"]) == len(made.arm)
    for group, truth in zip(found["groups"][::4], (-0.2, 0.2), strict=True):
        assert group["low"] < truth < group["high"]


def test_without_any_effect_no_ranking_is_useful_and_no_groups_are_shown():
    made, _ = trial(n=2_000)
    rng = np.random.default_rng(3)
    still = Trial(**(vars(made) | {"outcome": (rng.random(2_000) < 0.5).astype(float)}))
    (found,) = read_uplift(still)
    assert not found["useful"]
    assert found["groups"] == []


def test_doubly_robust_effects_are_right_on_average_in_any_group_with_logged_probabilities():
    made, effect = trial(propensity=True)
    dr = pseudo_effects(made, arm_models(made))
    for rows in (made.x[:, 0] > 0.5, made.x[:, 1] < 0, made.x[:, 0] < -1):
        error = dr[rows].std() / np.sqrt(rows.sum())
        assert dr[rows].mean() == pytest.approx(effect[rows].mean(), abs=3 * error)


def test_models_never_see_the_customer_they_predict_and_rows_of_one_stay_together():
    customer = np.repeat(np.arange(100), 3)
    fold = folds_of(customer)
    assert (fold.reshape(100, 3) == fold.reshape(100, 3)[:, :1]).all()
    assert np.bincount(fold).tolist() == [60] * 5
    made, _ = trial(n=600)
    changed = made.outcome.copy()
    own = np.flatnonzero(folds_of(made.customer) == 0)
    changed[own] = 1 - changed[own]
    again = arm_models(Trial(**(vars(made) | {"outcome": changed})))
    assert (arm_models(made)[own] == again[own]).all()


def test_features_are_numbers_levels_and_flags_for_blanks():
    table = pd.DataFrame({"age": [20, None, 40], "tier": ["a", "b", "a"], "opt": [True, False, True]})
    assert features_of(table).tolist() == [[20, 0, 0, 1], [30, 1, 1, 0], [40, 0, 0, 1]]


def test_groups_of_equal_effects_are_not_proven():
    made, _ = trial(n=1_000)
    rng = np.random.default_rng(0)
    assert {g["verdict"] for g in groups(made, rng.random(1_000), rng.normal(size=1_000))} == {"not proven"}


# ---- Hillstrom's e-mail campaign -------------------------------------------------------------------------------------

HILLSTROM = {"Mens E-Mail": (21_307, 3_894), "Womens E-Mail": (21_387, 3_238), "No E-Mail": (21_306, 2_262)}
"""Customers and visits by arm, as published (MineThatData, 2008): 18.28 %, 15.14 % and 10.62 %."""


def test_hillstroms_published_counts_give_the_published_effects(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        pd.DataFrame({"arm": arm, "outcome": np.repeat([1, 0], [visits, n - visits])})
        for arm, (n, visits) in HILLSTROM.items()
    ]
    table = pd.concat(rows, ignore_index=True)
    table["recency"] = rng.integers(1, 13, len(table))
    table.to_csv(tmp_path / "log.csv", index=False)
    result = learn_from_log(tmp_path / "log.csv")
    found = {row["action"]: row for row in result["uplift"]}
    assert found["Mens E-Mail"]["average"]["value"] == pytest.approx(0.0766, abs=0.0002)
    assert found["Womens E-Mail"]["average"]["value"] == pytest.approx(0.0452, abs=0.0002)
    assert found["Mens E-Mail"]["average"]["low"] > 0.069
    # A random feature ranks nobody.
    assert not found["Mens E-Mail"]["useful"]
    newcombe = difference(
        *(np.repeat([1.0, 0.0], [v, n - v]) for n, v in (HILLSTROM["Mens E-Mail"], HILLSTROM["No E-Mail"]))
    )
    assert (newcombe.value, newcombe.low, newcombe.high) == pytest.approx((0.07659, 0.06995, 0.08322), abs=5e-5)
    values = {plan["plan"]: plan["dr"]["value"] for plan in result["plans"]}
    assert values["Mens E-Mail for all"] == pytest.approx(0.1828, abs=0.001)
    assert values["nobody"] == pytest.approx(0.1062, abs=0.001)


def test_hillstroms_real_file_gives_the_known_qini_coefficients(shared_data):
    file = next((f for f in sorted(shared_data.rglob("*.csv")) if "hillstrom" in str(f).lower()), None)
    if file is None:
        pytest.skip("Hillstrom's file (64,000 rows, MineThatData 2008) is not in ../shared/data")
    result = learn_from_log(
        file, "No E-Mail", columns={"arm": "segment", "outcome": "visit"}, drop=("conversion", "spend")
    )
    assert result["customers"] == 64_000
    found = {row["action"]: row for row in result["uplift"]}
    for arm, (n, _) in HILLSTROM.items():
        assert arm == "No E-Mail" or found[arm]["customers"] == n
    # Measured beside another implementation: T-learner of logistic regressions, and by response.
    assert found["Womens E-Mail"]["qini"]["uplift"]["value"] == pytest.approx(0.0037, abs=0.0003)
    assert found["Mens E-Mail"]["qini"]["uplift"]["value"] == pytest.approx(0.0008, abs=0.0004)
    assert found["Mens E-Mail"]["qini"]["response"]["value"] == pytest.approx(0.0019, abs=0.0004)
    assert found["Womens E-Mail"]["useful"]
    assert found["Mens E-Mail"]["groups"] == []


# ---- in the generated world ------------------------------------------------------------------------------------------


def test_a_simulated_campaign_that_explores_teaches_what_is_true(made, tmp_path):
    workflow.generate(tmp_path / "cohort", scenario="lifelike", customers=3_000, seed=4)
    campaign = new(
        made / "run",
        tmp_path / "campaign",
        cohort=tmp_path / "cohort",
        policy=Policy(threshold=0),
        split=Split(salt="s", holdout=0.2, explore=0.7),
        threads=1,
    )
    with pytest.raises(DataError, match="expected a campaign that was read"):
        learn(campaign)
    simulate(campaign)
    result = learn(campaign)
    assert {row["action"] for row in result["uplift"]} == set(campaign.policy.retention_actions)
    for plan in result["plans"]:
        assert plan["identifiable"], plan["reason"]
        wide = plan["dr"]["high"] - plan["dr"]["low"]
        assert plan["dr"]["low"] - wide / 4 < plan["truth"] < plan["dr"]["high"] + wide / 4
    assert any("doubly robust" in line for line in lines(result))


def test_a_campaign_that_does_not_explore_says_which_plans_it_cannot_judge(made, tmp_path):
    campaign = new(
        made / "run", tmp_path / "c", policy=Policy(threshold=0), split=Split(salt="s", holdout=0.4), threads=1
    )
    simulate(campaign)
    plans = {plan["plan"]: plan for plan in learn(campaign)["plans"]}
    assert plans["as planned"]["identifiable"]
    other = plans["Provide a discount for all"]
    assert not other["identifiable"]
    assert "choices that the log never makes" in other["reason"]
    assert other["dr"] is None
    assert 0 <= other["bounds"][0] < other["bounds"][1] <= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("customer,arm\na,control\n", "expected the column outcome"),
        ("arm,outcome\ncontrol,1\nmail,x\n", "expected a number as outcome in every row"),
        ("arm,outcome\nA,1\nB,0\n", "name it with --control; found A, B"),
        ("arm,outcome\ncontrol,1\nmail,0\n", "expected at least 50 customers with the control group, found 1"),
    ],
)
def test_a_log_that_cannot_be_read_is_refused(text, expected, tmp_path):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(DataError) as error:
        learn_from_log(tmp_path / "log.csv")
    assert expected in str(error.value)
