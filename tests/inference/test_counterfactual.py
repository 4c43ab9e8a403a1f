"""Counterfactuals: really below the threshold, minimal, plausible, and what a reader can redo by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import ConfigError
from crm_models.data.cohort import Cohort, select
from crm_models.inference.counterfactual import BELOW, Change, Levers, changed, counterfactual, in_words
from crm_models.inference.drivers import Explainer
from tests.small_cohorts import random_cohort, training_data, untrained

COHORT = random_cohort(60, n_actions=4, seed=5, as_of=90.0)


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    encoder, _ = training_data(COHORT)
    return Explainer.of(untrained("churn", encoder, sharper=3.0), encoder, COHORT, 90.0)


@pytest.fixture(scope="module")
def levers(explainer) -> Levers:
    return Levers.of(explainer, COHORT, columns=("age", "tier"))


@pytest.fixture(scope="module")
def found(explainer, levers):
    p = explainer.probabilities(COHORT)
    threshold = float(np.quantile(p, 0.6))
    rows = np.argsort(-p, kind="stable")[:12]
    riskiest = [select(COHORT, np.array([row])) for row in rows]
    return [(one, counterfactual(explainer, one, levers, threshold)) for one in riskiest]


def p_with(explainer, customer, changes) -> float:
    return float(explainer.probabilities(changed(customer, [changes], 90.0))[0])


def test_the_new_risk_is_really_below_the_threshold_scored_anew(explainer, found):
    assert sum(bool(one.changes) for _, one in found) >= 6
    for customer, one in found:
        assert one.new_p == pytest.approx(p_with(explainer, customer, one.best), abs=1e-6)
        assert (one.new_p <= one.threshold - BELOW) == one.suffices == bool(one.changes)
        for changes, p in one.others:
            assert p_with(explainer, customer, changes) == pytest.approx(p, abs=1e-6)
            assert p < one.threshold


def test_no_part_of_the_changes_suffices(explainer, found):
    sizes = set()
    for customer, one in found:
        for changes in (one.changes, *(other for other, _ in one.others)):
            sizes.add(len(changes))
            for left_out in range(len(changes)):
                part = [change for k, change in enumerate(changes) if k != left_out]
                assert p_with(explainer, customer, part) > one.threshold - BELOW
    assert max(sizes) >= 2


def test_with_few_changes_it_is_the_smallest_of_all_by_trying_every_one(explainer, found, levers):
    for customer, one in found:
        singles = levers.changes_for(customer)
        enough = [change for change in singles if p_with(explainer, customer, [change]) <= one.threshold - BELOW]
        if enough:
            assert len(one.changes) == 1
            assert one.changes[0].size == min(change.size for change in enough)
        else:
            assert len(one.changes) != 1


def test_each_lever_alone_and_what_did_not_help(explainer, found):
    customer, one = found[0]
    assert {change.lever for change, _ in one.alone} == {"age", "tier", "a001", "a002", "a003", "a004"}
    assert [p for _, p in one.alone] == sorted(p for _, p in one.alone)
    for change, p in one.alone:
        assert p_with(explainer, customer, [change]) == pytest.approx(p, abs=1e-6)
    expected = [change for change, p in one.alone if 100 * (p - one.churn_p) > -0.5]
    assert [change for change, _ in one.did_not_help] == expected


def test_added_events_and_set_columns_are_all_that_changes(found):
    customer, _ = found[0]
    call = Change(lever="a002", value=0.25, is_event=True, label="a002", code=1)
    tier = Change(lever="tier", value="gold", is_event=False, label="tier")
    after = changed(customer, [[call, tier], [], [call, call]], 90.0)
    assert after.customers["tier"].tolist()[0] == "gold"
    assert after.customers["tier"].tolist()[1:] == [customer.customers["tier"].iloc[0]] * 2
    n = len(customer.interactions)
    assert np.diff(after.starts).tolist() == [n + 1, n, n + 2]
    before = customer.interactions[["action", "timestamp", "value"]]
    same = after.interactions[["action", "timestamp", "value"]].iloc[after.starts[1] : after.starts[2]]
    pd.testing.assert_frame_equal(same.reset_index(drop=True), before, check_categorical=False)
    third = after.event_days[after.starts[2] :]
    assert (np.diff(third) >= 0).all()
    assert {88.0, 89.0} <= set(third.tolist())


def test_only_what_is_seen_in_the_cohort_is_plausible(explainer):
    never = replace(COHORT, interactions=COHORT.interactions[COHORT.event_actions != 2].reset_index(drop=True))
    plausible = Levers.of(explainer, never, columns=("tier", "age"))
    assert [event.label for event in plausible.events] == ["a001", "a002", "a004"]
    assert set(plausible.columns["tier"]) == {"basic", "plus", "gold"}
    ages = COHORT.customers["age"].dropna()
    (one,) = [select(COHORT, np.array([4]))]
    values = [change.value for change in plausible.changes_for(one) if change.lever == "age"]
    assert len(values) == 9
    assert set(values) <= set(ages)
    assert ages.quantile(0.05) < min(values) < max(values) < ages.quantile(0.95)
    assert [e.label for e in Levers.of(explainer, COHORT, events=("a002",)).events] == ["a002"]


def test_what_a_customer_can_have_only_once_is_not_added_again(explainer):
    films = replace(COHORT, actions=COHORT.actions.assign(repeatable=False))
    plausible = Levers.of(explainer, films)
    row = int(np.flatnonzero(np.diff(COHORT.starts) > 2)[0])
    customer = select(films, np.array([row]))
    had = set(customer.interactions["action"].astype("str"))
    assert {change.lever for change in plausible.changes_for(customer)} == {"a001", "a002", "a003", "a004"} - had


def test_a_customer_below_the_threshold_needs_no_change(explainer, levers):
    one = counterfactual(explainer, select(COHORT, np.array([0])), levers, 1.0)
    assert (one.changes, one.best, one.suffices) == ((), (), True)
    assert one.said() == f"already below 1.00: {one.churn_p:.1%}"


def test_if_nothing_suffices_the_closest_is_said(explainer, levers):
    one = counterfactual(explainer, select(COHORT, np.array([0])), levers, 0.0)
    assert not one.suffices
    assert one.new_p <= min(p for _, p in one.alone)
    assert one.said().startswith("no plausible change suffices; ")
    nothing = Levers(events=(), columns={})
    assert (
        counterfactual(explainer, select(COHORT, np.array([0])), nothing, 0.0)
        .said()
        .startswith("no plausible change lowers")
    )


def test_dates_are_dates_and_whole_numbers_stay_whole():
    moment = pd.Timestamp("2026-03-01")
    events = COHORT.interactions.assign(
        timestamp=pd.Timestamp("2025-12-01") + pd.to_timedelta(COHORT.event_days.round(3) * 0.9, unit="D").round("s")
    )
    people = COHORT.customers.assign(age=COHORT.customers["age"].round().astype("Int64"))
    dated = Cohort.build(
        name="d", source="t", customers=people, actions=COHORT.actions, as_of=moment,
        interactions=events.astype({"customer_id": "str", "action": "str"}),
    )  # fmt: skip
    encoder, _ = training_data(dated)
    on_dates = Explainer.of(untrained("churn", encoder), encoder, dated, moment)
    customer = select(dated, np.array([7]))
    add = next(e for e in Levers.of(on_dates, dated).events if e.code == 0)
    age = Change(lever="age", value=33, is_event=False, label="age")
    after = changed(customer, [[add, age]], on_dates.now_days)
    assert after.interactions["timestamp"].iloc[-1] == pd.Timestamp("2026-02-28")
    assert after.customers["age"].dtype == customer.customers["age"].dtype


def test_phrases_and_unknown_levers(explainer):
    call = Change(lever="a002", value=np.nan, is_event=True, label="Call", code=1)
    plan = Change(lever="tier", value="gold", is_event=False, label="tier")
    assert in_words([call, call, plan]) == "add “Call” twice and set tier to gold"
    with pytest.raises(ConfigError, match=r"that the model sees \(age, income, tier\), found 'plan'"):
        Levers.of(explainer, COHORT, columns=("plan",))
    with pytest.raises(ConfigError, match="expected an action of the cohort, such as 'a001', found 'Call'"):
        Levers.of(explainer, COHORT, events=("Call",))
