"""Cohorts, runs and the queue as the pages see them: on disk, read through caches whose keys change when files do.

The caches are bounded. What they hand out as resources (cohorts, scores, models) is shared by all viewers: read it,
never change it. What one viewer has chosen is `viewer`'s to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from crm_models.core.config import RunConfig
from crm_models.core.errors import CrmError
from crm_models.core.records import CustomerScores, DecodedPlans, EpochEnd
from crm_models.data.checks import Finding, check_cohort
from crm_models.data.cohort import Cohort
from crm_models.data.profile import CohortProfile, Headline, headline, profile
from crm_models.data.storage import describe, load_cohort
from crm_models.inference.score_store import read_scores
from crm_models.planning.plans import Catalogue, Plans, make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
from crm_models.runs.folder import RunFolder, RunStatus
from dashboard.jobs import scoring
from dashboard.jobs.queue import FailedJob, Job, JobAtWork
from dashboard.state.places import (
    cohorts_folder,
    jobs,
    mark,
    marked_json,
    new_name,
    newest_first,
    remove,
    runs_folder,
    stamp,
)
from dashboard.state.places import exports_folder as exports_folder  # pages know the places through here

PULSE = "pulse"
"""Session key of what `pulse` last said."""

MAX_GENERATED = 1_000_000


# ---- cohorts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CohortCard:
    """What a page needs of a cohort without loading it. about: `cohort.json`."""

    name: str
    folder: Path
    about: dict[str, Any]
    facts: Headline


def cohort_names() -> list[str]:
    """Saved cohorts, newest first."""
    return newest_first(cohorts_folder(), "cohort.json")


def cohort_card(name: str) -> CohortCard:
    """The card of a saved cohort. `DataError` where it is missing or damaged."""
    folder = cohorts_folder() / name
    about, facts = _cohort_facts(str(folder), stamp(folder))
    return CohortCard(name=name, folder=folder, about=about, facts=facts)


def cohort(name: str) -> Cohort:
    """The whole cohort in memory, shared by all viewers: read it, never change it."""
    folder = cohorts_folder() / name
    return _cohort(str(folder), stamp(folder))


def cohort_profile(name: str) -> CohortProfile:
    """The profile of a cohort: action mix, history lengths, recency, features by churn, segments."""
    folder = cohorts_folder() / name
    return _looked_over(str(folder), stamp(folder))[0]


def findings(name: str) -> list[Finding]:
    """What the data check says of a saved cohort."""
    folder = cohorts_folder() / name
    return _looked_over(str(folder), stamp(folder))[1]


def delete_cohort(name: str) -> None:
    """Remove a cohort folder for good. Runs trained on it stay; they cannot be evaluated any more."""
    remove(cohorts_folder() / name)


@st.cache_data(max_entries=64, show_spinner=False)
def _cohort_facts(folder: str, stamp: str) -> tuple[dict[str, Any], Headline]:
    return describe(Path(folder)), headline(Path(folder))


@st.cache_resource(max_entries=2, show_spinner=False)
def _cohort(folder: str, stamp: str) -> Cohort:
    return load_cohort(Path(folder))


@st.cache_data(max_entries=8, show_spinner=False)
def _looked_over(folder: str, stamp: str) -> tuple[CohortProfile, list[Finding]]:
    """Both at once, and the cohort is let go of: a million customers need not stay in memory to be described."""
    whole = load_cohort(Path(folder))
    return profile(whole), check_cohort(whole)


# ---- runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """A run as pages see it. about: `config.json`; result: `result.json` or None.

    state: that of `RunStatus`, and `scoring` while the runner computes report and scores after training.
    """

    run_id: str
    folder: RunFolder
    about: dict[str, Any]
    status: RunStatus
    result: dict[str, Any] | None
    state: str

    @property
    def cohort(self) -> str:
        """Name of the cohort folder it was trained on."""
        return Path(self.about["cohort"]).name

    @property
    def config(self) -> RunConfig:
        """Its settings."""
        return RunConfig.from_dict(self.about["config"])

    @property
    def preset(self) -> str:
        """The starting point of its settings."""
        return str(self.about["config"]["preset"])

    @property
    def search(self) -> str | None:
        """The search that it is a trial of, or None."""
        return (self.about.get("search") or {}).get("name")

    @property
    def created(self) -> datetime:
        """When it began (UTC)."""
        return datetime.fromisoformat(self.about["created_at"])

    @property
    def usable(self) -> bool:
        """Whether it can be evaluated and planned with."""
        return self.status.has_weights and bool((self.result or {}).get("models"))

    def epochs(self, model: str) -> list[EpochEnd]:
        """The epochs of one of its models so far."""
        return [epoch for epoch in self.status.epochs if epoch.model == model]


def run_names() -> list[str]:
    """Run folders, newest first."""
    return newest_first(runs_folder(), "config.json")


def run_card(run_id: str) -> RunCard | None:
    """The card of a run; None where the folder is none, or damaged."""
    folder = RunFolder(runs_folder() / run_id)
    try:
        ended = mark(folder.folder / "result.json")
        about = _about(str(folder.folder), mark(folder.folder / "config.json"))
        # A run that ended changes no more, unless it is resumed, which removes its result first.
        status = _ended(str(folder.folder), ended) if ended and not folder.is_alive() else folder.status()
        result = folder.result()
    except (CrmError, KeyError, ValueError):
        return None
    return RunCard(
        run_id=run_id, folder=folder, about=about, status=status, result=result, state=_state(run_id, status)
    )


def run_cards(cohort: str | None = None) -> list[RunCard]:
    """All runs, or those of one cohort, newest first."""
    cards = [card for name in run_names() if (card := run_card(name)) is not None]
    return [card for card in cards if cohort is None or card.cohort == cohort]


def start_run(cohort: str, *, arguments: list[str], about: str, wish: str) -> str:
    """Queue a training of a cohort; returns the name of the run. arguments: options of the `train` command."""
    queued = {job.job.run for job in jobs().jobs()}
    name = new_name(wish, runs_folder(), queued)
    jobs().add(Job(run=name, cohort=cohort, arguments=tuple(arguments), about=about))
    return name


def resume_run(card: RunCard) -> None:
    """Queue an interrupted or stopped run to go on from where it was."""
    for old in ("report.json", "result.json"):
        (card.folder.folder / old).unlink(missing_ok=True)
    jobs().add(Job(run=card.run_id, cohort=card.cohort, task="resume", about="resumed"))


def delete_run(run_id: str) -> None:
    """Remove a run folder and its log for good."""
    jobs().stop(run_id)
    remove(runs_folder() / run_id)
    jobs().log(run_id).unlink(missing_ok=True)


def report(card: RunCard) -> dict[str, Any] | None:
    """The scores on the run's held-out customers (`report.json`), or None while they are not there."""
    file = card.folder.folder / "report.json"
    written = mark(file)
    return marked_json(str(file), written) if written else None


def scores(card: RunCard, cohort_name: str | None = None) -> CustomerScores | None:
    """Everybody's churn probability and best plan, or None while they are not there; shared, read-only."""
    file = scoring.scores_file(card.folder, cohorts_folder() / (cohort_name or card.cohort))
    written = mark(file)
    return _scores(str(file), written) if written else None


def risk_index(card: RunCard, cohort_name: str | None = None) -> RiskIndex | None:
    """Everybody's churn probability in order, for thresholds; None while there are no scores."""
    file = scoring.scores_file(card.folder, cohorts_folder() / (cohort_name or card.cohort))
    written = mark(file)
    return _risk_index(str(file), written) if written else None


def plans_of(card: RunCard, rows: np.ndarray, policy: Policy, cohort_name: str | None = None) -> Plans | None:
    """The plans of some customers (rows of the cohort) under a policy; None while there are no scores."""
    everybody = scores(card, cohort_name)
    if everybody is None:
        return None
    catalogue = Catalogue.of(card.folder.encoder(), card.about["popular"], policy)
    return make_plans(of_rows(everybody, rows), catalogue, policy)


def of_rows(everybody: CustomerScores, rows: np.ndarray) -> CustomerScores:
    """The scores of some customers (rows of the cohort), in the order given."""
    plans = everybody.plans
    return CustomerScores(
        customer_id=everybody.customer_id[rows],
        churn_p=everybody.churn_p[rows],
        n_events=everybody.n_events[rows],
        plans=None if plans is None else DecodedPlans(**{name: values[rows] for name, values in vars(plans).items()}),
    )


def ask_for_scores(card: RunCard) -> None:
    """See that report and scores of a usable run come into being, in the background."""
    here = (cohorts_folder() / card.cohort / "cohort.json").exists()
    failed = any(failure.job.run == card.run_id for failure in jobs().failures())
    queued = any(job.job.run == card.run_id for job in jobs().jobs())
    if card.usable and here and not queued and not failed:
        jobs().add(Job(run=card.run_id, cohort=card.cohort, task="score", about="scores"))


def work() -> list[JobAtWork]:
    """The job at work and those that wait."""
    return jobs().jobs()


def failures() -> list[FailedJob]:
    """Jobs that left no run behind, newest first."""
    return jobs().failures()


def pulse() -> str:
    """Changes whenever a job begins, ends or moves on: what a waiting page looks at, cheap enough for every second."""
    jobs().keep_going()
    return " ".join(f"{job.job.run}:{job.state}:{job.place}" for job in work()) + f" {len(failures())}"


def _state(run_id: str, status: RunStatus) -> str:
    """What to show: between two files of a run that is under way, its folder alone looks interrupted."""
    now = [job for job in jobs().jobs() if job.job.run == run_id]
    if now and now[0].state == "scoring" and status.is_over:
        return "scoring"
    if now and now[0].state == "training" and status.state == "interrupted" and jobs().is_working():
        return "running"
    if now and now[0].state == "waiting":
        return "waiting"
    return status.state


@st.cache_data(max_entries=256, show_spinner=False)
def _about(folder: str, mark: str) -> dict[str, Any]:
    return RunFolder(Path(folder)).about()


@st.cache_data(max_entries=256, show_spinner=False)
def _ended(folder: str, mark: str) -> RunStatus:
    return RunFolder(Path(folder)).status()


@st.cache_resource(max_entries=3, show_spinner=False)
def _scores(file: str, mark: str) -> CustomerScores:
    return read_scores(Path(file))


@st.cache_resource(max_entries=3, show_spinner=False)
def _risk_index(file: str, mark: str) -> RiskIndex:
    return RiskIndex(_scores(file, mark).churn_p)
