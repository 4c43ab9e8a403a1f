"""The paper again, and models beside others on fixed splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crm_models.core.config import one_of
from crm_models.core.errors import ConfigError
from crm_models.core.files import need_own_folder
from crm_models.core.schema import ModelName
from crm_models.data.storage import load_cohort
from crm_models.workflow.training import run_config


def paper(
    out: Path | str,
    *,
    seeds: int = 20,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> str:
    """Re-run the paper, write `paper.json`, `report.md` and `report.html` into `out`; returns one line on it.

    >>> from crm_models import workflow
    >>> workflow.paper("workspace/paper", seeds=1)
    'workspace/paper: ...'
    """
    from crm_models.models.runtime import prepare_torch
    from crm_models.paper.report import write_report
    from crm_models.paper.rerun import rerun, verdict

    need_own_folder(Path(out), "paper.json")  # before the work, not after it
    prepare_torch(threads)
    result = rerun(seeds, device=device, say=progress)
    write_report(result, Path(out))
    return f"{out}: {verdict(result)}"


def benchmark(
    task: str,
    folder: Path | str,
    *,
    preset: str = "standard",
    holdout: int = 1,
    protocol: str = "holdout",
    folds: int = 5,
    seed: int = 0,
    seeds: int = 1,
    labels: int | None = None,
    shape: dict[str, int] | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    threads: int | None = None,
) -> dict[str, Any]:
    """Scores of one model on fixed splits of a cohort folder, with seconds; see `crm_models.bench.quality`.

    shape: any of `epochs`, `width`, `blocks`, `heads`, `max_len`, `batch`, in place of the preset's; a `batch` is kept
    even if customers are few, and the sequence model is trained for exactly the `epochs`, without early stopping.
    settings: any other, as in `run_config`. seeds: how many, from `seed` up; with more than one, the scores are means
    with their spread. protocol: `holdout`, or `leave-one-out` for the sequence model, where `epochs` are a maximum,
    since the best one is chosen. labels: churn, customers of each fold's training who keep their label.

    >>> from crm_models import workflow
    >>> scores = workflow.benchmark("churn", "workspace/demo", preset="standard", folds=2, shape={"epochs": 1})
    >>> 0 <= scores["log_loss"]
    True
    """
    from crm_models.bench import quality as measure

    one_of("protocol", protocol, tuple(measure.PROTOCOLS))
    if protocol != "holdout" and task != "sequence":
        raise ConfigError(f"the protocol {protocol} is one of `benchmark sequence`; found it with {task}")
    config = run_config(preset=preset, seed=seed, device=device, threads=threads, settings=settings)
    names = {"width": "d_model", "blocks": "n_blocks", "heads": "n_heads", "max_len": "max_events"}
    own: ModelName = "sequence" if task == "sequence" else "churn"
    given = shape or {}
    model = replace(getattr(config, own), **{names[k]: v for k, v in given.items() if k in names})
    fitting = {"epochs": "n_epochs", "batch": "batch_size"}
    changes: dict[str, Any] = {fitting[k]: v for k, v in given.items() if k in fitting}
    if "batch" in given:
        changes["min_updates_per_epoch"] = 1
    parts_of: dict[str, Any] = {own: model, f"{own}_training": replace(config.training(own), **changes)}
    config = replace(config, **parts_of)
    cohort = load_cohort(Path(folder))
    runs = {
        k: measure.sequence(cohort, replace(config, seed=k), holdout, "epochs" not in given, protocol)  # type: ignore[arg-type]  # checked above
        if own == "sequence"
        else measure.churn(cohort, replace(config, seed=k), folds, k, labels)
        for k in range(seed, seed + seeds)
    }
    return runs[seed] if seeds == 1 else measure.over_seeds(runs)
