"""Churn by inactivity: who was active before the cut-off and silent after it, on a timeline that fits on one hand."""

import pandas as pd
import pytest

from crm_models.core.errors import ConfigError, DataError
from crm_models.data.cohort import Cohort
from crm_models.data.sources.inactivity import label_by_inactivity

# Day:        0    1    2    3    4    5 ... 10
EVENTS = [
    ("stays", "buy", 0),
    ("stays", "buy", 10),
    ("leaves", "buy", 2),
    ("joins", "buy", 8),
    ("edge", "buy", 5),
    ("mails", "buy", 1),
    ("mails", "mail", 9),
]


NO_EVENTS = Cohort.build(name="t", source="t", customers=pd.DataFrame({"customer_id": ["a"]}), interactions=None)


def cohort(events=EVENTS, dated: bool = False, **columns) -> Cohort:
    table = pd.DataFrame(events, columns=["customer_id", "action", "timestamp"])
    if dated:
        table["timestamp"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(table["timestamp"], unit="D")
    people = pd.DataFrame({"customer_id": ["stays", "leaves", "joins", "edge", "mails", "never"], **columns})
    return Cohort.build(name="t", source="t", customers=people, interactions=table)


def labels(labelled: Cohort) -> dict:
    return labelled.customers.set_index("customer_id")["churned"].to_dict()


@pytest.mark.parametrize("dated", [False, True], ids=["numbers", "dates"])
def test_five_days_of_silence_after_day_five(dated):
    labelled = label_by_inactivity(cohort(dated=dated), 5)
    assert labels(labelled) == {
        "stays": False,
        "leaves": True,
        "joins": None,  # nothing is known of it before
        "edge": None,  # an event at the cut-off itself is outcome
        "mails": False,
        "never": None,
    }
    assert labelled.as_of == (pd.Timestamp("2026-01-06") if dated else 5.0)
    assert labelled.outcome == "observed"
    assert labelled.settings["churn_days"] == 5


def test_only_the_actions_that_count_keep_a_customer():
    assert labels(label_by_inactivity(cohort(), 5, ["buy"]))["mails"] is True
    assert "no buy in the 5 days" in label_by_inactivity(cohort(), 5, ["buy"]).notes[-1]


def test_nothing_else_of_the_cohort_changes():
    given = cohort(age=[1, 2, 3, 4, 5, 6])
    labelled = label_by_inactivity(given, 5)
    pd.testing.assert_frame_equal(labelled.interactions, given.interactions)
    assert labelled.customers["age"].tolist() == [1, 2, 3, 4, 5, 6]
    assert not given.has_labels


def test_the_note_counts_who_churned_and_who_is_unknown():
    note = label_by_inactivity(cohort(), 5).notes[-1]
    assert "33.3% of 3 customers churned; 3 were not active before and are unlabelled." in note


@pytest.mark.parametrize("churn_days", [0, -1, float("nan"), float("inf"), 1e6])
def test_days_must_be_a_positive_number(churn_days):
    with pytest.raises(ConfigError, match="churn_days must be a positive number"):
        label_by_inactivity(cohort(), churn_days)


@pytest.mark.parametrize(
    ("given", "churn_days", "said"),
    [
        (cohort(), 10, "needs a longer history, found events over 10.0 days"),
        (cohort(churned=[True, None, None, None, None, None]), 5, "labels already"),
        (NO_EVENTS, 5, "needs interactions"),
    ],
)
def test_a_cohort_that_cannot_be_labelled_is_refused(given, churn_days, said):
    with pytest.raises(DataError, match=said):
        label_by_inactivity(given, churn_days)
