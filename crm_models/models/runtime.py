"""The machine that computes: its threads, the memory it keeps, and how fast it multiplies matrices."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable

import torch
from torch.utils import flop_counter

TORCHS_OWN_THREADS = torch.get_num_threads()

KEPT_BYTES = 256 << 20
"""Freed memory (bytes) that is kept for the next batch."""

MATRIX = 2048


def prepare_torch(threads: int | None) -> None:
    """Before computing: let torch use so many threads, and keep what one batch frees for the next one.

    threads: None is torch's own choice, whatever an earlier call has set. Sums are taken in another order with another
    number, so the last digits of a training hang on it.
    """
    torch.set_num_threads(threads or TORCHS_OWN_THREADS)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Left to itself, glibc hands tensors of a few megabytes back to the system and asks for them again a moment later,
    and the system zeroes every page anew: a third of scoring, a sixth of training over thousands of actions. Other C
    libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold, arena_max = -1, -2, -3, -8  # as in malloc.h
        mallopt(trim_threshold, KEPT_BYTES)
        mallopt(mmap_threshold, 32 << 20)  # the most that glibc takes
        # Threads share one store, for less memory in all. One that has a store already gets it in pieces of 64 MB; an
        # empty piece is handed back as well, unless more than that is to be at hand.
        mallopt(arena_max, 1)
        mallopt(top_pad, 128 << 20)


def matrix_product_gflops(repeats: int = 10) -> float:
    """Billions of floating-point operations per second in a product of two 2,048 x 2,048 matrices: the best of some."""
    a, b = torch.rand(MATRIX, MATRIX), torch.rand(MATRIX, MATRIX)
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - began)
    return 2 * MATRIX**3 / best / 1e9


def gigaflops_of(work: Callable[[], object]) -> float:
    """Billions of floating-point operations in the matrix products of `work`, attention included, run once to count."""
    aten = torch.ops.aten
    # PyTorch counts the attention kernels of graphics cards; those of processors do the same products.
    kernels = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda query, key, value, *_, **__: (
            flop_counter.sdpa_flop_count(query, key, value)
        ),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda out, query, key, value, *_, **__: (
            flop_counter.sdpa_backward_flop_count(out, query, key, value)
        ),
    }
    with flop_counter.FlopCounterMode(display=False, custom_mapping=kernels) as counter:
        work()
    return float(counter.get_total_flops()) / 1e9
