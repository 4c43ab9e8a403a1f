"""Telco churn tables: IBM's releases and others; blanks are missing, columns that tell the label are left out."""

import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources import import_cohort

IBM = """customerID,gender,SeniorCitizen,tenure,MonthlyCharges,TotalCharges,Churn
7590-VHVEG,Female,0,1,29.85,29.85,No
5575-GNVDE,Male,1,34,56.95,1889.5,Yes
4472-LVYGI,Female,0,0,52.55, ,No
"""


def telco(tmp_path, text: str):
    (tmp_path / "t.csv").write_text(text)
    return import_cohort("telco", [tmp_path])


def test_ibms_table_gives_profiles_and_labels_but_no_events(tmp_path):
    cohort = telco(tmp_path, IBM)
    people = cohort.customers
    assert cohort.labels.tolist() == [0, 1, 0]
    assert people["SeniorCitizen"].tolist() == ["No", "Yes", "No"]
    assert people["TotalCharges"].tolist()[:2] == [29.85, 1889.5]
    assert pd.isna(people["TotalCharges"].iloc[2])
    assert "TotalCharges: 1 blank." in cohort.notes
    assert not cohort.has_events


def test_columns_of_the_longer_releases_that_tell_the_label_are_left_out(tmp_path):
    cohort = telco(
        tmp_path,
        "CustomerID,City,Churn Label,Churn Value,Churn Score,CLTV,Churn Reason\n"
        "a,LA,Yes,1,86,3239,Moved\nb,SF,No,0,67,2701,\n",
    )
    assert cohort.feature_columns == ["City"]
    assert cohort.labels.tolist() == [1, 0]
    assert cohort.notes[-1].endswith("Churn Value, Churn Score, CLTV, Churn Reason.")


def test_who_has_just_joined_has_no_label(tmp_path):
    cohort = telco(
        tmp_path, "Customer ID,Age,Customer Status,Churn Category\na,37,Stayed,\nb,46,Churned,Price\nc,50,Joined,\n"
    )
    assert cohort.customers["churned"].tolist() == [False, True, pd.NA]
    assert cohort.feature_columns == ["Age"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("CustomerId,Surname,Exited\n15634602,Hill,1\n15647311,Onio,0\n", ["15634602", "15647311"]),
        ("CLIENTNUM,Attrition_Flag\n768,Attrited Customer\n818,Existing Customer\n", ["768", "818"]),
        ("State,Account length,Churn\nKS,128,True\nOH,107,False\n", ["row 1", "row 2"]),
        ("CustomerID,Age,Churn\n2.0,30.0,1.0\n3.0,65.0,0.0\n,,\n", ["2", "3"]),
        ("id;subscription_age;churn\n15;11,95;1\n18;8,22;0\n", ["15", "18"]),
    ],
    ids=["bank", "cards", "BigML", "trailing blank row", "semicolons"],
)
def test_other_churn_tables_of_this_kind_are_read_too(tmp_path, text, ids):
    cohort = telco(tmp_path, text)
    assert list(cohort.customers["customer_id"]) == ids
    assert cohort.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("customerID,tenure\na,1\n", "expected the column 'Churn', found customerID, tenure"),
        ("customerID,Churn\n", "expected rows below the header"),
        ("customerID,Churn\na,Yes\nb,Perhaps\n", "row 3, column 'Churn': expected yes or no"),
        ("customerID,Churn\na,Yes\na,No\n", "row 3: duplicate customerID 'a'"),
        ("customerID,Churn\na,Yes\n ,No\n", "row 3, column 'customerID': expected a name"),
    ],
)
def test_what_is_no_churn_table_is_refused_by_row(tmp_path, text, said):
    with pytest.raises(DataError) as refusal:
        telco(tmp_path, text)
    assert said in str(refusal.value)


def test_one_table_is_expected(tmp_path):
    with pytest.raises(DataError, match="expected one table, found 0"):
        import_cohort("telco", [tmp_path])
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(IBM)
    with pytest.raises(DataError, match="expected one table, found 2; name the file"):
        import_cohort("telco", [tmp_path])
    with pytest.raises(DataError, match="expected one file or folder, found 2"):
        import_cohort("telco", [tmp_path / "a.csv", tmp_path / "b.csv"])


@pytest.mark.data
def test_the_ibm_sample_has_its_published_counts(shared_data):
    cohort = import_cohort("telco", [shared_data / "telco"])
    people = cohort.customers
    assert (cohort.n_customers, int(cohort.labels.sum()), len(cohort.feature_columns)) == (7_043, 1_869, 19)
    blank = people["TotalCharges"].isna()
    assert int(blank.sum()) == 11
    assert (people["tenure"][blank] == 0).all()
    assert set(people["SeniorCitizen"]) == {"Yes", "No"}
