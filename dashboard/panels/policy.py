"""Policy controls, shared by pages and kept in the address: threshold, mode, intensity, retention actions."""

from __future__ import annotations

import streamlit as st

from crm_models.core.errors import CrmError
from crm_models.core.schema import DEFAULT_RETENTION_ACTIONS, DEFAULT_THRESHOLD, PLAN_MODES
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
from dashboard.charts import digits
from dashboard.panels import widgets
from dashboard.state import session, store, view

ABOUT = (
    "**Override** replaces the whole plan of a customer at risk with the three retention actions. **Graded** starts "
    "the plan with one to three of them, more the further the risk is above the threshold; the model's best steps "
    "follow. **Intensity** sets how fast the number grows: at 0 nothing changes, at 1 a churn probability of 100% "
    "gives three."
)


def threshold(risk: RiskIndex | None, card: store.RunCard) -> float:
    """Draw the slider, and below it the threshold that fits this run, or that the chosen one flags nobody.

    The slider is shared by pages and kept in the address. risk: of all customers of the run's cohort; None while it is
    unknown.
    """
    view.current().threshold = chosen = st.slider(
        "Churn threshold",
        0.0,
        1.0,
        DEFAULT_THRESHOLD,
        0.01,
        key=session.THRESHOLD,
        bind="query-params",
        help="Customers with a higher churn probability are at risk, and their plans switch to retention actions.",
    )
    if risk is not None:
        _suggestion(risk, card, chosen)
    return chosen


def _suggestion(risk: RiskIndex, card: store.RunCard, chosen: float) -> None:
    """Draw the threshold that fits this run, with a button to use it; a warning if the chosen one flags nobody."""
    if lacking := _no_better_than_chance(card):
        st.markdown(f":material/warning: {lacking}")
    better = risk.suggested(session.economics(), _churn_rate(card))
    if better is None or risk.highest is None:
        return
    basis = "Best by value" if better.basis == "value" else "To flag as many as have churned"
    customers = digits.count(better.n_at_risk, "customer")
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if risk.n_at_risk(chosen):
            st.caption(
                f"Paper: {DEFAULT_THRESHOLD:.2f}. {basis}: {better.threshold:.2f} ({customers}).", width="content"
            )
        else:
            st.markdown(
                f":material/warning: **Nobody exceeds {chosen:.2f}**: the highest churn probability is "
                f"{digits.share(risk.highest)}. {basis}: **{better.threshold:.2f}** ({customers}).",
                width="content",
            )
        if better.threshold != chosen:
            st.button(
                f"Use {better.threshold:.2f}",
                key="use_suggested",
                type="tertiary" if risk.n_at_risk(chosen) else "primary",
                on_click=session.use_threshold,
                args=(better.threshold,),
                help=None
                if better.basis == "churn rate"
                else "Change cost, value and success rate on the plans page, under Best threshold.",
            )


def _no_better_than_chance(card: store.RunCard) -> str:
    """A sentence if the run ranks its held-out customers no better than chance does; "" if it does or is not known."""
    score = widgets.score_of((store.report(card) or {}).get("churn") or {}, "auc", "AUC")
    if score is None or score.low is None or score.chance is None or score.low > score.chance:
        return ""
    return (
        "**On held-out customers this churn model is not shown to be better than chance** "
        f"(AUC {score.ours:.2f}, 95% from {score.low:.2f}; chance {score.chance:.2f}): whom a threshold flags says "
        "little. See Evaluate."
    )


def _churn_rate(card: store.RunCard) -> float | None:
    try:
        return store.cohort_card(card.cohort).facts.churn_rate
    except CrmError:
        return None


def policy_row() -> Policy:
    """Draw mode, intensity and retention actions in a row; returns the policy."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        mode = st.radio(
            "Above the threshold",
            list(PLAN_MODES),
            horizontal=True,
            key=session.MODE,
            bind="query-params",
            help=ABOUT,
        )
        st.radio(
            "Plans made for",
            list(store.PLANS_FOR),
            horizontal=True,
            key=store.PLAN_FOR,
            bind="query-params",
            help="**Whole plans**: the three steps that are most probable together, for a series that is carried out "
            "as planned. **Single steps**: at each step the action that is most probable there, whatever the others "
            "are, for offers made one at a time. The evaluation page shows how often each is right.",
        )
        if mode == "graded":
            st.number_input(
                "Intensity", 0.0, 10.0, 1.0, 0.1, key=session.INTENSITY, bind="query-params", width=130, help=ABOUT
            )
        with st.popover("Retention actions", icon=":material/edit:"):
            st.markdown("Actions to keep a customer, in this order. Use the names from your CRM system.")
            for k, (key, default) in enumerate(zip(session.RETENTION, DEFAULT_RETENTION_ACTIONS, strict=True), 1):
                st.text_input(f"Retention action {k}", default, key=key, bind="query-params", max_chars=80)
    policy = session.policy()
    entered = tuple(st.session_state.get(key) or "" for key in session.RETENTION)
    if policy.retention_actions != entered:
        st.warning(
            "Three different retention actions are needed, none blank. Until then the defaults are used.",
            icon=":material/warning:",
        )
    return policy
