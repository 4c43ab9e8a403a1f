"""The data check: every finding on a cohort small enough to count by hand, and silence on a sound one."""

import numpy as np
import pandas as pd
import pytest

from crm_models.data.checks import check_cohort
from crm_models.data.cohort import Cohort, select


def cohort(people: dict | None = None, events: list[tuple] = (), **more) -> Cohort:
    """A cohort from columns of customers and (customer, action, time[, value]) rows."""
    table = pd.DataFrame([(*e, np.nan)[:4] for e in events], columns=["customer_id", "action", "timestamp", "value"])
    return Cohort.build(
        name="t",
        source="t",
        customers=None if people is None else pd.DataFrame(people),
        interactions=table if len(table) else None,
        **more,
    )


def found(given: Cohort) -> dict:
    """The findings by title, which must not depend on the parts in which the cohort is read."""
    findings = check_cohort(given)
    pieces = np.array_split(np.arange(given.n_customers), min(3, given.n_customers))
    assert check_cohort(select(given, rows) for rows in pieces) == findings
    return {finding.title: finding for finding in findings}


def sound(n: int = 300) -> Cohort:
    """Customers of five events at different times, both classes, and a feature that says little."""
    ids = [f"c{k:03d}" for k in range(n)]
    events = [(c, f"a{(k + e) % 7}", 1000 * k + e, 1.0) for k, c in enumerate(ids) for e in range(5)]
    people = {"customer_id": ids, "churned": [k % 3 == 0 for k in range(n)], "age": [20 + k % 50 for k in range(n)]}
    return cohort(people, events)


def test_a_sound_cohort_has_no_finding():
    assert check_cohort(sound()) == []


def test_problems_come_before_warnings_before_notes():
    levels = [
        finding.level for finding in check_cohort(cohort({"customer_id": ["a", "b"], "churned": [1, 1], "x": [1, 1]}))
    ]
    assert levels == sorted(levels, key=["problem", "warning", "note"].index)
    assert set(levels) == {"problem", "warning", "note"}


def test_few_customers_no_events_and_no_labels_are_said():
    titles = found(cohort({"customer_id": ["a", "b"]}))
    assert titles["Few customers"].count == 2
    assert "Nothing to train" in titles
    assert not {"No interactions", "No churn labels"} & set(titles), "these would contradict each other"


def test_one_class_only_is_a_problem_and_a_rare_one_a_warning():
    ids = [str(k) for k in range(200)]
    assert found(cohort({"customer_id": ids, "churned": [True] * 200}))["One class only"].level == "problem"
    few = found(cohort({"customer_id": ids, "churned": [k < 49 for k in range(200)]}))["Few of one class"]
    assert (few.level, few.count, few.detail) == ("warning", 49, "Only 49 of 200 labelled customers churned.")
    assert "Few of one class" not in found(cohort({"customer_id": ids, "churned": [k < 50 for k in range(200)]}))
    stayed = found(cohort({"customer_id": ids, "churned": [k > 9 for k in range(200)]}))["Few of one class"]
    assert stayed.detail == "Only 10 of 200 labelled customers stayed."


def test_customers_without_a_label_are_counted():
    labels = pd.array([True, False, None, None], dtype="boolean")
    assert found(cohort({"customer_id": list("abcd"), "churned": labels}))["Unlabelled customers"].count == 2


def test_duplicate_events_are_not_confused_with_ties():
    titles = found(
        cohort(
            None, [("a", "x", 1, 5.0), ("a", "y", 1, 5.0), ("a", "x", 1, 5.0), ("a", "x", 2, 5.0), ("b", "x", 1, 5.0)]
        )
    )
    assert titles["Duplicate events"].count == 1
    assert titles["Events at the same moment"].count == 2
    assert titles["Events at the same moment"].detail.startswith("40.0% of events")


def test_events_of_another_value_or_without_one_are_no_doubles_unless_alike():
    assert "Duplicate events" not in found(cohort(None, [("a", "x", 1, 5.0), ("a", "x", 1, 6.0)]))
    assert found(cohort(None, [("a", "x", 1), ("a", "x", 1)]))["Duplicate events"].count == 1


def test_ties_of_two_per_cent_and_fewer_are_not_worth_a_line():
    events = [("a", "x", float(k)) for k in range(98)] + [("a", "y", 0.0), ("a", "z", 1.0)]
    assert "Events at the same moment" not in found(cohort(None, events))
    assert "Events at the same moment" in found(cohort(None, [*events, ("a", "w", 2.0)]))


def test_short_histories_and_customers_without_one_are_counted():
    events = [("a", "x", 1), ("b", "x", 1), ("b", "x", 2), ("b", "x", 3), *(("c", "x", t) for t in range(4))]
    titles = found(cohort({"customer_id": list("abcd")}, events))
    assert titles["Short histories"].detail == "2 customers have three events or fewer, 1 of them only one."
    assert titles["Short histories"].level == "warning"
    assert titles["Customers without a history"].count == 1


def test_events_in_the_future_are_counted_unless_they_were_generated():
    events = [("a", "x", pd.Timestamp("2020-01-01")), ("a", "x", pd.Timestamp.now() + pd.Timedelta(days=3))]
    assert found(cohort(None, events))["Events in the future"].count == 1
    assert "Events in the future" not in found(
        cohort(None, events, as_of=pd.Timestamp("2020-02-01"), outcome="simulated")
    )


@pytest.mark.parametrize("column", ["churn_date", "Cancelled_At", "end_date"])
def test_events_after_the_churn_date_are_a_problem(column):
    day = pd.Timestamp("2026-01-01")
    people = {"customer_id": ["a", "b"], "churned": [True, False], column: [day + pd.Timedelta(days=5), pd.NaT]}
    late = found(
        cohort(
            people, [("a", "x", day), ("a", "x", day + pd.Timedelta(days=9)), ("b", "x", day + pd.Timedelta(days=9))]
        )
    )
    assert (late["Events after the churn date"].level, late["Events after the churn date"].count) == ("problem", 1)
    early = found(cohort(people, [("a", "x", day), ("b", "x", day + pd.Timedelta(days=9))]))
    assert "Events after the churn date" not in early


def test_a_churn_date_written_as_text_is_understood():
    people = {"customer_id": ["a"], "churned": [True], "churn_date": ["2026-01-02"]}
    titles = found(cohort(people, [("a", "x", pd.Timestamp("2026-01-03"))]))
    assert titles["Events after the churn date"].count == 1


def test_events_after_the_cut_off_are_a_note_where_they_really_happened():
    people = {"customer_id": ["a"], "churned": [False]}
    given = cohort(people, [("a", "x", 1.0), ("a", "x", 5.0), ("a", "x", 6.0)], as_of=5.0, outcome="observed")
    assert found(given)["Events after the cut-off"].count == 2


def test_constant_mostly_blank_and_naming_columns_are_noted():
    n = 100
    people = {
        "customer_id": [str(k) for k in range(n)],
        "same": [7] * n,
        "empty": [None] * n,
        "rare": [1.0 if k < 25 else 2.0 if k < 49 else np.nan for k in range(n)],
        "surname": [f"name {k}" for k in range(n)],
        "city": [f"city {k % 10}" for k in range(n)],
    }
    titles = set(found(cohort(people)))
    assert {
        "Constant column same",
        "Constant column empty",
        "Mostly blank column rare",
        "Column surname identifies customers",
    } <= titles
    assert not any("city" in title for title in titles)


def labelled(column) -> dict:
    """Forty customers of whom the first ten churned, with one feature."""
    return {"customer_id": [str(k) for k in range(40)], "churned": [k < 10 for k in range(40)], "x": column}


@pytest.mark.parametrize(
    "column",
    [
        [1.0 if k < 10 else 0.0 for k in range(40)],
        [0.0 if k < 10 else 1.0 for k in range(40)],
        ["gone" if k < 10 else "here" for k in range(40)],
        [None if k < 10 else 3.0 for k in range(40)],
        [None if k < 10 else f"2026-01-{k % 28 + 1:02d}" for k in range(40)],
        [k < 10 for k in range(40)],
        list(pd.to_datetime(["2026-01-01" if k < 10 else "2026-02-01" for k in range(40)])),
    ],
    ids=["number", "the other way round", "word", "blank", "blank or not among words", "flag", "date"],
)
def test_a_column_that_gives_the_label_away_is_a_problem(column):
    finding = next((f for f in check_cohort(cohort(labelled(column))) if "gives the label away" in f.title), None)
    assert finding is not None, [f.title for f in check_cohort(cohort(labelled(column)))]
    assert finding.level == "problem"


def test_the_auc_of_one_column_counts_pairs_in_the_right_order():
    # Nine churners above all thirty others, one below twenty of them: 1 - 20 / (10 * 30) = 0.933.
    column = [100.0 + k for k in range(9)] + [9.5] + [float(k) for k in range(30)]
    assert not any("gives the label away" in title for title in found(cohort(labelled(column))))
    # Below five of them only: 1 - 5 / 300 = 0.983.
    column[9] = 24.5
    finding = next(f for f in check_cohort(cohort(labelled(column))) if "gives the label away" in f.title)
    assert "AUC of 0.983" in finding.detail


def test_a_column_of_many_words_does_not_count_as_telling():
    assert not any("gives the label away" in t for t in found(cohort(labelled([f"name {k}" for k in range(40)]))))


def test_profiles_that_stand_there_twice_are_counted_where_they_are_all_there_is():
    people = {"customer_id": list("abcd"), "churned": [1, 0, 1, 1]} | {f"x{k}": [k, k, k + 1, k] for k in range(5)}
    assert found(cohort(people))["Duplicate profiles"].count == 1  # d repeats a; b has another label
    assert "Duplicate profiles" not in found(cohort({k: v for k, v in people.items() if k != "x0"}))
    assert "Duplicate profiles" not in found(cohort(people, [("a", "x", 1.0)]))


def test_rare_actions_and_one_that_dominates_are_said():
    events = [("a", "often", float(t)) for t in range(90)] + [("a", f"rare {t}", 100.0 + t) for t in range(9)]
    titles = found(cohort(None, events))
    assert titles["Many rare actions"].detail.startswith("9 of 10 actions")
    assert titles["One action dominates"].detail.startswith("91% of events are 'often'")


@pytest.mark.data
def test_what_is_known_of_the_real_sets_is_found(shared_data):
    from crm_models.data.sources import import_cohort

    amazon = found(import_cohort("amazon", [shared_data / "amazon-musical-instruments"]))
    assert {"Events at the same moment", "No churn labels"} <= set(amazon)
    starbucks = found(import_cohort("starbucks", [shared_data / "starbucks"]))
    assert starbucks["Events at the same moment"].level == "warning"
    assert "Events after the cut-off" in starbucks
    telco = found(import_cohort("telco", [shared_data / "telco"]))
    assert set(telco) == {"No interactions", "Duplicate profiles"}
    assert (telco["Duplicate profiles"].level, telco["Duplicate profiles"].count) == ("note", 22)
    iran = import_cohort("tables", [shared_data / "iranian-churn"], columns={"customer_id": "ROW", "churned": "Churn"})
    assert (found(iran)["Duplicate profiles"].level, found(iran)["Duplicate profiles"].count) == ("warning", 300)
