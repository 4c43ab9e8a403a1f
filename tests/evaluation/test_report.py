"""Scores a reader can redo on four customers, exact chance, and a report that is right where the truth is known."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.data.cohort import Outcomes, outcomes, split_customers
from crm_models.data.features import FeatureEncoder
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.data.truth import Belief, believe, best_plans, churn_p, next_p
from crm_models.evaluation import report
from crm_models.evaluation.report import (
    _chosen_together,
    average_precision,
    build_report,
    calibration_error,
    churn_chance,
    churn_scores,
    difference_interval,
    log_loss_per_customer,
    possible_actions,
    right_per_customer,
    sequence_chance,
    sequence_scores,
    verdict,
)


def sequences(actual: Any, plan: Any, rank: Any, log_p: Any = -1.0) -> SequencePredictions:
    actual = np.array(actual)
    return SequencePredictions(
        customer_id=np.array([f"c{k}" for k in range(len(actual))], dtype=object),
        n_events=np.full(len(actual), 5),
        actual=actual,
        plan=np.array(plan),
        plan_p=np.full(len(actual), 0.1),
        actual_log_p=np.where(actual > 0, log_p, 0.0),
        rank=np.array(rank),
    )


def churners(churned: Sequence[float], p: Sequence[float]) -> ChurnPredictions:
    ids = np.array([f"c{k}" for k in range(len(churned))], dtype=object)
    return ChurnPredictions(customer_id=ids, churned=np.array(churned, float), churn_p=np.array(p, float))


# ---- sequence --------------------------------------------------------------------------------------------------------


FOUR = sequences(
    actual=[[1, 2, 3], [4, 4, 4], [2, 1, 0], [3, 0, 0]],
    plan=[[1, 2, 3], [4, 1, 4], [1, 1, 1], [2, 2, 2]],
    rank=[0, 0, 2, 11],
    log_p=np.log([[0.5, 0.5, 0.5], [0.5, 0.25, 0.5], [0.25, 0.5, 1.0], [0.125, 1.0, 1.0]]),
)
"""Nine known steps: 3 of 3 right, 2 of 3, 1 of 2, 0 of 1."""


def test_sequence_scores_of_four_customers_by_hand():
    scores = sequence_scores(FOUR, n_actions=20)
    assert scores["customers"] == 4
    assert scores["step_accuracy"] == pytest.approx(6 / 9, abs=1e-8)
    assert scores["plan_accuracy"] == pytest.approx(1 / 2, abs=1e-8)  # only two have three known steps
    # Six steps at 1/2, two at 1/4, one at 1/8: 6 + 4 + 3 halvings over nine steps.
    assert scores["loss"] == pytest.approx(13 * math.log(2) / 9, abs=1e-8)
    assert scores["hr_at_1"] == 0.5
    assert scores["hr_at_10"] == 0.75  # the last one's true action stands in the twelfth place
    assert scores["ndcg_at_10"] == pytest.approx((1 + 1 + 1 / math.log2(4)) / 4, abs=1e-8)
    assert set(scores["intervals"]) == {"step_accuracy", "plan_accuracy", "loss", "hr_at_1", "hr_at_10", "ndcg_at_10"}
    for name, (low, high) in scores["intervals"].items():
        assert low < scores[name] < high


def test_a_perfect_predictor_gets_one():
    actual = np.random.default_rng(0).integers(1, 9, (50, 3))
    scores = sequence_scores(sequences(actual, actual, np.zeros(50, int), 0.0), n_actions=8)
    assert [scores[k] for k in ("step_accuracy", "plan_accuracy", "hr_at_1", "hr_at_10", "ndcg_at_10")] == [1] * 5
    assert scores["loss"] == 0
    assert scores["intervals"]["step_accuracy"] == [pytest.approx(50 / (50 + 3.8415), abs=1e-4), 1.0]


@pytest.mark.parametrize("n_actions", [4, 10, 50])
def test_chance_is_what_all_equally_likely_outcomes_average_to(n_actions):
    # One customer per possible outcome of the step, an even distribution, and any fixed order of the actions.
    actual = np.repeat(np.arange(1, n_actions + 1)[:, None], 3, axis=1)
    rank = np.random.default_rng(1).permutation(n_actions)
    scores = sequence_scores(sequences(actual, np.full((n_actions, 3), 2), rank, -math.log(n_actions)), n_actions)
    chance = sequence_chance(n_actions)
    for name in ("step_accuracy", "loss", "hr_at_1", "hr_at_10", "ndcg_at_10"):
        assert scores[name] == pytest.approx(chance[name], abs=1e-8)
    assert chance["plan_accuracy"] == pytest.approx(chance["step_accuracy"] ** 3)


def test_the_chance_loss_of_the_paper_is_3_912():
    cohort, _ = generate(ScenarioSettings(scenario="paper", seed=0))
    assert possible_actions(cohort) == 50  # the retention actions never occur: nobody would guess them
    assert round(sequence_chance(50)["loss"], 3) == 3.912


def test_a_score_that_nobody_can_tell_is_none():
    short = sequences([[1, 0, 0]], [[1, 1, 1]], [0])
    scores = sequence_scores(short, n_actions=3)
    assert scores["plan_accuracy"] is None
    assert "loss" not in scores["intervals"]  # one customer alone says nothing about the spread
    json.dumps(scores, allow_nan=False)


# ---- churn -----------------------------------------------------------------------------------------------------------


def test_churn_scores_of_four_customers_by_hand():
    scores = churn_scores(churners([1, 0, 1, 0], [0.8, 0.6, 0.5, 0.2]))
    assert (scores["customers"], scores["churn_rate"]) == (4, 0.5)
    assert scores["accuracy"] == 0.5  # 0.6 is a false alarm; 0.5 is not strictly above the threshold
    assert scores["auc"] == 0.75  # of the four pairs only (0.5, 0.6) is the wrong way round
    assert scores["average_precision"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-8)
    assert scores["log_loss"] == pytest.approx(-np.log([0.8, 0.4, 0.5, 0.8]).mean(), abs=1e-8)
    assert scores["brier"] == pytest.approx((0.04 + 0.36 + 0.25 + 0.04) / 4, abs=1e-8)
    assert scores["ece"] == pytest.approx((0.2 + 0.6 + 0.5 + 0.2) / 4, abs=1e-8)  # four customers, four bins
    assert churn_scores(churners([1, 0, 1, 0], [0.8, 0.6, 0.5, 0.2]), threshold=0.45)["accuracy"] == 0.75


def test_with_one_class_auc_and_precision_are_none_and_the_rest_is_told():
    scores = churn_scores(churners([0, 0, 0], [0.1, 0.2, 0.3]))
    assert scores["auc"] is scores["average_precision"] is None
    assert scores["ece"] == pytest.approx(0.2)
    assert set(scores["intervals"]) == {"churn_rate", "accuracy", "log_loss", "brier", "ece"}


def test_nobody_to_score_gives_none_everywhere():
    scores = churn_scores(churners([], []))
    assert scores.pop("customers") == 0
    assert scores.pop("intervals") == {}
    assert set(scores.values()) == {None}


@pytest.mark.parametrize("digits", [0, 1, 8])
def test_average_precision_agrees_with_scikit_learn(digits):
    rng = np.random.default_rng(2)
    y = (rng.random(500) < 0.3).astype(float)
    p = np.clip(0.3 * y + rng.random(500), 0, 1).round(digits)
    order = np.argsort(p, kind="stable")
    assert average_precision(y[order], p[order]) == pytest.approx(average_precision_score(y, p), rel=1e-12)


def test_chance_is_what_the_churn_rate_alone_reaches():
    y = np.repeat([1.0, 0.0], [300, 700])
    scores, chance = churn_scores(churners(y, np.full(1000, 0.3))), churn_chance(0.3)
    for name, value in chance.items():
        assert scores[name] == pytest.approx(value, abs=1e-8)


def test_customers_with_the_same_probability_share_a_bin():
    # In one bin 100 customers at 0.3, 30 of them gone: no error, whatever their order.
    y = np.random.default_rng(3).permutation(np.repeat([1.0, 0.0], [30, 70]))
    assert calibration_error(y, np.full(100, 0.3)) == pytest.approx(0.0, abs=1e-12)
    # Two bins of 50: 0.1 off and 0.2 off.
    y = np.concatenate([np.repeat([1.0, 0.0], [15, 35]), np.repeat([1.0, 0.0], [45, 5])])
    assert calibration_error(y, np.repeat([0.2, 0.7], 50)) == pytest.approx(0.15)


def test_the_calibration_error_tells_honest_from_boastful_probabilities():
    rng = np.random.default_rng(4)
    p = rng.beta(1, 3, 20_000)
    y = (rng.random(20_000) < p).astype(float)
    boastful = p**2 / (p**2 + (1 - p) ** 2)  # log-odds doubled
    honest, other = churn_scores(churners(y, p)), churn_scores(churners(y, boastful))
    assert honest["ece"] < 0.012
    assert other["ece"] > 0.08
    assert honest["intervals"]["ece"][1] < other["intervals"]["ece"][0]


def test_the_order_of_the_customers_changes_no_score():
    rng = np.random.default_rng(5)
    told = churners((rng.random(400) < 0.3).astype(float), rng.random(400).round(2))
    order = rng.permutation(400)
    shuffled = replace(told, churned=told.churned[order], churn_p=told.churn_p[order])
    before, after = churn_scores(told), churn_scores(shuffled)
    assert before.keys() == after.keys()
    for name in before:
        assert after[name] == (before[name] if name == "intervals" else pytest.approx(before[name], abs=2e-8))
    for turned in permutations(range(4)):
        rows = list(turned)
        some = SequencePredictions(**{name: value[rows] for name, value in vars(FOUR).items()})
        assert sequence_scores(some, 20) == sequence_scores(FOUR, 20)


# ---- the report ------------------------------------------------------------------------------------------------------


class Bench:
    """A generated cohort with its truth, split and encoded as a run does, and what an oracle would answer."""

    def __init__(self, signal: float = 1.0, customers: int = 3000, seed: int = 0) -> None:
        settings = ScenarioSettings(scenario="lifelike", customers=customers, signal=signal, seed=seed)
        self.cohort, self.truth = generate(settings)
        self.split = split_customers(self.cohort, seed=0)
        self.encoder = FeatureEncoder.fit(self.cohort, self.split.train, self.cohort.as_of)
        self.arrays = self.encoder.encode(self.cohort, self.cohort.as_of)
        every = outcomes(self.cohort)
        test = np.isin(every.rows, self.split.test)
        self.found = Outcomes(rows=every.rows[test], n_history=every.n_history[test], n_outcome=every.n_outcome[test])

    def sequence_oracle(self) -> SequencePredictions:
        """The plans and rankings that the generator's own probabilities give."""
        from crm_models.baselines.simple import true_steps

        belief = believe(self.truth, self.cohort)
        belief = Belief(segment=belief.segment[self.found.rows], last=belief.last[self.found.rows])
        ids = np.array([self.encoder.actions.index(name) + 1 for name in self.truth.actions])
        place = np.zeros(self.encoder.n_actions + 1, np.int64)
        place[ids] = np.arange(len(ids))
        actual = true_steps(self.arrays, self.found)
        plans, log_p, line = best_plans(self.truth, belief), np.zeros(actual.shape), belief
        rank = np.zeros(len(actual), np.int64)
        rows = np.arange(len(actual))
        for step in range(3):
            p, own = next_p(self.truth, line), place[actual[:, step]]
            log_p[:, step] = np.log(p[rows, own])
            if step == 0:
                value = p[rows, own][:, None]
                rank = ((p > value) | ((p == value) & (np.arange(p.shape[1]) < own[:, None]))).sum(axis=1)
            seen = line.segment * np.array(self.truth.transition)[:, line.last, own].T
            line = Belief(segment=seen / seen.sum(axis=1, keepdims=True), last=own)
        return SequencePredictions(
            customer_id=self.arrays.customer_id[self.found.rows],
            n_events=self.found.n_history,
            actual=actual,
            plan=ids[plans.plan],
            plan_p=plans.plan_p,
            actual_log_p=log_p,
            rank=rank,
        )

    def churn(self, p: np.ndarray) -> ChurnPredictions:
        test = self.split.test
        return ChurnPredictions(
            customer_id=self.arrays.customer_id[test], churned=self.cohort.labels[test], churn_p=p[test]
        )

    def churn_oracle(self) -> ChurnPredictions:
        return self.churn(churn_p(self.truth, self.cohort))

    def report(
        self, sequence: SequencePredictions | None, churn: ChurnPredictions | None, truth: bool = True
    ) -> dict[str, Any]:
        told = self.truth if truth else None
        return build_report(self.cohort, self.arrays, self.split, self.found, self.encoder, sequence, churn, told)


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="module")
def oracle_report(bench: Bench) -> dict[str, Any]:
    return bench.report(bench.sequence_oracle(), bench.churn_oracle())


def test_the_report_has_the_keys_of_the_contract_and_is_plain_json(oracle_report):
    again = json.loads(json.dumps(oracle_report, allow_nan=False))
    assert again == oracle_report
    sequence = {"customers", "step_accuracy", "plan_accuracy", "loss", "hr_at_1", "hr_at_10", "ndcg_at_10"}
    churn = {"customers", "churn_rate", "accuracy", "auc", "average_precision", "log_loss", "brier", "ece"}
    for part, keys in ((again["sequence"], sequence), (again["churn"], churn)):
        assert keys | {"chance", "baselines", "ceiling", "intervals"} <= set(part)
        assert set(part["intervals"]) == keys - {"customers"}
        for other in (part["chance"], part["ceiling"], *part["baselines"].values()):
            assert keys - {"customers"} <= set(other)
    assert set(again["sequence"]["baselines"]) == {"popular", "recent", "repeat_last", "markov", "markov_2"}
    assert set(again["churn"]["baselines"]) == {"majority", "recency", "logistic"}


def test_an_oracle_lies_at_the_ceiling_above_every_baseline_above_chance(oracle_report):
    for name, score in (("sequence", "step_accuracy"), ("sequence", "plan_accuracy"), ("churn", "auc")):
        part = oracle_report[name]
        low, high = part["intervals"][score]
        assert low < part["ceiling"][score] < high
        best = max(baseline[score] for baseline in part["baselines"].values())
        assert part["chance"][score] < best < part[score]
    sequence, churn = oracle_report["sequence"], oracle_report["churn"]
    assert sequence["intervals"]["loss"][0] < sequence["ceiling"]["loss"] < sequence["intervals"]["loss"][1]
    assert churn["intervals"]["log_loss"][0] < churn["ceiling"]["log_loss"] < churn["intervals"]["log_loss"][1]
    assert churn["ece"] < 0.05


def test_the_report_says_in_words_that_an_oracle_beats_the_baselines(oracle_report):
    assert [note.split(":")[0] for note in oracle_report["notes"]] == [
        "The sequence model beats the best baseline (markov 2)",
        "The churn model beats the best baseline (logistic)",
    ]
    gap = oracle_report["churn"]["over_best_baseline"]
    assert gap["score"] == "log_loss"
    assert 0 < gap["low"] < gap["value"] < gap["high"]
    logistic = oracle_report["churn"]["baselines"]["logistic"]
    assert gap["value"] == pytest.approx(logistic["log_loss"] - oracle_report["churn"]["log_loss"], abs=1e-7)
    told = {c["score"]: c for c in oracle_report["churn"]["comparisons"]}
    assert told["auc"]["value"] == pytest.approx(oracle_report["churn"]["auc"] - logistic["auc"], abs=1e-7)
    told = {c["score"]: c for c in oracle_report["sequence"]["comparisons"]}
    best = oracle_report["sequence"]["baselines"]["markov_2"]
    for score, sign in (("step_accuracy", 1), ("loss", -1)):
        expected = sign * (oracle_report["sequence"][score] - best[score])
        assert told[score]["value"] == pytest.approx(expected, abs=1e-7)


def test_the_ceiling_as_drawn_is_what_an_oracle_scores_on_the_same_customers(oracle_report):
    churn = oracle_report["churn"]
    assert churn["ceiling_as_drawn"] == {name: churn[name] for name in churn["ceiling_as_drawn"]}
    assert churn["ceiling_as_drawn"]["auc"] != churn["ceiling"]["auc"]


@pytest.mark.parametrize(("drawn", "said"), [(0.931, True), (0.963, True), (0.942, False)])
def test_luck_of_the_draw_is_told_where_it_moves_the_ceiling(drawn, said):
    part = {"customers": 1000, "ceiling": {"auc": 0.947}, "ceiling_as_drawn": {"auc": drawn}}
    told = report._luck(part)
    assert [f"AUC of {drawn:.3f}" in note and "0.947" in note for note in told] == [True] * said


def test_without_truth_only_the_ceiling_is_missing(bench, oracle_report):
    told = bench.report(bench.sequence_oracle(), bench.churn_oracle(), truth=False)
    for name in ("sequence", "churn"):
        assert told[name]["ceiling"] is None
        with_truth = {key: oracle_report[name][key] for key in ("ceiling", "ceiling_as_drawn") if key in told[name]}
        assert told[name] | with_truth == oracle_report[name]
    assert told["notes"] == oracle_report["notes"]


def test_a_part_without_a_model_is_null_and_says_so(bench):
    told = bench.report(None, bench.churn(np.full(3000, 0.3)))
    assert told["sequence"] is None
    assert told["notes"][0].startswith("There are no sequence scores")
    told = bench.report(None, churners([], []))
    assert told["churn"] is None
    assert told["notes"][1].startswith("There are no churn scores")


def test_a_model_that_knows_the_answer_raises_an_alarm(bench):
    answer = np.nan_to_num(bench.cohort.labels) * 0.98 + 0.01
    told = bench.report(None, bench.churn(answer))
    assert any("above the ceiling" in note for note in told["notes"])
    told = bench.report(None, bench.churn(answer), truth=False)
    assert any("suspiciously high" in note for note in told["notes"])
    cheat = bench.sequence_oracle()
    told = bench.report(replace(cheat, plan=cheat.actual), None)
    assert any("step accuracy of 1.000 is above the ceiling" in note for note in told["notes"])


def test_probabilities_that_tell_another_story_than_the_first_guess_are_told_too(bench):
    oracle = bench.sequence_oracle()
    first, second, *_ = bench.report(replace(oracle, plan=np.ones_like(oracle.plan)), None)["notes"]
    assert first.startswith("The sequence model is worse than the best baseline (markov 2): step accuracy lower by")
    assert second.startswith("The sequence model beats the best baseline (markov 2): loss lower by")


def test_steps_chosen_together_are_explained_where_single_ones_are_right_less_often():
    def part(step: tuple[float, float], plan: tuple[float, float]) -> dict:
        ends = {"step_accuracy": step, "plan_accuracy": plan}
        return {"comparisons": [{"score": score, "low": low, "high": high} for score, (low, high) in ends.items()]}

    better, worse, unknown = (0.01, 0.03), (-0.03, -0.01), (-0.01, 0.01)
    (said,) = _chosen_together(part(worse, better))
    assert "most probable together" in said
    for other in (part(better, better), part(unknown, better), part(worse, unknown), {"comparisons": []}):
        assert _chosen_together(other) == []


def test_a_model_that_knows_nothing_is_said_to_be_worse(bench):
    told = bench.report(None, bench.churn(np.random.default_rng(0).random(3000)))
    assert told["notes"][1].startswith("The churn model is worse than the best baseline (logistic): log loss higher by")
    assert verdict("churn", told["churn"], "auc").startswith(
        "The churn model is worse than the best baseline (logistic): AUC lower by"
    )


def test_with_test_customers_of_one_class_the_report_says_that_the_auc_is_unknown(bench):
    people = bench.cohort.customers.copy()
    people.loc[bench.split.test, "churned"] = False
    one = Bench.__new__(Bench)
    vars(one).update(vars(bench) | {"cohort": replace(bench.cohort, customers=people)})
    told = one.report(None, one.churn(np.full(3000, 0.3)))
    assert told["churn"]["auc"] is None
    assert [comparison["score"] for comparison in told["churn"]["comparisons"]] == ["log_loss"]
    assert told["notes"][-1] == "The churn AUC is unknown: the test customers are all of one class."
    json.dumps(told, allow_nan=False)


def test_without_signal_nothing_beats_chance_and_no_alarm_is_raised():
    bench = Bench(signal=0.0, customers=2000, seed=1)
    told = bench.report(bench.sequence_oracle(), bench.churn_oracle())
    for note in told["notes"]:
        assert "no more than sampling error" in note
    for own in told["sequence"]["baselines"].values():
        low, high = own["intervals"]["step_accuracy"]
        assert low < told["sequence"]["chance"]["step_accuracy"] < high


def test_three_customers_are_too_few_to_call_a_winner():
    gap = {"score": "log_loss", "baseline": "logistic", "value": 0.5, "low": 0.4, "high": 0.6}
    part = {"customers": 3, "over_best_baseline": gap, "comparisons": [gap]}
    assert verdict("churn", part) == "3 held-out customers are too few to compare the churn model with the baselines."
    assert verdict("churn", part | {"customers": 300}) == (
        "The churn model beats the best baseline (logistic): log loss lower by 0.500, 95 % interval 0.400 to 0.600."
    )


def test_the_difference_of_two_models_is_that_of_their_scores():
    assert right_per_customer(FOUR).tolist() == [1, 2 / 3, 1 / 2, 0]
    steps = (FOUR.actual > 0).sum(axis=1)
    none = replace(FOUR, plan=np.full((4, 3), 9))
    gap = difference_interval(right_per_customer(FOUR), right_per_customer(none), steps)
    assert gap.value == pytest.approx(sequence_scores(FOUR, 20)["step_accuracy"], abs=1e-8)
    told = churners([1, 0], [1.0, 0.5])
    np.testing.assert_allclose(log_loss_per_customer(told), [1e-7, math.log(2)], rtol=1e-6)
