"""The demonstration of the paper: run it, watch tables and figures fill, and move the signal."""

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import at_rest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def cells(page, heading: str) -> list[str]:
    """The texts of the cells of the first table that has this column."""
    table = page.get_by_test_id("stTable").filter(has=page.get_by_role("columnheader", name=heading)).first
    return table.get_by_role("cell").all_inner_texts()


def test_the_paper_is_run_before_the_eyes_of_the_audience(open_page):
    page = open_page("paper")
    expect(page.get_by_text("1 re-run of the whole paper took")).to_be_visible()
    page.get_by_role("radiogroup", name="Re-runs").get_by_text("5", exact=True).click()
    page.get_by_role("button", name="Run the paper").click()

    # The tables fill with each re-run.
    expect(page.get_by_text(re.compile(r"Re-run [1-5] of 5|5 re-runs took"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"lie inside the range of [1-5] re-runs?\."))).to_be_visible()
    expect(page.get_by_text("5 re-runs took")).to_be_visible()
    expect(page.get_by_text("lie inside the range of 5 re-runs.")).to_be_visible()
    at_rest(page)
    third = cells(page, "Printed")
    assert third[:2] == ["1", "4.0456"]
    assert re.fullmatch(r"[34]\.\d{4}–[34]\.\d{4}", third[2].replace("\u2060", ""))
    assert all(word in "".join(third) for word in ("3.7837", "yes"))
    fourth = cells(page, "Sequence accuracy")
    assert fourth[:5] == ["Chance", "0.0200", "3.9120", "0.5000", "0.6931"]
    titles = page.locator(".gtitle").all_text_contents()
    assert [title.split(":")[0] for title in titles if title.startswith("Figure")] == ["Figure 2", "Figure 3"]

    # From nothing to learn to Table II.
    expect(page.get_by_text(re.compile(r"Table II \(85%\) not reached"))).to_be_visible()
    page.get_by_role("slider", name="Signal").focus()
    page.keyboard.press("End")
    page.wait_for_url(re.compile("paper_signal=1"))
    expect(page.get_by_text(re.compile(r"Sequence Transformer: \d\d\.\d% of the next actions right"))).to_be_visible()
    expect(page.get_by_text("chance 8.3%").first).to_be_visible()

    page.get_by_role("button", name="Stop the re-run").click()
    expect(page.get_by_text("The results so far are below")).to_be_visible()
    expect(page.get_by_role("button", name="Stop the re-run")).to_have_count(0)
