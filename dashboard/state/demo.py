"""First start: a demo cohort with a trained run, so that every page has something to show within seconds.

The run is shipped (`assets/demo`, made by `make demo`), because training it takes a minute; its cohort is generated,
which takes a moment. Without the shipped run, the trainings are queued.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import streamlit as st

from crm_models import workflow
from crm_models.core.files import new_folder, read_json, write_json
from crm_models.core.locks import locked
from crm_models.core.recovery import recover_workspace
from dashboard.jobs.queue import Job
from dashboard.state import session, store
from dashboard.state.workspace import cohorts_folder, jobs, runs_folder, workspace_folder

COHORT = "demo"
RUN = "demo-standard"
CUSTOMERS = 2_000
SHIPPED = Path(__file__).resolve().parents[2] / "assets" / "demo"
LEFT_OUT = ("lock", "checkpoint.safetensors")
"""Files of a run that nobody needs once it has ended."""
MADE = 1_767_225_600
"""When all files of the demo were changed, as far as anybody can tell: what was computed from them is then known."""


def prepare() -> None:
    """Generate the demo cohort and install its run on the first start; on every start, resume waiting jobs.

    What a killed process left in the workspace is cleared once, and said to the first viewer.
    """
    sentences = _recovered(str(workspace_folder()))
    while sentences:
        session.say(sentences.pop(0), ":material/healing:")
    if not (workspace_folder() / "prepared").exists():
        workspace_folder().mkdir(parents=True, exist_ok=True)
        with locked(workspace_folder() / "prepare.lock") as lock:
            if lock is not None and not (workspace_folder() / "prepared").exists():
                _make()
    jobs().keep_going()


@st.cache_resource(max_entries=8, show_spinner=False)
def _recovered(workspace: str) -> list[str]:
    return recover_workspace(Path(workspace))


def _make() -> None:
    if not store.cohort_names():
        generate()
        if (SHIPPED / "config.json").exists():
            install(SHIPPED)
        else:
            # The paper's small models take seconds, so every page soon has something to show.
            for run, preset in (("demo-quick", "paper"), (RUN, "standard")):
                arguments = ("--preset", preset)
                jobs().add(Job(run=run, cohort=COHORT, arguments=arguments, about=f"{preset} preset"))
    (workspace_folder() / "prepared").touch()


def generate() -> None:
    """Generate the demo cohort."""
    cohorts_folder().mkdir(parents=True, exist_ok=True)
    workflow.generate(cohorts_folder() / COHORT, scenario="lifelike", customers=CUSTOMERS)
    _date(cohorts_folder() / COHORT)


def install(shipped: Path) -> None:
    """Copy a shipped run into the workspace, with the place of its cohort."""
    runs_folder().mkdir(parents=True, exist_ok=True)
    with new_folder(runs_folder() / RUN, "config.json") as part:
        shutil.copytree(shipped, part, dirs_exist_ok=True)
        about = read_json(part / "config.json")
        write_json(part / "config.json", about | {"cohort": str(cohorts_folder() / COHORT)})
        _date(part)


def ship(target: Path) -> None:
    """Train the demo's run in a workspace of its own, with report, scores and test predictions; keep it in `target`."""
    from crm_models.runs.folder import RunFolder
    from dashboard.jobs import scoring
    from dashboard.state import predictions

    with tempfile.TemporaryDirectory(prefix="crm-demo-") as folder:
        os.environ["CRM_WORKSPACE"] = folder
        generate()
        run, cohort = runs_folder() / RUN, cohorts_folder() / COHORT
        for epoch in workflow.train(cohort, run, workflow.run_config(preset="standard", threads=1)):
            print(f"{epoch.model} epoch {epoch.epoch}: {epoch.train_loss:.4f}", flush=True)
        write_json(run / "report.json", workflow.evaluate(run, threads=1))
        _date(run)
        scoring.keep(RunFolder(run), cohort)
        card = store.run_card(RUN)
        assert card is not None  # it was just trained
        predictions.tested(card)
        write_json(run / "config.json", read_json(run / "config.json") | {"cohort": COHORT})
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(run, target, ignore=shutil.ignore_patterns(*LEFT_OUT))


def _date(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            os.utime(file, (MADE, MADE))


if __name__ == "__main__":
    ship(SHIPPED)
