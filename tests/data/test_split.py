"""History and outcome in time, and the split of customers."""

import numpy as np

from crm_models.data.cohort import select
from crm_models.data.split import history, outcomes, split_customers
from tests.data.test_cohort import make, random_cohort


def test_history_ends_strictly_before_the_moment():
    cohort = make({"customer_id": ["a"]}, [("a", "x", 1), ("a", "y", 2), ("a", "z", 3)])
    assert list(history(cohort, 2.0).interactions["action"]) == ["x"]


def test_outcomes_are_the_next_three_events_after_the_cut_off():
    cohort = make(
        {"customer_id": ["a", "b", "c"]},
        [("a", "x", t) for t in (1, 2, 3, 4, 5, 6)] + [("b", "x", 1)] + [("c", "x", 9)],
        as_of=3.0,
        outcome="observed",
    )
    found = outcomes(cohort)
    assert (found.rows.tolist(), found.n_history.tolist(), found.n_outcome.tolist()) == ([0], [2], [3])


def test_without_a_cut_off_the_last_three_events_of_longer_histories_are_the_outcome():
    cohort = make({"customer_id": ["a", "b"]}, [("a", "x", t) for t in range(5)] + [("b", "x", t) for t in range(3)])
    found = outcomes(cohort)
    assert (found.rows.tolist(), found.n_history.tolist(), found.n_outcome.tolist()) == ([0], [2], [3])


def test_the_papers_split_is_eighty_to_twenty_exactly():
    cohort = make({"customer_id": [f"u{i}" for i in range(100)], "churned": [i % 2 == 0 for i in range(100)]})
    split = split_customers(cohort, seed=3, valid_share=0.0)
    assert (len(split.train), len(split.valid), len(split.test)) == (80, 0, 20)
    assert cohort.labels[split.test].mean() == 0.5


def test_a_split_covers_every_customer_once_and_keeps_the_churn_rate():
    cohort = random_cohort(n=1000)
    split = split_customers(cohort, seed=0)
    assert sorted(np.concatenate([split.train, split.valid, split.test])) == list(range(1000))
    assert (len(split.test), len(split.valid)) == (200, 150)
    for rows in (split.train, split.valid, split.test):
        assert abs(cohort.labels[rows].mean() - cohort.labels.mean()) < 0.01


def test_shuffling_the_customers_changes_nobodys_part():
    cohort = random_cohort(n=200)
    order = np.random.default_rng(5).permutation(200)
    shuffled = select(cohort, order)
    one, two = split_customers(cohort, seed=1), split_customers(shuffled, seed=1)
    for part in ("train", "valid", "test"):
        ids = set(cohort.customers["customer_id"].iloc[getattr(one, part)])
        assert ids == set(shuffled.customers["customer_id"].iloc[getattr(two, part)])


def test_another_seed_makes_another_split():
    cohort = random_cohort(n=200)
    assert set(split_customers(cohort, seed=1).test) != set(split_customers(cohort, seed=2).test)
