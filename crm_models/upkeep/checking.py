"""State of everything in a workspace: every file is read as the commands and pages read it, and damage is named.

What can be made again from something else is deleted by a repair, and made when it is next needed; leftovers of killed
processes are cleared. Nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crm_models.campaigns import learning, ledger
from crm_models.campaigns.folder import Campaign
from crm_models.core.errors import CrmError, DataError, why
from crm_models.core.files import DAMAGED, read_json
from crm_models.core.recovery import leftovers, recover, workspace_folders
from crm_models.data.storage import parts
from crm_models.data.truth import load_truth
from crm_models.inference.score_store import read_scores
from crm_models.runs.folder import AGAIN, RunFolder
from crm_models.runs.tensors import load_arrays
from crm_models.runs.trials import read_search


@dataclass(frozen=True)
class Part:
    """What is read by itself. can_be_made_again: so that a repair may delete the file."""

    file: Path
    read: Callable[[], Any]
    can_be_made_again: bool = False


@dataclass
class State:
    """The state of a workspace. counts: sound and damaged cohorts, runs, ... by kind; the others are sentences."""

    counts: dict[str, list[int]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    mendable: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """All of it as text, the damaged last."""
        counts = [
            f"{kind}: {sound:,} sound" + (f", {bad:,} damaged" if bad else "")
            for kind, (sound, bad) in self.counts.items()
        ]
        return [
            *counts,
            *(f"mended: {text}" for text in self.mended),
            *(f"to mend (--repair): {text}" for text in self.mendable),
            *(f"damaged: {text}" for text in self.damaged),
        ]


def check_workspace(workspace: Path, *, repair: bool = False) -> State:
    """Read everything in a workspace. `DataError` if there is none."""
    if not workspace.is_dir():
        raise DataError(f"{workspace}: expected a workspace folder, found none; name it with --workspace")
    state = State()
    for folder in workspace_folders(workspace):
        if repair:
            state.mended += recover(folder)
        else:
            state.mendable += [f"{entry}: left by an interrupted command" for entry in leftovers(folder)]
    for kind, pattern, of in _KINDS:
        sound = bad = 0
        for marker in sorted(workspace.glob(pattern)):
            if any(name.startswith(".") for name in marker.relative_to(workspace).parts):
                continue
            if _is_sound(of(marker), state, repair=repair):
                sound += 1
            else:
                bad += 1
        state.counts[kind] = [sound, bad]
    return state


def _is_sound(of: Iterator[Part], state: State, *, repair: bool) -> bool:
    found = len(state.damaged)
    for part in of:
        try:
            part.read()
        except (CrmError, OSError, *DAMAGED) as error:
            text = why(error)
            text = text if str(part.file) in text else f"{part.file}: {text}"
            if not part.can_be_made_again:
                state.damaged.append(text)
            elif repair:
                part.file.unlink(missing_ok=True)
                state.mended.append(f"deleted, to be made again when needed: {text}")
            else:
                state.mendable.append(text)
    return len(state.damaged) == found


def _cohort(marker: Path) -> Iterator[Part]:
    folder = marker.parent
    yield Part(marker, lambda: sum(part.n_customers for part in parts(folder)))
    yield Part(folder / "truth.json", lambda: load_truth(folder))


def _run(marker: Path) -> Iterator[Part]:
    run = RunFolder(marker.parent)
    result, checkpoint = run.folder / "result.json", run.folder / "checkpoint.safetensors"
    yield Part(marker, run.config)
    yield Part(result, run.status)
    yield Part(run.folder / "encoder.json", run.need_intact)
    weights = run.folder / "weights.safetensors"
    if result.exists():
        yield Part(weights, lambda: load_arrays(weights, "the run's weights", AGAIN) if run.trained() else None)
    yield Part(run.folder / "events.jsonl", lambda: _need_events(run))
    if checkpoint.exists():
        yield Part(checkpoint, lambda: load_arrays(checkpoint, "the state of a training", "delete it"), result.exists())
    yield Part(run.folder / "report.json", run.report, can_be_made_again=True)
    for file in sorted(run.folder.glob("scores/*")):
        yield Part(file, lambda file=file: read_scores(file), can_be_made_again=True)  # type: ignore[misc]  # a default argument
    tested = run.folder / "held_out.npz"
    if tested.exists():
        yield Part(tested, lambda: _need_arrays(tested), can_be_made_again=True)


def _need_events(run: RunFolder) -> None:
    """`DataError` if lines of the log are damaged; they are left out when it is read."""
    file = run.folder / "events.jsonl"
    lines = file.read_bytes().splitlines() if file.exists() else []
    lost = sum(1 for line in lines if line.strip()) - len(run.events())
    if lost:
        raise DataError(f"{file}: expected {len(lines)} events of a training, found {lost} damaged; they are left out")


def _need_arrays(file: Path) -> None:
    from zipfile import BadZipFile

    try:
        with np.load(file, allow_pickle=False) as saved:
            _ = [saved[name] for name in saved.files]
    except (BadZipFile, EOFError, *DAMAGED) as error:
        raise DataError(f"{file}: expected predictions for the test customers, found it damaged ({error})") from None


def _search(marker: Path) -> Iterator[Part]:
    yield Part(marker, lambda: read_search(marker.parent))


def _campaign(marker: Path) -> Iterator[Part]:
    folder = marker.parent
    try:
        campaign = Campaign.load(folder)
    except CrmError:
        yield Part(marker, lambda: Campaign.load(folder))
        return
    yield Part(folder / "scores.parquet", campaign.scores)
    yield Part(folder / "dropped.parquet", campaign.dropped)
    yield Part(folder / "decisions.parquet", campaign.decisions)
    yield Part(folder / "outcomes.parquet", campaign.outcomes)
    yield Part(folder / "reading.json", campaign.reading)
    yield Part(folder / ledger.FILE, lambda: ledger.lines(folder))
    yield Part(folder / learning.FILE, lambda: learning.learned(campaign), can_be_made_again=True)


def _job(file: Path) -> Iterator[Part]:
    yield Part(file, lambda: _need_object(file), can_be_made_again=True)


def _need_object(file: Path) -> None:
    content = read_json(file)
    job = content.get("job", content) if isinstance(content, dict) else None
    if not isinstance(job, dict) or not isinstance(job.get("run"), str):
        raise DataError(f"{file}: expected a job, found it damaged")


_KINDS: tuple[tuple[str, str, Callable[[Path], Iterator[Part]]], ...] = (
    ("cohorts", "cohorts/*/cohort.json", _cohort),
    ("runs", "runs/*/config.json", _run),
    ("searches", "runs/*/tune.json", _search),
    ("campaigns", "campaigns/*/campaign.json", _campaign),
    ("jobs", "jobs/**/*.json", _job),
)
