"""Customers: one customer's risk, plan, history and profile, what-if, the list, and links that reopen the view."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from crm_models import workflow
from crm_models.data.cohort import moment_days
from crm_models.data.storage import load_cohort
from crm_models.inference.score_store import read_scores
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import Policy
from dashboard.charts import decision as decision_charts
from dashboard.charts import digits
from dashboard.panels import customer_list, what_if
from dashboard.panels import customers as customer_panels
from dashboard.state import predictions, reasons, store
from tests.dashboard.conftest import NASTY


def scores_of(workspace, run="second", cohort="small"):
    return read_scores(workspace / "runs" / run / "scores" / f"{cohort}.parquet")


def plans_of(workspace, policy):
    card = store.run_card("second")
    words = Catalogue.of(card.folder.encoder(), card.about["popular"], policy)
    return make_plans(scores_of(workspace), words, policy)


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def cards(app, texts) -> list[str]:
    """The text of the three step cards."""
    return [part.split(".]\n")[0] for part in texts(app).split(":small[:gray[Step ")[1:]]


def longest(workspace) -> tuple[int, str]:
    """Row and id of the customer with the longest history."""
    row = int(np.argmax(scores_of(workspace).n_events))
    return row, str(scores_of(workspace).customer_id[row])


# ---- one customer ----------------------------------------------------------------------------------------------------


def test_the_riskiest_customer_comes_first(workspace, open_page):
    app = open_page("customers")
    everybody = scores_of(workspace)
    first = int(np.argmax(np.round(everybody.churn_p, 6)))
    assert app.selectbox("customer").value == everybody.customer_id[first]
    assert metrics(app)["Churn probability"] == f"{everybody.churn_p[first]:.1%}"


def test_a_link_reopens_customer_threshold_policy_and_tab(workspace, open_page, texts):
    everybody = scores_of(workspace)
    row, name = longest(workspace)
    below = np.floor(100 * everybody.churn_p[row]) / 100
    app = open_page(
        "customers", customer=name, threshold=f"{below:g}", customer_tab="Profile", retention_1="Call the office"
    )
    assert not app.exception
    assert app.selectbox("customer").value == name
    assert app.slider("threshold").value == below
    assert app.session_state["customer_tab"] == "Profile"
    assert "Call the office" in cards(app, texts)[0]
    assert next(m.delta for m in app.metric if m.label == "Churn probability") == f"at risk at {below:.2f}"


def test_the_steps_have_probability_source_reason_and_runner_up(workspace, open_page, texts):
    row, name = longest(workspace)
    app = open_page("customers", customer=name, threshold="1")
    plans = plans_of(workspace, Policy(threshold=1.0))
    labels = plans.catalogue.labels
    for k, card in enumerate(cards(app, texts)):
        assert labels[plans.action[row, k]] in card
        assert "model" in card
        assert f"Probability {plans.step_p[row, k]:.1%}" in card
        assert f"Runner-up: {labels[plans.runner_up[row, k]]}, {plans.runner_up_p[row, k]:.1%}" in card
        assert "most likely three-step sequence" in card


def test_an_override_shows_its_reason_and_the_plan_before(workspace, open_page, texts):
    row, name = longest(workspace)
    app = open_page("customers", customer=name, threshold="0")
    before = plans_of(workspace, Policy(threshold=0.0)).before[row]
    labels = plans_of(workspace, Policy(threshold=0.0)).catalogue.labels
    assert texts(app).count("exceeds 0.00") == 1, "one reason for all three steps"
    assert "All steps are for retention, because the churn probability" in texts(app)
    assert f"Plan before the policy: {', then '.join(labels[a] for a in before)}." in texts(app)
    app.slider("threshold").set_value(1.0).run()
    assert "before the policy" not in texts(app)
    assert "would switch to retention actions" in texts(app)


def test_the_timeline_holds_every_event_and_says_which_the_models_saw(workspace, open_page):
    _, name = longest(workspace)
    app = open_page("customers", customer=name, customer_tab="History")
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    whole = load_cohort(workspace / "cohorts" / "small")
    own = whole.interactions[whole.interactions["customer_id"].astype(str) == name]
    assert sum(len(trace["customdata"]) for trace in spec["data"]) == len(own)
    seen = next(trace for trace in spec["data"] if trace["name"] == "Seen by the models")
    assert len(seen["customdata"]) == (own["timestamp"] < whole.as_of).sum()


def test_the_profile_tells_features_and_what_became_of_the_customer(workspace, open_page):
    row, name = longest(workspace)
    app = open_page("customers", customer=name, customer_tab="Profile")
    table = app.dataframe[0].value.set_index("feature")["value"]
    people = load_cohort(workspace / "cohorts" / "small").customers
    assert table["outcome"] == ("churned" if people["churned"].iloc[row] else "stayed")
    assert table["age"] == f"{people['age'].iloc[row]:g}"
    assert table["events in the history"] == str(scores_of(workspace).n_events[row])


@pytest.mark.parametrize("name", ["nobody", "<b>x</b>", "=1+1"])
def test_an_unknown_customer_in_the_address_gives_the_list(workspace, open_page, texts, name):
    app = open_page("customers", customer=name)
    assert not app.exception
    assert f"No customer of this cohort has the id {name}" in texts(app)
    assert len(app.dataframe[0].value) == customer_list.ROWS


@pytest.mark.parametrize("threshold", ["abc", "7", "nan"])
def test_a_threshold_that_is_none_in_the_address_is_the_usual_one(workspace, open_page, threshold):
    app = open_page("customers", threshold=threshold)
    assert not app.exception
    assert app.slider("threshold").value == 0.5


def test_the_highest_threshold_that_a_customer_is_above():
    assert [customer_panels.places_below(p) for p in (0.182, 0.18, 0.005, 1.0, 0.0, float("nan"))] == [
        0.18,
        0.17,
        0.0,
        0.99,
        None,
        None,
    ]


def test_probabilities_among_thousands_of_actions_keep_a_digit():
    assert [digits.share(p) for p in (0.5, 0.001, 0.00012, 2e-8, 0.0)] == [
        "50.0%",
        "0.1%",
        "0.01%",
        "below 0.0001%",
        "0.0%",
    ]


# ---- what if ---------------------------------------------------------------------------------------------------------


def test_what_if_nothing_changes_nothing_moves(workspace, open_page, texts):
    row, name = longest(workspace)
    app = open_page("customers", customer=name, customer_tab="What if")
    assert not app.exception
    shown = metrics(app)
    assert shown["Current churn probability"] == shown["New churn probability"]
    assert shown["New churn probability"] == f"{scores_of(workspace).churn_p[row]:.1%}"
    assert "The plan would not change." in texts(app)


def test_what_if_a_feature_changes_the_risk_moves_as_the_model_says(workspace, open_page):
    row, name = longest(workspace)
    app = open_page("customers", customer=name, customer_tab="What if")
    app.multiselect(f"what_if_features_{name}").set_value(["income"]).run()
    app.number_input(f"what_if_income_{name}").set_value(1.0).run()
    assert not app.exception
    models, who = predictions.models(store.run_card("second")), predictions.customer("small", row)
    people = who.cohort.customers.assign(income=1.0)
    changed = what_if._rebuilt(who.cohort, people, who.cohort.interactions)
    expected = models.score(changed, who.moment, who.now_days).churn_p[0]
    assert expected != pytest.approx(scores_of(workspace).churn_p[row], abs=1e-6)
    moved = next(m for m in app.metric if m.label == "New churn probability")
    assert moved.value == f"{expected:.1%}"
    assert "points" in moved.delta


def test_what_if_events_are_taken_away_and_added_the_plan_is_made_anew(workspace, open_page, texts):
    row, name = longest(workspace)
    app = open_page("customers", customer=name, customer_tab="What if", threshold="1")
    removed = app.multiselect(f"what_if_removed_{name}")
    removed.select(removed.options[0]).run()
    models, who = predictions.models(store.run_card("second")), predictions.customer("small", row)
    latest = int(np.flatnonzero(who.cohort.event_days < moment_days(who.moment))[-1])
    events = who.cohort.interactions.drop(index=who.cohort.interactions.index[latest])
    changed = what_if._rebuilt(who.cohort, who.cohort.customers, events)
    expected = models.score(changed, who.moment, who.now_days).churn_p[0]
    assert metrics(app)["New churn probability"] == f"{expected:.1%}"
    key = f"{what_if.ADDED}_{name}"
    app.selectbox(f"{key}_action").select("Answer a complaint")
    app.number_input(f"{key}_ago").set_value(2.0)
    app.button(f"{key}_add").click().run()
    assert not app.exception
    assert "Added: Answer a complaint, 2 days before" in texts(app)
    table = app.dataframe[0].value
    assert table["changed"].eq("yes").equals(table["current"] != table["new"])
    app.button(f"{key}_clear").click().run()
    assert "Added:" not in texts(app)


# ---- the list --------------------------------------------------------------------------------------------------------


def test_the_list_has_risk_and_plan_of_every_customer_a_page_at_a_time(workspace, open_page):
    app = open_page("customers", customer_tab="All customers")
    assert not app.exception
    everybody = scores_of(workspace)
    table = app.dataframe[0].value
    assert len(table) == customer_list.ROWS
    assert table["churn probability"].iloc[0] == pytest.approx(100 * everybody.churn_p.max(), abs=0.051)
    assert [len(plan) for plan in table["plan"]] == [3] * customer_list.ROWS


def test_search_narrows_select_box_and_list(workspace, open_page, texts):
    app = open_page("customers", customer_tab="All customers")
    app.text_input("search").set_value("C00001").run()
    assert not app.exception
    found = [name for name in scores_of(workspace).customer_id if "C00001" in name]
    assert set(app.selectbox("customer").options) >= set(found)
    assert set(app.dataframe[0].value["customer"]) == set(found)


def test_search_for_nobody_keeps_the_customer_and_says_so(workspace, open_page, texts):
    app = open_page("customers", customer="C000003", customer_tab="All customers")
    app.text_input("search").set_value("zzz").run()
    assert not app.exception
    assert app.selectbox("customer").value == "C000003"
    assert "No customer matches" in texts(app)


def test_the_filter_by_plan_and_the_order_by_history(workspace, open_page):
    app = open_page("customers", customer_tab="All customers", threshold="1")
    app.selectbox("source").select("model").run()
    app.selectbox("sort").select("longest history first").run()
    table = app.dataframe[0].value
    everybody = scores_of(workspace)
    assert table["events"].tolist() == sorted(everybody.n_events[everybody.n_events > 0], reverse=True)[: len(table)]
    assert set(table["from"]) == {"the model's plan"}


# ---- parts that are missing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", customer_panels.TABS)
def test_without_events_every_tab_works(parts, open_page, texts, tab):
    app = open_page("customers", cohort="profiles", customer_tab=tab)
    assert not app.exception
    assert "Plan before the policy: no action." in texts(app) or "No action left" in texts(app)
    assert tab != "History" or "No history" in texts(app)


@pytest.mark.parametrize("tab", customer_panels.TABS)
def test_without_labels_and_with_nasty_names_every_tab_works(parts, open_page, texts, tab):
    app = open_page("customers", cohort="events", customer=NASTY, customer_tab=tab)
    assert not app.exception
    assert metrics(app)["Churn probability"] == "–"
    flat = " ".join(NASTY.replace("**", "").split())
    assert flat in texts(app).replace("\n", " ")


def test_without_data_it_says_where_to_get_some(empty_workspace, open_page, texts):
    assert "No customers yet" in texts(open_page("customers"))


def test_with_a_failed_run_the_one_that_works_is_shown(workspace, open_page):
    result = workspace / "runs" / "second" / "result.json"
    result.write_text(json.dumps(json.loads(result.read_text()) | {"state": "failed", "reason": "x", "models": {}}))
    app = open_page("customers")
    assert not app.exception
    assert metrics(app)["Churn probability"] == f"{scores_of(workspace, 'first').churn_p.max():.1%}"


def test_a_cohort_that_changed_after_it_was_scored_says_so(workspace, open_page, texts):
    shutil.rmtree(workspace / "cohorts" / "small")
    workflow.generate(workspace / "cohorts" / "small", scenario="lifelike", customers=3, seed=9)
    app = open_page("customers", customer="C000120")
    assert not app.exception
    assert "The cohort has changed since it was scored" in texts(app)


def test_why_a_customer_is_at_risk_adds_up_on_the_page(workspace, open_page, texts):
    name = str(scores_of(workspace).customer_id[3])
    app = open_page("customers", customer=name)
    assert not app.exception
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    bars = spec["data"][0]
    assert (bars["type"], bars["measure"][0], bars["measure"][-1]) == ("waterfall", "absolute", "total")
    p = float(scores_of(workspace).churn_p[3])
    assert sum(bars["x"][:-1]) == pytest.approx(100 * p, abs=0.1)
    assert bars["text"][-1] == f"{p:.1%}"
    assert "Raises the risk" in texts(app)
    assert "Lowers the risk" in texts(app)
    assert " points" in texts(app)


def test_why_a_step_adds_up_and_links_to_the_attention_of_the_same_model(workspace, open_page, texts):
    row, name = longest(workspace)
    app = open_page("customers", customer=name, customer_tab="Why these steps", threshold="0")
    assert not app.exception
    plans = scores_of(workspace).plans
    for step in (1, 3):
        app.get_by_key("explained_step").set_value(step).run()
        bars = json.loads(app.get("plotly_chart")[0].proto.spec)["data"][0]
        p = float(plans.step_p[row, step - 1])
        assert sum(bars["x"][:-1]) == pytest.approx(100 * p, abs=0.1)
        assert bars["text"][-1] == f"{p:.1%}"
    assert "Raises the probability" in texts(app)
    assert "moves the probability of the first step by" in texts(app)
    (link,) = (one.proto for one in app.get("page_link") if one.proto.label == "What the model looks at")
    assert f"customer={name}" in link.query_string
    assert "attention_model=Next+action" in link.query_string


def test_what_would_help_is_below_the_threshold_or_says_that_nothing_is(workspace, open_page, texts):
    everybody = scores_of(workspace)
    threshold = float(np.floor(100 * np.quantile(everybody.churn_p, 0.5)) / 100)
    row = int(np.argmin(np.where(everybody.churn_p > threshold + 1e-4, everybody.churn_p, 2)))
    address = {"customer": str(everybody.customer_id[row]), "customer_tab": "What would help"}
    app = open_page("customers", threshold=str(threshold), **address)
    assert not app.exception
    assert "There is nothing to try" in texts(app), "the paper's churn model sees no events"
    columns = ["age", "income", "tier"]
    app.multiselect("ours_to_change_small").set_value(columns).run()
    assert not app.exception
    found = reasons.counterfactual(store.run_card("second"), row, threshold, columns, None)
    assert found.changes
    assert f"the churn probability falls from {found.churn_p:.1%} to {found.new_p:.1%}" in texts(app)
    table = app.dataframe[0].value
    assert table["churn probability"].tolist() == pytest.approx([100 * p for _, p in found.alone])
    assert any(change.startswith("set tier to ") for change in table["change"])
    app.slider("threshold").set_value(0.0).run()
    assert "No plausible change brings this customer below the threshold of 0.00" in texts(app)
    app.slider("threshold").set_value(1.0).run()
    assert "so nothing has to change" in texts(app)


def test_the_drivers_of_a_filtered_list_are_shown_with_their_faithfulness(workspace, open_page, texts):
    app = open_page("customers", customer_tab="All customers", threshold="0")
    app.toggle("drivers_of_many").set_value(True).run()
    assert not app.exception
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert spec["layout"]["title"]["text"] == "What drives the risk of all customers"
    assert "replacing three at random, by" in texts(app)


def test_a_run_without_a_churn_model_opens_on_why_the_steps(parts, open_page):
    app = open_page("customers", cohort="events", run="events", customer="C000003")
    assert not app.exception
    assert app.session_state["customer_tab"] == "Why these steps"


def test_customers_without_any_action_say_so_once(parts, open_page, texts):
    app = open_page("customers", cohort="profiles", run="profiles", customer="C000003", threshold="1")
    assert not app.exception
    assert texts(app).count("There is no action to propose") == 1
    assert "No action left" not in texts(app)


def test_a_history_of_one_moment_has_days_on_its_axis():
    when = pd.Timestamp("2026-03-10 09:00")
    events = decision_charts.TimedEvents(when=[when], action=["Call"], value=[float("nan")], seen=[True])
    axis = decision_charts.timeline(events, unit="date").layout.xaxis.range
    assert axis == (when - pd.Timedelta(days=15), when + pd.Timedelta(days=15))
    two = decision_charts.TimedEvents(when=[1.0, 2.0], action=["a", "b"], value=[float("nan")] * 2, seen=[True] * 2)
    assert decision_charts.timeline(two, unit="days").layout.xaxis.range is None
