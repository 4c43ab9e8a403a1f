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

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from dashboard.jobs import JobFolder

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
AT_REST = "document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state') === 'notRunning'"


@contextmanager
def served(workspace: Path, script: Path = ROOT / "dashboard" / "app.py") -> Iterator[str]:
    """The address of an app that is running over this workspace."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    log = workspace.parent / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)],
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
        server.wait(20)
        end_trainings(workspace)


def end_trainings(workspace: Path) -> None:
    """Trainings outlive the server on purpose; those of a test must not outlive the test."""
    queue = JobFolder(workspace)
    (queue.folder / "wanted").unlink(missing_ok=True)
    for _ in range(300):
        for job in queue.jobs():
            queue.stop(job.job.run)
        if not queue.is_working():
            return
        time.sleep(0.1)
    raise AssertionError("the runner of the queue did not end")


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
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a freshly installed app: an empty workspace, so the demo is made and trained."""
    with served(tmp_path_factory.mktemp("fresh") / "workspace") as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; the test is skipped, with the reason, where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium here; `apt-get install chromium`")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(app: str, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a page of the app in a window of its own (a new viewer) and waits until it is at rest."""
    contexts = []

    def open_it(path: str = "", *, width: int = 1280, scheme: str = "light", address: str = app) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{address}/{path}")
        page.wait_for_selector("h1")
        page.wait_for_function(AT_REST)
        return page

    yield open_it
    for context in contexts:
        context.close()
