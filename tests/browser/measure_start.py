"""Measures the first start of the app in Chromium: `python tests/browser/measure_start.py`.

With an empty workspace, the seconds from the first request until Home is complete with the shipped demo, and then from
a click on each other page until it is complete for the first time: at most 3 s each.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM, at_rest, served  # the path comes first
from tests.browser.measure import PAGES, go  # the path comes first

MOST_SECONDS = 3.0


def first_request(page: Page, address: str) -> float:
    """Seconds from the request for the address to Home with the demo's figures and charts."""
    begin = time.perf_counter()
    page.goto(address)
    page.get_by_text("Customers at risk").first.wait_for()
    at_rest(page)
    return time.perf_counter() - begin


def first_visit(page: Page, name: str) -> float:
    """Seconds from a click on a page in the navigation to its tables and charts."""
    begin = time.perf_counter()
    go(page, name)
    at_rest(page)
    return time.perf_counter() - begin


def main(workspace: Path) -> None:
    """Start, measure, print."""
    print(
        f"first start; load average {', '.join(f'{x:.1f}' for x in os.getloadavg())}; at most {MOST_SECONDS:g} s each"
    )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with served(workspace) as address:
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(120_000)
            print(f"{'Home':<10} {first_request(page, address):.2f} s", flush=True)
            for name in (*PAGES[1:-1], "Campaigns", "Paper"):
                print(f"{name:<10} {first_visit(page, name):.2f} s", flush=True)
        chromium.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="crm-start-") as folder:
        main(Path(folder) / "workspace")
