"""The app as a user has it: a server on a free port with a workspace of its own, driven in Debian's Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from crm_models import workflow
from crm_models.core.files import write_json
from crm_models.runs.folder import RunFolder
from dashboard.jobs import paper as paper_job
from dashboard.jobs import scoring
from dashboard.jobs.queue import JobFolder

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
AT_REST = "document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state') === 'notRunning'"
DRAWN = """
[['stPlotlyChart', '.main-svg'], ['stDataFrame', 'canvas']].every(([kind, drawn]) =>
  [...document.querySelectorAll(`[data-testid=${kind}]`)].every(e => !e.checkVisibility() || e.querySelector(drawn))
) && !document.querySelector('[data-testid=stSkeleton]')
"""
PATIENCE_MS = 180_000
"""A busy machine is no failure; what has to be fast is measured by the scripts beside these tests."""


@contextmanager
def served(workspace: Path, script: Path | None = None, secrets: Callable[[int], str] | None = None) -> Iterator[str]:
    """The address of the app, or of a script beside it, over this workspace. secrets: Streamlit's, by port."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    log = workspace.parent / "server.log"
    command = ["dashboard"] if script is None else ["streamlit", "run", str(script)]
    options: list[str] = []
    if secrets is not None:
        (workspace.parent / "secrets.toml").write_text(secrets(port))
        options = ["--secrets.files", str(workspace.parent / "secrets.toml")]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", *command, "--server.port", str(port), *options],
            cwd=ROOT,
            env=os.environ | {"CRM_WORKSPACE": str(workspace)},
            stdout=out,
            stderr=out,
        )
    try:
        _wait(f"http://localhost:{port}/_stcore/health", server, log)
        yield f"http://localhost:{port}"
    finally:
        server.terminate()
        # Before waiting: a server that ends beside two trainings can take its time on a busy machine.
        for queue in (JobFolder(workspace), JobFolder(workspace / paper_job.FOLDER)):
            end_jobs(queue)
        _ended(server)


def end_jobs(queue: JobFolder) -> None:
    """Trainings outlive the server on purpose; those of a test must not outlive the test."""
    for _ in range(PATIENCE_MS // 100):
        # Again and again: a server that is about to end may say once more that a page is open.
        (queue.folder / "wanted").unlink(missing_ok=True)
        for job in queue.jobs():
            queue.stop(job.job.run)
        if not queue.is_working():
            return
        time.sleep(0.1)
    logs = [queue.folder / "runner.log", *sorted(queue.runs.glob("*.log"))]
    told = "\n".join(f"{log.name}:\n{log.read_text()}" for log in logs if log.exists())
    raise AssertionError(f"the worker of the queue did not end; at work: {queue.jobs()}\n{told}")


def _ended(server: subprocess.Popen[bytes]) -> None:
    try:
        server.wait(PATIENCE_MS / 1000)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        raise


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=1).close()
            return
        except OSError:
            time.sleep(0.25)
    raise AssertionError(f"the app did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace as after some use."""
    return make_workspace(tmp_path_factory.mktemp("made") / "workspace")


def make_workspace(workspace: Path) -> Path:
    """Make one: cohort `demo`, a run on it with report and scores, a short re-run of the paper."""
    cohort, run = workspace / "cohorts" / "demo", workspace / "runs" / "demo-run"
    workflow.generate(cohort, scenario="lifelike", customers=600)
    list(workflow.train(cohort, run, workflow.run_config(preset="standard", epochs=2)))
    write_json(run / "report.json", workflow.evaluate(run))
    scoring.keep(RunFolder(run), cohort)
    with pytest.MonkeyPatch.context() as short:
        short.setattr(paper_job, "CUSTOMERS", 300)
        short.setattr(paper_job, "ORDER", (1.0, 0.0))
        paper_job.keep(workspace / "paper", seeds=1)
    (workspace / "prepared").touch()
    return workspace


@pytest.fixture(scope="session")
def app(made: Path) -> Iterator[str]:
    """The address of an app over that workspace, shared by all tests."""
    with served(made) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Its absence is a failure: a test that nobody notices to be skipped protects nothing."""
    if CHROMIUM is None:
        pytest.fail("no chromium here: `apt-get install chromium`, or leave these out with -m 'not browser'")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


def opened(browser: Browser, address: str, *, width: int = 1280, scheme: str = "light") -> Page:
    """A page of the app in a window of its own (a new viewer), at rest; close `page.context` after use."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]  # light or dark
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    page.wait_for_selector("h1")
    at_rest(page)
    return page


def at_rest(page: Page) -> None:
    """Wait until the script has run and every chart and table that the page has so far is drawn."""
    page.wait_for_function(AT_REST)
    page.wait_for_function(DRAWN)


@pytest.fixture
def open_page(app: str, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page of the app by its path, in a window of its own."""
    pages = []

    def open_it(path: str = "", *, address: str = app, **how: Any) -> Page:
        pages.append(opened(browser, f"{address}/{path}", **how))
        return pages[-1]

    yield open_it
    for page in pages:
        page.context.close()
