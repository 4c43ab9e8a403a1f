"""Scores of a cohort, one part at a time, by whichever process is given the part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crm_models.core.engines import Engine, EngineName, engine_of
from crm_models.core.errors import ConfigError
from crm_models.core.places import here, place
from crm_models.core.records import CustomerScores
from crm_models.core.schema import PlanFor
from crm_models.data.cohort import Cohort, Moment
from crm_models.data.cohort import moment_of as named_moment
from crm_models.data.drift import conformed
from crm_models.data.features import CohortArrays
from crm_models.data.split import planning_moment
from crm_models.data.storage import Parts, last_moment_days
from crm_models.runs.folder import RunFolder
from crm_models.runs.trained import load_models


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """Score a cohort folder with a run: what `crm_models.core.engines` hands out, part by part.

    run, cohort: paths or addresses. as_of: the moment, as `moment_of` reads it. allow_drift: read what does not fit the
    training customers as missing.
    """

    run: str
    cohort: str
    as_of: str | None = None
    plan_for: PlanFor = "whole"
    allow_drift: bool = False
    device: str = "auto"

    def open(self, threads: int | None) -> Scorer:
        """Load the models and open the cohort's tables."""
        with here(place(self.run)) as folder:
            return Scorer(RunFolder(folder), self, threads)


class Scorer:
    """The models of a run and the parts of a cohort, open in this process."""

    def __init__(self, run: RunFolder, job: ScoringJob, threads: int | None) -> None:
        self.models = load_models(run, device=job.device, threads=threads)
        self.parts = Parts(place(job.cohort))
        self._job, self._schema = job, run.schema() if job.allow_drift else None

    def fitting(self, part: Cohort) -> Cohort:
        """A part as the models read it."""
        return part if self._schema is None else conformed(self._schema, part)

    def encoded(self, part: Cohort, moment: Moment | None) -> CohortArrays:
        """A part as `fitting` returns it, encoded at a moment; None: after all events of the whole cohort."""
        now_days = last_moment_days(self.parts.about) if moment is None else None
        return self.models.encoder.encode(part, moment, now_days)

    def read(self, k: int) -> tuple[Cohort, CohortArrays]:
        """Part k as the models read it, and encoded."""
        part = self.fitting(self.parts[k])
        return part, self.encoded(part, moment_of(part, self._job.as_of))

    def work(self, k: int, read: tuple[Cohort, CohortArrays]) -> CustomerScores:
        """Churn probability and best plan of every customer of part k."""
        return self.models.score_encoded(read[1], self._job.plan_for)


def moment_of(part: Cohort, as_of: str | None) -> Moment | None:
    """The moment that plans are made at; None: after all events.

    as_of: `cohort` (its cut-off), `latest`, a date or number, or None for what suits the cohort.
    """
    if as_of is None:
        return planning_moment(part)
    if as_of == "latest":
        return None
    if as_of == "cohort":
        return part.as_of
    moment = named_moment(as_of, part.is_dated)
    if moment is None:
        usual = "a date such as 2026-01-31" if part.is_dated else "a number as its times are"
        raise ConfigError(f"--as-of expects cohort, latest or {usual}; found {as_of!r}")
    return moment


def moment_said(about: dict[str, Any], as_of: str | None) -> str | float | None:
    """The moment of `moment_of` for the manifest: a date or number, or None where there are no events."""
    if as_of is None:
        return about["as_of"] if about["outcome"] == "simulated" else about["last_timestamp"]
    return {"latest": about["last_timestamp"], "cohort": about["as_of"]}.get(as_of, as_of)


def engine_for(
    name: EngineName, n_parts: int, *, workers: int | None, address: str | None, threads: int | None, device: str
) -> Engine:
    """The engine asked for; a GPU is used by one process, which keeps it busy."""
    from crm_models.models.runtime import resolve_device

    if name == "local" and workers is None and resolve_device(device).type == "cuda":
        workers = 1
    return engine_of(name, n_parts, workers=workers, address=address, threads=threads)
