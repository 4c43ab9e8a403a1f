"""Kinds of times that were misread: what is written beside the moment that must come of it, or what is asked."""

import pandas as pd
import pytest

from crm_models.core.errors import ConfigError, DataError
from crm_models.data.sources.receipt import DoubtError
from tests.data.sources import test_kinds
from tests.data.sources.test_kinds import HEADER, customers, rows
from tests.data.sources.test_workbook import rows_of, workbook

read = test_kinds.read


def events(*times: str) -> dict[str, str]:
    return {"interactions.csv": HEADER + "".join(f"k{k % 2},a{k},{time}\n" for k, time in enumerate(times))}


def moments(cohort) -> list:
    """Times in the order of the file."""
    ordered = cohort.interactions.sort_values("action", key=lambda a: a.astype("str").str[1:].astype("int"))
    return [time if isinstance(time, float) else str(time) for time in ordered["timestamp"]]


def named(name: str, *cells: str) -> dict[str, str]:
    return {"customers.csv": customers(list(cells))["customers.csv"].replace(",x\n", f",{name}\n", 1)}


def doubt_of(read, files: dict):
    with pytest.raises(DoubtError) as stopped:
        read(files)
    [doubt] = stopped.value.doubts
    return doubt


# ---- digits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "meant"),
    [
        (["202601051030", "202602031100"], ["2026-01-05 10:30:00", "2026-02-03 11:00:00"]),
        (["2026010510", "2026020309"], ["2026-01-05 10:00:00", "2026-02-03 09:00:00"]),
        (["260105103015", "260203110000"], ["2026-01-05 10:30:15", "2026-02-03 11:00:00"]),
        (["2601051030", "2602031100"], ["2026-01-05 10:30:00", "2026-02-03 11:00:00"]),
        (["31122025", "05112025"], ["2025-12-31 00:00:00", "2025-11-05 00:00:00"]),
        (["12312025", "01052026"], ["2025-12-31 00:00:00", "2026-01-05 00:00:00"]),
        (["311225", "050126"], ["2025-12-31 00:00:00", "2026-01-05 00:00:00"]),
        (["260131", "260117"], ["2026-01-31 00:00:00", "2026-01-17 00:00:00"]),
        (["638712000000000000", "638722368000000000"], ["2024-12-31 00:00:00", "2025-01-12 00:00:00"]),
        (["133800000000000000", "133810368000000000"], ["2024-12-30 02:40:00", "2025-01-11 02:40:00"]),
        (["1767609000", "1767695400"], ["2026-01-05 10:30:00", "2026-01-06 10:30:00"]),
    ],
)
def test_times_written_as_one_number_are_moments(read, times, meant):
    if times[0] in ("260131", "260117"):  # 26 January 2031 is to come, but 26 January 2017 is not
        times, meant = times * 2, meant * 2
    assert moments(read(events(*times))) == meant


def test_unusual_orders_of_digits_and_ticks_are_said(read):
    for times, how in (
        (["31122025", "05112025"], "dates without marks, day-first (31122025 is 31 December 2025)"),
        (["638712000000000000"], ".NET ticks (6.38712e+17 is 31 December 2024)"),
        (["133800000000000000"], "Windows file times (1.338e+17 is 30 December 2024)"),
    ):
        note = f"interactions.csv: the numbers in 'timestamp' are read as {how}."
        assert note in read(events(*times)).notes


def test_digits_that_are_dates_in_several_orders_are_asked_about(read):
    for times, readings in (
        (["05012026", "06022026"], {"day_first": "2026-01-05 00:00:00", "month_first": "2026-05-01 00:00:00"}),
        (["150126", "170126"], {"day_first": "2026-01-15 00:00:00", "short_year_first": "2015-01-26 00:00:00"}),
        (["200101", "200203"], {"year_first": "2001-01-01 00:00:00", "short_year_first": "2020-01-01 00:00:00"}),
    ):
        assert doubt_of(read, named("signup_date", *times)).id == "customers.signup_date.order"
        doubt = doubt_of(read, events(*times))
        assert doubt.id == "interactions.timestamp.order"
        for reading, moment in readings.items():
            assert moments(read(events(*times), answers={doubt.id: reading}))[0] == moment


def test_times_that_stay_plain_numbers_are_said_and_large_ones_are_asked_about(read):
    few = read(events("0", "6", "714.5"))
    assert moments(few) == [0, 6, 714.5]
    said = "interactions.csv: the times in 'timestamp' are plain numbers, from 0 to 714.5; they count as days."
    assert said in few.notes
    doubt = doubt_of(read, events("202552", "202601", "202612"))
    assert (doubt.id, list(doubt.readings)) == ("interactions.timestamp.days", ["days", "stop"])
    doubt = doubt_of(read, events("2025.09", "2025.10"))
    assert moments(read(events("2025.09", "2025.10"), answers={doubt.id: "days"})) == [2025.09, 2025.1]
    months = read(events("2025.09", "2025.10"), answers={doubt.id: "months"})
    assert moments(months) == ["2025-09-01 00:00:00", "2025-10-01 00:00:00"]
    assert any("from 2023 to 2025; they count as days" in note for note in read(events("2023", "2025")).notes)


def test_times_cut_by_a_spreadsheet_are_asked_about(read):
    assert doubt_of(read, events("1.76761E+12", "1.76769E+12")).id == "interactions.timestamp.cut"
    exact = read(events("1.767612345678E+12"))
    assert moments(exact) == ["2026-01-05 11:25:45.678000"]


def test_what_stands_for_no_date_among_numbers_that_are_dates_is_missing(read):
    for cells in (["20250105", "99991231", "0"], ["20250105", "99991231", "00000000"], ["1736035200", "0", "0"]):
        cohort = read(named("valid_to_date", *cells))
        found = cohort.customers["valid_to_date"]
        assert (str(found[0]), found.isna().tolist()) == ("2025-01-05 00:00:00", [False, True, True])
        assert any("2 numbers in 'valid_to_date' mean no date or an open end" in note for note in cohort.notes)


@pytest.mark.parametrize(
    ("name", "dated"),
    [
        *((name, True) for name in ("signup_date", "signUpDate", "joindate", "createdAt", "Kaufdatum", "renewed on")),
        *((name, False) for name in ("last_update_count", "validated_total", "candidate", "created_total", "mandate")),
    ],
)
def test_numbers_are_dates_only_under_a_heading_with_a_word_for_dates(read, name, dated):
    found = read(named(name, "46023", "46029")).customers[name]
    assert found.tolist() == ([pd.Timestamp("2026-01-01"), pd.Timestamp("2026-01-07")] if dated else [46023, 46029])


# ---- text ------------------------------------------------------------------------------------------------------------


def test_two_digits_in_front_that_may_be_the_day_or_the_year_are_asked_about(read):
    files = events("26/01/05", "26/01/17", "26/02/03", "26/03/11")
    doubt = doubt_of(read, files)
    assert list(doubt.readings) == ["year_first", "day_first"], "2026 alone is likelier than 2003 to 2017"
    assert moments(read(files, answers={doubt.id: "year_first"}))[0] == "2026-01-05 00:00:00"
    assert moments(read(files, answers={doubt.id: "day_first"}))[0] == "2005-01-26 00:00:00"
    assert list(doubt_of(read, events("05/01/02")).readings) == ["day_first", "month_first", "year_first"]


def test_the_dates_decide_whether_the_day_or_the_year_is_in_front_where_they_can(read):
    assert moments(read(events("99/01/05", "00/01/06")))[1] == "2000-01-06 00:00:00"
    assert moments(read(events("31.01.26", "05.01.26")))[1] == "2026-01-05 00:00:00", "no event is of 2031"
    days = [(month, day) for month in range(1, 7) for day in (1, 5, 13, 25)]
    assert moments(read(events(*(f"26/{m:02}/{d:02}" for m, d in days))))[1] == "2026-01-05 00:00:00"
    assert moments(read(events(*(f"{d:02}/{m:02}/26" for m, d in days))))[1] == "2026-01-05 00:00:00"
    with pytest.raises(DataError, match="expected dates in one layout, found '13/01/24' and '45/01/24'"):
        read(events("45/01/24", *(f"{day}/01/24" for day in range(13, 29))))


@pytest.mark.parametrize(
    "written",
    [
        *("2026. 01. 05. 10:30", "2026. 1. 5. 10:30", "2026-01-05t10:30:00z", "05.01.2026 10.30", "2026-01-05 10h30"),
        *("2026-01-05-10.30.00.000000", "2026-Jan-05 10:30", "2026年1月5日 10時30分", "2026年1月5日 10時30分00秒"),
    ],
)
def test_one_moment_in_the_spellings_of_places_and_programs(read, written):
    assert moments(read(events(written))) == ["2026-01-05 10:30:00"]


def test_two_digits_of_a_year_of_birth_to_come_are_of_the_past(read):
    cells = ["03/25/56", "11/17/61", "01/30/85"]
    born = read(named("date of birth", *cells))
    assert born.customers["date of birth"].dt.year.tolist() == [1956, 1961, 1985]
    assert any("(2061 or 1961): birthdays, hence past" in note for note in born.notes)
    assert read(named("dob", "250356", "171161")).customers["dob"].dt.year.tolist() == [1956, 1961]
    assert doubt_of(read, named("x", *cells)).id == "customers.x.century"
    assert read(named("x", *cells), answers={"customers.x.century": "past"}).customers["x"].dt.year.max() == 1985
    assert read(named("expires", "202901", "203001")).customers["expires"].dt.year.tolist() == [2029, 2030]


def test_seasons_and_codes_are_no_months(read):
    seasons = read(named("season", "2010-11", "2011-12", "2009-10"))
    assert seasons.customers["season"].tolist() == ["2010-11", "2011-12", "2009-10"]
    said = "customers.csv: 'season' holds a year and the next one, as in '2010-11', and is read as text."
    assert said in seasons.notes
    assert read(named("x", "2010-11", "2011-01")).customers["x"].tolist()[1] == pd.Timestamp("2011-01-01")
    codes = read(named("article", "1201-05", "1201-06", "4711-02"))
    assert codes.customers["article"].tolist() == ["1201-05", "1201-06", "4711-02"]
    assert any("'article' looks like codes, as in '1201-05'" in note for note in codes.notes)


# ---- times of day ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clocks", [["1030", "915"], ["10:30", "9:15"], ["10:30:00 AM", "9:15:00 AM"]])
def test_a_time_of_day_beside_a_date_makes_one_moment(read, clocks):
    text = f"customer_id,action,Date,Time\na,buy,2026-01-05,{clocks[0]}\na,call,2026-01-06,{clocks[1]}\n"
    cohort = read({"interactions.csv": text})
    assert cohort.interactions["timestamp"].astype("str").tolist() == ["2026-01-05 10:30:00", "2026-01-06 09:15:00"]
    assert any("are the dates in 'timestamp' with the times of day in 'Time'" in note for note in cohort.notes)
    unnamed = read({"interactions.csv": text.replace("Date", "Bought")})
    assert unnamed.interactions["timestamp"].dt.day.tolist() == [5, 6]


def test_a_date_wins_over_a_time_of_small_numbers(read):
    cohort = read({"interactions.csv": "customer_id,action,Date,Time\na,buy,2026-01-05,5\na,call,2026-01-06,12\n"})
    assert cohort.interactions["timestamp"].astype("str").tolist() == ["2026-01-05", "2026-01-06"]
    assert "interactions.csv: unused columns of interactions: Time." in cohort.notes


def sheet(formats: list[str], *cells: tuple[float, ...]) -> dict[str, bytes]:
    """A workbook of customers whose columns b, c, ... have these number formats."""
    styles = "".join(f'<numFmt numFmtId="{170 + k}" formatCode="{code}"/>' for k, code in enumerate(formats))
    forms = "".join(f'<xf numFmtId="{170 + k}"/>' for k in range(len(formats)))
    text = rows_of(("customer_id", *"bcde"[: len(formats)]))
    for number, row in enumerate(cells, start=2):
        filled = "".join(f'<c r="{"BCDE"[k]}{number}" s="{k + 1}"><v>{cell}</v></c>' for k, cell in enumerate(row))
        name = f'<c r="A{number}" t="inlineStr"><is><t>k{number}</t></is></c>'
        text += f'<row r="{number}">{name}{filled}</row>'
    styles = f'<numFmts>{styles}</numFmts><cellXfs><xf numFmtId="0"/>{forms}</cellXfs>'
    return {"customers.xlsx": workbook({"S": text}, styles=styles)}


def test_times_of_a_workbook_without_a_day_are_hours(read):
    cohort = read(sheet(["[h]:mm", "h:mm AM/PM", "h:mm"], (1.25, 0.75, 46027.4375), (0.5, 0.375, 46028.5)))
    assert cohort.customers["b"].tolist() == [30, 12]
    assert cohort.customers["c"].tolist() == [18, 9]
    assert cohort.customers["d"].astype("str").tolist() == ["2026-01-05 10:30:00", "2026-01-06 12:00:00"]
    assert "customers.xlsx: the times in 'b' are read as hours (30:00:00 is 30)." in cohort.notes


def test_dates_of_a_workbook_keep_milliseconds_and_count_from_the_first_of_january_1900(read):
    found = read(sheet(["d/m/yyyy"], (46027.437673611111,), (15,), (61,))).customers["b"]
    assert found.astype("str").str[:19].tolist() == [
        "2026-01-05 10:30:15",
        "1900-01-15 00:00:00",
        "1900-03-01 00:00:00",
    ]
    found = read(sheet(["d/m/yyyy"], (46027.4376788,), (46027.43767938,))).customers["b"]
    assert found.astype("str").tolist() == ["2026-01-05 10:30:15.448", "2026-01-05 10:30:15.498"]


# ---- the day of the export -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", ["05/01/2026", "5 January 2026", "20260105", "2026-13-01", "tomorrow"])
def test_the_day_of_the_export_is_an_iso_date(read, day):
    with pytest.raises(ConfigError, match=r"--as-of expects a date such as 2026-01-31 \(year-month-day"):
        read(events("2026-01-05"), as_of=day)


def test_events_after_the_day_of_the_export_are_said_to_be_later(read):
    zones = ["2026-01-31T23:30:00-05:00", "2026-01-31T10:00:00-05:00", "2026-02-01T10:00:00-05:00"]
    cohort = read(events(*zones), as_of="2026-01-31")
    assert rows(cohort) == (3, 1, 2, 0)
    [note] = [note for note in cohort.notes if "rejected.csv" in note]
    assert note == (
        "interactions.csv: 2 rows left out (first: row 2, timestamp: expected not later than the export of 31 January "
        "2026 23:59 (UTC where time zones are written)); see rejected.csv."
    )
    with pytest.raises(ConfigError, match=r"--as-of: .* all 3 events are later than 31 December 2025 23:59, from 31 J"):
        read(events(*zones), as_of="2025-12-31")
