"""Scores a reader can redo on four customers, exact chance, and a report that is right where the truth is known."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.data.cohort import select
from crm_models.data.features import FeatureEncoder
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.data.split import outcomes, split_customers
from crm_models.data.streaming import View
from crm_models.data.truth import Belief, believe, best_plans, churn_p, next_p, sequence_ceiling
from crm_models.evaluation.held_out import HeldOut
from crm_models.evaluation.report import build_report, difference_interval
from crm_models.evaluation.scores import (
    log_loss_per_customer,
    right_per_customer,
    sequence_scores,
)
from crm_models.evaluation.verdict import _drawn_ceiling, _joint_plans, tone, verdict
from tests.evaluation.test_scores import FOUR, churners


class Bench:
    """A generated cohort with its truth, split and encoded as a run does, and what an oracle would answer."""

    def __init__(self, signal: float = 1.0, customers: int = 3000, seed: int = 0) -> None:
        settings = ScenarioSettings(scenario="lifelike", customers=customers, signal=signal, seed=seed)
        self.cohort, self.truth = generate(settings)
        self.split = split_customers(self.cohort, seed=0)
        self.encoder = FeatureEncoder.fit(self.cohort, self.split.train, self.cohort.as_of)
        self.arrays = self.encoder.encode(self.cohort, self.cohort.as_of)
        self.found = outcomes(self.cohort).of_customers(self.split.test)

    def sequence_oracle(self) -> SequencePredictions:
        """The plans and rankings that the generator's own probabilities give."""
        from crm_models.data.split import true_steps

        belief = believe(self.truth, self.cohort)
        belief = Belief(segment=belief.segment[self.found.rows], last=belief.last[self.found.rows])
        ids = np.array([self.encoder.actions.index(name) + 1 for name in self.truth.actions])
        place = np.zeros(self.encoder.n_actions + 1, np.int64)
        place[ids] = np.arange(len(ids))
        actual = true_steps(self.arrays.events, self.found)
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
            single_steps=ids[np.stack([next_p(self.truth, belief, k + 1).argmax(axis=1) for k in range(3)], axis=1)],
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
        told = (self.truth, select(self.cohort, self.split.test)) if truth else ()
        held = HeldOut(
            arrays=self.arrays,
            labels=self.cohort.labels,
            split=self.split,
            outcomes=self.found,
            view=View(side="tested"),
            learned=self.arrays,
            learned_labels=self.cohort.labels,
        )
        return build_report(held, self.encoder, sequence, churn, *told)


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
    sequence |= {"single_step_accuracy", "single_plan_accuracy"}
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
        "The sequence model beats the best baseline (Markov chain of order 2)",
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
    told = _drawn_ceiling(part)
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
    assert first.startswith(
        "The sequence model is worse than the best baseline (Markov chain of order 2): step accuracy lower by"
    )
    assert second.startswith("By loss, the sequence model beats the best baseline (Markov chain of order 2): loss")


def test_steps_chosen_together_are_explained_where_single_ones_are_right_less_often():
    def part(step: tuple[float, float], plan: tuple[float, float]) -> dict:
        ends = {"step_accuracy": step, "plan_accuracy": plan}
        return {"comparisons": [{"score": score, "low": low, "high": high} for score, (low, high) in ends.items()]}

    better, worse, unknown = (0.01, 0.03), (-0.03, -0.01), (-0.01, 0.01)
    (said,) = _joint_plans(part(worse, better))
    assert "most probable together" in said
    for other in (part(better, better), part(unknown, better), part(worse, unknown), {"comparisons": []}):
        assert _joint_plans(other) == []


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
        "The churn model beats the best baseline (logistic): log loss lower by 0.500, 95% interval 0.400 to 0.600."
    )


def test_the_difference_of_two_models_is_that_of_their_scores():
    assert right_per_customer(FOUR).tolist() == [1, 2 / 3, 1 / 2, 0]
    steps = (FOUR.actual > 0).sum(axis=1)
    none = replace(FOUR, plan=np.full((4, 3), 9))
    gap = difference_interval(right_per_customer(FOUR), right_per_customer(none), steps)
    assert gap.value == pytest.approx(sequence_scores(FOUR, 20)["step_accuracy"], abs=1e-8)
    told = churners([1, 0], [1.0, 0.5])
    np.testing.assert_allclose(log_loss_per_customer(told), [1e-7, math.log(2)], rtol=1e-6)


def test_every_comparison_is_the_difference_of_the_two_scores_it_names(oracle_report):
    compared = {
        "sequence": ["step_accuracy", "plan_accuracy", "loss", "hr_at_1", "single_step_accuracy"],
        "churn": ["log_loss", "auc"],
    }
    for name, scores in compared.items():
        part = oracle_report[name]
        assert [comparison["score"] for comparison in part["comparisons"]] == scores
        for comparison in part["comparisons"]:
            score = comparison["score"]
            baselines = {name: own[score] for name, own in part["baselines"].items()}
            best = (min if "loss" in score else max)(baselines.values())
            assert baselines[comparison["baseline"]] == best
            gap = best - part[score] if "loss" in score else part[score] - best
            assert comparison["value"] == pytest.approx(gap, abs=1e-7)
            assert comparison["low"] < comparison["value"] < comparison["high"]


def test_the_ceiling_is_that_of_the_histories_that_were_scored(bench, oracle_report):
    """Of the customers tested, each after the events before the cut-off; another number of events is another answer."""
    n_history = np.zeros(bench.cohort.n_customers, np.int64)
    n_history[bench.found.rows] = bench.found.n_history
    exact = sequence_ceiling(bench.truth, bench.cohort, rows=bench.found.rows, n_history=n_history)
    assert oracle_report["sequence"]["ceiling"] == exact
    assert exact != sequence_ceiling(bench.truth, bench.cohort, rows=bench.found.rows, n_history=n_history - 1)


def test_the_tone_of_a_note_is_told_by_what_it_says(bench, oracle_report):
    """Of notes as the report writes them, so that other words would be noticed here."""
    beaten = oracle_report["notes"][0]
    assert "beats" in beaten
    assert tone(beaten) == "good"
    leaking = bench.report(None, bench.churn(np.nan_to_num(bench.cohort.labels) * 0.98 + 0.01))
    assert [tone(note) for note in leaking["notes"] if "leak" in note] == ["warning"]
    suspicious = bench.report(None, bench.churn(np.nan_to_num(bench.cohort.labels) * 0.98 + 0.01), truth=False)
    assert [tone(note) for note in suspicious["notes"] if "known only after" in note] == ["warning"]
    ignorant = bench.report(None, bench.churn(np.full(bench.cohort.n_customers, 0.01)))
    assert "warning" in [tone(note) for note in ignorant["notes"] if "churn model" in note]
    assert tone("There are no sequence scores.") == "neutral"
