"""Measures the choice of another customer in Chromium: `python tests/browser/measure_customer.py [CUSTOMERS] [FOLDER]`.

Prints, for the app and for an empty Streamlit app asked in turns with it, the median time from the key press that
chooses a customer to their churn probability and all three steps of their plan on the screen, and their ratio. Each
choice is of a customer not looked at before, so that no cache helps. 100,000 customers at first; FOLDER keeps the
workspace, so that the next call measures at once.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from playwright.sync_api import Page

from crm_models.inference.score_store import read_scores
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import Policy
from crm_models.runs.folder import RunFolder
from dashboard.jobs import scoring
from tests.browser.beside import COHORT, RUN, Times, n_customers, pages, prepare, report  # the path comes first

CHOICES = 20
MOST_MS = 160
EMPTY = """
import streamlit as st

chosen = st.selectbox("Customer", ["first"], accept_new_options=True)
st.metric("Churn probability", chosen)
"""
SHOWN = "[data-testid=stMain]"
EXPECTED = """
(() => {{
  const all = document.querySelector('[data-testid=stMain]').innerText;
  return {texts}.every(text => all.includes(text));
}})()
"""


def chosen(workspace: Path) -> list[tuple[str, list[str]]]:
    """Customers far apart in the cohort, and what must be on the screen for each: probability and three actions.

    Neighbours differ in the probability, so that what stood there before cannot be taken for the answer.
    """
    run = RunFolder(workspace / "runs" / RUN)
    scores = read_scores(scoring.scores_file(run, Path(COHORT)))
    policy = Policy()
    plans = make_plans(scores, Catalogue.of(run.encoder(), run.about()["popular"], policy), policy)
    found, before = [], ""
    for row in np.random.default_rng(0).permutation(len(plans)):
        p = f"{plans.churn_p[row]:.1%}"
        if p != before:
            actions = [plans.catalogue.labels[a] for a in plans.action[row]]
            found.append((str(plans.customer_id[row]), [p, *actions]))
            before = p
        if len(found) == CHOICES:
            break
    return found


def choose(page: Page, name: str, texts: list[str], times: Times) -> None:
    """Type an id into the select box; the clock runs from Enter."""
    page.get_by_role("combobox", name="Customer").fill(name)
    page.wait_for_timeout(300)
    done = EXPECTED.format(texts=json.dumps(texts))
    times.move(page, lambda: page.keyboard.press("Enter"), done)


def main(workspace: Path, customers: int) -> None:
    """Prepare, measure, print."""
    prepare(workspace, customers)
    print(f"{n_customers(workspace):,} customers")
    there = f"!!document.querySelector('{SHOWN} [data-testid=stMetric]')"
    with pages(workspace, f"customers?cohort={COHORT}", EMPTY, there) as (app, empty):
        times, beside = Times(), Times()
        for k, (name, texts) in enumerate(chosen(workspace)):
            choose(app, name, texts, times)
            choose(empty, f"customer {k}", [f"customer {k}"], beside)
    report(times, beside, seen="prediction and plan", most_seen=3.0, most_rest=None)
    print(f"(prediction and plan within {MOST_MS} ms: {np.median(times.seen) <= MOST_MS})")


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as own:
        main((Path(sys.argv[2]) if len(sys.argv) > 2 else Path(own)) / "workspace", n)
