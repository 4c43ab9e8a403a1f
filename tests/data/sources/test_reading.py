"""Files to tables: any usual delimiter, encoding and packing gives the same cells; what is no table is refused."""

import gzip
import io
import zipfile

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources.csv_text import sniff_delimiter
from crm_models.data.sources.features import feature_of
from crm_models.data.sources.frames import DELIMITER, FIRST_ROW
from crm_models.data.sources.reading import ReadOptions, read_file, read_table

ROWS = [["name", "amount", "city"], ["ann", "1.5", "Köln"], ["bob", "2.5", "Metz"]]


def lines(delimiter: str = ",", end: str = "\n", rows=ROWS) -> str:
    return "".join(delimiter.join(row) + end for row in rows)


def cells(raw: bytes | str, **how) -> list[list]:
    """The header and the rows of a table, missing cells as None."""
    table = read_table(raw.encode() if isinstance(raw, str) else raw, "t.csv", **how)
    return [list(table.columns), *table.astype(object).where(table.notna(), None).values.tolist()]


# ---- delimiters, ends of lines, encodings, packing -------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "  "], ids=["comma", "semicolon", "tab", "bar", "blanks"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_any_usual_delimiter_and_end_of_line_gives_the_same_cells(delimiter, end):
    assert cells(lines(delimiter, end)) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"])
def test_any_usual_encoding_gives_the_same_cells(encoding):
    assert cells(lines().encode(encoding)) == ROWS


def zipped(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, raw in files.items():
            archive.writestr(name.replace("__", "."), raw)
    return target.getvalue()


@pytest.mark.parametrize(
    "raw",
    [gzip.compress(lines().encode()), zipped(t__csv=lines().encode()), zipped(t__gz=gzip.compress(lines().encode()))],
    ids=["gzip", "zip", "gzip in zip"],
)
def test_a_packed_file_is_known_by_its_bytes_whatever_its_name(raw):
    assert cells(raw) == ROWS


def test_an_open_file_is_read_like_bytes():
    assert read_table(io.BytesIO(lines().encode()), "t.csv").values.tolist() == ROWS[1:]


def test_a_line_that_tells_excel_the_delimiter_is_obeyed():
    assert cells("sep=;\na;b\n1,5;2,5\n") == [["a", "b"], ["1,5", "2,5"]]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a;b\n1,5;2,5\n3,5;4,5\n", ";"),
        ("a,b\n1;2,3\n", ","),
        ("a\tb c\n1\t2 3\n", "\t"),
        ("only\none\ncolumn\n", ","),
        ("id date amount\n1 19970101 2.5\n", " "),
        ('a,b\n"x;y;z",1\n"p;q;r",2\n', ","),
    ],
)
def test_the_delimiter_cuts_the_rows_as_it_cuts_the_header(text, delimiter):
    assert sniff_delimiter(text) == delimiter


# ---- quotation marks and blanks --------------------------------------------------------------------------------------


def test_quoted_cells_hold_delimiters_quotation_marks_and_ends_of_lines():
    assert cells('title,n\n"American President, The (1995)",1\n"He said ""no""",2\n"two\nlines",3\n') == [
        ["title", "n"],
        ["American President, The (1995)", "1"],
        ['He said "no"', "2"],
        ["two\nlines", "3"],
    ]


def test_a_blank_before_a_quotation_mark_does_not_make_it_part_of_the_cell():
    assert cells('a, b\n1, "x, y"\n') == [["a", "b"], ["1", "x, y"]]


def test_without_quoting_a_quotation_mark_is_a_sign_like_any_other():
    given = read_table(b'1\t"Great" film\n2\tx"y\n', "t.dat", header=["n", "title"], delimiter="\t", quoted=False)
    assert given["title"].tolist() == ['"Great" film', 'x"y']


@pytest.mark.parametrize(
    "blank", ["", " ", "NA", "n/a", "NaN", "None", "null", "NULL", "?", "-", "#N/A", "NaT", "<NA>", " na "]
)
def test_every_usual_word_for_nothing_is_a_missing_value(blank):
    table = read_table(f"a,b\n{blank},1\nx,2\n".encode(), "t.csv")
    assert feature_of(table, "t.csv", "a").isna().tolist() == [True, False]


def test_cells_and_column_names_lose_outer_and_doubled_blanks_only():
    assert cells("Call  Failure , a\n x  y , 1\n") == [["Call Failure", "a"], ["x  y", "1"]]


def test_leading_zeros_stay_because_cells_are_text():
    assert cells("id,n\n007,1e3\n") == [["id", "n"], ["007", "1e3"]]


def test_blank_lines_and_empty_trailing_rows_and_columns_of_spreadsheets_are_passed_over():
    assert cells("\n\na,b,\n1,2,\n\n3,4,\n,,\n,,\n") == [["a", "b"], ["1", "2"], ["3", "4"]]


def test_an_unnamed_column_with_cells_gets_its_place_as_name():
    assert cells(",a\n0,x\n1,y\n") == [["column 1", "a"], ["0", "x"], ["1", "y"]]


def test_a_delimiter_at_the_end_of_every_row_but_the_header_is_passed_over():
    assert cells("a,b\n1,2,\n3,4,\n") == [["a", "b"], ["1", "2"], ["3", "4"]]


def test_a_table_without_header_gets_the_names_it_is_given_and_counts_rows_from_one():
    table = read_table(b"1,2\n3,4\n", "t.csv", header=["a", "b"])
    assert table["b"].tolist() == ["2", "4"]
    assert (table.attrs[FIRST_ROW], table.attrs[DELIMITER]) == (1, ",")


def test_blanks_set_columns_apart_in_padded_tables():
    text = " customer_id    date  n\n 00001  19970101  1\n 00002  19970112  12\n"
    assert cells(text) == [["customer_id", "date", "n"], ["00001", "19970101", "1"], ["00002", "19970112", "12"]]


def test_a_header_alone_is_a_table_without_rows():
    table = read_table(b"a,b\n", "t.csv")
    assert (list(table.columns), len(table)) == (["a", "b"], 0)


# ---- what is no table ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty file"),
        (b" \n\r\n\t\n", "empty file"),
        (bytes(range(256)) * 20, "binary data"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "binary data"),
        (b"\xff\xfea", "damaged UTF-16"),
        (b"\xd0\xcf\x11\xe0" + bytes(100), "older spreadsheet"),
        (b"\x1f\x8b\x08broken", "damaged"),
        (b"PK\x03\x04broken", "damaged"),
        (b"PAR1broken", "Parquet"),
        (zipped(a__csv=b"x", b__csv=b"y"), "one file in the archive, found 2"),
        (b"a,b,a\n1,2,3\n", "row 1: duplicate column 'a'"),
        (b"a, a \n1,2\n", "row 1: duplicate column 'a'"),
        (b"a,b\n1,2\n3\n", "row 3: expected the same columns as the header (2 cells), found 1 cells ('3')"),
        (b"a,b\n1,2\n\n3,4,5\n", "row 4: expected the same columns as the header (2 cells), found 3 cells"),
        (b'a,b\n1,2\n"x,4\n5,6\n', "row 3: expected a closing quotation mark"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_table_is_refused_by_name_and_place(raw, said):
    with pytest.raises(DataError) as refusal:
        read_table(raw, "t.csv")
    assert str(refusal.value).startswith("t.csv")
    assert said in str(refusal.value)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(DataError, match="expected a file, found none"):
        read_file(tmp_path / "none.csv")
    with pytest.raises(DataError, match="expected a file, found a folder"):
        read_file(tmp_path)


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def parquet(table: pa.Table | pd.DataFrame) -> pd.DataFrame:
    target = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.Table.from_pandas(table), target)
    return read_table(target.getvalue(), "t.parquet")


def test_parquet_keeps_numbers_dates_and_yes_or_no():
    given = pd.DataFrame(
        {"n": [1, 2], "x": [0.5, None], "on": [True, False], "day": pd.to_datetime(["2026-01-31"] * 2)}
    )
    table = parquet(given)
    assert table["n"].tolist() == [1, 2]
    assert pd.isna(table["x"][1])
    assert table["on"].dtype == bool
    assert table["day"].tolist() == [pd.Timestamp("2026-01-31")] * 2


def test_parquet_columns_of_unusual_types_become_numbers_dates_or_text():
    from datetime import date
    from decimal import Decimal

    table = parquet(
        pa.table(
            {
                "price": pa.array([Decimal("1.50"), None]),
                "day": pa.array([date(2026, 1, 31), None]),
                "tags": pa.array([["a", "b"], None]),
                "city": pa.array(["Köln ", " NA"]).dictionary_encode(),
                "raw": pa.array([b"x", None]),
            }
        )
    )
    assert table["price"][0] == 1.5
    assert table["day"][0] == pd.Timestamp("2026-01-31")
    assert table["tags"][0] == "['a', 'b']"
    assert table["city"][0] == "Köln"
    assert table["raw"][0] == "x"
    assert table["city"][1] == "NA"
    assert table.drop(columns="city").iloc[1].isna().all()


def test_an_index_that_pandas_wrote_into_parquet_is_a_column_unless_it_only_counts():
    named = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="customer_id"))
    assert parquet(named)["customer_id"].tolist() == ["x", "y"]
    assert list(parquet(named.reset_index().iloc[[1, 0]]).columns) == ["customer_id", "a"]


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbfa;b\n1;2\n3;4\n",
        "a,b\nKöln,1\nZürich,2\n".encode("cp1252"),
        b'a,b\n"x, y",1\n"two\nlines",2\n',
        "a\tb\nä\t2\n".encode("utf-16"),
    ],
    ids=["mark", "cp1252", "quoted", "utf-16"],
)
def test_a_mapped_file_is_read_like_one_in_memory(tmp_path, monkeypatch, raw):
    (tmp_path / "t.csv").write_bytes(raw)
    in_memory = read_file(tmp_path / "t.csv")
    monkeypatch.setattr("crm_models.data.sources.archives.MAPPED", 1)
    mapped = read_file(tmp_path / "t.csv")
    assert mapped.equals(in_memory)
    assert mapped.attrs == in_memory.attrs


@pytest.mark.parametrize(("raw", "row"), [('"x, ""y""",2,', 2), ("x,2,,", 2), ('"x",2, ,""', 2)])
def test_empty_cells_behind_the_last_column_are_left_out_and_said(raw, row):
    table = read_table(f"a,b\n{raw}\n3,4\n".encode(), "t.csv")
    assert table["b"].tolist() == ["2", "4"]
    assert table["a"].iloc[0] == ('x, "y"' if "y" in raw else "x")
    assert any(f"are left out (first: row {row})" in remark for remark in table.attrs["remarks"])


def test_blank_lines_count_in_the_row_numbers_of_a_large_file_too(monkeypatch):
    monkeypatch.setattr("crm_models.data.sources.csv_text.MAPPED", 1)
    assert list(read_table(b"a;b\r\n1;2\r\n\r\n3;4\r\n", "t.csv").index) == [0, 2]
    quoted = read_table(b'a;b\n1;"2\n3"\n\n3;4\n', "t.csv")
    assert "Row numbers leave out blank lines, because the file is large." in quoted.attrs["remarks"]


def test_lines_in_a_row_with_too_many_cells_are_each_left_out():
    raw = b'a,b\n1,2\n3,"4,x\n5,6\n7",8,9\n0,1\n'
    table = read_table(raw, "t.csv", options=ReadOptions(skip_ragged=True))
    assert table["a"].tolist() == ["1", "0"]
    assert [text for _, text in table.attrs["ragged"]] == ['3,"4,x', "5,6", '7",8,9']
