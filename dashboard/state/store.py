"""Cohorts, runs and the queue on disk, read through bounded caches whose keys change when files do.

Cached resources (cohorts, scores, models) are shared by all viewers: read them, never change them. The choices of one
viewer are in `session`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import streamlit as st

from crm_models import workflow
from crm_models.core.config import RunConfig, SplitKind
from crm_models.core.errors import CrmError
from crm_models.core.files import delete_folder, read_whole
from crm_models.core.records import CustomerScores, EpochEnd
from crm_models.core.schema import MODEL_NAMES, ModelName, PlanFor
from crm_models.data.checks import Facts, Finding, check
from crm_models.data.drift import Difference
from crm_models.data.profile import CohortProfile, Headline, Past, headline, profile_of
from crm_models.data.storage import describe, parts
from crm_models.inference.score_store import read_scores
from crm_models.planning.thresholds import RiskIndex
from crm_models.runs.folder import RunFolder, RunStatus
from crm_models.runs.pipeline import MIN_CUSTOMERS, trainable
from dashboard.jobs import scoring
from dashboard.jobs.queue import SINGLE_STEPS, FailedJob, Job, JobAtWork, remove_file
from dashboard.state import access
from dashboard.state.workspace import cohort_key, cohorts_folder, jobs, mark, new_name, newest_first, runs_folder

PULSE = "pulse"
"""Session key of the last value of `pulse`."""

MAX_GENERATED = 1_000_000

EXACT_CUSTOMERS = 100_000
"""Largest cohort that is loaded to tell which models it can train; of a larger one the counts say enough."""


# ---- cohorts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CohortCard:
    """Facts on a cohort that need no table in memory. about: `cohort.json`."""

    name: str
    folder: Path
    about: dict[str, Any]
    facts: Headline


def cohort_names() -> list[str]:
    """Saved cohorts, newest first."""
    return access.visible("cohorts", newest_first(cohorts_folder(), "cohort.json"))


def cohort_card(name: str) -> CohortCard:
    """The card of a saved cohort. Raises `DataError` if it is missing or damaged."""
    access.need_visible("cohorts", name)
    about, facts = _cohort_facts(*cohort_key(name))
    return CohortCard(name=name, folder=cohorts_folder() / name, about=about, facts=facts)


def cohort_profile(name: str) -> CohortProfile:
    """The profile of a cohort: action mix, history lengths, recency, features by churn, segments."""
    found, hidden = _described(*cohort_key(name))[0], access.personal()
    shown = {table: getattr(found, table) for table in ("features", "spread")}
    return replace(found, **{table: rows[~rows["feature"].isin(hidden)] for table, rows in shown.items()})


def findings(name: str) -> list[Finding]:
    """Data check of a saved cohort."""
    return _described(*cohort_key(name))[1]


def cannot_train(name: str, seed: int = 0, split: SplitKind = "random", split_date: str = "") -> dict[ModelName, str]:
    """Why a cohort cannot train a model, by model, as the `train` command would say; empty if it can train both.

    seed, split, split_date: decide which classes there are to learn from. Raises `ConfigError` for a date that is none.
    """
    return _cannot_train(*cohort_key(name), seed, split, split_date)


def untrainable(name: str) -> list[str]:
    """Why a cohort can train no model at all; empty if it can train one."""
    reasons = cannot_train(name)
    return list(dict.fromkeys(reasons.values())) if len(reasons) == len(MODEL_NAMES) else []


def can_train(name: str, seed: int = 0) -> tuple[ModelName, ...]:
    """The models that a cohort can train."""
    reasons = cannot_train(name, seed)
    return tuple(model for model in MODEL_NAMES if model not in reasons)


def delete_cohort(name: str) -> None:
    """Delete a cohort folder. Runs trained on it are kept, but can no longer be evaluated."""
    with access.deleting("cohort.delete", f"cohorts/{name}"):
        delete_folder(cohorts_folder() / name)


def generate_cohort(name: str, *, customers: int, **settings: Any) -> None:
    """Generate a cohort of this name; see `workflow.generate`."""
    access.need_quota("customers", customers, "customers of a generated cohort")
    with access.making("cohort.make", f"cohorts/{name}"):
        workflow.generate(cohorts_folder() / name, customers=min(customers, MAX_GENERATED), **settings)


def keep_cohort(name: str, save: Callable[[Path], object]) -> None:
    """Keep an imported cohort under this name; save: writes it to the folder that it is given."""
    with access.making("cohort.make", f"cohorts/{name}"):
        save(cohorts_folder() / name)


@st.cache_data(max_entries=64, show_spinner=False)
def _cohort_facts(folder: str, stamp: str) -> tuple[dict[str, Any], Headline]:
    return describe(Path(folder)), headline(Path(folder))


@st.cache_data(max_entries=256, show_spinner="Checking what these customers can train")
def _cannot_train(folder: str, stamp: str, seed: int, split: SplitKind, split_date: str) -> dict[ModelName, str]:
    facts = headline(Path(folder))
    if facts.customers <= EXACT_CUSTOMERS or split == "time":
        config = RunConfig(seed=seed, split=split, split_date=split_date)
        reasons = trainable(Path(folder), config).reasons
        return {model: why for model, why in reasons.items() if why is not None}
    found: dict[ModelName, str] = {}
    if not facts.interactions:
        found["sequence"] = "the sequence model needs interactions, and the cohort has none"
    if facts.labelled < MIN_CUSTOMERS:
        found["churn"] = f"the churn model needs {MIN_CUSTOMERS} customers with a known label, found {facts.labelled}"
    return found


@st.cache_data(max_entries=8, show_spinner="Describing these customers")
def _described(folder: str, stamp: str) -> tuple[CohortProfile, list[Finding]]:
    """Profile and data check of a cohort, which is read once, part by part: its events need not be in memory."""
    seen = [(Past.of(part), Facts.of(part)) for part in parts(Path(folder))]
    past, facts = zip(*seen, strict=True)
    return profile_of(Past.joined(past)), check(Facts.joined(facts))


# ---- runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RunCard:
    """Facts on a run. about: `config.json`; result: `result.json` or None.

    state: that of `RunStatus`, or `scoring` while the worker computes report and scores after training.
    """

    run_id: str
    folder: RunFolder
    about: dict[str, Any]
    status: RunStatus
    result: dict[str, Any] | None
    state: str

    @property
    def cohort(self) -> str:
        """Name of the cohort that the run was trained on."""
        return Path(self.about["cohort"]).name

    @property
    def config(self) -> RunConfig:
        """The settings of the run."""
        return RunConfig.from_dict(self.about["config"])

    @property
    def preset(self) -> str:
        """The preset that the settings start from."""
        return str(self.about["config"]["preset"])

    @property
    def search(self) -> str | None:
        """Name of the search that this run is a trial of, or None."""
        return (self.about.get("search") or {}).get("name")

    @property
    def created(self) -> datetime:
        """Start of the run (UTC)."""
        return datetime.fromisoformat(self.about["created_at"])

    @property
    def usable(self) -> bool:
        """Whether the run has a trained model for evaluation and plans."""
        return self.status.has_weights and bool((self.result or {}).get("models"))

    def epochs(self, model: str) -> list[EpochEnd]:
        """Epochs of one model so far."""
        return [epoch for epoch in self.status.epochs if epoch.model == model]


def run_names() -> list[str]:
    """Run folders, newest first."""
    return access.visible("runs", newest_first(runs_folder(), "config.json"))


def run_card(run_id: str) -> RunCard | None:
    """The card of a run; None if its folder is missing or damaged (see `run_trouble`)."""
    try:
        return _read_card(run_id)
    except (CrmError, OSError):
        return None


def run_trouble(run_id: str) -> str:
    """Why the folder of a run cannot be read, naming the file; "" if it can, or if there is none."""
    try:
        if (runs_folder() / run_id / "config.json").exists():
            _read_card(run_id)
    except (CrmError, OSError) as error:
        return str(error)
    return ""


def damaged_runs() -> dict[str, str]:
    """Runs whose folder cannot be read, with the reason, which names the file."""
    troubles = {name: run_trouble(name) for name in run_names()}
    return {name: why for name, why in troubles.items() if why}


def _read_card(run_id: str) -> RunCard:
    access.need_visible("runs", run_id)
    folder = RunFolder(runs_folder() / run_id)
    result_mark = mark(folder.folder / "result.json")
    with read_whole(folder.folder, "a run", "delete it, or train it again"):
        about = _about(str(folder.folder), mark(folder.folder / "config.json"))
        # A run that has ended no longer changes, unless it is resumed, which removes its result first.
        status = _ended(str(folder.folder), result_mark) if result_mark and not folder.is_alive() else folder.status()
        if status.has_weights:
            _need_intact(str(folder.folder), "/".join(mark(folder.folder / name) for name in _NEEDED))
        card = RunCard(
            run_id=run_id,
            folder=folder,
            about=about,
            status=status,
            result=folder.result(),
            state=_state(run_id, status),
        )
        # What every page asks of a card, so that a damaged value is found here and not while a page is drawn.
        _ = card.cohort, card.config, card.preset, card.search, card.created, card.usable, folder.trained()
    return card


def run_cards(cohort: str | None = None) -> list[RunCard]:
    """All runs, or those of one cohort, newest first."""
    cards = [card for name in run_names() if (card := run_card(name)) is not None]
    return [card for card in cards if cohort is None or card.cohort == cohort]


def start_run(cohort: str, *, arguments: list[str], about: str, wish: str) -> str:
    """Queue a training on a cohort and return the name of the run. arguments: options of the `train` command."""
    queued = {job.job.run for job in jobs().jobs()}
    name = new_name(wish, runs_folder(), queued)
    queue_training(Job(run=name, cohort=cohort, arguments=tuple(arguments), about=about))
    return name


def queue_training(job: Job) -> None:
    """Queue a training, or a search, whose run then belongs to this viewer."""
    access.need_visible("cohorts", job.cohort)
    access.need_training_quota()
    with access.making("run.train", f"runs/{job.run}"):
        jobs().add(job)


def stop_run(run_id: str) -> None:
    """Remove a training from the queue, or ask it to stop."""
    with access.doing("run.stop", f"runs/{run_id}"):
        jobs().stop(run_id)


def forget_job(run_id: str) -> None:
    """Remove a run from the queue and from the list of failures."""
    with access.doing("run.stop", f"runs/{run_id}"):
        jobs().forget(run_id)


def resume_run(card: RunCard) -> None:
    """Queue an interrupted or stopped run to resume where it ended."""
    access.need_training_quota()
    with access.doing("run.train", f"runs/{card.run_id}"):
        for name in ("report.json", "result.json"):
            (card.folder.folder / name).unlink(missing_ok=True)
        jobs().add(Job(run=card.run_id, cohort=card.cohort, task="resume", about="resumed"))


def train_seeds(card: RunCard, seeds: int) -> None:
    """Queue the training of a run with more seeds, `seeds` in all."""
    access.need_training_quota()
    with access.doing("run.train", f"runs/{card.run_id}"):
        arguments, about = ("--seeds", str(seeds)), f"{seeds - 1} more seeds"
        jobs().add(Job(run=card.run_id, cohort=card.cohort, task="stability", arguments=arguments, about=about))


def delete_run(run_id: str) -> None:
    """Delete a run folder and its log."""
    with access.deleting("run.delete", f"runs/{run_id}"):
        jobs().stop(run_id)
        delete_folder(runs_folder() / run_id)
        jobs().log(run_id).unlink(missing_ok=True)


def report(card: RunCard) -> dict[str, Any] | None:
    """The scores on the run's held-out customers (`report.json`), or None while there is none or a damaged one."""
    version = mark(card.folder.folder / "report.json")
    try:
        return _report(str(card.folder.folder), version) if version else None
    except (CrmError, OSError):
        return None


@st.cache_data(max_entries=64, show_spinner=False)
def _report(run: str, mark: str) -> dict[str, Any] | None:
    return RunFolder(Path(run)).report()


PLAN_FOR = "plan_for"
"""Session key and query parameter of what plans are made for."""

PLANS_FOR: dict[str, PlanFor] = {"whole plans": "whole", "single steps": "steps"}
"""What plans are made for, by its name on screen and in the address."""


_OF_DOWNLOAD: ContextVar[PlanFor | None] = ContextVar("plan_for_of_download", default=None)


def plan_for() -> PlanFor:
    """What this viewer's plans are made for: to be right as a whole, or in as many single steps as possible."""
    chosen = _OF_DOWNLOAD.get()
    if chosen is not None:
        return chosen
    return PLANS_FOR.get(st.session_state.get(PLAN_FOR) or st.query_params.get(PLAN_FOR) or "", "whole")


@contextmanager
def as_chosen(chosen: PlanFor) -> Iterator[None]:
    """Within it `plan_for` is what was chosen when a download was offered; its own thread has no session."""
    token = _OF_DOWNLOAD.set(chosen)
    try:
        yield
    finally:
        _OF_DOWNLOAD.reset(token)


def scores_file(card: RunCard, cohort_name: str | None = None) -> Path:
    """The file for the scores of a cohort, by default the run's own, with the plans that this viewer wants."""
    return scoring.scores_file(card.folder, cohorts_folder() / (cohort_name or card.cohort), plan_for())


def _scoring_options() -> tuple[str, ...]:
    return (SINGLE_STEPS,) if plan_for() == "steps" else ()


def scores(card: RunCard, cohort_name: str | None = None) -> CustomerScores | None:
    """Churn probability and best plan of all customers, or None while there are none; shared, read-only."""
    file = scores_file(card, cohort_name)
    version = mark(file)
    try:
        return _scores(str(file), version) if version else None
    except CrmError:
        return None  # damaged: made anew on the next request


def risk_index(card: RunCard, cohort_name: str | None = None) -> RiskIndex | None:
    """Sorted churn probabilities of all customers, for thresholds; None while there are no scores."""
    file = scores_file(card, cohort_name)
    version = mark(file)
    return _risk_index(str(file), version) if version and scores(card, cohort_name) is not None else None


def ask_for_scores(card: RunCard) -> None:
    """Queue the missing report and scores of a usable run, unless they are queued or have failed."""
    has_cohort = (cohorts_folder() / card.cohort / "cohort.json").exists()
    failed = any(failure.job.run == card.run_id for failure in jobs().failures())
    queued = any(job.job.run == card.run_id for job in jobs().jobs())
    if card.usable and has_cohort and not queued and not failed:
        if report(card) is None:
            remove_file(card.folder.folder / "report.json")  # damaged; the worker writes only what is missing
        if scores(card) is None:
            remove_file(scores_file(card))
        job = Job(run=card.run_id, cohort=card.cohort, task="score", arguments=_scoring_options(), about="scores")
        jobs().add(job)


def ask_for_scores_of(card: RunCard, cohort_name: str, *, allow_drift: bool) -> None:
    """Queue the scores of another cohort than the run's own, instead of earlier ones."""
    access.need_visible("cohorts", cohort_name)
    arguments = (*_scoring_options(), *(("--allow-drift",) if allow_drift else ()))
    about = f"scores of {cohort_name}"
    with access.doing("run.compare", f"runs/{card.run_id}"):
        remove_file(scores_file(card, cohort_name))
        jobs().add(Job(run=card.run_id, cohort=cohort_name, task="score-others", arguments=arguments, about=about))


def differences(card: RunCard, cohort_name: str) -> list[Difference]:
    """How the customers of a cohort differ from those the run was trained on, worst first."""
    return _differences(str(card.folder.folder), *cohort_key(cohort_name))


@st.cache_data(max_entries=32, show_spinner="Comparing with the training customers")
def _differences(run: str, cohort: str, stamp: str) -> list[Difference]:
    return workflow.compare(run, cohort)


def work() -> list[JobAtWork]:
    """The current job and the waiting ones; those that this viewer may not see without their names."""
    return [job if access.visible("runs", [job.job.run]) else _nameless(job) for job in jobs().jobs()]


def _nameless(job: JobAtWork) -> JobAtWork:
    return replace(job, job=Job(run=f"somebody else's job {job.place}", cohort="another cohort", task=job.job.task))


def failures() -> list[FailedJob]:
    """Jobs that failed without a run folder, newest first."""
    return [failed for failed in jobs().failures() if access.visible("runs", [failed.job.run])]


def pulse() -> str:
    """A text that changes when a job starts, ends or moves up; cheap enough for a waiting page to poll every second."""
    jobs().keep_going()
    return " ".join(f"{job.job.run}:{job.state}:{job.place}" for job in work()) + f" {len(failures())}"


def _state(run_id: str, status: RunStatus) -> str:
    """State to show. While a job moves between two steps, its run folder alone would look interrupted."""
    own_jobs = [job for job in jobs().jobs() if job.job.run == run_id and job.job.task != "stability"]
    if own_jobs and own_jobs[0].state == "scoring" and status.is_over:
        return "scoring"
    if own_jobs and own_jobs[0].state == "training" and status.state == "interrupted" and jobs().is_working():
        return "running"
    if own_jobs and own_jobs[0].state == "waiting":
        return "waiting"
    return status.state


@st.cache_data(max_entries=256, show_spinner=False)
def _about(folder: str, mark: str) -> dict[str, Any]:
    return RunFolder(Path(folder)).about()


_NEEDED = ("config.json", "result.json", "encoder.json", "schema.json", "split.parquet")


@st.cache_data(max_entries=256, show_spinner=False)
def _need_intact(run: str, marks: str) -> None:
    RunFolder(Path(run)).need_intact()


@st.cache_data(max_entries=256, show_spinner=False)
def _ended(folder: str, mark: str) -> RunStatus:
    return RunFolder(Path(folder)).status()


@st.cache_resource(max_entries=3, show_spinner="Reading the scores of all customers")
def _scores(file: str, mark: str) -> CustomerScores:
    return read_scores(Path(file))


@st.cache_resource(max_entries=3, show_spinner=False)
def _risk_index(file: str, mark: str) -> RiskIndex:
    return RiskIndex(_scores(file, mark).churn_p)
