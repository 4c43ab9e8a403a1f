"""A cohort keeps its order and its meaning: in memory, on disk, in time, and when it is split."""

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.cohort import Cohort, joined, select


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
    with pytest.raises(DataError, match=r"customers row 3: duplicate customer_id 'a'"):
        make({"customer_id": ["a", "b", "a"]})


@pytest.mark.parametrize(("stamp", "word"), [(np.inf, "finite"), (np.nan, "finite"), (pd.NaT, "missing")])
def test_a_timestamp_that_is_none_is_refused(stamp, word):
    with pytest.raises(DataError, match=word):
        make(None, [("a", "call", stamp)])


def test_nothing_at_all_is_refused():
    with pytest.raises(DataError, match="needs customers or interactions"):
        make()


def test_selecting_customers_takes_their_events_along_in_the_order_asked():
    cohort = make({"customer_id": ["a", "b", "c"]}, [("a", "x", 1), ("a", "y", 2), ("c", "z", 3)])
    chosen = select(cohort, np.array([2, 0]))
    assert list(chosen.interactions["action"]) == ["z", "x", "y"]
    assert chosen.starts.tolist() == [0, 1, 3]


def test_a_customer_can_be_selected_twice_under_new_ids():
    cohort = make({"customer_id": ["a", "b"]}, [("a", "x", 1), ("b", "y", 2), ("b", "x", 3)])
    twice = select(cohort, np.array([1, 1, 0]), pd.Index(["p", "q", "r"], dtype="str"))
    assert twice.customers["customer_id"].tolist() == ["p", "q", "r"]
    assert twice.interactions["customer_id"].tolist() == ["p", "p", "q", "q", "r"]
    assert twice.interactions["action"].tolist() == ["y", "x", "y", "x", "x"]
    nobody = select(cohort, [])
    assert (nobody.n_customers, len(nobody.interactions)) == (0, 0)


def test_parts_joined_are_the_whole_again():
    whole = random_cohort(50, seed=3)
    again = joined(select(whole, np.arange(first, min(first + 20, 50))) for first in (0, 20, 40))
    pd.testing.assert_frame_equal(again.customers, whole.customers)
    pd.testing.assert_frame_equal(again.interactions, whole.interactions)
    assert again.starts.tolist() == whole.starts.tolist()


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"interactions": {"customer_id": ["a", None], "action": ["x", "y"], "timestamp": [1.0, 2.0]}}, "interactions"),
        ({"customers": {"customer_id": ["a", None], "age": [1, 2]}}, "customers"),
        ({"customers": {"customer_id": ["a"]}, "actions": {"action": ["x", None]}}, "actions"),
    ],
)
def test_a_blank_id_in_any_table_is_refused_by_row(tables, said):
    frames = {name: pd.DataFrame(columns) for name, columns in tables.items()}
    with pytest.raises(DataError, match=rf"{said} row 2: the (customer_id|action) is missing"):
        Cohort.build(**{"name": "t", "source": "t", "customers": None, "interactions": None, **frames})
