"""Behaviour features are what a reader counts by hand, from the history alone."""

from dataclasses import replace

import numpy as np
import pandas as pd

from crm_models.data.behaviour import behaviour_features
from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
from tests.data.test_features import ALL, behaviour, small


def test_behaviour_features_are_what_a_reader_counts_by_hand():
    cohort = small()
    encoder = FeatureEncoder.fit(cohort, ALL, None)
    arrays = encoder.encode(cohort)
    # The last event of the cohort is day 6: a was last seen 0 days ago, b 4 days ago, c never.
    np.testing.assert_array_equal(behaviour(encoder, arrays, "recency_days"), np.float32([0, 1, np.nan]))
    np.testing.assert_allclose(behaviour(encoder, arrays, "n_events"), [1, 1 / 3, 0], rtol=1e-6)
    # Two of a's three events are mails, none of b's; c has no events to have a share of.
    np.testing.assert_array_equal(behaviour(encoder, arrays, "share: mail"), np.float32([1, 0, np.nan]))
    assert {f.name: (f.minimum, f.maximum) for f in encoder.behaviour}["share: mail"] == (0.0, 2 / 3)
    assert {f.name: (f.minimum, f.maximum) for f in encoder.behaviour}["value_sum"] == (0.0, 6.0)


def test_an_encoder_of_an_earlier_run_still_counts():
    """Runs used to be trained with how often an action occurs; they are read as they were."""
    encoder = FeatureEncoder.fit(small(), ALL, None)
    assert not any(f.name.startswith("count: ") for f in encoder.behaviour)
    share = next(f for f in encoder.behaviour if f.name == "share: mail")
    earlier = replace(encoder, behaviour=(replace(share, name="count: mail", maximum=2.0),))
    assert earlier.encode(small()).behaviour[:, 0].tolist() == [1.0, 0.0, 0.0]


def test_events_after_the_moment_change_no_feature():
    cohort = small()
    encoder = FeatureEncoder.fit(cohort, ALL, 5.0)
    later = cohort.interactions.copy()
    later.loc[2, ["timestamp", "value"]] = [60.0, 99.0]
    edited = Cohort.build(name="t", source="test", customers=cohort.customers, interactions=later)
    one, two = encoder.encode(cohort, 5.0), encoder.encode(edited, 5.0)
    np.testing.assert_array_equal(one.behaviour, two.behaviour)
    np.testing.assert_array_equal(one.n_history, [2, 1, 0])
    np.testing.assert_array_equal(two.n_history, [2, 1, 0])


def test_features_by_action_by_hand():
    """Ann: two mails of value 2 and 4, a call without a value; Bob: a call of value 6."""
    features = behaviour_features(small(), None, None)
    nan = np.nan
    expected = {
        "recency_days": [0, 4, nan],
        "n_events": [3, 1, 0],
        "tenure_days": [5, 4, nan],
        "mean_gap_days": [2.5, nan, nan],
        "value_sum": [6, 0, 0],
        "value_mean": [3, nan, nan],
        "share: mail": [2 / 3, 0, nan],
        "share: call": [1 / 3, 1, nan],
        "mean value: mail": [3, nan, nan],
        "mean value: call": [nan, nan, nan],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(features[name], values, err_msg=name)
    one = small()
    one.interactions["value"] = [nan, nan, nan, 6.0]
    np.testing.assert_allclose(behaviour_features(one, None, None)["mean value: call"], [nan, 6, nan])


def test_events_of_the_last_thirty_and_ninety_days_by_hand():
    events = pd.DataFrame({"customer_id": ["a"] * 5, "action": ["x"] * 5, "timestamp": [0.0, 9.9, 10.0, 70.0, 100.0]})
    cohort = Cohort.build(name="t", source="t", customers=None, interactions=events)
    features = behaviour_features(cohort, None, None)
    assert features["n_events_last_30_days"].tolist() == [2]  # the one exactly thirty days ago counts
    assert features["n_events_last_90_days"].tolist() == [3]
    at = behaviour_features(cohort, 100.0, None)
    assert (at["n_events"].tolist(), at["n_events_last_30_days"].tolist()) == ([4], [1])
