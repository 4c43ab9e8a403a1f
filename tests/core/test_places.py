"""An address is used like a path: what is written there is read there, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import fs

from crm_models.core import places
from crm_models.core.errors import DataError
from crm_models.core.files import folder_beside, new_file, read_json, sha256, write_json
from crm_models.core.places import Remote, address_of, here, place


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """A folder that stands for object storage: `mem://bucket` is the folder `bucket` in it."""
    (tmp_path / "bucket").mkdir()
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(places, "_filesystem", lambda scheme, bucket, options: store)
    return tmp_path


def test_paths_and_addresses_are_told_apart():
    assert place("runs/a") == place(Path("runs/a")) == Path("runs/a")
    assert place("file:///data/a") == Path("/data/a")
    remote = place("s3://bucket/runs/a/?region=eu-central-1")
    assert remote == Remote(scheme="s3", path="bucket/runs/a", options="region=eu-central-1")
    assert str(remote) == "s3://bucket/runs/a"  # keys among the options are in no message
    assert place(address_of(remote)) == place(remote) == remote
    assert place(Path("s3://bucket/plans.csv")) == place("s3://bucket/plans.csv")
    assert (remote.name, remote.parent / "b.json") == ("a", remote.with_name("b.json"))


def test_a_file_is_written_whole_or_not_at_all(storage):
    file = place("mem://bucket/one.json")
    write_json(file, {"a": 1})
    assert (read_json(file), sha256(file)) == ({"a": 1}, sha256(storage / "bucket" / "one.json"))
    with pytest.raises(ZeroDivisionError), new_file(file) as part:
        part.write_text("half")
        _ = 1 / 0
    assert read_json(file) == {"a": 1}
    with pytest.raises(DataError, match=r"mem://bucket/two\.json: expected this file, found none"):
        read_json(place("mem://bucket/two.json"))


def test_a_folder_comes_here_and_a_temporary_one_goes_away(storage):
    (storage / "bucket" / "run").mkdir()  # object storage needs no folders; what stands for it here does
    write_json(place("mem://bucket/run/config.json"), [1])
    with here(place("mem://bucket/run")) as copy:
        assert (copy.name, read_json(copy / "config.json")) == ("run", [1])
    assert not copy.exists()
    with folder_beside(place("mem://bucket/plans.csv")) as folder:
        (storage / folder.path).mkdir()
        write_json(folder / "part.json", [2])
        assert (folder.is_dir(), (folder / "part.json").is_file()) == (True, True)
    assert not folder.exists()
    assert sorted(path.name for path in (storage / "bucket").iterdir()) == ["run"]


def test_storage_that_is_not_there_is_named():
    with pytest.raises(DataError, match="nowhere://bucket: expected an address such as s3://bucket/folder"):
        place("nowhere://bucket/a").exists()
