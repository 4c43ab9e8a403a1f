"""The viewer's policy, shared by the pages that act and kept in the address: threshold, mode, intensity, actions."""

from __future__ import annotations

import streamlit as st

from crm_models.core.schema import DEFAULT_RETENTION_ACTIONS, DEFAULT_THRESHOLD, PLAN_MODES
from crm_models.planning.policy import Policy
from dashboard.state import session

ABOUT = (
    "**Override** replaces the whole plan of a customer at risk by the three retention actions. **Graded** puts in "
    "one, two or three of them, the more the further the risk lies above the threshold; the model's best steps follow. "
    "**Intensity** says how fast it grows: at 0 nothing changes, at 1 a certain churner gets three."
)


def threshold_slider() -> float:
    """The slider, in the address and shared by the pages."""
    return st.slider(
        "Churn threshold",
        0.0,
        1.0,
        DEFAULT_THRESHOLD,
        0.01,
        key=session.THRESHOLD,
        bind="query-params",
        help="Customers whose churn probability lies above it are at risk, and their plan turns to keeping them.",
    )


def policy_row() -> Policy:
    """Mode, intensity and retention actions in a row; and the policy they make."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        mode = st.radio(
            "Above the threshold",
            list(PLAN_MODES),
            horizontal=True,
            key=session.MODE,
            bind="query-params",
            help=ABOUT,
        )
        if mode == "graded":
            st.number_input(
                "Intensity", 0.0, 10.0, 1.0, 0.1, key=session.INTENSITY, bind="query-params", width=130, help=ABOUT
            )
        with st.popover("Retention actions", icon=":material/edit:"):
            st.markdown("What is done, in this order, to keep a customer. Use the words of your CRM system.")
            for k, (key, default) in enumerate(zip(session.RETENTION, DEFAULT_RETENTION_ACTIONS, strict=True), 1):
                st.text_input(f"Retention action {k}", default, key=key, bind="query-params", max_chars=80)
    policy = session.policy()
    wanted = tuple(st.session_state.get(key) or "" for key in session.RETENTION)
    if policy.retention_actions != wanted:
        st.warning(
            "Three different retention actions are needed, none blank. Until then the usual ones are used.",
            icon=":material/warning:",
        )
    return policy
