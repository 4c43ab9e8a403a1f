"""Scores by group on the evaluation page, and the customers of a group in the lists."""

import json

import pytest
from streamlit.util import AttributeDictionary

from crm_models.data.profile import SEGMENT, group_customers
from crm_models.data.storage import load_cohort
from dashboard.panels import customer_list, slices
from dashboard.state import predictions, store


def test_groups_show_both_models_worst_first(workspace, open_page, texts):
    app = open_page("evaluate", evaluate_tab="Groups")
    assert not app.exception
    titles = [json.loads(c.proto.spec)["layout"]["title"]["text"] for c in app.get("plotly_chart")]
    assert titles[-3:] == [
        "Predicted and observed churn by group",
        "Correct next actions by group",
        "Planned steps by group",
    ]
    assert app.selectbox("slices_by").options[:3] == [SEGMENT, "length of history", "time since the last event"]
    app.selectbox("slices_by").set_value("tier").run()
    assert not app.exception
    assert app.selectbox("slice_of_tier").options


def test_a_run_without_events_is_grouped_by_its_profile(parts, open_page):
    app = open_page("evaluate", cohort="profiles", run="profiles", evaluate_tab="Groups")
    assert not app.exception
    assert SEGMENT not in app.selectbox("slices_by").options


@pytest.mark.parametrize("by", [SEGMENT, "tier"])
def test_the_list_of_a_group_holds_its_customers(workspace, by):
    card = store.run_card("second")
    scores = store.scores(card)
    codes, names = group_customers(load_cohort(workspace / "cohorts" / "small"), by)
    for k, name in enumerate(names):
        wanted = customer_list.Filter(by=by, group=name, sort="in the order of the cohort")
        rows = customer_list.filtered(card, scores, customer_list.Policy(), wanted)
        assert rows.tolist() == [row for row in range(120) if codes[row] == k]
    some = scores.customer_id[[5, 3, 100]]
    assert predictions.groups_of(card, some, by)[0].tolist() == codes[[5, 3, 100]].tolist()


def test_the_plans_of_each_group_are_counted_and_a_click_opens_its_customers(workspace, open_page, monkeypatch):
    app = open_page("evaluate", evaluate_tab="Groups", threshold="0.7")
    app.selectbox("slices_by").set_value("tier").run()
    bars = json.loads(app.get("plotly_chart")[-1].proto.spec)["data"]
    codes, names = group_customers(load_cohort(workspace / "cohorts" / "small"), "tier")
    at_risk = store.scores(store.run_card("second")).churn_p > 0.7
    first = bars[0]["customdata"][0]
    assert first == [names[0], int((codes == 0).sum()), int((at_risk & (codes == 0)).sum())]
    assert sum(bar["x"][0] for bar in bars) == pytest.approx(1)
    opened = {}
    monkeypatch.setattr(slices.st, "switch_page", lambda page, query_params: opened.update(page=page, **query_params))
    app.session_state["plan_slices"] = AttributeDictionary(selection={"points": [{"y": 0}], "point_indices": [0]})
    app.run()
    assert opened["customer_tab"] == "All customers"
    assert (app.session_state["group_by"], app.session_state["group"]) == ("tier", names[0])


def test_the_filter_lists_a_group(workspace, open_page, texts):
    app = open_page("customers", customer_tab="All customers")
    app.selectbox("group_by").set_value("tier").run()
    app.selectbox("group").set_value("basic").run()
    assert not app.exception
    tiers = load_cohort(workspace / "cohorts" / "small").customers.set_index("customer_id")["tier"]
    listed = app.dataframe[-1].value["customer"]
    assert len(listed) == (tiers == "basic").sum()
    assert set(tiers[listed]) == {"basic"}
