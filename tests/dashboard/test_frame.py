"""The frame: every page opens, the selectors hold what exists, and a choice survives navigation."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from dashboard.panels.widgets import PAGES
from dashboard.state import uploads

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_link_to_what_is_gone_opens_nothing_else(workspace, open_page):
    app = open_page("home", cohort="gone", run="nowhere")
    assert not app.exception
    assert app.selectbox("cohort").value is None
    app.button("forget_link").click().run()
    assert (app.selectbox("cohort").value, app.selectbox("run").value) == ("small", "second")


def test_a_run_that_was_stopped_does_not_take_the_place_of_a_whole_one(workspace, open_page):
    for run in ("first", "second"):
        file = workspace / "runs" / run / "config.json"
        about = json.loads(file.read_text())
        about["config"]["preset"] = "standard"
        file.write_text(json.dumps(about))
    result = workspace / "runs" / "second" / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"state": "stopped"}))
    assert open_page("home").selectbox("run").value == "first"


def test_the_app_listens_on_this_machine_alone_and_tells_nobody_anything():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    assert config["server"]["address"] == "localhost"
    assert config["browser"]["gatherUsageStats"] is False
    assert config["client"]["disableDataExport"] is True
    assert config["server"]["maxUploadSize"] == uploads.MAX_MB
    told = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "server.address" not in told, "make run must not open the app to others"


@pytest.mark.parametrize("file", sorted((ROOT / "dashboard").rglob("*.py")), ids=lambda f: f.name)
def test_every_cache_is_bounded_and_no_page_brings_markup_of_its_own(file):
    text = file.read_text(encoding="utf-8")
    for cache in re.findall(r"@st\.cache_(?:data|resource)\b\(?[^\n]*", text):
        assert "max_entries=" in cache, cache
    assert "unsafe_allow_html" not in text
    assert "st.html(" not in text


@pytest.mark.parametrize("page", ["cohort", "evaluate", "paper"])
def test_the_charts_of_the_fullest_pages_are_drawn_once(workspace, open_page, page):
    """A chart that lets the browser find its margins is drawn twice; ten of them make a page wait."""
    specs = [json.loads(chart.proto.spec)["layout"] for chart in open_page(page).get("plotly_chart")]
    axes = [axis for spec in specs for name, axis in spec.items() if name[:5] in ("xaxis", "yaxis")]
    assert len(axes) >= 6
    assert not [axis["title"] for axis in axes if axis.get("automargin") and axis.get("visible", True)]
