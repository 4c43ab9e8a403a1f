"""What a cohort is like, on eight customers whose figures a reader can count."""

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.cohort import Cohort, select
from crm_models.data.profile import BEHAVIOUR, MISSING, group_customers, headline, profile
from crm_models.data.storage import save_cohort
from tests.small_cohorts import random_cohort

LOG = [  # customer, action, day, value
    ("ann", "email", 1, 1.0),
    ("ann", "email", 2, 2.0),
    ("ann", "call", 9, 3.0),
    ("bob", "email", 1, np.nan),
    ("cleo", "call", 8, 4.0),
    ("dan", "email", 3, 0.0),
    ("dan", "email", 3, 0.0),
    ("dan", "email", 4, 0.0),
    ("ann", "call", 30, 9.0),  # after the cut-off: outcome, not history
]


def cohort(**changes: object) -> Cohort:
    people = pd.DataFrame(
        {
            "customer_id": ["ann", "bob", "cleo", "dan", "eve", "fay", "gus", "hal"],
            "churned": pd.array([False, True, False, True, True, False, None, False], dtype="boolean"),
            "town": ["Ulm", "Ulm", "Bonn", None, "Ulm", "Bonn", "Bonn", "Bonn"],
            "member": [True, False, True, True, False, True, True, True],
        }
    )
    log = pd.DataFrame(LOG, columns=["customer_id", "action", "timestamp", "value"])
    facts = {"name": "t", "source": "t", "customers": people, "interactions": log, "as_of": 10.0} | changes
    return Cohort.build(**facts)


def test_the_headline_counts_without_reading_the_events(tmp_path):
    folder = save_cohort(cohort(), tmp_path / "c")
    (folder / "interactions.parquet").unlink()
    facts = headline(folder)
    assert (facts.customers, facts.interactions, facts.actions, facts.labelled) == (8, 9, 2, 7)
    assert facts.churn_rate == pytest.approx(3 / 7)


def test_the_headline_of_a_damaged_cohort_says_which_file(tmp_path):
    folder = save_cohort(cohort(), tmp_path / "c")
    (folder / "customers.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"customers\.parquet"):
        headline(folder)


@pytest.mark.parametrize("size", [1, 3])
def test_it_does_not_matter_in_which_parts_a_cohort_is_read(size):
    pieces = [select(cohort(), np.arange(first, min(first + size, 8))) for first in range(0, 8, size)]
    whole, in_pieces = profile(cohort()), profile(pieces)
    for name, table in vars(whole).items():
        if isinstance(table, pd.DataFrame):
            pd.testing.assert_frame_equal(vars(in_pieces)[name], table)
    assert in_pieces.time_unit == whole.time_unit


def test_the_action_mix_counts_events_and_customers_before_the_cut_off_only():
    table = profile(cohort()).actions
    assert table[["action", "events", "customers"]].values.tolist() == [["email", 6, 3], ["call", 2, 2]]
    assert table["share"].tolist() == [0.75, 0.25]


def test_history_lengths_hold_every_customer_once():
    table = profile(cohort()).history
    assert table["events"].tolist() == ["0", "1", "2", "3 or more"]
    assert table["customers"].tolist() == [4, 2, 0, 2]
    assert table["churn_rate"].tolist()[:2] == pytest.approx([1 / 3, 1 / 2])  # eve of eve, fay, hal; bob of bob, cleo
    assert np.isnan(table["churn_rate"].iloc[2])


def test_recency_is_seen_from_the_cut_off():
    table = profile(cohort()).recency
    # ann 9 -> 1 day ago, cleo 8 -> 2, dan 4 -> 6, bob 1 -> 9.
    assert dict(zip(table["since"], table["customers"], strict=True)) == {
        **{str(k): 0 for k in range(9)},
        "1": 1,
        "2": 1,
        "6": 1,
        "9 or more": 1,
    }


def test_a_feature_that_says_more_about_churn_comes_first():
    facts = profile(cohort())
    groups = facts.features.set_index(["feature", "group"])
    assert groups.loc[("member", "no"), ["customers", "churn_rate"]].tolist() == [2, 1.0]
    assert groups.loc[("member", "yes"), "churn_rate"] == pytest.approx(1 / 5)
    assert groups.loc[("town", MISSING), ["customers", "churn_rate"]].tolist() == [1, 1.0]
    assert facts.spread["feature"].tolist() == ["town", "member"]
    # member: 6 customers at 0.2 and 2 at 1.0 have mean 0.4 and variance (6 * 0.04 + 2 * 0.36) / 8 = 0.12.
    assert facts.spread.set_index("feature").loc["member", "spread"] == pytest.approx(np.sqrt(0.12))


def test_many_values_of_a_number_become_five_ranges_and_of_a_text_the_commonest_and_the_rest():
    people = cohort().customers.assign(age=[20.0, 30, 40, 50, 60, 70, 80, np.nan])
    many = pd.concat([people] * 3, ignore_index=True)
    many["customer_id"] = [f"c{k}" for k in range(24)]
    many["age"] = np.where(many["age"].isna(), np.nan, np.arange(24.0))
    many["code"] = [f"x{k}" for k in range(24)]
    groups = profile(cohort(customers=many, interactions=None)).features.set_index(["feature", "group"])
    ages = groups.loc["age"]
    assert len(ages) == 6
    assert ages["customers"].sum() == 24
    assert ages.loc[MISSING, "customers"] == 3
    assert groups.loc[("code", "(17 others)"), "customers"] == 17


def test_segments_cut_recency_and_frequency_at_their_medians():
    table = profile(cohort()).segments.set_index("segment")
    # With events: ann 3 and 1 day ago, bob 1 and 9, cleo 1 and 2, dan 3 and 6; medians 2 events and 4 days.
    assert table["customers"].to_dict() == {
        "Regulars": 1,
        "Newer or occasional": 1,
        "Slipping away": 1,
        "Dormant": 1,
        "No history": 4,
    }
    assert table.loc["Regulars", "value_each"] == 6.0
    assert table.loc["Slipping away", "churn_rate"] == 1.0


def test_a_cohort_without_events_or_labels_or_features_has_a_profile_too():
    bare = cohort(customers=None, as_of=None)
    facts = profile(bare)
    assert facts.features.empty
    assert facts.history["churn_rate"].isna().all()
    people = pd.DataFrame({"customer_id": ["a", "b"]})
    facts = profile(cohort(customers=people, interactions=None, as_of=None))
    assert facts.segments.empty
    assert facts.recency["customers"].sum() == 0
    assert facts.history["customers"].tolist() == [2]


def test_an_odd_column_breaks_nothing():
    odd = cohort().customers.assign(
        empty=np.nan,
        endless=[np.inf, -np.inf, 1, 2, 3, 4, 5, 6.0],
        mixed=[1, "a", None, 2.5, True, "a", "a", "a"],
        day=pd.to_datetime(["2024-01-01"] * 4 + ["2025-01-01"] * 3 + [None]),
    )
    facts = profile(cohort(customers=odd))
    groups = facts.features.set_index(["feature", "group"])["customers"]
    assert groups[("empty", MISSING)] == 8
    assert groups[("endless", MISSING)] == 2
    assert groups[("mixed", "a")] == 4
    assert groups[("day", "2024")] == 4


@pytest.mark.parametrize("as_of", [None, 60.0])
@pytest.mark.parametrize("by", [*BEHAVIOUR, "age", "tier"])
def test_the_groups_of_a_cohort_given_in_parts_are_those_of_the_whole(by, as_of):
    everybody = random_cohort(90, seed=4, as_of=as_of)
    whole, names = group_customers(everybody, by)
    in_parts, same_names = group_customers((select(everybody, np.arange(k, k + 30)) for k in (0, 30, 60)), by)
    assert names == same_names
    assert in_parts.tolist() == whole.tolist()
