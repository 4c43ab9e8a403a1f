"""Differences from the training customers: what is outside, unknown, missing or of another type, and when to refuse."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID
from crm_models.data.cohort import Cohort, select
from crm_models.data.drift import conformed, drift, refuse
from crm_models.data.features import FeatureEncoder
from crm_models.data.training_schema import TrainingSchema
from tests.small_cohorts import random_cohort

COHORT = random_cohort(80, seed=3)
ROWS = np.arange(80)
ENCODER = FeatureEncoder.fit(COHORT, ROWS, None)
SCHEMA = TrainingSchema.of(COHORT, ROWS, ENCODER)


def changed(**columns) -> Cohort:
    """The training customers with other values in some columns."""
    return replace(COHORT, customers=COHORT.customers.assign(**columns))


def found(cohort: Cohort, schema: TrainingSchema = SCHEMA) -> list[tuple[str, str, str, int]]:
    return [(d.what, d.kind, d.severity, d.customers) for d in drift(schema, [cohort])]


def renamed(names: dict[str, str]) -> Cohort:
    events = COHORT.interactions.astype({CUSTOMER_ID: "str", ACTION: "str"}).replace({ACTION: names})
    return Cohort.build(name="t", source="t", customers=COHORT.customers, interactions=events)


@pytest.mark.parametrize("schema", [SCHEMA, TrainingSchema.of_encoder(ENCODER)], ids=["kept", "of an earlier run"])
def test_the_training_customers_do_not_differ_from_themselves(schema):
    assert found(COHORT, schema) == []


def test_a_schema_is_read_as_it_was_written():
    assert TrainingSchema.from_dict(SCHEMA.to_dict()) == SCHEMA


def test_a_few_values_outside_are_a_note_and_many_a_warning():
    income = COHORT.customers["income"].to_numpy(copy=True)
    income[:3] = 7.0
    assert found(changed(income=income)) == [("income", "outside", "note", 3)]
    income[:30] = 7.0
    (outside,) = drift(SCHEMA, [changed(income=income)])
    assert (outside.severity, outside.customers) == ("warning", 30)
    assert "'income' is outside the range for 30 customers: training saw 0.0" in outside.text


@pytest.mark.parametrize("factor", [1e-3, 100.0, 1e4])
def test_half_a_column_a_hundred_times_too_large_or_small_is_refused(factor):
    age = COHORT.customers["age"].to_numpy(copy=True)
    half = np.flatnonzero(np.isfinite(age))[: int(np.isfinite(age).sum() / 2) + 1]
    age[half] = age[half] * factor if factor < 1 else 70 * factor
    (far,) = [d for d in drift(SCHEMA, [changed(age=age)]) if d.severity == "refuse"]
    assert (far.what, far.kind, far.customers) == ("age", "far outside", len(half))
    with pytest.raises(DataError, match=r"here: these customers differ too much .*'age' is 100 times .*--allow-drift"):
        refuse([far], "here")


def test_one_odd_training_value_does_not_hide_a_lost_decimal_point():
    age = COHORT.customers["age"].to_numpy(copy=True)
    age[np.flatnonzero(np.isfinite(age))[0]] = -18.0
    schema = TrainingSchema.of(changed(age=age), ROWS, ENCODER)
    assert [(d.what, d.severity) for d in drift(schema, [changed(age=age / 1000)])] == [("age", "refuse")]


def test_a_number_that_is_text_now_names_the_first_odd_cell_and_its_customer():
    text = COHORT.customers["income"].astype("str")
    text.iloc[4] = "unknown"
    (other,) = drift(SCHEMA, [changed(income=text)])
    assert (other.kind, other.severity) == ("type", "refuse")
    assert "The column 'income' held numbers in training; the first that is none: 'unknown'" in other.text
    assert repr(COHORT.customers[CUSTOMER_ID].iloc[4]) in other.text


def test_told_to_go_on_what_is_no_number_or_not_there_is_missing():
    text = COHORT.customers["income"].astype("str")
    text.iloc[4] = "unknown"
    cohort = changed(income=text)
    cohort = replace(cohort, customers=cohort.customers.drop(columns=["age", "tier"]))
    fitting = conformed(SCHEMA, cohort).customers
    assert fitting["income"].isna().tolist() == [k == 4 for k in range(80)]
    assert fitting["age"].isna().all()
    assert fitting["tier"].isna().all()
    arrays = ENCODER.encode(conformed(SCHEMA, cohort), None)
    assert (arrays.categorical == 0).all(), "missing has a code of its own"
    assert conformed(SCHEMA, COHORT) is COHORT


def test_a_missing_column_is_refused_and_counts_everybody():
    cohort = replace(COHORT, customers=COHORT.customers.drop(columns="tier"))
    assert found(cohort) == [("tier", "missing", "refuse", 80)]


def test_unknown_levels_are_named_with_how_many_customers_they_touch():
    tier = COHORT.customers["tier"].copy()
    tier.iloc[:6] = "platinum"
    (unknown,) = drift(SCHEMA, [changed(tier=tier)])
    assert (unknown.kind, unknown.severity, unknown.customers) == ("unknown", "warning", 6)
    assert "'tier' has “platinum”, unknown to the run: 6 customers" in unknown.text


def test_many_more_missing_values_than_in_training_are_said():
    assert found(changed(income=np.where(np.arange(80) < 40, np.nan, 0.5))) == [("income", "missing", "warning", 40)]


def test_a_date_that_is_a_number_now_is_refused():
    dated = changed(income=pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(80), unit="D"))
    encoder = FeatureEncoder.fit(dated, ROWS, None)
    schema = TrainingSchema.of(dated, ROWS, encoder)
    assert found(dated, schema) == []
    assert found(COHORT, schema) == [("income", "type", "refuse", 80)]


def test_one_renamed_action_is_counted_and_all_renamed_are_refused():
    (one,) = drift(SCHEMA, [renamed({"a001": "A 1"})])
    touched = COHORT.interactions.loc[COHORT.interactions[ACTION] == "a001", CUSTOMER_ID].nunique()
    assert (one.what, one.kind, one.severity, one.customers) == ("actions", "unknown", "warning", touched)
    assert "“A 1”, unknown to the run" in one.text
    (none,) = drift(SCHEMA, [renamed({name: f"new {name}" for name in ENCODER.actions})])
    assert none.severity == "refuse"
    assert "No action is known to the run: it was trained on “a001”" in none.text


def test_no_events_and_other_units_of_time_are_said():
    nothing = Cohort.build(name="t", source="t", customers=COHORT.customers, interactions=None)
    assert found(nothing) == [("actions", "missing", "warning", 80)]
    seconds = replace(COHORT, interactions=COHORT.interactions.assign(timestamp=COHORT.event_days * 86_400))
    assert ("times", "unit", "refuse", 80) in found(seconds)
    dates = pd.to_datetime("2026-01-01") + pd.to_timedelta(COHORT.event_days, unit="D")
    assert ("times", "type", "refuse", 80) in found(
        replace(COHORT, interactions=COHORT.interactions.assign(timestamp=dates))
    )


@given(st.lists(st.integers(1, 79), max_size=4, unique=True))
def test_it_does_not_matter_in_which_parts_a_cohort_is_read(cuts):
    tier = COHORT.customers["tier"].copy()
    tier.iloc[10:20] = "platinum"
    cohort = replace(changed(tier=tier, income=COHORT.customers["income"] * 3), interactions=COHORT.interactions)
    edges = [0, *sorted(cuts), 80]
    parts = [select(cohort, np.arange(a, b)) for a, b in pairwise(edges)]
    assert drift(SCHEMA, parts) == drift(SCHEMA, [cohort])
