"""Train, refresh, come back from another window, stop; then the run is there to work with."""

import re
import time

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import at_rest, served

pytestmark = [pytest.mark.browser, pytest.mark.slow]


POINTS = "document.querySelectorAll('[class*=st-key-live_] .scatterlayer .trace path.point').length"
"""Points on the live curves."""


def test_a_fresh_install_has_something_to_show_within_seconds(open_page, tmp_path):
    with served(tmp_path / "workspace") as address:
        page = open_page(address=address)
        expect(
            page.get_by_text("is training in the background").or_(page.get_by_text("Highest churn risk")).first
        ).to_be_visible()
        # The page updates by itself, without a click.
        expect(page.get_by_role("heading", name="Highest churn risk, and the next actions")).to_be_visible()
        at_risk = page.get_by_test_id("stMetric").filter(has_text="Customers at risk").get_by_test_id("stMetricValue")
        assert re.fullmatch(r"[\d,]+", at_risk.inner_text().strip())


def test_train_refresh_reattach_stop(open_page):
    page = open_page("train?cohort=demo")
    page.get_by_label("Name", exact=True).fill("journey")
    page.get_by_label("Name", exact=True).press("Enter")
    page.get_by_role("spinbutton", name="Epochs at most").fill("200")
    page.get_by_role("spinbutton", name="Epochs at most").press("Enter")
    at_rest(page)
    page.get_by_role("button", name="Train both models").click()
    expect(page.get_by_text("Training: journey")).to_be_visible()
    page.wait_for_function(f"{POINTS} > 1")

    page.reload()
    expect(page.get_by_text("Training: journey")).to_be_visible()
    other = open_page("train?cohort=demo", width=800, scheme="dark")
    expect(other.get_by_text("Training: journey")).to_be_visible()
    before = other.evaluate(POINTS)
    other.wait_for_function(f"{POINTS} > {before}")

    began = time.monotonic()
    other.get_by_role("button", name="Stop training").click()
    expect(page.get_by_text("Training: journey")).to_have_count(0)
    print(f"stopped after {time.monotonic() - began:.1f} s")
    expect(page.get_by_text("Scoring all customers")).to_have_count(0)
    expect(page.get_by_text(re.compile("journey: stopped, standard preset"))).to_be_visible()
    page.get_by_role("button", name="Use this run").click()
    page.wait_for_url(re.compile(r"run=journey"))
