"""What if: another profile or history of a customer, and the risk and plan that the models predict then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.schema import ACTION, CUSTOMER_ID, LABEL, N_STEPS, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.planning.plans import Plans, make_plans
from crm_models.planning.policy import Policy
from dashboard.charts import digits
from dashboard.panels import widgets
from dashboard.state import access, predictions, store
from dashboard.state.predictions import Customer

REMOVABLE = 40
ADDED = "what_if_added"


def of_customer(card: store.RunCard, customer: Customer, policy: Policy) -> None:
    """Draw controls that change profile or history, and the risk and plan that the models predict then."""
    customer_id = str(customer.cohort.customers[CUSTOMER_ID].iloc[0])
    st.markdown("Change features or events of this customer to see a new prediction. Nothing is saved.")
    left, right = st.columns(2)
    with left:
        profile = _changed_profile(card, customer, customer_id)
    with right:
        events = _changed_events(customer, customer_id)
    with st.spinner("Predicting", show_time=True):
        models = predictions.models(card)
        catalogue = predictions.catalogue(card, policy)
        plans = []
        for cohort in (customer.cohort, _rebuilt(customer.cohort, profile, events)):
            scores = models.score(cohort, customer.moment, customer.now_days)
            plans.append(make_plans(scores, catalogue, policy))
    _comparison(*plans)


def _changed_profile(card: store.RunCard, customer: Customer, customer_id: str) -> pd.DataFrame:
    encoder = card.folder.encoder()
    hidden = access.personal()
    numbers = {f.name: f for f in encoder.numeric if f.name not in hidden}
    levels = {f.name: f for f in encoder.categorical if f.name not in hidden}
    customers = customer.cohort.customers.copy()
    changed = st.multiselect(
        "Change features", [*numbers, *levels], key=f"what_if_features_{customer_id}", placeholder="None"
    )
    for name in changed:
        value, key = customers[name].iloc[0], f"what_if_{name}_{customer_id}"
        if name in numbers:
            number = st.number_input(widgets.plain(name), value=None if pd.isna(value) else float(value), key=key)
            customers[name] = pd.Series([np.nan if number is None else number], dtype="float64")
        else:
            options = [str(level) for level in levels[name].levels]
            at = options.index(str(value)) if str(value) in options else None
            level = st.selectbox(widgets.plain(name), options, index=at, key=key, placeholder="missing")
            customers[name] = pd.Series([level], dtype="object")
    return customers


def _changed_events(customer: Customer, customer_id: str) -> pd.DataFrame:
    events, labels = customer.cohort.interactions, customer.event_labels
    seen = np.flatnonzero(customer.seen)[-REMOVABLE:][::-1]
    ago = customer.now_days - customer.cohort.event_days
    names = {int(k): f"{labels[k]}, {ago[k]:.0f} days before" for k in seen}
    removed = st.multiselect(
        "Remove events",
        list(names),
        format_func=names.__getitem__,
        key=f"what_if_removed_{customer_id}",
        placeholder="None",
    )
    kept = events.drop(index=events.index[removed])
    added = _added(customer, customer_id)
    if not added:
        return kept
    actions = customer.cohort.actions
    name_of = dict(zip(actions[LABEL], actions[ACTION], strict=True))
    # Strictly before the moment of planning, because the models do not see later events.
    moments = customer.now_days - np.maximum([ago for _, ago in added], 1e-3)
    when: Any = pd.to_datetime(moments * 86_400e6, unit="us") if customer.cohort.is_dated else moments
    new = pd.DataFrame(
        {
            CUSTOMER_ID: customer_id,
            ACTION: [name_of[label] for label, _ in added],
            TIMESTAMP: pd.Series(when).astype(events[TIMESTAMP].dtype),
            VALUE: np.nan,
        }
    )
    plain_events = kept.astype({CUSTOMER_ID: "str", ACTION: "str"})
    return pd.concat([plain_events, new], ignore_index=True) if len(kept) else new


def _added(customer: Customer, customer_id: str) -> list[tuple[str, float]]:
    """Draw the controls to add events; returns (action label, days before the moment of planning) of each."""
    key = f"{ADDED}_{customer_id}"
    added: list[tuple[str, float]] = st.session_state.setdefault(key, [])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        action = st.selectbox("Add an event", customer.cohort.actions[LABEL].tolist(), key=f"{key}_action", width=230)
        ago = st.number_input("Days before", 0.0, 36_500.0, 1.0, 1.0, key=f"{key}_ago", width=130)
        if st.button("Add", icon=":material/add:", key=f"{key}_add") and len(added) < REMOVABLE:
            added.append((str(action), float(ago)))
        if added and st.button("Clear", icon=":material/close:", key=f"{key}_clear"):
            added.clear()
    if added:
        st.caption("Added: " + "; ".join(f"{widgets.plain(label, 60)}, {ago:g} days before" for label, ago in added))
    return added


def _rebuilt(cohort: Cohort, customers: pd.DataFrame, events: pd.DataFrame) -> Cohort:
    return Cohort.build(
        name=cohort.name,
        source=cohort.source,
        customers=customers,
        interactions=events,
        actions=cohort.actions,
        as_of=cohort.as_of,
        outcome=cohort.outcome,
    )


def _comparison(before: Plans, after: Plans) -> None:
    p, q = float(before.churn_p[0]), float(after.churn_p[0])
    labels = before.catalogue.labels
    with st.container(horizontal=True):
        verdicts = ["no churn model" if np.isnan(r) else "at risk" if m.at_risk[0] else "not at risk"
                    for r, m in ((p, before), (q, after))]  # fmt: skip
        widgets.metric("Current churn probability", digits.share(p), verdicts[0], height="content")
        is_changed = not (np.isnan(p) or np.isnan(q)) and p != q
        st.metric(
            "New churn probability",
            digits.share(q),
            f"{digits.points(q - p)}, {verdicts[1]}" if is_changed else f"no change, {verdicts[1]}",
            border=True,
            delta_color="inverse" if is_changed else "off",
            delta_arrow="auto" if is_changed else "off",
        )
    table = pd.DataFrame(
        {
            "step": range(1, N_STEPS + 1),
            "current": [labels[a] if a >= 0 else "" for a in before.action[0]],
            "new": [labels[a] if a >= 0 else "" for a in after.action[0]],
            "changed": ["yes" if a != b else "" for a, b in zip(before.action[0], after.action[0], strict=True)],
        }
    )
    st.dataframe(table, hide_index=True, alt="Current and new plan")
    same_plan = (before.action[0] == after.action[0]).all()
    plan_change = "plan would not change." if same_plan else "plan would change."
    if before.at_risk[0] == after.at_risk[0]:
        st.markdown(f"The {plan_change}")
    else:
        risk = "be at risk" if after.at_risk[0] else "no longer be at risk"
        st.markdown(f"The customer would **{risk}**, and the {plan_change}")
