"""axe-core on each page, light and dark: nothing serious or critical of ours."""

from importlib.resources import files

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = ["", "cohort", "train", "evaluate", "attention", "customers", "plans", "paper"]
STREAMLITS_OWN = {"list", "listitem"}
"""Section headings of the navigation stand inside its list: Streamlit's markup, out of our hands."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_serious(open_page, path, scheme):
    page = open_page(path, scheme=scheme)
    page.wait_for_timeout(1500)  # charts and tables are drawn after the script is at rest
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    ours = [
        f"{v['id']} ({v['impact']}): {v['nodes'][0]['html'][:160]}"
        for v in found
        if v["impact"] in ("serious", "critical") and v["id"] not in STREAMLITS_OWN
    ]
    assert ours == []
