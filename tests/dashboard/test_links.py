"""Links: what is in the address is opened; what is gone is named, and the nearest offered instead of opened."""

import shutil

import pytest

from dashboard.jobs.queue import JobFolder
from dashboard.state import store

RISKY = ("home", "evaluate", "customers", "plans")


def metric(app, label):
    return next(m.value for m in app.metric if m.label == label)


@pytest.mark.parametrize("page", RISKY)
def test_the_threshold_of_the_address_counts_on_every_page_with_a_risk(workspace, open_page, page):
    app = open_page(page, threshold="0.12")
    assert not app.exception
    assert app.slider("threshold").value == 0.12


def test_home_counts_and_plans_with_the_threshold_of_the_viewer(workspace, open_page):
    shown = {}
    for threshold in ("0", "1"):
        app = open_page("home", threshold=threshold)
        shown[threshold] = metric(app, "Customers at risk"), app.dataframe[0].value["step 1"].iloc[0]
        assert metric(open_page("plans", threshold=threshold), "Customers at risk") == shown[threshold][0]
    assert (shown["0"][0], shown["1"][0]) == ("120", "0")
    assert shown["0"][1] == "Offer proactive support" != shown["1"][1]


def test_home_plans_with_the_retention_actions_of_the_address(workspace, open_page):
    table = open_page("home", threshold="0", retention_1="Ring up").dataframe[0].value
    assert set(table["step 1"]) == {"Ring up"}


@pytest.mark.parametrize("page", ["home", "cohort", "train", "evaluate", "customers", "plans", "attention"])
def test_a_cohort_that_is_gone_is_named_and_the_nearest_offered(workspace, open_page, texts, page):
    app = open_page(page, cohort="smal", run="first")
    assert not app.exception
    assert "The cohort “smal” does not exist." in texts(app)
    assert app.selectbox("cohort").value is None, "no other is opened in its place"
    assert app.button("open_nearest").label.replace("\\", "") == "Open small"
    app.button("open_nearest").click().run()
    assert app.selectbox("cohort").value == "small"
    assert "does not exist" not in texts(app)


def test_a_selector_that_its_viewer_has_not_cleared_keeps_its_cohort(workspace, open_page):
    app = open_page("plans", cohort="small")
    app.session_state["cohort"] = None  # as Streamlit leaves it where a page is opened before the last one was drawn
    assert app.run().selectbox("cohort").value == "small"
    app.selectbox("cohort").set_value(None).run()
    assert app.selectbox("cohort").value is None


def test_nor_does_it_lose_its_run(workspace, open_page):
    app = open_page("plans", cohort="small", run="first")
    app.session_state["run"] = None
    assert app.run().selectbox("run").value == "first"
    app.selectbox("run").set_value(None).run()
    assert app.selectbox("run").value is None


def test_a_run_that_is_gone_is_named_and_the_nearest_offered(workspace, open_page, texts):
    app = open_page("plans", cohort="small", run="frist")
    assert "The run “frist” does not exist." in texts(app)
    assert app.selectbox("run").value is None
    app.button("open_nearest").click().run()
    assert app.selectbox("run").value == "first"
    assert not app.exception
    assert "does not exist" not in texts(app)


def test_a_link_that_is_ignored_shows_the_newest(workspace, open_page, texts):
    app = open_page("plans", cohort="small", run="frist")
    app.button("forget_link").click().run()
    assert app.selectbox("run").value == "second"
    assert "does not exist" not in texts(app)


def test_a_run_in_the_address_brings_its_cohort(workspace, open_page):
    shutil.copytree(workspace / "cohorts" / "small", workspace / "cohorts" / "newer")
    app = open_page("plans", run="first")
    assert (app.selectbox("cohort").value, app.selectbox("run").value) == ("small", "first")


def test_a_run_of_another_cohort_says_so(workspace, open_page, texts):
    shutil.copytree(workspace / "cohorts" / "small", workspace / "cohorts" / "newer")
    app = open_page("plans", cohort="newer", run="first")
    assert "The run “first” was trained on the cohort “small”, not on “newer”." in texts(app)
    app.button("open_nearest").click().run()
    assert (app.selectbox("cohort").value, app.selectbox("run").value) == ("small", "first")


def test_a_damaged_run_in_the_address_names_its_file(workspace, open_page, texts):
    (workspace / "runs" / "first" / "config.json").write_text("{")
    app = open_page("plans", cohort="small", run="first")
    assert not app.exception
    assert "config.json: expected JSON" in texts(app)


def test_a_customer_who_is_gone_is_named_and_the_nearest_offered(workspace, open_page, texts):
    app = open_page("customers", customer="C00001")
    assert "No customer of this cohort has the id C00001" in texts(app)
    offered = app.button("open_nearest").label.replace("\\", "").removeprefix("Open ")
    assert offered.startswith("C00001")
    app.button("open_nearest").click().run()
    assert app.selectbox("customer").value == offered


def test_clearing_the_cohort_does_not_jump_to_another(workspace, open_page, texts):
    app = open_page("plans", cohort="small")
    app.selectbox("cohort").set_value(None).run()
    assert not app.exception
    assert app.selectbox("cohort").value is None
    assert "No cohort selected" in texts(app)


def test_a_search_shows_its_matches_at_once_and_one_click_opens_one(workspace, open_page):
    app = open_page("customers")
    app.text_input("search").set_value("C00001").run()
    matches = [b for b in app.button if (b.key or "").startswith("match_")]
    assert 1 < len(matches) <= 6
    wanted = matches[1].label.replace("\\", "")
    matches[1].click().run()
    assert app.selectbox("customer").value == wanted
    assert metric(app, "Churn probability")


def test_a_threshold_that_flags_nobody_says_so_and_one_click_mends_it(workspace, open_page, texts):
    for page in RISKY:
        app = open_page(page, threshold="0.99", customer="C000001")
        assert not app.exception
        assert "Nobody exceeds 0.99: the highest churn probability is" in texts(app), page
        app.button("use_suggested").click().run()
        assert app.slider("threshold").value < 0.99
        assert "Nobody exceeds" not in texts(app)


def test_deleting_the_current_cohort_shows_another_without_a_word_about_links(workspace, open_page, texts):
    shutil.copytree(workspace / "cohorts" / "small", workspace / "cohorts" / "newer")
    app = open_page("cohort", cohort="newer")
    app.button("delete_cohort").click().run()
    assert app.selectbox("cohort").value == "small"
    assert "does not exist" not in texts(app)
    assert JobFolder(workspace).jobs() == []


def test_a_run_that_ends_while_a_page_is_drawn_is_shown(workspace, open_page, monkeypatch, texts):
    """The selectors find no trained run yet, the page a moment later does, and nobody clicks."""
    answers = {"pulse": ["still training"], "run_cards": [[]]}

    def at_first(name):
        later = getattr(store, name)
        monkeypatch.setattr(store, name, lambda *of: answers[name].pop() if answers[name] else later(*of))

    for name in answers:
        at_first(name)
    app = open_page("plans")
    assert answers == {"pulse": [], "run_cards": []}
    assert "No run selected" not in texts(app)
    assert "Customers at risk" in {metric.label for metric in app.metric}
