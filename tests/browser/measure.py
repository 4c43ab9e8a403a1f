"""Measures the app in Chromium and prints the figures: `python tests/browser/measure.py [CUSTOMERS] [FOLDER]`.

100,000 customers at first; FOLDER keeps the workspace, so that the next call measures at once.

- pages: a click on each page of the navigation, until its heading is there and the script at rest; the app is warm;
- training: from the click on `Train both models` to the first point on the curve, beside `python -c "import torch"`;
- background: the same clicks in turns while a training runs and while it is halted, as a ratio. In turns, because a
  machine that shares its cores with others may be half as fast a minute later.

The other figures of the app (threshold, customer) come from the scripts beside this one.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playwright.sync_api import Page, sync_playwright

from crm_models import workflow
from crm_models.core.files import write_json
from crm_models.runs.folder import RunFolder
from dashboard.jobs import paper as paper_job
from dashboard.jobs import scoring
from dashboard.jobs.queue import JobFolder
from dashboard.jobs.tested import keep_tested
from dashboard.jobs.worker import EAGER_SECONDS
from tests.browser.conftest import ARGUMENTS, AT_REST, CHROMIUM, served  # the path comes first

PAGES = ("Home", "Cohort", "Train", "Evaluate", "Attention", "Customers", "Plans", "Paper")
LOADED = ("Home", "Cohort", "Plans")
"""Pages that are clicked again while a training runs."""
ROUNDS = 5
POINTS = "document.querySelectorAll('[class*=st-key-live_] .scatterlayer .trace path.point').length > 0"


def prepare(workspace: Path, customers: int) -> None:
    """A cohort of so many customers with one quick run and a re-run of the paper: every page has its full load."""
    if (workspace / "cohorts" / "small").exists():
        return
    cohort = workspace / "cohorts" / "measured"
    workflow.generate(cohort, scenario="lifelike", customers=customers)
    # In batches, because the paper's single batch of a million customers would not fit into memory.
    batches = [f"{model}_training.batch_size=4096" for model in ("sequence", "churn")]
    config = workflow.run_config(preset="paper", epochs=1, settings=batches)
    list(workflow.train(cohort, workspace / "runs" / "quick", config))
    write_json(workspace / "runs" / "quick" / "report.json", workflow.evaluate(workspace / "runs" / "quick"))
    scoring.keep(RunFolder(workspace / "runs" / "quick"), cohort)
    keep_tested(RunFolder(workspace / "runs" / "quick"), cohort)  # as the app's worker does after a training
    paper_job.keep(workspace / paper_job.FOLDER, seeds=5)
    workflow.generate(workspace / "cohorts" / "small", scenario="lifelike", customers=2000)


def go(page: Page, name: str) -> float:
    """Seconds from a click on a page in the navigation to that page at rest."""
    begin = time.perf_counter()
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True).click()
    heading = "CRM Transformers" if name == "Home" else name
    page.wait_for_function(f"document.querySelector('h1')?.innerText.trim() === {heading!r} && {AT_REST}", polling=10)
    return time.perf_counter() - begin


def clicks(page: Page) -> dict[str, list[float]]:
    """Seconds of each click, several rounds over the pages."""
    took: dict[str, list[float]] = {name: [] for name in PAGES}
    for _ in range(ROUNDS):
        for name in PAGES:
            took[name].append(go(page, name))
            page.wait_for_timeout(300)
    return took


def in_turns(page: Page, jobs: JobFolder) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds of each click while the training is halted, and right before or after while it runs."""
    took: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in LOADED}
    for round_ in range(ROUNDS):
        for name in LOADED:
            for runs in (False, True) if round_ % 2 else (True, False):
                go(page, "Paper")  # so that the page is a new one every time
                tell_training(jobs, signal.SIGCONT if runs else signal.SIGSTOP)
                page.wait_for_timeout(300)
                took[name][runs].append(go(page, name))
                tell_training(jobs, signal.SIGCONT)
    return took


def tell_training(jobs: JobFolder, what: signal.Signals) -> None:
    """Send the process that trains or scores a signal; nothing where it has just ended."""
    with suppress(ProcessLookupError):
        os.kill(int((jobs.folder / "child.pid").read_text()), what)


def import_torch() -> float:
    """Seconds that the import alone takes, the better of two."""
    took = []
    for _ in range(2):
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import torch"], check=True)
        took.append(time.perf_counter() - begin)
    return min(took)


def first_point(page: Page, address: str) -> float:
    """Seconds from the click on train to the first point on the chart."""
    page.goto(f"{address}/train?cohort=small")
    button = page.get_by_role("button", name="Train both models")
    button.wait_for()
    page.wait_for_timeout(8000)  # a person reads the settings first; the runner loads meanwhile
    begin = time.perf_counter()
    button.click()
    page.wait_for_function(POINTS, polling=10)
    return time.perf_counter() - begin


def main(workspace: Path, customers: int) -> None:
    """Prepare, measure, print."""
    prepare(workspace, customers)
    print(f"{customers:,} customers; load average {', '.join(f'{x:.1f}' for x in os.getloadavg())}")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with served(workspace) as address:
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"{address}/?cohort=measured")
            page.wait_for_selector("h1")
            for name in PAGES:
                go(page, name)
                page.wait_for_timeout(1500)
            for name, took in clicks(page).items():
                print(f"{name:<10} at rest {statistics.median(took):.2f} s (at most 1.5), worst {max(took):.2f} s")
            torch = import_torch()
            waited = first_point(page, address)
            beside = f"{waited - torch:+.2f} s beside the {torch:.2f} s of `import torch` (at most +2)"
            print(f"first point {waited:.2f} s after the click, {beside}")
            page.goto(f"{address}/?cohort=measured")
            page.wait_for_selector("h1")
            page.wait_for_timeout(1000 * EAGER_SECONDS)
            jobs = JobFolder(workspace)
            for name, (halted, under_way) in in_turns(page, jobs).items():
                ratio = statistics.median(under_way) / statistics.median(halted)
                print(f"{name:<10} while training {ratio:.2f} times as long (at most 1.5)")
            print(f"(training under way until the end: {bool(jobs.jobs())})")
        chromium.close()


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as own:
        main((Path(sys.argv[2]) if len(sys.argv) > 2 else Path(own)) / "workspace", n)
