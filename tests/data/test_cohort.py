"""A cohort keeps its order and its meaning: in memory, on disk, in time, and when it is split."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from crm_models.core.errors import DataError
from crm_models.core.records import Cohort
from crm_models.data import cohort as cohorts
from crm_models.data.cohort import history, load_cohort, outcomes, parts, save_cohort, select, split_customers


def make(customers=None, events=(), **more) -> Cohort:
    """A cohort from ids and (customer, action, time[, value]) rows."""
    table = pd.DataFrame([(*e, np.nan)[:4] for e in events], columns=["customer_id", "action", "timestamp", "value"])
    people = None if customers is None else pd.DataFrame(customers)
    return Cohort.build(name="t", source="test", customers=people, interactions=table if len(table) else None, **more)


def random_cohort(n=300, seed=0, **more) -> Cohort:
    rng = np.random.default_rng(seed)
    events = pd.DataFrame(
        {
            "customer_id": [f"c{i}" for i in rng.integers(0, n, 8 * n)],
            "action": rng.choice(["call", "mail", "visit"], 8 * n),
            "timestamp": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 90, 8 * n), unit="D"),
            "value": rng.random(8 * n),
        }
    )
    people = pd.DataFrame(
        {"customer_id": [f"c{i}" for i in range(n)], "churned": rng.random(n) < 0.3, "age": rng.integers(18, 90, n)}
    )
    return Cohort.build(name="t", source="test", customers=people, interactions=events, **more)


def test_events_are_sorted_by_customer_and_time_and_ties_keep_their_order():
    cohort = make(
        {"customer_id": ["b", "a"]},
        [("a", "late", 2), ("b", "first", 1), ("a", "tie 1", 1), ("a", "tie 2", 1)],
    )
    assert list(cohort.interactions["action"]) == ["first", "tie 1", "tie 2", "late"]
    assert list(cohort.interactions["customer_id"]) == ["b", "a", "a", "a"]
    assert cohort.starts.tolist() == [0, 1, 4]


def test_customers_and_actions_that_only_events_name_are_added_and_noted():
    cohort = make(
        {"customer_id": ["a"]}, [("a", "call", 1), ("z", "mail", 2)], actions=pd.DataFrame({"action": ["call"]})
    )
    assert list(cohort.customers["customer_id"]) == ["a", "z"]
    assert list(cohort.actions["action"]) == ["call", "mail"]
    assert len(cohort.notes) == 2


def test_whole_number_ids_read_as_decimals_lose_the_decimal_point():
    assert list(make({"customer_id": [7.0, 12.0]}).customers["customer_id"]) == ["7", "12"]


def test_a_doubled_customer_is_refused_by_row():
    with pytest.raises(DataError, match=r"customers row 3: customer_id 'a' stands there a second time"):
        make({"customer_id": ["a", "b", "a"]})


@pytest.mark.parametrize(("stamp", "word"), [(np.inf, "finite"), (np.nan, "finite"), (pd.NaT, "missing")])
def test_a_timestamp_that_is_none_is_refused(stamp, word):
    with pytest.raises(DataError, match=word):
        make(None, [("a", "call", stamp)])


def test_nothing_at_all_is_refused():
    with pytest.raises(DataError, match="needs customers or interactions"):
        make()


def test_a_saved_cohort_comes_back_equal(tmp_path):
    cohort = random_cohort(as_of=pd.Timestamp("2026-03-01"), outcome="observed", notes=["one", "two"])
    again = load_cohort(save_cohort(cohort, tmp_path / "cohort"))
    pd.testing.assert_frame_equal(again.customers, cohort.customers)
    pd.testing.assert_frame_equal(again.interactions, cohort.interactions)
    pd.testing.assert_frame_equal(again.actions, cohort.actions)
    assert (again.as_of, again.outcome, again.notes) == (cohort.as_of, cohort.outcome, cohort.notes)


@pytest.mark.parametrize("edited", [False, True], ids=["as written", "rows moved by hand"])
def test_parts_stream_the_very_same_cohort(tmp_path, monkeypatch, edited):
    monkeypatch.setattr(cohorts, "PART_CUSTOMERS", 70)
    folder = save_cohort(random_cohort(), tmp_path / "cohort")
    if edited:
        table = pq.read_table(folder / "customers.parquet")
        pq.write_table(table.take(np.random.default_rng(1).permutation(len(table))), folder / "customers.parquet")
    whole = load_cohort(folder)
    pieces = list(parts(folder))
    assert [p.n_customers for p in pieces] == [70, 70, 70, 70, 20]
    first = 0
    for piece in pieces:
        same = select(whole, np.arange(first, first + piece.n_customers))
        pd.testing.assert_frame_equal(piece.customers, same.customers)
        pd.testing.assert_frame_equal(piece.interactions, same.interactions)
        first += piece.n_customers


def test_a_cohort_without_events_streams_too(tmp_path):
    folder = save_cohort(make({"customer_id": ["a", "b"], "churned": [True, False]}), tmp_path / "cohort")
    (piece,) = parts(folder)
    assert (piece.n_customers, len(piece.interactions)) == (2, 0)


def test_selecting_customers_takes_their_events_along_in_the_order_asked():
    cohort = make({"customer_id": ["a", "b", "c"]}, [("a", "x", 1), ("a", "y", 2), ("c", "z", 3)])
    chosen = select(cohort, np.array([2, 0]))
    assert list(chosen.interactions["action"]) == ["z", "x", "y"]
    assert chosen.starts.tolist() == [0, 1, 3]


@pytest.mark.parametrize("name", ["customers.parquet", "interactions.parquet", "actions.parquet"])
def test_a_damaged_table_is_named(tmp_path, name):
    folder = save_cohort(random_cohort(), tmp_path / "cohort")
    (folder / name).write_bytes(b"not parquet")
    with pytest.raises(DataError, match=name):
        load_cohort(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        load_cohort(folder)


def test_a_folder_that_is_no_cohort_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="`generate` or `import`"):
        load_cohort(tmp_path)
    with pytest.raises(DataError, match="found nothing"):
        load_cohort(tmp_path / "none")


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
