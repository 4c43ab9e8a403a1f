"""What the measurements of single moves share: a workspace of any size, and the app beside an empty Streamlit app.

Times of a browser depend on the machine and on what else it does, so that each is held against that of an app with
nothing in it, moved in turns with ours.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from playwright.sync_api import Page, sync_playwright

from crm_models import workflow
from crm_models.core.files import write_json
from crm_models.core.records import CustomerScores
from crm_models.inference.score_store import read_scores, write_scores
from crm_models.runs.folder import RunFolder
from dashboard.jobs import scoring
from tests.browser.conftest import ARGUMENTS, AT_REST, CHROMIUM, served

COHORT, RUN = "measured", "quick"
SCORED = 10_000
PAUSE_MS = 400


def prepare(workspace: Path, customers: int) -> None:
    """A cohort of so many customers with one quick run, its report and its scores; kept where it is there already.

    The models learn from and score the first 10,000; of a larger cohort the rest get these plans over again, in their
    turn: a page takes as long whatever the plans are, and a million customers are ready in minutes. The churn
    probabilities are spread evenly from 0 to 1, so that every move of the threshold changes the number at risk.
    """
    if (workspace / "prepared").exists():
        return
    cohort, run = workspace / "cohorts" / COHORT, RunFolder(workspace / "runs" / RUN)
    workflow.generate(cohort, scenario="lifelike", customers=min(customers, SCORED))
    list(workflow.train(cohort, run.folder, workflow.run_config(preset="paper", epochs=1)))
    write_json(run.folder / "report.json", workflow.evaluate(run.folder))
    few = read_scores(scoring.keep(run, cohort))
    if customers > SCORED:
        shutil.rmtree(cohort)
        workflow.generate(cohort, scenario="lifelike", customers=customers)
    write_scores(scoring.scores_file(run, cohort), _spread(_over_again(few, cohort)), key=scoring.key_of(run, cohort))
    (workspace / "prepared").touch()


def _over_again(few: CustomerScores, cohort: Path) -> Iterator[CustomerScores]:
    names = pq.read_table(cohort / "customers.parquet", columns=["customer_id"])["customer_id"].to_numpy()
    for first in range(0, len(names), SCORED):
        own = names[first : first + SCORED]
        yield replace(few.take(np.arange(len(own))), customer_id=own)


def _spread(stream: Iterator[CustomerScores]) -> Iterator[CustomerScores]:
    rng = np.random.default_rng(0)
    for scores in stream:
        yield replace(scores, churn_p=rng.random(len(scores.customer_id)))


def n_customers(workspace: Path) -> int:
    """How many customers are in the workspace."""
    return len(read_scores(scoring.scores_file(RunFolder(workspace / "runs" / RUN), Path(COHORT))).customer_id)


@contextmanager
def pages(workspace: Path, path: str, empty_script: str, there: str) -> Iterator[tuple[Page, Page]]:
    """A page of the app (address `path`) and the empty app in one Chromium, both drawn (`there` is true) and warm."""
    beside = workspace.parent / "empty"
    beside.mkdir(exist_ok=True)
    script = beside / "empty_app.py"
    script.write_text(empty_script, encoding="utf-8")
    with (
        served(workspace) as app,
        served(beside / "workspace", script) as empty,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        opened = []
        for address in (f"{app}/{path}", empty):
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            page.goto(address)
            page.wait_for_function(f"({there}) && ({AT_REST})")
            page.wait_for_timeout(3000)
            opened.append(page)
        yield opened[0], opened[1]
        chromium.close()


@dataclass
class Times:
    """Milliseconds of each move until what matters is repainted, and until the whole page is at rest."""

    seen: list[float] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)

    def move(self, page: Page, press: Callable[[], None], done: str) -> None:
        """One move: `press`, then wait for `done` (JavaScript), then for the script to be at rest."""
        begin = time.perf_counter()
        press()
        page.wait_for_function(done, polling=5)
        self.seen.append((time.perf_counter() - begin) * 1e3)
        page.wait_for_function(AT_REST, polling=5)
        self.rest.append((time.perf_counter() - begin) * 1e3)
        page.wait_for_timeout(PAUSE_MS)


def report(app: Times, empty: Times, *, seen: str, most_seen: float, most_rest: float | None = 3.0) -> None:
    """Medians and ratios, each beside the most that is allowed."""
    for what, ours, theirs, most in (
        (seen, app.seen, empty.seen, most_seen),
        ("page at rest", app.rest, empty.rest, most_rest),
    ):
        a, b = statistics.median(ours), statistics.median(theirs)
        limit = "" if most is None else f" (at most {most:g})"
        print(f"{what}: app {a:.0f} ms, empty {b:.0f} ms, ratio {a / b:.2f}{limit}; app worst {max(ours):.0f} ms")
