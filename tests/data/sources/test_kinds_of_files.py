"""Kinds of files that were misread, each in its smallest form: what is in them beside what must come of it."""

import io
import json
import zipfile
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crm_models.core.errors import ConfigError, DataError
from crm_models.data.sources import import_cohort
from crm_models.data.sources.receipt import DoubtError
from tests.data.sources.test_kinds import HEADER, facts, read  # noqa: F401  # read is a fixture
from tests.data.sources.test_workbook import rows_of, workbook, workbook_parts

PEOPLE = (("customer_id", "churned", "x"), ("a", "no", 1), ("b", "yes", 2))
MORE = (("customer_id", "churned", "x"), ("c", "no", 3), ("d", "yes", 4), ("e", "no", 5))


def said(cohort) -> str:
    return " ".join(cohort.notes)


# ---- sheets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_hidden_sheets_are_not_read_and_that_is_said(read, state):  # noqa: F811
    parts = workbook_parts({"Now": rows_of(*PEOPLE), "Old": rows_of(*MORE)})
    parts["xl/workbook.xml"] = parts["xl/workbook.xml"].replace('name="Old"', f'name="Old" state="{state}"')
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    cohort = read({"customers.xlsx": target.getvalue()})
    assert cohort.customers["customer_id"].tolist() == ["a", "b"]
    assert "customers.xlsx: Hidden sheets ('Old') are not read." in cohort.notes


def test_sheets_that_are_read_together_are_named(read):  # noqa: F811
    cohort = read({"customers.xlsx": workbook({"Jan": rows_of(*PEOPLE), "Feb": rows_of(*MORE)})})
    assert sorted(cohort.customers["customer_id"]) == ["a", "b", "c", "d", "e"]
    assert "customers.xlsx: The sheets Feb and Jan have the same columns and are read together." in cohort.notes


# ---- text ------------------------------------------------------------------------------------------------------------


def test_a_backslash_before_a_quotation_mark_leaves_other_backslashes_alone(read):  # noqa: F811
    rows = 'a,\\\\srv\\dir,"he said \\"no\\" x"\nb,c:\\new,plain\n'
    found = read({"customers.csv": f"customer_id,path,note\n{rows}"}).customers
    assert found["path"].tolist() == [r"\\srv\dir", r"c:\new"]
    assert found["note"].tolist() == ['he said "no" x', "plain"]
    rows = 'a,"c:\\\\new","he said \\"no\\" x"\nb,\\N,plain\n'  # each backslash is escaped: MySQL
    found = read({"customers.csv": f"customer_id,path,note\n{rows}"}).customers
    assert [None if pd.isna(path) else path for path in found["path"]] == [r"c:\new", None]


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp1256", ["محمد", "فاطمة"]),
        ("cp1255", ["ירושלים", "שלום"]),
        ("mac_roman", ["François", "Hélène"]),
    ],
)
def test_arabic_hebrew_and_old_macs_are_guessed_and_said(read, encoding, names):  # noqa: F811
    rows = "".join(f"{name},call,2026-01-0{k}\n" for k, name in enumerate(names, start=1))
    cohort = read({"interactions.csv": (HEADER + rows).encode(encoding)})
    assert sorted(cohort.customers["customer_id"]) == sorted(names)
    assert f"its encoding was taken for {encoding}: {', '.join(names)}" in said(cohort)


def test_an_encoding_that_is_as_plausible_is_offered_with_its_words(read):  # noqa: F811
    cohort = read({"customers.csv": "customer_id;city\na;Köln\nb;München\n".encode("mac_roman")})
    assert "mac_roman: Köln, München" in said(cohort)


def test_flat_json_is_a_table(read):  # noqa: F811
    people = [
        {"customer_id": "a", "churned": False, "age": 30, "spend": 1.500, "city": "Bonn"},
        {"customer_id": "b", "churned": True, "age": 31, "code": 12345678901234567, "spend": None, "plz": "01069"},
    ]
    lines = "\n".join(map(json.dumps, people))
    for name, text in (("customers.jsonl", lines), ("customers.csv", json.dumps(people, indent=1))):
        found = read({name: text}).customers
        assert found["customer_id"].tolist() == ["a", "b"]
        assert found["churned"].tolist() == [False, True]
        assert found["age"].tolist() == [30, 31]
        assert found["spend"].iloc[0] == 1.5
        assert [found[c].iloc[1] for c in ("code", "plz")] == [12345678901234567, "01069"]
        assert found["city"].iloc[0] == "Bonn"


def test_json_that_cannot_be_text_is_refused_and_long_numbers_are_kept(read):  # noqa: F811
    with pytest.raises(DataError, match="half of a character"):
        read({"customers.jsonl": '{"customer_id":"\\ud83d"}\n{"customer_id":2}\n'})
    long = "9" * 5000
    assert read({"customers.jsonl": f'{{"customer_id":{long}}}\n'}).customers["customer_id"].tolist() == [long]
    found = read({"customers.jsonl": '{"customer_id":1,"x":1.234}\n{"customer_id":2,"x":1e99999999999999999999}\n'})
    assert found.customers["x"].iloc[0] == 1.234
    with pytest.raises(DoubtError, match=r"customers\.x\.thousands"):
        read({"customers.jsonl": '{"customer_id":1,"x":"1.234"}\n{"customer_id":2,"x":"2.500"}\n'})


def test_fields_of_json_that_differ_in_blanks_are_refused(read):  # noqa: F811
    with pytest.raises(DataError, match="duplicate column 'a b'"):
        read({"customers.jsonl": '{"customer_id":1,"a b":1,"a  b":2}\n{"customer_id":2}\n'})


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"customer_id":"a","plan":{"name":"x"}}\n', "JSON with a nested field 'plan' in object 1"),
        ('{"users":[{"id":"a"},\n{"id":"b"}]}\n', "JSON with a nested field 'users' in object 1"),
        ("<html><body><table><tr><td>a</td></tr></table>\n", "a web page"),
        ("\n<!DOCTYPE html>\n<p>404</p>\n", "a web page"),
        ('<?xml version="1.0"?>\n<users><user id="a"/></users>\n', "XML"),
        ("<users>\n<user>a</user>\n</users>\n", "XML"),
        ("INSERT INTO `customers` (`id`,`age`) VALUES\n('a',30),\n('b',31);\n", "an SQL dump"),
        ("-- MySQL dump\n\nSET NAMES utf8;\nDROP TABLE x;\nCREATE TABLE x (\n id INT\n);\n", "an SQL dump"),
        ("-- dump\r\n" * 60 + "CREATE TABLE x (\r\n", "an SQL dump"),
        ("+----+-----+\n| id | age |\n+----+-----+\n| a  |  30 |\n+----+-----+\n", "a table printed with lines"),
        (" id | age\n----+-----\n a  |  30\n(1 row)\n", "a table printed with lines"),
        ("Kunden\n\n-----\n|id|x|\n-----\n|a |1|\n", "a table printed with lines"),
    ],
)
def test_what_is_no_table_is_refused_with_what_it_is(read, text, what):  # noqa: F811
    with pytest.raises(DataError, match=f"customers.csv: expected a table, found {what}.*save it as CSV"):
        read({"customers.csv": text})


def test_signs_at_the_beginning_of_a_table_make_it_nothing_else(read):  # noqa: F811
    assert read({"customers.csv": "customer_id\t<X>\na\t1\nb\t2\n"}).customers["<X>"].tolist() == [1, 2]
    marked = "<CUSTOMER_ID>\t<ACTION>\t<TIMESTAMP>\na\tbuy\t2026-01-05\nb\tbuy\t2026-01-06\n"
    assert len(read({"interactions.csv": marked}).interactions) == 2


def test_quotation_marks_around_whole_lines_are_left_out(read):  # noqa: F811
    cohort = read({"customers.csv": '"customer_id,name,age"\r\n"a,""Smith, J"",3"\r\n"b,""Lee"",4"\r\n'})
    assert cohort.customers["name"].tolist() == ["Smith, J", "Lee"]
    assert cohort.customers["age"].tolist() == [3, 4]
    assert "customers.csv: Quotation marks around whole lines are left out." in cohort.notes
    one_column = read({"customers.csv": '"customer_id"\n"a, b"\n"c, d"\n'})
    assert one_column.customers["customer_id"].tolist() == ["a, b", "c, d"]


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def parquet(**columns: object) -> dict[str, bytes]:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return {"customers.parquet": target.getvalue()}


def test_decimals_that_are_whole_keep_the_digits_that_a_float_loses(read):  # noqa: F811
    ids = pa.array([Decimal("100.00"), Decimal("123456789012345678.00")], pa.decimal128(30, 2))
    found = read(parquet(customer_id=ids, x=[1, 2])).customers
    assert sorted(found["customer_id"]) == ["100", "123456789012345678"]
    prices = pa.array([Decimal("1.50"), Decimal("2.25")], pa.decimal128(10, 2))
    assert read(parquet(customer_id=["a", "b"], x=prices)).customers["x"].tolist() == [1.5, 2.25]


def test_bytes_are_uuids_or_left_out_and_can_be_dropped(read):  # noqa: F811
    ids = [bytes(range(16)), bytes([200] * 16)]
    for kind in (pa.binary(), pa.binary(16)):
        found = read(parquet(customer_id=pa.array(ids, kind), x=[1, 2])).customers
        assert sorted(found["customer_id"]) == [
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
            "c8c8c8c8-c8c8-c8c8-c8c8-c8c8c8c8c8c8",
        ]
    picture = parquet(customer_id=["a", "b"], x=[1, 2], avatar=[b"\xff\xd8\xff", b"\0"])
    for options in ({}, {"drop": ["avatar"]}):
        cohort = read(picture, **options)
        assert list(cohort.customers) == ["customer_id", "churned", "x"]
        assert "customers.parquet: 'avatar' left out: bytes that are no text." in cohort.notes


# ---- archives --------------------------------------------------------------------------------------------------------


def test_folders_of_a_zip_are_read_together_under_their_names(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("jan/events.csv", f"{HEADER}a,buy,2026-01-05\n")
        archive.writestr("feb/events.csv", f"{HEADER}b,call,2026-02-05\n")
    cohort = import_cohort("tables", [tmp_path / "export.zip"])
    assert sorted(cohort.customers["customer_id"]) == ["a", "b"]
    assert {file["name"] for file in facts(cohort)["files"]} == {"jan events.csv", "feb events.csv"}


def test_folders_of_a_zip_with_one_table_each_lend_no_names(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("x/people/customers.csv", "customer_id,x\na,1\nb,2\n")
        archive.writestr("x/log/interactions.csv", f"{HEADER}a,buy,2025-01-05\n")
        archive.writestr("x/.DS_Store", b"\0\1")
    cohort = import_cohort("tables", [tmp_path / "export.zip"])
    assert {file["name"] for file in facts(cohort)["files"]} == {"customers.csv", "interactions.csv"}
    assert len(cohort.interactions) == 1


def test_no_message_about_a_zip_has_a_temporary_path(tmp_path):
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for name in ("a.doc", "b.doc"):
            archive.writestr(name, "x")
    with pytest.raises(DataError, match=r"^export\.zip: expected interactions\.csv"):
        import_cohort("tables", [tmp_path / "export.zip"])


# ---- files of one kind that are written differently ------------------------------------------------------------------


def values(cohort, column: str = "value") -> list:
    return cohort.interactions.sort_values("timestamp")[column].tolist()


def days(cohort) -> list[str]:
    return [f"{day:%m-%d}" for day in cohort.interactions["timestamp"]]


DE = "customer_id;action;timestamp;value\na;buy;2026-01-05;1.500\nb;buy;2026-01-06;2.250\n"
US = "customer_id,action,timestamp,value\na,buy,2026-01-07,1.500\nb,buy,2026-01-08,2.25\n"


def test_numbers_are_judged_by_their_own_file(read):  # noqa: F811
    plain = US.replace("1.500", "1.5")
    cohort = read({"de.csv": DE, "us.csv": plain})
    assert values(cohort) == [1500, 2250, 1.5, 2.25]
    assert "'value' is read by file, because the files write it differently: de.csv (semicolon); us.csv (point)." in (
        cohort.notes
    )
    assert values(read({"a.csv": plain, "de.csv": DE.replace("1.500", "1,50")})) == [1.5, 2250, 1.5, 2.25]
    with pytest.raises(DoubtError) as refusal:
        read({"de.csv": DE, "us.csv": US})
    [doubt] = refusal.value.doubts
    assert doubt.evidence.startswith("us.csv: some cells in 'value'")
    assert values(read({"de.csv": DE, "us.csv": US}, answers={doubt.id: "decimal"})) == [1500, 2250, 1.5, 2.25]


def test_a_file_of_long_numbers_proves_its_decimal_mark(read):  # noqa: F811
    de = DE.replace("1.500", "1 234,5").replace("2.250", "1234,5")
    assert values(read({"de.csv": de, "us.csv": US.replace("1.500", "1500.5")})) == [1234.5, 1234.5, 1500.5, 2.25]


def test_features_are_judged_by_their_own_file_in_one_unit(read):  # noqa: F811
    us, de = "customer_id,x,y\na,1.5,p\nb,2.25,q\n", "customer_id;x;y\nc;1.500;p\nd;2,25;q\n"
    found = read({"us.csv": us, "de.csv": de}).customers.set_index("customer_id")["x"]
    assert found.to_dict() == {"a": 1.5, "b": 2.25, "c": 1500, "d": 2.25}
    in_dollars = "customer_id,x,y\na,$1.50,p\nb,$2.25,q\n"
    with pytest.raises(DataError, match=r"us\.csv \(point\).*expected 'x' alike in these files"):
        read({"us.csv": in_dollars, "de.csv": de.replace("1.500", "1.500 \u20ac").replace("2,25", "2,25 \u20ac")})


def dated(*cells: str) -> str:
    return HEADER + "".join(f"{'ab'[k % 2]},{['buy', 'call'][k % 2]},{cell}\n" for k, cell in enumerate(cells))


def test_dates_are_judged_by_their_own_file(read):  # noqa: F811
    both = read({"uk.csv": dated("13/01/2026", "02/02/2026"), "us.csv": dated("01/14/2026", "02/03/2026")})
    assert sorted(days(both)) == ["01-13", "01-14", "02-02", "02-03"]
    for proved, order in (("01/25/2026", "month_first"), ("25/01/2026", "day_first")):
        files = {"one.csv": dated("01/02/2026", proved), "two.csv": dated("03/04/2026", "05/06/2026")}
        with pytest.raises(DoubtError) as refusal:
            read(files)
        [doubt] = refusal.value.doubts
        assert doubt.id == "interactions.timestamp.order"
        assert doubt.evidence.startswith("two.csv: ")
        first = "01-02" if order == "month_first" else "02-01"
        settled = read(files, answers={doubt.id: "day_first"})
        assert sorted(days(settled)) == sorted([first, "01-25", "04-03", "06-05"])


def test_bad_rows_of_files_that_are_read_apart_are_left_out(read):  # noqa: F811
    cohort = read({"de.csv": DE + "c;buy;2026-01-05;abc\n", "us.csv": US.replace("1.500", "1.5")}, skip_bad_rows=True)
    assert values(cohort) == [1500, 2250, 1.5, 2.25]
    [reject] = cohort.documents["rejected.csv"].splitlines()[1:]
    assert reject.startswith("de.csv,4,value,abc,")


# ---- recipes ---------------------------------------------------------------------------------------------------------


def recipe_of(cohort, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(cohort.documents["recipe.json"]))
    return tmp_path / "r.json"


@pytest.mark.parametrize(
    ("april", "answer", "may"),
    [
        (["03/04/2026", "05/06/2026"], ("order", "month_first"), ["13/04/2026", "05/06/2026"]),
        (["1.234", "2.500"], ("thousands", "thousands"), ["1.2345", "2.5"]),
        (["1.234", "2.500"], ("thousands", "decimal"), ['"1.234,50"', "2.500"]),
    ],
)
def test_a_file_that_contradicts_the_recipe_is_asked_about(read, tmp_path, april, answer, may):  # noqa: F811
    def people(cells: list[str]) -> dict[str, str]:
        return {"customers.csv": f"customer_id,churned,x\na,no,{cells[0]}\nb,yes,{cells[1]}\n"}

    subject, chosen = answer
    recipe = recipe_of(read(people(april), answers={f"customers.x.{subject}": chosen}), tmp_path)
    with pytest.raises(DoubtError) as refusal:
        read(people(may), recipe=recipe)
    [doubt] = refusal.value.doubts
    assert doubt.id == "customers.x.recipe"
    assert f"the recipe says customers.x.{subject}={chosen}, and 'x' proves the opposite" in doubt.evidence
    read(people(may), recipe=recipe, answers={doubt.id: "file"})
    with pytest.raises(ConfigError, match=rf"--answer customers\.x\.{subject}={chosen}: customers\.csv proves"):
        read(people(may), answers={f"customers.x.{subject}": chosen})


def test_answers_of_a_recipe_that_are_not_needed_are_said_and_kept(read, tmp_path):  # noqa: F811
    april = {"customers.csv": "customer_id,churned,x\na,no,03/04/2026\nb,yes,05/06/2026\n"}
    recipe = recipe_of(read(april, answers={"customers.x.order": "month_first"}), tmp_path)
    may = read({"customers.csv": "customer_id,churned,x\na,no,04/13/2026\nb,yes,05/06/2026\n"}, recipe=recipe)
    assert "Answers of the recipe to doubts that have not come up: customers.x.order=month_first." in may.notes
    assert may.documents["recipe.json"]["answers"] == {"customers.x.order": "month_first"}


# ---- labels ----------------------------------------------------------------------------------------------------------


def test_a_date_of_leaving_means_churned_and_a_blank_stayed(read):  # noqa: F811
    rows = "a,,30\nb,2025-01-05,40\nc,,50\nd,2025-02-01,61\n"
    options = {"columns": {"churned": "cancelled_at"}}
    cohort = read({"customers.csv": f"customer_id,cancelled_at,age\n{rows}"}, **options)
    assert cohort.customers["churned"].tolist() == [False, True, False, True]
    assert "'churned' means churned (first: '2025-01-05'), a blank means stayed." in said(cohort)
    for never in ("9999-12-31", "1900-01-01"):
        with pytest.raises(DataError, match="expected yes or no"):
            read({"customers.csv": f"customer_id,cancelled_at,age\n{rows}e,{never},5\n"}, **options)
