"""Engines give the results of all parts in order, also if a process dies, and say what went wrong."""

from __future__ import annotations

import os
import pickle
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from crm_models.core.engines import InProcess, engine_of
from crm_models.core.errors import ConfigError, DataError, RunError
from crm_models.core.local_engine import LocalProcesses


class PickledEngine(InProcess):
    """Stands for `LocalProcesses` where no process is to start: jobs and results are sent as between processes."""

    def __init__(self, workers: int) -> None:
        super().__init__(threads=1)
        self.workers = workers

    def results(self, job, n):
        return map(pickle.loads, map(pickle.dumps, super().results(pickle.loads(pickle.dumps(job)), n)))


@dataclass(frozen=True)
class Squares:
    """Squares the number of each part, and does what a test wants on the way. folder: takes a note of each try."""

    folder: Path
    slow: int = -1
    dies: int = -1
    for_ever: bool = False
    refuses: int = -1
    hangs: int = -1

    def open(self, threads: int | None) -> Squares:
        (self.folder / f"opened-{os.getpid()}-{threads}").touch()
        return self

    def read(self, k: int) -> int:
        return k

    def work(self, k: int, read: int) -> int:
        first = not (self.folder / f"tried-{k}").exists()
        (self.folder / f"tried-{k}").touch()
        if k == self.slow:
            time.sleep(0.3)
        if k == self.hangs:
            time.sleep(600)
        if k == self.dies and (first or self.for_ever):
            os.kill(os.getpid(), signal.SIGKILL)
        if k == self.refuses:
            raise DataError(f"part {k}: expected a square, found a circle")
        return read**2


def test_results_come_in_order_from_one_process_as_from_two_with_one_model_each(tmp_path):
    expected = [k**2 for k in range(9)]
    assert list(InProcess().results(Squares(tmp_path), 9)) == expected
    assert [path.name for path in tmp_path.glob("opened-*")] == [f"opened-{os.getpid()}-None"]
    assert list(LocalProcesses(2).results(Squares(tmp_path, slow=0), 9)) == expected
    assert len(list(tmp_path.glob("opened-*-1"))) == 2


def test_a_part_whose_process_dies_is_done_by_another_one(tmp_path):
    assert list(LocalProcesses(2).results(Squares(tmp_path, dies=3), 6)) == [0, 1, 4, 9, 16, 25]


def test_a_part_that_ends_every_process_is_named(tmp_path):
    with pytest.raises(RunError, match="part 1 of 2: expected a process to finish it, but 4 ended before"):
        list(LocalProcesses(1).results(Squares(tmp_path, dies=1, for_ever=True), 2))


def test_an_error_of_a_part_is_the_error_of_the_job(tmp_path):
    for engine in (InProcess(), LocalProcesses(2)):
        with pytest.raises(DataError, match="part 2: expected a square"):
            list(engine.results(Squares(tmp_path, refuses=2), 4))


def test_a_job_that_nobody_waits_for_any_more_ends(tmp_path):
    results = LocalProcesses(2).results(Squares(tmp_path), 1_000)
    assert next(results) == 0
    results.close()
    assert len(list(tmp_path.glob("tried-*"))) < 1_000


def test_processes_are_started_only_where_they_pay():
    def of(parts, **asked):
        engine = engine_of("local", parts, **{"workers": None, "address": None, "threads": None} | asked)
        return type(engine).__name__, engine.workers

    assert of(1, threads=8) == ("InProcess", 1)
    assert of(100, threads=8) == ("LocalProcesses", 8)
    assert of(6, threads=8) == ("LocalProcesses", 3)
    assert of(100, threads=1) == of(100, workers=1) == ("InProcess", 1)
    assert of(3, workers=5) == ("LocalProcesses", 3)
    assert of(1, workers=5) == ("InProcess", 1)
    with pytest.raises(ConfigError, match="needs the engine ray"):
        of(2, address="head:6379")
