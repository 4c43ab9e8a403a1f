"""Run folders: the files of a training run, its status, stop requests and locking.

config.json             settings, cohort and its hash, versions; written first
encoder.json            how the cohort is encoded into arrays
schema.json             ranges, levels, actions and units of the training customers
split.parquet           which customers are for training, validation and testing
events.jsonl            log with one event per line: created, started, epoch, stopped, finished
checkpoint.safetensors  state after the latest epoch, for `--resume`; removed at the end
weights.safetensors     the best weights of each model
result.json             how the run ended; written last, so a folder that has it is complete

The training process holds a lock on the folder. The operating system releases it however the process ends, so a killed
run is told from a running one at once, without a heartbeat. Nothing here imports torch, so that listing runs is fast.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import IO, Any, Literal

import pandas as pd

from crm_models.core.config import RunConfig
from crm_models.core.errors import DataError, RunError
from crm_models.core.files import absolute, read_whole
from crm_models.core.lines import append_line
from crm_models.core.locks import is_locked, locked
from crm_models.core.provenance import now
from crm_models.core.records import EpochEnd
from crm_models.core.schema import CUSTOMER_ID, MODEL_NAMES, ModelName
from crm_models.core.sealed import Types, read_record
from crm_models.core.tables import read_frame
from crm_models.data.features import FeatureEncoder
from crm_models.data.training_schema import TrainingSchema
from crm_models.runs.earlier import current_epoch

RunState = Literal["running", "finished", "stopped", "failed", "interrupted"]
ABOUT: Types = {
    "created_at": str,
    "cohort": str,
    "cohort_hash": str,
    "customers": dict,
    "config": dict,
    "popular": list,
    "notes": list,
}
"""Entries of `config.json`."""
RESULT: Types = {"state": str, "reason": str, "models": dict, "seconds": (int, float)}
"""Entries of `result.json`."""
AGAIN = "train it again"

ENDS = ("finished", "stopped", "failed")
_EPOCH_FACTS: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "epoch": (int,),
    "n_epochs": (int,),
    "train_loss": (float, int),
    "valid_loss": (float, int, type(None)),
    "best": (bool,),
    "seconds": (float, int),
    "final_refit": (bool,),
}
"""Types of the fields of an epoch event."""
_NEEDED_FACTS = {f.name for f in fields(EpochEnd) if f.default is MISSING}
"""Fields of an epoch event without a default; earlier versions did not write the others."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """State of a run. reason: why it failed or was stopped, or how to resume it after an interruption; else empty."""

    state: RunState
    reason: str
    epochs: tuple[EpochEnd, ...]
    seconds: float

    @property
    def is_over(self) -> bool:
        """Whether the run has ended, in whatever way."""
        return self.state != "running"

    @property
    def has_weights(self) -> bool:
        """Whether the run has weights for evaluation and planning."""
        return self.state in ("finished", "stopped")


class RunFolder:
    """Access to the files of one run. Cheap to make; it has no state except the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @property
    def run_id(self) -> str:
        """Name of the run: the name of its folder."""
        return absolute(self.folder).name

    def about(self) -> dict[str, Any]:
        """Content of `config.json`. `DataError` if the folder holds no run."""
        if not (self.folder / "config.json").exists():
            content = "a folder without config.json" if self.folder.is_dir() else "nothing"
            raise DataError(f"{self.folder}: expected a run folder, found {content}; make one with `train`")
        return read_record(self.folder / "config.json", "a run", ABOUT, remedy=AGAIN)

    def config(self) -> RunConfig:
        """Settings of the run."""
        about = self.about()
        with read_whole(self.folder / "config.json", "the settings of a run", "train it again"):
            return RunConfig.from_dict(about["config"])

    def encoder(self) -> FeatureEncoder:
        """The fitted encoder of the run, from cohort to arrays."""
        file = self.folder / "encoder.json"
        what = "how the run reads a cohort"
        content = read_record(file, what, {}, remedy=AGAIN, versioned=False)
        with read_whole(file, what, AGAIN):
            return FeatureEncoder.from_dict(content)

    def schema(self) -> TrainingSchema:
        """What the run was trained on; of a run of an earlier version, what its encoder knows."""
        file = self.folder / "schema.json"
        if not file.exists():
            return TrainingSchema.of_encoder(self.encoder())
        what, remedy = "what the run was trained on", "delete it, and the encoder's ranges are used"
        content = read_record(file, what, {}, remedy=remedy, versioned=False)
        with read_whole(file, what, remedy):
            return TrainingSchema.from_dict(content)

    def split(self) -> pd.DataFrame:
        """The split, one row per customer of the training cohort: `customer_id`, `part` (train, valid or test)."""
        file = self.folder / "split.parquet"
        return read_frame(file, "which customers trained and tested", [CUSTOMER_ID, "part"], remedy=AGAIN)

    def events(self) -> list[dict[str, Any]]:
        """Events logged so far. Lines truncated or damaged by a crash are left out."""
        file = self.folder / "events.jsonl"
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
        events = []
        for line in lines:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                events.append(event)
        return events

    def report(self) -> dict[str, Any] | None:
        """Content of `report.json`, or None if the run has not been evaluated. `DataError` if it is damaged."""
        file = self.folder / "report.json"
        if not file.exists():
            return None
        what, remedy = "the scores of a run", "delete it, and evaluate the run again"
        report = read_record(file, what, dict.fromkeys(MODEL_NAMES, (dict, NoneType)), remedy=remedy, versioned=False)
        if any(part is not None and "customers" not in part for part in (report[model] for model in MODEL_NAMES)):
            raise DataError(f"{file}: expected {what}, found a damaged file; {remedy}")
        return report

    def result(self) -> dict[str, Any] | None:
        """Content of `result.json`, or None if the run has not ended. `DataError` if it is damaged."""
        file = self.folder / "result.json"
        if not file.exists():
            return None
        result = read_record(file, "the result of a run", RESULT, remedy=AGAIN, versioned=False)
        if result["state"] not in ENDS or not all(_are_facts(facts) for facts in result["models"].values()):
            raise DataError(f"{file}: expected the result of a run, found a damaged file; {AGAIN}")
        return result

    def status(self) -> RunStatus:
        """State of the run (running, finished, stopped, failed or interrupted) and its epochs so far."""
        # The lock is checked before the result is read: a run that ends in between is then finished, not interrupted.
        alive, result, events = self.is_alive(), self.result(), self.events()
        epochs = tuple(EpochEnd(**{k: v for k, v in e.items() if k not in ("event", "at")}) for e in _latest(events))
        seconds = epochs[-1].seconds if epochs else 0.0
        if result is not None:
            state: RunState = result["state"]
            return RunStatus(state=state, reason=result["reason"], epochs=epochs, seconds=result["seconds"])
        if alive:
            return RunStatus(state="running", reason="", epochs=epochs, seconds=seconds)
        last = f"after epoch {epochs[-1].epoch} of the {epochs[-1].model} model" if epochs else "before its first epoch"
        reason = f"the process ended {last}; `train --resume --out {self.folder}` resumes it"
        return RunStatus(state="interrupted", reason=reason, epochs=epochs, seconds=seconds)

    def is_alive(self) -> bool:
        """Whether a process is training in this folder now."""
        return is_locked(self.folder / "lock")

    def request_stop(self) -> None:
        """Ask the training process to stop; it stops before the next batch and keeps its best weights."""
        (self.folder / "stop").touch()

    def stop_requested(self) -> bool:
        """Whether a stop was requested."""
        return (self.folder / "stop").exists()

    def record(self, event: str, **facts: Any) -> None:
        """Append one line to `events.jsonl`."""
        append_line(self.folder / "events.jsonl", {"event": event, "at": now()} | facts)

    @contextmanager
    def locked(self) -> Iterator[IO[bytes]]:
        """Hold the lock of a training process. `RunError` if another process holds it."""
        with locked(self.folder / "lock") as handle:
            if handle is None:
                raise RunError(f"{self.folder}: another process is training in this folder; stop it first")
            yield handle

    def need_intact(self) -> None:
        """Read all but the weights of what predictions need; an error names the first file that is damaged."""
        self.about(), self.encoder(), self.schema()
        if (self.folder / "split.parquet").exists():
            self.split()

    def need_weights(self) -> Path:
        """The file of best weights; `RunError` with what to do if there is none."""
        self.about()
        status = self.status()
        if not status.has_weights:
            state = {
                "running": "is still training; wait for it or stop it",
                "failed": f"failed: {status.reason}",
                "interrupted": f"was interrupted: {status.reason}",
            }[status.state]
            raise RunError(f"{self.folder}: expected a run that has ended with weights, but it {state}")
        file = self.folder / "weights.safetensors"
        if not file.exists():
            raise RunError(f"{self.folder}: weights.safetensors is missing; train the run again")
        return file

    def trained(self) -> tuple[ModelName, ...]:
        """Models whose weights the run has."""
        result = self.result() or {}
        return tuple(result.get("models", {}))


def _latest(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Epoch events, the latest of each model and epoch: a resumed run repeats epochs after its checkpoint."""
    metadata = {"event", "at"}
    epochs = [current_epoch(e) for e in events if e["event"] == "epoch"]
    valid = [e for e in epochs if _NEEDED_FACTS <= set(e) - metadata <= set(_EPOCH_FACTS) and _has_types(e)]
    latest = {(e["model"], e["epoch"]): e for e in valid}
    return list(latest.values())


def _has_types(event: dict[str, Any]) -> bool:
    """Whether each field of an epoch event is of its type: an epoch counts from 1, a truth value is no number."""
    types = all(type(event[name]) in kinds for name, kinds in _EPOCH_FACTS.items() if name in event)
    return types and event["model"] in MODEL_NAMES and event["epoch"] >= 1


def _are_facts(facts: Any) -> bool:
    """Whether this may be what the result says of a model: numbers by name."""
    return isinstance(facts, dict) and all(type(value) in (int, float) for value in facts.values())
