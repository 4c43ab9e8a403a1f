"""The verbs of the product as functions: generate, import, check, train, tune, evaluate, plan, paper, benchmark.

The command line, the app and notebooks all call these. Heavy imports happen inside the functions. The examples run in
this order, from any empty folder: `generate`, `train`, then the others.
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
from crm_models.core.files import absolute, need_own_folder, read_whole
from crm_models.core.prefetch import prefetch
from crm_models.core.presets import preset as preset_config
from crm_models.core.provenance import now
from crm_models.core.records import CustomerScores, EpochEnd
from crm_models.core.schema import ModelName, PlanFor, PlanLayout
from crm_models.data.cohort import Cohort, Moment
from crm_models.data.drift import Difference, conformed, refuse
from crm_models.data.split import planning_moment
from crm_models.data.storage import describe, digest, last_moment_days, load_cohort, parts, save_cohort
from crm_models.runs.folder import RunFolder

if TYPE_CHECKING:
    from crm_models.data.checks import Finding
    from crm_models.data.features import CohortArrays
    from crm_models.planning.export import ExportSettings
    from crm_models.planning.plans import Plans
    from crm_models.planning.policy import Policy
    from crm_models.runs.explaining import CohortExplainer
    from crm_models.runs.trials import Trial

Progress = Callable[[int, int], None]
"""Called with customers done and customers in all."""


# ---- cohorts ---------------------------------------------------------------------------------------------------------


def generate(
    out: Path | str,
    *,
    scenario: str,
    customers: int | None = None,
    signal: float = 1.0,
    seed: int = 0,
    events: int | None = None,
) -> Cohort:
    """Draw a synthetic cohort (`paper` or `lifelike`) and save it, with its truth, as the folder `out`.

    customers: by default 100 for `paper`, 5,000 for `lifelike`. signal: 0 (nothing to learn) to 1. events: `lifelike`,
    the length of every history.

    >>> from crm_models import workflow
    >>> cohort = workflow.generate("workspace/demo", scenario="lifelike", customers=60)
    >>> cohort.n_customers, cohort.has_labels
    (60, True)
    """
    from crm_models.data.sources.synthetic import ScenarioSettings
    from crm_models.data.sources.synthetic import generate as draw

    given: dict[str, Any] = {"scenario": scenario, "customers": customers, "signal": signal, "seed": seed}
    cohort, truth = draw(ScenarioSettings(**given, events=events))
    save_cohort(cohort, Path(out), extra={"truth.json": truth.to_json()})
    return cohort


def import_files(out: Path | str, form: str, sources: Sequence[Path | str], **options: Any) -> Cohort:
    """Read files of a known form (one of `crm_models.data.sources.FORMS`) and save them as the cohort folder `out`.

    options: those of the importer, as in `churn_days=90` or `columns={"customer_id": "userId"}`.

    >>> from pathlib import Path
    >>> from crm_models import workflow
    >>> _ = Path("customers.csv").write_text("customer_id,churned,age\\nann,no,41\\nbob,yes,29\\n")
    >>> cohort = workflow.import_files("workspace/mine", "tables", ["customers.csv"])
    >>> cohort.customers["churned"].tolist()
    [False, True]
    """
    from crm_models.data.sources import import_cohort

    if absolute(out) in [absolute(source) for source in sources]:
        raise ConfigError(f"{out}: --out would replace what is imported; choose another --out")
    cohort = import_cohort(form, [Path(source) for source in sources], **options)
    save_cohort(cohort, Path(out))
    return cohort


def import_sql(out: Path | str, *, tables: Sequence[str] = (), queries: Sequence[str] = (), **options: Any) -> Cohort:
    """Read tables and queries of the database in `CRM_DATABASE_URL` and save them as the cohort folder `out`.

    options: those of `import tables`, as in `churn_days=90`.

    >>> import duckdb, os
    >>> from crm_models import workflow
    >>> with duckdb.connect("crm.duckdb") as database:
    ...     _ = database.execute("CREATE TABLE customers AS SELECT 'ann' AS customer_id, 41 AS age")
    >>> os.environ["CRM_DATABASE_URL"] = "duckdb:///crm.duckdb"
    >>> workflow.import_sql("workspace/base", tables=["customers"]).feature_columns
    ['age']
    >>> del os.environ["CRM_DATABASE_URL"]
    """
    from crm_models.data.sources.sql import import_sql as read

    cohort = read(tables=tables, queries=queries, **options)
    save_cohort(cohort, Path(out))
    return cohort


def check(folder: Path | str) -> list[Finding]:
    """Findings of the data check: what in a cohort will spoil or weaken results, problems first.

    >>> from crm_models import workflow
    >>> [finding.title for finding in workflow.check("workspace/demo")]
    ['Few customers', 'Few of one class', 'Short histories']
    """
    from crm_models.data.checks import check_cohort

    return check_cohort(load_cohort(Path(folder)))


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
    """A preset with changes. settings: `name=value` texts such as `sequence.d_model=32`, as for `--set`.

    >>> from crm_models import workflow
    >>> config = workflow.run_config(preset="standard", epochs=5, settings=["churn.dropout=0.1"])
    >>> config.churn.dropout, config.churn_training.n_epochs
    (0.1, 5)
    """
    changes: dict[str, Any] = {"seed": seed, "device": device, "threads": threads}
    if model not in (None, "both"):
        changes["models"] = (model,)
    config = replace(preset_config(preset), **changes)
    for setting in settings:
        config = config.with_setting(setting)
    return config if epochs is None else config.with_epochs(epochs)


def train(
    cohort: Path | str, out: Path | str, config: RunConfig, *, chosen: bool = False, overwrite: bool = False
) -> Iterator[EpochEnd]:
    """Train the configured models on a cohort folder into the run folder `out`; yields each epoch as it ends.

    chosen: whether the caller named the models; then a model that the data cannot train is an error, else it is left
    out. Nothing happens until the epochs are iterated over, and leaving the loop stops the training.

    >>> from crm_models import workflow
    >>> config = workflow.run_config(preset="paper", epochs=2)
    >>> for epoch in workflow.train("workspace/demo", "workspace/run", config, overwrite=True):
    ...     print(epoch.model, epoch.epoch)
    sequence 1
    sequence 2
    churn 1
    churn 2
    """
    from crm_models.runs.pipeline import fit, start_run
    from crm_models.training.state import resolve_device

    resolve_device(config.device)  # before anything is written
    run = start_run(Path(cohort), Path(out), config, chosen=chosen, overwrite=overwrite)
    yield from fit(run)


def resume(out: Path | str, *, device: str = "auto", threads: int | None = None) -> Iterator[EpochEnd]:
    """Resume a run that was killed or stopped; it ends with the numbers of an uninterrupted one.

    >>> from crm_models import workflow
    >>> config = workflow.run_config(preset="paper", epochs=3)
    >>> epochs = workflow.train("workspace/demo", "workspace/stopped", config, overwrite=True)
    >>> next(epochs).epoch
    1
    >>> epochs.close()  # or the process is killed
    >>> [(epoch.model, epoch.epoch) for epoch in workflow.resume("workspace/stopped")][:2]
    [('sequence', 2), ('sequence', 3)]
    """
    from crm_models.runs.pipeline import fit, reopen

    yield from fit(reopen(RunFolder(Path(out))), device=device, threads=threads)


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
    from crm_models.runs.search import Limits, search
    from crm_models.training.state import resolve_device

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


# ---- scores and plans ------------------------------------------------------------------------------------------------


def compare(run_folder: Path | str, cohort: Path | str) -> list[Difference]:
    """How the customers of a cohort differ from those a run was trained on, worst first; see `crm_models.data.drift`.

    >>> from crm_models import workflow
    >>> workflow.compare("workspace/run", "workspace/demo")
    []
    """
    from crm_models.runs.trained import differences

    return differences(RunFolder(Path(run_folder)), Path(cohort))


def evaluate(
    run_folder: Path | str,
    *,
    cohort: Path | str | None = None,
    allow_drift: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> dict[str, Any]:
    """The report on the run's held-out customers: the content of `report.json`.

    cohort: where the run's cohort is now, if it was moved. If it has changed, `drift` lists how; customers too
    different to be scored are a `DataError` unless `allow_drift`.

    >>> from crm_models import workflow
    >>> report = workflow.evaluate("workspace/run")
    >>> report["churn"]["customers"], sorted(report["churn"]["baselines"])
    (12, ['logistic', 'majority', 'recency'])
    """
    from crm_models.data.truth import load_truth
    from crm_models.evaluation.report import build_report
    from crm_models.runs.trained import differences, held_out, load_models, predict_held_out

    run = RunFolder(Path(run_folder))
    models = load_models(run, device=device, threads=threads)
    folder = Path(cohort or run.about()["cohort"])
    found = differences(run, folder)
    if not allow_drift:
        refuse(found, folder)
    held = held_out(run, models.encoder, folder, allow_drift=allow_drift)
    sequence, churn = predict_held_out(models, held)
    truth = load_truth(folder)
    report = build_report(held.cohort, held.arrays, held.split, held.outcomes, models.encoder, sequence, churn, truth)
    return report | ({"drift": [difference.to_dict() for difference in found]} if found else {})


def report_summary(report: dict[str, Any]) -> str:
    """The headline scores of a report in one line.

    >>> from crm_models import workflow
    >>> workflow.report_summary(workflow.evaluate("workspace/run"))
    'step accuracy ... (...; chance ...; scored on ... of 60 customers), churn AUC ... (...)'
    """
    from crm_models.evaluation.verdict import beside_baseline

    said = []
    for name, score, in_words in (("sequence", "step_accuracy", "step accuracy"), ("churn", "auc", "churn AUC")):
        part = report[name]
        if not part:
            said.append(f"no {name} scores")
            continue
        value = "unknown" if part[score] is None else f"{part[score]:.3f}"
        of_all = f"{part['customers']:,} of {part['of_customers']:,} customers"
        chance = f"chance {part['chance'][score]:.3g}"
        said.append(f"{in_words} {value} ({'; '.join([*beside_baseline(part, score), chance, f'scored on {of_all}'])})")
    return ", ".join(said)


def plan_summary(manifest: dict[str, Any]) -> str:
    """Number of plans and of customers at risk, and what is missing, in one line.

    >>> from crm_models import workflow
    >>> from crm_models.planning import Policy
    >>> workflow.plan_summary(workflow.plan("workspace/run", "workspace/plans.csv", Policy(threshold=0.0)))
    '60 plans, 60 customers at risk'
    """
    counts = manifest["counts"]
    said = [f"{counts['customers']:,} plans", f"{counts['at_risk']:,} customers at risk"]
    if counts["empty"]:
        said.append(f"{counts['empty']:,} plans are empty, because there is no action to propose")
    if drift := manifest.get("drift"):
        said.append(f"{len(drift):,} difference{'' if len(drift) == 1 else 's'} from the training customers")
    return "; ".join([", ".join(said), *manifest["notes"]])


def plan(
    run_folder: Path | str,
    out: Path | str,
    policy: Policy,
    *,
    cohort: Path | str | None = None,
    layout: PlanLayout = "wide",
    as_of: str | None = None,
    plan_for: PlanFor = "whole",
    api_exact: bool = False,
    allow_drift: bool = False,
    drivers: bool = False,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score every customer of a cohort and write the plans as CSV with a manifest beside it; returns the manifest.

    The cohort is read in parts, so memory does not grow with it. cohort: other customers than those of the run. as_of:
    when the plans are made: `cohort` (its cut-off), `latest` or a date; None: after all events that happened. plan_for:
    `whole` for the plan that is most probable as a whole, `steps` for the most probable action of each step by itself.
    allow_drift: plan also for customers too different from the training customers, whose plans would be nonsense; what
    does not fit is then read as missing. The manifest lists all differences under `drift`. drivers: with the long
    layout, three columns more that say why each customer at risk is (some 50 customers a second).

    >>> from crm_models import workflow
    >>> from crm_models.planning import Policy
    >>> manifest = workflow.plan("workspace/run", "workspace/plans.csv", Policy(threshold=0.4, mode="graded"))
    >>> manifest["counts"]["customers"], manifest["policy"]["mode"]
    (60, 'graded')
    """
    from crm_models.planning.export import ExportSettings
    from crm_models.planning.plans import make_plans
    from crm_models.runs.trained import differences, plan_catalogue

    run = RunFolder(Path(run_folder))
    run.need_weights()
    folder = Path(cohort or run.about()["cohort"])
    catalogue = plan_catalogue(run, policy)
    found = differences(run, folder)
    if not allow_drift:
        refuse(found, folder)
    scores = score_stream(
        run,
        folder,
        as_of=as_of,
        plan_for=plan_for,
        device=device,
        threads=threads,
        progress=progress,
        allow_drift=allow_drift,
    )
    settings = ExportSettings(run_id=run.run_id, scored_at=now(), layout=layout, api_exact=api_exact)
    plans: Iterable[Plans] = (make_plans(s, catalogue, policy) for s in scores)
    if drivers and layout == "long" and "churn" in run.trained():
        plans = _explainer(run, folder, as_of, device, threads, allow_drift=allow_drift).with_drivers(plans)
    about: dict[str, Any] = {"as_of": as_of, "plan_for": plan_for, "drift": found}
    return export_plans(plans, Path(out), settings, run=run, cohort=folder, policy=policy, **about)


def explain(
    run_folder: Path | str,
    *,
    cohort: Path | str | None = None,
    customers: Sequence[str] | None = None,
    as_of: str | None = None,
    allow_drift: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> CohortExplainer:
    """Why customers are at risk: iterate over its `explain()`; see `crm_models.inference.drivers` for the method.

    customers: who will be explained; None: all, with a quarter of the comparisons for each.

    >>> from crm_models import workflow
    >>> first = next(workflow.explain("workspace/run").explain())
    >>> abs(first.base + sum(driver.points for driver in first.drivers) / 100 - first.churn_p) < 1e-6
    True
    """
    run = RunFolder(Path(run_folder))
    run.need_weights()
    folder = Path(cohort or run.about()["cohort"])
    if not allow_drift:
        refuse(compare(run_folder, folder), folder)
    return _explainer(run, folder, as_of, device, threads, allow_drift=allow_drift, in_bulk=customers is None)


def _explainer(
    run: RunFolder,
    folder: Path,
    as_of: str | None,
    device: str,
    threads: int | None,
    *,
    allow_drift: bool,
    in_bulk: bool = True,
) -> CohortExplainer:
    from crm_models.runs.explaining import CohortExplainer
    from crm_models.runs.trained import load_models

    models = load_models(run, device=device, threads=threads)
    return CohortExplainer.of(
        models, run, folder, lambda part: _moment(part, as_of), in_bulk=in_bulk, allow_drift=allow_drift
    )


def export_plans(
    plans: Iterable[Plans],
    out: Path | str,
    settings: ExportSettings,
    *,
    run: RunFolder,
    cohort: Path,
    policy: Policy,
    as_of: str | None = None,
    plan_for: PlanFor = "whole",
    selection: dict[str, Any] | None = None,
    drift: Sequence[Difference] = (),
) -> dict[str, Any]:
    """Write plans of a run as CSV with a manifest beside it; returns the manifest.

    The one exporter of the command line and the app. as_of, plan_for: as for `plan`. selection: which customers the
    plans are for, if not all; drift: how they differ from the training customers: both for the manifest.
    """
    from crm_models.planning.export import write_plans

    about_cohort, about_run = describe(cohort), run.about()
    about = {
        "cohort": about_cohort["name"],
        "cohort_hash": digest(cohort),
        "trained_on_cohort_hash": about_run["cohort_hash"],
        "policy": policy.to_dict(),
        "as_of": _moment_said(about_cohort, as_of),
        "plan_for": plan_for,
        "notes": [*about_run["notes"], *_no_better_than_simple(run)],
        "drift": [difference.to_dict() for difference in drift],
    }
    return write_plans(plans, Path(out), settings, about | (selection or {}))


def _no_better_than_simple(run: RunFolder) -> list[str]:
    """What the run's report says of models that do not beat a simple baseline; [] if it has not been evaluated."""
    from crm_models.evaluation.verdict import no_better

    report = run.report()
    with read_whole(run.folder / "report.json", "the scores of a run", "delete it, and evaluate the run again"):
        return no_better({name: report.get(name) for name in ("sequence", "churn")}) if report else []


def score_stream(
    run: RunFolder,
    folder: Path | str,
    *,
    as_of: str | None = None,
    plan_for: PlanFor = "whole",
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    allow_drift: bool = False,
) -> Iterator[CustomerScores]:
    """Churn probability and best plan of every customer of a cohort folder, one part of the cohort at a time.

    allow_drift: read what does not fit the training customers as missing.

    >>> from crm_models import workflow
    >>> from crm_models.runs.folder import RunFolder
    >>> [len(scores.customer_id) for scores in workflow.score_stream(RunFolder("workspace/run"), "workspace/demo")]
    [60]
    """
    from crm_models.runs.trained import load_models

    folder = Path(folder)
    about = describe(folder)
    models = load_models(run, device=device, threads=threads)
    schema = run.schema() if allow_drift else None

    def encoded() -> Iterator[CohortArrays]:
        for part in parts(folder):
            part = part if schema is None else conformed(schema, part)
            moment = _moment(part, as_of)
            yield models.encoder.encode(part, moment, last_moment_days(about) if moment is None else None)

    total, done = about["customers"], 0
    for arrays in prefetch(encoded()):
        yield models.score_encoded(arrays, plan_for)
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
    out: Path | str,
    *,
    seeds: int = 20,
    device: str = "auto",
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> str:
    """Re-run the paper, write `paper.json`, `report.md` and `report.html` into `out`; returns one line on it.

    >>> from crm_models import workflow
    >>> workflow.paper("workspace/paper", seeds=1)
    'workspace/paper: ...'
    """
    from crm_models.models.runtime import prepare_torch
    from crm_models.paper.report import write_report
    from crm_models.paper.rerun import rerun, verdict

    need_own_folder(Path(out), "paper.json")  # before the work, not after it
    prepare_torch(threads)
    result = rerun(seeds, device=device, say=progress)
    write_report(result, Path(out))
    return f"{out}: {verdict(result)}"


def benchmark(
    task: str,
    folder: Path | str,
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

    shape: any of `epochs`, `width`, `blocks`, `heads`, `max_len`, `batch`, in place of the preset's; a `batch` is kept
    even if customers are few, and the sequence model is trained for exactly the `epochs`, without early stopping.
    settings: any other, as in `run_config`. seeds: how many, from `seed` up; with more than
    one, the scores are means with their spread. labels: churn, customers of each fold's training who keep their label.

    >>> from crm_models import workflow
    >>> scores = workflow.benchmark("churn", "workspace/demo", preset="standard", folds=2, shape={"epochs": 1})
    >>> 0 <= scores["log_loss"]
    True
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
    cohort = load_cohort(Path(folder))
    runs = {
        k: measure.sequence(cohort, replace(config, seed=k), holdout, early_stopping="epochs" not in given)
        if own == "sequence"
        else measure.churn(cohort, replace(config, seed=k), folds, k, labels)
        for k in range(seed, seed + seeds)
    }
    return runs[seed] if seeds == 1 else measure.over_seeds(runs)
