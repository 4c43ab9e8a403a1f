"""Engines: do the same job for each part of a cohort, in this process, in processes beside it, or on a cluster.

A job and what it returns are small and travel between processes; tables are read and written where they are needed.
Every engine yields the same results in the same order. Each process computes with one thread, because two processes
are faster than two threads, and because the number of threads must not change a digit.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol, TypeVar

from crm_models.core.errors import ConfigError, CrmError, RunError
from crm_models.core.prefetch import prefetch

EngineName = Literal["local", "ray"]
ENGINES: tuple[EngineName, ...] = ("local", "ray")

TRIES = 4
"""How often a part is begun before its job fails, each time in a process that ended before the part was done."""

PARTS_PER_PROCESS = 2
"""Parts from which a further process pays for its start, some two seconds."""

Result = TypeVar("Result", covariant=True)
Handle = TypeVar("Handle")


class Opened(Protocol[Result]):
    """A job in the process that does it, with models and files open."""

    def read(self, k: int) -> Any:
        """What part k needs from the disk; in this process, read while the part before is computed."""
        ...

    def work(self, k: int, read: Any) -> Result:
        """The result of part k."""
        ...


class Job(Protocol[Result]):
    """What to do for each part. Doing a part again changes nothing, because a process may die when it is done."""

    def open(self, threads: int | None) -> Opened[Result]:
        """Open models and files, once in each process."""
        ...


class Engine(Protocol):
    """Does jobs. name, workers: for the record."""

    name: str
    workers: int

    def connected(self) -> AbstractContextManager[None]:
        """Keep between several jobs what is costly to start."""
        ...

    def results(self, job: Job[Result], n: int) -> Iterator[Result]:
        """The results of parts 0 to n - 1, in this order."""
        ...


class InProcess:
    """All parts in this process. threads: of the computation; None: all cores."""

    name = "local"
    workers = 1

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads

    def connected(self) -> AbstractContextManager[None]:
        """Nothing is to be kept."""
        return nullcontext()

    def results(self, job: Job[Result], n: int) -> Iterator[Result]:
        """The results of parts 0 to n - 1, in this order."""
        opened = job.open(self.threads)
        for k, read in enumerate(prefetch(opened.read(k) for k in range(n))):
            yield opened.work(k, read)


def engine_of(name: EngineName, parts: int, *, workers: int | None, address: str | None, threads: int | None) -> Engine:
    """The engine for a job of so many parts.

    workers: processes; by default one for each of `threads`, but no more than pay for their start. address: of a Ray
    cluster; None: this machine. Raises `ConfigError` for what the engine does not know.
    """
    need_engine(name, address)
    if name == "ray":
        from crm_models.core.ray_engine import RayCluster

        return RayCluster(address=address, workers=workers)
    if workers is None:
        workers = min(threads or cores(), parts // PARTS_PER_PROCESS)
    if min(workers, parts) < 2:
        return InProcess(threads)
    from crm_models.core.local_engine import LocalProcesses

    return LocalProcesses(min(workers, parts))


def need_engine(name: EngineName, address: str | None) -> None:
    """`ConfigError` for an address that the engine does not have."""
    if name == "local" and address is not None:
        raise ConfigError(f"an address is that of a Ray cluster and needs the engine ray; found {address!r}")


def cores() -> int:
    """Cores that this process may use; `OMP_NUM_THREADS` limits them."""
    from loky import cpu_count

    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else int(cpu_count())


# ---- several processes -----------------------------------------------------------------------------------------------


class ProcessLostError(Exception):
    """The process that had a part ended before the part was done."""


class Pool(Protocol[Handle]):
    """Processes that are given one part at a time each; `results_of` keeps them busy."""

    size: int

    def submit(self, token: str, job: Job[Any], k: int) -> Handle:
        """Give part k to a process, which calls `do_part`."""
        ...

    def wait(self, handles: list[Handle]) -> list[Handle]:
        """Those that are done; waits for one at least."""
        ...

    def result(self, handle: Handle) -> Any:
        """What `do_part` returned. `ProcessLostError` if its process ended before."""
        ...


def results_of(pool: Pool[Handle], job: Job[Result], n: int) -> Iterator[Result]:
    """The results of parts 0 to n - 1, in this order; a part whose process ends is given to another one."""
    token = uuid.uuid4().hex
    waiting, running = list(range(n - 1, -1, -1)), dict[Handle, int]()
    done, tries = dict[int, Result](), Counter[int]()
    for next_k in range(n):
        while next_k not in done:
            # Parts far ahead of one that takes long are not begun, so that few results wait in memory.
            while waiting and len(running) < pool.size and waiting[-1] < next_k + 4 * pool.size:
                k = waiting.pop()
                running[pool.submit(token, job, k)] = k
            for handle in pool.wait(list(running)):
                k = running.pop(handle)
                try:
                    done[k] = _value(pool.result(handle))
                except ProcessLostError as error:
                    tries[k] += 1
                    if tries[k] == TRIES:
                        raise RunError(
                            f"part {k} of {n}: expected a process to finish it, but {TRIES} ended before ({error}); "
                            "if memory is short, use fewer --workers"
                        ) from None
                    waiting.append(k)
                    waiting.sort(reverse=True)
        yield done.pop(next_k)


def _value(returned: Any) -> Any:
    if isinstance(returned, Exception):
        raise returned
    return returned


_opened: dict[str, Opened[Any]] = {}
"""The job that is open in this process, by its token: one model in memory, however many parts the process does."""


def do_part(token: str, job: Job[Any], k: int) -> Any:
    """Part k of a job, in a process of its own; an error that the user can act on is returned instead of raised."""
    try:
        if token not in _opened:
            _opened.clear()
            _opened[token] = job.open(threads=1)
        opened = _opened[token]
        return opened.work(k, opened.read(k))
    except (CrmError, OSError, MemoryError) as error:
        return error
