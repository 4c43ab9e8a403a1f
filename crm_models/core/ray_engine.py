"""A Ray cluster, or Ray on this machine (`pip install -r requirements-ray.txt`)."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from crm_models.core.engines import Job, ProcessLostError, do_part, results_of
from crm_models.core.errors import ConfigError, RunError

try:
    import ray
except ImportError:  # an extra
    ray = None

CHECK_SECONDS = 5
"""While no part is done, the cluster is looked at so often."""
CHECKS = 6
"""Looks in a row at a cluster that does not answer, or has no processor left, until the job fails."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray reports its use to its makers, unless told not to
    "RAY_worker_niceness": "0",  # its processes give way to all others, which makes it slower than local ones
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",  # after which it ends this process without an error; we are sooner
}
"""Settings of Ray where the user has none."""

Result = TypeVar("Result", covariant=True)


class RayCluster:
    """An engine of Ray tasks. address: of the cluster, as host:port; None: Ray is started here, then ended.

    workers: most tasks at a time; by default one for each processor of the cluster. The code of this package travels
    with the job; each machine needs the same versions of the packages in requirements.lock.
    """

    name = "ray"

    def __init__(self, *, address: str | None = None, workers: int | None = None) -> None:
        if ray is None:
            raise ConfigError("the engine ray needs the package ray; add it with `pip install -r requirements-ray.txt`")
        self._address, self._asked = address, workers
        self.workers = workers or 1

    def results(self, job: Job[Result], n: int) -> Iterator[Result]:
        """The results of parts 0 to n - 1, in this order. `RunError` if the cluster goes away."""
        with self.connected():
            self.workers = self._asked or max(1, int(ray.cluster_resources().get("CPU", 1)))
            yield from results_of(_Pool(min(self.workers, n)), job, n)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Be connected to the cluster; `RunError` if it cannot be reached."""
        ours = not ray.is_initialized()  # a notebook may be connected already, and stays so
        if ours:
            self._connect()
        try:
            yield
        finally:
            if ours:
                ray.shutdown()

    def this_machine(self) -> str:
        """The address of this machine, as those of the cluster reach it; connected to it."""
        return str(ray.util.get_node_ip_address())

    def _connect(self) -> None:
        if self._address not in (None, "auto") and (unreached := _unreached(self._address)):
            raise _no_cluster(self._address, unreached)  # Ray would try for minutes
        package = str(Path(__file__).resolve().parents[1])
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        here = {"num_cpus": self._asked, "include_dashboard": False} if self._address is None else {}
        try:
            ray.init(
                address=self._address or "local",
                runtime_env={"py_modules": [package], "excludes": ["__pycache__"]},
                log_to_driver=False,
                logging_level=logging.ERROR,
                **here,
            )
        except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
            raise _no_cluster(self._address or "ray", " ".join(str(error).split())[:200]) from None


def _no_cluster(address: str, reason: str) -> RunError:
    return RunError(
        f"{address}: expected a Ray cluster that can be reached, found none ({reason}); "
        "`ray status` shows whether it runs, and RAY_AUTH_MODE=token is needed where it wants the token of `ray start`"
    )


def _unreached(address: str) -> str | None:
    """Why nothing listens at host:port; None if something does."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CHECK_SECONDS).close()
    except (OSError, ValueError) as error:
        return str(error)
    return None


class RayProcess:
    """An object of a class in a process of its own on the cluster, with environment variables; connected to it.

    processors, gpus: that it needs.
    """

    def __init__(self, kind: type, environment: dict[str, str], *, processors: int, gpus: int) -> None:
        options = {"num_cpus": processors, "num_gpus": gpus, "runtime_env": {"env_vars": environment}}
        self._actor = ray.remote(kind).options(**options).remote()

    def begin(self, method: str, *arguments: Any) -> Any:
        """Call a method, and go on without waiting; for `result`."""
        return getattr(self._actor, method).remote(*arguments)

    def result(self, begun: Any) -> Any:
        """What the method returned. `RunError` if no processor is free for the object, or its process ended."""
        try:
            return ray.get(begun, timeout=CHECKS * CHECK_SECONDS)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.GetTimeoutError:
            raise RunError(
                f"expected a free processor (and a GPU, with --device cuda) of the Ray cluster for each of --workers, "
                f"found none for one of them in {CHECKS * CHECK_SECONDS} seconds; the cluster has "
                f"{int(ray.cluster_resources().get('CPU', 0))} in all; use fewer --workers, or wait until it is free"
            ) from None
        except ray.exceptions.RayError as error:
            raise RunError(f"a process on the Ray cluster ended ({' '.join(str(error).split())[:200]})") from None

    def stop(self) -> None:
        """End the process."""
        ray.kill(self._actor)


class _Pool:
    def __init__(self, size: int) -> None:
        self.size = size
        self._task = ray.remote(num_cpus=1, max_retries=0)(do_part)
        self._silent = 0

    def submit(self, token: str, job: Job[Any], k: int) -> Any:
        return self._task.remote(token, job, k)

    def wait(self, handles: list[Any]) -> list[Any]:
        while True:
            done, _ = ray.wait(handles, timeout=CHECK_SECONDS)
            if done:
                self._silent = 0
                return list(done)
            self._look()

    def result(self, handle: Any) -> Any:
        try:
            return ray.get(handle)
        except ray.exceptions.RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except ray.exceptions.RayError as error:
            self._look()
            raise ProcessLostError(" ".join(str(error).split())[:200]) from None

    def _look(self) -> None:
        """`RunError` once the cluster has been silent for too long.

        Ray itself would wait, and end this process without a word that an analyst understands.
        """
        address = ray.get_runtime_context().gcs_address
        found = _unreached(address)
        if found is None and ray.cluster_resources().get("CPU", 0) == 0:
            found = "no processor is left"
        self._silent = self._silent + 1 if found else 0
        if self._silent >= CHECKS:
            raise RunError(
                f"{address}: expected the Ray cluster to finish its parts, but it went away ({found}); start it again, "
                "then plan again"
            )
