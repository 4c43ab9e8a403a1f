"""Files to share: the present page and the whole run as one HTML file, and the numbers of a chart as CSV."""

import io
import re

import pandas as pd
import pytest
import streamlit as st

from dashboard.panels import share, widgets
from dashboard.state import store
from dashboard.state.view import View


@pytest.fixture
def files(monkeypatch):
    """What the download buttons would hand to the browser, by key."""
    kept = {}
    real = st.download_button

    def remember(label, data, **options):
        kept[options["key"]] = data
        return real(label, data, **options)

    monkeypatch.setattr(st, "download_button", remember)
    return kept


def needs_no_network(text: str) -> bool:
    head = text.split("<script>")[0] + text.rsplit("</script>", 1)[1]
    return not re.search(r"(src|href)\s*=", head)


def test_the_page_as_it_is_shown_is_one_file_with_its_charts_numbers_and_model_card(workspace, open_page, files):
    app = open_page("plans", threshold="0.7")
    assert not app.exception
    text = files["share_page"]().decode()
    assert text.count("<h1>Plans</h1>") == 1
    assert text.count("Plotly.newPlot(") == len(app.get("plotly_chart")) == 1
    assert "plotly.js v" in text
    assert needs_no_network(text)
    assert "<td>0.70</td>" in text
    assert "are at risk" in text
    for said in ("Model card", "held out for the scores", "churn ranking (AUC)", "Limits", "SHA-256"):
        assert said in text
    app.slider("threshold").set_value(0.0).run()
    assert "120 of 120 customers are at risk" in files["share_page"]().decode()
    current = app.session_state["view_of_the_page"]
    assert current.threshold == 0.0, "the slider says so itself, because it is moved without a run of the whole page"


def test_a_rerun_of_a_part_of_the_page_replaces_what_it_had_shown(workspace, open_page, files):
    app = open_page("customers", customer="C000003", customer_tab="History")
    first = files["share_page"]().decode()
    assert "Customer C000003: churn probability" in first
    app.selectbox("customer").select("C000007").run()
    second = files["share_page"]().decode()
    assert "Customer C000007" in second
    assert "Customer C000003" not in second


def test_the_whole_run_is_what_the_command_writes(workspace, open_page, files):
    open_page("home", threshold="0.7")
    text = files["share_run"]().decode()
    assert "<h1>Run second</h1>" in text
    assert text.count("Plotly.newPlot(") >= 5
    assert "customers have a churn probability above 0.70" in text
    assert needs_no_network(text)


def test_without_a_run_there_is_still_the_page(parts, open_page, files):
    app = open_page("cohort", cohort="profiles")
    assert not app.exception
    assert "<h1>Cohort</h1>" in files["share_page"]().decode()


def test_names_from_data_are_text_in_the_file(workspace):
    view = View(title="<b>x</b>", said={"a": r"**bold** and \*star\* :red[<i>y</i>]"})
    text = share.page_file(view, store.run_card("second"), {"cohort": "<u>", "run": ""}).decode()
    assert not re.search(r"<(b|i|u)>", text)
    assert "bold and *star* &lt;i&gt;y&lt;/i&gt;" in text


def test_every_chart_has_its_numbers_as_a_file_that_spreadsheets_read_as_text(workspace, open_page, files):
    app = open_page("evaluate")
    keys = {key for key in files if key.endswith("_csv")}
    assert len(keys) == len(app.get("plotly_chart"))
    for key in keys:
        assert len(pd.read_csv(io.BytesIO(files[key]()), encoding="utf-8-sig")) > 0
    nasty = pd.DataFrame({"name": ["=1+1", "é", None], "n": [-1, 2, 3]})
    assert widgets.table_file(nasty).decode("utf-8-sig").splitlines() == ["name,n", "'=1+1,-1", "é,2", ",3"]
