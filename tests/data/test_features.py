"""The encoder: scales from training customers only, missing values kept, histories cut and padded right."""

import json

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data import features
from crm_models.data.cohort import Cohort, select
from crm_models.data.features import FEW_LEVELS, MISSING_LEVEL, OTHER_LEVEL, FeatureEncoder


def small() -> Cohort:
    """Three customers; a: mail (day 1, value 2), call (3), mail (6, value 4); b: call (2); c: none."""
    people = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c"],
            "age": [20.0, 40.0, 100.0],
            "plan": ["basic", None, "gold"],
            "constant": [1, 1, 1],
        }
    )
    events = pd.DataFrame(
        {
            "customer_id": ["a", "a", "a", "b"],
            "action": ["mail", "call", "mail", "call"],
            "timestamp": [1.0, 3.0, 6.0, 2.0],
            "value": [2.0, np.nan, 4.0, np.nan],
        }
    )
    return Cohort.build(name="t", source="test", customers=people, interactions=events)


ALL = np.arange(3)


def behaviour(encoder: FeatureEncoder, arrays, name: str) -> np.ndarray:
    return arrays.behaviour[:, [f.name for f in encoder.behaviour].index(name)]


def test_min_max_statistics_come_from_the_training_customers_only():
    encoder = FeatureEncoder.fit(small(), np.array([0, 1]), None)
    (age,) = encoder.numeric
    assert (age.minimum, age.maximum) == (20.0, 40.0)
    # 100 lies beyond the training range and counts as its end.
    assert encoder.encode(small()).numeric[:, 0].tolist() == [0.0, 1.0, 1.0]


def test_changing_a_test_customer_changes_no_statistic():
    before = FeatureEncoder.fit(small(), np.array([0, 1]), None)
    cohort = small()
    cohort.customers.loc[2, "age"] = 1e9
    cohort.customers.loc[2, "plan"] = "platinum"
    assert FeatureEncoder.fit(cohort, np.array([0, 1]), None) == before


def test_missing_and_unseen_levels_have_codes_of_their_own():
    encoder = FeatureEncoder.fit(small(), np.array([0, 1]), None)
    (plan,) = encoder.categorical
    assert plan.levels == ("basic",)
    assert encoder.encode(small()).categorical[:, 0].tolist() == [2, MISSING_LEVEL, OTHER_LEVEL]


def test_a_missing_number_stays_missing():
    cohort = small()
    cohort.customers.loc[1, "age"] = np.nan
    encoder = FeatureEncoder.fit(cohort, ALL, None)
    assert np.isnan(encoder.encode(cohort).numeric[:, 0]).tolist() == [False, True, False]


def test_constant_columns_and_columns_that_name_each_customer_are_left_out():
    cohort = small()
    people = pd.DataFrame({"customer_id": [str(i) for i in range(200)], "mail": [f"{i}@x.org" for i in range(200)]})
    named = Cohort.build(name="t", source="test", customers=people, interactions=None)
    assert [f.name for f in FeatureEncoder.fit(cohort, ALL, None).numeric] == ["age"]
    assert FeatureEncoder.fit(named, np.arange(200), None).categorical == ()


def test_the_encoder_survives_json():
    cohort = small()
    cohort.actions["genres"] = ["Drama|Comedy", "Drama"]
    cohort.actions["price"] = [1.0, 3.0]
    encoder = FeatureEncoder.fit(cohort, ALL, None)
    assert FeatureEncoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder
    assert dict(zip(encoder.action_feature_names, zip(*encoder.action_features, strict=True), strict=True)) == {
        "genres: Drama": (0.0, 1.0, 1.0),
        "genres: Comedy": (0.0, 1.0, 0.0),
        "price": (0.0, 0.0, 1.0),
    }


def test_a_column_the_run_was_trained_on_must_be_there():
    encoder = FeatureEncoder.fit(small(), ALL, None)
    without = Cohort.build(name="t", source="t", customers=small().customers.drop(columns="age"), interactions=None)
    with pytest.raises(DataError, match="need the column 'age'"):
        encoder.encode(without)


def test_permuting_customers_permutes_the_arrays():
    cohort = small()
    encoder = FeatureEncoder.fit(cohort, ALL, None)
    order = np.array([2, 0, 1])
    plain, moved = encoder.encode(cohort), encoder.encode(select(cohort, order))
    for name in ("numeric", "categorical", "behaviour", "n_history", "customer_id"):
        np.testing.assert_array_equal(getattr(moved, name), getattr(plain, name)[order])


def test_a_cohort_with_other_actions_keeps_the_ids_of_the_run():
    encoder = FeatureEncoder.fit(small(), ALL, None)
    other = Cohort.build(
        name="t",
        source="test",
        customers=small().customers,
        interactions=pd.DataFrame(
            {"customer_id": ["a"] * 3, "action": ["zap", "mail", "call"], "timestamp": [1.0, 2.0, 3.0]}
        ),
    )
    arrays = encoder.encode(other)
    assert arrays.events.action.tolist() == [2, 1]
    assert arrays.events.starts.tolist() == [0, 2, 2, 2]


def test_levels_come_by_falling_frequency_and_equal_ones_by_name():
    plans = ["b"] * 3 + ["a"] * 3 + ["c"] * 5 + ["d"]
    customers = pd.DataFrame({"customer_id": [str(k) for k in range(12)], "plan": plans})
    cohort = Cohort.build(name="t", source="t", customers=customers, interactions=None)
    (plan,) = FeatureEncoder.fit(cohort, np.arange(12), None).categorical
    assert plan.levels == ("c", "a", "b", "d")
    assert plan.encode(pd.Series(["d", "a", None, "z"])).tolist() == [5, 3, MISSING_LEVEL, OTHER_LEVEL]


def levels_of(values: list) -> int | None:
    """How many levels a text column with these values has; None where it is left out."""
    customers = pd.DataFrame({"customer_id": [str(k) for k in range(len(values))], "text": values})
    cohort = Cohort.build(name="t", source="t", customers=customers, interactions=None)
    found = FeatureEncoder.fit(cohort, np.arange(len(values)), None).categorical
    return len(found[0].levels) if found else None


def test_a_text_column_is_left_out_where_it_is_empty_constant_or_names_customers():
    assert levels_of(["x", "x", None]) == 1  # filled or not is told
    assert levels_of(["x", "x", "x"]) is None
    assert levels_of([None, None]) is None
    many = [f"v{k}" for k in range(FEW_LEVELS)]
    assert levels_of(many) == FEW_LEVELS  # few levels are kept, however few customers each has
    assert levels_of([*many, "one more"]) is None
    assert levels_of([*many, "one more"] * 2) == FEW_LEVELS + 1  # each twice: they are groups


def test_of_many_levels_those_seen_once_share_a_code_and_the_most_frequent_are_kept(monkeypatch):
    many = [f"v{k}" for k in range(FEW_LEVELS)]
    assert levels_of([*many * 3, "once", "only once"]) == FEW_LEVELS
    monkeypatch.setattr(features, "MAX_LEVELS", 10)
    assert levels_of([*many * 3, "once"]) == 10


@pytest.mark.parametrize("pair", [[0, 1, 1], [3, 1, 1], [1, 0, 1], [1, 3, 1], [1, 1, 0]])
def test_pairs_that_are_none_of_the_vocabulary_are_refused(pair):
    given = FeatureEncoder.fit(small(), ALL, None).to_dict()
    assert len(given["actions"]) == 2
    with pytest.raises(ValueError, match="outside the vocabulary"):
        FeatureEncoder.from_dict(given | {"action_pairs": [pair]})


def test_an_encoder_without_counts_is_read_as_one_that_has_none():
    given = FeatureEncoder.fit(small(), ALL, None).to_dict()
    earlier = {name: value for name, value in given.items() if name not in ("action_counts", "action_pairs")}
    read = FeatureEncoder.from_dict(earlier)
    assert (read.action_counts, read.action_pairs) == ((), ())


def test_encoded_arrays_are_of_the_types_that_models_read():
    cohort = small()
    arrays = FeatureEncoder.fit(cohort, ALL, None).encode(cohort)
    kinds = {name: getattr(arrays, name).dtype.name for name in ("numeric", "categorical", "behaviour", "n_history")}
    assert kinds == {"numeric": "float32", "categorical": "int64", "behaviour": "float32", "n_history": "int64"}
    assert arrays.events.action.dtype == np.int32
    assert arrays.events.value.dtype == np.float32
    assert arrays.customer_id.tolist() == ["a", "b", "c"]
    bare = Cohort.build(name="t", source="t", customers=pd.DataFrame({"customer_id": ["a"]}), interactions=None)
    without = FeatureEncoder.fit(bare, np.array([0]), None).encode(bare)
    assert [getattr(without, name).shape for name in ("numeric", "categorical", "behaviour")] == [(1, 0)] * 3
    assert without.categorical.dtype == np.int64


def test_recency_counts_from_the_moment_that_is_given():
    cohort = small()
    encoder = FeatureEncoder.fit(cohort, ALL, None)
    recency = next(f for f in encoder.behaviour if f.name == "recency_days")
    assert (recency.minimum, recency.maximum) == (0.0, 4.0)  # from day 6, the last event of all
    assert encoder.encode(cohort).now_days == 6.0
    later = encoder.encode(cohort, None, 8.0)
    assert later.now_days == 8.0
    np.testing.assert_array_equal(behaviour(encoder, later, "recency_days"), np.float32([0.5, 1, np.nan]))


def test_values_beyond_the_range_of_training_count_as_its_ends():
    cohort = small()
    encoder = FeatureEncoder.fit(cohort, ALL, None)
    assert encoder.value_range == (2.0, 4.0)
    cohort.interactions["value"] = [1.0, 3.0, 9.0, np.nan]
    np.testing.assert_array_equal(encoder.encode(cohort).events.value, np.float32([0, 0.5, 1, np.nan]))


def test_dates_count_in_days_and_blanks_and_infinities_are_missing():
    customers = pd.DataFrame(
        {
            "customer_id": ["a", "b", "c", "d"],
            "since": pd.to_datetime(["2026-01-01", "2026-01-11", None, "2026-01-06"]),
            "visits": pd.array([1, None, 5, 3], dtype="Int64"),
            "spent": [np.inf, 2.0, 4.0, -np.inf],
        }
    )
    cohort = Cohort.build(name="t", source="t", customers=customers, interactions=None)
    encoder = FeatureEncoder.fit(cohort, np.arange(4), None)
    assert [feature.name for feature in encoder.numeric] == ["since", "visits", "spent"]
    expected = [[0, 0, np.nan], [1, np.nan, 0], [np.nan, 1, 1], [0.5, 0.5, np.nan]]
    np.testing.assert_array_equal(encoder.encode(cohort).numeric, np.float32(expected))


def test_shares_of_actions_are_those_of_the_runs_actions_whatever_the_cohort_lists():
    encoder = FeatureEncoder.fit(small(), ALL, None)
    other = small()
    actions = pd.DataFrame({"action": ["zoom", "mail", "call"]})
    events = other.interactions.astype({"customer_id": "str", "action": "str"})
    relisted = Cohort.build(name="t", source="t", customers=other.customers, interactions=events, actions=actions)
    np.testing.assert_array_equal(encoder.encode(relisted).behaviour, encoder.encode(other).behaviour)
    assert encoder.encode(relisted).events.action.tolist() == encoder.encode(other).events.action.tolist()
