"""Generated cohorts are what their settings say, the same for the same seed, and hide the truth."""

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import ConfigError
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.data.sources.synthetic.lifelike import ENGAGEMENT, SEGMENTS, lifelike_truth
from crm_models.data.sources.synthetic.settings import AS_OF
from crm_models.data.split import outcomes


def test_the_paper_cohort_is_the_papers_table_one():
    cohort, truth = generate(ScenarioSettings(scenario="paper"))
    assert (cohort.n_customers, len(cohort.actions), len(cohort.interactions)) == (100, 50, 800)
    assert list(cohort.actions["label"][:2]) == ["Recommend movie 1", "Recommend movie 2"]
    assert {"rating", "category", "sentiment"} <= set(cohort.actions.columns)
    assert {"age", "location", "clicks", "views", "purchases"} <= set(cohort.customers.columns)
    before = cohort.interactions["timestamp"] < cohort.as_of
    assert np.bincount(cohort.event_customers[before]).tolist() == [5] * 100
    assert outcomes(cohort).n_outcome.tolist() == [3] * 100
    assert len(truth.prior) == 1


def test_the_paper_cohort_is_uniform():
    cohort, _ = generate(ScenarioSettings(scenario="paper", customers=5_000))
    counts = np.bincount(cohort.event_actions, minlength=50)
    # Chi-squared over 50 cells: its mean is 49, its standard deviation 9.9.
    assert ((counts - 800) ** 2 / 800).sum() < 49 + 5 * 9.9
    assert abs(cohort.labels.mean() - 0.5) < 0.03


@pytest.mark.parametrize("scenario", ["paper", "lifelike"])
def test_the_same_seed_draws_the_same_and_another_seed_does_not(scenario):
    one, two, other = (generate(ScenarioSettings(scenario=scenario, customers=60, seed=s))[0] for s in (4, 4, 5))
    pd.testing.assert_frame_equal(one.interactions, two.interactions)
    pd.testing.assert_frame_equal(one.customers, two.customers)
    assert not one.interactions["timestamp"].equals(other.interactions["timestamp"])


def test_every_lifelike_customer_has_three_events_after_the_cut_off_and_some_have_none_before():
    cohort, _ = generate(ScenarioSettings(scenario="lifelike", customers=3_000))
    after = cohort.interactions["timestamp"] >= AS_OF
    assert np.bincount(cohort.event_customers[after]).tolist() == [3] * 3_000
    before = np.bincount(cohort.event_customers[~after], minlength=3_000)
    assert 0.002 < (before == 0).mean() < 0.03
    assert before.max() == 60
    assert cohort.interactions.groupby("customer_id", observed=True)["timestamp"].is_monotonic_increasing.all()


def test_no_column_shows_the_segment_and_retention_actions_never_occur():
    cohort, _ = generate(ScenarioSettings(scenario="lifelike", customers=500))
    assert not any("segment" in str(column) for column in cohort.customers.columns)
    retention = cohort.actions.index[cohort.actions["kind"] == "retention"]
    assert len(retention) == 3
    assert not np.isin(cohort.event_actions, retention).any()


def test_every_segment_has_one_usual_next_action_for_each_action():
    for trips in SEGMENTS.values():
        assert sorted("".join(trips)) == sorted("NFSPAHWRBKCL")
    table = np.array(lifelike_truth(1.0).transition)
    assert table.shape == (4, 12, 12)
    np.testing.assert_allclose(table.sum(axis=2), 1)
    assert (np.sort(table, axis=2)[:, :, -1] > 0.9).all()
    assert len(ENGAGEMENT) == 12


def test_signal_scales_from_pure_chance_to_all_there_is():
    np.testing.assert_allclose(np.array(lifelike_truth(0.0).transition), 1 / 12)
    profile = lifelike_truth(0.0).profile[0]
    np.testing.assert_allclose(profile.p[0], profile.p[1])


def test_purchases_are_counted_from_the_history_alone():
    cohort, _ = generate(ScenarioSettings(scenario="lifelike", customers=300))
    bought = cohort.interactions["value"].gt(5) & (cohort.interactions["timestamp"] < AS_OF)
    counted = np.bincount(cohort.event_customers[bought], minlength=300)
    assert (counted == cohort.customers["purchases"]).all()


def test_a_history_of_a_given_length_can_be_asked_for():
    cohort, _ = generate(ScenarioSettings(scenario="lifelike", customers=50, events=50))
    assert np.diff(cohort.starts).tolist() == [53] * 50


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"scenario": "real"}, "scenario"),
        ({"scenario": "paper", "customers": 0}, "customers"),
        ({"scenario": "paper", "signal": 1.5}, "signal"),
        ({"scenario": "paper", "signal": float("nan")}, "signal"),
        ({"scenario": "paper", "seed": -1}, "seed"),
        ({"scenario": "paper", "events": 9}, "events"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, word):
    with pytest.raises(ConfigError, match=word):
        ScenarioSettings(**settings)


NAMED = ("movielens", "amazon", "churn")


@pytest.mark.parametrize(
    ("scenario", "of_customers", "of_actions"),
    [
        ("movielens", set(), {"category"}),
        ("amazon", {"clicks", "views", "purchases"}, {"rating", "category", "sentiment"}),
        (
            "churn",
            {"clicks", "views", "purchases", "age", "location"},
            {"rating", "category", "sentiment"},
        ),
    ],
)
def test_the_papers_data_sets_have_what_table_one_says(scenario, of_customers, of_actions):
    cohort, _ = generate(ScenarioSettings(scenario=scenario))
    assert (cohort.n_customers, len(cohort.actions), len(cohort.interactions)) == (100, 50, 800)
    assert np.bincount(cohort.event_customers[cohort.is_history(AS_OF)]).tolist() == [5] * 100
    assert set(cohort.interactions["value"]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert set(cohort.feature_columns) == of_customers
    assert set(cohort.actions.columns) - {"action", "label", "kind", "repeatable"} == of_actions
    assert cohort.has_labels == (scenario == "churn")


@pytest.mark.parametrize("scenario", NAMED)
def test_without_signal_the_papers_data_sets_are_uniform(scenario):
    cohort, _ = generate(ScenarioSettings(scenario=scenario, customers=2_000, signal=0.0))
    counts = np.bincount(cohort.event_actions, minlength=50)
    assert ((counts - 320) ** 2 / 320).sum() < 49 + 5 * 9.9
    assert abs(cohort.interactions["value"].mean() - 3) < 0.05
    if cohort.has_labels:
        assert abs(cohort.labels.mean() - 0.5) < 0.05


@pytest.mark.parametrize("scenario", NAMED)
def test_films_and_products_are_chosen_by_category_popularity_and_sequel_and_never_twice(scenario):
    cohort, truth = generate(ScenarioSettings(scenario=scenario, customers=2_000, events=9))
    item, customer = cohort.event_actions, cohort.event_customers
    assert not pd.DataFrame({"item": item, "customer": customer}).duplicated().any()
    same = np.flatnonzero(np.diff(customer) == 0)
    now, after = item[same], item[same + 1]
    sequel = np.array(truth.choices.sequel)
    assert (after == sequel[now])[sequel[now] >= 0].mean() > 0.5
    # Without those that follow a sequel: more than one in five would be of the same category by chance.
    category = cohort.actions["category"].to_numpy()
    free = after != sequel[now]
    assert (category[now] == category[after])[free].mean() > 0.35
    # Taste drifts: the last items are less like the first ones than the second ones are.
    first, later = category[item.reshape(-1, 12)[:, :1]], category[item.reshape(-1, 12)]
    alike = (first == later).mean(axis=0)
    assert alike[2] > alike[-1] + 0.1
    counts = np.sort(np.bincount(item, minlength=50))
    assert counts[-10:].sum() > 3 * counts[:10].sum()
