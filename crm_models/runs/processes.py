"""Processes that train together join in a group: those of `torchrun`, or those that one of them has started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from crm_models.core.errors import RunError

NAMES = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE")
"""What torchrun tells each process by environment variables; `group` does the same."""

OURS = "CRM_TRAINING_PROCESS"
"""Set for processes that `group` started: they write a line when they are ready."""


def is_follower() -> bool:
    """Whether this process was started to help another one that leads."""
    return all(name in os.environ for name in NAMES) and int(os.environ["RANK"]) > 0


class Follower(Protocol):
    """Another process that trains together with this one."""

    def wait_until_ready(self) -> None:
        """Return when it is about to join. Raises `RuntimeError` if it has ended."""
        ...

    def stop(self) -> None:
        """End the process."""
        ...


class LocalFollower:
    """A process on this machine. command: arguments of `python -m crm_models`; told: environment variables."""

    def __init__(self, command: tuple[str, ...], told: dict[str, str]) -> None:
        environment = os.environ | told | {OURS: "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        program = [sys.executable, "-m", "crm_models", *command]
        self._process = subprocess.Popen(program, env=environment, stdout=subprocess.PIPE)

    def wait_until_ready(self) -> None:
        """Return when it is about to join. Raises `RuntimeError` if it has ended."""
        if self._process.stdout is None or not self._process.stdout.readline():
            raise RuntimeError("ended at its start")

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.communicate()


@contextmanager
def group(
    workers: int = 1, start: Callable[[dict[str, str]], Follower] | None = None, host: str = "127.0.0.1"
) -> Iterator[None]:
    """Join the processes that train together: those of torchrun, or `workers` in all.

    start: starts another one, with these environment variables. host: this machine, as the others reach it. Raises
    `RunError` if one of them ends.
    """
    from torch import distributed

    told, others = {name: os.environ[name] for name in NAMES if name in os.environ}, list[Follower]()
    if len(told) < len(NAMES):
        if workers == 1 or start is None:
            yield
            return
        with socket.socket() as free:
            free.bind((host, 0))
            told = dict(zip(NAMES, (host, str(free.getsockname()[1]), "0", str(workers)), strict=True))
        others = [start(told | {"RANK": str(rank)}) for rank in range(1, workers)]
    try:
        for other in others:
            other.wait_until_ready()
        _join(told)
        yield
    except RuntimeError as error:
        if isinstance(error, RunError):
            raise
        raise RunError(
            f"expected {told['WORLD_SIZE']} processes to train together until the end, but one of them ended or could "
            f"not be reached ({' '.join(str(error).split())[:200]}); `train --resume` goes on from the last epoch"
        ) from None
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for other in others:
            other.stop()


def _join(told: dict[str, str]) -> None:
    import torch
    from torch import distributed

    if OURS in os.environ:
        print("ready", flush=True)
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", told["RANK"])) % torch.cuda.device_count())
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if has_gpu else "gloo",
        init_method=f"tcp://{told['MASTER_ADDR']}:{told['MASTER_PORT']}",
        rank=int(told["RANK"]),
        world_size=int(told["WORLD_SIZE"]),
    )
