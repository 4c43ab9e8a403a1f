"""A workspace is checked, repaired, backed up while it is written to, and restored whole or not at all."""

import json
import shutil
import tarfile
import threading
from pathlib import Path

import pytest

from crm_models.cli.commands import main
from crm_models.core.errors import DataError
from crm_models.core.locks import locked
from crm_models.runs.folder import RunFolder
from crm_models.upkeep.backup import backup, restore
from crm_models.upkeep.checking import check_workspace
from tests.faults.place import fresh
from tests.refusals import refused


@pytest.fixture
def workspace(one_of_everything, tmp_path) -> Path:
    return fresh(one_of_everything, tmp_path / "at")


def content(folder: Path) -> dict[str, bytes]:
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.endswith("lock"))
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


def test_a_sound_workspace_is_said_to_be_sound(workspace, capsys):
    assert main(["workspace", "check", "--workspace", str(workspace)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["cohorts: 2 sound", "runs: 2 sound", "searches: 0 sound", "campaigns: 2 sound", "jobs: 1 sound"]


def test_what_can_be_made_again_is_mended_and_the_rest_is_named(workspace, capsys):
    (workspace / "runs" / "run" / "report.json").write_text("[]")
    (workspace / "jobs" / "failed" / "gone.json").write_text("{")
    (workspace / "runs" / ".other.abcdefgh.part").mkdir()
    weights = workspace / "runs" / "other" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    before = content(workspace)
    command = ["workspace", "check", "--workspace", str(workspace)]
    assert main(command) == 2
    said = capsys.readouterr()
    assert said.out.count("to mend (--repair): ") == 3
    assert content(workspace) == before
    assert main([*command, "--repair"]) == 2
    said = capsys.readouterr()
    assert said.out.count("mended: ") == 3
    assert f"damaged: {weights}: expected the run's weights as they were written" in said.out
    assert said.err == f"error: {workspace}: expected everything to be sound, found 1 damage that no repair can mend\n"
    shutil.rmtree(weights.parent)
    assert main(command) == 0


def test_a_backup_restores_every_byte_and_the_new_place_is_known(workspace, tmp_path):
    about = backup(workspace, tmp_path / "b.tar.gz")
    elsewhere = tmp_path / "elsewhere"
    restore(tmp_path / "b.tar.gz", elsewhere)
    places = {"runs/run/config.json", "runs/other/config.json"}
    places |= {f"campaigns/{name}/campaign.json" for name in ("small", "sent")}
    then, now = content(workspace), content(elsewhere)
    assert set(now) == set(then) == set(about["content"])
    assert {name for name in now if now[name] != then[name]} == places
    assert RunFolder(elsewhere / "runs" / "run").about()["cohort"] == str(elsewhere / "cohorts" / "small")
    assert check_workspace(elsewhere).damaged == []
    for name in ("runs/run/weights.safetensors", "cohorts/small/cohort.json"):
        assert (elsewhere / name).stat().st_mtime_ns == (workspace / name).stat().st_mtime_ns


def test_a_restore_replaces_nothing_without_being_told_and_nothing_in_use(workspace, tmp_path, capsys):
    archive = tmp_path / "b.tar"
    backup(workspace, archive)
    (workspace / "runs" / "later").mkdir()
    command = ("workspace", "restore", archive, "--workspace", workspace)
    assert "holds something already" in refused(capsys, *command)
    with locked(workspace / "runs" / "run" / "lock"):
        assert "in use" in refused(capsys, *command, "--overwrite")
    assert (workspace / "runs" / "later").exists()
    restore(archive, workspace, overwrite=True)
    assert not (workspace / "runs" / "later").exists()


def test_a_damaged_or_foreign_archive_restores_nothing(workspace, tmp_path):
    archive, target = tmp_path / "b.tar", tmp_path / "new"
    backup(workspace, archive)
    whole = archive.read_bytes()
    place = whole.index((workspace / "plans.csv").read_bytes()[:40])
    for broken in (whole[: len(whole) // 2], whole[:place] + b"X" + whole[place + 1 :], b"", b"no archive"):
        archive.write_bytes(broken)
        with pytest.raises(DataError, match="expected a backup of a workspace"):
            restore(archive, target)
        assert not target.exists()
    with tarfile.open(archive, "w") as other:
        other.add(workspace / "plans.csv", "../plans.csv")
    with pytest.raises(DataError, match="found another archive"):
        restore(archive, target)
    with pytest.raises(DataError, match="found no such file"):
        restore(tmp_path / "none.tar", target)


def test_a_backup_beside_writers_is_consistent(workspace, tmp_path):
    """A campaign whose decisions and record are replaced all the time is taken in one of its states."""
    ended = threading.Event()

    def write() -> None:
        budget = 10
        while not ended.is_set():
            main(["campaign", "allocate", str(workspace / "campaigns" / "small"), "--budget", str(budget), "--quiet"])
            budget += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for k in range(3):
            backup(workspace, tmp_path / "b.tar")
            restore(tmp_path / "b.tar", tmp_path / f"at-{k}")
            assert check_workspace(tmp_path / f"at-{k}").damaged == []
    finally:
        ended.set()
        writer.join()


def test_a_backup_of_a_newer_version_is_refused(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr("crm_models.upkeep.backup.FORMAT", 2)
    backup(workspace, tmp_path / "b.tar")
    with pytest.raises(DataError, match=r"b.tar, backup.json: a backup written by a newer version .*update"):
        restore(tmp_path / "b.tar", tmp_path / "new")


@pytest.mark.parametrize("file", ["runs/run/config.json", "campaigns/sent/campaign.json", "cohorts/small/cohort.json"])
def test_what_a_newer_version_wrote_is_refused_in_one_sentence(workspace, capsys, file):
    about = json.loads((workspace / file).read_text())
    (workspace / file).write_text(json.dumps(about | {"format": 2}))
    folder = (workspace / file).parent
    command = {"run": ("evaluate",), "campaign": ("campaign", "check"), "cohort": ("check",)}
    kind = {"config.json": "run", "campaign.json": "campaign", "cohort.json": "cohort"}[folder.joinpath(file).name]
    said = refused(capsys, *command[kind], folder)
    assert f"a {kind} written by a newer version of this program (format 2; this version reads up to 1)" in said
