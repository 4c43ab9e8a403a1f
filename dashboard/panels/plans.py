"""Sections of the plans page: churn threshold, customers at risk, changed plans, best threshold, list and download."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from crm_models.core.records import CustomerScores
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import Economics, RiskIndex
from dashboard.charts import decision as decision_charts
from dashboard.charts import digits
from dashboard.panels import customer_list, stability, widgets
from dashboard.panels import policy as policy_panels
from dashboard.panels.plan_file import LAYOUTS, SCOPES, TEXTS, Bound, Export
from dashboard.state import predictions, session, store, view

TABS = ("Who is at risk", "What changes", "Best threshold", "The plans")
SHOWN = 200
"""Most customers in the table of those between two thresholds."""
PAINT_SECONDS = 0.04
EXPLAINED_PER_SECOND = 50
"""Customers whose drivers are computed in a second, on a usual machine."""
STEPS_EXPLAINED_PER_SECOND = 9
"""The same for customers whose steps are explained."""


@st.fragment
@widgets.guarded("The plans cannot be shown:")
def decide(card: store.RunCard, bound: Bound) -> None:
    """Draw the slider and everything that depends on it; as a fragment, so that moving it reruns only this part."""
    all_scores, risk = store.scores(card), store.risk_index(card)
    assert all_scores is not None and risk is not None  # the page asked for them first
    threshold = policy_panels.threshold(risk, card)
    policy = bound.policy = session.policy()
    n, at_risk = len(all_scores.customer_id), risk.n_at_risk(threshold)
    steps = risk.n_with_retention(policy)
    view.current().said["plans"] = (
        f"{at_risk:,} of {digits.count(n, 'customer')} are at risk, {steps[0]:,} plans change."
    )
    with st.container(horizontal=True):
        widgets.metric(
            "Customers at risk", f"{at_risk:,}", f"{digits.share(at_risk / max(n, 1))} of all", height="content"
        )
        widgets.metric("Plans changed", f"{steps[0]:,}", digits.count(sum(steps), "retention step"), height="content")
        stability.metric(card)
    # The browser paints updates that arrive together at once, and charts are slow: this lets the numbers appear first.
    time.sleep(PAINT_SECONDS)
    known = len(risk.rows) > 0
    at_risk_tab, changes, best, plans_tab = st.tabs(
        TABS, default=None if known else TABS[3], key="plans_tab", on_change="rerun", bind="query-params"
    )
    if plans_tab.open:
        with plans_tab:
            _list(card, all_scores, policy, bound)
    elif not known:
        with at_risk_tab if at_risk_tab.open else changes if changes.open else best:
            widgets.empty_state(
                "person_off", "No churn risk available", "Without churn probabilities, the threshold changes no plan."
            )
    elif changes.open:
        with changes:
            _what_changes(card, all_scores, risk, policy)
    elif best.open:
        with best:
            _best_threshold(risk, threshold)
    else:
        with at_risk_tab:
            _who_is_at_risk(predictions.scores_mark(card), threshold, all_scores.churn_p)


def _who_is_at_risk(mark: str, threshold: float, churn_p: np.ndarray) -> None:
    widgets.chart(
        _histogram(mark, threshold, churn_p),
        key="risk_histogram",
        alt="Customers by churn probability, with the threshold",
        table=_bins(mark, churn_p),
        note="Each bar counts customers in a range of two percentage points of churn probability. Red bars, to the "
        "right of the dotted line, are customers at risk. Moving the threshold across a high bar changes many plans; "
        "across an empty range, none.",
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _bins(mark: str, _churn_p: np.ndarray) -> pd.DataFrame:
    counts = predictions.risk_counts(mark, _churn_p)
    edges = np.linspace(0, 1, len(counts) + 1).round(2)
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], "customers": counts})


@st.cache_resource(max_entries=512, show_spinner=False)
def _histogram(mark: str, threshold: float, _churn_p: np.ndarray) -> go.Figure:
    """Cached for each of the slider's 101 positions, because building the figure is the slowest part of a move."""
    return decision_charts.at_threshold(_any_histogram(mark, _churn_p), threshold)


@st.cache_resource(max_entries=4, show_spinner=False)
def _any_histogram(mark: str, _churn_p: np.ndarray) -> go.Figure:
    return decision_charts.risk_histogram(predictions.risk_counts(mark, _churn_p), 0.5)


# ---- what changes ----------------------------------------------------------------------------------------------------


def _what_changes(card: store.RunCard, all_scores: CustomerScores, risk: RiskIndex, policy: Policy) -> None:
    mark = predictions.scores_mark(card)
    catalogue = predictions.catalogue(card, policy)
    with st.spinner("Computing all plans, once for these retention actions", show_time=True):
        mix = predictions.mix(mark, policy, all_scores, catalogue, risk)
    widgets.chart(
        decision_charts.before_after(mix, policy.retention_actions),
        key="mix",
        alt="Steps of all plans by action, before and after the policy",
        table=mix,
        note="How often each action occurs in all plans. **Pale**: before the policy. **Full**: with retention actions "
        "for customers at risk. Green: retention actions; blue: all others.",
    )
    st.header("Customers between two thresholds", anchor=False)
    other = st.slider("Compare with threshold", 0.0, 1.0, 0.6, 0.01, key="other_threshold", bind="query-params")
    rows = risk.flips(policy.threshold, other)
    low, high = sorted((policy.threshold, other))
    if not len(rows):
        st.caption(f"No churn probability is above {low:.2f} and at most {high:.2f}, so no plan differs.")
        return
    st.markdown(
        (f"**{len(rows):,} customers** have" if len(rows) > 1 else "**1 customer** has")
        + f" a churn probability above {low:.2f} and at most {high:.2f}: at risk at {low:.2f} but not at {high:.2f}."
    )
    flipped = rows[::-1][:SHOWN]
    plans = [predictions.plans(card, all_scores, flipped, replace(policy, threshold=at)) for at in (low, high)]
    labels = np.array([*plans[0].catalogue.labels, ""], dtype=object)
    table = pd.DataFrame(
        {
            "customer": plans[0].customer_id,
            "churn probability": (100 * plans[0].churn_p).round(1),
            **{
                f"plan at {at:.2f}": [", ".join(labels[a] for a in row if a >= 0) for row in plans_at.action]
                for at, plans_at in zip((low, high), plans, strict=True)
            },
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        alt="Customers at risk at only one of the thresholds, with both plans",
        row_height=customer_list.TALL,
        column_config={"churn probability": customer_list.risk_bar()}
        | {f"plan at {at:.2f}": st.column_config.TextColumn(width=280) for at in (low, high)},
    )
    if len(rows) > SHOWN:
        st.caption(f"The {SHOWN} highest risks of {len(rows):,} customers.")


# ---- the best threshold ----------------------------------------------------------------------------------------------


def _best_threshold(risk: RiskIndex, threshold: float) -> None:
    st.markdown("Enter the cost of a contact and the value of a kept customer to find the best threshold.")
    usual, keys = Economics(), session.ECONOMICS
    with st.grid(4, min_column_width=150, vertical_alignment="bottom"):
        st.number_input(
            "Cost per retention contact", 0.0, 1e9, usual.cost, 1.0, key=keys[0], persist_state="session",
            help="Cost of the three retention steps together, in your currency.",
        )  # fmt: skip
        st.number_input(
            "Value of a kept customer", 0.0, 1e9, usual.value, 10.0, key=keys[1], persist_state="session",
            help="Value of a customer who would have churned but stays, in your currency.",
        )  # fmt: skip
        st.number_input(
            "Success rate, %", 0.0, 100.0, 100 * usual.success_rate, 5.0, key=keys[2], persist_state="session",
            help="Share of contacted churners who stay. This is your assumption; the models do not estimate it.",
        )  # fmt: skip
        st.number_input(
            "Maximum contacts", 1, None, usual.capacity, 100, key=keys[3], persist_state="session",
            placeholder="no limit", help="With a limit, only the customers with the highest risk are contacted.",
        )  # fmt: skip
    table = risk.expected_value(**vars(session.economics()))
    best = table[table["best"]].iloc[0]
    best_threshold = float(best["threshold"])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"Best threshold **{best_threshold:.2f}**: {int(best['contacted']):,} contacted, about "
            f"{best['kept']:,.0f} kept, expected value {best['value']:,.0f} after costs."
            if best["value"] > 0
            else "With these numbers no contact pays off, so contact nobody."
        )
        st.button(
            f"Use {best_threshold:.2f}",
            icon=":material/check:",
            on_click=session.use_threshold,
            args=(best_threshold,),
            disabled=best_threshold == threshold,
            key="use_best",
        )
    widgets.chart(
        decision_charts.expected_value(table, threshold, "your currency"),
        key="expected_value",
        alt=f"Expected value by threshold; best at {best_threshold:.2f}",
        table=table.drop(columns="best"),
        note="Contacting a customer is worth *churn probability × success rate × value − cost*; the curve is the sum "
        "over all customers above the threshold. It relies on the probabilities, so check their calibration on the "
        "evaluation page first.",
    )


# ---- the list --------------------------------------------------------------------------------------------------------


def _list(card: store.RunCard, all_scores: CustomerScores, policy: Policy, bound: Bound) -> None:
    list_filter = bound.filter = customer_list.filter_row(card)
    rows = customer_list.filtered(card, all_scores, policy, list_filter)
    if not len(rows):
        customer_list.nobody()
        return
    plans = predictions.plans(card, all_scores, customer_list.page_of(rows), policy)
    selected = st.dataframe(
        customer_list.table(plans, has_churn=not np.isnan(all_scores.churn_p).all()),
        hide_index=True,
        key="plans_list",
        alt="Customers with their churn probability and plan",
        row_height=customer_list.TALL,
        column_config=customer_list.column_config(plans),
        on_select="rerun",
        selection_mode="single-row",
    )
    customer_list.turn_pages(len(rows))
    if selected.selection.rows:
        customer_id = str(plans.customer_id[selected.selection.rows[0]])
        with st.container(horizontal=True):
            for tab, label, icon in (
                ("Why this risk", f"Open {widgets.plain(customer_id, 40)}", "person_search"),
                ("Why these steps", "Why these steps", "balance"),
            ):
                if st.button(label, icon=f":material/{icon}:", key=f"open_customer_{icon}"):
                    link = customer_list.link_to(customer_id) | {"customer_tab": tab}
                    st.switch_page(widgets.PAGES["customers"], query_params=link)


# ---- download --------------------------------------------------------------------------------------------------------


def download(card: store.RunCard, bound: Bound) -> None:
    """Draw the download buttons; the file is made on click, in a thread of its own, with the policy of that moment."""
    all_scores, risk = store.scores(card), store.risk_index(card)
    assert all_scores is not None and risk is not None  # the page asked for them first
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scope = st.selectbox(
            "Download", list(SCOPES), format_func=SCOPES.__getitem__, key="download_scope", persist_state="session",
            width=220,
        )  # fmt: skip
        layout = st.selectbox(
            "Layout", list(LAYOUTS), format_func=LAYOUTS.__getitem__, key="download_layout", persist_state="session",
            width=220,
        )  # fmt: skip
        text = st.selectbox(
            "Text", list(TEXTS), format_func=TEXTS.__getitem__, key="download_text", persist_state="session", width=220,
            help="A spreadsheet runs text that begins with = + - or @ as a formula, so such ids and names get an "
            "apostrophe in front. A system that matches customers by id needs them exactly.",
        )  # fmt: skip
        with_drivers = "churn" in card.folder.trained() and layout == "long" and st.checkbox(
            "Why each is at risk", True, key="download_drivers", persist_state="session",
            help=f"Three columns more: the strongest drivers of each customer at risk. About "
            f"{widgets.duration(risk.n_at_risk(session.threshold()) / EXPLAINED_PER_SECOND)} at this threshold.",
        )  # fmt: skip
        n_rest = len(all_scores.customer_id) - risk.n_at_risk(session.threshold())
        with_step_drivers = "sequence" in card.folder.trained() and layout == "long" and st.checkbox(
            "Why each step", False, key="download_step_drivers", persist_state="session",
            help=f"Three columns more: the strongest drivers of each step that the model plans. About "
            f"{widgets.duration(n_rest / STEPS_EXPLAINED_PER_SECOND)} for all customers not at risk.",
        )  # fmt: skip
        export = Export(
            card,
            all_scores,
            risk,
            bound,
            scope=scope,
            layout=layout,
            api_exact=text == "exact",
            drivers=with_drivers,
            step_drivers=with_step_drivers,
        )
        export.buttons("Download plans (CSV)", key="download_plans", manifest_key="download_manifest", main=True)
