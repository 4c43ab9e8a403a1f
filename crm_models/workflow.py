"""The verbs of the product as functions: generate, import, check, train, tune, evaluate, plan, paper, benchmark.

The command line, the app and notebooks all call these. Heavy imports happen inside the functions. The examples run in
this order, from any empty folder: `generate`, `train`, then the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_models.core.config import RunConfig, SplitKind, one_of
from crm_models.core.engines import EngineName, InProcess, engine_of, need_engine
from crm_models.core.errors import ConfigError
from crm_models.core.files import absolute, need_file_target, need_own_folder, read_whole
from crm_models.core.places import Place, address_of, here, place
from crm_models.core.presets import preset as preset_config
from crm_models.core.provenance import now
from crm_models.core.records import CustomerScores, EpochEnd
from crm_models.core.schema import ModelName, PlanFor, PlanLayout
from crm_models.data.cohort import Cohort
from crm_models.data.drift import Difference, refuse
from crm_models.data.storage import Parts, describe, digest, load_cohort, save_cohort
from crm_models.runs.folder import RunFolder

if TYPE_CHECKING:
    from crm_models.data.checks import Finding
    from crm_models.inference.counterfactual import Counterfactual
    from crm_models.inference.drivers import Explained
    from crm_models.planning.export import ExportSettings
    from crm_models.planning.plans import Plans
    from crm_models.planning.policy import Policy
    from crm_models.runs.explaining import CohortExplainer, CohortStepExplainer
    from crm_models.runs.scoring import ScoringJob
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
    """Draw a synthetic cohort and save it, with its truth, as the folder `out`.

    scenario: `lifelike`, or `paper`, `movielens`, `amazon`, `churn` (see `crm_models.data.sources.synthetic`).
    customers: by default 5,000 for `lifelike`, 100 for the others. signal: 0 (nothing to learn) to 1. events: the
    length of every history.

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
    split: SplitKind = "random",
    split_date: str = "",
) -> RunConfig:
    """A preset with changes. settings: `name=value` texts such as `sequence.d_model=32`, as for `--set`.

    split: `time` to learn from what was known by `split_date` and test on what came after; see
    `crm_models.data.time_split`.

    >>> from crm_models import workflow
    >>> config = workflow.run_config(preset="standard", epochs=5, settings=["churn.dropout=0.1"])
    >>> config.churn.dropout, config.churn_training.n_epochs
    (0.1, 5)
    """
    changes: dict[str, Any] = {"seed": seed, "device": device, "threads": threads}
    changes |= {"split": split, "split_date": split_date}
    if model not in (None, "both"):
        changes["models"] = (model,)
    config = replace(preset_config(preset), **changes)
    for setting in settings:
        config = config.with_setting(setting)
    return config if epochs is None else config.with_epochs(epochs)


def train(
    cohort: Path | str,
    out: Path | str,
    config: RunConfig,
    *,
    chosen: bool = False,
    overwrite: bool = False,
    workers: int = 1,
    engine: EngineName = "local",
    address: str | None = None,
) -> Iterator[EpochEnd]:
    """Train the configured models on a cohort folder into the run folder `out`; yields each epoch as it ends.

    chosen: whether the caller named the models; then a model that the data cannot train is an error, else it is left
    out. workers: processes that share each batch; torchrun may start them instead, and only the first one yields
    epochs. engine, address: where they run, as for `plan`. Nothing happens until the epochs are iterated over, and
    leaving the loop stops the training.

    >>> from crm_models import workflow
    >>> config = workflow.run_config(preset="paper", epochs=2)
    >>> for epoch in workflow.train("workspace/demo", "workspace/run", config, overwrite=True):
    ...     print(epoch.model, epoch.epoch)
    sequence 1
    sequence 2
    churn 1
    churn 2
    """
    from crm_models.runs.pipeline import fit, follow, start_run
    from crm_models.training.parallel import is_follower
    from crm_models.training.state import resolve_device

    if is_follower():
        follow(RunFolder(Path(out)))
        return
    need_engine(engine, address)
    resolve_device(config.device)  # before anything is written
    run = start_run(Path(cohort), Path(out), config, chosen=chosen, overwrite=overwrite)
    yield from fit(run, workers=workers, engine=engine, address=address)


def resume(
    out: Path | str,
    *,
    device: str = "auto",
    threads: int | None = None,
    workers: int = 1,
    engine: EngineName = "local",
    address: str | None = None,
) -> Iterator[EpochEnd]:
    """Resume a run that was killed or stopped; it ends with the numbers of an uninterrupted one.

    workers, engine, address: as in `train`; they need not be as before.

    >>> from crm_models import workflow
    >>> config = workflow.run_config(preset="paper", epochs=3)
    >>> epochs = workflow.train("workspace/demo", "workspace/stopped", config, overwrite=True)
    >>> next(epochs).epoch
    1
    >>> epochs.close()  # or the process is killed
    >>> [(epoch.model, epoch.epoch) for epoch in workflow.resume("workspace/stopped")][:2]
    [('sequence', 2), ('sequence', 3)]
    """
    from crm_models.runs.pipeline import fit, follow, reopen
    from crm_models.training.parallel import is_follower

    run = RunFolder(Path(out))
    if is_follower():
        follow(run, device=device, threads=threads)
        return
    need_engine(engine, address)
    yield from fit(reopen(run), device=device, threads=threads, workers=workers, engine=engine, address=address)


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
    engine: EngineName = "local",
    workers: int | None = None,
    address: str | None = None,
) -> dict[str, Any]:
    """The report on the run's held-out customers: the content of `report.json`.

    cohort: where the run's cohort is now, if it was moved. If it has changed, `drift` lists how; customers too
    different to be scored are a `DataError` unless `allow_drift`. engine, workers, address: as for `plan`.

    >>> from crm_models import workflow
    >>> report = workflow.evaluate("workspace/run")
    >>> report["churn"]["customers"], sorted(report["churn"]["baselines"])
    (12, ['logistic', 'majority', 'recency'])
    """
    from crm_models.data.truth import load_truth
    from crm_models.evaluation.report import build_report
    from crm_models.runs.held_out import customers_tested, held_out, predict_held_out
    from crm_models.runs.scoring import engine_for
    from crm_models.runs.trained import differences

    run = RunFolder(Path(run_folder))
    run.need_weights()
    folder, encoder, config = Path(cohort or run.about()["cohort"]), run.encoder(), run.config()
    found = differences(run, folder)
    if not allow_drift:
        refuse(found, folder)
    n_parts = len(Parts(folder))
    chosen = engine_for(engine, n_parts, workers=workers, address=address, threads=threads, device=device)
    held = held_out(run, chosen, folder, allow_drift=allow_drift)
    sequence, churn = predict_held_out(run, held, folder, chosen, allow_drift=allow_drift, device=device)
    truth = load_truth(folder)
    tested = None if truth is None else customers_tested(run, folder, held.split)
    report = build_report(held, encoder, sequence, churn, truth, tested)
    if config.split == "time":
        report["split"] = {"kind": "time", "date": config.split_date}
    return report | ({"drift": [difference.to_dict() for difference in found]} if found else {})


def report_summary(report: dict[str, Any]) -> str:
    """The headline scores of a report in one line.

    >>> from crm_models import workflow
    >>> workflow.report_summary(workflow.evaluate("workspace/run"))
    'step accuracy ... (...; chance ...; scored on ... of 60 customers), churn AUC ... (...)'
    """
    from crm_models.evaluation.verdict import beside_baseline

    said = [f"out of time, from {report['split']['date']} on"] if "split" in report else []
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
    if counts.get("not_confident"):
        said.append(f"{counts['not_confident']:,} plans are not confident, because runs of other seeds disagree")
    if counts["empty"]:
        said.append(f"{counts['empty']:,} plans are empty, because there is no action to propose")
    if drift := manifest.get("drift"):
        said.append(f"{len(drift):,} difference{'' if len(drift) == 1 else 's'} from the training customers")
    return "; ".join([", ".join(said), *manifest["notes"]])


def plan(
    run_folder: Place | str,
    out: Place | str,
    policy: Policy,
    *,
    cohort: Place | str | None = None,
    layout: PlanLayout = "wide",
    as_of: str | None = None,
    plan_for: PlanFor = "whole",
    api_exact: bool = False,
    allow_drift: bool = False,
    drivers: bool = False,
    step_drivers: bool = False,
    device: str = "auto",
    threads: int | None = None,
    engine: EngineName = "local",
    workers: int | None = None,
    address: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score every customer of a cohort and write the plans as CSV with a manifest beside it; returns the manifest.

    The cohort is read in parts, so memory does not grow with it. cohort: other customers than those of the run. as_of:
    when the plans are made: `cohort` (its cut-off), `latest` or a date; None: after all events that happened. plan_for:
    `whole` for the plan that is most probable as a whole, `steps` for the most probable action of each step by itself.
    allow_drift: plan also for customers too different from the training customers, whose plans would be nonsense; what
    does not fit is then read as missing. The manifest lists all differences under `drift`. drivers: with the long
    layout, three columns more that say why each customer at risk is (some 50 customers a second). step_drivers:
    likewise why the model plans each of its steps (some 9 customers a second).

    engine: `local` for processes on this machine, `ray` for a Ray cluster at `address`. workers: processes; by default
    as many as `threads` or cores, as far as they pay. The plans are the same, byte for byte. run_folder, out and cohort
    may be addresses such as s3://bucket/folder.

    >>> from crm_models import workflow
    >>> from crm_models.planning import Policy
    >>> manifest = workflow.plan("workspace/run", "workspace/plans.csv", Policy(threshold=0.4, mode="graded"))
    >>> manifest["counts"]["customers"], manifest["policy"]["mode"]
    (60, 'graded')
    """
    from crm_models.planning.export import ExportSettings
    from crm_models.runs.planning import PlanningJob, plan_parts
    from crm_models.runs.scoring import engine_for
    from crm_models.runs.trained import differences, plan_catalogue

    need_file_target(place(out))
    with here(place(run_folder)) as run_here:
        run = RunFolder(run_here)
        run.need_weights()
        plan_catalogue(run, policy)  # before the work, not after it
        folder = place(cohort or run.about()["cohort"])
        found = differences(run, folder)
        if not allow_drift:
            refuse(found, folder)
        job = PlanningJob(
            scoring=_scoring(place(run_folder), folder, as_of, plan_for, allow_drift, device),
            policy=policy,
            settings=ExportSettings(run_id=run.run_id, scored_at=now(), layout=layout, api_exact=api_exact),
            into="",
            drivers=drivers,
            step_drivers=step_drivers,
        )
        n_parts = len(Parts(folder))
        chosen = engine_for(engine, n_parts, workers=workers, address=address, threads=threads, device=device)
        about = _about_plans(run, folder, policy, as_of, plan_for, found)
        return plan_parts(job, n_parts, chosen, place(out), about, _of_all(progress, folder))


def _scoring(
    run: Place, cohort: Place, as_of: str | None, plan_for: PlanFor, allow_drift: bool, device: str
) -> ScoringJob:
    from crm_models.runs.scoring import ScoringJob

    return ScoringJob(
        run=address_of(run),
        cohort=address_of(cohort),
        as_of=as_of,
        plan_for=plan_for,
        allow_drift=allow_drift,
        device=device,
    )


def _of_all(progress: Progress | None, cohort: Place) -> Callable[[int], None] | None:
    """The progress as a function of the customers done."""
    total = int(describe(cohort)["customers"])
    return None if progress is None else lambda done: progress(done, total)


def stability(
    run_folder: Path | str,
    *,
    seeds: int = 5,
    cohort: Path | str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Iterator[EpochEnd]:
    """Train a run's settings with more seeds, `seeds` in all, and keep where they disagree; yields their epochs.

    All are trained and tested on the same customers. Another call continues a stopped one. `read_stability` of
    `crm_models.runs.stability` reads the result, and plans of the run's cohort say who is `confident`.

    >>> from crm_models import workflow
    >>> from crm_models.runs.folder import RunFolder
    >>> from crm_models.runs.stability import read_stability
    >>> for epoch in workflow.stability("workspace/run", seeds=2):
    ...     pass
    >>> read_stability(RunFolder("workspace/run")).counts(threshold=0.5)["customers"]
    60
    """
    from crm_models.runs.stability import compared, seeds_of, train_members, write_stability

    def score(of_seed: RunFolder) -> Iterator[CustomerScores]:
        return score_stream(of_seed, folder, device=device, threads=threads)

    run = RunFolder(Path(run_folder))
    run.need_weights()
    folder, wanted = Path(cohort or run.about()["cohort"]), seeds_of(run, seeds)
    with run.locked():
        (run.folder / "stop").unlink(missing_ok=True)
        yield from train_members(run, wanted, folder, device=device, threads=threads)
        if not run.stop_requested():
            write_stability(run, compared(run, wanted, folder, score, device=device, threads=threads))
        (run.folder / "stop").unlink(missing_ok=True)


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
    run, folder = _to_explain(run_folder, cohort, allow_drift=allow_drift)
    return _explainer(run, folder, as_of, device, threads, allow_drift=allow_drift, in_bulk=customers is None)


def explain_steps(
    run_folder: Path | str,
    *,
    cohort: Path | str | None = None,
    customers: Sequence[str] | None = None,
    as_of: str | None = None,
    plan_for: PlanFor = "whole",
    allow_drift: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> CohortStepExplainer:
    """Why customers get the model's steps: iterate over its `explain()`, which gives step after step.

    Arguments as for `explain`; plan_for: as for `plan`.

    >>> from crm_models import workflow
    >>> first = next(workflow.explain_steps("workspace/run").explain())
    >>> first.step, abs(first.base + sum(driver.points for driver in first.drivers) / 100 - first.step_p) < 1e-6
    (1, True)
    """
    from crm_models.runs.explaining import CohortStepExplainer
    from crm_models.runs.scoring import moment_of
    from crm_models.runs.trained import load_models

    run, folder = _to_explain(run_folder, cohort, allow_drift=allow_drift)
    return CohortStepExplainer.of(
        load_models(run, device=device, threads=threads),
        run,
        folder,
        lambda part: moment_of(part, as_of),
        in_bulk=customers is None,
        plan_for=plan_for,
        allow_drift=allow_drift,
    )


def counterfactuals(
    run_folder: Path | str,
    *,
    threshold: float,
    cohort: Path | str | None = None,
    customers: Sequence[str] | None = None,
    columns: Sequence[str] = (),
    events: Sequence[str] | None = None,
    as_of: str | None = None,
    allow_drift: bool = False,
    device: str = "auto",
    threads: int | None = None,
) -> Iterator[Counterfactual]:
    """The smallest plausible change that brings each customer below the threshold; see `inference.counterfactual`.

    customers: None for all at risk. columns: profile columns that are ours to change. events: actions that we can add;
    None: all. Other arguments as for `explain`.

    >>> from crm_models import workflow
    >>> first = next(workflow.counterfactuals("workspace/run", threshold=0.3, columns=["age"]))
    >>> first.churn_p > 0.3, first.new_p <= first.churn_p
    (True, True)
    """
    from crm_models.runs.counterfactuals import counterfactuals as find

    explainer = explain(
        run_folder,
        cohort=cohort,
        customers=customers,
        as_of=as_of,
        allow_drift=allow_drift,
        device=device,
        threads=threads,
    )
    return find(explainer, threshold, customers=customers, columns=columns, events=events)


def _to_explain(run_folder: Path | str, cohort: Path | str | None, *, allow_drift: bool) -> tuple[RunFolder, Path]:
    """The run and the cohort folder of an explanation; refused where the customers are too different."""
    run = RunFolder(Path(run_folder))
    run.need_weights()
    folder = Path(cohort or run.about()["cohort"])
    if not allow_drift:
        refuse(compare(run_folder, folder), folder)
    return run, folder


def drivers(
    run_folder: Place | str,
    *,
    cohort: Place | str | None = None,
    as_of: str | None = None,
    allow_drift: bool = False,
    device: str = "auto",
    threads: int | None = None,
    engine: EngineName = "local",
    workers: int | None = None,
    address: str | None = None,
) -> Iterator[Explained]:
    """The drivers of every customer of a cohort, as `explain` finds them, in cohort order.

    engine, workers, address: as for `plan`. Differences from the training customers are looked at by `explain`.

    >>> from crm_models import workflow
    >>> next(workflow.drivers("workspace/run")).customer_id
    'C000001'
    """
    from crm_models.runs.explaining import ExplainingJob
    from crm_models.runs.scoring import engine_for

    with here(place(run_folder)) as run_here:
        folder = place(cohort or RunFolder(run_here).about()["cohort"])
    scoring = _scoring(place(run_folder), folder, as_of, "whole", allow_drift, device)
    n_parts = len(Parts(folder))
    chosen = engine_for(engine, n_parts, workers=workers, address=address, threads=threads, device=device)
    for explained in chosen.results(ExplainingJob(scoring=scoring), n_parts):
        yield from explained


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
    from crm_models.runs.scoring import moment_of
    from crm_models.runs.trained import load_models

    models = load_models(run, device=device, threads=threads)
    return CohortExplainer.of(
        models, run, folder, lambda part: moment_of(part, as_of), in_bulk=in_bulk, allow_drift=allow_drift
    )


def report(
    run_folder: Path | str,
    out: Path | str,
    policy: Policy,
    *,
    cohort: Path | str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Path:
    """Write the report of a run as one HTML file: scores, curves, plans under the policy, model card, limits.

    It evaluates the run if that was not done before, and scores all customers of its cohort. cohort: where that is now,
    if it was moved.

    >>> from crm_models import workflow
    >>> from crm_models.planning import Policy
    >>> workflow.report("workspace/run", "workspace/run.html", Policy(threshold=0.4)).name
    'run.html'
    """
    from crm_models.core.html_page import write_page
    from crm_models.runs.held_out import held_out, predict_held_out
    from crm_models.runs.report import report_page

    run = RunFolder(Path(run_folder))
    run.need_weights()
    folder = Path(cohort or run.about()["cohort"])
    scores = run.report() or evaluate(run_folder, cohort=folder, device=device, threads=threads)
    held = held_out(run, InProcess(threads), folder)
    _, churn = predict_held_out(run, held, folder, InProcess(threads), device=device)
    stream = score_stream(run, folder, device=device, threads=threads)
    return write_page(report_page(run, scores, stream, policy, churn), out)


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
    from crm_models.runs.stability import stability_on

    about = _about_plans(run, cohort, policy, as_of, plan_for, drift)
    seeds = stability_on(run, cohort, as_of, plan_for)
    if seeds is not None:
        plans = (seeds.judged(part) for part in plans)
    return write_plans(plans, Path(out), settings, about | (selection or {}))


def _about_plans(
    run: RunFolder,
    cohort: Place,
    policy: Policy,
    as_of: str | None,
    plan_for: PlanFor,
    drift: Sequence[Difference],
) -> dict[str, Any]:
    """What the manifest says of run, cohort and policy."""
    from crm_models.runs.scoring import moment_said

    about_cohort, about_run = describe(cohort), run.about()
    return {
        "cohort": about_cohort["name"],
        "cohort_hash": digest(cohort),
        "trained_on_cohort_hash": about_run["cohort_hash"],
        "policy": policy.to_dict(),
        "as_of": moment_said(about_cohort, as_of),
        "plan_for": plan_for,
        "notes": [*about_run["notes"], *_no_better_than_simple(run)],
        "drift": [difference.to_dict() for difference in drift],
    }


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
    workers: int | None = 1,
    progress: Progress | None = None,
    allow_drift: bool = False,
) -> Iterator[CustomerScores]:
    """Churn probability and best plan of every customer of a cohort folder, one part of the cohort at a time.

    allow_drift: read what does not fit the training customers as missing. workers: processes, as for `plan`.

    >>> from crm_models import workflow
    >>> from crm_models.runs.folder import RunFolder
    >>> [len(scores.customer_id) for scores in workflow.score_stream(RunFolder("workspace/run"), "workspace/demo")]
    [60]
    """
    job = _scoring(run.folder, place(folder), as_of, plan_for, allow_drift, device)
    n_parts, said, done = len(Parts(place(folder))), _of_all(progress, place(folder)), 0
    for scores in engine_of("local", n_parts, workers=workers, address=None, threads=threads).results(job, n_parts):
        yield scores
        done += len(scores.customer_id)
        if said is not None:
            said(done)


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
    protocol: str = "holdout",
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
    settings: any other, as in `run_config`. seeds: how many, from `seed` up; with more than one, the scores are means
    with their spread. protocol: `holdout`, or `leave-one-out` for the sequence model, where `epochs` are a maximum,
    since the best one is chosen. labels: churn, customers of each fold's training who keep their label.

    >>> from crm_models import workflow
    >>> scores = workflow.benchmark("churn", "workspace/demo", preset="standard", folds=2, shape={"epochs": 1})
    >>> 0 <= scores["log_loss"]
    True
    """
    from crm_models.bench import quality as measure

    one_of("protocol", protocol, tuple(measure.PROTOCOLS))
    if protocol != "holdout" and task != "sequence":
        raise ConfigError(f"the protocol {protocol} is one of `benchmark sequence`; found it with {task}")
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
        k: measure.sequence(cohort, replace(config, seed=k), holdout, "epochs" not in given, protocol)  # type: ignore[arg-type]  # checked above
        if own == "sequence"
        else measure.churn(cohort, replace(config, seed=k), folds, k, labels)
        for k in range(seed, seed + seeds)
    }
    return runs[seed] if seeds == 1 else measure.over_seeds(runs)
