"""Tables ready to plot: by hand on a few customers, and laws that hold for any."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.evaluation import curves
from crm_models.evaluation.curves import (
    MAX_POINTS,
    calibration_table,
    confusion_scores,
    confusion_table,
    lift_table,
    per_length_table,
    per_step_table,
    precision_recall_table,
    roc_point,
    roc_table,
    score_distribution,
)
from crm_models.evaluation.intervals import auc_with_interval, wilson
from crm_models.evaluation.scores import calibration_error, sequence_scores
from crm_models.planning.policy import rounded


def churners(churned: Any, p: Any) -> ChurnPredictions:
    ids = np.array([f"c{k}" for k in range(len(churned))], dtype=object)
    return ChurnPredictions(customer_id=ids, churned=np.array(churned, float), churn_p=np.array(p, float))


def many(n: int, digits: int = 12, seed: int = 0) -> ChurnPredictions:
    rng = np.random.default_rng(seed)
    p = rng.beta(2, 5, n)
    return churners((rng.random(n) < p).astype(float), p.round(digits))


FIVE = churners([1, 0, 1, 0, 0], [0.9, 0.7, 0.7, 0.4, 0.1])


def test_the_roc_curve_of_five_customers_by_hand():
    table = roc_table(FIVE)
    assert table["threshold"].tolist() == [0.9, 0.7, 0.4, 0.1, 0.0]
    assert table["flagged"].tolist() == [0, 1, 3, 4, 5]
    assert table["tpr"].tolist() == [0, 0.5, 1, 1, 1]
    np.testing.assert_allclose(table["fpr"], [0, 0, 1 / 3, 2 / 3, 1])


def test_precision_and_recall_of_five_customers_by_hand():
    table = precision_recall_table(FIVE)
    assert table["threshold"].tolist() == [0.7, 0.4, 0.1, 0.0]
    np.testing.assert_allclose(table["precision"], [1, 2 / 3, 2 / 4, 2 / 5])
    assert table["recall"].tolist() == [0.5, 1, 1, 1]


def test_lift_and_gain_of_five_customers_by_hand():
    table = lift_table(FIVE, points=5)
    assert table["customers"].tolist() == [1, 2, 3, 4, 5]
    # The second and the third are equally likely to leave, and one of the two does: half a churner each.
    np.testing.assert_allclose(table["gain"], [0.5, 0.75, 1, 1, 1])
    np.testing.assert_allclose(table["lift"], [2.5, 1.875, 5 / 3, 1.25, 1])
    assert table["threshold"].tolist() == [0.9, 0.7, 0.7, 0.4, 0.1]


def test_confusion_at_a_threshold_by_hand():
    table = confusion_table(FIVE, 0.4)
    assert table.loc["churned"].tolist() == [2, 0]
    assert table.loc["stayed"].tolist() == [1, 2]  # 0.4 itself is not strictly above
    assert confusion_scores(table) == {
        "precision": 2 / 3,
        "recall": 1.0,
        "specificity": 2 / 3,
        "accuracy": 4 / 5,
        "f1": 4 / 5,
    }
    assert confusion_scores(confusion_table(FIVE, 0.95))["precision"] is None


@pytest.mark.parametrize("digits", [1, 2, 12])
def test_every_point_of_the_curves_is_what_the_confusion_at_its_threshold_says(digits):
    predictions = many(300, digits)
    for row in roc_table(predictions).itertuples():
        point = roc_point(predictions, row.threshold)
        assert (point["fpr"], point["tpr"], point["flagged"]) == (
            pytest.approx(row.fpr),
            pytest.approx(row.tpr),
            row.flagged,
        )
    for row in precision_recall_table(predictions).itertuples():
        scores = confusion_scores(confusion_table(predictions, row.threshold))
        assert (scores["precision"], scores["recall"]) == (pytest.approx(row.precision), pytest.approx(row.recall))


def test_everybody_is_flagged_at_the_last_threshold_even_where_a_probability_is_zero():
    predictions = churners([1, 0, 0], [0.5, 0.0, 0.0])
    last = roc_table(predictions).iloc[-1]
    assert last["flagged"] == 3
    assert roc_point(predictions, last["threshold"])["flagged"] == 3


@pytest.mark.parametrize("digits", [2, 12])
def test_the_area_under_the_curve_is_the_auc(digits):
    predictions = many(400, digits)
    table = roc_table(predictions)
    area = np.trapezoid(table["tpr"], table["fpr"])
    auc = auc_with_interval(predictions.churned, rounded(predictions.churn_p)).value
    assert area == pytest.approx(auc, abs=1e-12)


def test_a_thinned_curve_keeps_its_ends_its_hull_and_its_area():
    predictions = many(50_000)
    full = pd.DataFrame({"p": predictions.churn_p, "y": predictions.churned}).sort_values("p", ascending=False)
    tpr, fpr = (own.cumsum() / own.sum() for own in (full["y"], 1 - full["y"]))
    table = roc_table(predictions)
    assert len(table) <= MAX_POINTS
    assert table[["fpr", "tpr"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    # Whatever a miss costs beside a false alarm, the best point lies on the hull: thinning must not lose it.
    for weight in (0.1, 0.3, 1, 3, 10):
        assert (weight * table["tpr"] - table["fpr"]).max() == pytest.approx((weight * tpr - fpr).max(), abs=1e-12)
    auc = auc_with_interval(predictions.churned, predictions.churn_p).value
    assert np.trapezoid(table["tpr"], table["fpr"]) == pytest.approx(auc, abs=1e-3)
    assert len(precision_recall_table(predictions)) <= MAX_POINTS


def test_the_order_of_the_customers_changes_no_table():
    predictions = many(500, 1)
    order = np.random.default_rng(1).permutation(500)
    shuffled = replace(predictions, churned=predictions.churned[order], churn_p=predictions.churn_p[order])
    for table in (roc_table, precision_recall_table, calibration_table, lift_table, score_distribution):
        pd.testing.assert_frame_equal(table(predictions), table(shuffled))


def test_calibration_bins_hold_equally_many_and_never_part_equals():
    table = calibration_table(many(1000))
    assert table["customers"].tolist() == [100] * 10
    assert table["predicted"].is_monotonic_increasing
    tied = calibration_table(many(1000, 1))
    assert len(tied) == tied["predicted"].round(9).nunique()
    assert tied["customers"].sum() == 1000
    for row in tied.itertuples():
        assert (row.low, row.high) == pytest.approx(wilson(row.observed, row.customers))
    for predictions, told in ((many(1000), table), (many(1000, 1), tied)):
        error = (np.abs(told["predicted"] - told["observed"]) * told["customers"]).sum() / 1000
        assert calibration_error(predictions.churned, predictions.churn_p) == pytest.approx(error)


def test_lift_ends_with_everybody_reached_and_random_scores_lift_nothing():
    table = lift_table(many(5000))
    assert len(table) == 100
    assert table.iloc[-1][["contacted", "gain", "lift"]].tolist() == [1, 1, 1]
    assert (table["gain"].diff().iloc[1:] >= 0).all()
    equal = lift_table(churners([1, 0, 0, 1], [0.5] * 4), points=4)
    assert equal["lift"].tolist() == [1, 1, 1, 1]


def test_the_distribution_counts_everybody_once():
    table = score_distribution(churners([1, 0, 1, 0], [0.0, 0.05, 1.0, 0.999]))
    assert table["churned"].sum() == table["stayed"].sum() == 2
    assert table.iloc[0][["low", "churned", "stayed"]].tolist() == [0, 1, 0]
    assert table.iloc[1][["low", "churned", "stayed"]].tolist() == [0.05, 0, 1]
    assert table.iloc[-1][["high", "churned", "stayed"]].tolist() == [1, 1, 1]


@pytest.mark.parametrize("predictions", [churners([], []), churners([0, 0], [0.2, 0.4])])
def test_without_a_churner_the_curves_are_empty_and_have_their_columns(predictions):
    assert roc_table(predictions).columns.tolist() == ["threshold", "fpr", "tpr", "flagged"]
    assert precision_recall_table(predictions).columns.tolist() == ["threshold", "precision", "recall", "flagged"]
    assert lift_table(predictions).columns.tolist() == ["contacted", "customers", "gain", "lift", "threshold"]
    assert len(roc_table(predictions)) == len(precision_recall_table(predictions)) == len(lift_table(predictions)) == 0
    assert calibration_table(predictions)["customers"].sum() == len(predictions.churn_p)
    assert roc_point(predictions, 0.3)["tpr"] is None


# ---- sequence --------------------------------------------------------------------------------------------------------


def sequences(actual: Any, plan: Any, n_events: Any) -> SequencePredictions:
    actual = np.array(actual)
    return SequencePredictions(
        customer_id=np.array([f"c{k}" for k in range(len(actual))], dtype=object),
        n_events=np.array(n_events),
        actual=actual,
        plan=np.array(plan),
        single_steps=np.array(plan),
        plan_p=np.full(len(actual), 0.1),
        actual_log_p=np.where(actual > 0, np.log(0.5) * np.arange(1, 4), 0.0),
        rank=np.zeros(len(actual), np.int64),
    )


FOUR = sequences(
    [[1, 2, 3], [1, 2, 0], [1, 0, 0], [2, 2, 0]], [[1, 2, 1], [1, 1, 1], [2, 2, 2], [2, 2, 2]], [1, 3, 4, 200]
)


def test_accuracy_per_step_by_hand():
    table = per_step_table(FOUR)
    assert table["step"].tolist() == [1, 2, 3]
    assert table["customers"].tolist() == [4, 3, 1]
    np.testing.assert_allclose(table["accuracy"], [3 / 4, 2 / 3, 0])
    np.testing.assert_allclose(table["loss"], np.log(2) * np.arange(1, 4))
    assert (table.loc[0, "low"], table.loc[0, "high"]) == wilson(0.75, 4)


def test_accuracy_per_length_of_history_by_hand():
    table = per_length_table(FOUR, n_actions=3)
    assert table["events"].tolist() == ["1", "3-4", "100 or more"]
    assert table["customers"].tolist() == [1, 2, 1]
    np.testing.assert_allclose(table["step_accuracy"], [2 / 3, 1 / 3, 1], atol=1e-8)
    assert ((table["low"] < table["step_accuracy"]) | (table["step_accuracy"] == 0)).all()


def test_the_tables_add_up_to_the_scores():
    rng = np.random.default_rng(2)
    told = sequences(rng.integers(1, 4, (200, 3)), rng.integers(1, 4, (200, 3)), rng.integers(1, 150, 200))
    scores = sequence_scores(told, 3)
    steps, lengths = per_step_table(told), per_length_table(told, 3)
    assert steps["accuracy"].mean() == pytest.approx(scores["step_accuracy"])
    assert np.average(lengths["step_accuracy"], weights=lengths["customers"]) == pytest.approx(scores["step_accuracy"])
    assert lengths["customers"].sum() == 200


# ---- what mutants survived -------------------------------------------------------------------------------------------


def test_thinned_positions_are_even_along_the_curve_with_both_ends(monkeypatch):
    monkeypatch.setattr(curves, "MAX_POINTS", 5)
    assert curves._thinned(np.arange(5.0)).tolist() == [0, 1, 2, 3, 4]  # nothing to thin
    # Ten steps of equal length: quarters of the way from 0 to 10 lie at or after 0, 3.3, 6.7.
    assert curves._thinned(np.arange(11.0)).tolist() == [0, 4, 7, 10]
    # All length in the last step: what is even along the curve lies at its ends.
    assert curves._thinned(np.array([0.0] * 10 + [9.0])).tolist() == [0, 10]
    # A length that does not begin at 0 is measured from where it begins.
    assert curves._thinned(100 + np.arange(11.0)).tolist() == [0, 4, 7, 10]
    # Two required positions leave room for one in between; of four, two are kept.
    assert curves._thinned(np.arange(11.0), np.array([1, 2])).tolist() == [0, 1, 2, 10]
    assert curves._thinned(np.arange(11.0), np.array([1, 2, 8, 9])).tolist() == [0, 1, 9, 10]


def test_a_confusion_table_by_hand():
    predictions = churners([1, 1, 0, 0, 0], [0.9, 0.2, 0.5, 0.6, 0.1])
    table = confusion_table(predictions, 0.5)
    assert table.to_dict() == {"at risk": {"churned": 1, "stayed": 1}, "not at risk": {"churned": 1, "stayed": 2}}
    point = roc_point(predictions, 0.5)
    assert point == {"threshold": 0.5, "fpr": pytest.approx(1 / 3), "tpr": 0.5, "flagged": 2}


def test_precision_and_recall_by_hand():
    table = precision_recall_table(churners([1, 0, 1], [0.9, 0.7, 0.2]))
    assert table.to_dict("list") == {
        "threshold": [0.7, 0.2, 0.0],
        "precision": [1.0, 0.5, pytest.approx(2 / 3)],
        "recall": [0.5, 0.5, 1.0],
        "flagged": [1, 2, 3],
    }
    assert table.index.tolist() == [0, 1, 2]


def test_tables_by_length_name_their_columns():
    table = per_length_table(sequences([[1, 1, 1]] * 2, [[1, 1, 2]] * 2, [0, 0]), 3)
    assert list(table.columns) == ["events", "customers", "step_accuracy", "low", "high", "loss"]
    assert (table["low"] <= table["step_accuracy"]).all()
    assert (table["step_accuracy"] <= table["high"]).all()
