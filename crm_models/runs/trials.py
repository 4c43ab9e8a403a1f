"""Results of a search for better settings: its trials and the best one on disk, readable without Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from crm_models.core.config import RunConfig
from crm_models.core.errors import DataError
from crm_models.core.files import read_whole
from crm_models.core.schema import ModelName
from crm_models.core.sealed import Types, read_record
from crm_models.runs.folder import RunFolder

FILE = "tune.json"
"""The file that marks a folder as a search."""

SEARCH_AGAIN = "start a new one with `tune`"
_TYPES: Types = {
    "cohort": str,
    "cohort_hash": str,
    "model": str,
    "preset": str,
    "seed": int,
    "config": dict,
    "state": str,
    "limits": dict,
    "began_at": str,
    "best": (dict, type(None)),
    "seconds": (int, float),
    "space": list,
    "trials": list,
}
"""Entries of `tune.json`."""

TrialState = Literal["training", "open", "finished", "pruned", "failed"]
SearchState = Literal["searching", "done", "time is up", "stopped", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial. number: from 1, which is the starting point; run: the name of its run folder.

    state: `pruned` was ended early, because it was worse than half of the earlier trials; `open` was interrupted and
    will be resumed. loss: validation loss in nats of the kept weights; None before the first epoch. settings: those
    that differ from the starting point, by their `--set` names. reason: why it failed or was ended; else "".
    """

    number: int
    run: str
    state: TrialState
    loss: float | None
    epochs: int
    seconds: float
    settings: dict[str, Any]
    reason: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the trial has ended, so that it counts."""
        return self.state in ("finished", "pruned", "failed")


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search as read from its `tune.json`. about: the whole content of the file.

    state: `interrupted` is a search whose process was killed; like a stopped one it can be resumed.
    """

    folder: Path
    state: SearchState
    trials: tuple[Trial, ...]
    about: dict[str, Any]

    @property
    def model(self) -> ModelName:
        """The model whose settings are searched."""
        model: ModelName = self.about["model"]
        return model

    @property
    def over(self) -> tuple[Trial, ...]:
        """Trials that have ended."""
        return tuple(t for t in self.trials if t.is_over)

    @property
    def start(self) -> Trial | None:
        """The trial of the starting point; None before it has finished."""
        first = self.trials[0] if self.trials else None
        return first if first is not None and first.state == "finished" else None

    @property
    def best(self) -> Trial | None:
        """The finished trial with the lowest loss, the earlier one of equals; None before the first has finished."""
        return best_of(self.trials)

    @property
    def better_by(self) -> float | None:
        """By how many nats the best loss is below the starting point's, 0 or more; None while unknown."""
        return better_by(self.trials)

    @property
    def arguments(self) -> list[str]:
        """Options of `train` that repeat the best trial's settings."""
        return list(self.about["best"]["arguments"]) if self.about["best"] else []


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the lowest loss; None if none has finished."""
    finished = [(t.loss, t.number, t) for t in trials if t.state == "finished" and t.loss is not None]
    return min(finished, key=lambda f: f[:2])[2] if finished else None


def better_by(trials: Sequence[Trial]) -> float | None:
    """By how many nats the best finished trial is below the first; None if either has no loss."""
    best = best_of(trials)
    first = next((t for t in trials if t.number == 1 and t.state == "finished"), None)
    if best is None or best.loss is None or first is None or first.loss is None:
        return None
    return first.loss - best.loss


def found(trials: Sequence[Trial], arguments: Sequence[str]) -> dict[str, Any]:
    """The part of `tune.json` that changes with the trials. arguments: options of `train` for the best one."""
    best, first = best_of(trials), next((t for t in trials if t.number == 1), None)
    gain = better_by(trials)
    return {
        "best": None if best is None else asdict(best) | {"arguments": list(arguments)},
        "starting_loss": None if first is None or first.state != "finished" else first.loss,
        "better_by": gain,
        "seconds": round(sum(t.seconds for t in trials), 3),
        "trials": [asdict(t) for t in trials],
    }


def read_search(folder: Path) -> Search:
    """The search in a folder; `DataError` if it holds none or a damaged one."""
    file = Path(folder) / FILE
    if not file.exists():
        raise DataError(f"{folder}: expected a search, found no {FILE}; make one with `tune`")
    # The lock is checked before the file is read: a search that ends in between is then over, not interrupted.
    alive = RunFolder(folder).is_alive()
    about = read_record(file, "a search", _TYPES, remedy=SEARCH_AGAIN)
    with read_whole(file, "a search", SEARCH_AGAIN):
        RunConfig.from_dict(about["config"])
        state: SearchState = about["state"]
        return Search(
            folder=Path(folder),
            state="interrupted" if state == "searching" and not alive else state,
            trials=tuple(Trial(**trial) for trial in about["trials"]),
            about=about,
        )


def summary(folder: Path) -> str:
    """One line on the results of a search so far."""
    search = read_search(folder)
    over, best, first = search.over, search.best, search.start
    pruned = sum(t.state == "pruned" for t in over)
    preset = search.about["preset"]
    parts = [f"{len(over)} trials, {search.about['seconds']:.1f} s of training"]
    if pruned:
        parts.append(f"{pruned} of them ended early")
    if best is None:
        parts.append("none has finished yet; repeat the command to continue")
    elif best.number == 1:
        parts.append(f"none was better than {preset} itself, with a validation loss of {best.loss:.4f}")
    else:
        start_loss = "" if first is None else f" ({preset} itself: {first.loss:.4f})"
        parts.append(f"best is trial {best.number} with a validation loss of {best.loss:.4f}{start_loss}")
        parts.append("train with " + " ".join(search.arguments))
    return f"{folder}: {search.state}; {'; '.join(parts)}"
