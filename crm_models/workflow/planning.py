"""Plans of all customers as a file, and the scores that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_models.core.engines import EngineName, engine_of
from crm_models.core.files import need_file_target, read_whole
from crm_models.core.places import Place, address_of, here, place
from crm_models.core.provenance import now
from crm_models.core.records import CustomerScores
from crm_models.core.schema import PlanFor, PlanLayout
from crm_models.data.drift import Difference, refuse
from crm_models.data.storage import Parts, describe, digest
from crm_models.runs.folder import RunFolder

if TYPE_CHECKING:
    from crm_models.planning.export import ExportSettings
    from crm_models.planning.plans import Plans
    from crm_models.planning.policy import Policy
    from crm_models.runs.scoring import ScoringJob

Progress = Callable[[int, int], None]
"""Called with customers done and customers in all."""


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
            scoring=scoring_job(place(run_folder), folder, as_of, plan_for, allow_drift, device),
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
    job = scoring_job(run.folder, place(folder), as_of, plan_for, allow_drift, device)
    n_parts, said, done = len(Parts(place(folder))), _of_all(progress, place(folder)), 0
    for scores in engine_of("local", n_parts, workers=workers, address=None, threads=threads).results(job, n_parts):
        yield scores
        done += len(scores.customer_id)
        if said is not None:
            said(done)


def scoring_job(
    run: Place, cohort: Place, as_of: str | None, plan_for: PlanFor, allow_drift: bool, device: str
) -> ScoringJob:
    """The scores of a cohort as a job that any process can do, here or elsewhere."""
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
