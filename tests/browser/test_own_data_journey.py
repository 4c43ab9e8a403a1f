"""Bring own files with odd names and marks in them, look them over, and find everything shown as text."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import AT_REST

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NASTY = "<img src=x onerror=alert(1)> **bold** :red[hot] $a^2$ www.evil.example"


@pytest.fixture
def files(tmp_path):
    events = "kunde;aktion;zeit;betrag\n" + "".join(
        f"k{k % 40};{'<b>Anruf</b>' if k % 3 else NASTY};{1 + k % 28:02d}.02.2026;{k},5\n" for k in range(400)
    )
    people = (
        'kunde;gegangen;"'
        + NASTY
        + '"\n'
        + "".join(f"k{k};{'ja' if k % 4 == 0 else 'nein'};{k % 7}\n" for k in range(40))
    )
    (tmp_path / "ereignisse.csv").write_text(events, encoding="cp1252")
    (tmp_path / "kunden.csv").write_text(people, encoding="utf-8-sig")
    return [tmp_path / "ereignisse.csv", tmp_path / "kunden.csv"]


def choose(page, label: str, value: str, nth: int = 0) -> None:
    """Pick an option of the nth select box with this label, and wait until the page has taken it."""
    box = page.get_by_test_id("stSelectbox").filter(has=page.get_by_text(label, exact=True)).nth(nth)
    box.locator("input").focus()  # a click would scroll, and scrolling closes the list
    page.keyboard.type(value)
    page.get_by_role("option", name=value, exact=True).wait_for()
    page.keyboard.press("Enter")
    expect(box.locator("input")).to_have_value(value)
    page.wait_for_function(AT_REST)


def test_own_files_become_a_cohort(open_page, files):
    page = open_page("cohort")
    alerts = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.get_by_text("Bring your own files").click()
    page.set_input_files("input[type=file]", files)
    expect(page.get_by_text("400 rows, 4 columns")).to_be_visible()
    choose(page, "This file holds", "Interactions: one row per event", 0)
    for label, column in (("Customer", "kunde"), ("Action", "aktion"), ("Time", "zeit"), ("Value", "betrag")):
        choose(page, label, column)
    choose(page, "This file holds", "Customers: one row per customer", 1)
    choose(page, "Customer", "kunde", 1)
    choose(page, "Churned", "gegangen")
    choose(page, "The value that means churned", "ja")
    expect(page.get_by_text("40 customers, 400 interactions, 2 actions, churn rate 25.0%")).to_be_visible()
    page.get_by_role("button", name="Use these customers").click()
    expect(page.get_by_role("heading", name="my-customers")).to_be_visible()
    assert "cohort=my-customers" in page.url
    # The action's name stands in the chart as text, and nothing of it became markup.
    page.wait_for_selector(".ytick text")
    ticks = page.locator(".ytick text").all_inner_texts() or page.locator(".ytick text").all_text_contents()
    assert "<b>Anruf</b>" in page.locator(".ytick text").all_text_contents(), ticks
    assert page.locator("img[src='x']").count() == 0
    assert alerts == []
