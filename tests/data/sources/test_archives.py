"""Packed files: one file inside counts as that file, several as the folder, and damaged or locked ones are refused."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources.archives import read_bytes, unpack, unpacked


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of these files."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, raw in files.items():
            archive.writestr(name, raw)
    return target.getvalue()


def inside(source: Path) -> dict[str, bytes]:
    """What a source stands for once it is unpacked: names and contents."""
    with unpacked([source]) as [found]:
        files = sorted(found.iterdir()) if found.is_dir() else [found]
        return {file.name: file.read_bytes() for file in files}


def test_gzip_and_a_zip_of_one_file_are_that_file(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"x"))
    (tmp_path / "a.zip").write_bytes(zipped({"a.csv": b"x"}))
    assert read_bytes(tmp_path / "a.csv.gz") == read_bytes(tmp_path / "a.zip") == b"x"


def test_a_zip_of_one_file_goes_by_the_name_of_the_file_inside(tmp_path):
    (tmp_path / "archive.zip").write_bytes(zipped({"ml/u.data": b"x"}))
    assert inside(tmp_path / "archive.zip") == {"u.data": b"x"}


def test_a_zip_of_several_files_is_the_folder_that_holds_them(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"ml/ratings.csv": b"r", "ml/movies.csv": b"m", "__MACOSX/x": b"junk"}))
    assert inside(tmp_path / "a.zip") == {"ratings.csv": b"r", "movies.csv": b"m"}


def test_what_was_unpacked_is_gone_afterwards(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"a.csv": b"1", "b.csv": b"2"}))
    with unpacked([tmp_path / "a.zip"]) as [folder]:
        assert folder.is_dir()
    assert not folder.exists()


def test_folders_and_plain_files_are_left_where_they_are(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"x")
    with unpacked([tmp_path, tmp_path / "a.csv", tmp_path / "none"]) as found:
        assert found == [tmp_path, tmp_path / "a.csv", tmp_path / "none"]


def locked(raw: bytes) -> bytes:
    """The same zip with the flag that says its file is encrypted."""
    at, entry = raw.index(b"PK\x03\x04"), raw.index(b"PK\x01\x02")
    raw = raw[: at + 6] + b"\x01" + raw[at + 7 :]
    return raw[: entry + 8] + b"\x01" + raw[entry + 9 :]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (gzip.compress(b"x" * 999)[:-9], "found a damaged or encrypted one"),
        (zipped({"a.csv": b"x" * 99})[:60], "found a damaged or encrypted one"),
        (locked(zipped({"a.csv": b"x"})), "found a damaged or encrypted one"),
        (zipped({"a.csv": b"x", "b.csv": b"y"}), "expected one file in the archive, found 2; unpack it first"),
        (zipped({}), "expected one file in the archive, found 0"),
        (b"\xd0\xcf\x11\xe0" + bytes(99), "found an older spreadsheet; save it as CSV"),
    ],
    ids=["cut gzip", "cut zip", "locked zip", "two files", "no file", "xls"],
)
def test_what_cannot_be_unpacked_is_refused_by_name(raw, said):
    with pytest.raises(DataError, match=said) as refusal:
        unpack(raw, "t.zip")
    assert str(refusal.value).startswith("t.zip: ")


def test_a_damaged_zip_of_a_known_form_is_refused(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"a.csv": b"x" * 99, "b.csv": b"y"})[:80])
    with pytest.raises(DataError, match=r"a.zip: expected a packed file"):
        inside(tmp_path / "a.zip")
