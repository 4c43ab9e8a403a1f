"""The processes that train a run together: on this machine, or on a Ray cluster.

With Ray, this process leads and the others are actors on the cluster, to which gloo connects it: they read the same
run folder, which therefore lies on shared storage, as for plans. (Ray's TorchTrainer would put the process that leads
on the cluster as well, but it yields the epochs to its caller, and is stopped by it.)
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from crm_models.core.engines import EngineName
from crm_models.core.errors import RunError
from crm_models.core.files import absolute
from crm_models.core.provenance import need_same, versions
from crm_models.runs.folder import RunFolder
from crm_models.runs.processes import LocalFollower, group


@contextmanager
def together(
    run: RunFolder, workers: int, engine: EngineName, address: str | None, *, device: str, threads: int | None
) -> Iterator[None]:
    """Join the processes that train a run, this one included; the others end with the block.

    engine, address: as for `engine_of`. threads: of each process. Raises `RunError` if one of them ends.
    """
    if engine == "local":
        options = ["--device", device, *(("--threads", str(threads)) if threads else ())]
        command = ("train", "--resume", str(absolute(run.folder)), *options)
        with group(workers, partial(LocalFollower, command)):
            yield
        return
    from crm_models.core.ray_engine import RayCluster
    from crm_models.models.runtime import resolve_device

    device, processors = resolve_device(device).type, threads or 1
    cluster = RayCluster(address=address, workers=max(1, workers - 1) * processors)
    with cluster.connected(), group(workers, partial(_RayFollower, run, device, processors), cluster.this_machine()):
        yield


class _RayFollower:
    """A process on the cluster that trains together with this one."""

    def __init__(self, run: RunFolder, device: str, processors: int, told: dict[str, str]) -> None:
        from crm_models.core.ray_engine import RayProcess

        self._folder, self._device, self._processors = str(absolute(run.folder)), device, processors
        self._process = RayProcess(_Following, told, processors=processors, gpus=int(device == "cuda"))

    def wait_until_ready(self) -> None:
        """Return when it is about to join. Raises `RunError` if it cannot."""
        theirs = self._process.result(self._process.begin("prepared", self._folder))
        need_same(theirs, "a process on the Ray cluster")
        self._process.begin("follow", self._folder, self._device, self._processors)

    def stop(self) -> None:
        """End the process."""
        self._process.stop()


class _Following:
    """What such a process does."""

    def prepared(self, folder: str) -> dict[str, str]:
        """Versions of what computes here. Raises `RunError` if the run folder is not to be found."""
        if not (Path(folder) / "config.json").exists():
            raise RunError(
                f"{folder}: expected the run on every machine of the cluster, found nothing on one of them; write "
                "--out to storage that all machines share"
            )
        return versions()

    def follow(self, folder: str, device: str, threads: int) -> None:
        """Train as `follow` does; an error ends the process, which is how the others learn of it."""
        from crm_models.runs.pipeline import follow

        try:
            follow(RunFolder(Path(folder)), device=device, threads=threads)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
