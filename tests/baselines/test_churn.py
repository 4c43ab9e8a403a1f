"""Churn baselines: what they learn, from whom, and what they fall back to."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from crm_models.baselines.churn import churn_baselines, logistic, majority
from crm_models.data.cohort import Cohort
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Split
from tests.baselines.test_sequence import cohort_of, encoded


def labelled(labels: Sequence[float], **columns: Sequence[object]) -> tuple[CohortArrays, np.ndarray, FeatureEncoder]:
    known = [None if np.isnan(label) else bool(label) for label in labels]
    people = {"customer_id": [f"c{k:04d}" for k in range(len(labels))], "churned": known, **columns}
    cohort = Cohort.build(name="toy", source="test", customers=pd.DataFrame(people), interactions=None)
    encoder, arrays = encoded(cohort)
    return arrays, cohort.labels, encoder


def split_of(train: int, valid: int, test: int) -> Split:
    rows = np.arange(train + valid + test)
    return Split(train=rows[:train], valid=rows[train : train + valid], test=rows[train + valid :])


def test_the_majority_is_the_churn_rate_of_the_customers_fitted_on():
    arrays, labels, _ = labelled([1, 0, np.nan, 0, 1, 1, np.nan], age=[20, 30, 40, 50, 60, 70, 80])
    told = majority(arrays, labels, split_of(3, 1, 3))  # known: 1, 0, 0; asked: 1, 1 and one unknown
    assert told.customer_id.tolist() == ["c0004", "c0005"]
    assert told.churn_p.tolist() == [1 / 3, 1 / 3]
    assert told.churned.tolist() == [1.0, 1.0]


def test_logistic_regression_learns_numbers_levels_and_what_is_missing():
    rng = np.random.default_rng(0)
    n = 3000
    age, tier = rng.uniform(20, 70, n), rng.choice(["gold", "none"], n)
    blank = rng.random(n) < 0.3
    log_odds = -1 + 0.1 * (age - 45) * ~blank + 2.0 * (tier == "none") + 1.5 * blank
    p = 1 / (1 + np.exp(-log_odds))
    churned = (rng.random(n) < p).astype(float)
    arrays, labels, encoder = labelled(churned, age=np.where(blank, np.nan, age), tier=tier)
    told = logistic(arrays, labels, split_of(2000, 400, 600), encoder)
    assert np.abs(told.churn_p - p[2400:]).mean() < 0.03


def test_logistic_regression_never_sees_a_test_label():
    rng = np.random.default_rng(1)
    labels = (rng.random(100) < 0.4).astype(float)
    arrays, _, encoder = labelled(labels, age=rng.uniform(20, 70, 100))
    split = split_of(60, 20, 20)
    flipped = np.where(np.arange(100) >= 80, 1 - labels, labels)
    told = [logistic(arrays, own, split, encoder).churn_p for own in (labels, flipped)]
    assert told[0].tolist() == told[1].tolist()


def test_with_one_class_or_no_feature_logistic_regression_falls_back_to_the_churn_rate():
    arrays, labels, encoder = labelled([0, 0, 0, 0, 1], age=[1, 2, 3, 4, 5])
    assert logistic(arrays, labels, split_of(3, 1, 1), encoder).churn_p.tolist() == [0.0]
    arrays, labels, encoder = labelled([0, 1, 0, 1, 1, 1])
    told = logistic(arrays, labels, split_of(3, 1, 2), encoder)
    np.testing.assert_allclose(told.churn_p, 0.5, atol=1e-6)


def test_nobody_with_a_known_label_to_ask_is_no_error():
    arrays, labels, encoder = labelled([0, 1, 0, np.nan], age=[1, 2, 3, 4])
    assert [len(told.churn_p) for told in churn_baselines(arrays, labels, split_of(2, 1, 1), encoder).values()] == [
        0,
        0,
    ]


def test_recency_is_a_baseline_where_there_are_events_and_only_there():
    arrays, labels, encoder = labelled([0, 1, 0, 1, 1], age=[1, 2, 3, 4, 5])
    assert set(churn_baselines(arrays, labels, split_of(3, 1, 1), encoder)) == {"majority", "logistic"}
    rng = np.random.default_rng(2)
    days = rng.integers(1, 40, 200)
    cohort = cohort_of(["a" * n for n in days], churned=[bool(n < 15) for n in days])
    encoder, arrays = encoded(cohort)
    told = churn_baselines(arrays, cohort.labels, split_of(120, 30, 50), encoder)
    assert list(told) == ["majority", "recency", "logistic"]
    gone = told["recency"].churned > 0.5
    assert told["recency"].churn_p[gone].min() > told["recency"].churn_p[~gone].max()  # the longer away, the likelier


def test_a_shuffled_cohort_gives_the_same_probabilities():
    rng = np.random.default_rng(3)
    labels = (rng.random(80) < 0.4).astype(float)
    arrays, known, encoder = labelled(labels, age=rng.uniform(20, 70, 80))
    order = rng.permutation(80)
    moved = replace(
        arrays, **{name: getattr(arrays, name)[order] for name in ("customer_id", "numeric", "categorical")}
    )
    moved = replace(moved, behaviour=arrays.behaviour[order])
    split = split_of(50, 10, 20)
    place = np.argsort(order)
    there = Split(train=np.sort(place[split.train]), valid=np.sort(place[split.valid]), test=place[split.test])
    before, after = logistic(arrays, known, split, encoder), logistic(moved, known[order], there, encoder)
    assert after.customer_id.tolist() == before.customer_id.tolist()
    np.testing.assert_allclose(after.churn_p, before.churn_p, atol=1e-6)
