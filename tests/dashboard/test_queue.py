"""The queue of trainings: on disk, one at a time, stoppable at every stage, and alive after any kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from crm_models import workflow
from crm_models.runs.folder import RunFolder
from dashboard.jobs import queue, worker
from dashboard.jobs.command import CommandProcess
from dashboard.jobs.queue import Job, JobFolder, last_error
from dashboard.jobs.worker import yield_to_the_page


def wait_until(true, seconds: float = 180) -> None:
    """Wait for what other processes do at the lowest priority; a busy machine is no failure."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """A queue that nobody works on."""
    monkeypatch.setattr(JobFolder, "_start_runner", lambda self: None)
    return JobFolder(tmp_path / "workspace")


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobFolder]:
    """A queue with a real, warm runner, over a small cohort `c`; one for all tests here, since it takes seconds."""
    folder = JobFolder(tmp_path_factory.mktemp("busy") / "workspace")
    workflow.generate(folder.workspace / "cohorts" / "c", scenario="lifelike", customers=150)
    folder.warm_up()
    yield folder
    for job in folder.jobs():
        folder.stop(job.job.run)
    (folder.folder / "wanted").unlink()
    wait_until(lambda: not folder.is_working())


def test_jobs_wait_in_the_order_they_came(idle):
    for name in ("b", "a", "c"):
        idle.add(Job(run=name, cohort="x", arguments=("--seed", "1"), about="standard preset"))
    assert [(j.job.run, j.state, j.place) for j in idle.jobs()] == [
        ("b", "waiting", 1),
        ("a", "waiting", 2),
        ("c", "waiting", 3),
    ]
    assert idle.jobs()[0].job == Job(run="b", cohort="x", arguments=("--seed", "1"), about="standard preset")


def test_a_waiting_job_that_is_stopped_or_forgotten_leaves_the_queue(idle):
    for name in ("one", "two", "three-one"):
        idle.add(Job(run=name, cohort="x"))
    idle.stop("one")
    idle.forget("two")
    assert [j.job.run for j in idle.jobs()] == ["three-one"]


@pytest.mark.parametrize("reads", range(4))
def test_a_job_that_is_begun_while_somebody_looks_is_not_missed(idle, monkeypatch, reads):
    """It is begun as the worker does it, after the first, second, ... file that the look reads."""
    job = Job(run="a", cohort="x")
    idle.add(job)
    (file,) = idle.waiting()
    read, looked = queue._read, []

    def read_and_begin(path):
        content = read(path)
        looked.append(path)
        if len(looked) == reads + 1:
            idle.note(job, "training")
            file.unlink()
        return content

    monkeypatch.setattr(queue, "_read", read_and_begin)
    assert {at_work.job.run for at_work in idle.jobs()} == {"a"}


def test_a_damaged_job_file_is_passed_over(idle):
    idle.add(Job(run="one", cohort="x"))
    next((idle.folder / "queue").glob("*.json")).write_text("{")
    assert idle.jobs() == []


def test_the_last_error_of_a_log_is_the_reason(tmp_path):
    log = tmp_path / "r.log"
    assert last_error(log) == ""
    log.write_text("loading\nerror: no rows\nerror: expected labels, found none\n\n")
    assert last_error(log) == "expected labels, found none"
    assert last_error(log, begin=8) == "expected labels, found none"
    log.write_text("killed\n")
    assert last_error(log) == "killed"


def test_a_runner_that_fails_at_once_is_not_started_with_every_look_and_the_reason_is_told(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(JobFolder, "_start_runner", lambda self: started.append(1))
    folder = JobFolder(tmp_path / "workspace")
    folder.add(Job(run="one", cohort="x"))
    for _ in range(5):
        folder.keep_going()
    assert len(started) == 1
    assert folder.trouble() == ""
    (folder.folder / "runner.log").write_text("Traceback\nImportError: no torch here\n")
    os.utime(folder.folder / "started", (1, 1))
    assert folder.trouble() == "ImportError: no torch here"
    folder.keep_going()
    assert len(started) == 2


class Clock:
    """Time that passes only in sleep; `at_sleep` happens in the third one."""

    def __init__(self, at_sleep=lambda: None) -> None:
        self.now, self.sleeps, self.at_sleep = 0.0, 0, at_sleep

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now, self.sleeps = self.now + seconds, self.sleeps + 1
        if self.sleeps == 3:
            self.at_sleep()


def waited(idle: JobFolder, run: str, monkeypatch, at_sleep=lambda: None) -> Clock:
    """The clock after a click has waited for a worker to take the run."""
    clock = Clock(at_sleep)
    with monkeypatch.context() as patched:
        patched.setattr(queue.time, "monotonic", clock.monotonic)
        patched.setattr(queue.time, "sleep", clock.sleep)
        idle.wait_until_taken(run)
    return clock


def test_a_click_waits_for_a_ready_worker_that_takes_the_run(idle, monkeypatch):
    idle.add(Job(run="one", cohort="x"))
    monkeypatch.setattr(JobFolder, "is_working", lambda self: True)
    clock = waited(idle, "one", monkeypatch, lambda: idle.note(Job(run="one", cohort="x"), "training"))
    assert clock.sleeps == 3
    assert [job.job.run for job in idle.jobs() if job.state == "training"] == ["one"]


def test_a_click_does_not_wait_longer_than_is_comfortable(idle, monkeypatch):
    idle.add(Job(run="one", cohort="x"))
    monkeypatch.setattr(JobFolder, "is_working", lambda self: True)
    assert waited(idle, "one", monkeypatch).now == pytest.approx(queue.TAKEN_SECONDS, abs=0.02)


def test_a_click_waits_for_no_worker_that_is_away_busy_or_has_another_run_first(idle, monkeypatch):
    idle.add(Job(run="one", cohort="x"))
    assert waited(idle, "one", monkeypatch).sleeps == 0, "nobody works"
    monkeypatch.setattr(JobFolder, "is_working", lambda self: True)
    assert waited(idle, "two", monkeypatch).sleeps == 0, "another run is first in line"
    idle.note(Job(run="one", cohort="x"), "training")
    idle.add(Job(run="two", cohort="x"))
    assert waited(idle, "two", monkeypatch).sleeps == 0, "the worker is busy"


def test_a_process_yields_with_all_its_threads():
    busy = (
        "import threading, time; [threading.Thread(target=time.sleep, args=(30,)).start() for _ in range(2)]; print(1)"
    )
    with subprocess.Popen([sys.executable, "-u", "-c", busy], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield_to_the_page(process.pid)
        threads = os.listdir(f"/proc/{process.pid}/task")
        least = os.getpriority(os.PRIO_PROCESS, 0)
        assert len(threads) == 3
        assert {os.getpriority(os.PRIO_PROCESS, int(t)) for t in threads} == {max(worker.NICENESS, least)}
        process.kill()


def session_priority(pid: int) -> int | None:
    """The niceness of a process's session ("/autogroup-7 nice 10"); None where Linux shares out by process alone."""
    file = Path(f"/proc/{pid}/autogroup")
    words = file.read_text().split() if file.exists() else []
    return int(words[-1]) if words else None


@pytest.mark.slow
def test_a_training_has_priority_at_first_and_scoring_never(busy):
    here = os.getpriority(os.PRIO_PROCESS, 0)
    busy.add(
        Job(run="eager", cohort="c", arguments=("--epochs", "500", "--set", "sequence_training.patience_epochs=500"))
    )
    run = RunFolder(busy.runs / "eager")
    wait_until(lambda: run.status().epochs)
    child = int((busy.folder / "child.pid").read_text())
    assert os.getpriority(os.PRIO_PROCESS, child) == here
    assert session_priority(child) in (0, None)
    wait_until(lambda: os.getpriority(os.PRIO_PROCESS, child) == max(worker.NICENESS, here), worker.EAGER_SECONDS + 10)
    wait_until(lambda: session_priority(child) in (worker.NICENESS, None))
    busy.stop("eager")
    wait_until(lambda: any(j.state == "scoring" for j in busy.jobs()) and run.result() is not None)
    assert session_priority(int((busy.folder / "runner.pid").read_text())) in (worker.NICENESS, None)
    wait_until(lambda: not busy.jobs())


@pytest.mark.slow
def test_a_queue_is_worked_off_with_report_and_scores(busy):
    for name in ("one", "two"):
        busy.add(Job(run=name, cohort="c", arguments=("--preset", "paper", "--epochs", "2")))
    seen: set[tuple[str, str]] = set()

    def over() -> bool:
        seen.update((j.job.run, j.state) for j in busy.jobs())
        return not busy.jobs()

    wait_until(over)
    assert ("two", "waiting") in seen
    for name in ("one", "two"):
        run = RunFolder(busy.runs / name)
        assert run.status().state == "finished"
        assert (run.folder / "report.json").exists()
        assert (run.folder / "scores" / "c.parquet").exists()
    assert busy.failures() == []


@pytest.mark.slow
def test_a_training_that_cannot_begin_says_why_and_the_next_one_goes_on(busy):
    busy.add(Job(run="bad", cohort="nowhere"))
    busy.add(Job(run="good", cohort="c", arguments=("--preset", "paper", "--epochs", "1")))
    wait_until(lambda: not busy.jobs())
    assert [f.job.run for f in busy.failures()] == ["bad"]
    assert "expected a cohort folder" in busy.failures()[0].reason
    assert RunFolder(busy.runs / "good").status().state == "finished"
    busy.forget("bad")
    assert busy.failures() == []


@pytest.mark.slow
def test_a_training_stops_on_request_and_can_be_used(busy):
    busy.add(
        Job(run="long", cohort="c", arguments=("--epochs", "500", "--set", "sequence_training.patience_epochs=500"))
    )
    run = RunFolder(busy.runs / "long")
    wait_until(lambda: run.status().epochs)
    busy.stop("long")
    assert busy.stop_is_asked("long")
    wait_until(lambda: run.result() is not None)
    assert run.status().state == "stopped"
    assert len(run.status().epochs) < 500
    wait_until(lambda: not busy.jobs())
    assert (run.folder / "report.json").exists()


@pytest.mark.slow
def test_a_stop_before_the_training_began_leaves_nothing_behind(busy):
    busy.add(Job(run="early", cohort="c", arguments=("--epochs", "500")))
    wait_until(lambda: any(j.state == "training" for j in busy.jobs()))
    busy.stop("early")
    wait_until(lambda: not busy.jobs(), 20)
    state = RunFolder(busy.runs / "early")
    assert not (state.folder / "config.json").exists() or state.status().state in ("stopped", "interrupted")
    assert busy.failures() == []


@pytest.mark.slow
def test_a_killed_runner_loses_neither_the_training_nor_its_scores(busy):
    busy.add(Job(run="orphan", cohort="c", arguments=("--epochs", "6")))
    run = RunFolder(busy.runs / "orphan")
    wait_until(lambda: run.status().epochs)
    pid = int((busy.folder / "runner.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not busy.is_working())
    assert run.is_alive(), "the training is a process of its own and goes on"
    wait_until(lambda: busy.keep_going() or not busy.jobs())  # as every look of a page does
    assert run.status().state == "finished"
    assert (run.folder / "scores" / "c.parquet").exists()


@pytest.mark.slow
def test_a_killed_training_is_interrupted_and_goes_on_when_asked(busy):
    busy.add(Job(run="cut", cohort="c", arguments=("--epochs", "8")))
    run = RunFolder(busy.runs / "cut")
    wait_until(lambda: run.status().epochs)
    os.kill(int((busy.folder / "child.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: not busy.jobs())
    assert run.status().state == "interrupted"
    busy.add(Job(run="cut", cohort="c", task="resume"))
    wait_until(lambda: not busy.jobs())
    assert run.status().state == "finished"
    assert [e.epoch for e in run.status().epochs if e.model == "sequence"] == list(range(1, 9))


@pytest.mark.slow
def test_a_training_that_does_not_stop_is_aborted_and_its_log_says_where_it_was(busy, monkeypatch):
    busy.add(
        Job(run="deaf", cohort="c", arguments=("--epochs", "500", "--set", "sequence_training.patience_epochs=500"))
    )
    run = RunFolder(busy.runs / "deaf")
    wait_until(lambda: run.status().epochs)
    pid = int((busy.folder / "child.pid").read_text())
    process = SimpleNamespace(
        pid=pid, send_signal=lambda number: os.kill(pid, number), terminate=lambda: pytest.fail("it has a run folder")
    )
    command = SimpleNamespace(process=process, has_begun=True, status=lambda: None if run.is_alive() else -6)
    monkeypatch.setattr(worker, "STOP_SECONDS", 0.0)
    # A second look at the same process, by a runner whose stop requests do not reach the training.
    monkeypatch.setattr(JobFolder, "ask_to_stop", lambda self, run: None)
    (busy.folder / "stop").mkdir(exist_ok=True)
    (busy.folder / "stop" / "deaf").touch()
    assert worker.Runner(busy)._watch(Job(run="deaf", cohort="c"), command) == (-6, True)
    wait_until(lambda: not busy.jobs())
    assert run.status().state == "interrupted"
    log = busy.log("deaf").read_text()
    assert "Aborted" in log
    assert "/crm_models/" in log


def test_a_command_whose_libraries_cannot_be_loaded_says_why(tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(JobFolder, "_start_runner", lambda self: None)
    jobs = JobFolder(tmp_path / "workspace")
    workflow.generate(jobs.workspace / "cohorts" / "c", scenario="lifelike", customers=20)
    jobs.add(Job(run="one", cohort="c"))
    worker.Runner(jobs).work()
    assert jobs.jobs() == []
    (failure,) = jobs.failures()
    assert "no torch here" in failure.reason


def test_a_command_that_ends_as_soon_as_it_begins_is_seen_to_end(tmp_path):
    """Both of its answers are then there at once."""
    process = CommandProcess(0)
    process.begin(["check", str(tmp_path / "nowhere")], tmp_path / "log", 0)
    wait_until(lambda: "error" in (tmp_path / "log").read_text() if (tmp_path / "log").exists() else False)
    time.sleep(0.5)
    seen = [process.status(), process.has_begun, process.status()]
    process.dismiss()
    assert seen == [None, True, 2]
