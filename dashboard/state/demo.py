"""First start: a demo cohort and its trainings, so that every page has something to show within seconds."""

from __future__ import annotations

from crm_models import workflow
from crm_models.core.locks import locked
from dashboard.jobs.queue import Job
from dashboard.state import store
from dashboard.state.workspace import cohorts_folder, jobs, workspace_folder

COHORT = "demo"
CUSTOMERS = 2_000


def prepare() -> None:
    """Generate the demo cohort and queue its trainings on the first start; on every start, resume waiting jobs."""
    if not (workspace_folder() / "prepared").exists():
        workspace_folder().mkdir(parents=True, exist_ok=True)
        with locked(workspace_folder() / "prepare.lock") as lock:
            if lock is not None and not (workspace_folder() / "prepared").exists():
                _make()
    jobs().keep_going()


def _make() -> None:
    if not store.cohort_names():
        cohorts_folder().mkdir(parents=True, exist_ok=True)
        workflow.generate(cohorts_folder() / COHORT, scenario="lifelike", customers=CUSTOMERS)
        # The paper's small models take seconds, so every page soon has something to show; the standard ones follow.
        jobs().add(Job(run="demo-quick", cohort=COHORT, arguments=("--preset", "paper"), about="paper preset"))
        jobs().add(Job(run="demo-standard", cohort=COHORT, arguments=("--preset", "standard"), about="standard preset"))
    (workspace_folder() / "prepared").touch()
