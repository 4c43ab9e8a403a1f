"""Dark mode and a narrow window: nothing sticks out, and the frame is all there."""

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = ["", "cohort", "train"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_wider_than_a_narrow_window(open_page, path, scheme):
    page = open_page(path, width=800, scheme=scheme)
    main = page.get_by_test_id("stMain")
    assert main.evaluate("e => e.scrollWidth - e.clientWidth") <= 1
    background = page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(2, 3, 5)"}[scheme]
    logo = page.get_by_test_id("stSidebarHeader").locator("img").first.get_attribute("src")
    assert logo


def test_the_keyboard_reaches_the_main_button(open_page):
    page = open_page("train")
    button = page.get_by_role("button", name="Train both models")
    for _ in range(60):
        page.keyboard.press("Tab")
        if button.evaluate("e => e === document.activeElement"):
            break
    expect(button).to_be_focused()
