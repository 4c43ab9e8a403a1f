"""A run folder tells the truth about itself: running, finished, stopped, failed or interrupted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from crm_models.core.errors import DataError, RunError
from crm_models.core.files import write_json
from crm_models.runs.folder import ABOUT, RunFolder

EPOCH = {"model": "churn", "n_epochs": 3, "train_loss": 0.7, "valid_loss": None, "best": True}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    write_json(tmp_path / "config.json", {"format": 1} | {name: kind() for name, kind in ABOUT.items()})
    folder = RunFolder(tmp_path)
    folder.record("created")
    return folder


def end(run: RunFolder, state: str, reason: str = "") -> None:
    write_json(run.folder / "result.json", {"state": state, "reason": reason, "models": {"churn": {}}, "seconds": 2.0})


def test_a_run_that_nobody_works_on_and_that_has_no_result_was_interrupted(run):
    run.record("epoch", epoch=1, seconds=0.5, **EPOCH)
    status = run.status()
    assert status.state == "interrupted"
    assert "after epoch 1 of the churn model" in status.reason
    assert "--resume" in status.reason
    assert status.is_over
    assert not status.has_weights


def test_a_run_is_running_while_a_process_holds_its_lock_and_not_a_moment_longer(run):
    with run.locked():
        assert run.status().state == "running"
        assert not run.status().is_over
    assert run.status().state == "interrupted"


def test_a_killed_process_lets_go_of_the_lock(run):
    code = (
        "import sys, time; from crm_models.runs.folder import RunFolder\n"
        f"with RunFolder({str(run.folder)!r}).locked():\n    print('held', flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout.readline() == "held\n"
        assert run.status().state == "running"
        process.kill()
        process.wait()
    assert run.status().state == "interrupted"


def test_two_processes_cannot_train_in_one_folder(run):
    with run.locked(), pytest.raises(RunError, match="another process"), run.locked():
        pass


@pytest.mark.parametrize(("state", "usable"), [("finished", True), ("stopped", True), ("failed", False)])
def test_the_result_says_how_a_run_ended(run, state, usable):
    end(run, state, "the loss became infinite")
    assert (run.status().state, run.status().has_weights) == (state, usable)
    assert run.status().seconds == 2.0


def test_an_epoch_repeated_after_a_resume_counts_once_and_the_later_one_stands(run):
    run.record("epoch", epoch=1, seconds=0.5, **EPOCH)
    run.record("epoch", epoch=2, seconds=0.9, **EPOCH)
    run.record("epoch", epoch=2, seconds=1.1, **EPOCH | {"train_loss": 0.6})
    assert [(e.epoch, e.train_loss) for e in run.status().epochs] == [(1, 0.7), (2, 0.6)]


def test_an_epoch_of_a_phase_that_is_gone_is_read_without_it(run):
    run.record("epoch", epoch=1, seconds=0.5, **EPOCH, pretraining=True)
    run.record("epoch", epoch=2, seconds=0.5, **EPOCH, short_phase=True, refit=True)
    assert [epoch.final_refit for epoch in run.status().epochs] == [False, True]


def test_a_line_cut_off_by_a_crash_is_left_out(run):
    run.record("epoch", epoch=1, seconds=0.5, **EPOCH)
    with (run.folder / "events.jsonl").open("a") as handle:
        handle.write('{"event": "epoch", "epo')
    assert len(run.status().epochs) == 1
    run.record("epoch", epoch=2, seconds=0.9, **EPOCH)
    assert [e.epoch for e in run.status().epochs] == [1, 2]


def test_every_line_is_json_with_a_time(run):
    run.record("stopped")
    lines = (run.folder / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["created", "stopped"]
    assert all(json.loads(line)["at"].endswith("+00:00") for line in lines)


def test_a_stop_is_a_request_in_the_folder(run):
    assert not run.stop_requested()
    run.request_stop()
    assert RunFolder(run.folder).stop_requested()


@pytest.mark.parametrize("state", ["failed", None])
def test_asking_for_weights_that_are_not_there_says_why_and_what_to_do(run, state):
    if state:
        end(run, state, "the loss became infinite")
    with pytest.raises(RunError, match="the loss became infinite" if state else "resume"):
        run.need_weights()


def test_a_folder_that_holds_no_run_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="make one with `train`"):
        RunFolder(tmp_path / "none").about()


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": "2"},
        {"train_loss": None},
        {"best": 1},
        {"seconds": "x"},
        {"model": "both"},
        {"model": []},
        {"epoch": 0},
    ],
)
def test_an_event_of_wrong_types_is_left_out(run, wrong):
    run.record("epoch", **{"epoch": 1, "seconds": 0.5} | EPOCH)
    run.record("epoch", **{"epoch": 2, "seconds": 0.5} | EPOCH | wrong)
    assert [epoch.epoch for epoch in run.status().epochs] == [1]


@pytest.mark.parametrize("wrong", [{"models": []}, {"models": {"churn": 3}}, {"state": "gone"}, {"seconds": "2"}])
def test_a_result_of_wrong_types_is_named(run, wrong):
    content = {"state": "finished", "reason": "", "models": {}, "seconds": 2.0} | wrong
    write_json(run.folder / "result.json", content)
    with pytest.raises(DataError, match=r"result.json: expected the result of a run.*train it again"):
        run.status()


@pytest.mark.parametrize(
    "content", [{}, {"sequence": None}, {"sequence": None, "churn": {}}, [], {"sequence": 1, "churn": 2}]
)
def test_a_report_that_is_none_is_named(run, content):
    write_json(run.folder / "report.json", content)
    with pytest.raises(DataError, match=r"report.json: expected the scores of a run.*evaluate the run again"):
        run.report()
