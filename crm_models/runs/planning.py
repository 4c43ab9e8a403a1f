"""Plans of a cohort, made part by part on any number of processes or machines, and joined in order.

A part is planned by `plan_part`: paths in, one file and its counts out. Doing it again writes the same file again, so a
part whose process ended before it was done is simply given to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crm_models.core.engines import Engine
from crm_models.core.errors import RunError
from crm_models.core.files import folder_beside, new_file
from crm_models.core.places import Place, address_of, here, place
from crm_models.core.provenance import need_same, now, peak_mib, versions
from crm_models.data.cohort import Cohort
from crm_models.data.features import CohortArrays
from crm_models.planning.export import ExportSettings, Written, computed_by, join_plans, write_rows
from crm_models.planning.plans import make_plans
from crm_models.planning.policy import Policy
from crm_models.runs.explaining import CohortExplainer, CohortStepExplainer
from crm_models.runs.folder import RunFolder
from crm_models.runs.scoring import Scorer, ScoringJob
from crm_models.runs.stability import stability_on
from crm_models.runs.trained import plan_catalogue


@dataclass(frozen=True, kw_only=True)
class PlannedPart:
    """What planning a part returns. name: of the file with its plans. versions: of what computed them.

    peak_mib: most memory that the process has held so far.
    """

    name: str
    written: Written
    versions: dict[str, str]
    peak_mib: int


@dataclass(frozen=True, kw_only=True)
class PlanningJob:
    """Plan every customer of a cohort; a part is written to the folder `into` (a path or an address).

    drivers, step_drivers: also say why customers at risk are, and why each step, in the long layout.
    """

    scoring: ScoringJob
    policy: Policy
    settings: ExportSettings
    into: str
    drivers: bool = False
    step_drivers: bool = False

    def open(self, threads: int | None) -> Planner:
        """Load the models and open the cohort's tables."""
        with here(place(self.scoring.run)) as folder:
            return Planner(RunFolder(folder), self, threads)


class Planner:
    """A planning job that is open in this process."""

    def __init__(self, run: RunFolder, job: PlanningJob, threads: int | None) -> None:
        self._job, self._into = job, place(job.into)
        self._scorer = Scorer(run, job.scoring, threads)
        self._catalogue = plan_catalogue(run, job.policy)
        self._seeds = stability_on(run, place(job.scoring.cohort), job.scoring.as_of, job.scoring.plan_for)
        self._explainer: CohortExplainer | None = None
        self._step_explainer: CohortStepExplainer | None = None
        if job.settings.layout == "long":
            self._explain(run, job)

    def _explain(self, run: RunFolder, job: PlanningJob) -> None:
        """Open what the job asks to explain, as far as the run has the models."""
        models, scoring = self._scorer.models, job.scoring
        folder = place(scoring.cohort)
        asked: dict[str, Any] = {"in_bulk": True, "as_of": scoring.as_of, "allow_drift": scoring.allow_drift}
        if job.drivers and models.churn is not None:
            self._explainer = CohortExplainer.of(models, run, folder, **asked)
        if job.step_drivers and models.sequence is not None:
            self._step_explainer = CohortStepExplainer.of(models, run, folder, plan_for=scoring.plan_for, **asked)

    def read(self, k: int) -> tuple[Cohort, CohortArrays]:
        """Part k, as read and encoded."""
        return self._scorer.read(k)

    def work(self, k: int, read: tuple[Cohort, CohortArrays]) -> PlannedPart:
        """Plan part k and write its file, whole; only the first part has the header."""
        plans = make_plans(self._scorer.work(k, read), self._catalogue, self._job.policy)
        if self._seeds is not None:
            plans = self._seeds.judged(plans)
        if self._explainer is not None:
            plans = self._explainer.with_drivers(plans, read[0])
        if self._step_explainer is not None:
            plans = self._step_explainer.with_drivers(plans, read[0])
        name = f"part-{k:06d}.csv"
        with new_file(self._into / name) as file, file.open("wb") as handle:
            written = write_rows(plans, handle, self._job.settings, header=k == 0)
        return PlannedPart(name=name, written=written, versions=versions(), peak_mib=peak_mib())


def plan_part(
    run: Path | str,
    cohort: Path | str,
    part: int,
    policy: Policy,
    *,
    into: Path | str,
    settings: ExportSettings | None = None,
    threads: int | None = 1,
    **scoring: Any,
) -> PlannedPart:
    """Plan one part of a cohort and write its plans to the folder `into`: for schedulers with workers of their own.

    The parts of a cohort are `range(len(crm_models.data.storage.Parts(cohort)))`; their files, joined in this order,
    are what `workflow.plan` writes. settings: by default those of the wide layout, scored now: give each part the same.
    scoring: further fields of `ScoringJob`, such as `as_of`.

    >>> from crm_models.planning import Policy
    >>> from crm_models.runs.planning import plan_part
    >>> planned = plan_part("workspace/run", "workspace/demo", 0, Policy(threshold=0.4), into="workspace/parts")
    >>> planned.name, planned.written.counts["customers"]
    ('part-000000.csv', 60)
    """
    settings = settings or ExportSettings(run_id=Path(run).name, scored_at=now())
    job = PlanningJob(
        scoring=ScoringJob(run=str(run), cohort=str(cohort), **scoring),
        policy=policy,
        settings=settings,
        into=str(into),
    )
    planner = job.open(threads)
    return planner.work(part, planner.read(part))


def plan_parts(
    job: PlanningJob,
    n_parts: int,
    engine: Engine,
    out: Place,
    about: dict[str, Any],
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Plan all parts with an engine and join them to the CSV `out`, with a manifest beside it; returns the manifest.

    job: its `into` is replaced by a folder beside `out`, which every process must reach. progress: called with the
    customers planned so far. The manifest says under `computed` how many processes there were, and their peak memory.
    """
    with folder_beside(out) as into:
        results = engine.results(replace(job, into=address_of(into)), n_parts)
        computed = computed_by(engine.name, engine.workers, n_parts, 0)

        def files() -> Iterator[tuple[Written, Place]]:
            done = 0
            for planned in _checked(results, into):
                yield planned.written, into / planned.name
                done += planned.written.counts["customers"]
                computed.update(workers=engine.workers, peak_mib=max(computed["peak_mib"], planned.peak_mib))
                if progress is not None:
                    progress(done)

        return join_plans(files(), out, job.settings, about | {"computed": computed})


def _checked(results: Iterable[PlannedPart], into: Place) -> Iterator[PlannedPart]:
    """The parts, whose files are here. `RunError` for one whose file is not, or that other versions computed."""
    for planned in results:
        need_same(planned.versions, planned.name)
        if not (into / planned.name).exists():
            raise RunError(
                f"{into / planned.name}: expected the plans of a part, found none: it was written on another machine; "
                "write --out to storage that all machines share"
            )
        yield planned
