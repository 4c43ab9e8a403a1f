"""A run is a folder: start it, watch it, stop it, pick it up again, load what it learned.

config.json         what was asked: settings, cohort and its hash, versions; written first
encoder.json        how the cohort becomes arrays; split.parquet: which customers trained, chose and tested
events.jsonl        one line per thing that happened: started, epoch, calibrated, stopped, finished, failed
checkpoint.safetensors  the state after the latest epoch, for `resume`; removed at the end
weights.safetensors the best weights of each model
result.json         how it ended; written last, so that a folder with it is complete

A process that trains holds a lock on the folder. The operating system lets go of it however the process ends, so "is it
alive?" needs no heartbeat and a killed run is told from a running one at once. Torch is imported only inside the
functions that need it, so that listing runs stays cheap.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import IO, Any, Literal

import pandas as pd

from crm_models.core.config import RunConfig
from crm_models.core.errors import DataError, RunError
from crm_models.core.files import read_json, read_whole
from crm_models.core.locks import is_locked, locked
from crm_models.core.provenance import now
from crm_models.core.records import EpochEnd
from crm_models.core.schema import CUSTOMER_ID, ModelName
from crm_models.data.features import FeatureEncoder
from crm_models.runs.earlier import current_epoch

RunState = Literal["running", "finished", "stopped", "failed", "interrupted"]
ABOUT: dict[str, type] = {"config": dict, "cohort": str, "cohort_hash": str, "popular": list, "notes": list}
"""What `config.json` must say for everything after training to work, and in which form."""

_EPOCH_FACTS = {f.name for f in fields(EpochEnd)}
_NEEDED_FACTS = {f.name for f in fields(EpochEnd) if f.default is MISSING}
"""Runs of earlier versions do not say all that there is to say of an epoch now."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Where a run stands. reason: why it failed, or what to do about an interruption; empty otherwise."""

    state: RunState
    reason: str
    epochs: tuple[EpochEnd, ...]
    seconds: float

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state != "running"

    @property
    def has_weights(self) -> bool:
        """Whether the run can be evaluated and planned with."""
        return self.state in ("finished", "stopped")


class RunFolder:
    """The files of one run, and the few things that can be asked of them. Cheap to make; holds no state of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    @property
    def run_id(self) -> str:
        """The name of the run: that of its folder."""
        return self.folder.resolve().name

    def about(self) -> dict[str, Any]:
        """What `config.json` says. `DataError` where the folder holds no run."""
        if not (self.folder / "config.json").exists():
            found = "a folder without config.json" if self.folder.is_dir() else "nothing"
            raise DataError(f"{self.folder}: expected a run folder, found {found}; make one with `train`")
        about = read_json(self.folder / "config.json")
        if not isinstance(about, dict) or about.get("format") != 1:
            raise DataError(f"{self.folder / 'config.json'}: expected a run of format 1; train it again")
        for name, kind in ABOUT.items():
            if not isinstance(about.get(name), kind):
                raise DataError(
                    f"{self.folder / 'config.json'}: expected {name!r} of a run, found none; train it again"
                )
        return about

    def config(self) -> RunConfig:
        """The settings of the run."""
        about = self.about()
        with read_whole(self.folder / "config.json", "the settings of a run", "train it again"):
            return RunConfig.from_dict(about["config"])

    def encoder(self) -> FeatureEncoder:
        """How the run turns a cohort into arrays."""
        file = self.folder / "encoder.json"
        with read_whole(file, "how the run reads a cohort", "train it again"):
            return FeatureEncoder.from_dict(read_json(file))

    def split(self) -> pd.DataFrame:
        """One row per customer of the training cohort: `customer_id`, `part` (train, valid or test)."""
        file = self.folder / "split.parquet"
        with read_whole(file, "which customers trained and tested", "train the run again"):
            return pd.read_parquet(file, columns=[CUSTOMER_ID, "part"])

    def events(self) -> list[dict[str, Any]]:
        """Everything that happened so far. Lines that a crash cut off or damaged are left out."""
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

    def result(self) -> dict[str, Any] | None:
        """How the run ended, or None while it has not."""
        file = self.folder / "result.json"
        if not file.exists():
            return None
        result = read_json(file)
        if not isinstance(result, dict) or not {"state", "reason", "seconds", "models"} <= set(result):
            raise DataError(f"{file}: expected how the run ended, found it damaged; train the run again")
        return result

    def status(self) -> RunStatus:
        """Running, finished, stopped, failed or interrupted; with every epoch so far."""
        # Alive is asked before the result is read: a run that ends in between then looks finished, not failed.
        alive, result, events = self.is_alive(), self.result(), self.events()
        epochs = tuple(EpochEnd(**{k: v for k, v in e.items() if k not in ("event", "at")}) for e in _latest(events))
        seconds = epochs[-1].seconds if epochs else 0.0
        if result is not None:
            state: RunState = result["state"]
            return RunStatus(state=state, reason=result["reason"], epochs=epochs, seconds=result["seconds"])
        if alive:
            return RunStatus(state="running", reason="", epochs=epochs, seconds=seconds)
        last = f"after epoch {epochs[-1].epoch} of the {epochs[-1].model} model" if epochs else "before its first epoch"
        reason = f"the process ended {last}; `train --resume --out {self.folder}` goes on from there"
        return RunStatus(state="interrupted", reason=reason, epochs=epochs, seconds=seconds)

    def is_alive(self) -> bool:
        """Whether a process is training in this folder at this moment."""
        return is_locked(self.folder / "lock")

    def request_stop(self) -> None:
        """Ask the training process to stop; it does so within a batch and keeps its best weights."""
        (self.folder / "stop").touch()

    def stop_requested(self) -> bool:
        """Whether somebody asked for a stop."""
        return (self.folder / "stop").exists()

    def record(self, event: str, **facts: Any) -> None:
        """Append one line to `events.jsonl`."""
        line = json.dumps({"event": event, "at": now()} | facts, allow_nan=False) + "\n"
        with (self.folder / "events.jsonl").open("a+b") as handle:
            # A crash may have cut the last line off; the next one must not be glued to it.
            if handle.tell() > 0:
                handle.seek(-1, 2)
                if handle.read(1) != b"\n":
                    line = "\n" + line
            handle.write(line.encode())

    @contextmanager
    def locked(self) -> Iterator[IO[bytes]]:
        """Hold the lock that says a process is training here. `RunError` where another one holds it."""
        with locked(self.folder / "lock") as handle:
            if handle is None:
                raise RunError(f"{self.folder}: another process is training in this folder; stop it first")
            yield handle

    def need_weights(self) -> Path:
        """The file of best weights; `RunError` saying what to do where the run has none."""
        self.about()
        status = self.status()
        if not status.has_weights:
            what = {
                "running": "is still training; wait for it or stop it",
                "failed": f"failed: {status.reason}",
                "interrupted": f"was interrupted: {status.reason}",
            }[status.state]
            raise RunError(f"{self.folder}: expected a run that has ended with weights, but it {what}")
        file = self.folder / "weights.safetensors"
        if not file.exists():
            raise RunError(f"{self.folder}: weights.safetensors is missing; train the run again")
        return file

    def trained(self) -> tuple[ModelName, ...]:
        """The models that the run has weights of."""
        result = self.result() or {}
        return tuple(result.get("models", {}))


def _latest(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Epoch events, each epoch of each model once: a resumed run repeats the one that was under way."""
    about_it = {"event", "at"}
    epochs = [current_epoch(e) for e in events if e["event"] == "epoch"]
    whole = [e for e in epochs if _NEEDED_FACTS <= set(e) - about_it <= _EPOCH_FACTS]
    latest = {(e["model"], e["epoch"]): e for e in whole}
    return list(latest.values())
