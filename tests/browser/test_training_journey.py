"""Train, refresh, come back from another window, stop; then the run is there to work with."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def points(page) -> int:
    """Points on the live curves."""
    return page.locator("[class*=st-key-live_] .scatterlayer .trace path.point").count()


def test_a_fresh_install_has_something_to_show_within_seconds(open_page):
    page = open_page()
    expect(
        page.get_by_text("is learning in the background").or_(page.get_by_text("Most likely to leave")).first
    ).to_be_visible()
    # The page fills by itself: nobody clicks.
    expect(page.get_by_role("heading", name="Most likely to leave, and what comes next")).to_be_visible(timeout=60_000)
    at_risk = page.get_by_test_id("stMetric").filter(has_text="Customers at risk").get_by_test_id("stMetricValue")
    assert re.fullmatch(r"[\d,]+", at_risk.inner_text().strip())


def test_train_refresh_reattach_stop(open_page):
    page = open_page("train")
    # The demo's own training may still be under way; this one queues behind it, and both can be stopped.
    page.get_by_label("Name", exact=True).fill("journey")
    page.get_by_label("Name", exact=True).press("Enter")
    page.get_by_role("button", name="Train both models").click()
    expect(page.get_by_text(re.compile("journey.* on demo"))).to_be_visible()
    while page.get_by_text(re.compile("Training: demo-")).count():
        page.get_by_role("button", name="Stop training").click()
        expect(page.get_by_text(re.compile("Training: demo-"))).to_have_count(0, timeout=30_000)
    expect(page.get_by_text("Training: journey")).to_be_visible(timeout=60_000)
    page.wait_for_function(
        "document.querySelectorAll('[class*=st-key-live_] .scatterlayer .trace path.point').length > 1"
    )

    page.reload()
    expect(page.get_by_text("Training: journey")).to_be_visible()
    other = open_page("train", width=800, scheme="dark")
    expect(other.get_by_text("Training: journey")).to_be_visible()
    before = points(other)
    other.wait_for_function(
        f"document.querySelectorAll('[class*=st-key-live_] .scatterlayer .trace path.point').length > {before}"
    )

    other.get_by_role("button", name="Stop training").click()
    expect(page.get_by_text("Training: journey")).to_have_count(0, timeout=10_000)
    expect(page.get_by_text("Scoring all customers")).to_have_count(0, timeout=60_000)
    expect(page.get_by_text(re.compile("journey: stopped, standard preset"))).to_be_visible()
    page.get_by_role("button", name="Use this run").click()
    page.wait_for_url(re.compile(r"run=journey"))
