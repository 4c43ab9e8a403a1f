"""The general form: tables told apart by name or by columns, mapped, and refused where they do not fit."""

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import ConfigError, CrmError, DataError
from crm_models.data.sources import import_cohort
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.tables import cohort_from_tables, guess_columns, kind_of

EVENTS = "customer_id,action,timestamp,value\nb,call,2026-01-02,\na,mail,2026-01-01,2.5\na,call,2026-01-03,1\n"
PEOPLE = "customer_id,churned,age,city\na,yes,30,Ulm\nb,no,,Bonn\nc,,50,\n"
DEEDS = "action,label,kind,repeatable,cost\ncall,Call them,retention,no,5\nmail,Write,engagement,yes,1\n"


@pytest.fixture
def folder(tmp_path):
    """Writes files of these names and contents (`__` for the dot) and returns their folder."""

    def write(**files: str | bytes):
        for name, content in files.items():
            raw = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name.replace("__", ".")).write_bytes(raw)
        return tmp_path

    return write


def tables(*sources, **options):
    return import_cohort("tables", sources, **options)


def header(text: str) -> pd.DataFrame:
    return read_table(f"{text}\n".encode(), "t.csv")


# ---- good tables -----------------------------------------------------------------------------------------------------


def test_three_tables_become_one_cohort(folder):
    cohort = tables(folder(interactions__csv=EVENTS, customers__csv=PEOPLE, actions__csv=DEEDS))
    assert list(cohort.customers["customer_id"]) == ["a", "b", "c"]
    assert cohort.customers["churned"].tolist() == [True, False, pd.NA]
    assert cohort.feature_columns == ["age", "city"]
    assert cohort.customers["age"].tolist()[::2] == [30, 50]
    assert list(cohort.interactions["action"]) == ["mail", "call", "call"]
    assert cohort.interactions["value"].tolist()[:2] == [2.5, 1]
    assert np.isnan(cohort.interactions["value"].iloc[2])
    assert cohort.actions["repeatable"].tolist() == [False, True]
    assert cohort.actions[["label", "kind"]].values.tolist() == [["Call them", "retention"], ["Write", "engagement"]]
    assert cohort.actions["cost"].tolist() == [5, 1]


def test_without_customers_there_are_no_labels_and_without_interactions_no_events(folder):
    where = folder(interactions__csv=EVENTS, customers__csv=PEOPLE)
    only_events, only_people = tables(where / "interactions.csv"), tables(where / "customers.csv")
    assert (only_events.n_customers, only_events.has_events, only_events.has_labels) == (2, True, False)
    assert (only_people.n_customers, only_people.has_events, only_people.has_labels) == (3, False, True)


def test_csv_and_parquet_give_the_same_cohort(folder):
    where = folder(customers__csv=PEOPLE)
    people = pd.DataFrame(
        {"customer_id": ["a", "b", "c"], "churned": [True, False, None], "age": [30.0, None, 50.0]}
        | {"city": ["Ulm", "Bonn", None]}
    )
    people.to_parquet(where / "people.parquet")
    one, two = tables(where / "customers.csv"), tables(where / "people.parquet")
    pd.testing.assert_frame_equal(one.customers, two.customers)


def test_european_spreadsheets_are_read_like_others(folder):
    events = "\ufeffcustomer_id;action;timestamp;value\r\n007;call;31.01.2026 14:05;1.234,50\r\n".encode()
    cohort = tables(folder(interactions__csv=events))
    row = cohort.interactions.iloc[0]
    assert (row["customer_id"], row["value"]) == ("007", 1234.5)
    assert row["timestamp"] == pd.Timestamp("2026-01-31 14:05")


def test_columns_that_differ_from_ours_in_case_and_blanks_only_are_ours(folder):
    cohort = tables(folder(customers__csv="Customer ID,CHURNED,Age\na,1,3\nb,0,4\n"))
    assert list(cohort.customers.columns) == ["customer_id", "churned", "Age"]


def test_likely_columns_are_taken_and_the_notes_say_which(folder):
    cohort = tables(folder(log__csv="user_id,item_id,rating,time\nu,x,4.5,2026-01-01\n"))
    assert cohort.interactions[["customer_id", "action", "value"]].values.tolist() == [["u", "x", 4.5]]
    said = "customer_id=user_id, action=item_id, timestamp=time, value=rating"
    assert cohort.notes[0] == f"log.csv: columns recognised by their usual names: {said} (--column maps others)."


@pytest.mark.parametrize("label", ["Exited", "Churn", "is_churn", "Attrition_Flag", "Churn Value"])
def test_the_label_of_other_churn_tables_is_taken(folder, label):
    cohort = tables(folder(bank__csv=f"CustomerId,Age,{label}\n1,42,1\n2,41,0\n"))
    assert cohort.labels.tolist() == [1, 0]
    assert f"churned={label}" in cohort.notes[0]


@pytest.mark.parametrize("label", ["target", "label", "left"])
def test_a_column_that_may_be_something_else_is_never_taken_for_the_label(folder, label):
    cohort = tables(folder(people__csv=f"customer_id,{label}\n1,1\n2,0\n"))
    assert not cohort.has_labels
    assert cohort.feature_columns == [label]


def test_a_mapping_comes_before_a_guess(folder):
    where = folder(log__csv="user_id,visitor,item,date\nu,v,x,2026-01-01\n")
    cohort = tables(where, columns={"customer_id": "visitor"})
    assert list(cohort.customers["customer_id"]) == ["v"]


def test_a_list_of_purchases_has_one_kind_of_action(folder):
    text = " customer_id  date  number_of_cds  dollar_value\n 00001  19970101  1  11.77\n 00002  19970112  5  77.00\n"
    cohort = tables(folder(CDNOW_master__txt=text), churn_days=5)
    assert cohort.actions["action"].tolist() == ["purchase"]
    assert cohort.interactions["value"].tolist() == [11.77, 77.0]
    assert cohort.labels[0] == 1
    assert any("every row counts as the action 'purchase'" in note for note in cohort.notes)


def test_rows_can_stand_for_customers_that_nobody_named(folder):
    where = folder(people__csv="Churn,Age\n1,30\n0,40\n")
    cohort = tables(where, columns={"customer_id": "ROW"})
    assert list(cohort.customers["customer_id"]) == ["row 1", "row 2"]


def test_dropped_columns_are_gone(folder):
    cohort = tables(folder(customers__csv="customer_id,churned,FN,FP\na,1,2,3\nb,0,4,5\n"), drop=["FN", "FP"])
    assert cohort.feature_columns == []


def test_events_with_numbers_as_times_are_not_dated(folder):
    cohort = tables(folder(interactions__csv="customer_id,action,timestamp\na,x,3\na,y,1\n"))
    assert not cohort.is_dated
    assert cohort.interactions["action"].tolist() == ["y", "x"]


def test_events_of_one_moment_keep_the_order_of_the_file(folder):
    cohort = tables(folder(interactions__csv="customer_id,action,timestamp\na,z,1\na,m,1\na,b,1\n"))
    assert cohort.interactions["action"].tolist() == ["z", "m", "b"]


def test_quoted_line_ends_do_not_shift_the_rows(folder):
    cohort = tables(folder(customers__csv='customer_id,remark,churned\na,"two\nlines, one cell",1\nb,short,0\n'))
    assert cohort.customers["remark"].tolist() == ["two\nlines, one cell", "short"]


# ---- which table is which --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ("customer_id,action,timestamp", "interactions"),
        ("userId,movieId,rating,timestamp", "interactions"),
        ("Customer ID,Date,Amount", "interactions"),
        ("customer_id,churned,age", "customers"),
        ("CustomerId,Surname,Exited", "customers"),
        ("CustomerId,Tenure,Product", "customers"),
        ("action,label,kind", "actions"),
        ("item,price", "actions"),
    ],
)
def test_a_table_is_known_by_its_columns(columns, kind):
    assert kind_of(header(columns)) == kind


def test_guesses_ignore_case_blanks_and_punctuation_and_use_a_column_once():
    assert guess_columns(header("Client-ID,Product,Event Time,Amount,Churn?")) == {
        "customer_id": "Client-ID",
        "action": "Product",
        "timestamp": "Event Time",
        "value": "Amount",
        "churned": "Churn?",
    }


def test_two_files_of_any_name_are_told_apart(folder):
    where = folder(log__csv=EVENTS, people__csv=PEOPLE)
    cohort = tables(where / "people.csv", where / "log.csv")
    assert (cohort.n_customers, len(cohort.interactions)) == (3, 3)


# ---- what does not fit -----------------------------------------------------------------------------------------------

REFUSED = {
    "no file": ({}, {}, "expected interactions.csv or customers.csv (or .parquet), found an empty folder"),
    "only actions": ({"actions__csv": DEEDS}, {}, "found only actions"),
    "two of a kind": (
        {"a__csv": PEOPLE, "b__csv": PEOPLE.replace("city", "town")},
        {},
        "b.csv: expected one table of customers, found a second",
    ),
    "no column of ids": (
        {"customers__csv": "name,age\nann,3\n"},
        {},
        "customers.customer_id.column=rows",
    ),
    "no time": ({"interactions__csv": "customer_id,action\na,x\n"}, {}, "expected the column 'timestamp'"),
    "no rows": ({"customers__csv": "customer_id,age\n"}, {}, "expected rows below the header, found none"),
    "no header": ({"customers__csv": "00001,19970101,1\n00002,19970102,1\n"}, {}, "row 1: expected column names"),
    "doubled id": (
        {"customers__csv": "customer_id,age\na,1\nb,2\na,3\n"},
        {},
        "row 4: duplicate customer_id 'a'",
    ),
    "doubled action": (
        {"customers__csv": PEOPLE, "actions__csv": "action\nx\nx\n"},
        {},
        "actions.csv row 3: duplicate action 'x'",
    ),
    "strange kind": (
        {"customers__csv": PEOPLE, "actions__csv": "action,kind\nx,sale\n"},
        {},
        "must be engagement or retention",
    ),
    "three labels": (
        {"customers__csv": "customer_id,churned\na,yes\nb,no\nc,perhaps\n"},
        {},
        "row 4, column 'churned'",
    ),
    "no amount": (
        {"interactions__csv": "customer_id,action,timestamp,value\na,x,1,much\n"},
        {},
        "column 'value': expected a number",
    ),
    "strangers": ({"interactions__csv": EVENTS, "customers__csv": "customer_id\nz\n"}, {}, "found none in common"),
    "mapped nowhere": (
        {"customers__csv": PEOPLE},
        {"columns": {"customer_id": "user"}},
        "no table has a column 'user'",
    ),
    "mapped twice": (
        {"customers__csv": PEOPLE},
        {"columns": {"churned": "city"}},
        "duplicate column 'churned' after mapping",
    ),
    "dropped nowhere": ({"customers__csv": PEOPLE}, {"drop": ["town"]}, "--drop town: no table has such a column"),
    "positive without label": (
        {"interactions__csv": EVENTS},
        {"positive": "x"},
        "no table of customers has the column",
    ),
    "labels already": ({"interactions__csv": EVENTS, "customers__csv": PEOPLE}, {"churn_days": 1}, "labels already"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(folder, name):
    files, options, said = REFUSED[name]
    with pytest.raises(CrmError) as refusal:
        tables(folder(**files), **options)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_column_that_can_be_guessed_is_proposed():
    table = read_table(b"customer_id,date\na,2026-01-01\n", "t.csv")
    with pytest.raises(DataError, match=r"perhaps --column timestamp=date"):
        cohort_from_tables({"interactions": (table, "t.csv")})


def test_a_source_that_is_not_there_an_unknown_form_and_a_foreign_option_are_named(tmp_path):
    with pytest.raises(DataError, match="none: expected a file or folder, found none"):
        tables(tmp_path / "none")
    with pytest.raises(ConfigError, match="form must be one of tables, movielens"):
        import_cohort("excel", [tmp_path])
    with pytest.raises(ConfigError, match="import telco has no option 'churn_days'"):
        import_cohort("telco", [tmp_path], churn_days=3)
    with pytest.raises(DataError, match="expected files or a folder, found none"):
        import_cohort("tables", [])


# ---- real data -------------------------------------------------------------------------------------------------------


@pytest.mark.data
def test_iranian_churn_has_its_published_counts(shared_data):
    cohort = tables(shared_data / "iranian-churn", columns={"customer_id": "ROW"}, drop=["FN", "FP"])
    assert (cohort.n_customers, int(cohort.labels.sum())) == (3150, 495)
    assert len(cohort.feature_columns) == 13
    assert "Call Failure" in cohort.feature_columns
    assert all(pd.api.types.is_numeric_dtype(cohort.customers[c]) for c in cohort.feature_columns)


@pytest.mark.data
def test_cdnow_has_its_published_counts(shared_data):
    events = tables(shared_data / "cdnow").interactions
    assert (events["customer_id"].nunique(), len(events)) == (23_570, 69_659)
    assert events["value"].sum() == pytest.approx(2_500_315.63)
    assert int((events["value"] == 0).sum()) == 80
    assert (events["timestamp"].min(), events["timestamp"].max()) == (
        pd.Timestamp("1997-01-01"),
        pd.Timestamp("1998-06-30"),
    )
    assert round((events["customer_id"].value_counts() == 1).mean(), 3) == 0.505
