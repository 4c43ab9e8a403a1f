"""The rate of matrix products: of one large product on this machine, and how many of them some work takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def matrix_product_gflops(repeats: int = 10, device: str = "cpu") -> float:
    """GFLOP/s of a product of two square matrices, the best of `repeats`.

    On the processor of 2,048 rows in float32; on a GPU of 8,192 in bfloat16, as models are trained there.
    """
    import torch

    on_card = device == "cuda"
    n, kind = (8192, torch.bfloat16) if on_card else (2048, torch.float32)
    a, b = (torch.rand(n, n, device=device, dtype=kind) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + on_card):  # the first one on a GPU loads its kernel
        began = time.perf_counter()
        a @ b
        if on_card:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * n**3 / best / 1e9


def gigaflops_of(work: Callable[[], object]) -> float:
    """GFLOP in the matrix products of `work`, attention included; runs it once to count them."""
    import torch
    from torch.utils import flop_counter

    aten = torch.ops.aten
    # PyTorch counts the attention kernels of GPUs only; those of CPUs do the same products.
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
