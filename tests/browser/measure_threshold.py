"""Measures a move of the churn threshold in Chromium: `python tests/browser/measure_threshold.py [CUSTOMERS] [FOLDER]`.

Prints, for the app and for an empty Streamlit app moved in turns with it, the median time from the key press to the
number `Customers at risk` repainted and to the whole page at rest, and their ratios. 100,000 customers at first. FOLDER
keeps the workspace (a million customers take minutes to prepare), so that the next call measures at once.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from playwright.sync_api import Page

from tests.browser.beside import COHORT, Times, n_customers, pages, prepare, report  # the path comes first

MOVES = 20
EMPTY = """
import streamlit as st

t = st.slider("Churn threshold", 0.0, 1.0, 0.5, 0.01)
st.metric("Customers at risk", round((1 - t) * 1000))
"""
NUMBER = """
[...document.querySelectorAll('[data-testid=stMetric]')].find(m => m.innerText.includes('Customers at risk'))?.innerText
"""


def move(page: Page, key: str, times: Times) -> None:
    """Press an arrow key on the slider, and wait for another number."""
    before = page.evaluate(NUMBER)
    page.locator("[data-testid=stSlider] input[type=range]").first.focus()
    times.move(page, lambda: page.keyboard.press(key), f"({NUMBER.strip()}) !== {before!r}")


def main(workspace: Path, customers: int) -> None:
    """Prepare, measure, print."""
    prepare(workspace, customers)
    print(f"{n_customers(workspace):,} customers")
    with pages(workspace, f"plans?cohort={COHORT}", EMPTY, f"!!({NUMBER.strip()})") as both:
        times = (Times(), Times())
        for k in range(MOVES):
            for page, own in zip(both, times, strict=True):
                move(page, "ArrowRight" if k % 10 < 5 else "ArrowLeft", own)
    report(*times, seen="number repainted", most_seen=1.5)


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as own:
        main((Path(sys.argv[2]) if len(sys.argv) > 2 else Path(own)) / "workspace", n)
