"""Data-parallel training: several processes share each batch, and their weights stay the same.

Each process holds the model and computes the gradient of its share of every batch; the sum of all, divided by the
targets of all, is what one process would have computed, up to rounding (and random dropout). The first process leads:
it alone writes files and decides when to stop. `torchrun` starts the processes, or `group` does on this machine.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, distributed, nn

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


def rank() -> int:
    """The number of this process, 0 for the one that leads."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(n: int) -> np.ndarray:
    """Which of n rows are this process's; examples of a batch stand by length, so that all have as much to do."""
    return np.arange(n)[rank() :: world()]


def combined(module: nn.Module, loss: Tensor, n_targets: int) -> tuple[Tensor, int | Tensor]:
    """Replace the gradients of a mean loss over this process's targets by those over all; returns both for all."""
    if world() == 1:
        return loss, n_targets
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), loss[None], loss.new_ones(1)])
    flat = flat * n_targets if n_targets else torch.zeros_like(flat)  # a mean over nothing is no number
    distributed.all_reduce(flat)
    *means, mean = (flat[:-1] / flat[-1]).split([*(weight.numel() for weight in weights), 1])
    for weight, gradient in zip(weights, means, strict=True):
        weight.grad = gradient.view_as(weight)
    return mean[0], flat[-1]


def mean(losses: Iterable[tuple[Tensor, int]]) -> float | None:
    """Mean of losses, each with its weight, over all processes; None if there are none. A GPU is asked once."""
    total, count = torch.zeros((), dtype=torch.float64), 0
    for loss, weight in losses:
        total, count = total.to(loss.device) + loss.double() * weight, count + weight
    if world() > 1:
        both = torch.stack([total, torch.full_like(total, count)])
        distributed.all_reduce(both)
        total, count = both[0], int(both[1])
    return float(total) / count if count else None


def agreed(question: Callable[[], bool]) -> Callable[[], bool]:
    """The question as the process that leads answers it; every process has to ask."""

    def answer() -> bool:
        if world() == 1:
            return question()
        told = torch.tensor([int(rank() == 0 and question())])
        distributed.broadcast(told, src=0)
        return bool(told)

    return answer
