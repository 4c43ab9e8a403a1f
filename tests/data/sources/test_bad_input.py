"""`import` on bad input from the command line: exit 2, one clear line, nothing half-written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crm_models import workflow
from crm_models.cli.commands import main
from crm_models.core.errors import DataError
from crm_models.data.sources import FORMS
from tests.refusals import refused

ROOT = Path(__file__).resolve().parents[3]


def imported(capsys, *arguments: object) -> str:
    """What the command prints when it goes well."""
    assert main([str(a) for a in arguments]) == 0
    return capsys.readouterr().out


FILE_OF = {
    "tables": "customers.csv",
    "movielens": "ratings.csv",
    "amazon": "reviews.json",
    "telco": "churn.csv",
    "starbucks": "transcript.json",
    "retail": "retail.csv",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_source_is_named(capsys, tmp_path, form):
    line = refused(capsys, "import", form, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert "nowhere" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_folder_is_refused(capsys, tmp_path, form):
    (tmp_path / "in").mkdir()
    refused(capsys, "import", form, tmp_path / "in", "--out", tmp_path / "out")
    assert [f.name for f in tmp_path.iterdir()] == ["in"]


GARBAGE = {
    "empty": b"",
    "blanks": b"\n \n",
    "binary": bytes(range(256)) * 40,
    "zeros": bytes(4096),
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4,
    "damaged gzip": b"\x1f\x8b\x08\x00" + b"x" * 50,
    "damaged zip": b"PK\x03\x04" + b"x" * 50,
    "damaged Parquet": b"PAR1" + b"x" * 50 + b"PAR1",
    "a letter": b"Dear customer,\nthank you for your order of 3 May.\nYours, Ann\n",
    "a web page": b"<!DOCTYPE html>\n<html><body><p>404, not found</p></body></html>\n",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_under_the_right_name_is_refused_by_that_name(capsys, tmp_path, form, kind):
    source = tmp_path / "in"
    source.mkdir()
    others = ["profile.json", "portfolio.json"] if form == "starbucks" else []
    for name in (FILE_OF[form], *others):
        (source / name).write_bytes(GARBAGE[kind])
    line = refused(capsys, "import", form, source, "--out", tmp_path / "out")
    assert FILE_OF[form] in line
    assert len(line) < 500
    assert [f.name for f in tmp_path.iterdir()] == ["in"]


@pytest.fixture
def people(tmp_path):
    """Writes a table of customers and returns its folder."""

    def write(text: str) -> Path:
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        (folder / "customers.csv").write_text(text)
        return folder

    return write


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("customer_id,churned,age\na,yes,1\nb,no,2\nc,maybe,3\n", "customers.csv row 4, column 'churned'"),
        ("customer_id,churned,age\na,1,1\nb,2,2\n", "customers.csv row 3, column 'churned'"),
        ("customer_id,churned,churned\na,1,1\n", "customers.csv row 1: duplicate column 'churned'"),
        ("customer_id,churned\na,1\nb\n", "customers.csv row 3: expected the same columns"),
        ("who::churned\na::1\n", "customers.csv: expected the column 'customer_id'"),
        ("customer_id,churned\na,1\na,0\n", "customers.csv row 3: duplicate customer_id 'a'"),
        ("customer_id,churned\n,1\n", "customers.csv row 2, column 'customer_id'"),
    ],
)
def test_a_bad_table_is_refused_by_file_row_and_column(capsys, tmp_path, people, text, said):
    line = refused(capsys, "import", "tables", people(text), "--out", tmp_path / "out")
    assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cell", ["inf", "-inf", "NaN", "1e400"])
def test_nan_and_infinity_among_features_are_blanks(capsys, tmp_path, people, cell):
    where = people(f"customer_id,churned,age\na,1,{cell}\nb,0,2\n")
    assert "2 customers" in imported(capsys, "import", "tables", where, "--out", tmp_path / "out", "--quiet")
    from crm_models.data.storage import load_cohort

    assert load_cohort(tmp_path / "out").customers["age"].isna().tolist() == [True, False]


@pytest.mark.parametrize("cell", ["soon", "2026-02-30", "", "inf", "nan", "31.13.2026"])
def test_a_date_that_is_none_is_refused_in_every_form_that_has_dates(capsys, tmp_path, cell):
    written = {
        "tables": ("interactions.csv", f"customer_id,action,timestamp\na,x,2026-01-01\nb,y,{cell}\n"),
        "movielens": ("ratings.csv", f"userId,movieId,rating,timestamp\n1,2,3,964982703\n1,2,3,{cell}\n"),
        "retail": (
            "r.csv",
            "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID\n"
            f"1,A,1,2010-12-01 08:26,1,7\n2,A,1,{cell},1,7\n",
        ),
        "amazon": (
            "r.csv",
            f"user_id,parent_asin,rating,timestamp\nA,B,5,1658185117948\nA,B,5,{cell}\n",
        ),
    }
    for form, (name, text) in written.items():
        source = tmp_path / form
        source.mkdir()
        (source / name).write_text(text)
        line = refused(capsys, "import", form, source, "--out", tmp_path / "out")
        assert f"{name} row 3, column" in line
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("n", [1, 10])
def test_one_or_ten_customers_are_a_cohort_and_the_check_says_that_they_are_few(capsys, tmp_path, people, n):
    where = people("customer_id,churned,age\n" + "".join(f"c{k},{k % 2},{k}\n" for k in range(n)))
    said = imported(capsys, "import", "tables", where, "--out", tmp_path / "out", "--quiet")
    assert f"{n} customers" in said
    assert "Few customers" in imported(capsys, "check", tmp_path / "out")


def test_one_class_only_is_imported_and_the_check_calls_it_a_problem(capsys, tmp_path, people):
    where = people("customer_id,churned\n" + "".join(f"c{k},no\n" for k in range(30)))
    assert "0.0% churned" in imported(capsys, "import", "tables", where, "--out", tmp_path / "out", "--quiet")
    assert "One class only" in imported(capsys, "check", tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--churn-days", "0"], "--churn-days"),
        (["--churn-days", "soon"], "--churn-days"),
        (["--churn-days", "nan"], "--churn-days"),
        (["--churn-days", "3"], "labels already"),
        (["--column", "customer_id"], "--column expects NAME=COLUMN"),
        (["--column", "customer_id=user"], "no table has a column 'user'"),
        (["--drop", "shoe size"], "--drop shoe size: no table has such a column"),
        (["--positive", "gone"], "expected 'gone' in the column 'churned'"),
        (["--format", "csv"], "--format"),
    ],
)
def test_a_wrong_option_is_refused_and_leaves_nothing(capsys, tmp_path, people, options, said):
    where = people("customer_id,churned\na,1\nb,0\n")
    assert said in refused(capsys, "import", "tables", where, "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["telco", "movielens"])
def test_an_option_of_another_form_is_refused_by_name(capsys, tmp_path, form):
    assert "has no option" in refused(capsys, "import", form, tmp_path, "--out", tmp_path / "out", "--positive", "x")


def test_links_in_a_circle_are_a_path_that_leads_nowhere(capsys, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for source, out in (("loop", "x"), ("loop/in/it", "x"), ("x", "loop")):
        said = refused(capsys, "import", "tables", tmp_path / source, "--out", tmp_path / out)
        assert "leads nowhere" in said
    with pytest.raises(DataError, match="leads nowhere"):
        workflow.import_files(tmp_path / "x", "tables", ["a\0b"])


def test_a_failed_import_leaves_an_earlier_cohort_as_it_was(capsys, tmp_path, people):
    out = tmp_path / "out"
    imported(capsys, "import", "tables", people("customer_id,churned\na,1\nb,0\n"), "--out", out, "--quiet")
    before = {file.name: file.read_bytes() for file in out.iterdir()}
    refused(capsys, "import", "tables", people("customer_id,churned\na,1\nb,perhaps\n"), "--out", out)
    assert {file.name: file.read_bytes() for file in out.iterdir()} == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["in", "out"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="this system has no /proc")
def test_a_folder_that_nobody_may_write_to_is_named(capsys, people):
    # Permissions do not stop the superuser, as whom tests may run; the kernel's own files stop everybody.
    where = people("customer_id,churned\na,1\nb,0\n")
    assert f"/proc/{os.getpid()}" in refused(capsys, "import", "tables", where, "--out", "/proc/self/out")


def test_a_target_that_is_a_file_or_below_one_is_refused(capsys, tmp_path, people):
    where, file = people("customer_id,churned\na,1\nb,0\n"), tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "out"):
        assert "file" in refused(capsys, "import", "tables", where, "--out", out)
    assert file.read_text() == "mine"


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_nothing_half_written(tmp_path, people):
    """A limit on the size of files stands in for a full disk: the kernel refuses the write in the same place."""
    where = people(
        "customer_id,churned\n" + "".join(f"customer number {k * 7919 % 99991},{k % 2}\n" for k in range(9999))
    )
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "from crm_models.cli.commands import main\n"
        f"sys.exit(main(['import', 'tables', {json.dumps(str(where))}, '--out', {json.dumps(str(tmp_path / 'c'))}]))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: ")
    assert len(ran.stderr.strip().splitlines()) == 1
    assert [f.name for f in tmp_path.iterdir()] == ["in"]
