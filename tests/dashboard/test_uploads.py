"""Uploaded files: read in any encoding and packing, refused when too large, guessed, put together, never executed."""

import gzip
import io
import zipfile

import pandas as pd
import pytest

from crm_models.core.errors import DataError
from dashboard.state import uploads
from dashboard.state.uploads import Mapped

TABLE = "kunde;Größe;gekündigt\nMüller;1,5;ja\nĐorđe;2,5;nein\n"


def zipped(*names: str, content: bytes = b"a,b\n1,2\n") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return out.getvalue()


def mapped(kind: str, table: dict, **known) -> Mapped:
    known = {"columns": {c: c for c in table if c in uploads.COLUMNS[kind]}} | known
    return Mapped(upload="id", file=f"{kind}.csv", table=pd.DataFrame(table), kind=kind, **known)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_table_is_read_in_any_unicode(encoding):
    raw = TABLE.encode(encoding) if encoding != "utf-16-le" else b"\xff\xfe" + TABLE.encode("utf-16-le")
    table = uploads.read_upload("kunden.csv", raw)[0][0]
    assert list(table.columns) == ["kunde", "Größe", "gekündigt"]
    assert table["kunde"].tolist() == ["Müller", "Đorđe"]


def test_a_table_by_semicolons_in_the_encoding_of_old_spreadsheets_is_read():
    table = uploads.read_upload("kunden.csv", TABLE.replace("Đorđe", "Süß €").encode("cp1252"))[0][0]
    assert table["kunde"].tolist() == ["Müller", "Süß €"]
    assert table["Größe"].tolist() == ["1,5", "2,5"]


@pytest.mark.parametrize("name", ["t.csv.gz", "t.zip", "t.csv"])
def test_a_packed_table_is_read_whatever_it_is_called(name):
    raw = zipped("inner.csv") if name == "t.zip" else gzip.compress(b"a,b\n1,2\n")
    assert uploads.read_upload(name, raw)[0][0].to_dict("list") == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary data"),
        (b"a,a\n1,2\n", "duplicate column"),
        (b"a,b\n1,2,3\n1\n", "same columns"),
        (b"\x1f\x8bgarbage", "damaged"),
        (b"PK\x03\x04garbage", "damaged"),
        (b"PAR1garbage", "Parquet"),
        (zipped("a.csv", "b.csv"), "one file in the archive, found 2"),
    ],
)
def test_garbage_called_csv_is_refused_in_words(raw, said):
    with pytest.raises(DataError, match=said):
        uploads.read_upload("customers.csv", raw)


def test_what_unpacks_to_more_than_any_memory_is_refused_before_it_is_unpacked(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UNPACKED_MB", 5)
    bomb = b"a,b\n" + b"1,2\n" * 2_500_000
    for raw in (gzip.compress(bomb, 1), zipped("t.csv", content=bomb)):
        assert len(raw) < 200_000
        with pytest.raises(DataError, match="at most 5 MB when unpacked"):
            uploads.read_upload("t.csv", raw)
        with pytest.raises(DataError, match="import telco"):
            uploads.import_known("nowhere", "telco", [("t.csv", raw)], None)  # type: ignore[arg-type]  # the folder is never reached


def test_limits_of_size_and_rows_name_what_to_do_instead(monkeypatch):
    monkeypatch.setattr(uploads, "MAX_MB", 1)
    with pytest.raises(DataError, match=r"at most 1 MB, found 2; use `python -m crm_models import tables` instead"):
        uploads.read_upload("t.csv", b"a\n" + b"1\n" * 1_000_000)
    monkeypatch.setattr(uploads, "MAX_ROWS", 3)
    with pytest.raises(DataError, match="at most 3 rows, found 4"):
        uploads.read_upload("t.csv", b"a,b\n" + b"1,2\n" * 4)
    half = mapped("customers", {"customer_id": ["a", "b"]})
    with pytest.raises(DataError, match="at most 3 rows in total, found 4"):
        uploads.build([half, half], name="x")


@pytest.mark.parametrize(
    ("name", "columns", "kind"),
    [
        ("Interactions 2026.csv", ["x"], "interactions"),
        ("customer.parquet", ["x"], "customers"),
        ("action.csv", ["x"], "actions"),
        ("export.csv", ["user_id", "event", "date"], "interactions"),
        ("export.csv", ["user_id", "age", "churned"], "customers"),
        ("export.csv", ["action", "label"], "actions"),
    ],
)
def test_what_a_file_holds_is_guessed_from_its_name_and_columns(name, columns, kind):
    assert uploads.guess_kind(name, pd.DataFrame(columns=columns)) == kind


def test_a_column_that_has_our_name_but_was_not_chosen_steps_aside():
    table = {"id": ["a", "b"], "churned": ["x", "y"], "left": ["1", "0"], "secret": ["s", "t"]}
    cohort, _ = uploads.build(
        [mapped("customers", table, columns={"customer_id": "id", "churned": "left"}, drop=("secret",))], name="x"
    )
    assert cohort.customers["churned"].tolist() == [True, False]
    assert cohort.feature_columns == ["churned (theirs)"]


def test_a_label_of_three_values_asks_which_one_means_churned():
    table = {"customer_id": ["a", "b", "c"], "churned": ["active", "gone", "paused"]}
    with pytest.raises(DataError, match="yes or no"):
        uploads.build([mapped("customers", table)], name="x")
    cohort, _ = uploads.build([mapped("customers", table, positive="gone")], name="x")
    assert cohort.customers["churned"].tolist() == [False, True, False]


def test_tables_of_actions_alone_are_no_cohort():
    with pytest.raises(DataError, match="table of interactions or of customers"):
        uploads.build([mapped("actions", {"action": ["a"]})], name="x")


@pytest.mark.parametrize(
    ("name", "safe"),
    [("../../etc/passwd", "passwd"), ("C:\\temp\\a.csv", "a.csv"), ("..", "upload"), ("", "upload"), ("a\0b", "ab")],
)
def test_a_file_name_leads_nowhere(name, safe):
    assert uploads.safe_name(name) == safe


def test_no_days_of_silence_mean_no_churn_labels_also_where_the_form_has_a_usual_number(tmp_path):
    lines = [f"1{k},a{k},Thing,2,2011-01-{k + 1:02d} 10:00:00,2.5,17{k % 3},UK" for k in range(9)]
    csv = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n" + "\n".join(lines)
    upload = [("online.csv", csv.encode())]
    assert not uploads.import_known(tmp_path / "without", "retail", upload, None).has_labels
    assert uploads.import_known(tmp_path / "with", "retail", upload, 3.0).has_labels
