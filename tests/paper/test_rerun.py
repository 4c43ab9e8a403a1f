"""The paper's figures as printed, its re-run, and the report on both."""

import json
import math

import numpy as np
import pytest

from crm_models.core.records import ChurnPredictions
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.evaluation.report import difference_interval
from crm_models.evaluation.scores import log_loss_per_customer, sequence_chance
from crm_models.paper.report import markdown, page, write_report
from crm_models.paper.rerun import (
    CHANCE_LOSS,
    TABLE_II,
    TABLE_III,
    TABLE_IV,
    _inside_each,
    fit_once,
    lifelike,
    rerun,
    rerun_steps,
    tiny_config,
)


@pytest.fixture(scope="module")
def result() -> dict:
    return rerun(3)


def test_the_printed_tables_agree_with_each_other_where_the_paper_says_so():
    for model in ("sequence", "churn"):
        assert len(TABLE_III[model]) == 10
        assert TABLE_III[model][-1] == TABLE_IV[model]["loss"]
    assert round(1 / 60, 4) == TABLE_IV["sequence"]["accuracy"]
    assert TABLE_IV["churn"]["accuracy"] == 8 / 20
    # Table II claims another result for the same ten epochs.
    assert TABLE_II["sequence"]["loss"] != TABLE_IV["sequence"]["loss"]
    assert {"sequence": math.log(50), "churn": math.log(2)} == CHANCE_LOSS


def test_inside_means_between_the_lowest_and_the_highest_of_that_epoch():
    assert _inside_each((1.0, 2.0, 3.0), [(0.9, 2.1, 3.0), (1.1, 2.2, 3.0)]) == [True, False, True]


def test_the_content_of_paper_json(result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for model in ("sequence", "churn"):
        assert np.array(result[f"{model}_loss"]).shape == (3, 10)
        assert len(result[f"{model}_accuracy"]) == 3
        assert len(result["inside"][f"{model}_loss"]) == 10
    assert {"table_1", "table_2", "table_3", "table_4"} <= set(result["paper"])
    # Twenty test customers: accuracies are multiples of 1/60 and of 1/20.
    np.testing.assert_allclose(np.array(result["sequence_accuracy"]) * 60 % 1 % 0.999999, 0, atol=1e-4)
    np.testing.assert_allclose(np.array(result["churn_accuracy"]) * 20 % 1 % 0.999999, 0, atol=1e-4)


def test_the_first_losses_are_near_chance_and_fall_by_memory_alone(result):
    losses = np.array(result["sequence_loss"])
    assert (abs(losses[:, 0] - math.log(50)) < 0.4).all()
    assert (np.diff(losses, axis=1) < 0).all()


def test_sample_plans_are_three_different_films_for_each_of_five_users(result):
    assert [user for user, _ in result["sample_plans"]] == [f"user {k}" for k in range(1, 6)]
    assert all(len(set(plan)) == 3 and plan[0].startswith("Recommend movie") for _, plan in result["sample_plans"])


def test_the_attention_of_a_step_adds_up_and_sees_no_later_step(result):
    weights = np.array(result["attention"]["weights"])
    assert weights.shape == (3, 7)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-4)
    assert weights[0, 5:].tolist() == [0, 0]
    assert weights[1, 6] == 0


def test_the_report_is_written_whole_and_tells_every_table(result, tmp_path):
    folder = write_report(result, tmp_path / "paper")
    assert {f.name for f in folder.iterdir()} == {"paper.json", "report.md", "report.html"}
    text = markdown(result)
    for heading in (
        "Table I:",
        "Table II:",
        "Table III:",
        "Table IV:",
        "Sample plans",
        "contradicts itself",
        "Claims about it",
    ):
        assert heading in text
    assert "4.0456" in text
    assert "0.4000" in text


def test_the_html_needs_no_network_and_holds_three_figures(result):
    text = page(result)
    assert text.count('class="plotly-graph-div"') == 3
    assert 'src="http' not in text


def test_the_tiny_models_pass_table_two_once_there_is_something_to_learn(result):
    found = result["lifelike"]
    assert found["sequence"]["step_accuracy"] >= TABLE_II["sequence"]["accuracy"]
    assert found["churn"]["accuracy"] >= TABLE_II["churn"]["accuracy"]
    assert found["sequence"]["step_accuracy"] < found["sequence"]["ceiling"]["step_accuracy"] + 0.02


@pytest.mark.slow
def test_twenty_seeds_hold_the_printed_losses():
    *_, result = rerun_steps(20)
    for model in ("sequence", "churn"):
        assert sum(result["inside"][f"{model}_loss"]) >= 9


@pytest.mark.slow
def test_without_signal_nothing_beats_chance_beyond_sampling_error():
    """A leak of the outcome or of the label would show here."""
    cohort, _ = generate(ScenarioSettings(scenario="lifelike", customers=3_000, signal=0.0, seed=1))
    fitted = fit_once(cohort, tiny_config(seed=1))
    sequence, churn = fitted["sequence"].scores, fitted["churn"]
    low, _ = sequence["intervals"]["step_accuracy"]
    assert low <= sequence_chance(12)["step_accuracy"]
    low, high = churn.scores["intervals"]["auc"]
    assert low - 0.02 <= 0.5 <= high + 0.02
    assert isinstance(churn.predictions, ChurnPredictions)
    rate = float(np.nanmean(cohort.labels))
    n = len(churn.predictions.churned)
    constant = ChurnPredictions(
        customer_id=churn.predictions.customer_id, churned=churn.predictions.churned, churn_p=np.full(n, rate)
    )
    gain = difference_interval(log_loss_per_customer(constant), log_loss_per_customer(churn.predictions))
    assert gain.low <= 0


@pytest.mark.slow
def test_half_the_signal_gives_scores_between_chance_and_table_two():
    found = lifelike(0.5, customers=2_000)
    assert found["sequence"]["chance"]["step_accuracy"] < found["sequence"]["step_accuracy"] < 0.85
