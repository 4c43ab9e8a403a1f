"""Cells of text to numbers, ids, labels and features; what fits none is refused by file, row and column."""

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources.features import feature_of, without_row_numbers
from crm_models.data.sources.ids import names_of
from crm_models.data.sources.labels import labels_of
from crm_models.data.sources.numbers import numbers_of
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.receipt import Receipt, row_of


def table_of(*cells: str, delimiter: str = ",") -> pd.DataFrame:
    """One column `x` of these cells beside a column of row numbers, read from a CSV."""
    quoted = "".join(f'{k}{delimiter}"{cell}"\n' for k, cell in enumerate(cells))
    return read_table(f"n{delimiter}x\n{quoted}".encode(), "t.csv")


def numbers(*cells: str, delimiter: str = ",") -> list[float]:
    return numbers_of(table_of(*cells, delimiter=delimiter), "t.csv", "x").tolist()


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_plain_numbers_are_read_and_blanks_are_missing():
    assert numbers("1", "-2.5", "1e3", " 4 ", "+5") == [1, -2.5, 1000, 4, 5]
    assert np.isnan(numbers("1", " ", "?")[1:]).all()


@pytest.mark.parametrize(
    ("cells", "meant"),
    [
        (("0,5", "1,25"), [0.5, 1.25]),
        (("1.234,50", "2"), [1234.5, 2]),
        (("1,234.50", "7"), [1234.5, 7]),
        (("1,234,567", "8.5"), [1234567, 8.5]),
        (("0,5", "2.000"), [0.5, 2000]),
        (("1,234", "2.5"), [1234, 2.5]),
        (("1,234", "0,5"), [1.234, 0.5]),
        ((",5", "-,75"), [0.5, -0.75]),
    ],
)
def test_a_comma_is_a_decimal_or_a_thousands_mark_as_the_whole_column_says(cells, meant):
    assert numbers(*cells) == pytest.approx(meant)


def test_commas_before_three_digits_are_thousands_marks_where_commas_separate_cells_and_it_is_said():
    receipt = Receipt()
    assert numbers_of(table_of("1,234", "5,678", delimiter=","), "t.csv", "x", receipt)[0] == 1234
    assert receipt.notes == ["t.csv: numbers in 'x' read with commas as thousands marks (first: '1,234')."]


@pytest.mark.parametrize(("answer", "meant"), [({}, 1.234), ({"t.x.thousands": "thousands"}, 1234)])
def test_where_semicolons_separate_cells_a_comma_before_three_digits_is_asked_about(answer, meant):
    receipt = Receipt(answers=answer)
    assert numbers_of(table_of("1,234", "5,678", delimiter=";"), "t.csv", "x", receipt)[0] == meant
    assert [doubt.is_open for doubt in receipt.doubts] == [not answer]


@pytest.mark.parametrize(
    ("cells", "meant"),
    [
        (("$1,234.50", "$99"), [1234.5, 99]),
        (("-£5", "7"), [-5, 7]),
        (("1.234,50 €", "99,00 €"), [1234.5, 99]),
        (("12%", "15.5 %"), [12, 15.5]),
    ],
)
def test_the_sign_of_a_currency_or_of_per_cent_is_passed_over(cells, meant):
    assert numbers(*cells) == pytest.approx(meant)


def test_two_currencies_in_one_column_are_refused():
    with pytest.raises(DataError, match=r"^t.csv row 2, column 'x': expected a number, found '\$5'"):
        numbers("$5", "5 €")


def test_infinities_are_missing_and_noted():
    receipt = Receipt()
    found = numbers_of(table_of("1", "inf", "-Infinity", "1e999"), "t.csv", "x", receipt)
    assert found.isna().tolist() == [False, True, True, True]
    assert receipt.notes == ["t.csv: 3 infinite values in 'x' count as missing."]


@pytest.mark.parametrize("cell", ["abc", "1,2,3", "1.2.3", "12 XYZ", "1e", "--1", "0x1F"])
def test_what_is_no_number_is_refused_by_row_and_column(cell):
    with pytest.raises(DataError, match=r"^t.csv row 3, column 'x': expected a number, found"):
        numbers("1", cell, "3")


# ---- ids -------------------------------------------------------------------------------------------------------------


def test_ids_stay_as_written_but_for_outer_blanks():
    found = names_of(table_of("007", " a b ", "1.50", "007"), "t.csv", "x")
    assert found.tolist() == ["007", "a b", "1.50", "007"]
    assert len(found.cat.categories) == 3


def test_whole_numbers_that_a_spreadsheet_wrote_with_a_decimal_lose_it():
    assert names_of(table_of("17850.0", "13047.0"), "t.csv", "x").tolist() == ["17850", "13047"]
    assert names_of(pd.DataFrame({"x": [17850.0, 13047.0]}), "t.parquet", "x").tolist() == ["17850", "13047"]
    assert names_of(table_of("1.0", "2.5"), "t.csv", "x").tolist() == ["1.0", "2.5"]


def test_a_blank_id_is_refused_by_row():
    with pytest.raises(DataError, match=r"^t.csv row 4, column 'x': expected a name or number, found a blank"):
        names_of(table_of("a", "b", " ", "d"), "t.csv", "x")


def test_rows_are_counted_as_a_person_sees_them():
    below_a_header = read_table(b"a\n1\n2\n", "t.csv")
    without = read_table(b"1\n2\n", "t.csv", header=["a"])
    bad = np.array([False, True])
    assert (row_of(below_a_header, bad), row_of(without, bad)) == (3, 2)


# ---- labels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yes", "no"),
    [
        ("Yes", "No"),
        ("yes", "NO"),
        ("1", "0"),
        ("1.0", "0.0"),
        ("True", "False"),
        ("t", "f"),
        ("Y", "N"),
        ("Churned", "Stayed"),
        ("Attrited Customer", "Existing Customer"),
        ("Exited", "Retained"),
        ("churned", "active"),
        ("Inactive", "Active"),
        ("cancelled", "subscribed"),
        ("1.00", "0.00"),
        ("ja", "nein"),
        ("Oui", "Non"),
        ("sí", "no"),
    ],
)
def test_every_usual_pair_of_words_is_a_label(yes, no):
    found = labels_of(table_of(yes, no, "", no), "t.csv", "x")
    assert found.tolist() == [True, False, pd.NA, False]


def test_a_third_value_is_refused_by_row_unless_the_one_that_means_yes_is_named():
    three = table_of("gone", "here", "maybe", "gone")
    with pytest.raises(DataError, match=r"^t.csv row 2, column 'x': expected yes or no .* found 'gone'"):
        labels_of(three, "t.csv", "x")
    receipt = Receipt()
    assert labels_of(three, "t.csv", "x", "Gone", receipt).tolist() == [True, False, False, True]
    assert receipt.notes == ["t.csv: in 'x', 'Gone' means churned; 'here', 'maybe' all mean stayed."]


def test_yes_or_no_of_parquet_is_a_label_as_it_is():
    assert labels_of(pd.DataFrame({"x": [True, False]}), "t.parquet", "x").tolist() == [True, False]


def test_a_positive_value_that_never_occurs_is_refused():
    with pytest.raises(DataError, match="expected 'gone' in the column 'x', found 'a', 'b'"):
        labels_of(table_of("a", "b"), "t.csv", "x", "gone")


def test_a_number_names_the_positive_value_also_where_it_is_written_as_a_decimal():
    assert labels_of(table_of("2.0", "1.0"), "t.csv", "x", "2").tolist() == [True, False]


# ---- features --------------------------------------------------------------------------------------------------------


def test_a_feature_is_numbers_where_every_filled_cell_is_one_else_text():
    assert feature_of(table_of("1", "", "3"), "t.csv", "x").dtype == np.float64
    mixed = feature_of(table_of("1", "", "many"), "t.csv", "x")
    assert mixed[[0, 2]].tolist() == ["1", "many"]
    assert mixed.isna().tolist() == [False, True, False]


def test_a_feature_of_iso_dates_is_dates():
    found = feature_of(table_of("2026-01-31", "", "2026-02-01T10:00:00+01:00"), "t.csv", "x")
    assert found[2] == pd.Timestamp("2026-02-01 09:00")
    assert pd.isna(found[1])


def test_flags_and_dates_of_parquet_stay_what_they_are():
    table = pd.DataFrame(
        {"on": [True, False], "day": pd.to_datetime(["2026-01-31 15:00"] * 2).tz_localize("Europe/Berlin")}
    )
    assert feature_of(table, "t.parquet", "on").tolist() == [True, False]
    assert feature_of(table, "t.parquet", "day")[0] == pd.Timestamp("2026-01-31 14:00")


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (("31.01.2026", "01.02.2026"), ["2026-01-31", "2026-02-01"]),
        (("1/31/2026", "2/1/2026"), ["2026-01-31", "2026-02-01"]),
        (("2026/1/31", "2026/02/01"), ["2026-01-31", "2026-02-01"]),
        (("31-JAN-2026", "01-FEB-2026"), ["2026-01-31", "2026-02-01"]),
        (("31. Januar 2026", "1. März 2026"), ["2026-01-31", "2026-03-01"]),
        (("1.2.2026", "1-2-2026"), None),
    ],
)
def test_a_feature_of_other_dates_is_dates_where_the_whole_column_fits_one_layout(cells, days):
    found = feature_of(table_of(*cells), "t.csv", "x")
    assert found.tolist() == ([pd.Timestamp(day) for day in days] if days else list(cells))


def test_a_feature_that_fits_day_first_and_month_first_is_asked_about():
    receipt = Receipt()
    assert feature_of(table_of("03/04/2026"), "t.csv", "x", receipt)[0] == pd.Timestamp("2026-04-03")
    assert receipt.doubts[0].readings == {
        "day_first": "day-first, 03/04/2026 is 03 April 2026",
        "month_first": "month-first, 03/04/2026 is 04 March 2026",
    }


def test_columns_that_number_the_rows_are_left_out_and_noted():
    n = 25
    features = {
        "RowNumber": pd.Series(np.arange(1.0, n + 1)),
        "Unnamed: 0": pd.Series(np.arange(0.0, n)),
        "age": pd.Series(np.arange(18.0, n + 18)),
        "turned": pd.Series(np.arange(1.0, n + 1)[::-1]),
    }
    receipt = Receipt()
    assert list(without_row_numbers(features, "t.csv", receipt)) == ["age", "turned"]
    assert receipt.notes[0] == "t.csv: the column 'RowNumber' only numbers the rows; it is left out."
    few = {"RowNumber": pd.Series([1.0, 2.0, 3.0])}
    assert list(without_row_numbers(few, "t.csv", receipt)) == ["RowNumber"]


@pytest.mark.parametrize("cell", ["2026-02-30", "31.01.2026", "12-34"])
def test_a_feature_that_is_no_iso_date_stays_text(cell):
    assert feature_of(table_of("2026-01-31", cell), "t.csv", "x").tolist() == ["2026-01-31", cell]


def test_a_blank_feature_stays_blank():
    assert feature_of(table_of("", "?"), "t.csv", "x").isna().all()
