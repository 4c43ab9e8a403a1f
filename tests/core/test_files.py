"""Files and folders appear whole or not at all."""

import json
from pathlib import Path

import pytest

from crm_models.core import files
from crm_models.core.errors import DataError
from crm_models.core.files import need_own_folder, new_file, new_folder, read_json, sha256, write_json


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    target = tmp_path / "plans.csv"
    with new_file(target) as part:
        part.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"


def test_an_error_while_writing_leaves_the_old_file_and_no_rubbish(tmp_path):
    target = tmp_path / "plans.csv"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"), new_file(target) as part:
        part.write_text("new")
        raise OSError("disk full")
    assert target.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["plans.csv"]


def test_a_device_or_folder_is_never_replaced_by_a_file(tmp_path):
    with pytest.raises(DataError, match="expected a file"), new_file(tmp_path) as part:
        part.write_text("x")
    assert tmp_path.is_dir()


def test_a_folder_with_other_peoples_files_is_never_replaced(tmp_path):
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="holds other files"), new_folder(documents, "cohort.json"):
        pass
    assert (documents / "letter.txt").read_text() == "dear"


def test_a_folder_of_ours_is_replaced_whole(tmp_path):
    ours = tmp_path / "cohort"
    for content in ("1", "2"):
        with new_folder(ours, "cohort.json") as part:
            (part / "cohort.json").write_text(content)
            (part / f"only_{content}").write_text("")
    assert sorted(f.name for f in ours.iterdir()) == ["cohort.json", "only_2"]
    assert [f.name for f in tmp_path.iterdir()] == ["cohort"]


def test_a_run_never_takes_the_place_of_a_cohort(tmp_path):
    cohort = tmp_path / "cohort"
    with new_folder(cohort, "cohort.json") as part:
        (part / "cohort.json").write_text("mine")
    with pytest.raises(DataError, match="holds a cohort, which is not replaced by a run"):
        need_own_folder(cohort, "config.json")
    with pytest.raises(DataError, match="holds a cohort"), new_folder(cohort, "config.json"):
        pass
    assert (cohort / "cohort.json").read_text() == "mine"


def test_the_folder_one_stands_in_can_be_written_to(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with new_folder(Path("."), "cohort.json") as part:
        (part / "cohort.json").write_text("x")
    assert [f.name for f in here.iterdir()] == ["cohort.json"]
    assert [f.name for f in tmp_path.iterdir()] == ["here"]


def test_a_folder_that_cannot_be_moved_away_leaves_no_rubbish(tmp_path, monkeypatch):
    ours = tmp_path / "cohort"
    ours.mkdir()

    def busy(self, target):
        raise OSError("device or resource busy")

    monkeypatch.setattr(files, "_exchanged", lambda part, target: False)
    monkeypatch.setattr(Path, "replace", busy)
    with pytest.raises(OSError, match="busy"), new_folder(ours, "cohort.json"):
        pass
    assert [f.name for f in tmp_path.iterdir()] == ["cohort"]


def test_an_error_while_writing_a_folder_leaves_the_old_one(tmp_path):
    ours = tmp_path / "cohort"
    with new_folder(ours, "cohort.json") as part:
        (part / "cohort.json").write_text("old")
    with pytest.raises(ValueError, match="no"), new_folder(ours, "cohort.json") as part:
        (part / "cohort.json").write_text("new")
        raise ValueError("no")
    assert (ours / "cohort.json").read_text() == "old"


def test_json_refuses_nan_instead_of_writing_what_no_reader_takes(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "report.json", {"auc": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_json_round_trip_and_its_errors(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"ü": [1, None]})
    assert read_json(file) == {"ü": [1, None]} == json.loads(file.read_text(encoding="utf-8"))
    file.write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match="expected JSON"):
        read_json(file)
    with pytest.raises(DataError, match="found none"):
        read_json(tmp_path / "b.json")


def test_the_hash_tells_where_one_file_ends_and_the_next_begins(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("12"), b.write_text("3")
    first = sha256(a, b)
    a.write_text("1"), b.write_text("23")
    assert sha256(a, b) != first
