"""Training pipeline: from a cohort folder to a trained run folder, resumable at any time.

Command line, app and notebooks all train by iterating over `fit`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crm_models.core.config import RunConfig
from crm_models.core.engines import EngineName, cores
from crm_models.core.errors import DataError, RunError, why
from crm_models.core.files import absolute, new_folder, read_whole
from crm_models.core.provenance import now, versions
from crm_models.core.records import EpochEnd
from crm_models.core.schema import CHURNED, CUSTOMER_ID, ModelName
from crm_models.core.sealed import FORMAT, write_record
from crm_models.core.tables import write_table
from crm_models.data.features import FeatureEncoder
from crm_models.data.split import Split, split_table
from crm_models.data.storage import Parts, customer_table, describe, digest
from crm_models.data.streaming import Known, View, on_disk, training_sample
from crm_models.data.time_split import split_date
from crm_models.data.training_schema import TrainingSchema
from crm_models.runs.earlier import current_weights
from crm_models.runs.encoding import encoded, engine_to_encode
from crm_models.runs.folder import RunFolder
from crm_models.runs.processes import group
from crm_models.runs.tensors import load_tensors, save_tensors
from crm_models.runs.together import together

if TYPE_CHECKING:
    from crm_models.training.objectives import TrainingData
    from crm_models.training.state import TrainingState

MIN_CUSTOMERS = 20
"""Least number of customers for a model: at 80/20 this leaves only four for testing."""

PARTS = ("train", "valid", "test")
"""Names of the parts of a split, as in `split.parquet`."""

CHECKPOINT_SECONDS = 2.0
"""Least time between two checkpoints; a killed run repeats at most this much work, with the same numbers."""


def start_run(
    folder: Path,
    out: Path,
    config: RunConfig,
    *,
    chosen: bool = False,
    overwrite: bool = False,
    extra: dict[str, Any] | None = None,
) -> RunFolder:
    """Check that the cohort can train the models of the configuration and write the run folder, ready for `fit`.

    chosen: require all models; otherwise a model that the data cannot train is left out with a note. extra: further
    entries of `config.json`, such as the search that the run is a trial of. Nothing is written if the cohort cannot
    train the models (`DataError`) or `out` holds a run already (`RunError`).
    """
    run = RunFolder(out)
    if (run.folder / "config.json").exists():
        if run.is_alive():
            raise RunError(f"{out}: a run is training here; stop it first, or choose another --out")
        if not overwrite:
            raise RunError(
                f"{out}: holds a run already; choose another --out, continue it with --resume, or use --overwrite"
            )
    about, config = describe(folder), dated(folder, config)
    parts = Parts(folder)
    view = View.of(parts, config.split_date, "learned")
    found = _trainable(parts, view, config)
    split, reasons = found.split, found.reasons
    models = tuple(model for model in config.models if reasons[model] is None)
    notes = [f"the {model} model was left out: {why}" for model, why in reasons.items() if why is not None]
    if not models or (chosen and notes):
        raise DataError(f"{folder}: " + "; ".join(why for why in reasons.values() if why is not None))
    config = replace(config, models=models)
    if config.split == "time":
        notes.append(time_note(config))
    sample, counts = training_sample(view.parts(parts), split.train)
    if sample.n_customers < len(split.train):
        notes.append(
            f"scales, levels and ranges of columns come from {sample.n_customers:,} of the training customers, evenly "
            "chosen; the models learn from all of them"
        )
    everyone = np.arange(sample.n_customers)
    encoder = FeatureEncoder.fit(
        sample, everyone, sample.as_of, config.churn.n_bins, now_days=view.now_days, counts=counts
    )
    with new_folder(run.folder, "config.json") as part:
        write_record(part / "encoder.json", encoder.to_dict())
        write_record(part / "schema.json", TrainingSchema.of(sample, everyone, encoder).to_dict())
        write_table(part / "split.parquet", _parts_of(found.customer_id, split))
        write_record(
            part / "config.json",
            {
                "format": FORMAT,
                "created_at": now(),
                "cohort": str(absolute(folder)),
                "cohort_name": about["name"],
                "cohort_source": about["source"],
                "cohort_hash": digest(folder),
                "customers": {"train": len(split.train), "valid": len(split.valid), "test": len(split.test)},
                "config": config.to_dict(),
                "popular": _popular(encoder),
                "notes": notes,
                "versions": versions(),
                **(extra or {}),
            },
        )
        RunFolder(part).record("created")
    return run


@dataclass(frozen=True, kw_only=True)
class Trainable:
    """What a cohort can train. customer_id (N,). reasons: for each configured model why it cannot, None if it can."""

    customer_id: pd.Series
    known: Known
    split: Split
    reasons: dict[ModelName, str | None]


def trainable(folder: Path, config: RunConfig) -> Trainable:
    """The split of a cohort, and which of the configured models the cohort can train."""
    config, parts = dated(folder, config), Parts(folder)
    return _trainable(parts, View.of(parts, config.split_date, "learned"), config)


def _trainable(parts: Parts, view: View, config: RunConfig) -> Trainable:
    customers = customer_table(parts.folder, [CUSTOMER_ID, CHURNED])
    seed = config.seed if config.split_seed is None else config.split_seed
    split = split_table(customers, seed=seed, test_share=config.test_share, valid_share=config.valid_share)
    known = Known.joined(map(Known.of, view.parts(parts)))
    if config.split == "time":
        seen = known.n_events > 0
        split = replace(split, train=split.train[seen[split.train]], valid=split.valid[seen[split.valid]])
    reasons = {model: _why_not(model, known, split) for model in config.models}
    if "churn" in reasons and view.no_churn is not None and customers[CHURNED].notna().any():
        reasons["churn"] = view.no_churn
    return Trainable(customer_id=customers[CUSTOMER_ID], known=known, split=split, reasons=reasons)


def dated(folder: Path, config: RunConfig) -> RunConfig:
    """The configuration with the date of a split by time; see `split_date`."""
    if config.split == "random":
        return config
    parts = Parts(folder)
    days = on_disk(part.event_days for part in parts)
    return replace(config, split_date=split_date(parts[0], config.split_date, config.test_share, days))


def time_note(config: RunConfig) -> str:
    """What a split by time means, for those who read the scores or use the plans."""
    return (
        f"trained on what was known by {config.split_date}, tested on other customers from then on; columns of "
        "customers are as in the cohort, not as of that date; for plans, train on all events (the random split)"
    )


def _why_not(model: ModelName, everyone: Known, split: Split) -> str | None:
    """Why the cohort cannot train the model, in a sentence; None if it can."""
    has_events = bool(everyone.n_events.any())
    if model == "sequence":
        n = len(everyone.outcomes.rows)
        if not has_events:
            return "the sequence model needs interactions, and the cohort has none"
        if n < MIN_CUSTOMERS:
            return (
                f"the sequence model needs at least {MIN_CUSTOMERS} customers with a history and an outcome "
                f"(four events, or events on both sides of the cut-off), found {n}"
            )
        return None
    known = ~np.isnan(everyone.labels)
    if not known.any():
        return "the churn model needs churn labels, and the cohort has none"
    if known.sum() < MIN_CUSTOMERS:
        return f"the churn model needs at least {MIN_CUSTOMERS} customers with a known label, found {int(known.sum())}"
    for part, rows in (("training", split.train), ("validation", split.valid)):
        labels = everyone.labels[rows]
        if len(rows) and len(np.unique(labels[~np.isnan(labels)])) < 2:
            return f"the churn model needs both churned and staying customers in the {part} split, found one class only"
    if not everyone.has_columns and not has_events:
        return "the churn model needs customer features or interactions, and the cohort has neither"
    return None


def _parts_of(ids: pd.Series, split: Split) -> pd.DataFrame:
    code = np.full(len(ids), len(PARTS), np.int8)
    for k, part in enumerate(PARTS):
        code[getattr(split, part)] = k
    # later: first seen after the date of a split by time
    parts = pd.Categorical.from_codes(code, pd.Index([*PARTS, "later"])).remove_unused_categories()
    return pd.DataFrame({CUSTOMER_ID: ids, "part": parts})


def _popular(encoder: FeatureEncoder) -> list[list[Any]]:
    """The three most frequent engagement actions of training customers as [id, share]: the plan without a history."""
    count = np.array(encoder.action_counts)
    engagement = np.flatnonzero(np.array(encoder.kinds) == "engagement")
    best = engagement[np.argsort(-count[engagement], kind="stable")][:3]
    return [[int(a) + 1, round(float(count[a] / max(count.sum(), 1)), 6)] for a in best]


def fit(
    run: RunFolder,
    *,
    device: str | None = None,
    threads: int | None = None,
    workers: int = 1,
    engine: EngineName = "local",
    address: str | None = None,
) -> Generator[EpochEnd, None, None]:
    """Train the models of a run, from the start or from its checkpoint; yields each epoch as it ends.

    Ends early after `run.request_stop()`. workers: processes that share each batch, this one included; without
    `threads` they share the cores too, and have one each on a cluster. engine, address: where they are, see
    `engine_of`. Raises `RunError` if another process is training the run, if its cohort has changed since it began, or
    if one of the processes ends.
    """
    with run.locked():
        about, config = run.about(), run.config()
        share = 1 if engine == "ray" else max(1, cores() // workers)
        threads = threads or config.threads or (share if workers > 1 else None)
        config = replace(config, device=device or config.device, threads=threads)  # type: ignore[arg-type]  # RunConfig checks it
        (run.folder / "stop").unlink(missing_ok=True)
        (run.folder / "result.json").unlink(missing_ok=True)
        try:
            with together(run, workers, engine, address, device=config.device, threads=threads):
                yield from _Fit(run, about, config).run()
        except Exception as error:
            with suppress(OSError):  # a full disk: the run then counts as interrupted
                _end(run, "failed", {}, 0.0, why(error))
            raise


def follow(run: RunFolder, *, device: str | None = None, threads: int | None = None) -> None:
    """Do this process's share of a training that another process leads by `fit`; writes nothing."""
    from crm_models.models.runtime import prepare_torch
    from crm_models.training import parallel
    from crm_models.training.loop import train

    with group():  # waits for the process that leads, which writes the run folder before
        config = run.config()
        config = replace(config, device=device or config.device, threads=threads or config.threads)  # type: ignore[arg-type]  # as in `fit`
        prepare_torch(config.threads, config.deterministic)
        data, states = training_data(run, config.threads), _restored(run, config)
        for model in config.models:
            for _ in train(states.get(model) or _fresh(model, run, config), data):
                pass
            if parallel.agreed(run.stop_requested)():
                break


def reopen(run: RunFolder) -> RunFolder:
    """The run, if it can be resumed; `RunError` if it is finished or still training."""
    status = run.status() if run.about() else None
    if status is not None and status.state == "finished":
        raise RunError(f"{run.folder}: the run is finished; there is nothing to resume")
    if status is not None and status.state == "running":
        raise RunError(f"{run.folder}: the run is still training; there is nothing to resume")
    return run


def training_data(run: RunFolder, threads: int | None = None) -> TrainingData:
    """What the models of a run train on; the arrays are in files of the run folder, mapped into memory.

    threads: how many cores may encode the cohort; None: all.
    """
    from crm_models.training.objectives import TrainingData

    folder = Path(run.about()["cohort"])
    parts = Parts(folder)
    view = View.of(parts, run.config().split_date, "learned")
    arrays, everyone = encoded(run, folder, view, engine_to_encode(len(parts), threads))
    part = run.split()["part"]  # in the order of the cohort, which has not changed since
    split = Split(**{name: np.flatnonzero(part == name) for name in PARTS})
    return TrainingData(arrays=arrays, labels=everyone.labels, split=split, outcomes=everyone.outcomes)


class _Fit:
    """One call of `fit`: holds what all models of the run share, and writes events, checkpoints and results."""

    def __init__(self, run: RunFolder, about: dict[str, Any], config: RunConfig) -> None:
        folder = Path(about["cohort"])
        if digest(folder) != about["cohort_hash"]:
            raise RunError(f"{run.folder}: the cohort {folder} has changed since the run began; train a new run")
        self.folder, self.record, self.stop_requested = run, run.record, run.stop_requested
        self.config = config
        self.saved_at = 0.0

    def run(self) -> Iterator[EpochEnd]:
        from crm_models.models.runtime import prepare_torch
        from crm_models.training import parallel

        prepare_torch(self.config.threads, self.config.deterministic)
        data = training_data(self.folder, self.config.threads)
        states = _restored(self.folder, self.config)
        self.record("started", models=list(self.config.models), resumed=bool(states))
        for model in self.config.models:
            states[model] = states.get(model) or _fresh(model, self.folder, self.config)
            yield from self._fit_one(states, model, data)
            if is_stopped := parallel.agreed(self.stop_requested)():
                break
        self._save_weights(states)
        state = "stopped" if is_stopped else "finished"
        facts: dict[str, Any] = {model: _facts(s) for model, s in states.items() if s.epoch > 0}
        seconds = sum(s.seconds for s in states.values())
        self.record(state)
        _end(self.folder, state, facts, seconds, "" if state == "finished" else "stopped on request")
        if state == "finished":
            (self.folder.folder / "checkpoint.safetensors").unlink(missing_ok=True)

    def _fit_one(
        self, states: dict[ModelName, TrainingState], model: ModelName, data: TrainingData
    ) -> Iterator[EpochEnd]:
        from crm_models.training.loop import train

        state = states[model]
        for event in train(state, data, self.stop_requested):
            self.record("epoch", **asdict(event))
            if time.monotonic() - self.saved_at > CHECKPOINT_SECONDS:
                self._checkpoint(states)
            yield event
        self._checkpoint(states)

    def _checkpoint(self, states: dict[ModelName, TrainingState]) -> None:
        """Save all states in one file, renamed into place: a kill leaves either the old checkpoint or the new one."""
        tensors = {f"{m}.{k}": v for m, s in states.items() for k, v in s.snapshot.items()}
        meta = {str(m): json.dumps(s.meta) for m, s in states.items()}
        save_tensors(self.folder.folder / "checkpoint.safetensors", tensors, meta)
        self.saved_at = time.monotonic()

    def _save_weights(self, states: dict[ModelName, TrainingState]) -> None:
        tensors = {
            f"{model}.{name}": value
            for model, state in states.items()
            if state.epoch > 0
            for name, value in state.best.items()
        }
        save_tensors(self.folder.folder / "weights.safetensors", tensors)


def _fresh(model: ModelName, run: RunFolder, config: RunConfig) -> TrainingState:
    from crm_models.training.state import TrainingState

    return TrainingState.start(model, config, run.encoder())


def _restored(run: RunFolder, config: RunConfig) -> dict[ModelName, TrainingState]:
    """The states in the run's checkpoint, of the models that had begun."""
    from crm_models.training.state import TrainingState

    file = run.folder / "checkpoint.safetensors"
    if not file.exists():
        return {}
    states: dict[ModelName, TrainingState] = {}
    what, remedy = "the state of a training", "delete it, and the training begins anew"
    tensors, meta = load_tensors(file, what, remedy)
    with_levels = any(name.removeprefix(f"{model}.").startswith("levels.") for model in meta for name in tensors)
    if with_levels or any("facts" in value for value in meta.values()):
        raise RunError(
            f"{run.folder}: an earlier version began this training, by a schedule or an optimiser that this version "
            "does not have; train a new run with the same settings"
        )
    encoder = run.encoder()
    with read_whole(file, what, remedy):
        for model in config.models:
            if model in meta:
                own = {k.removeprefix(f"{model}."): v for k, v in tensors.items() if k.startswith(f"{model}.")}
                state = TrainingState.start(model, config, encoder)
                states[model] = state.restored(current_weights(own), json.loads(meta[model]))
    return states


def _facts(state: TrainingState) -> dict[str, Any]:
    numbers = {"best_loss": state.best_loss, "seconds": round(state.seconds, 3)}
    refit = {"refit_epochs": state.refit_epochs} if state.refit_epochs else {}
    return {"epochs": state.epoch, "best_epoch": state.best_epoch, **numbers, **refit}


def _end(run: RunFolder, state: str, models: dict[str, Any], seconds: float, reason: str) -> None:
    write_record(
        run.folder / "result.json",
        {"state": state, "reason": reason, "models": models, "seconds": round(seconds, 3), "ended_at": now()},
    )
