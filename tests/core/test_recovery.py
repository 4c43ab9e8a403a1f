"""A process killed between two renames leaves the old state or the new one, after the next start at the latest."""

import os

import pytest

from crm_models.core import files
from crm_models.core.files import MOVES, OLD, delete_folder, new_file, new_files, new_folder
from crm_models.core.recovery import leftovers, recover, recover_path, recover_workspace
from tests.faults.interception import AtOperation, Counting, kill, no_space


def in_fork(work, version, arm) -> int:
    """The exit status of some work in a process with a fault."""
    child = os.fork()
    if child == 0:
        try:
            arm()
            work(version)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kills(work, tmp_path, fault=kill):
    """Kill the work, which writes a version, at each of its operations on files, or fail it; versions count from 1."""
    in_fork(work, 0, Counting(tmp_path.parent / "count"))
    for number in range(1, (tmp_path.parent / "count").stat().st_size + 1):
        in_fork(work, number, AtOperation(number, fault))
        yield number


@pytest.mark.parametrize("fault", [kill, no_space])
def test_files_that_belong_together_are_all_old_or_all_new(tmp_path, fault):
    pair = [tmp_path / "plans.csv", tmp_path / "plans.manifest.json"]

    def write(version) -> None:
        with new_files() as part_of:
            for file in pair:
                part_of(file).write_text(f"version {version}")

    write(0)
    before, seen = "version 0", set()
    for version in kills(write, tmp_path, fault):  # `write` reads it
        recover_path(pair[0])
        (now,) = {file.read_text() for file in pair}
        assert now in (before, f"version {version}")
        seen.add(now == before)
        before = now
        assert sorted(f.name for f in tmp_path.iterdir()) == ["plans.csv", "plans.manifest.json"]
    assert seen == {True, False}


@pytest.mark.parametrize("in_one_step", [True, False])
def test_a_folder_is_old_or_new_and_never_gone(tmp_path, monkeypatch, in_one_step):
    if not in_one_step:  # another system than Linux
        monkeypatch.setattr(files, "_exchanged", lambda part, target: False)
    target = tmp_path / "cohort"

    def write(version) -> None:
        with new_folder(target, "cohort.json") as part:
            (part / "cohort.json").write_text(f"version {version}")

    write(0)
    before = "version 0"
    for version in kills(write, tmp_path):  # `write` reads it
        if in_one_step:
            assert target.exists()
        recover(tmp_path)
        before, was = (target / "cohort.json").read_text(), before
        assert before in (was, f"version {version}")
        assert [f.name for f in tmp_path.iterdir()] == ["cohort"]


def test_a_deleted_folder_is_there_or_gone_and_does_not_come_back(tmp_path):
    target = tmp_path / "run"

    def delete(version) -> None:
        delete_folder(target)

    target.mkdir()
    (target / "config.json").touch()
    for _ in kills(delete, tmp_path):
        was_there = target.exists()
        recover(tmp_path)
        assert target.exists() == was_there
        target.mkdir(exist_ok=True)
        (target / "config.json").touch()


def test_what_a_living_process_writes_is_left_alone(tmp_path):
    with new_file(tmp_path / "a") as part, new_folder(tmp_path / "run", "config.json") as folder:
        assert leftovers(tmp_path) == []
        assert recover(tmp_path) == []
        assert part.exists()
        assert folder.exists()


def test_leftovers_of_earlier_versions_are_put_back_or_removed_and_said(tmp_path):
    runs = tmp_path / "runs"
    replaced, deleted = runs / f".first.abcdefgh{OLD}" / "old", runs / f".second.1764180000000000000{OLD}"
    job = tmp_path / "jobs" / "queue" / ".1-x.json.4711.part"
    for folder in (replaced, deleted, job.parent):
        folder.mkdir(parents=True)
    (replaced / "config.json").write_text("mine")
    job.touch()
    said = recover_workspace(tmp_path)
    assert (runs / "first" / "config.json").read_text() == "mine"
    assert sorted(f.name for f in runs.iterdir()) == ["first"]
    assert not job.exists()
    assert len(said) == 3
    assert "first: put back" in " ".join(said)


def test_a_made_up_list_of_renames_moves_nothing_else(tmp_path):
    mine, other = tmp_path / "letter.txt", tmp_path / "other.txt"
    mine.write_text("dear")
    (tmp_path / f".x.abcdefgh{MOVES}").write_text(f'[["{mine}", "{other}"]]')
    assert recover(tmp_path) == []
    assert mine.read_text() == "dear"
    assert [f.name for f in tmp_path.iterdir()] == ["letter.txt"]
