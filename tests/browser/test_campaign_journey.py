"""A campaign made, ruled, funded, approved, handed over, simulated and read, by clicking only."""

import io
import re
import zipfile

import pandas as pd
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import at_rest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    at_rest(page)


def metric(page, name: str):
    return page.get_by_test_id("stMetric").filter(has_text=name).get_by_test_id("stMetricValue").first


def test_a_campaign_from_the_first_click_to_what_it_did(open_page):
    page = open_page("campaigns?cohort=demo&threshold=0.2")
    page.set_default_timeout(40_000)
    expect(page.get_by_text("No campaign on this cohort yet")).to_be_visible()
    page.get_by_role("button", name="New campaign").click()
    page.get_by_label("Name", exact=True).fill("journey")
    page.get_by_label("Name", exact=True).press("Tab")
    at_rest(page)
    page.get_by_role("button", name="Make the campaign").click()
    expect(page.get_by_role("tab", name="Rules")).to_be_visible()
    at_rest(page)
    assert "campaign=journey" in page.url

    page.get_by_label("Name", exact=True).fill("few contacts")
    page.get_by_label("Name", exact=True).press("Tab")
    at_rest(page)
    page.get_by_role("combobox", name="Kind").click()
    page.get_by_role("option", name="cap").click()
    expect(page.get_by_text("Do not propose any retention action after 3 events in the last 30 days.")).to_be_visible()
    page.get_by_role("button", name="Save rule").click()
    expect(page.get_by_text("Actions dropped, by rule").first).to_be_visible()

    tab(page, "Budget")
    page.get_by_label("Budget for all contacts").fill("300")
    page.get_by_role("button", name="Spend the budget").click()
    expect(page.get_by_test_id("stMetric").filter(has_text="Expected value")).to_be_visible()

    tab(page, "Approve")
    page.get_by_label("Your name").fill("ann")
    page.get_by_label("Your name").press("Enter")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(metric(page, "State")).to_have_text("Approved")

    tab(page, "Hand over")
    page.get_by_role("combobox", name="System").click()
    page.get_by_role("option", name="Braze").click()
    page.get_by_role("button", name="Write the file").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the files (ZIP)").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        table = pd.read_csv(archive.open("journey-braze.csv"), dtype="str")
    assert len(table) == 600
    assert set(table["holdout"]) == {"TRUE", "FALSE"}

    tab(page, "What it did")
    page.get_by_role("button", name="What would happen").click()
    expect(page.get_by_text("Beside the truth")).to_be_visible()
    expect(metric(page, "State")).to_have_text("Read")
    expect(metric(page, "Difference")).to_have_text(re.compile(r"[+-]\d+\.\d"))
    tab(page, "Rules")
    expect(page.get_by_text("its rules stay as they are")).to_be_visible()
