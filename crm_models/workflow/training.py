"""Runs: trained, resumed, searched for, and trained again with other seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_models.core.config import RunConfig, SplitKind
from crm_models.core.engines import EngineName, need_engine
from crm_models.core.files import read_whole
from crm_models.core.presets import preset as preset_config
from crm_models.core.records import CustomerScores, EpochEnd
from crm_models.core.schema import ModelName
from crm_models.runs.folder import RunFolder
from crm_models.workflow.planning import score_stream

if TYPE_CHECKING:
    from crm_models.runs.trials import Trial


def run_config(
    *,
    preset: str = "standard",
    model: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    settings: Sequence[str] = (),
    split: SplitKind = "random",
    split_date: str = "",
) -> RunConfig:
    """A preset with changes. settings: `name=value` texts such as `sequence.d_model=32`, as for `--set`.

    split: `time` to learn from what was known by `split_date` and test on what came after; see
    `crm_models.data.time_split`.

    >>> from crm_models import workflow
    >>> config = workflow.run_config(preset="standard", epochs=5, settings=["churn.dropout=0.1"])
    >>> config.churn.dropout, config.churn_training.n_epochs
    (0.1, 5)
    """
    changes: dict[str, Any] = {"seed": seed, "device": device, "threads": threads}
    changes |= {"split": split, "split_date": split_date}
    if model not in (None, "both"):
        changes["models"] = (model,)
    config = replace(preset_config(preset), **changes)
    for setting in settings:
        config = config.with_setting(setting)
    return config if epochs is None else config.with_epochs(epochs)


def train(
    cohort: Path | str,
    out: Path | str,
    config: RunConfig,
    *,
    chosen: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    engine: EngineName = "local",
    address: str | None = None,
) -> Iterator[EpochEnd]:
    """Train the configured models on a cohort folder into the run folder `out`; yields each epoch as it ends.

    chosen: whether the caller named the models; then a model that the data cannot train is an error, else it is left
    out. workers: processes that share each batch; torchrun may start them instead, and only the first one yields
    epochs. engine, address: where they run, as for `plan`. Nothing happens until the epochs are iterated over, and
    leaving the loop stops the training.

    >>> from crm_models import workflow
    >>> config = workflow.run_config(preset="paper", epochs=2)
    >>> for epoch in workflow.train("workspace/demo", "workspace/run", config, overwrite=True):
    ...     print(epoch.model, epoch.epoch)
    sequence 1
    sequence 2
    churn 1
    churn 2
    """
    from crm_models.models.runtime import resolve_device
    from crm_models.runs.pipeline import fit, follow, start_run
    from crm_models.training.parallel import is_follower

    if is_follower():
        follow(RunFolder(Path(out)))
        return
    need_engine(engine, address)
    resolve_device(config.device)  # before anything is written
    run = start_run(Path(cohort), Path(out), config, chosen=chosen, overwrite=overwrite)
    yield from fit(run, workers=workers, engine=engine, address=address)


def resume(
    out: Path | str,
    *,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 1,
    engine: EngineName = "local",
    address: str | None = None,
) -> Iterator[EpochEnd]:
    """Resume a run that was killed or stopped; it ends with the numbers of an uninterrupted one.

    workers, engine, address: as in `train`; they need not be as before.

    >>> from crm_models import workflow
    >>> config = workflow.run_config(preset="paper", epochs=3)
    >>> epochs = workflow.train("workspace/demo", "workspace/stopped", config, overwrite=True)
    >>> next(epochs).epoch
    1
    >>> epochs.close()  # or the process is killed
    >>> [(epoch.model, epoch.epoch) for epoch in workflow.resume("workspace/stopped")][:2]
    [('sequence', 2), ('sequence', 3)]
    """
    from crm_models.runs.pipeline import fit, follow, reopen
    from crm_models.training.parallel import is_follower

    run = RunFolder(Path(out))
    if is_follower():
        follow(run, device=device, threads=threads)
        return
    need_engine(engine, address)
    yield from fit(reopen(run), device=device, threads=threads, workers=workers, engine=engine, address=address)


def run_summary(out: Path | str) -> str:
    """One line on how a run ended.

    >>> from crm_models import workflow
    >>> workflow.run_summary("workspace/run")
    'workspace/run: finished after ... s; sequence: best epoch 2 of 2, loss ...; churn: best epoch 2 of 2, loss ...'
    """
    run = RunFolder(Path(out))
    status, result = run.status(), run.result() or {"models": {}}
    with read_whole(run.folder / "result.json", "the result of a run", "train it again"):
        said = "; ".join(
            _model_summary(name, facts, [epoch for epoch in status.epochs if epoch.model == name])
            for name, facts in result["models"].items()
        )
    left_out = "".join(f"; {note}" for note in run.about()["notes"])
    return f"{out}: {status.state} after {status.seconds:.1f} s; {said or 'no model was trained'}{left_out}"


def _model_summary(name: str, facts: dict[str, Any], epochs: list[EpochEnd]) -> str:
    n_refits = sum(epoch.final_refit for epoch in epochs)
    said = f"{name}: best epoch {facts['best_epoch']} of {facts['epochs'] - n_refits}, loss {facts['best_loss']:.4f}"
    if n_refits and epochs[-1].epoch == epochs[-1].n_epochs:  # a refit that was stopped leaves the weights as they were
        said += f", then a final refit of {n_refits} epochs on training and validation customers"
    return said


def tune(
    cohort: Path | str,
    out: Path | str,
    *,
    model: ModelName,
    minutes: float | None = None,
    trials: int | None = None,
    preset: str = "standard",
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    settings: Sequence[str] = (),
    runs: Path | str | None = None,
) -> Iterator[Trial]:
    """Search for better settings of one model; yields each trial as it ends (see `crm_models.runs.search.search`).

    The first trial is the preset with `settings` (as in `run_config`), which are not searched. Another call on the same
    folder continues the search. minutes: of this call; trials: in all.

    >>> from crm_models import workflow
    >>> trials = workflow.tune("workspace/demo", "workspace/search", model="churn", trials=1, epochs=1)
    >>> [(trial.number, trial.state) for trial in trials]
    [(1, 'finished')]
    """
    from crm_models.models.runtime import resolve_device
    from crm_models.runs.search import Limits, search

    resolve_device(device)
    config = run_config(
        preset=preset, model=model, epochs=epochs, seed=seed, device=device, threads=threads, settings=settings
    )
    pinned = tuple(setting.partition("=")[0] for setting in settings)
    limits = Limits(minutes=minutes, trials=trials)
    trial_runs = None if runs is None else Path(runs)
    yield from search(
        Path(cohort), Path(out), config, limits, start=preset_config(preset), pinned=pinned, runs=trial_runs
    )


def stability(
    run_folder: Path | str,
    *,
    seeds: int = 5,
    cohort: Path | str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Iterator[EpochEnd]:
    """Train a run's settings with more seeds, `seeds` in all, and keep where they disagree; yields their epochs.

    All are trained and tested on the same customers. Another call continues a stopped one. `read_stability` of
    `crm_models.runs.stability` reads the result, and plans of the run's cohort say who is `confident`.

    >>> from crm_models import workflow
    >>> from crm_models.runs.folder import RunFolder
    >>> from crm_models.runs.stability import read_stability
    >>> for epoch in workflow.stability("workspace/run", seeds=2):
    ...     pass
    >>> read_stability(RunFolder("workspace/run")).counts(threshold=0.5)["customers"]
    60
    """
    from crm_models.runs.stability import compared, seeds_of, train_members, write_stability

    def score(of_seed: RunFolder) -> Iterator[CustomerScores]:
        return score_stream(of_seed, folder, device=device, threads=threads)

    run = RunFolder(Path(run_folder))
    run.need_weights()
    folder, wanted = Path(cohort or run.about()["cohort"]), seeds_of(run, seeds)
    with run.locked():
        (run.folder / "stop").unlink(missing_ok=True)
        yield from train_members(run, wanted, folder, device=device, threads=threads)
        if not run.stop_requested():
            write_stability(run, compared(run, wanted, folder, score, device=device, threads=threads))
        (run.folder / "stop").unlink(missing_ok=True)
