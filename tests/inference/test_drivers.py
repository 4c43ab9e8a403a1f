"""Drivers of a churn probability: they add up, are those that matter, and agree with Shapley values by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crm_models.core.schema import ACTION, CUSTOMER_ID
from crm_models.data.cohort import Cohort, select
from crm_models.inference.drivers import Explainer, faithfulness, over_customers
from crm_models.inference.shapley import SINCE_LAST
from tests.small_cohorts import SMALL, random_cohort, training_data, untrained, with_churn

COHORT = random_cohort(60, n_actions=4, seed=5, as_of=90.0)


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    encoder, _ = training_data(COHORT)
    return Explainer.of(untrained("churn", encoder), encoder, COHORT, 90.0)


@pytest.fixture(scope="module")
def background(explainer):
    return explainer.background(COHORT, 6)


def points(explained) -> dict[str, float]:
    return {driver.name: driver.points for driver in explained.drivers}


def test_base_and_points_add_up_to_the_churn_probability_of_the_model(explainer, background):
    p = explainer.probabilities(COHORT)
    explained = list(explainer.explain(COHORT, background))
    assert [one.customer_id for one in explained] == COHORT.customers[CUSTOMER_ID].tolist()
    assert [one.churn_p for one in explained] == pytest.approx(p.tolist(), abs=1e-6)
    for one in explained:
        assert one.base == pytest.approx(float(background.churn_p.mean()))
        assert one.base + sum(points(one).values()) / 100 == pytest.approx(one.churn_p, abs=1e-9)


def test_every_feature_and_kind_of_event_is_a_driver_in_words(explainer, background):
    one = next(explainer.explain(select(COHORT, np.array([7])), background))
    names = {driver.name for driver in one.drivers}
    assert names == {"age", "income", "tier", "a001", "a002", "a003", "a004", SINCE_LAST}
    (tier,) = (driver for driver in one.drivers if driver.name == "tier")
    assert tier.phrase() == f"tier {COHORT.customers['tier'].iloc[7]}: {tier.points:+.1f} points"
    assert not tier.is_event
    assert one.top(2) == [driver.phrase() for driver in one.drivers[:2]]
    sizes = [abs(driver.points) for driver in one.drivers]
    assert sizes == sorted(sizes, reverse=True)


def test_one_background_customer_and_two_differences_give_the_shapley_values_by_hand(explainer):
    """Two customers with the same history who differ in age and tier: half of each order's gain."""
    one = select(COHORT, np.array([3]))
    other = replace(one, customers=one.customers.assign(age=20.0, tier="gold", income=0.5))
    mine = replace(one, customers=one.customers.assign(age=60.0, tier="basic", income=0.5))
    background = explainer.background(other, 1)
    explained = points(next(explainer.explain(mine, background)))

    def p(age, tier):
        cohort = replace(one, customers=one.customers.assign(age=age, tier=tier, income=0.5))
        return float(explainer.probabilities(cohort)[0])

    by_age = (p(60, "gold") - p(20, "gold") + p(60, "basic") - p(20, "basic")) / 2
    by_tier = (p(20, "basic") - p(20, "gold") + p(60, "basic") - p(60, "gold")) / 2
    assert (explained["age"], explained["tier"]) == pytest.approx((100 * by_age, 100 * by_tier), abs=1e-3)
    assert [explained[name] for name in ("income", "a001", SINCE_LAST)] == pytest.approx([0, 0, 0], abs=1e-3)


def test_what_the_model_does_not_see_has_no_points(background):
    encoder, _ = training_data(COHORT)
    model = untrained("churn", encoder, with_churn(SMALL, max_events=0, use_behaviour=False))
    explainer = Explainer.of(model, encoder, COHORT, 90.0)
    explained = next(explainer.explain(select(COHORT, np.array([7])), explainer.background(COHORT, 4)))
    assert {driver.name for driver in explained.drivers} == {"age", "income", "tier"}


def test_later_events_and_the_order_of_customers_change_nothing(explainer, background):
    early = select(COHORT, np.array([2, 9]))
    keep = early.event_days < 90.0
    cut = replace(early, interactions=early.interactions[keep].reset_index(drop=True))
    both, swapped = list(explainer.explain(early, background)), list(explainer.explain(cut, background))
    assert [points(one) for one in both] == [points(one) for one in swapped]


def test_a_customer_without_events_is_explained(explainer, background):
    empty = int(np.flatnonzero(np.diff(COHORT.starts) == 0)[0])
    one = next(explainer.explain(select(COHORT, np.array([empty])), background))
    assert {d.value for d in one.drivers if d.is_event} == {"never"}
    assert next(d.value for d in one.drivers if d.name == SINCE_LAST) == "no event"
    assert one.base + sum(points(one).values()) / 100 == pytest.approx(one.churn_p, abs=1e-9)


def test_among_many_actions_the_frequent_ones_of_the_customer_are_drivers():
    cohort = random_cohort(40, n_actions=60, longest=30, shortest=12, seed=8)
    encoder, _ = training_data(cohort)
    explainer = Explainer.of(untrained("churn", encoder), encoder, cohort, None)
    one = next(explainer.explain(select(cohort, np.array([1])), explainer.background(cohort, 3)))
    events = [driver.name for driver in one.drivers if driver.is_event]
    assert len(events) == 11
    assert "other events" in events
    own = cohort.interactions[ACTION][cohort.starts[1] : cohort.starts[2]].astype("str")
    assert set(events) - {"other events"} <= set(own)


def test_dates_are_moved_to_the_wanted_time_since_the_last_event(explainer):
    moment = pd.Timestamp("2026-03-01")
    events = COHORT.interactions.assign(
        timestamp=pd.Timestamp("2025-12-01") + pd.to_timedelta(COHORT.event_days.round(3) * 0.9, unit="D").round("s")
    )
    dated = Cohort.build(
        name="d", source="t", customers=COHORT.customers, actions=COHORT.actions, as_of=moment,
        interactions=events.astype({CUSTOMER_ID: "str", ACTION: "str"}),
    )  # fmt: skip
    encoder, _ = training_data(dated)
    on_dates = Explainer.of(untrained("churn", encoder), encoder, dated, moment)
    one = next(on_dates.explain(select(dated, np.array([7])), on_dates.background(dated, 4)))
    assert one.base + sum(points(one).values()) / 100 == pytest.approx(one.churn_p, abs=1e-9)


def test_the_drivers_are_those_that_matter_more_than_three_at_random(explainer, background):
    sample = select(COHORT, np.arange(30))
    tried = faithfulness(explainer, sample, background, list(explainer.explain(sample, background)))
    assert tried.top > 1.3 * tried.random > 0
    assert tried.n_customers == 30
    assert f"by {tried.top:.1f} points on average; replacing three at random, by {tried.random:.1f}" in tried.said()


def test_over_many_customers_drivers_are_averaged_by_name(explainer, background):
    explained = list(explainer.explain(select(COHORT, np.arange(12)), background))
    table = over_customers(explained).set_index("driver")
    ages = [points(one)["age"] for one in explained]
    assert table.loc["age", "points"] == pytest.approx(np.mean(ages))
    assert table.loc["age", "size"] == pytest.approx(np.mean(np.abs(ages)))
    assert table["size"].is_monotonic_decreasing


def test_few_of_a_background_are_spread_over_its_probabilities(background):
    assert sorted(background.churn_p) == background.churn_p.tolist()
    few = background.few(3)
    assert few.churn_p.tolist() == [background.churn_p[k] for k in (1, 2, 4)]
    ids = background.cohort.customers[CUSTOMER_ID]
    assert few.cohort.customers[CUSTOMER_ID].tolist() == [ids.iloc[k] for k in (1, 2, 4)]
