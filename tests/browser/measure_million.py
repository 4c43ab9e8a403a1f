"""Measures the app over a very large cohort: `python tests/browser/measure_million.py [CUSTOMERS] [FOLDER]`.

A million customers at first; FOLDER keeps the workspace, so that the next call measures at once. For each page, the
seconds from a click to the page at rest: on the first visit, where something must be said within a second, and on
later ones (at most 3 s). At the end, the peak memory of the server (at most 2 GB).
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, AT_REST, CHROMIUM, at_rest, served  # the path comes first
from tests.browser.measure import PAGES, prepare  # the path comes first

ROUNDS = 3
SPINNER = "!!document.querySelector('[data-testid=stSpinner], [data-testid=stStatusWidget]')"


def visit(page: Page, name: str) -> tuple[float, float | None]:
    """Seconds from a click on a page to its heading at rest, and to the first sign of progress, if there was one."""
    heading = "CRM Transformers" if name == "Home" else name
    drawn = f"document.querySelector('h1')?.innerText.trim() === {heading!r} && {AT_REST}"
    begin, progress = time.perf_counter(), None
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name, exact=True).click()
    while not page.evaluate(drawn):
        if progress is None and page.evaluate(SPINNER):
            progress = time.perf_counter() - begin
        page.wait_for_timeout(20)
    return time.perf_counter() - begin, progress


def peak_gb(address: str) -> float:
    """Peak memory of the server at this address, from the kernel."""
    port = address.rsplit(":", 1)[1]
    for status in Path("/proc").glob("[0-9]*/status"):
        command = (status.parent / "cmdline").read_bytes().decode(errors="replace") if status.exists() else ""
        if f"--server.port\0{port}\0" in command + "\0":
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
            return int(found[1]) / 1024**2 if found else float("nan")
    return float("nan")


def main(workspace: Path, customers: int) -> None:
    """Prepare, measure, print."""
    prepare(workspace, customers)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with served(workspace) as address:
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(180_000)
            page.goto(f"{address}/paper?cohort=measured")
            page.wait_for_selector("h1")
            at_rest(page)
            print(f"{customers:,} customers")
            for name in PAGES:
                first, progress = visit(page, name)
                page.wait_for_timeout(1500)
                later = []
                for _ in range(ROUNDS):
                    visit(page, "Paper" if name != "Paper" else "Home")
                    later.append(visit(page, name)[0])
                said = "nothing said" if progress is None else f"progress after {progress:.1f} s"
                print(
                    f"{name:<10} first {first:.1f} s ({said}), then at most {max(later):.1f} s (at most 3)", flush=True
                )
            print(f"peak memory of the server {peak_gb(address):.2f} GB (at most 2)")
        chromium.close()


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="crm-measure-") as folder:
        main(Path(sys.argv[2]) if len(sys.argv) > 2 else Path(folder), n)
