"""The frame: every page opens, the selectors hold what exists, and a choice survives navigation."""

import pytest

from dashboard.widgets import PAGES


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_with_data_and_has_one_heading(workspace, open_page, name):
    app = open_page(name)
    assert not app.exception
    assert len(app.title) == 1


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_without_any_data(empty_workspace, open_page, name):
    app = open_page(name)
    assert not app.exception
    assert len(app.title) == 1


def test_the_newest_run_is_chosen_until_the_viewer_picks_another(workspace, open_page):
    app = open_page("home")
    assert (app.selectbox("cohort").value, app.selectbox("run").value) == ("small", "second")
    app.selectbox("run").select("first").run()
    app.switch_page("app_pages/train.py").run()
    assert app.selectbox("run").value == "first"


def test_a_link_reopens_the_run_it_names(workspace, open_page):
    app = open_page("home", cohort="small", run="first")
    assert app.selectbox("run").value == "first"


def test_a_link_to_what_is_gone_falls_back_to_what_is_there(workspace, open_page):
    app = open_page("home", cohort="gone", run="nowhere")
    assert not app.exception
    assert (app.selectbox("cohort").value, app.selectbox("run").value) == ("small", "second")
