"""The runs of several seeds that belong to a run, and the file with what they say.

`seeds/<seed>` in the run folder is a run with the settings, the split and the cohort of the run, and another seed.
`stability.parquet` holds every customer's churn probability and first action by each of them; it is out of date once
the run has other weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from crm_models.core.engines import InProcess
from crm_models.core.errors import ConfigError, RunError
from crm_models.core.files import read_whole, sha256
from crm_models.core.places import Place
from crm_models.core.records import CustomerScores, EpochEnd
from crm_models.core.schema import CUSTOMER_ID, PlanFor
from crm_models.core.tables import read_table, write_table
from crm_models.data.storage import digest
from crm_models.evaluation.scores import churn_scores, sequence_scores
from crm_models.planning.plans import make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.stability import Stability
from crm_models.runs.folder import RunFolder
from crm_models.runs.held_out import held_out, predict_held_out
from crm_models.runs.pipeline import fit, start_run
from crm_models.runs.trained import plan_catalogue

FILE = "stability.parquet"
_KEY = b"crm_stability"
_WHAT, _REMEDY = "what several seeds say", "delete it, or run `stability` again"


def member(run: RunFolder, seed: int) -> RunFolder:
    """The run of another seed; the run itself for its seed."""
    return run if seed == run.config().seed else RunFolder(run.folder / "seeds" / str(seed))


def seeds_of(run: RunFolder, n_seeds: int) -> tuple[int, ...]:
    """The seed of the run and those that follow it, `n_seeds` in all."""
    if not 2 <= n_seeds <= 100:
        raise ConfigError(f"stability needs from 2 to 100 seeds to compare, found {n_seeds}")
    return tuple((run.config().seed + k) % 2**32 for k in range(n_seeds))


def train_members(
    run: RunFolder, seeds: tuple[int, ...], cohort: Path, *, device: str, threads: int | None
) -> Iterator[EpochEnd]:
    """Train the runs of the seeds that are not finished yet; yields their epochs. Ends early on a stop request."""
    config, about = run.config(), run.about()
    if digest(cohort) != about["cohort_hash"]:
        raise RunError(f"{run.folder}: the cohort {cohort} has changed since the run was trained; train a new run")
    split_seed = config.seed if config.split_seed is None else config.split_seed
    for seed in seeds[1:]:
        of_seed = member(run, seed)
        if (of_seed.folder / "config.json").exists():
            if of_seed.status().state == "finished":
                continue
        else:
            start_run(cohort, of_seed.folder, replace(config, seed=seed, split_seed=split_seed), chosen=True)
        for epoch in fit(of_seed, device=device, threads=threads):
            yield epoch
            if run.stop_requested():
                of_seed.request_stop()
        if run.stop_requested():
            return


def compared(
    run: RunFolder,
    seeds: tuple[int, ...],
    cohort: Path,
    score: Callable[[RunFolder], Iterable[CustomerScores]],
    *,
    device: str,
    threads: int | None,
) -> Stability:
    """Scores of all customers, which `score` gives, and of the test customers, by the runs of the seeds."""
    churn_p, first, policy = [], [], Policy()
    scores: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        of_seed = member(run, seed)
        catalogue = plan_catalogue(of_seed, policy)
        plans = [make_plans(part, catalogue, policy) for part in score(of_seed)]
        ids = np.concatenate([part.customer_id for part in plans])
        churn_p.append(np.concatenate([part.churn_p for part in plans]))
        first.append(np.concatenate([part.before[:, 0] for part in plans]))
        encoder = of_seed.encoder()
        held = held_out(of_seed, InProcess(threads), cohort)
        sequence, churn = predict_held_out(of_seed, held, cohort, InProcess(threads), device=device)
        if sequence is not None:
            scores.setdefault("sequence", []).append(sequence_scores(sequence, encoder.n_actions))
        if churn is not None:
            scores.setdefault("churn", []).append(churn_scores(churn))
    return Stability(
        seeds=seeds,
        customer_id=ids,
        churn_p=np.stack(churn_p, axis=1),
        first=np.stack(first, axis=1),
        scores={model: _by_score(parts) for model, parts in scores.items()},
    )


def _by_score(parts: list[dict[str, Any]]) -> dict[str, list[float]]:
    """The values of each score, one for each part; scores that are no number everywhere are left out."""
    return {
        name: [part[name] for part in parts]
        for name in parts[0]
        if all(isinstance(part[name], float) for part in parts)
    }


def write_stability(run: RunFolder, found: Stability) -> None:
    """Keep what the seeds say in the run folder."""
    columns: dict[str, pa.Array] = {CUSTOMER_ID: pa.array(found.customer_id, type=pa.string())}
    for k, seed in enumerate(found.seeds):
        columns[f"churn_p_{seed}"] = pa.array(found.churn_p[:, k], from_pandas=False)
        columns[f"first_{seed}"] = pa.array(found.first[:, k].astype(np.int32))
    about = {"format": 1, "seeds": found.seeds, "scores": found.scores, "weights": sha256(run.need_weights())}
    write_table(run.folder / FILE, pa.table(columns).replace_schema_metadata({_KEY: json.dumps(about).encode()}))


def stability_on(run: RunFolder, cohort: Place, as_of: str | None, plan_for: PlanFor) -> Stability | None:
    """What the seeds of a run say of a cohort; None where they did not score it, at this moment and for such plans."""
    found = read_stability(run) if as_of is None and plan_for == "whole" else None
    return found if found is not None and digest(cohort) == run.about()["cohort_hash"] else None


def read_stability(run: RunFolder) -> Stability | None:
    """What the seeds of a run say; None if nobody asked, or the run has other weights since. `DataError` if damaged."""
    file = run.folder / FILE
    if not file.exists():
        return None
    table = read_table(file, _WHAT, remedy=_REMEDY)
    with read_whole(file, _WHAT, _REMEDY):
        about = json.loads((table.schema.metadata or {})[_KEY])
        seeds = tuple(int(seed) for seed in about["seeds"])
        churn_p, first = (
            np.stack([table.column(f"{name}_{seed}").to_numpy() for seed in seeds], axis=1)
            for name in ("churn_p", "first")
        )
        weights, scores = about["weights"], about["scores"]
        customer_id = table.column(CUSTOMER_ID).to_numpy()
    if weights != sha256(run.need_weights()):
        return None
    return Stability(seeds=seeds, customer_id=customer_id, churn_p=churn_p, first=first, scores=scores)
