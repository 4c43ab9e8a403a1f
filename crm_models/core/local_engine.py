"""Processes on this machine, by loky: it starts them without running the caller's script again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from loky import ProcessPoolExecutor
from loky.process_executor import BrokenProcessPool

from crm_models.core.engines import Job, ProcessLostError, do_part, results_of

IDLE_SECONDS = 10
"""A process without work for so long ends by itself, also if this one was killed."""

Result = TypeVar("Result", covariant=True)


class LocalProcesses:
    """An engine of `workers` processes on this machine."""

    name = "local"

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def connected(self) -> AbstractContextManager[None]:
        """Nothing is kept: each job has processes of its own, which start in two seconds."""
        return nullcontext()

    def results(self, job: Job[Result], n: int) -> Iterator[Result]:
        """The results of parts 0 to n - 1, in this order."""
        pool = _Pool(min(self.workers, n))
        try:
            yield from results_of(pool, job, n)
        finally:
            pool.close()


class _Pool:
    def __init__(self, size: int) -> None:
        self.size = size
        self._executor = self._started()

    def _started(self) -> Any:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        return ProcessPoolExecutor(self.size, timeout=IDLE_SECONDS, env=one_thread)

    def submit(self, token: str, job: Job[Any], k: int) -> Future[Any]:
        try:
            return self._executor.submit(do_part, token, job, k)
        except BrokenProcessPool:  # with one process lost, an executor takes no more work
            self.close()
            self._executor = self._started()
            return self._executor.submit(do_part, token, job, k)

    def wait(self, handles: list[Future[Any]]) -> list[Future[Any]]:
        return list(wait(handles, return_when=FIRST_COMPLETED).done)

    def result(self, handle: Future[Any]) -> Any:
        try:
            return handle.result()
        except BrokenProcessPool as error:
            raise ProcessLostError(" ".join(str(error).split())) from None

    def close(self) -> None:
        self._executor.shutdown(wait=True, kill_workers=True)
