"""Kinds of misreading, each in its smallest form: what is written beside what must come of it."""

import zipfile

import pandas as pd
import pytest

from crm_models.core.errors import CrmError, DataError
from crm_models.data.sources import import_cohort, text_encoding
from crm_models.data.sources.receipt import DoubtError
from tests.data.sources.test_workbook import rows_of, workbook

EVENTS = "".join(
    f"k{k % 12},{['call', 'mail', 'visit'][k % 3]},2026-0{1 + k % 9}-{1 + k % 28:02d}\n" for k in range(60)
)
HEADER = "customer_id,action,timestamp\n"
PEOPLE = "customer_id,churned,x\n" + "".join(f"c{k},{k % 2},{k * 1.5}\n" for k in range(30))


@pytest.fixture
def read(tmp_path):
    """Writes files of these names and contents and imports their folder."""

    def write_and_import(files: dict[str, str | bytes], **options):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return import_cohort("tables", [folder], **options)

    return write_and_import


def customers(cells: list[str], delimiter: str = ",", quote: str = "") -> dict[str, str]:
    rows = [delimiter.join([f"c{k}", "yes" if k % 2 else "no", quote + cell + quote]) for k, cell in enumerate(cells)]
    return {"customers.csv": "\n".join([delimiter.join(["customer_id", "churned", "x"]), *rows]) + "\n"}


def facts(cohort) -> dict:
    return cohort.documents["receipt.json"]


def rows(cohort) -> tuple[int, ...]:
    return tuple(facts(cohort)["rows"][name] for name in ("read", "kept", "rejected", "explained"))


# ---- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "meant"),
    [
        (["1'234.50", "7"], [1234.5, 7]),
        (["5.50-", "7.25"], [-5.5, 7.25]),
        (["(5.50)", "7.25"], [-5.5, 7.25]),
        (["12%", "0.15"], [0.12, 0.15]),
        (["12%", "15%"], [12, 15]),
        (["1 234.50", "7"], [1234.5, 7]),
        (["1\u202f234", "7"], [1234, 7]),
        (["\u22125", "7"], [-5, 7]),
        (["12 EUR", "7 EUR"], [12, 7]),
        (["\\N", "7"], [None, 7]),
        (["#DIV/0!", "7"], [None, 7]),
        (["k.A.", "7"], [None, 7]),
        (["0.125", "1.500"], [0.125, 1.5]),
        (["1.234.567", "1.234"], [1234567, 1234]),
        (["5 kg", "7.5 kg"], [5, 7.5]),
        (["1.2k", "3k"], [1200, 3000]),
        (["84.-", "12.--"], [84, 12]),
        (["'5.5", "7"], [5.5, 7]),
        (['="5.50"', "7"], [5.5, 7]),
        (["\uff15.\uff15", "7"], [5.5, 7]),
        (["1 234.50 \u20bd", "7.00 \u20bd"], [1234.5, 7]),
        (["$5.50 kg", "$-7 kg"], [5.5, -7]),
        (["$1.2M", "$3k", "$8"], [1_200_000, 3000, 8]),
        (["1.2 Mio. EUR", "3.5 Mio. EUR"], [1_200_000, 3_500_000]),
    ],
)
def test_the_usual_spellings_of_numbers_are_numbers(read, cells, meant):
    found = read(customers(cells)).customers["x"]
    assert found.dtype == "float64"
    assert [None if pd.isna(value) else value for value in found] == pytest.approx(meant)


def test_numbers_of_several_units_are_text_and_said(read):
    cohort = read(customers(["$5.50 kg", "$7", "$8.25 kg", "$9"]))
    assert cohort.customers["x"].tolist()[1] == "$7"
    assert any("'x' have different units ('$ kg', '$'; first: '$5.50 kg')" in note for note in cohort.notes)
    assert read(customers(["12 Main St", "7 High St", "9 Low Rd", "3 Mill Ln", "1 Elm Ct"])).notes == ()


def test_points_before_three_digits_are_decided_by_the_file_or_asked_about(read):
    assert read(customers(["1.234", "900"], ";")).customers["x"].tolist() == [1234, 900]
    with pytest.raises(DoubtError) as refusal:
        read(customers(["1.234", "2.500"]))
    [doubt] = refusal.value.doubts
    assert doubt.id == "customers.x.thousands"
    assert "--answer customers.x.thousands=thousands (thousands mark, 1.234 is 1234)" in doubt.text()
    settled = read(customers(["1.234", "2.500"]), answers={doubt.id: "thousands"})
    assert settled.customers["x"].tolist() == [1234, 2500]
    beside = {"customers.csv": "customer_id,x,y\na,1.234,0.5\nb,2.500,7\n"}
    cohort = read(beside)
    assert cohort.customers["x"].tolist() == [1.234, 2.5]
    assert "'x' read with decimal points, as in other columns of the file (first: '1.234')" in " ".join(cohort.notes)


def test_points_before_three_digits_in_texts_of_a_workbook_or_of_parquet_are_asked_about(read, tmp_path):
    def sheet(*values: object) -> dict[str, bytes]:
        rows = [("customer_id", "x"), *((f"c{k}", value) for k, value in enumerate(values))]
        return {"customers.xlsx": workbook({"S": rows_of(*rows)})}

    assert read(sheet(1.234, 2.5)).customers["x"].tolist() == [1.234, 2.5]
    pd.DataFrame({"customer_id": ["a", "b"], "x": ["1.234", "2.500"]}).to_parquet(tmp_path / "p")
    for files in (sheet("1.234", 900), {"customers.parquet": (tmp_path / "p").read_bytes()}):
        with pytest.raises(DoubtError, match=r"customers\.x\.thousands"):
            read(files)


def test_some_points_before_three_digits_among_amounts_with_two_decimals_are_asked_about(read):
    cells = [f"{k}234.5" for k in range(1, 30)] + ["51.120", "27.911"]
    with pytest.raises(DoubtError) as refusal:
        read(customers(cells))
    [doubt] = refusal.value.doubts
    assert doubt.readings["thousands"] == "thousands mark, 51.120 is 51120"
    assert read(customers(cells), answers={doubt.id: "thousands"}).customers["x"].iloc[-2:].tolist() == [51120, 27911]
    assert read(customers(["0.5", "1.25", *(f"{k}.125" for k in range(1, 30))])).customers["x"].iloc[2] == 1.125


def test_ids_unlike_all_others_and_labels_that_are_all_blank_are_said(read):
    numbers = "\n".join(f"{1000 + k},,{k}" for k in range(30))
    odd = read({"customers.csv": f"customer_id,churned,x\n{numbers}\n0,,5\n10-20,,7\n"})
    assert "customers.csv: the id '0' (row 32) could mean no value; it is kept as written." in odd.notes
    assert any(
        "1 of 32 ids in 'customer_id' are no numbers like the others ('10-20' in row 33)" in n for n in odd.notes
    )
    assert "customers.csv: 'churned' is blank in every row." in odd.notes
    wide = {"customers.csv": "customer_id,x\n1.2345\uff10E+15,1\n1.2345\uff11E+15,2\n"}
    with pytest.raises(DoubtError, match=r"customers\.customer_id\.cut=keep"):
        read(wide)


def test_names_below_groups_are_the_header_though_a_ruler_or_a_blank_row_follows(read):
    rows = "".join(f"c{k},{k},{k % 3}\n" for k in range(6))
    for below in ("-,-,-\n", ",,\n"):
        found = read({"customers.csv": f"Customer,,\ncustomer_id,age,visits\n{below}{rows}"}).customers
        assert (list(found)[-1], found["age"].tolist()) == ("visits", [0, 1, 2, 3, 4, 5])


def test_names_below_groups_are_the_header_though_some_columns_have_no_name(read):
    rows = "".join(f"c{k},{k},{k % 3},{k % 2}\n" for k in range(6))
    found = read({"customers.csv": f"Customer,,,Flags\ncustomer_id,age,visits,\n{rows}"}).customers
    assert (list(found)[2:], found["age"].tolist()) == (["age", "visits", "column 4"], [0, 1, 2, 3, 4, 5])


def test_a_note_that_a_comma_separates_below_a_blank_row_is_no_customer(read):
    rows = "".join(f"c{k},yes,{k},{k},Bonn\n" for k in range(6))
    cohort = read({"customers.csv": f"customer_id,churned,a,b,city\n{rows},,,,\nFilter: all customers, active,,,\n"})
    assert len(cohort.customers) == 6
    assert "customers.csv: 1 row left out (row 9): a note below the table." in cohort.notes


def test_orders_and_their_lines_are_joined_by_their_key_if_that_is_chosen(read):
    files = {
        "orders.csv": "order_id,customer_id,order_date\n"
        + "".join(f"o{k},c{k % 3},2025-01-0{k + 1}\n" for k in range(6)),
        "items.csv": "order_id,product_id,price\n" + "".join(f"o{k},p{j},{k}.5\n" for k in range(7) for j in range(2)),
    }
    with pytest.raises(DoubtError, match=r"interactions\.order_id\.lines=join"):
        read(files)
    both = read(files, answers={"interactions.order_id.lines": "join"})
    first = both.interactions.iloc[0]
    assert (first["customer_id"], first["action"], first["value"]) == ("c0", "p0", 0.5)
    assert first["timestamp"] == pd.Timestamp("2025-01-01")
    assert rows(both) == (20, 12, 0, 8)
    assert "items.csv: 2 rows left out (first: row 14): no such order_id in orders.csv." in both.notes
    apart = read(files, answers={"interactions.order_id.lines": "apart"})
    assert (rows(apart), facts(apart)["not_read"][0]["name"]) == ((6, 6, 0, 0), "items.csv")


def test_a_table_without_ids_asks_which_column_they_are_or_numbers_its_rows(read):
    files = {"customers.csv": "who,churned,x\n" + "".join(f"Person {k},{k % 2},{k}.5\n" for k in range(5))}
    with pytest.raises(DoubtError) as refusal:
        read(files)
    [doubt] = refusal.value.doubts
    assert (doubt.id, list(doubt.readings)) == ("customers.customer_id.column", ["rows", "who", "stop"])
    assert read(files, answers={doubt.id: "rows"}).customers["customer_id"].tolist()[:2] == ["row 1", "row 2"]
    assert read(files, answers={doubt.id: "who"}).customers["customer_id"].tolist()[:2] == ["Person 0", "Person 1"]


def test_units_beside_numbers_and_behind_names_stand_in_the_receipt(read):
    cells = {
        "customers.csv": "customer_id,churned,share,spend (EUR)\n"
        + "".join(f"c{k},{k % 2},{k}%,{k}.5\n" for k in range(9))
    }
    units = {column["column"]: column["unit"] for column in facts(read(cells))["columns"]}
    assert (units["share"], units["spend (EUR)"]) == ("%", "EUR")


def test_codes_with_zeros_in_front_are_text(read):
    cohort = read(customers(["01067", "80331", "04109"]))
    assert cohort.customers["x"].tolist() == ["01067", "80331", "04109"]
    assert "customers.csv: the numbers in 'x' have zeros in front, as in codes; they are read as text." in cohort.notes


def test_one_odd_cell_is_missing_and_named_and_some_are_asked_about(read):
    cohort = read(customers([*map(str, range(5, 45)), "abc"]))
    assert cohort.customers["x"].isna().sum() == 1
    said = "customers.csv: 1 of 41 cells in 'x' are no numbers, the first 'abc' in row 42; they count as missing."
    assert said in cohort.notes
    [column] = [column for column in facts(cohort)["columns"] if column["column"] == "x"]
    assert (column["odd"], column["first_odd"]) == (1, (42, "abc"))
    with pytest.raises(DoubtError, match=r"customers\.x\.odd=number"):
        read(customers([*map(str, range(5, 45)), *"abcde"]))


def test_999_and_select_are_proposed_as_blanks(read):
    cells = ["999"] * 20 + [str(k % 7 + 1) for k in range(20)]
    kept, blank = read(customers(cells)), read(customers(cells), answers={"customers.x.sentinel": "blank"})
    assert (kept.customers["x"].max(), blank.customers["x"].max()) == (999, 7)
    assert any("'x' is 999 in 20 of 40 rows" in note for note in kept.notes)
    cities = read(customers(["Select", "Ulm", "Bonn", "Select"]))
    assert cities.customers["x"].isna().tolist() == [True, False, False, True]
    assert facts(cities)["doubts"][0]["readings"].keys() == {"blank", "level"}


# ---- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "kind"),
    [(["00123", "00124"], "zeros"), (["ANN@x.de", "BOB@x.de"], "capitals")],
)
def test_ids_that_differ_between_files_only_in_zeros_or_capitals_are_asked_about(read, ids, kind):
    plain = [text.lstrip("0").lower() for text in ids]
    files = {
        "customers.csv": "customer_id,churned\n" + "".join(f"{text},no\n" for text in plain),
        "interactions.csv": HEADER + "".join(f"{text},a,2026-01-01\n" for text in ids),
    }
    with pytest.raises(DoubtError, match=rf"interactions\.customer_id\.{kind}=same"):
        read(files)
    joined = read(files, accept_doubts=True)
    assert joined.n_customers == 2
    assert joined.interactions["customer_id"].astype(str).tolist() == joined.customers["customer_id"].tolist()
    if kind == "zeros":
        assert joined.customers["customer_id"].tolist() == ids, "zeros get lost, they are never added"
    with pytest.raises(DataError, match="found none in common"):
        read(files, answers={f"interactions.customer_id.{kind}": "different"})


def test_invisible_characters_and_unicode_forms_do_not_split_a_customer(read):
    text = HEADER + "Zo\u00eb,a,2026-01-01\nZoe\u0308,b,2026-01-02\n\u200bZo\u00eb\u00a0,c,2026-01-03\n"
    cohort = read({"interactions.csv": text})
    assert cohort.customers["customer_id"].tolist() == ["Zo\u00eb"]
    assert any("2 spellings in 'customer_id'" in note for note in cohort.notes)


def test_decimals_that_a_program_writes_behind_whole_ids_are_no_part_of_them(read):
    cohort = read({"customers.csv": "customer_id,x\n\u200b0000.0,1\n0001.0,2\n0002.0,3\nA7,4\n"})
    assert cohort.customers["customer_id"].tolist() == ["0000", "0001", "0002", "A7"]
    versions = read({"customers.csv": "customer_id,x\n1.0,1\n1.5,2\n2.0,3\n"})
    assert versions.customers["customer_id"].tolist() == ["1.0", "1.5", "2.0"]


def test_ids_cut_by_a_spreadsheet_are_asked_about(read):
    text = HEADER + "".join(f"{123456789012345 + k % 6}000,a,2026-01-0{1 + k % 9}\n" for k in range(12))
    with pytest.raises(DoubtError, match=r"customer_id\.cut=keep"):
        read({"interactions.csv": text})


def test_null_in_many_events_is_nobody_and_once_among_customers_somebody(read):
    events = {"interactions.csv": HEADER + EVENTS + "NULL,call,2026-01-01\n" * 3}
    with pytest.raises(DataError, match="row 62, column 'customer_id': expected a name or number, found 'NULL'"):
        read(events)
    with pytest.raises(DoubtError, match=r"open doubt with --answer \(interactions\.customer_id\.word=no_value\)"):
        read(events)
    assert read(events, answers={"interactions.customer_id.word": "name"}).n_customers == 13
    skipped = read(events, skip_bad_rows=True, accept_doubts=True)
    assert rows(skipped) == (63, 60, 3, 0)
    somebody = read({"customers.csv": PEOPLE.replace("c7,", "Null,")})
    assert somebody.customers["customer_id"][7] == "Null"
    assert "customers.csv: the id 'Null' (row 9) could mean no value; it is kept as written." in somebody.notes


# ---- dates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["0000-00-00", "2025-02-30", "1900-01-00", "soon", "9999-12-31"])
def test_one_odd_date_is_missing_and_named(read, odd):
    days = [f"2025-{1 + k % 12:02d}-{1 + k % 28:02d}" for k in range(40)]
    cohort = read(customers([*days, odd]))
    assert cohort.customers["x"].isna().tolist() == [False] * 40 + [True]
    assert any(f"the first {odd!r} in row 42" in note for note in cohort.notes)


def test_times_of_a_place_beside_times_without_are_asked_about_and_no_place_is_passed_over(read):
    rows = [f"k{k},call,2025-01-{1 + k:02d} 21:07:00{' Europe/Berlin' if k % 2 else ''}\n" for k in range(20)]
    with pytest.raises(DoubtError, match=r"timestamp\.zone=utc"):
        read({"interactions.csv": HEADER + "".join(rows)})
    events = read({"interactions.csv": HEADER + "".join(rows)}, accept_doubts=True).interactions
    assert events["timestamp"].dt.hour.value_counts().to_dict() == {21: 10, 20: 10}
    two = HEADER + "a,call,2025-01-01 10:00 Europe/Berlin\nb,call,2025-01-02 10:00 Asia/Tokyo\n"
    assert read({"interactions.csv": two}).interactions["timestamp"].dt.hour.tolist() == [9, 1]
    with pytest.raises(DataError, match="found '2025-01-02 10:00 Nowhere/Land'"):
        read({"interactions.csv": two.replace("Asia/Tokyo", "Nowhere/Land")})


def test_an_odd_cell_among_dates_of_net_is_missing_and_named(read):
    cohort = read(customers([f"/Date({1_700_000_000_000 + k * 86_400_000})/" for k in range(30)] + ["/Date(17"]))
    assert cohort.customers["x"].iloc[0] == pd.Timestamp("2023-11-14 22:13:20")
    assert any("1 of 31 cells in 'x' are no dates, the first '/Date(17' in row 32" in note for note in cohort.notes)


def test_an_odd_cell_does_not_hide_that_day_and_month_can_be_either(read):
    days = [f"0{1 + k % 9}/0{1 + k % 8}/2025" for k in range(40)]
    with pytest.raises(DoubtError, match=r"customers\.x\.order=day_first"):
        read(customers([*days, "soon"]))


def test_a_date_decades_from_all_others_is_pointed_out(read):
    days = [f"2025-{1 + k % 12:02d}-{1 + k % 28:02d}" for k in range(40)]
    assert any(
        "more than 10 years from all others, the first '1970-01-01'" in n
        for n in read(customers([*days, "1970-01-01"])).notes
    )
    events = {"interactions.csv": HEADER + EVENTS + EVENTS.replace("2026", "2025") + "k1,call,1970-01-01\n"}
    with pytest.raises(DoubtError, match=r"interactions\.timestamp\.late=leave_out"):
        read(events)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-07-01 14:00:00 Europe/Berlin", "2026-07-01 12:00"),
        ("2026-01-01T14:00:00+01:00[Europe/Berlin]", "2026-01-01 13:00"),
        ("2026-01-01 14:00:00 CET", "2026-01-01 13:00"),
        ("01/02/2026 02:00 PM EST", "2026-01-02 19:00"),
        ("[31/Jan/2026:14:00:00 +0000]", "2026-01-31 14:00"),
        ("Sat Jan 31 2026 14:00:00 GMT+0100 (CET)", "2026-01-31 13:00"),
        ("Sa, 31. Januar 2026 14:00", "2026-01-31 14:00"),
        ("31-JAN-26 02.00.00.000000 PM", "2026-01-31 14:00"),
        ("/Date(1769868000000)/", "2026-01-31 14:00"),
        ("2026\u5e741\u670831\u65e5 14:00", "2026-01-31 14:00"),
    ],
)
def test_times_of_every_program_and_place_are_read(read, written, meant):
    cohort = read({"interactions.csv": f'{HEADER}a,call,"{written}"\n'}, accept_doubts=True)
    assert cohort.interactions["timestamp"][0] == pd.Timestamp(meant)


def test_a_point_before_three_digits_among_exponents_is_asked_about(read):
    cells = [f"{k}.5000E+03" for k in range(1, 30)]
    with pytest.raises(DoubtError, match=r"customers\.x\.thousands=decimal"):
        read(customers([*cells, "1.931"]))
    assert read(customers([f"{k}.5000E-03" for k in range(1, 30)] + ["1.931"])).customers["x"].iloc[-1] == 1.931


# ---- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tail", "why"),
    [
        ("Total,,8\n", "a total"),
        ("Gesamt:,,8\n", "a total"),
        (",Average,8\n", "a total"),
        ("CUSTOMER_ID,CHURNED,X\n", "the header again"),
        ("---,---,---\n", "a ruler"),
        ("EOF,,\n", "a note below the table"),
        ("30 rows,,\n", "a note below the table"),
        ("customer_id,churned,x\nz,1,2\n", "the header again"),
        (",,\n,,\nz,1,2\n", "nothing is filled"),
        (",,\nExported by Salesforce,,\n", "a note below the table"),
        ("\nExported by Salesforce on 2026-01-31\nConfidential - do not share\n", "lines below the table left out"),
    ],
)
def test_rows_that_are_no_customers_are_left_out_and_counted(read, tail, why):
    cohort = read({"customers.csv": PEOPLE + tail})
    n_read, kept, rejected, explained = rows(cohort)
    assert kept == cohort.n_customers == 30 + tail.count("z,")
    assert (n_read, rejected) == (kept + explained, 0)
    assert explained > 0
    assert any(why in note for note in cohort.notes)


def test_the_header_again_is_known_where_a_name_was_changed_above(read):
    people = PEOPLE.replace("churned,x", 'churned,"x [EUR]"') + "customer_id,churned,x\nz,1,2\n"
    cohort = read({"customers.csv": people})
    assert rows(cohort) == (32, 31, 0, 1)
    assert any("the header again" in note for note in cohort.notes)


def test_a_customer_called_total_among_others_is_kept(read):
    people = PEOPLE.replace("c3,", "Total Energies,").replace("c4,", "Sum 41,")
    assert {"Total Energies", "Sum 41"} <= set(read({"customers.csv": people}).customers["customer_id"])


def test_title_lines_above_the_header_are_left_out_and_rows_counted_from_the_top(read):
    cohort = read({"customers.csv": f"Customers of 2026\n\n{PEOPLE}"})
    assert cohort.n_customers == 30
    with pytest.raises(DataError, match=r"row 34: duplicate customer_id 'c0'"):
        read({"customers.csv": f"Customers of 2026\n\n{PEOPLE}c0,1,2\n"})


@pytest.mark.parametrize(
    ("above", "said"),
    [
        (",X1,X2\n", "1 line above the header left out, the first 'X1 X2'"),
        ("Customer,,\n", "1 line above the header left out, the first 'Customer'"),
    ],
)
def test_codes_and_groups_above_the_names_are_left_out(read, above, said):
    cohort = read({"customers.csv": above + PEOPLE})
    assert (cohort.n_customers, cohort.has_labels) == (30, True)
    assert any(said in note for note in cohort.notes)


def test_a_title_of_two_cells_is_no_header_though_a_spreadsheet_pads_it(read):
    cells = "Report:,Customers,,,,,,\nDate:,2026-01-31,,,,,,\n,,,,,,,\ncustomer_id,churned,a,b,c,d,e,f\n"
    text = cells + "".join(f"c{k},{k % 2},{k},1,2,3,4,x\n" for k in range(6))
    sheet = workbook({"S": rows_of(*(tuple(c or None for c in line.split(",")) for line in text.split("\n")[:-1]))})
    for files in ({"customers.csv": text}, {"customers.xlsx": sheet}):
        cohort = read(files)
        assert (cohort.n_customers, cohort.customers["a"].tolist()) == (6, [0, 1, 2, 3, 4, 5])
        assert any("above the header left out, the first 'Report:" in note for note in cohort.notes)


def test_units_below_the_header_are_no_customer(read):
    header, _, rows_below = PEOPLE.partition("\n")
    assert read({"customers.csv": f"{header}\n,[flag],[EUR]\n{rows_below}"}).n_customers == 30


def test_a_file_without_a_header_is_refused(read):
    with pytest.raises(DataError, match=r"row 1: expected column names, found data \('2026-01-01'\)"):
        read({"interactions.csv": EVENTS})


def test_blank_lines_count_as_rows(read):
    with pytest.raises(DataError, match=r"^customers.csv row 36: duplicate customer_id 'c0'"):
        read({"customers.csv": PEOPLE.replace("c3,", "\n\nc3,", 1) + "\n\nc0,1,2\n"})


def test_where_no_row_can_be_read_nothing_is_kept(read):
    with pytest.raises(DataError, match="expected rows that can be read, found none"):
        read({"customers.csv": "customer_id,churned\na,maybe\nb,perhaps\n"}, skip_bad_rows=True)


def test_bad_rows_are_refused_with_a_way_on_or_left_out_and_listed(read):
    text = HEADER + EVENTS + ",call,2026-01-01\nk1,call,soon\nk1,call,\nk1,call\n"
    with pytest.raises(DataError, match="row 65: expected the same columns"):
        read({"interactions.csv": text})
    with pytest.raises(DataError, match=r"2 such rows; --skip-bad-rows leaves them out"):
        read({"interactions.csv": HEADER + EVENTS + ",call,2026-01-01\n" * 2})
    cohort = read({"interactions.csv": text}, skip_bad_rows=True)
    assert rows(cohort) == (64, 60, 4, 0)
    listed = cohort.documents["rejected.csv"].splitlines()
    assert listed[0] == "file,row,column,value,reason"
    assert "interactions.csv,62,customer_id,,expected a name or number" in listed
    assert "interactions.csv,63,timestamp,soon,expected a date such as 2026-01-31 or a number" in listed
    assert 'interactions.csv,65,,"k1,call",expected as many cells as the header' in listed


@pytest.mark.parametrize("closes_after", [1, 2, 3, 20])
def test_a_quotation_mark_left_open_in_one_row_and_closed_in_another_is_refused(read, closes_after):
    lines = (HEADER + EVENTS).split("\n")
    lines[5] = lines[5].replace(",", ',"', 1)
    lines[5 + closes_after] = lines[5 + closes_after].replace(",2026", '",2026')
    with pytest.raises(DataError, match=rf"row 6: .* closes {closes_after} lines below"):
        read({"interactions.csv": "\n".join(lines)})


def test_a_sentence_of_several_lines_is_a_cell(read):
    text = (
        'customer_id,remark,churned\na,"Dear Sir, I leave\nyou, and the others, for good\nYours, a",yes\nb,"x\ny",no\n'
    )
    assert read({"customers.csv": text}).customers["remark"][1] == "x\ny"


# ---- files -----------------------------------------------------------------------------------------------------------


def test_files_of_one_kind_are_read_together_and_every_other_file_is_named(read):
    cohort = read(
        {
            "interactions.csv": HEADER + EVENTS,
            "interactions_2025.csv": HEADER + EVENTS.replace("2026", "2025"),
            "interactions copy.csv": HEADER + EVENTS,
            "prices.csv": "sku,price\na,1\n",
            "report.pdf": b"%PDF",
        }
    )
    assert len(cohort.interactions) == 120
    assert [file["name"] for file in facts(cohort)["files"]] == ["interactions.csv", "interactions_2025.csv"]
    assert {file["name"] for file in facts(cohort)["not_read"]} == {
        "interactions copy.csv",
        "prices.csv",
        "report.pdf",
    }
    assert all(any(name in note for note in cohort.notes) for name in ("prices.csv", "report.pdf"))


def test_a_row_of_a_second_file_is_named_by_that_file(read):
    later = PEOPLE.replace("c", "d").replace("dustomer", "customer").replace("dhurned", "churned")
    with pytest.raises(DataError, match=r"^later.csv row 4: duplicate customer_id 'c0'"):
        read({"first.csv": PEOPLE, "later.csv": later.replace("d2,", "c0,")})


def test_every_table_of_a_zip_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("...", HEADER + EVENTS)
        archive.writestr("customers.csv", "customer_id,churned\n" + "".join(f"k{k},no\n" for k in range(12)))
    cohort = import_cohort("tables", [tmp_path / "export.zip"])
    assert (len(cohort.interactions), cohort.has_labels) == (60, True)


def test_a_folder_of_parquet_parts_is_one_table_and_an_address_is_fetched(tmp_path):
    table = pd.DataFrame({"customer_id": [1, 2], "action": ["a", "b"], "timestamp": pd.Timestamp("2026-01-01")})
    parts = tmp_path / "events"
    parts.mkdir()
    table.to_parquet(parts / "part-0.parquet")
    table.assign(customer_id=[3, 4]).to_parquet(parts / "part-1.parquet")
    assert import_cohort("tables", [parts]).n_customers == 4
    assert import_cohort("tables", [f"file://{parts}"]).n_customers == 4  # type: ignore[list-item]  # as a command gives it
    with pytest.raises(DataError, match=r"file:///nowhere/at/all: expected files that can be read there"):
        import_cohort("tables", ["file:///nowhere/at/all"])  # type: ignore[list-item]  # as a command gives it


# ---- roles -----------------------------------------------------------------------------------------------------------


def test_the_number_of_a_row_is_no_customer_where_persons_repeat_beside_dates(read):
    lines = [f"m{k},c{k % 3},p{k % 12},{('sent', 'opened')[k % 2]},2026-03-{1 + k % 28:02d}" for k in range(60)]
    export = {"members.csv": "id,campaign_id,contact_id,status,created_date\n" + "\n".join(lines) + "\n"}
    with pytest.raises(DoubtError, match=r"interactions\.action\.column=campaign_id"):
        read(export)
    cohort = read(export, answers={"interactions.action.column": "status"})
    assert (cohort.n_customers, len(cohort.interactions), len(cohort.actions)) == (12, 60, 2)


def test_columns_in_other_languages_are_taken_for_what_they_are(read):
    lines = [f"{k % 9};{('Anruf', 'Mail')[k % 2]};{13 + k % 10}.01.2026;{k},50" for k in range(60)]
    export = {"ereignisse.csv": "Kd.-Nr.;Was geschah;Wann;Umsatz EUR\n" + "\n".join(lines) + "\n"}
    cohort = read(export, accept_doubts=True)
    assert (cohort.n_customers, len(cohort.interactions), cohort.interactions["value"].max()) == (9, 60, 59.5)


def test_labels_in_other_languages_and_an_offered_label(read):
    french = customers(["1", "2", "3", "4"])["customers.csv"].replace("yes", "VRAI").replace("no\n", "FAUX\n")
    assert read({"customers.csv": french.replace(",no,", ",FAUX,")}).customers["churned"].sum() == 2
    bank = "age;job;y\n" + "".join(f"{20 + k};{('admin', 'tech')[k % 2]};{('no', 'yes')[k % 2]}\n" for k in range(30))
    (cohort, labelled) = (
        read({"customers.csv": bank}, columns={"customer_id": "ROW"}, answers=answers)
        for answers in ({}, {"customers.y.label": "label"})
    )
    assert not cohort.has_labels
    assert any("'y' has two values (no, yes)" in note for note in cohort.notes)
    assert labelled.labels.sum() == 15


def test_a_label_of_one_word_asks_what_a_blank_means(read):
    text = "customer_id,churned\n" + "".join(f"c{k},{'x' if k % 3 else ''}\n" for k in range(30))
    with pytest.raises(DoubtError, match=r"customers\.churned\.blank_label=no"):
        read({"customers.csv": text})
    assert read({"customers.csv": text}, accept_doubts=True).labels.sum() == 20


def test_a_second_label_is_left_out_unless_it_is_wanted(read):
    text = "customer_id,churned,Churn Flag,x\n" + "".join(
        f"c{k},{k % 2},{'yes' if k % 2 else 'no'},{k}.5\n" for k in range(30)
    )
    with pytest.raises(DoubtError, match=r"customers\.Churn_Flag\.label_again=leave_out"):
        read({"customers.csv": text})
    assert read({"customers.csv": text}, accept_doubts=True).feature_columns == ["x"]


def test_text_that_was_encoded_twice_is_read_as_it_was_meant(read):
    twice = "customer_id,city,churned\na,K\u00f6ln,1\nb,S\u00e3o,0\n".encode().decode("cp1252").encode()
    cohort = read({"customers.csv": twice})
    assert cohort.customers["city"].tolist() == ["K\u00f6ln", "S\u00e3o"]
    assert any("encoded twice" in note for note in cohort.notes)
    lossy = "customer_id,city,churned\na,\u201cK\u00f6ln\u201d,1\nb,S\u00e3o,0\n".encode().decode("cp1252", "ignore")
    assert read({"customers.csv": lossy}).customers["city"].tolist() == ["\u201cK\u00f6ln\u201d", "S\u00e3o"]
    assert read({"customers.csv": "customer_id,city\na,JO\u00c3O\nb,K\u00f6ln\n"}).notes == ()
    lines = lossy.replace("\n", "\r\n").split("\r\n")[:3]
    cohort = read({"customers.xlsx": workbook({"S": rows_of(*(tuple(line.split(",")) for line in lines))})})
    assert cohort.customers["city"].tolist() == ["\u201cK\u00f6ln\u201d", "S\u00e3o"]
    assert any("encoded twice" in note for note in cohort.notes)


def test_a_unique_prospect_id_is_the_customer(read):
    leads = "Prospect ID,Lead Number,City\n" + "".join(f"{k:08x}-a,{600000 + k},Ulm\n" for k in range(20))
    assert read({"leads.csv": leads}).customers["customer_id"][1] == "00000001-a"


# ---- times -----------------------------------------------------------------------------------------------------------


def test_am_and_pm_prove_month_first(read):
    text = HEADER + "a,x,01/02/2026 01:30 PM\nb,y,03/04/2026 02:30 AM\n"
    moments = read({"interactions.csv": text}).interactions["timestamp"]
    assert [str(moment) for moment in moments] == ["2026-01-02 13:30:00", "2026-03-04 02:30:00"]


def test_days_of_a_spreadsheet_are_dates_and_an_open_end_is_missing(read):
    events = read({"interactions.csv": HEADER + "a,x,46023\na,y,46024.5\n"}).interactions["timestamp"]
    assert [str(moment) for moment in events] == ["2026-01-01 00:00:00", "2026-01-02 12:00:00"]
    signup = read({"customers.csv": "customer_id,signup_date,size\na,46023,46023\nb,,40000\n"}).customers
    assert str(signup["signup_date"][0]) == "2026-01-01 00:00:00"
    assert signup["size"].tolist() == [46023, 40000]
    until = read(customers(["2026-01-31", "9999-12-31"])).customers["x"]
    assert until.isna().tolist() == [False, True]


def test_the_day_of_the_export_decides_instead_of_a_wrong_date(read):
    text = HEADER + EVENTS.replace("2026", "2024") + "k0,call,2024-12-30\n"
    with pytest.raises(DoubtError, match=r"timestamp\.late=leave_out"):
        read({"interactions.csv": HEADER + EVENTS.replace("2026", "2024") + "k0,call,2099-12-30\n"}, churn_days=30)
    cohort = read({"interactions.csv": text}, churn_days=30, as_of="2024-10-31")
    assert rows(cohort) == (61, 60, 1, 0)
    assert str(cohort.as_of) == "2024-10-01 23:59:59"


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp", "iso2022_jp"])
@pytest.mark.parametrize(
    "names", [["田中太郎", "ヤマダハナコ", "鈴木さくら"], ["山田花子", "鈴木一郎", "佐藤健", "高橋美咲"]]
)
def test_japanese_is_read_in_its_three_encodings_with_and_without_kana(names, encoding):
    text = "顧客番号,氏名,日付\n" + "".join(f"{k},{name},2026-01-0{k}\n" for k, name in enumerate(names, start=1))
    found = text_encoding.decode(text.encode(encoding), "table.csv")
    assert (found.encoding, bytes(found.text).decode()) == (encoding, text)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", "id,性别\n1,男\n2,女\n3,男\n"),
        ("big5", "客戶編號,姓名,行為\n1,王小明,購買\n2,李華,瀏覽\n3,張偉,退貨\n"),
        ("cp949", "고객번호,이름,행동\n1,김철수,구매\n2,이영희,조회\n3,박지성,반품\n"),
        ("cp932", "id,ﾅﾏｴ,date\n1,ﾔﾏﾀﾞ ﾀﾛｳ,2026-01-03\n2,ｽｽﾞｷ ﾊﾅｺ,2026-01-04\n"),
    ],
)
def test_chinese_korean_and_narrow_kana_are_not_taken_for_each_other(encoding, text):
    found = text_encoding.decode(text.encode(encoding), "table.csv")
    assert (found.encoding, bytes(found.text).decode()) == (encoding, text)


@pytest.mark.parametrize("encoding", ["cp1250", "cp1252", "cp1251", "koi8_r", "cp932", "gb18030"])
def test_an_encoding_is_found_said_with_a_sample_and_can_be_chosen(read, encoding):
    names = {
        "cp1250": ["Łukasz", "Dvořák", "Żaneta"],
        "cp1252": ["Müller", "François", "Zoë"],
        "cp1251": ["Иван", "Мария", "Пётр"],
        "koi8_r": ["Иван", "Мария", "Пётр"],
        "cp932": ["田中太郎", "カタログ", "鈴木花子"],
        "gb18030": ["张伟", "王芳", "发送邮件"],
    }[encoding]
    raw = (HEADER + "".join(f"{name},a,2026-01-0{k}\n" for k, name in enumerate(names * 3, start=1))).encode(encoding)
    cohort = read({"interactions.csv": raw})
    assert set(cohort.customers["customer_id"]) == set(names)
    assert any(f"taken for {encoding}: {names[0]}" in note for note in cohort.notes)
    assert set(read({"interactions.csv": raw}, encoding=encoding).customers["customer_id"]) == set(names)
    with pytest.raises(CrmError, match="expected text in ascii, found bytes that are none"):
        read({"interactions.csv": raw}, encoding="ascii")
