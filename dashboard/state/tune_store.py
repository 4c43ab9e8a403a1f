"""Searches for better settings: each is a folder beside the runs of its trials, and a job in the queue."""

from __future__ import annotations

from pathlib import Path

from crm_models.core.errors import CrmError
from crm_models.core.files import delete_folder
from crm_models.runs.trials import FILE, Search, read_search
from dashboard.jobs.queue import Job
from dashboard.state import access, store
from dashboard.state.workspace import jobs, new_name, newest_first, runs_folder

DEFAULT_MINUTES = 15
MOST_MINUTES = 24 * 60


def search(name: str) -> Search | None:
    """The search of that name; None if it does not exist yet or is damaged."""
    try:
        return read_search(runs_folder() / name)
    except CrmError:
        return None


def searches(cohort: str) -> list[Search]:
    """The searches on a cohort, last changed first."""
    all_searches = [search(name) for name in access.visible("runs", newest_first(runs_folder(), FILE))]
    return [s for s in all_searches if s is not None and Path(s.about["cohort"]).name == cohort]


def start(cohort: str, *, model: str, preset: str, minutes: float) -> str:
    """Queue a search and return its name, the prefix of the names of its trials."""
    queued = {job.job.run for job in jobs().jobs()}
    name = new_name(f"{cohort[:32]}-search-{model}", runs_folder(), queued)
    _queue(name, cohort, model=model, preset=preset, minutes=minutes)
    return name


def go_on(search: Search, *, minutes: float) -> None:
    """Queue an ended search to resume for this many more minutes."""
    about = search.about
    _queue(search.folder.name, Path(about["cohort"]).name, model=search.model, preset=about["preset"], minutes=minutes)


def _queue(name: str, cohort: str, *, model: str, preset: str, minutes: float) -> None:
    arguments = ("--model", model, "--preset", preset, "--minutes", f"{minutes:g}")
    about = f"{model} model, from {preset}, {minutes:g} min"
    store.queue_training(Job(run=name, cohort=cohort, task="tune", arguments=arguments, about=about))


def train_with_best(search: Search) -> str:
    """Queue a training of all models that the data allow, with the best trial's settings; return the run's name."""
    name, cohort = search.folder.name, Path(search.about["cohort"]).name
    return store.start_run(cohort, arguments=search.arguments, about=f"best of {name}", wish=f"{name[:43]}-best")


def delete(search: Search) -> None:
    """Delete a search with the runs of all its trials."""
    name = search.folder.name
    with access.deleting("run.delete", f"runs/{name}"):
        jobs().stop(name)
        for card in store.run_cards():
            if card.search == name:
                store.delete_run(card.run_id)
        delete_folder(search.folder)
        jobs().log(name).unlink(missing_ok=True)
