"""From a bar of a group to its customers by a click, and a page that is shared opens without the app."""

import pytest

from crm_models.data.profile import SEGMENTS
from tests.browser.conftest import at_rest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_click_on_a_bar_of_a_group_lists_its_customers(open_page):
    page = open_page("evaluate?evaluate_tab=Groups")
    chart = page.locator(".st-key-plan_slices")
    chart.scroll_into_view_if_needed()
    bars = chart.locator(".barlayer .point path").locator("visible=true")  # a share of nothing has an invisible bar
    bars.first.wait_for()
    box = bars.first.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("document.querySelector('h1')?.innerText.trim() === 'Customers'")
    at_rest(page)
    assert "customer_tab=All+customers" in page.url
    chosen = [field.input_value() for field in page.get_by_test_id("stSelectbox").locator("input").all()]
    assert chosen[-2] == "segment"
    assert chosen[-1] in [name for name, _ in SEGMENTS]


def test_a_shared_page_opens_without_the_app(open_page, browser, tmp_path):
    page = open_page("plans?threshold=0.2")
    page.get_by_test_id("stSidebar").get_by_role("button", name="Share").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="This page (HTML)").click()
    file = tmp_path / "page.html"
    download.value.save_as(file)
    context = browser.new_context(offline=True)
    shared = context.new_page()
    troubles = []
    shared.on("pageerror", lambda error: troubles.append(str(error)))
    shared.goto(file.as_uri())
    assert shared.locator("h1").inner_text() == "Plans"
    shared.locator("figure .main-svg").first.wait_for()
    assert shared.get_by_text("held out for the scores").count() == 1
    assert troubles == []
    context.close()
