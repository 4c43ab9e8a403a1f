"""Every page: the keyboard reaches what matters, axe finds nothing serious in light or dark, nothing is too wide."""

from importlib.resources import files
from urllib.parse import urlsplit

import pytest

from tests.browser.conftest import at_rest, opened

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = ("", "cohort", "train", "evaluate", "attention", "customers", "plans", "campaigns", "paper")
STATES = (
    *(f"evaluate?evaluate_tab={tab}" for tab in ("Next+actions", "Groups")),
    *(f"customers?threshold=0.2&customer_tab={tab}" for tab in ("Why+these+steps", "What+would+help", "History")),
    *(f"customers?threshold=0.2&customer_tab={tab}" for tab in ("Profile", "What+if", "All+customers")),
    *(f"plans?threshold=0.2&plans_tab={tab}" for tab in ("What+changes", "Best+threshold", "The+plans")),
    "attention?customer=C000003",
)
"""Tabs and choices of the pages that open on something else, for the scripts beside these tests."""
OPENED = (*(page + "?threshold=0.2" if page in ("customers", "plans") else page for page in PAGES), STATES[-1])
"""What the tests open, once each; they click through the tabs."""
REACHED = {
    "": [("button", "Set the threshold")],
    "cohort": [("button", "Generate cohort")],
    "train": [("button", "Train both models")],
    "evaluate": [("button", "Numbers")],
    "attention": [("radiogroup", "Prediction")],
    "customers": [("combobox", "Customer")],
    "plans": [("slider", "Churn threshold"), ("button", "Download plans (CSV)")],
    "campaigns": [("button", "New campaign")],
    "paper": [("button", "Run the paper")],
}
"""What somebody without a mouse must be able to use: a role and a name."""
MOST_TABS = 90
GROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(2, 3, 5)"}
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
SERIOUS = """
async (rules) => (await axe.run({resultTypes: ['violations'], ...rules})).violations
  .filter(found => ['serious', 'critical'].includes(found.impact))
  .flatMap(found => found.nodes.map(node => ({
    rule: found.id, html: node.html, told: node.failureSummary,
    inNavigation: !!document.querySelector(node.target[0])?.closest('[data-testid=stSidebarNavItems]'),
  })))
"""
COLOURS = {"runOnly": ["color-contrast", "link-in-text-block"]}
"""The rules that a dark page may break where a light one does not."""


def is_streamlits_own(found: dict) -> bool:
    """The headings of the navigation stand in its list beside the items: Streamlit draws that, nobody else can."""
    return found["inNavigation"] and found["rule"] in ("list", "listitem")


@pytest.fixture(scope="module", params=OPENED)
def each_page(request, app, browser):
    """Each page, opened once for all tests of this module."""
    page = opened(browser, f"{app}/{request.param}")
    yield page
    page.context.close()


def in_scheme(page, scheme: str) -> None:
    """Show the page as where the system asks for this scheme."""
    page.emulate_media(color_scheme=scheme)
    ground = f"getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor === '{GROUND[scheme]}'"
    page.wait_for_function(ground)
    at_rest(page)


def violations(page) -> list[str]:
    """What axe finds on a page, light and dark, without what is Streamlit's own."""
    found = page.evaluate(SERIOUS, {})
    assert any(map(is_streamlits_own, found)), "axe looked at nothing, or the exception is not needed any more"
    in_scheme(page, "dark")
    found += page.evaluate(SERIOUS, COLOURS)
    in_scheme(page, "light")
    return [f"{f['rule']}: {f['html'][:200]} {f['told']}" for f in found if not is_streamlits_own(f)]


def test_the_keyboard_reaches_what_matters(each_page):
    for role, name in REACHED[urlsplit(each_page.url).path.strip("/")]:
        wanted = each_page.get_by_role(role, name=name).first
        for _ in range(MOST_TABS):
            each_page.keyboard.press("Tab")
            if wanted.evaluate("e => e === document.activeElement || e.contains(document.activeElement)"):
                break
        else:
            pytest.fail(f"{MOST_TABS} times Tab, and {name} never had the focus")


def test_axe_finds_nothing_serious_of_ours_on_any_tab(each_page):
    each_page.evaluate(AXE)
    assert violations(each_page) == []
    tabs = each_page.get_by_test_id("stMain").get_by_role("tab")
    for k in range(1, tabs.count()):
        tabs.nth(k).click()
        at_rest(each_page)
        assert violations(each_page) == []


def test_nothing_is_wider_than_a_narrow_window(each_page):
    each_page.set_viewport_size({"width": 800, "height": 900})
    at_rest(each_page)
    assert each_page.get_by_test_id("stMain").evaluate("e => e.scrollWidth - e.clientWidth") <= 1
    logo = each_page.get_by_test_id("stSidebarHeader").locator("img").first
    assert logo.evaluate("e => e.complete && e.naturalWidth > 0")
