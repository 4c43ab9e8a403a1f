"""PyTorch at run time: devices, threads, and memory kept between batches."""

from __future__ import annotations

import ctypes
import os
import sys

import torch

from crm_models.core.errors import ConfigError

DEFAULT_THREADS = torch.get_num_threads()

CARD_LOGITS = 200_000_000
"""Most logits in memory at once on a GPU, 0.8 GB."""

KEPT_BYTES = 256 << 20
"""Freed memory (bytes) that is kept for the next batch."""


def resolve_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is a GPU if torch finds one. `ConfigError` for `cuda` without a GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was asked for, but torch finds no GPU; use --device auto or cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def prepare_torch(threads: int | None, deterministic: bool = False) -> None:
    """Set the number of torch threads and keep freed memory for the next batch; call it before computing.

    threads: None is torch's default, whatever an earlier call has set. The number of threads decides the order of
    sums, so the last digits of a training depend on it. deterministic: on a GPU, sums have one order too.
    """
    torch.set_num_threads(threads or DEFAULT_THREADS)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what that needs; read when a GPU is first used
    if deterministic != torch.are_deterministic_algorithms_enabled():  # asking for what is so already takes a second
        torch.use_deterministic_algorithms(deterministic)
    _keep_freed_memory()


def most_logits(on_processor: int, device: torch.device) -> int:
    """Most logits that are computed at once: a GPU takes all that fit, the processor as many as its cache holds."""
    return on_processor if device.type == "cpu" else CARD_LOGITS


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory; other C libraries are left alone.

    By default glibc returns tensors of a few megabytes to the system and requests them again a moment later, and the
    system zeroes every page: a third of the time of scoring, a sixth of training, with thousands of actions.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold, arena_max = -1, -2, -3, -8  # as in malloc.h
        mallopt(trim_threshold, KEPT_BYTES)
        mallopt(mmap_threshold, 32 << 20)  # the largest value that glibc accepts
        # One arena for all threads needs less memory. A thread that already has its own grows it by heaps of 64 MB,
        # and an empty heap is returned to the system unless top_pad is larger than that.
        mallopt(arena_max, 1)
        mallopt(top_pad, 128 << 20)
