"""Plans: the threshold and what it moves, the policy, who flips, the best threshold, and the file to download."""

import csv
import io
import json

import numpy as np
import pytest
import streamlit as st

from crm_models import workflow
from crm_models.inference.score_store import read_scores
from crm_models.planning.export import ExportSettings, write_plans
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
from dashboard.charts import decision as decision_charts
from dashboard.jobs import scoring
from dashboard.jobs.queue import SINGLE_STEPS
from dashboard.panels import plan_file
from dashboard.state import predictions, store
from tests.dashboard.conftest import NASTY


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def scores_of(workspace, run="second", cohort="small"):
    return read_scores(workspace / "runs" / run / "scores" / f"{cohort}.parquet")


def middle(workspace) -> float:
    """A threshold that about half of the customers are above."""
    return float(np.round(np.median(scores_of(workspace).churn_p), 2))


def policy_plans(workspace, policy, rows=None, run="second", cohort="small"):
    """The plans as the package makes them, without the app."""
    everybody = scores_of(workspace, run, cohort)
    card = store.run_card(run)
    words = Catalogue.of(card.folder.encoder(), card.about["popular"], policy)
    made = make_plans(everybody, words, policy)
    return made if rows is None else made.take(rows)


@pytest.fixture
def downloads(monkeypatch):
    """What the download buttons hand to the browser, by label: the page leaves a function that makes the file."""
    kept = {}
    real = st.download_button

    def remember(label, data, **options):
        kept[label] = (data, options)
        return real(label, data, **options)

    monkeypatch.setattr(st, "download_button", remember)
    return kept


def content(downloads, label) -> bytes:
    with downloads[label][0]() as handle:
        return handle.read()


# ---- the threshold ---------------------------------------------------------------------------------------------------


def test_a_move_of_the_threshold_moves_the_metrics(workspace, open_page):
    app = open_page("plans")
    p = np.round(scores_of(workspace).churn_p, 6)
    for threshold in (0.0, middle(workspace), 1.0):
        app.slider("threshold").set_value(threshold).run()
        at_risk = int((p > threshold).sum())
        shown = metrics(app)
        assert shown["Customers at risk"] == f"{at_risk:,}"
        assert shown["Plans changed"] == f"{at_risk:,}"
    assert not app.exception


def test_a_link_with_a_threshold_reopens_it(workspace, open_page):
    threshold = middle(workspace)
    app = open_page("plans", threshold=str(threshold))
    assert app.slider("threshold").value == threshold
    expected = (np.round(scores_of(workspace).churn_p, 6) > threshold).sum()
    assert metrics(app)["Customers at risk"] == str(expected)


@pytest.mark.parametrize("threshold", ["abc", "7", "nan", ""])
def test_a_threshold_that_is_none_in_the_address_gives_a_sane_page(workspace, open_page, threshold):
    app = open_page("plans", threshold=threshold)
    assert not app.exception
    assert app.slider("threshold").value == 0.5


def test_the_histogram_counts_every_customer(workspace, open_page):
    app = open_page("plans")
    (chart,) = app.get("plotly_chart")
    spec = json.loads(chart.proto.spec)
    assert sum(spec["data"][0]["y"]) == 120
    assert "customers" in spec["data"][0]["hovertemplate"]


def test_a_histogram_moved_to_a_threshold_is_the_one_drawn_at_it():
    counts = np.arange(50)
    for threshold in (0.0, 0.29, 0.5, 1.0):
        moved = decision_charts.at_threshold(decision_charts.risk_histogram(counts, 0.7), threshold)
        assert moved.to_dict() == decision_charts.risk_histogram(counts, threshold).to_dict()


# ---- the policy ------------------------------------------------------------------------------------------------------


def test_plans_can_be_made_for_single_steps_once_the_worker_has_scored_for_them(workspace, open_page, texts, downloads):
    """Until then the page waits; afterwards the file and its manifest are those of single steps."""
    app = open_page("plans")
    app.radio("plan_for").set_value("single steps").run()
    assert "Scoring all customers with this run" in texts(app)
    (queued,) = store.jobs().jobs()
    assert (queued.job.task, queued.job.arguments) == ("score", (SINGLE_STEPS,))
    card = store.run_card("second")
    scoring.keep(card.folder, workspace / "cohorts" / "small", plan_for="steps")
    app = open_page("plans", plan_for="single steps")
    assert not app.exception
    assert app.radio("plan_for").value == "single steps"
    single = read_scores(workspace / "runs" / "second" / "scores" / "small.steps")
    whole = scores_of(workspace)
    np.testing.assert_array_equal(single.churn_p, whole.churn_p)
    assert (single.plans.plan_p <= whole.plans.plan_p + 1e-6).all()  # no plan is more probable than the best one
    manifest = json.loads(content(downloads, "Manifest"))
    assert manifest["plan_for"] == "steps"


def test_graded_changes_as_many_steps_as_the_package_does(workspace, open_page):
    threshold = middle(workspace) - 0.02
    app = open_page("plans", threshold=f"{threshold:.2f}")
    app.get_by_key("mode").set_value("graded").run()
    app.number_input("intensity").set_value(4.0).run()
    assert not app.exception
    plans = policy_plans(workspace, Policy(threshold=round(threshold, 2), mode="graded", intensity=4.0))
    n = plans.policy.n_retention(plans.churn_p)
    assert metrics(app)["Plans changed"] == str((n > 0).sum())
    steps = next(m.delta for m in app.metric if m.label == "Plans changed")
    assert steps == f"{n.sum():,} retention steps"
    assert 0 < n.sum() < 3 * (n > 0).sum()


def test_an_edited_retention_action_stands_in_the_plans(workspace, open_page):
    app = open_page("plans", threshold="0", plans_tab="The plans")
    app.text_input("retention_2").set_value("Call <b>them</b>").run()
    assert not app.exception
    plan = app.dataframe[0].value["plan"].iloc[0]
    assert list(plan) == ["1. Offer proactive support", "2. Call <b>them</b>", "3. Provide a discount"]


def test_retention_actions_that_are_blank_or_equal_are_told_and_not_used(workspace, open_page, texts):
    app = open_page("plans", threshold="0", plans_tab="The plans")
    app.text_input("retention_2").set_value("Provide a discount").run()
    assert "Three different retention actions are needed" in texts(app)
    assert "2. Send a loyalty offer" in list(app.dataframe[0].value["plan"].iloc[0])


# ---- what changes ----------------------------------------------------------------------------------------------------


def test_what_changes_counts_steps_before_and_after_and_lists_who_flips(workspace, open_page, texts):
    threshold = middle(workspace)
    app = open_page("plans", threshold=str(threshold), plans_tab="What changes", other_threshold="0")
    assert not app.exception
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    before, after = spec["data"]
    plans = policy_plans(workspace, Policy(threshold=threshold))
    assert sum(before["x"]) == (plans.before >= 0).sum()
    assert sum(after["x"]) == (plans.action >= 0).sum()
    retention = [
        x for x, name in zip(after["x"], after["customdata"], strict=True) if name[0] == "Send a loyalty offer"
    ]
    assert retention == [int(plans.at_risk.sum())]
    flips = RiskIndex(plans.churn_p).flips(0.0, threshold)
    assert f"{len(flips)} customers have a churn probability above 0.00" in texts(app)
    table = app.dataframe[0].value
    assert set(table["customer"]) == set(plans.customer_id[flips])
    assert set(table["plan at 0.00"]) == {"Offer proactive support, Send a loyalty offer, Provide a discount"}


def test_where_nobody_flips_it_says_so(workspace, open_page, texts):
    app = open_page("plans", threshold="0.98", plans_tab="What changes", other_threshold="1")
    assert "no plan differs" in texts(app)
    assert len(app.dataframe) == 0


# ---- the best threshold ----------------------------------------------------------------------------------------------


def test_the_best_threshold_is_the_package_s_and_one_click_takes_it(workspace, open_page, texts):
    app = open_page("plans", plans_tab="Best threshold")
    app.number_input("contact_cost").set_value(20.0)
    app.number_input("kept_value").set_value(200.0)
    app.number_input("success_rate").set_value(20.0)
    app.number_input("capacity").set_value(30).run()
    assert not app.exception
    risk = RiskIndex(scores_of(workspace).churn_p)
    table = risk.expected_value(cost=20, value=200, success_rate=0.2, capacity=30)
    best = table[table["best"]].iloc[0]
    assert f"Best threshold {best['threshold']:.2f}: {int(best['contacted'])} contacted" in texts(app)
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    star = next(t for t in spec["data"] if t.get("marker", {}).get("symbol") == "star")
    assert star["x"] == [best["threshold"]]
    app.button("use_best").click().run()
    assert app.slider("threshold").value == best["threshold"]


def test_where_no_contact_pays_it_says_so(workspace, open_page, texts):
    app = open_page("plans", plans_tab="Best threshold")
    app.number_input("contact_cost").set_value(1000.0).run()
    assert "contact nobody" in texts(app)


# ---- the list and the download ---------------------------------------------------------------------------------------


def test_filter_search_and_order_of_the_list(workspace, open_page, texts):
    threshold = middle(workspace)
    app = open_page("plans", threshold=str(threshold), plans_tab="The plans")
    everybody = scores_of(workspace)
    risky = np.round(everybody.churn_p, 6) > threshold
    app.get_by_key("who").set_value("at risk").run()
    shown = app.dataframe[0].value
    assert set(shown["customer"]) == set(everybody.customer_id[risky])
    assert shown["churn probability"].is_monotonic_decreasing
    app.selectbox("sort").select("in the order of the cohort").run()
    assert app.dataframe[0].value["customer"].tolist() == everybody.customer_id[risky].tolist()
    one = everybody.customer_id[risky][0]
    app.text_input("search").set_value(one.lower()).run()
    assert app.dataframe[0].value["customer"].tolist() == [one]
    app.text_input("search").set_value("nobody is called so").run()
    assert "No customer matches" in texts(app)
    assert not app.exception


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_the_download_is_what_the_package_writes(workspace, open_page, downloads, tmp_path, layout):
    threshold = middle(workspace)
    app = open_page("plans", threshold=str(threshold))
    if layout == "long":
        app.selectbox("download_layout").select("long").run()
        app.checkbox("download_drivers").uncheck().run()
    assert not app.exception
    settings = ExportSettings(run_id="second", scored_at=predictions.scored_at(store.run_card("second")), layout=layout)
    expected = tmp_path / "expected.csv"
    write_plans([policy_plans(workspace, Policy(threshold=threshold))], expected, settings, {})
    got = content(downloads, "Download plans (CSV)")
    assert got == expected.read_bytes()
    assert len(list(csv.DictReader(io.StringIO(got.decode())))) == 120 * (3 if layout == "long" else 1)
    manifest = json.loads(content(downloads, "Manifest"))
    assert manifest["policy"]["threshold"] == threshold
    assert manifest["counts"]["customers"] == 120
    assert manifest["run_id"] == "second"
    assert manifest["cohort_hash"] == manifest["trained_on_cohort_hash"]
    assert manifest["file"] == downloads["Download plans (CSV)"][1]["file_name"]


def test_the_manifest_says_what_that_of_the_command_line_says(workspace, open_page, downloads, tmp_path):
    threshold = middle(workspace)
    open_page("plans", threshold=str(threshold))
    content(downloads, "Download plans (CSV)")
    here = json.loads(content(downloads, "Manifest"))
    there = workflow.plan(
        workspace / "runs" / "second", tmp_path / "plans-small.csv", Policy(threshold=threshold), threads=1
    )
    assert here.pop("selection") == "All customers"
    # The moment of scoring is in the file, and so in its checksum.
    own = {"scored_at", "csv_sha256", "seconds", "computed"}
    assert {k: v for k, v in here.items() if k not in own} == {k: v for k, v in there.items() if k not in own}
    assert here["as_of"] is not None
    assert set(here) == set(there)


def test_the_long_download_carries_the_drivers_that_the_command_line_writes(workspace, open_page, downloads, tmp_path):
    threshold = middle(workspace)
    app = open_page("plans", threshold=str(threshold))
    app.selectbox("download_layout").select("long").run()
    app.checkbox("download_step_drivers").check().run()
    got = list(csv.DictReader(io.StringIO(content(downloads, "Download plans (CSV)").decode(), newline="")))
    out = tmp_path / "long.csv"
    policy = Policy(threshold=threshold)
    workflow.plan(workspace / "runs" / "second", out, policy, layout="long", drivers=True, step_drivers=True, threads=1)
    with out.open(newline="") as handle:
        expected = list(csv.DictReader(handle))
    assert [row | {"scored_at": ""} for row in got] == [row | {"scored_at": ""} for row in expected]
    assert {bool(row["driver_1"]) == (row["at_risk"] == "true") for row in got} == {True}
    assert {bool(row["step_driver_1"]) == (row["source"] == "model") for row in got} == {True}


def test_a_selected_plan_leads_to_the_reasons_of_its_customer(workspace, open_page, monkeypatch):
    app = open_page("plans", plans_tab="The plans")
    asked = {}
    monkeypatch.setattr(st, "switch_page", lambda page, query_params: asked.update(page=page, **query_params))
    first = str(app.dataframe[0].value["customer"].iloc[0])
    app.session_state["plans_list"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    app.run()
    if not asked:
        app.button("open_customer_balance").click().run()
    assert (asked["customer"], asked["customer_tab"]) == (first, "Why these steps")


def test_those_at_risk_alone_are_downloaded_and_of_nobody_the_header(workspace, open_page, downloads):
    app = open_page("plans", threshold="1")
    app.selectbox("download_scope").select("risk").run()
    assert content(downloads, "Download plans (CSV)").count(b"\r\n") == 1
    app.slider("threshold").set_value(0.0).run()
    assert content(downloads, "Download plans (CSV)").count(b"\r\n") == 121
    assert downloads["Download plans (CSV)"][1]["file_name"] == "plans-small-at-risk.csv"


def test_the_filtered_download_holds_what_the_list_holds(workspace, open_page, downloads):
    app = open_page("plans", threshold=str(middle(workspace)), plans_tab="The plans")
    app.get_by_key("who").set_value("not at risk")
    app.selectbox("download_scope").select("filter").run()
    listed = set(app.dataframe[0].value["customer"])
    got = list(csv.DictReader(io.StringIO(content(downloads, "Download plans (CSV)").decode())))
    assert {row["customer_id"] for row in got} == listed
    assert {row["at_risk"] for row in got} == {"false"}
    assert json.loads(content(downloads, "Manifest"))["filter"]["who"] == "not at risk"


def test_old_files_make_room(workspace, monkeypatch, open_page, downloads):
    monkeypatch.setattr(plan_file, "KEPT_EXPORTS", 2)
    for threshold in ("0.1", "0.2", "0.3", "0.4"):
        open_page("plans", threshold=threshold)
        content(downloads, "Download plans (CSV)")
    assert len(list((workspace / "exports").glob("*.csv"))) == 2
    assert len(list((workspace / "exports").glob("*.manifest.json"))) == 2


# ---- parts that are missing ------------------------------------------------------------------------------------------


def test_without_events_plans_are_retention_or_nothing(parts, open_page, texts, downloads):
    app = open_page("plans", cohort="profiles", threshold="0", plans_tab="The plans")
    assert not app.exception
    assert "This run has no sequence model" in texts(app)
    assert metrics(app)["Plans changed"] == "90"
    assert set(app.dataframe[0].value["from"]) == {"retention in all steps"}


def test_without_labels_nobody_is_at_risk_and_names_are_shown_as_text(parts, open_page, texts):
    app = open_page("plans", cohort="events")
    assert not app.exception
    assert "no customer counts as at risk" in texts(app)
    assert metrics(app)["Customers at risk"] == "0"
    table = app.dataframe[0].value
    assert "churn probability" not in table
    assert NASTY in table["customer"].tolist()
    for tab in ("Who is at risk", "What changes", "Best threshold"):
        app = open_page("plans", cohort="events", plans_tab=tab)
        assert not app.exception
        assert "No churn risk available" in texts(app)


def test_a_formula_in_a_name_is_neutralised_in_the_download(parts, open_page, downloads):
    open_page("plans", cohort="events", retention_1="=cmd()")
    got = list(csv.DictReader(io.StringIO(content(downloads, "Download plans (CSV)").decode(), newline="")))
    assert got[0]["customer_id"] == NASTY
    open_page("plans", cohort="profiles", retention_1="=cmd()", threshold="0")
    got = list(csv.DictReader(io.StringIO(content(downloads, "Download plans (CSV)").decode(), newline="")))
    assert {row["step_1_action"] for row in got} == {"'=cmd()"}


def test_without_data_it_says_where_to_get_some(empty_workspace, open_page, texts):
    app = open_page("plans")
    assert "No customers yet" in texts(app)
    assert len(app.metric) == 0


def test_with_a_failed_run_the_one_that_works_is_shown(workspace, open_page):
    result = workspace / "runs" / "second" / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"state": "failed", "reason": "x", "models": {}}))
    app = open_page("plans")
    assert not app.exception
    assert app.selectbox("run").value == "first"
    assert metrics(app)["Customers at risk"] == str((np.round(scores_of(workspace, "first").churn_p, 6) > 0.5).sum())


def test_the_mix_counts_own_retention_actions_too(workspace, open_page):
    own = {f"retention_{k}": f"Own {k}" for k in (1, 2, 3)}
    at = middle(workspace)
    app = open_page("plans", threshold=str(at), plans_tab="What changes", **own)
    assert not app.exception
    chart = next(c for c in app.get("plotly_chart") if "Steps of all plans" in c.proto.spec)
    drawn = json.loads(chart.proto.spec)
    after = dict(zip(drawn["layout"]["yaxis"]["ticktext"], drawn["data"][1]["x"], strict=True))
    at_risk = int((scores_of(workspace).churn_p > at).sum())
    assert [after[action] for action in own.values()] == [at_risk] * 3
