"""Searches for better settings as pages see them: a folder beside the runs of their trials, and a job in the queue."""

from __future__ import annotations

from pathlib import Path

from crm_models.core.errors import CrmError
from crm_models.runs.trials import FILE, Search, read_search
from dashboard.jobs.queue import Job
from dashboard.state import store
from dashboard.state.places import jobs, new_name, newest_first, remove, runs_folder

DEFAULT_MINUTES = 15
MOST_MINUTES = 24 * 60


def search(name: str) -> Search | None:
    """The search of that name; None where there is none yet, or it is damaged."""
    try:
        return read_search(runs_folder() / name)
    except CrmError:
        return None


def searches(cohort: str) -> list[Search]:
    """The searches on a cohort, the one that moved last first."""
    found = [search(name) for name in newest_first(runs_folder(), FILE)]
    return [s for s in found if s is not None and Path(s.about["cohort"]).name == cohort]


def start(cohort: str, *, model: str, preset: str, minutes: float) -> str:
    """Queue a search; returns its name, with which those of its trials begin."""
    queued = {job.job.run for job in jobs().jobs()}
    name = new_name(f"{cohort[:32]}-search-{model}", runs_folder(), queued)
    _queue(name, cohort, model=model, preset=preset, minutes=minutes)
    return name


def go_on(found: Search, *, minutes: float) -> None:
    """Queue a search that has ended to go on for so many minutes more."""
    about = found.about
    _queue(found.folder.name, Path(about["cohort"]).name, model=found.model, preset=about["preset"], minutes=minutes)


def _queue(name: str, cohort: str, *, model: str, preset: str, minutes: float) -> None:
    arguments = ("--model", model, "--preset", preset, "--minutes", f"{minutes:g}")
    about = f"{model} model, from {preset}, {minutes:g} min"
    jobs().add(Job(run=name, cohort=cohort, task="tune", arguments=arguments, about=about))


def train_with_best(found: Search) -> str:
    """Queue a training of whatever the data allow with the settings of the best trial; returns the run's name."""
    name, cohort = found.folder.name, Path(found.about["cohort"]).name
    return store.start_run(cohort, arguments=found.arguments, about=f"best of {name}", wish=f"{name[:43]}-best")


def delete(found: Search) -> None:
    """Remove a search with the runs of all its trials for good."""
    name = found.folder.name
    jobs().stop(name)
    for card in store.run_cards():
        if card.search == name:
            store.delete_run(card.run_id)
    remove(found.folder)
    jobs().log(name).unlink(missing_ok=True)
