"""Kinds of cells that mean something else than they seem to: rows that are no customers, codes, labels, and roles."""

import pandas as pd
import pytest

from crm_models.core.errors import ConfigError, DataError
from crm_models.data.sources.receipt import DoubtError
from tests.data.sources import test_kinds
from tests.data.sources.test_kinds import facts, rows
from tests.data.sources.test_workbook import rows_of, workbook

read = test_kinds.read


def cells_of(*cells: str) -> dict[str, str]:
    """A file of customers with a column `x` of these cells."""
    return {"customers.csv": "customer_id,x\n" + "".join(f"c{k},{cell}\n" for k, cell in enumerate(cells))}


def ids_of(cohort) -> list[str]:
    return cohort.customers["customer_id"].tolist()


def said(cohort) -> str:
    return " ".join(cohort.notes)


# ---- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["EU subtotal", "Deutschland Ergebnis", "EU sub-total", "Grand total", "Sum of all"])
def test_totals_of_groups_are_no_customers_and_said(read, name):
    cohort = read({"customers.csv": f"customer_id,region,sales\na,EU,10\nb,EU,20\n{name},,30\nc,US,5\nd,US,5\n"})
    assert (ids_of(cohort), rows(cohort)) == (["a", "b", "c", "d"], (5, 4, 0, 1))
    assert f"1 row left out (row 4): a total, '{name}'." in said(cohort)


@pytest.mark.parametrize(
    "names",
    [
        *(["Celkem"], ["Razem"], ["Summe"], ["Totale"], ["Totaal"], ["Összesen"], ["Total général"], ["Ø"]),
        *(["Sum of all customers"], ["Total", "Average", "Min", "Max"]),
    ],
)
def test_totals_at_the_end_are_known_in_other_languages(read, names):
    text = "customer_id,sales,cost\nK1,10,1.5\nK2,20,2.5\n" + "".join(f"{name},30,4\n" for name in names)
    cohort = read({"customers.csv": text})
    assert (ids_of(cohort), rows(cohort)[3]) == (["K1", "K2"], len(names))


def test_companies_and_persons_that_are_called_like_totals_are_kept(read):
    for last in ("Bob,Rom,8", "Max,Rom,8", "Energie Total,,8"):
        people = "Total Wine,Ulm,3\nMaxi,Bonn,4\nAcme Total,Ulm,5\nMin,Rom,6\nMini,Rom,7\n" + last
        assert len(ids_of(read({"customers.csv": f"customer_id,city,x\n{people}\n"}))) == 6
    cohort = read({"customers.csv": "customer_id,city,income,x\nA,Ulm,1,2\nAcme Total,,3,4\nB,,,5\n"})
    assert ids_of(cohort) == ["A", "Acme Total", "B"]
    text = "customer_id,city,x\nA,Ulm,3\nUlm Total,,3\nB,Bonn,4\nBonn Total,,4\nGrand Total,,7\n"
    assert ids_of(read({"customers.csv": text})) == ["A", "B"]


def test_control_records_around_the_data_are_no_customers(read):
    cohort = read({"customers.csv": "RowType,customer_id,age\nH,20260105,2\nD,a,30\nD,b,31\nT,2,61\n"})
    assert (ids_of(cohort), rows(cohort)) == (["a", "b"], (4, 2, 0, 2))
    assert "2 rows left out (first: row 2): a control record around the data." in said(cohort)
    assert len(ids_of(read({"customers.csv": "sex,customer_id\nf,a\nm,b\nm,c\nf,d\n"}))) == 4


def test_rows_of_nothing_but_a_name_are_asked_about_where_it_is_unlike_all_ids(read):
    unlike = {"customers.csv": "customer_id,age,city\nNorth,,\nk1,30,Bonn\nk2,31,Ulm\nSouth,,\nk3,33,Paris\n"}
    with pytest.raises(DoubtError, match=r"customers\.customer_id\.headings=headings"):
        read(unlike)
    assert ids_of(read(unlike, accept_doubts=True)) == ["k1", "k2", "k3"]
    alike = {"customers.csv": "customer_id,age,city\nGermany,,\na,30,Bonn\nb,31,Ulm\nFrance,,\nc,33,Paris\n"}
    cohort = read(alike)
    assert len(ids_of(cohort)) == 5
    assert "2 rows with nothing but 'customer_id' (the first, 'Germany', is row 2), where all others" in said(cohort)
    settled = read(alike, answers={"customers.customer_id.headings": "headings"})
    assert (ids_of(settled), rows(settled)) == (["a", "b", "c"], (5, 3, 0, 2))


def test_a_customer_with_words_in_the_first_row_is_no_row_of_units(read):
    cohort = read({"customers.csv": "customer_id,mrr,seats\na,free,unlimited\nb,29,3\nc,99,10\nd,29,2\ne,19,1\n"})
    assert ids_of(cohort) == ["a", "b", "c", "d", "e"]
    assert "1 of 5 cells in 'mrr' are no numbers, the first 'free' in row 2" in said(cohort)
    types = read({"customers.csv": "customer_id,mrr,seats\nstring,float,int\na,1,3\nb,29,3\nc,99,10\nd,29,2\n"})
    assert ids_of(types) == ["a", "b", "c", "d"]


def test_a_last_row_with_only_an_id_like_the_others_is_a_customer(read):
    uuids = ["6f9619ff-8b86-d011-b42d-00cf4fc964ff", "550e8400-e29b-41d4-a716-446655440000"]
    last = "abcdef12-e29b-41d4-a716-4466554400ab"
    text = "customer_id,x\n" + "".join(f"{uuid},1\n" for uuid in uuids)
    assert ids_of(read({"customers.csv": f"{text}{last},\n"})) == [*uuids, last]
    mails = {"customers.csv": "customer_id,x\nann@x.com,1\nbob@x.com,2\neve.lee1@x.org,\n"}
    assert ids_of(read(mails))[-1] == "eve.lee1@x.org"


def test_types_below_a_full_header_are_no_second_row_of_names(read):
    table = "customer_id,city,age\nvarchar,varchar,numeric\n" + "".join(f"c{k},Bonn,{30 + k}\n" for k in range(12))
    cohort = read({"customers.csv": table})
    assert cohort.feature_columns == ["city", "age"]
    assert ids_of(cohort) == [f"c{k}" for k in range(12)]


def test_groups_above_the_names_are_left_out_also_where_rows_end_with_an_empty_cell(read):
    lines = "".join(f"c{k},{30 + k},2025-01-{k + 1:02d},\n" for k in range(12))
    cohort = read({"customers.csv": "Customer,,Dates\ncustomer_id,age,signup\n" + lines})
    assert cohort.feature_columns == ["age", "signup"]
    assert len(ids_of(cohort)) == 12


def test_two_rows_of_names_are_joined_where_the_second_repeats(read):
    lines = ["customer_id,2025,,2026,", ",visits,spend,visits,spend", "a,3,12.5,4,1", "b,4,99,5,2", "c,0,1.25,6,3"]
    sheet = workbook({"S": rows_of(*(tuple(cell or None for cell in line.split(",")) for line in lines))})
    for files in ({"customers.csv": "\n".join(lines) + "\n"}, {"customers.xlsx": sheet}):
        cohort = read(files)
        assert cohort.feature_columns == ["2025 visits", "2025 spend", "2026 visits", "2026 spend"]
        assert (ids_of(cohort), cohort.customers["2026 spend"].tolist()) == (["a", "b", "c"], [1, 2, 3])
        assert "above the header joined to it" in said(cohort)


# ---- ids and actions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nobody", ["(Leer)", "(blank)", "00000000-0000-0000-0000-000000000000"])
def test_the_blank_of_a_pivot_table_and_the_empty_uuid_are_asked_about(read, nobody):
    files = {"customers.csv": f"customer_id,x,y\na,1,2\nb,2,2\n{nobody},3,2\nc,1,2\n"}
    with pytest.raises(DoubtError, match=r"expected a name or number.*customers\.customer_id\.word=no_value"):
        read(files)
    assert ids_of(read(files, accept_doubts=True, skip_bad_rows=True)) == ["a", "b", "c"]
    assert len(ids_of(read(files, answers={"customers.customer_id.word": "name"}))) == 4


def test_the_number_0_that_all_guests_have_is_asked_about(read):
    events = "customer_id,action,timestamp\n0,a,2026-01-01\n5,a,2026-01-02\n0,b,2026-01-03\n12,b,2026-01-04\n"
    with pytest.raises(DoubtError, match=r"interactions\.customer_id\.word=no_value"):
        read({"interactions.csv": events})
    settled = read({"interactions.csv": events}, accept_doubts=True, skip_bad_rows=True)
    assert ids_of(settled) == ["12", "5"]
    assert rows(settled) == (4, 2, 2, 0)
    even = events + "5,a,2026-01-05\n"
    assert len(ids_of(read({"interactions.csv": even}))) == 3
    counted = events.replace("\n5,", "\n1,").replace("\n12,", "\n2,")
    assert ids_of(read({"interactions.csv": counted})) == ["0", "1", "2"]


def test_actions_that_differ_in_capitals_are_said(read):
    events = "customer_id,action,timestamp\na,Purchase,2026-01-05\na,purchase,2026-01-06\nb,purchase ,2026-01-07\n"
    cohort = read({"interactions.csv": events})
    assert len(cohort.actions) == 2
    assert "1 actions differ from another only in capitals ('Purchase' and 'purchase')" in said(cohort)
    assert facts(cohort)["twins"] == [
        {"file": "interactions.csv", "column": "action", "kind": "capitals", "count": 1, "joined": False}
    ]


# ---- numbers and codes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cells",
    [
        ["01067", "8001", "80331"],
        ["02139", "94105"],
        ["0301234567", "01761234567", "08912345"],
        ["+4930123", "+493012345", "+33140"],
        ["030 123 456", "0171 123 456"],
        ["12E3", "45E1", "10E7"],
        ["1E5", "0012", "77D", "13"],
        ['5" pipe', '7" pipe', "tube"],
    ],
)
def test_codes_that_would_lose_something_as_numbers_are_text(read, cells):
    quoted = [f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in cells]
    assert read(cells_of(*quoted)).customers["x"].tolist() == cells


@pytest.mark.parametrize(
    ("cells", "meant"),
    [
        (["05", "12", "7"], [5, 12, 7]),
        (["0.50", "012.5"], [0.5, 12.5]),
        (["-007", "012"], [-7, 12]),
        (["1.2E+04", "3E+02"], [12000, 300]),
        (["1e5", "2"], [100_000, 2]),
        (["+12", "-7"], [12, -7]),
        (["80 m²", "120 m²", "65 m2"], [80, 120, 65]),
        (["35 s", "120 s"], [35, 120]),
        (["1h", "2h", "3.5h"], [1, 2, 3.5]),
        (["1 month", "12 months"], [1, 12]),
        (["1 Tag", "12 Tage"], [1, 12]),
        (['5"', '7"'], [5, 7]),
        (["1.5M", "3M"], [1_500_000, 3_000_000]),
        (["3M", "20k"], [3_000_000, 20_000]),
    ],
)
def test_numbers_that_look_a_little_like_codes_are_numbers(read, cells, meant):
    assert read(cells_of(*cells)).customers["x"].tolist() == pytest.approx(meant)


def test_what_bookkeepers_write_behind_a_number_is_no_unit(read):
    assert read(cells_of("100 S", "50 H", "3 S")).customers["x"].tolist() == ["100 S", "50 H", "3 S"]


def test_choices_with_commas_are_asked_about_and_decimal_commas_in_a_file_of_commas_said(read):
    choices = cells_of('"1,2"', "3", '"2,3"', '"1,3"')
    with pytest.raises(DoubtError, match=r"customers\.x\.commas=list"):
        read(choices)
    assert read(choices, accept_doubts=True).customers["x"].tolist() == ["1,2", "3", "2,3", "1,3"]
    decimals = read(choices, answers={"customers.x.commas": "decimal"})
    assert decimals.customers["x"].tolist() == [1.2, 3, 2.3, 1.3]
    grades = read(cells_of('"1,5"', '"2,0"', "3"))
    assert grades.customers["x"].tolist() == [1.5, 2, 3]
    assert "commas in 'x' read as decimal marks (first: '1,5')" in said(grades)


@pytest.mark.parametrize("cells", [["12M", "24M", "1M"], ["45 mn", "12 mn"]])
def test_an_m_without_a_currency_is_asked_about(read, cells):
    files = cells_of(*cells)
    with pytest.raises(DoubtError, match=r"customers\.x\.millions=millions"):
        read(files)
    plain = [float(cell.rstrip("Mmn ")) for cell in cells]
    assert read(files, accept_doubts=True).customers["x"].tolist() == [1e6 * number for number in plain]
    assert read(files, answers={"customers.x.millions": "unit"}).customers["x"].tolist() == plain


def test_several_currencies_are_named_as_the_reason(read):
    events = "customer_id,action,timestamp,value\na,x,2026-01-05,€10.00\nb,x,2026-01-06,$12.00\na,x,2026-01-07,£5\n"
    with pytest.raises(DataError, match=r"found '€10.00'.*several units \('€', '\$', '£'\): convert them to one"):
        read({"interactions.csv": events})


# ---- labels ----------------------------------------------------------------------------------------------------------


def labels(*cells: str, name: str = "churned") -> dict[str, str]:
    return {
        "customers.csv": f"customer_id,{name},x\n" + "".join(f"c{k},{cell},{k}.5\n" for k, cell in enumerate(cells))
    }


def churned(cohort) -> list[bool | None]:
    return [None if value is pd.NA else bool(value) for value in cohort.customers["churned"]]


@pytest.mark.parametrize(
    ("cells", "meant"),
    [
        (["1", "-1", "-1"], [True, False, False]),
        (["+1", "-1", "1.0"], [True, False, True]),
        (["-1", "0", "0"], [True, False, False]),
        (["-1", "no"], [True, False]),
    ],
)
def test_minus_one_means_no_beside_one_and_yes_elsewhere(read, cells, meant):
    cohort = read(labels(*cells))
    assert churned(cohort) == meant
    assert ("-1 in 'churned' means no, because 1 stands beside it" in said(cohort)) == (cells[0] != "-1")


def test_minus_one_beside_one_and_zero_is_neither_yes_nor_no(read):
    with pytest.raises(DataError, match=r"expected yes or no .*found '-1'"):
        read(labels("1", "0", "-1"))


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("retained", ["yes", "no", "yes"]),
        ("is_active", ["true", "false", "true"]),
        ("IsActiveMember", ["1", "0", "1"]),
        ("Subscribed?", ["1", "-1", "1"]),
        ("active", ["y", "n", "y"]),
        ("stayed", ["ja", "nein", "ja"]),
        ("renewed", ["x", "off", "x"]),
        ("customer status", ["yes", "no", "yes"]),
        ("active_status", ["active", "cancelled", "active"]),
    ],
)
def test_a_label_that_says_who_stayed_is_turned_round_and_said(read, name, cells):
    cohort = read(labels(*cells, name=name), columns={"churned": name})
    stayed = name != "customer status"
    assert churned(cohort) == [not stayed, stayed, not stayed]
    assert (f"'{name}' says who stayed: yes means not churned" in said(cohort)) == stayed
    assert churned(read(labels(*cells, name=name), columns={"churned": name}, positive=cells[0])) == [True, False, True]


def test_an_offered_label_that_says_who_stayed_is_turned_round(read):
    cohort = read(labels("yes", "no", "yes", name="retained"), answers={"customers.retained.label": "label"})
    assert churned(cohort) == [False, True, False]


def test_a_flag_of_parquet_that_says_who_stayed_is_turned_round_unless_the_churned_are_named(read, tmp_path):
    flags = pd.DataFrame({"customer_id": ["a", "b", "c"], "is_active": [True, False, True]})
    flags.to_parquet(tmp_path / "t.parquet")
    files, columns = {"customers.parquet": (tmp_path / "t.parquet").read_bytes()}, {"churned": "is_active"}
    assert churned(read(files, columns=columns)) == [False, True, False]
    assert churned(read(files, columns=columns, positive="true")) == [True, False, True]


@pytest.mark.parametrize(("blanks", "meant"), [("no", [False, True, False]), ("unknown", [False, None, False])])
def test_a_blank_beside_those_who_stayed_is_asked_about(read, blanks, meant):
    files = {"customers.csv": "customer_id,active\na,x\nb,\nc,x\n"}
    with pytest.raises(DoubtError, match=r"customers\.churned\.blank_label=no"):
        read(files, columns={"churned": "active"})
    answers = {"customers.churned.blank_label": blanks}
    assert churned(read(files, columns={"churned": "active"}, answers=answers)) == meant


def test_a_column_can_only_be_mapped_to_a_standard_name(read):
    for name in ("churn", "foo"):
        with pytest.raises(ConfigError, match=rf"--column {name}=x: no standard name '{name}'; known are customer_id,"):
            read(labels("1", "0"), columns={name: "x"})


# ---- roles -----------------------------------------------------------------------------------------------------------


def events_of(*lines: str) -> dict[str, str]:
    return {"export.csv": "\n".join(lines) + "\n"}


def test_tasks_are_events_of_the_person_and_not_of_their_own_number(read):
    tasks = [f"00T{k},003{k // 2},0061,{('Call', 'Email')[k % 2]},2026-01-0{k + 1},Completed" for k in range(6)]
    cohort = read(events_of("Id,WhoId,WhatId,Subject,ActivityDate,Status", *tasks), accept_doubts=True)
    assert (ids_of(cohort), cohort.interactions["action"].tolist()[:2]) == (["0030", "0031", "0032"], ["Call", "Email"])


@pytest.mark.parametrize("n", [4, 6])
def test_orders_however_few_are_events_of_the_address(read, n):
    orders = [f"#{k},{('ann', 'bob')[k % 2]}@x.com,paid,2026-01-0{k + 1},{k}.5,Mug,{5000 + k}" for k in range(n)]
    files = events_of("Name,Email,Financial Status,Created at,Total,Lineitem name,Id", *orders)
    cohort = read(files, accept_doubts=True)
    assert (ids_of(cohort), len(cohort.interactions)) == (["ann@x.com", "bob@x.com"], n)


def test_few_rows_with_addresses_that_do_not_repeat_are_customers(read):
    people = [f"{k},p{k}@x.com,2026-01-0{k + 1}" for k in range(4)]
    assert ids_of(read(events_of("id,email,created_at", *people))) == ["0", "1", "2", "3"]


def test_a_label_beside_a_product_and_a_date_makes_one_row_per_customer_customers(read):
    rows_below = [f"{k};{('DSL', 'LTE')[k % 2]};0{k + 1}.13.2020;12,5;{('nein', 'ja')[k % 2]}" for k in range(5)]
    rows_below = [line.replace(".13.", ".03.") for line in rows_below]
    cohort = read(events_of("Kundennummer;Produkt;Datum;Umsatz;Kündigung", *rows_below), accept_doubts=True)
    assert (churned(cohort), len(cohort.interactions)) == ([False, True, False, True, False], 0)
    assert cohort.customers["Produkt"].tolist() == ["DSL", "LTE", "DSL", "LTE", "DSL"]


def test_the_type_of_an_event_is_its_action_before_its_product_unless_it_is_always_the_same(read):
    lines = [f"{k % 2},p{k},{{}},2026-01-0{k + 1}" for k in range(5)]
    many = [line.format(("view", "cart")[k % 2]) for k, line in enumerate(lines)]
    header = "user_id,product_id,event_type,event_time"
    assert read(events_of(header, *many)).interactions["action"].unique().tolist() == ["view", "cart"]
    same = [line.format("purchase") for line in lines]
    assert set(read(events_of(header, *same)).interactions["action"]) == {"p0", "p1", "p2", "p3", "p4"}


def test_the_number_of_a_customer_goes_before_the_name(read):
    lines = [f"John Smith,{1001 + k % 2},2026-01-0{k + 1},Mug,5" for k in range(5)]
    cohort = read(events_of("Customer,Customer Number,Invoice Date,Item,Amount", *lines))
    assert ids_of(cohort) == ["1001", "1002"]


def test_another_name_of_the_customer_is_no_action(read):
    lines = [f"01{k % 2},p{k % 2}@x.com,{('open', 'click', 'order')[k % 3]},2026-01-0{k + 1}" for k in range(6)]
    with pytest.raises(DoubtError) as refusal:
        read(events_of("Profile ID,Email,Metric,Timestamp", *lines))
    assert list(refusal.value.doubts[0].readings) == ["Metric", "purchase"]


def test_events_of_contacts_are_no_list_of_actions(read):
    lines = [f"{k % 2},{('open', 'click')[k % 2]},2026-01-0{k + 1}T10:00:00,{k}.5" for k in range(5)]
    cohort = read(events_of("contact_id,event_type,occurred_at,amount", *lines))
    assert (ids_of(cohort), len(cohort.interactions)) == (["0", "1"], 5)
    assert cohort.interactions["value"].sum() == 12.5
