"""The encoder: scales from training customers only, missing values kept, histories cut and padded right."""

import json

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.cohort import Cohort, select
from crm_models.data.features import MISSING_LEVEL, OTHER_LEVEL, FeatureEncoder


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
