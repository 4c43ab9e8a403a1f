"""Online Retail, I and II: purchases of customers stay; cancellations, credit notes and nobody's lines do not."""

import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources import import_cohort

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINES = (
    HEADER
    + """536365,85123A,"HEART, WHITE",6,2010-12-01 08:26:00,2.55,17850,United Kingdom
536365,85123a,HEART,2,2010-12-01 08:26:00,3.55,17850,United Kingdom
C536379,D,Discount,-1,2010-12-02 09:41:00,27.5,14527,United Kingdom
536414,22139,,56,2010-12-02 11:52:00,0,,United Kingdom
536415,22139,BOWL,0,2010-12-02 11:52:00,1.25,14527,United Kingdom
536416,22139,BOWL,-3,2010-12-02 11:52:00,1.25,14527,United Kingdom
536417,22139,BOWL,4,2010-12-20 11:52:00,1.25,17850,France
536418,22139,BOWL,1,2010-12-20 12:00:00,1.5,12583,France
A536420,B,Adjust bad debt,1,2010-12-20 12:00:00,-11062.06,,United Kingdom
"""
)


def retail(tmp_path, text: str | bytes = LINES, **options):
    (tmp_path / "r.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return import_cohort("retail", [tmp_path], **({"churn_days": 7} | options))


def test_only_purchases_of_somebody_stay_and_the_notes_count_the_rest(tmp_path):
    cohort = retail(tmp_path)
    assert cohort.interactions[["customer_id", "action"]].values.tolist() == [
        ["12583", "22139"],
        ["17850", "85123A"],
        ["17850", "85123A"],
        ["17850", "22139"],
    ]
    assert cohort.interactions["value"].tolist() == pytest.approx([1.5, 15.3, 7.1, 5.0])
    assert cohort.notes[0] == (
        "9 invoice lines, of which 4 are kept. Left out (some for two reasons): 2 without a customer, 1 cancellations, "
        "3 with a quantity of 0 or less."
    )


def test_products_have_their_usual_description_and_median_price(tmp_path):
    actions = retail(tmp_path).actions.set_index("action")
    assert actions["label"].to_dict() == {"22139": "BOWL", "85123A": "HEART"}
    assert actions["price"].to_dict() == pytest.approx({"22139": 1.375, "85123A": 3.05})
    assert actions["repeatable"].all()


def test_a_customer_of_two_countries_has_the_first(tmp_path):
    cohort = retail(tmp_path)
    assert cohort.customers.set_index("customer_id")["country"].to_dict() == {
        "12583": "France",
        "17850": "United Kingdom",
    }
    assert "Customers with purchases in several countries, of which the first is used: 1." in cohort.notes


def test_churn_is_a_silence_of_so_many_days(tmp_path):
    cohort = retail(tmp_path)
    assert cohort.as_of == pd.Timestamp("2010-12-13 12:00:00")
    assert cohort.customers.set_index("customer_id")["churned"].to_dict() == {"12583": None, "17850": False}
    assert not retail(tmp_path, churn_days=None).has_labels


SECOND = (
    LINES.replace("InvoiceNo", "Invoice").replace("UnitPrice", "Price").replace("CustomerID", "Customer ID")
).replace(",17850,", ",17850.0,").replace(",12583,", ",12583.0,")  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        SECOND,
        "\ufeff" + LINES.replace("\n", "\r\n"),
        LINES.replace("2010-12-01 08:26:00", "12/1/2010 8:26")
        .replace("2010-12-02 09:41:00", "12/2/2010 9:41")
        .replace("2010-12-02 11:52:00", "12/2/2010 11:52")
        .replace("2010-12-20 11:52:00", "12/20/2010 11:52")
        .replace("2010-12-20 12:00:00", "12/20/2010 12:00"),
        LINES.replace("BOWL", "BÖWL").encode("cp1252"),
    ],
    ids=["Online Retail II", "BOM and CRLF", "American dates", "Windows encoding"],
)
def test_other_copies_of_the_data_give_the_same_purchases(tmp_path, text):
    expected = retail(tmp_path).interactions
    pd.testing.assert_frame_equal(retail(tmp_path, text).interactions, expected)


def test_several_files_are_one_cohort(tmp_path):
    first, second = LINES.splitlines()[1:3], LINES.splitlines()[7:9]
    (tmp_path / "2009.csv").write_text(HEADER + "\n".join(first))
    (tmp_path / "2010.csv").write_text(HEADER + "\n".join(second))
    cohort = import_cohort("retail", [tmp_path / "2009.csv", tmp_path / "2010.csv"], churn_days=7)
    assert len(cohort.interactions) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEADER.replace("Quantity", "Pieces") + "1,2,3,4,2010-12-01,1,1,1\n", "expected the column 'Quantity'"),
        (HEADER, "expected rows below the header"),
        (HEADER + "1,A,x,many,2010-12-01,1,7,UK\n", "row 2, column 'Quantity': expected a number, found 'many'"),
        (HEADER + "1,A,x,1,2010-02-30,1,7,UK\n", "row 2, column 'InvoiceDate': expected a date"),
        (HEADER + "1,,x,1,2010-02-03,1,7,UK\n", "row 2, column 'StockCode': expected a name"),
        (HEADER + "C1,A,x,-1,2010-02-03,1,7,UK\n", "expected invoice lines with a customer and a positive quantity"),
        (HEADER + "1,A,x,1,2010-02-03,1,7,UK\n", "needs a longer history, found events over 0.0 days"),
    ],
)
def test_what_is_no_invoice_is_refused_by_row(tmp_path, text, said):
    with pytest.raises(DataError) as refusal:
        retail(tmp_path, text)
    assert said in str(refusal.value)


@pytest.mark.data
def test_the_real_invoices_have_their_published_counts(shared_data):
    cohort = import_cohort("retail", [shared_data / "online-retail"])
    events = cohort.interactions
    assert cohort.notes[0] == (
        "541,909 invoice lines, of which 397,924 are kept. Left out (some for two reasons): 135,080 without a "
        "customer, 9,288 cancellations, 10,624 with a quantity of 0 or less."
    )
    assert (len(events), cohort.n_customers, len(cohort.actions)) == (397_924, 4_339, 3_665)
    assert events["value"].sum() == pytest.approx(8_911_407.90, abs=0.01)
    assert (events["timestamp"].min(), events["timestamp"].max()) == (
        pd.Timestamp("2010-12-01 08:26"),
        pd.Timestamp("2011-12-09 12:50"),
    )
    known = cohort.customers["churned"].dropna()
    assert (len(known), round(float(known.mean()), 3)) == (3_370, 0.430)
