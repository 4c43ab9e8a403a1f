"""Attention: the map by layer and head, the effect beside it, for many customers and for one; long histories."""

import json

import numpy as np
import pytest

from crm_models.inference.effects import AttentionMap
from crm_models.inference.score_store import read_scores
from dashboard.panels import attention as attention_panels
from dashboard.panels import customer_list
from dashboard.state import store
from tests.dashboard.conftest import NASTY


def chart(app, title: str) -> dict:
    """The figure with this title."""
    specs = [json.loads(found.proto.spec) for found in app.get("plotly_chart")]
    return next(spec for spec in specs if spec["layout"]["title"]["text"] == title)


def heatmap(app) -> np.ndarray:
    return np.array(chart(app, "Attention map")["data"][0]["z"], dtype=float)


def explained(model, row=None, run="second"):
    return attention_panels.explanation(store.run_card(run), model, row)


def test_it_opens_on_the_average_with_the_effects_beside(workspace, open_page, texts):
    app = open_page("attention")
    assert not app.exception
    found = explained("sequence")
    expected = found.attention.weights.mean(axis=(0, 1))
    assert heatmap(app) == pytest.approx(expected, abs=1e-5)
    bars = chart(app, "Effect on the prediction")["data"]
    assert bars[0]["x"] == (100 * found.effects.table().sort_values("effect_rank")["effect"]).tolist()
    assert f"Over {found.attention.n_customers} customers" in texts(app)
    assert " ".join(found.effects.note().split()) in texts(app)


def test_axes_carry_the_names_of_actions_events_and_features(workspace, open_page):
    app = open_page("attention")
    app.get_by_key("attention_model").set_value("churn").run()
    names = chart(app, "Attention map")["layout"]["yaxis"]["ticktext"]
    assert names[0] == "summary"
    assert {"age", "income", "tier"} <= set(names)
    assert chart(app, "Attention map")["layout"]["xaxis"]["ticktext"] == names
    name = str(read_scores(workspace / "runs" / "second" / "scores" / "small.parquet").customer_id[5])
    app = open_page("attention", customer=name)
    names = chart(app, "Attention map")["layout"]["yaxis"]["ticktext"]
    assert names[-1].split(". ")[1] in store.run_card("second").folder.encoder().action_labels


def test_a_link_names_the_model_and_one_customer_leads_back_to_the_reasons(workspace, open_page):
    name = str(read_scores(workspace / "runs" / "second" / "scores" / "small.parquet").customer_id[5])
    for model, tab in (("churn", "Why this risk"), ("sequence", "Why these steps")):
        app = open_page("attention", customer=name, attention_model=customer_list.PREDICTIONS[model])
        assert app.get_by_key("attention_model").value == model
        (link,) = (one.proto for one in app.get("page_link") if tab in one.proto.label)
        assert f"customer={name}" in link.query_string
        assert f"customer_tab={tab.replace(' ', '+')}" in link.query_string


def test_layer_and_head_choose_what_is_shown(workspace, open_page):
    app = open_page("attention")
    weights = explained("sequence").attention.weights
    app.selectbox("attention_layer").select("layer 1")
    app.selectbox("attention_head").select("head 2").run()
    assert not app.exception
    assert heatmap(app) == pytest.approx(weights[0, 1], abs=1e-5)
    assert heatmap(app) != pytest.approx(weights[0, 0], abs=1e-5)


@pytest.mark.parametrize("model", ["sequence", "churn"])
def test_one_customer_from_the_address_is_explained(workspace, open_page, texts, model):
    everybody = read_scores(workspace / "runs" / "second" / "scores" / "small.parquet")
    row = int(np.argmax(everybody.n_events))
    app = open_page("attention", customer=str(everybody.customer_id[row]))
    app.get_by_key("attention_model").set_value(model).run()
    assert not app.exception
    found = explained(model, row)
    assert f"For this customer: {found.effects.outcome}, probability {found.effects.probability:.1%}" in texts(app)
    if model == "churn":
        assert found.effects.probability == pytest.approx(everybody.churn_p[row], abs=1e-5)


def test_the_row_that_the_prediction_is_read_from_is_framed(workspace, open_page):
    fig = chart(open_page("attention"), "Attention map")
    reader = explained("sequence").attention.reader
    assert [(shape["y0"], shape["y1"]) for shape in fig["layout"]["shapes"]] == [(reader - 0.5, reader + 0.5)]


def test_an_unknown_customer_is_told(workspace, open_page, texts):
    app = open_page("attention", customer="<i>nobody</i>")
    assert not app.exception
    assert "No customer of this cohort has the id <i>nobody</i>" in texts(app)


def test_a_customer_without_history_has_nothing_to_explain(workspace, open_page, texts):
    everybody = read_scores(workspace / "runs" / "second" / "scores" / "small.parquet")
    without = np.flatnonzero(everybody.n_events == 0)
    assert len(without)
    app = open_page("attention", customer=str(everybody.customer_id[without[0]]))
    assert not app.exception
    assert "Nothing to explain" in texts(app)


def long_map(n: int, reader: int) -> AttentionMap:
    """Position k is looked at k times as much as the first; position 7 is not looked at and does not look."""
    weights = np.tile(np.arange(1.0, n + 1), (n, 1))
    weights[7, :] = weights[:, 7] = 0
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    names = tuple(f"{k}. event" for k in range(n))
    return AttentionMap(model="sequence", tokens=names, weights=weights[None, None], reader=reader, n_customers=1)


def test_of_a_long_history_the_most_looked_at_are_kept_in_their_order():
    kept = attention_panels.kept_tokens(long_map(100, reader=50), limit=5)
    assert kept.tolist() == [0, 50, 97, 98, 99]


def test_what_neither_looks_nor_is_looked_at_is_left_out():
    assert attention_panels.kept_tokens(long_map(10, reader=9)).tolist() == [0, 1, 2, 3, 4, 5, 6, 8, 9]


def test_a_cohort_without_events_explains_the_churn_model_alone(parts, open_page):
    app = open_page("attention", cohort="profiles")
    assert not app.exception
    assert app.get_by_key("attention_model").options == ["Churn"]
    assert "all past events" not in chart(app, "Attention map")["layout"]["yaxis"]["ticktext"]


def test_nasty_names_stay_text_in_a_cohort_without_labels(parts, open_page, texts):
    app = open_page("attention", cohort="events", customer=NASTY)
    assert not app.exception
    assert app.get_by_key("attention_model").options == ["Next action"]
    names = chart(app, "Attention map")["layout"]["yaxis"]["ticktext"]
    assert all("<b>" not in name for name in names)
    assert any("&lt;b&gt;x&lt;/b&gt;" in name for name in names)


def test_without_data_it_says_where_to_get_some(empty_workspace, open_page, texts):
    assert "No customers yet" in texts(open_page("attention"))


def test_damaged_weights_are_told_and_break_nothing(workspace, open_page, texts):
    for run in ("first", "second"):
        (workspace / "runs" / run / "weights.safetensors").write_bytes(b"damaged")
    app = open_page("attention")
    assert not app.exception
    assert "cannot be explained" in texts(app)
