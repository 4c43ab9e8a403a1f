"""Sections of the customers page: risk, plan, history, profile and what-if of a customer, and the list of all."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.records import CustomerScores
from crm_models.core.schema import CUSTOMER_ID, N_STEPS, STEP_SOURCES, TIMESTAMP, VALUE
from crm_models.planning.plans import STEP_MODEL, STEP_RETENTION, Plans, reasons
from crm_models.planning.policy import Policy
from dashboard.charts import decision as decision_charts
from dashboard.charts import digits
from dashboard.panels import counterfactual as counterfactual_panels
from dashboard.panels import customer_list, stability, widgets
from dashboard.panels import drivers as driver_panels
from dashboard.panels import plans as plans_panels
from dashboard.panels import policy as policy_panels
from dashboard.panels import what_if as what_if_panels
from dashboard.state import predictions, session, store, view
from dashboard.state.predictions import Customer

OPTIONS = 200
"""Most customers in the select box; a search narrows them down, so that a million are never sent to the browser."""
MATCHES = 6
"""Matches of a search that are drawn as buttons."""
TABS = ("Why this risk", "Why these steps", "What would help", "History", "Profile", "What if", "All customers")
BADGES = {
    "model": ":blue-badge[:material/model_training: model]",
    "retention": ":green-badge[:material/favorite: retention]",
    "fallback": ":gray-badge[:material/trending_up: popular action]",
}


@st.fragment
@widgets.guarded("This customer cannot be shown:")
def look(card: store.RunCard) -> None:
    """Draw the selected customer; as a fragment, so that another selection reruns only this part."""
    all_scores = store.scores(card)
    assert all_scores is not None  # the page asked for them first
    row = choose(card, all_scores)
    policy = session.policy()
    if row is not None:
        plans = predictions.plans(card, all_scores, np.array([row]), policy)
        _risk(card, plans)
        _steps(plans)
        stability.of_customer(card, plans)
    time.sleep(plans_panels.PAINT_SECONDS)
    has_churn = not np.isnan(all_scores.churn_p).all()
    default = TABS[0] if has_churn else TABS[1]
    why, why_steps, would_help, history, profile, what_if, all_customers = st.tabs(
        TABS, default=default, key="customer_tab", on_change="rerun", bind="query-params"
    )
    if all_customers.open or row is None:
        with all_customers:
            everyone(card, all_scores, policy)
        return
    customer = _customer(card, all_scores, row)
    if customer is None:
        return
    if why.open or would_help.open:
        with why if why.open else would_help:
            if not has_churn:
                widgets.empty_state("person_off", "No churn risk available", "This run has no churn model.")
            elif why.open:
                driver_panels.of_customer(card, row)
            else:
                counterfactual_panels.of_customer(card, row)
    elif why_steps.open:
        with why_steps:
            driver_panels.of_steps(card, row)
    elif profile.open:
        with profile:
            _profile(card, customer)
    elif what_if.open:
        with what_if:
            what_if_panels.of_customer(card, customer, policy)
    else:
        with history:
            _history(customer)


# ---- selection -------------------------------------------------------------------------------------------------------


def choose(card: store.RunCard, scores: CustomerScores) -> int | None:
    """Draw the search and the select box; returns the row of the selected customer, or None."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = customer_list.search_box("Search", f"Part of an id ({len(scores.customer_id):,} customers)")
        names = _options(predictions.scores_mark(card), card, scores, search)
        chosen = st.session_state.get(session.CUSTOMER) or st.query_params.get(session.CUSTOMER)
        customer_id = st.selectbox(
            "Customer",
            names if chosen is None or chosen in names else [*names, chosen],
            key=session.CUSTOMER,
            bind="query-params",
            accept_new_options=True,
            filter_mode="contains",
            placeholder="Select one, or type an id",
            help=f"The {OPTIONS} matching customers with the highest risk; you can also type any id.",
            width=300,
        )
    if search:
        _matches(names, customer_id)
    if not customer_id:
        customer_list.nobody()
        return None
    row = predictions.row_of(card, scores, customer_id)
    if row is None:
        st.warning(
            f"No customer of this cohort has the id {widgets.plain(customer_id, 60)}.", icon=":material/search_off:"
        )
        nearest = predictions.nearest_id(card, scores, customer_id)
        st.button(
            f"Open {widgets.plain(nearest, 48)}", type="primary", on_click=_select, args=(nearest,), key="open_nearest"
        )
    return row


def _matches(names: list[str], chosen: str | None) -> None:
    """Draw the first matches of the search as buttons."""
    with st.container(horizontal=True, gap="small"):
        for k, name in enumerate(names[:MATCHES]):
            st.button(
                widgets.plain(name, 40), key=f"match_{k}", on_click=_select, args=(name,), disabled=name == chosen
            )
        found = digits.count(len(names), "match", "matches") if len(names) < OPTIONS else f"{OPTIONS} matches or more"
        st.caption(f"{found}, highest risk first" if len(names) > 1 else found)


def _select(customer_id: str) -> None:
    """Callback: select a customer."""
    st.session_state[session.CUSTOMER] = customer_id


@st.cache_data(max_entries=64, show_spinner=False)
def _options(mark: str, _card: store.RunCard, _scores: CustomerScores, search: str) -> list[str]:
    rows = customer_list.filtered(_card, _scores, Policy(), customer_list.Filter(search=search))[:OPTIONS]
    return [str(name) for name in _scores.customer_id[rows]]


def _customer(card: store.RunCard, scores: CustomerScores, row: int) -> Customer | None:
    customer = None
    with widgets.guarded("This customer cannot be read:"):
        customer = predictions.customer(card.cohort, row)
        if customer is None or str(customer.cohort.customers[CUSTOMER_ID].iloc[0]) != str(scores.customer_id[row]):
            st.warning("The cohort has changed since it was scored. Train on it again.", icon=":material/warning:")
            customer = None
    return customer  # None if `guarded` showed an error


# ---- risk and plan ---------------------------------------------------------------------------------------------------


def _risk(card: store.RunCard, plans: Plans) -> None:
    p, threshold = float(plans.churn_p[0]), plans.policy.threshold
    known = not np.isnan(p)
    view.current().said["customer"] = (
        f"Customer {plans.customer_id[0]}: churn probability {digits.share(p)}. "
        f"Plan: {', then '.join(plans.catalogue.labels[a] for a in plans.action[0] if a >= 0) or 'no action'}."
    )
    with st.container(horizontal=True, vertical_alignment="top"):
        st.metric(
            "Churn probability",
            digits.share(p),
            border=True,
            width=220,
            delta=(("at risk" if plans.at_risk[0] else "not at risk") + f" at {threshold:.2f}")
            if known
            else "no churn model",
            delta_color=("red" if plans.at_risk[0] else "green") if known else "off",
            delta_arrow="off",
        )
        with st.container(width="stretch", gap="xsmall"):
            if known:
                side = "above" if plans.at_risk[0] else "not above"
                st.progress(p, f"Churn probability {digits.share(p)}, {side} the threshold of {threshold:.2f}")
            policy_panels.threshold(store.risk_index(card) if known else None, card)


def _steps(plans: Plans) -> None:
    """Draw the three steps as cards with source, probability, reason and runner-up, and the plan before the policy."""
    step_reasons = reasons(plans)[0]
    labels = plans.catalogue.labels
    if (plans.action[0] < 0).all():
        st.info("There is no action to propose, neither by a model nor by popularity.", icon=":material/info:")
        return
    with st.grid(N_STEPS, min_column_width=145):
        for k in range(N_STEPS):
            code, source = int(plans.action[0, k]), STEP_SOURCES[plans.step_source[0, k]]
            with st.container(border=True, height="stretch"):
                # One element for all lines, because the browser draws it faster than one for each.
                heading = f"**{widgets.plain(labels[code], 80)}**" if code >= 0 else "No action left"
                lines = [f":small[:gray[Step {k + 1}]]", heading]
                if code >= 0:
                    lines += [BADGES[source], "  \n".join(_step_details(plans, k, step_reasons[k]))]
                st.markdown("\n\n".join(filter(None, lines)))
    is_retention = plans.step_source[0] == STEP_RETENTION
    if is_retention.any():
        steps = "All steps are" if is_retention.all() else digits.count(int(is_retention.sum()), "step is", "steps are")
        why = step_reasons[int(is_retention.argmax())]
        st.markdown(f":material/favorite: {steps} for retention, because the {widgets.plain(why)}.")
    before = [widgets.plain(labels[a], 60) for a in plans.before[0] if a >= 0]
    if (plans.action[0] != plans.before[0]).any():
        st.markdown(f":material/history: Plan before the policy: {', then '.join(before) or 'no action'}.")
    elif not plans.at_risk[0] and (highest := places_below(float(plans.churn_p[0]))) is not None:
        st.caption(f"At a threshold of {highest:.2f} or lower, the plan would switch to retention actions.")


def places_below(p: float) -> float | None:
    """The highest position of the threshold slider below a probability; None if there is none."""
    if not p > 0:  # 0, or unknown
        return None
    return (math.ceil(round(100 * p, 4)) - 1) / 100


def _step_details(plans: Plans, k: int, reason: str) -> list[str]:
    """Lines below an action: probability and runner-up of a model step, or the reason for a popular action."""
    if plans.step_source[0, k] == STEP_RETENTION:
        return []  # one reason for all of them, below the steps
    if plans.step_source[0, k] != STEP_MODEL:
        return [f":small[{_sentence(reason)}]"]
    p, other, q = float(plans.step_p[0, k]), int(plans.runner_up[0, k]), float(plans.runner_up_p[0, k])
    lines = [f"Probability **{digits.share(p)}**"]
    if other >= 0:
        lines.append(f":small[Runner-up: {widgets.plain(plans.catalogue.labels[other], 60)}, {digits.share(q)}]")
    contrast = ", although the runner-up is more likely on its own" if other >= 0 and q > p else ""
    lines.append(f":small[From the most likely three-step sequence{contrast}.]")
    return lines


def _sentence(text: str) -> str:
    return widgets.plain(text[:1].upper() + text[1:] + ".", 240)


# ---- history and profile ---------------------------------------------------------------------------------------------


def _history(customer: Customer) -> None:
    events, seen = customer.cohort.interactions, customer.seen
    if not len(events):
        widgets.empty_state("timeline", "No history", "This customer has no events yet.")
        return
    dated = customer.cohort.is_dated
    last = events.iloc[-LONGEST:]
    widgets.chart(
        decision_charts.timeline(
            decision_charts.TimedEvents(
                when=last[TIMESTAMP].tolist(),
                action=customer.event_labels[-LONGEST:].tolist(),
                value=last[VALUE].tolist(),
                seen=seen[-LONGEST:].tolist(),
            ),
            unit="date" if dated else "time (days)",
            cut=customer.moment,
        ),
        key="timeline",
        alt=f"History of the customer: {len(events)} events",
        table=pd.DataFrame(
            {
                "when": events[TIMESTAMP],
                "action": customer.event_labels,
                "value": events[VALUE],
                "seen by the models": seen,
            }
        ).iloc[::-1],
        note="Each dot is an event. Hollow dots are events after the cut-off date: the models do not see them, and the "
        "plan can be checked against them.",
    )
    if len(events) > LONGEST:
        st.caption(f"The latest {LONGEST} of {len(events):,} events.")


LONGEST = 300


def _profile(card: store.RunCard, customer: Customer) -> None:
    outcome = {True: "churned", False: "stayed", None: "unknown"}[customer.churned]
    features = customer.profile
    table = pd.DataFrame(
        {
            "feature": ["outcome", "events in the history", *features.index],
            "value": [outcome, str(int(customer.seen.sum())), *[_text(value) for value in features]],
        }
    )
    st.dataframe(table, hide_index=True, alt="Profile of the customer", width="stretch")
    with st.container(horizontal=True):
        st.page_link(
            widgets.PAGES["attention"],
            label="Why? See which events and features matter for this customer",
            icon=":material/grid_on:",
            query_params=customer_list.link_to(str(customer.cohort.customers[CUSTOMER_ID].iloc[0])),
        )


def _text(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- all customers ---------------------------------------------------------------------------------------------------


def everyone(card: store.RunCard, scores: CustomerScores, policy: Policy) -> None:
    """Draw the customer list; a click on a row selects the customer."""
    list_filter = customer_list.filter_row(card, search=False)
    rows = customer_list.filtered(card, scores, policy, list_filter)
    if not len(rows):
        customer_list.nobody()
        return
    if not np.isnan(scores.churn_p).all() and st.toggle("What drives their risk", key="drivers_of_many"):
        who = "all customers" if len(rows) == len(scores.customer_id) else digits.count(len(rows), "customer")
        driver_panels.of_many(card, f"{who} ({list_filter.who})" if list_filter.who != "everybody" else who, rows)
    plans = predictions.plans(card, scores, customer_list.page_of(rows), policy)
    st.dataframe(
        customer_list.table(plans, has_churn=not np.isnan(scores.churn_p).all()),
        hide_index=True,
        key="customer_list",
        alt="Customers with their churn probability and plan",
        row_height=customer_list.TALL,
        column_config=customer_list.column_config(plans),
        on_select=_open,
        selection_mode="single-row",
    )
    st.session_state[LISTED] = [str(name) for name in plans.customer_id]
    customer_list.turn_pages(len(rows))


LISTED = "listed_customers"


def _open() -> None:
    """Callback of the list: select the customer in the clicked row."""
    rows = st.session_state["customer_list"]["selection"]["rows"]
    if rows:
        st.session_state[session.CUSTOMER] = st.session_state[LISTED][rows[0]]
