"""The verbs of the product as functions: generate, import, check, train, evaluate, plan, and the paper's re-run.

The command line, the app and notebooks all come through here. Heavy imports happen inside the functions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from crm_models.core.config import RunConfig
from crm_models.core.errors import ConfigError
from crm_models.core.files import need_own_folder
from crm_models.core.prefetch import prefetch
from crm_models.core.presets import preset as preset_config
from crm_models.core.provenance import now
from crm_models.core.records import CustomerScores, EpochEnd
from crm_models.core.schema import ModelName, PlanLayout
from crm_models.data.cohort import Cohort, Moment
from crm_models.data.split import planning_moment
from crm_models.data.storage import describe, digest, last_moment_days, load_cohort, parts, save_cohort
from crm_models.runs.folder import RunFolder

if TYPE_CHECKING:
    from crm_models.data.checks import Finding
    from crm_models.data.features import CohortArrays
    from crm_models.planning.export import ExportSettings
    from crm_models.planning.plans import Plans
    from crm_models.planning.policy import Policy
    from crm_models.runs.trials import Trial

Progress = Callable[[int, int], None]
"""Called with customers done and customers in all."""


# ---- cohorts ---------------------------------------------------------------------------------------------------------


def generate(
    out: Path,
    *,
    scenario: str,
    customers: int | None = None,
    signal: float = 1.0,
    seed: int = 0,
    events: int | None = None,
) -> Cohort:
    """Draw a synthetic cohort (`paper` or `lifelike`) and save it, with its truth, as the folder `out`."""
    from crm_models.data.sources.synthetic import ScenarioSettings
    from crm_models.data.sources.synthetic import generate as draw

    given: dict[str, Any] = {"scenario": scenario, "customers": customers, "signal": signal, "seed": seed}
    cohort, truth = draw(ScenarioSettings(**given, events=events))
    save_cohort(cohort, out, extra={"truth.json": truth.to_json()})
    return cohort


def import_files(out: Path, form: str, sources: Sequence[Path], **options: Any) -> Cohort:
    """Read files of a known form (one of `crm_models.data.sources.FORMS`) and save them as the cohort folder `out`."""
    from crm_models.data.sources import import_cohort

    if Path(out).resolve() in [Path(source).resolve() for source in sources]:
        raise ConfigError(f"{out}: --out would replace what is imported; choose another --out")
    cohort = import_cohort(form, [Path(source) for source in sources], **options)
    save_cohort(cohort, out)
    return cohort


def check(folder: Path) -> list[Finding]:
    """What in a cohort will hurt, before anything is trained on it."""
    from crm_models.data.checks import check_cohort

    return check_cohort(load_cohort(folder))


# ---- training --------------------------------------------------------------------------------------------------------


def run_config(
    *,
    preset: str = "standard",
    model: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    threads: int | None = None,
    settings: Sequence[str] = (),
) -> RunConfig:
    """A preset with what the caller wants otherwise. settings: `name=value` texts such as `sequence.d_model=32`."""
    changes: dict[str, Any] = {"seed": seed, "device": device, "threads": threads}
    if model not in (None, "both"):
        changes["models"] = (model,)
    config = replace(preset_config(preset), **changes)
    for setting in settings:
        config = config.with_setting(setting)
    return config if epochs is None else config.with_epochs(epochs)


def train(
    cohort: Path, out: Path, config: RunConfig, *, chosen: bool = False, overwrite: bool = False
) -> Iterator[EpochEnd]:
    """Train the configured models on a cohort folder into the run folder `out`; yields every epoch as it ends.

    chosen: the caller named the models, so that one the data cannot train is an error; otherwise it is left out.
    """
    from crm_models.runs.pipeline import fit, start_run
    from crm_models.training.loop import resolve_device

    resolve_device(config.device)  # before anything is written
    run = start_run(Path(cohort), Path(out), config, chosen=chosen, overwrite=overwrite)
    yield from fit(run)


def resume(out: Path, *, device: str = "auto", threads: int | None = None) -> Iterator[EpochEnd]:
    """Go on with a run that was killed or stopped, from the epoch it had reached, to the same numbers."""
    from crm_models.runs.pipeline import fit, reopen

    yield from fit(reopen(RunFolder(out)), device=device, threads=threads)


def run_summary(out: Path) -> str:
    """One line on how a run ended."""
    run = RunFolder(out)
    status, result = run.status(), run.result() or {"models": {}}
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
    cohort: Path,
    out: Path,
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
    runs: Path | None = None,
) -> Iterator[Trial]:
    """Search for better settings of one model; yields every trial as it ends (see `crm_models.runs.search.search`).

    The first trial is the preset itself, with `settings` (as in `run_config`), which are not searched. Called again,
    the search in the folder `out` goes on; minutes: of this call, trials: in all.
    """
    from crm_models.runs.search import Limits, search
    from crm_models.training.loop import resolve_device

    resolve_device(device)
    config = run_config(
        preset=preset, model=model, epochs=epochs, seed=seed, device=device, threads=threads, settings=settings
    )
    pinned = tuple(setting.partition("=")[0] for setting in settings)
    limits = Limits(minutes=minutes, trials=trials)
    yield from search(cohort, out, config, limits, start=preset_config(preset), pinned=pinned, runs=runs)


# ---- scores and plans ------------------------------------------------------------------------------------------------


def evaluate(
    run_folder: Path, *, cohort: Path | None = None, device: str = "auto", threads: int | None = None
) -> dict[str, Any]:
    """The report on the run's own held-out customers (`report.json` of the contract)."""
    from crm_models.data.truth import load_truth
    from crm_models.evaluation.report import build_report
    from crm_models.runs.trained import held_out, load_models, predict_held_out

    run = RunFolder(run_folder)
    models = load_models(run, device=device, threads=threads)
    folder = Path(cohort or run.about()["cohort"])
    held = held_out(run, models.encoder, folder)
    sequence, churn = predict_held_out(models, held)
    truth = load_truth(folder)
    return build_report(held.cohort, held.arrays, held.split, held.outcomes, models.encoder, sequence, churn, truth)


def report_summary(report: dict[str, Any]) -> str:
    """The headline scores of a report in one line."""
    said = []
    if report["sequence"]:
        scores = report["sequence"]
        said.append(f"step accuracy {scores['step_accuracy']:.3f} (chance {scores['chance']['step_accuracy']:.3f})")
    else:
        said.append("no sequence scores")
    if report["churn"]:
        scores = report["churn"]
        auc = "unknown" if scores["auc"] is None else f"{scores['auc']:.3f}"
        said.append(f"churn AUC {auc} (chance 0.5)")
    else:
        said.append("no churn scores")
    return ", ".join(said)


def plan_summary(manifest: dict[str, Any]) -> str:
    """What a plan file holds, and what it lacks, in one line."""
    counts = manifest["counts"]
    said = [f"{counts['customers']:,} plans", f"{counts['at_risk']:,} customers at risk"]
    if counts["empty"]:
        said.append(f"{counts['empty']:,} plans are empty, because there is no action to propose")
    return "; ".join([", ".join(said), *manifest["notes"]])


def plan(
    run_folder: Path,
    out: Path,
    policy: Policy,
    *,
    cohort: Path | None = None,
    layout: PlanLayout = "wide",
    as_of: str | None = None,
    api_exact: bool = False,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score every customer of a cohort and write the plans as CSV with a manifest beside it; returns the manifest.

    Customers stream through part by part: memory does not grow with the cohort. as_of: `cohort`, `latest` or a date.
    """
    from crm_models.planning.export import ExportSettings
    from crm_models.planning.plans import make_plans
    from crm_models.runs.trained import plan_catalogue

    run = RunFolder(run_folder)
    run.need_weights()
    folder = Path(cohort or run.about()["cohort"])
    catalogue = plan_catalogue(run, policy)
    scores = score_stream(run, folder, as_of=as_of, device=device, threads=threads, progress=progress)
    settings = ExportSettings(run_id=run.run_id, scored_at=now(), layout=layout, api_exact=api_exact)
    plans = (make_plans(s, catalogue, policy) for s in scores)
    return export_plans(plans, Path(out), settings, run=run, cohort=folder, policy=policy, as_of=as_of)


def export_plans(
    plans: Iterable[Plans],
    out: Path,
    settings: ExportSettings,
    *,
    run: RunFolder,
    cohort: Path,
    policy: Policy,
    as_of: str | None = None,
    selection: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write plans of a run as CSV with a manifest beside it; returns the manifest.

    The one exporter of the command line and the app. as_of: as for `plan`. selection: which customers the plans are
    for, if not all, for the manifest.
    """
    from crm_models.planning.export import write_plans

    about_cohort, about_run = describe(cohort), run.about()
    about = {
        "cohort": about_cohort["name"],
        "cohort_hash": digest(cohort),
        "trained_on_cohort_hash": about_run["cohort_hash"],
        "policy": policy.to_dict(),
        "as_of": _moment_said(about_cohort, as_of),
        "notes": about_run["notes"],
    }
    return write_plans(plans, out, settings, about | (selection or {}))


def score_stream(
    run: RunFolder,
    folder: Path,
    *,
    as_of: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> Iterator[CustomerScores]:
    """Churn probability and best plan of every customer of a cohort folder, one part of the cohort at a time."""
    from crm_models.runs.trained import load_models

    about = describe(folder)
    models = load_models(run, device=device, threads=threads)

    def encoded() -> Iterator[CohortArrays]:
        for part in parts(folder):
            moment = _moment(part, as_of)
            yield models.encoder.encode(part, moment, last_moment_days(about) if moment is None else None)

    total, done = about["customers"], 0
    for arrays in prefetch(encoded()):
        yield models.score_encoded(arrays)
        done += len(arrays)
        if progress is not None:
            progress(done, total)


def _moment_said(about: dict[str, Any], as_of: str | None) -> str | float | None:
    """The moment that plans are made at, for the manifest: a date or number, or None where there are no events."""
    if as_of is None:
        return about["as_of"] if about["outcome"] == "simulated" else about["last_timestamp"]
    return {"latest": about["last_timestamp"], "cohort": about["as_of"]}.get(as_of, as_of)


def _moment(part: Cohort, as_of: str | None) -> Moment | None:
    """The moment that plans are made at, from what the caller said."""
    if as_of is None:
        return planning_moment(part)
    if as_of == "latest":
        return None
    if as_of == "cohort":
        return part.as_of
    try:
        moment: Moment = pd.Timestamp(as_of) if part.is_dated else float(as_of)
    except ValueError:
        moment = math.nan
    if pd.isna(moment) or moment in (math.inf, -math.inf):
        usual = "a date such as 2026-01-31" if part.is_dated else "a number as its times are"
        raise ConfigError(f"--as-of expects cohort, latest or {usual}; found {as_of!r}")
    return moment


# ---- paper, benchmark ------------------------------------------------------------------------------------------------


def paper(
    out: Path,
    *,
    seeds: int = 20,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> str:
    """Re-run the paper, write `paper.json`, `report.md` and `report.html` into `out`; returns one line on it."""
    from crm_models.models.runtime import prepare_torch
    from crm_models.paper.report import write_report
    from crm_models.paper.rerun import rerun, verdict

    need_own_folder(out, "paper.json")  # before the work, not after it
    prepare_torch(threads)
    result = rerun(seeds, device=device, say=progress)
    write_report(result, Path(out))
    return f"{out}: {verdict(result)}"


def benchmark(
    task: str,
    folder: Path,
    *,
    preset: str = "standard",
    holdout: int = 1,
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

    shape: any of `epochs`, `width`, `blocks`, `heads`, `max_len`, `batch`, in place of the preset's; settings: any
    other, as in `run_config`. A `batch` that is asked for is kept, also where customers are few. seeds: how many, from
    `seed` up; with more than one the scores are means over them, with their spread. labels: churn, how many customers
    of each fold's training keep their label; None: all.
    """
    from crm_models.bench import quality as measure

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
    cohort = load_cohort(folder)
    runs = {
        k: measure.sequence(cohort, replace(config, seed=k), holdout)
        if own == "sequence"
        else measure.churn(cohort, replace(config, seed=k), folds, k, labels)
        for k in range(seed, seed + seeds)
    }
    return runs[seed] if seeds == 1 else measure.over_seeds(runs)
