"""Predictions of a run for its test customers, kept in its folder so that the evaluation page need not compute them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from crm_models.core.engines import InProcess
from crm_models.core.files import new_file
from crm_models.core.records import ChurnPredictions, SequencePredictions
from crm_models.core.schema import MODEL_NAMES
from crm_models.runs.folder import RunFolder

FILE = "held_out.npz"


@dataclass(frozen=True, kw_only=True)
class Tested:
    """Predictions of a run for its test customers, with their outcomes; n_actions is A for chance."""

    sequence: SequencePredictions | None
    churn: ChurnPredictions | None
    n_actions: int


def mark(file: Path) -> str:
    """A text that changes when the file does; "" if there is no file."""
    try:
        facts = file.stat()
    except OSError:
        return ""
    return f"{facts.st_mtime_ns}-{facts.st_size}"


def stamp(folder: Path) -> str:
    """A text that changes when one of the tables of a cohort does; cheap, unlike a digest of a gigabyte."""
    tables = ("cohort.json", "customers.parquet", "interactions.parquet", "actions.parquet")
    return "/".join(filter(None, (mark(folder / name) for name in tables)))


def keep_tested(run: RunFolder, cohort: Path) -> Tested:
    """The predictions in the run folder, computed first if they are missing or out of date."""
    key = f"{stamp(cohort)}|{run.need_weights().stat().st_mtime_ns}"
    file = run.folder / FILE
    saved = _read_tested(file, key)
    if saved is None:
        saved = _predict(run, cohort)
        _write_tested(file, key, saved)
    return saved


def _predict(run: RunFolder, cohort: Path) -> Tested:
    from crm_models.evaluation.scores import possible_actions
    from crm_models.runs.held_out import held_out, predict_held_out

    held, kinds = held_out(run, InProcess(threads=1), cohort), run.encoder().kinds
    sequence, churn = predict_held_out(run, held, cohort, InProcess(threads=1), device="cpu")
    return Tested(sequence=sequence, churn=churn, n_actions=possible_actions(kinds, held.arrays.events.action))


def _write_tested(file: Path, key: str, tested: Tested) -> None:
    predictions = {name: getattr(tested, name) for name in MODEL_NAMES}
    parts = {f"{name}.{k}": v for name, one in predictions.items() if one is not None for k, v in vars(one).items()}
    # Ids are saved as fixed-width text, because object arrays need pickle, which can run code when read.
    arrays = {k: v.astype(str) if v.dtype == object else v for k, v in parts.items()}
    with new_file(file) as part, part.open("wb") as handle:
        np.savez_compressed(handle, key=np.array(key), n_actions=np.array(tested.n_actions), **arrays)


def _read_tested(file: Path, key: str) -> Tested | None:
    try:
        with np.load(file, allow_pickle=False) as saved:
            if str(saved["key"]) != key:
                return None
            arrays = {name: saved[name] for name in saved.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    fields = {m: {k.split(".")[1]: v for k, v in arrays.items() if k.startswith(f"{m}.")} for m in MODEL_NAMES}
    try:
        return Tested(
            sequence=SequencePredictions(**fields["sequence"]) if fields["sequence"] else None,
            churn=ChurnPredictions(**fields["churn"]) if fields["churn"] else None,
            n_actions=int(arrays["n_actions"]),
        )
    except TypeError:  # an earlier version kept other columns
        return None
