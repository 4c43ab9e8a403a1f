"""What a search for better settings has found: its trials and the best of them on disk, readable without Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from crm_models.core.config import RunConfig
from crm_models.core.errors import DataError
from crm_models.core.files import read_json, read_whole
from crm_models.core.schema import ModelName
from crm_models.runs.folder import RunFolder

FILE = "tune.json"
"""By this file a folder is known to hold a search."""

TrialState = Literal["training", "open", "finished", "pruned", "failed"]
SearchState = Literal["searching", "done", "time is up", "stopped", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial. number: from 1, the starting point itself; run: the name of its run folder.

    state: `pruned` was ended early, being worse than half of the earlier ones; `open` was cut short and will be gone on
    with. loss: on validation customers, nats, of the weights that were kept; None before the first epoch. settings:
    those that differ from the starting point, by their `--set` names. reason: why it failed or was ended; else "".
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
        """Whether it counts: nothing more will be done for it."""
        return self.state in ("finished", "pruned", "failed")


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search as its `tune.json` tells it. about: all that is there.

    state: `interrupted` is a search that a kill has ended; it goes on like one that was stopped or whose time is up.
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
        """The trials that have ended."""
        return tuple(t for t in self.trials if t.is_over)

    @property
    def start(self) -> Trial | None:
        """The trial of the starting point, once it has finished."""
        first = self.trials[0] if self.trials else None
        return first if first is not None and first.state == "finished" else None

    @property
    def best(self) -> Trial | None:
        """The finished trial with the lowest loss, the earlier one of two alike; None before the first has finished."""
        return best_of(self.trials)

    @property
    def better_by(self) -> float | None:
        """Nats that the best lies below the starting point, 0 or more; None while that is unknown."""
        return better_by(self.trials)

    @property
    def arguments(self) -> list[str]:
        """Options of `train` that repeat the best trial's settings."""
        return list(self.about["best"]["arguments"]) if self.about["best"] else []


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the lowest loss; None where none has finished."""
    finished = [(t.loss, t.number, t) for t in trials if t.state == "finished" and t.loss is not None]
    return min(finished, key=lambda f: f[:2])[2] if finished else None


def better_by(trials: Sequence[Trial]) -> float | None:
    """How far the best finished trial lies below the first one, nats; None where either has no loss."""
    best = best_of(trials)
    first = next((t for t in trials if t.number == 1 and t.state == "finished"), None)
    if best is None or best.loss is None or first is None or first.loss is None:
        return None
    return first.loss - best.loss


def found(trials: Sequence[Trial], arguments: Sequence[str]) -> dict[str, Any]:
    """The part of `tune.json` that grows with the trials. arguments: options of `train` for the best one."""
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
    """The search in a folder; `DataError` where it holds none, or a damaged one."""
    file = Path(folder) / FILE
    if not file.exists():
        raise DataError(f"{folder}: expected a search, found no {FILE}; make one with `tune`")
    # Alive is asked before the file is read: a search that ends in between then looks ended, not interrupted.
    alive = RunFolder(folder).is_alive()
    about = read_json(file)
    with read_whole(file, "a search of format 1", "begin another one with `tune`"):
        if about["format"] != 1 or not set(about) >= _NEEDED:
            raise ValueError("another format")
        RunConfig.from_dict(about["config"])
        state: SearchState = about["state"]
        return Search(
            folder=Path(folder),
            state="interrupted" if state == "searching" and not alive else state,
            trials=tuple(Trial(**trial) for trial in about["trials"]),
            about=about,
        )


_NEEDED = {"cohort", "cohort_hash", "model", "preset", "seed", "limits", "began_at", "best", "seconds", "space"}


def summary(folder: Path) -> str:
    """One line on what a search has found so far."""
    found_so_far = read_search(folder)
    over, best, first = found_so_far.over, found_so_far.best, found_so_far.start
    pruned = sum(t.state == "pruned" for t in over)
    preset = found_so_far.about["preset"]
    said = [f"{len(over)} trials, {found_so_far.about['seconds']:.1f} s of training"]
    if pruned:
        said.append(f"{pruned} of them ended early")
    if best is None:
        said.append("none has finished yet, and the same command goes on")
    elif best.number == 1:
        said.append(f"none was better than {preset} itself with a validation loss of {best.loss:.4f}")
    else:
        beside = "" if first is None else f", {preset} itself {first.loss:.4f}"
        said.append(f"best is trial {best.number} with a validation loss of {best.loss:.4f}{beside}")
        said.append("train with " + " ".join(found_so_far.arguments))
    return f"{folder}: {found_so_far.state}; {'; '.join(said)}"
