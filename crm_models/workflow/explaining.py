"""Why customers are at risk, why they get their steps, and what would bring them below the threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crm_models.core.engines import EngineName
from crm_models.core.places import Place, here, place
from crm_models.core.schema import PlanFor
from crm_models.data.drift import refuse
from crm_models.data.storage import Parts
from crm_models.runs.folder import RunFolder
from crm_models.workflow.evaluating import compare
from crm_models.workflow.planning import scoring_job

if TYPE_CHECKING:
    from crm_models.inference.counterfactual import Counterfactual
    from crm_models.inference.drivers import Explained
    from crm_models.runs.explaining import CohortExplainer, CohortStepExplainer


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
    from crm_models.runs.explaining import CohortExplainer
    from crm_models.runs.trained import load_models

    run, folder = _to_explain(run_folder, cohort, allow_drift=allow_drift)
    return CohortExplainer.of(
        load_models(run, device=device, threads=threads),
        run,
        folder,
        in_bulk=customers is None,
        as_of=as_of,
        allow_drift=allow_drift,
    )


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
    from crm_models.runs.trained import load_models

    run, folder = _to_explain(run_folder, cohort, allow_drift=allow_drift)
    return CohortStepExplainer.of(
        load_models(run, device=device, threads=threads),
        run,
        folder,
        in_bulk=customers is None,
        as_of=as_of,
        plan_for=plan_for,
        allow_drift=allow_drift,
    )


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
    scoring = scoring_job(place(run_folder), folder, as_of, "whole", allow_drift, device)
    n_parts = len(Parts(folder))
    chosen = engine_for(engine, n_parts, workers=workers, address=address, threads=threads, device=device)
    for explained in chosen.results(ExplainingJob(scoring=scoring), n_parts):
        yield from explained


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
