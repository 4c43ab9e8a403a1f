"""The threshold moves the number at once, a link reopens the view for somebody else, and viewers stay apart."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from crm_models.inference.score_store import read_scores
from tests.browser.conftest import at_rest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def at_risk(page):
    return page.get_by_test_id("stMetric").filter(has_text="Customers at risk").get_by_test_id("stMetricValue")


def churn_p(made):
    return read_scores(made / "runs" / "demo-run" / "scores" / "demo.parquet").churn_p.round(6)


def n_at_risk(churn_p, threshold: float) -> str:
    return f"{int((churn_p > threshold).sum()):,}"


def test_the_slider_moves_the_number_and_the_link_reopens_the_view(made, open_page):
    risk = churn_p(made)
    middle = round(float(np.median(risk)), 2)
    mine = open_page("plans?cohort=demo")
    expect(at_risk(mine)).to_have_text(n_at_risk(risk, 0.5))
    mine.get_by_role("slider", name="Churn threshold").focus()
    for _ in range(round((0.5 - middle) * 100)):
        mine.keyboard.press("ArrowLeft")
    expect(at_risk(mine)).to_have_text(n_at_risk(risk, middle))
    mine.wait_for_url(re.compile(rf"threshold={middle}(&|$)"))
    assert len({n_at_risk(risk, at) for at in (0.5, middle, middle + 0.01)}) == 3

    # A viewer who comes by the link sees the same; one who comes without it sees nothing of it.
    theirs, third = open_page(mine.url.split("/", 3)[3]), open_page("plans?cohort=demo")
    expect(at_risk(theirs)).to_have_text(n_at_risk(risk, middle))
    expect(theirs.get_by_role("slider", name="Churn threshold")).to_have_value(str(middle))
    expect(at_risk(third)).to_have_text(n_at_risk(risk, 0.5))

    # And what they move stays theirs.
    theirs.get_by_role("slider", name="Churn threshold").focus()
    theirs.keyboard.press("ArrowRight")
    expect(at_risk(theirs)).to_have_text(n_at_risk(risk, middle + 0.01))
    mine.get_by_test_id("stSidebarNav").get_by_role("link", name="Home").click()
    expect(mine.get_by_role("heading", name="CRM Transformers")).to_be_visible()
    mine.get_by_test_id("stSidebarNav").get_by_role("link", name="Plans").click()
    expect(at_risk(mine)).to_have_text(n_at_risk(risk, middle))


def test_a_customer_in_the_link_is_shown_and_nobody_else_is_moved_by_it(open_page):
    mine = open_page("customers?cohort=demo&customer=C000007&threshold=0.2")
    box = mine.get_by_role("combobox", name="Customer", exact=True)
    expect(box).to_have_value("C000007")
    other = open_page("customers?cohort=demo")
    chosen = other.get_by_role("combobox", name="Customer", exact=True)
    assert chosen.input_value() != "C000007"
    chosen.focus()
    other.keyboard.type("C000042")
    other.keyboard.press("Enter")
    other.wait_for_url(re.compile("customer=C000042"))
    at_rest(other)
    mine.reload()
    expect(box).to_have_value("C000007")
    assert "threshold=0.2" in mine.url
