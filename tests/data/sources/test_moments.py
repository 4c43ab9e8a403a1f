"""Times written in any usual way: the same moment comes out, and what is none is refused by row."""

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources.moments import moments_of
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.receipt import Receipt

MOMENT = pd.Timestamp("2026-01-31 14:05:00")


def moments(*cells: str, receipt: Receipt | None = None) -> pd.Series:
    rows = "".join(f'{k};"{cell}"\n' for k, cell in enumerate(cells))
    return moments_of(read_table(f"n;when\n{rows}".encode(), "t.csv"), "t.csv", "when", receipt)


@pytest.mark.parametrize(
    "written",
    [
        "2026-01-31 14:05",
        "2026-01-31T14:05:00",
        "2026-01-31T14:05:00Z",
        "2026-01-31T15:05:00+01:00",
        "2026-01-31 14:05:00 UTC",
        "2026/01/31 14:05",
        "31.01.2026 14:05",
        "31/01/2026 14:05:00",
        "1/31/2026 14:05",
        "01/31/2026 02:05 PM",
        "31-Jan-2026 14:05",
        "Jan 31, 2026 14:05",
        "31 January 2026 14:05",
        "20260131140500",
        "1769868300",
        "1769868300000",
        "1769868300000000",
        "1769868300000000000",
        "2026-01-31 14:05:00,000",
        "01/31/2026 14:05:00.000",
        "31JAN2026 14:05",
        "Jan 31 2026  2:05PM",
    ],
)
def test_one_moment_is_read_alike_however_it_is_written(written):
    assert moments(written).tolist() == [MOMENT]


@pytest.mark.parametrize(
    "written", ["2026-01-31", "20260131", "31.01.2026", "31.01.26", "01/31/26", "01 31, 2026", "31Jan2026"]
)
def test_a_day_is_its_midnight(written):
    assert moments(written).tolist() == [MOMENT.normalize()]


def test_the_whole_column_decides_between_day_first_and_month_first():
    assert moments("01/02/2026", "13/02/2026")[0] == pd.Timestamp("2026-02-01")
    assert moments("01/02/2026", "01/13/2026")[0] == pd.Timestamp("2026-01-02")


def test_where_both_fit_day_first_is_proposed_and_it_is_asked():
    receipt = Receipt()
    assert moments("01/02/2026", "03/04/2026", receipt=receipt)[0] == pd.Timestamp("2026-02-01")
    [doubt] = receipt.doubts
    assert doubt.is_open
    assert doubt.evidence == "t.csv: the dates in 'when' could be day-first or month-first, as in '01/02/2026'."


def test_a_month_as_one_number_is_its_first_day():
    assert moments("202601", "202512").tolist() == [pd.Timestamp("2026-01-01"), pd.Timestamp("2025-12-01")]


def test_dates_in_two_layouts_are_refused_with_one_of_each():
    said = (
        r"^t.csv row 3, column 'when': expected dates in one layout, found '2026-01-31' and '31.01.2026'; write all of "
        "them in one layout"
    )
    with pytest.raises(DataError, match=said):
        moments("2026-01-31", "31.01.2026", "2026-02-01")


def test_where_both_mean_the_same_nothing_is_noted():
    receipt = Receipt()
    assert moments("02/02/2026", "03/03/2026", receipt=receipt)[0] == pd.Timestamp("2026-02-02")
    assert receipt.notes == []


def test_plain_numbers_stay_numbers():
    found = moments("0", "6", "714", "12,5")
    assert found.tolist() == [0, 6, 714, 12.5]
    assert found.dtype == np.float64


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (("2026-01-31", "soon"), 3),
        (("2026-01-31", "2026-02-30"), 3),
        (("31.01.2026", "32.01.2026"), 3),
        (("", "2026-01-31"), 2),
        (("1", "2", "inf"), 4),
        (("nan", "1"), 2),
        (("1", "2026-01-31", "2"), 3),
        (("1600000000", "soon", "1600000001"), 3),
        (("1600000000", "1600000001", "0"), 4),
        (("99999-01-01", "2026-01-31"), 2),
    ],
)
def test_what_is_no_moment_like_the_others_is_refused_by_row(cells, row):
    with pytest.raises(DataError, match=rf"^t.csv row {row}, column 'when': expected a "):
        moments(*cells)


def test_dates_with_zones_in_parquet_are_turned_to_utc():
    table = pd.DataFrame({"when": pd.to_datetime(["2026-01-31 15:05"]).tz_localize("Europe/Berlin")})
    assert moments_of(table, "t.parquet", "when").tolist() == [MOMENT]
