"""Every page, light and dark: axe-core finds nothing serious, and nothing sticks out of a narrow window."""

from importlib.resources import files

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
"""Tabs and choices of the pages that open on something else."""
GROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(2, 3, 5)"}
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
SERIOUS = """
async () => (await axe.run({resultTypes: ['violations']})).violations
  .filter(found => ['serious', 'critical'].includes(found.impact))
  .flatMap(found => found.nodes.map(node => ({
    rule: found.id, html: node.html, told: node.failureSummary,
    inNavigation: !!document.querySelector(node.target[0])?.closest('[data-testid=stSidebarNavItems]'),
  })))
"""


def is_streamlits_own(found: dict) -> bool:
    """The headings of the navigation stand in its list beside the items: Streamlit draws that, nobody else can."""
    return found["inNavigation"] and found["rule"] in ("list", "listitem")


@pytest.fixture(scope="module", params=[(path, scheme) for path in PAGES for scheme in GROUND], ids="-".join)
def each_page(request, app, browser):
    """Each page in each scheme, opened once for all tests of this module."""
    path, scheme = request.param
    page = opened(browser, f"{app}/{path}", scheme=scheme)
    yield page, scheme
    page.context.close()


def violations(page) -> list[str]:
    """What axe finds on a page, without what is Streamlit's own."""
    page.evaluate(AXE)
    found = page.evaluate(SERIOUS)
    assert any(map(is_streamlits_own, found)), "axe looked at nothing, or the exception is not needed any more"
    return [f"{f['rule']}: {f['html'][:200]} {f['told']}" for f in found if not is_streamlits_own(f)]


def test_axe_finds_nothing_serious_of_ours(each_page):
    page, _ = each_page
    assert violations(page) == []


@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious_behind_the_tabs(open_page, state):
    assert violations(open_page(state)) == []


def test_nothing_is_wider_than_a_narrow_window(each_page):
    page, scheme = each_page
    page.set_viewport_size({"width": 800, "height": 900})
    at_rest(page)
    main = page.get_by_test_id("stMain")
    assert main.evaluate("e => e.scrollWidth - e.clientWidth") <= 1
    assert page.get_by_test_id("stApp").evaluate("e => getComputedStyle(e).backgroundColor") == GROUND[scheme]
    logo = page.get_by_test_id("stSidebarHeader").locator("img").first
    assert logo.evaluate("e => e.complete && e.naturalWidth > 0")
