"""Check of a GPU: whether training and scoring keep it busy and give the numbers of the processor.

`python -m crm_models.bench.card [--customers 6040] [--scored 1000000] [--epochs 3]`. Without a GPU it says so and
does the same, small, on the processor. Histories are a log with as many actions as MovieLens-1M, each of full length.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crm_models.bench.quality import configured
from crm_models.bench.rates import gigaflops_of, matrix_product_gflops
from crm_models.bench.training import write_log
from crm_models.core.config import RunConfig
from crm_models.core.schema import ModelName
from crm_models.data.features import FeatureEncoder
from crm_models.data.split import outcomes, split_customers
from crm_models.data.storage import load_cohort

if TYPE_CHECKING:
    from crm_models.training.objectives import TrainingData
    from crm_models.training.state import TrainingState

SHAPES: dict[str, tuple[int, tuple[str, ...]]] = {
    "length 50, width 64, 2 blocks": (53, ()),
    "length 200, width 256, 4 blocks": (
        203,
        ("d_model=256", "d_feedforward=1024", "n_heads=4", "n_blocks=4", "max_events=200"),
    ),
}
"""Events of each history and settings of the sequence model; batches hold 128 customers."""

SMALL: dict[str, tuple[int, tuple[str, ...]]] = {
    "length 6, width 16, 2 blocks": (9, ("max_events=6", "d_model=16", "d_feedforward=32"))
}

ALIKE = ("sequence.dropout=0", "sequence_training.context_dropout=0")
"""Two devices draw other units to drop."""


def measure(customers: int = 6040, scored: int = 1_000_000, epochs: int = 3) -> dict[str, Any]:
    """Figures of each shape on the GPU; without one, of a small shape and few customers on the processor."""
    import torch

    from crm_models.models.runtime import prepare_torch, resolve_device

    prepare_torch(None)
    device = resolve_device("auto").type
    shapes, actions = SHAPES, 3416
    name = torch.cuda.get_device_name() if device == "cuda" else "none was found: small on the processor"
    if device == "cpu":
        shapes, actions, customers, scored, epochs = SMALL, 30, 80, 100, 1
    rate = matrix_product_gflops(5 if device == "cuda" else 1, device)
    figures: dict[str, Any] = {"gpu": name, "torch": torch.__version__, "matrix_product_gflops": round(rate)}
    for shape, (events, settings) in shapes.items():
        with tempfile.TemporaryDirectory(prefix="crm-card-") as folder:
            write_log(Path(folder) / "log", customers, events, actions)
            chosen = [f"sequence.{setting}" for setting in settings]
            figures[shape] = _of_shape(Path(folder) / "log", chosen, device, rate, scored, epochs)
    return figures


def _of_shape(
    log: Path, settings: list[str], device: str, rate: float, scored: int, epochs: int
) -> dict[str, float | bool | None]:
    """Rates of training and planning, use of the device, and how much its numbers differ from the processor's."""
    import torch

    from crm_models.inference.decoding import churn_probabilities, decode_plans

    config = replace(configured("sequence", 0, settings), device=device, threads=None)  # type: ignore[arg-type]  # RunConfig checks it
    cohort = load_cohort(log)
    split = split_customers(cohort, seed=0)
    encoder = FeatureEncoder.fit(cohort, split.train, None)
    arrays = encoder.encode(cohort)
    data = _data(arrays, split, outcomes(cohort))
    state = _start("sequence", config.with_epochs(epochs + 1), encoder)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = _epoch_seconds(state, data)
    most = round(torch.cuda.max_memory_allocated() / 2**20) if device == "cuda" else None

    def one_epoch(known: TrainingData = data) -> Callable[[], object]:
        started = _start("sequence", config.with_epochs(1), encoder)
        return lambda: _run(started, known)

    waits = busy = None
    if device == "cuda":
        few = replace(data, split=replace(split, train=split.train[:1280]))
        waits = _synchronisations(one_epoch()) - _synchronisations(one_epoch(few))
        busy = _busy_share(one_epoch())
    gigaflops = gigaflops_of(one_epoch())

    rows, churn = np.resize(np.arange(len(arrays)), scored), _start("churn", config, encoder).module.eval()
    planned = _rate(lambda some: decode_plans(state.module, arrays, encoder, some), rows)
    scored_too = _rate(lambda some: churn_probabilities(churn, arrays, some), rows)
    return {
        "sequences_per_second": round(len(split.train) / seconds),
        "matrix_share": round(gigaflops / seconds / rate, 4),
        "busy_share": busy,
        "synchronisations_within_an_epoch": waits,  # beyond those of an epoch of ten batches
        "peak_mib": most,
        "plans_per_second": round(planned),
        "churn_scores_per_second": round(scored_too),
        "million_scored_and_planned_s": round(1e6 / planned + 1e6 / scored_too, 1),
        **_beside_the_processor(config, encoder, data, state),
    }


def _beside_the_processor(config: RunConfig, encoder: Any, data: TrainingData, state: TrainingState) -> dict[str, Any]:
    """Losses of one epoch and plans of the same customers on both, and whether a repetition gives the same digits."""
    from crm_models.inference.decoding import decode_plans
    from crm_models.models.runtime import prepare_torch

    few = replace(data, split=replace(data.split, train=data.split.train[:1280], valid=data.split.valid[:256]))
    short = config.with_epochs(1)
    for setting in ALIKE:
        short = short.with_setting(setting)
    here, there = (
        _run(_start("sequence", replace(short, device=name), encoder), few) for name in (config.device, "cpu")
    )
    prepare_torch(None, deterministic=True)
    again = [_run(_start("sequence", short, encoder), few) for _ in range(2)]
    prepare_torch(None)
    rows = data.split.test[:512]
    on_card = decode_plans(state.module, data.arrays, encoder, rows)
    on_processor = decode_plans(state.module.cpu(), data.arrays, encoder, rows)
    return {
        "train_loss": here.train_loss,
        "train_loss_of_the_processor": there.train_loss,
        "valid_loss": here.valid_loss,
        "valid_loss_of_the_processor": there.valid_loss,
        "repeats_to_the_digit": again[0].train_loss == again[1].train_loss,
        "equal_plans": float((on_card.actions == on_processor.actions).all(axis=1).mean()),
        "largest_difference_of_a_probability": float(np.abs(on_card.step_p - on_processor.step_p).max()),
    }


def _data(arrays: Any, split: Any, found: Any) -> TrainingData:
    from crm_models.training.objectives import TrainingData

    return TrainingData(arrays=arrays, labels=np.full(len(arrays), np.nan), split=split, outcomes=found)


def _start(model: ModelName, config: RunConfig, encoder: FeatureEncoder) -> TrainingState:
    from crm_models.training.state import TrainingState

    return TrainingState.start(model, config, encoder)


def _run(state: TrainingState, data: TrainingData) -> Any:
    """The end of the first epoch; `train` gives it only when its loss is known, so the device has done its work."""
    from crm_models.training.loop import train

    return next(train(state, data))


def _epoch_seconds(state: TrainingState, data: TrainingData) -> float:
    """Seconds of the fastest epoch but the first, which loads kernels; validation included."""
    from crm_models.training.loop import train

    ends = [epoch.seconds for epoch in train(state, data)]
    return float(np.diff(ends).min())


def _rate(work: Callable[[np.ndarray], object], rows: np.ndarray) -> float:
    """Customers a second; the work is done for some of them before, to load kernels."""
    work(rows[:10_000])
    began = time.perf_counter()
    work(rows)
    return len(rows) / (time.perf_counter() - began)


def _synchronisations(work: Callable[[], object]) -> int:
    """How often the work made the processor wait for the GPU."""
    import torch

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        work()
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchron" in str(warning.message) for warning in found)


def _busy_share(work: Callable[[], object]) -> float:
    """Share of the time of the work in which the GPU computed."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    began = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        work()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - began
    return round(sum(event.self_device_time_total for event in trace.key_averages()) / 1e6 / seconds, 3)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=6040)
    parser.add_argument("--scored", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    print(json.dumps(measure(args.customers, args.scored, args.epochs), indent=2))
