"""The campaigns page as a whole: choose or make a campaign, its figures, its tabs."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.ledger import state as ledger_state
from crm_models.campaigns.split import Split
from dashboard.panels import campaign_approval, campaign_effect, campaign_groups, campaign_rules, widgets
from dashboard.state import campaign_store, session, store


def choose(run: store.RunCard) -> Campaign:
    """Draw the selector and the button `New campaign`; returns the chosen campaign, or stops with an empty state."""
    names = campaign_store.names(run.cohort)
    state = st.session_state
    if state.get(campaign_store.CHOSEN, st.query_params.get(campaign_store.CHOSEN)) not in names:
        state[campaign_store.CHOSEN] = names[0] if names else None
    if not names:
        widgets.empty_state(
            "campaign",
            "No campaign on this cohort yet",
            "A campaign takes the plans of a run, applies your rules, keeps a control group, and later shows what it "
            "brought about.",
        )
        if st.button("New campaign", type="primary", icon=":material/add:", key="first_campaign"):
            _dialog(run)
        st.stop()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Campaign", names, key=campaign_store.CHOSEN, bind="query-params", width=320)
        if st.button("New campaign", icon=":material/add:"):
            _dialog(run)
        with st.popover("Delete", icon=":material/delete:", type="tertiary"):
            st.markdown(f"Delete **{widgets.plain(name)}** with its approvals and its reading?")
            st.button("Delete this campaign", on_click=_delete, args=(name,), key="delete_campaign")
    return campaign_store.campaign(str(name))


def _delete(name: str) -> None:
    campaign_store.delete(name)
    st.session_state.pop(campaign_store.CHOSEN, None)
    session.say(f"Campaign {name} deleted.")


@st.dialog("New campaign")
def _dialog(run: store.RunCard) -> None:
    policy = session.policy()
    name = st.text_input("Name", "spring retention", max_chars=48, key="campaign_name")
    st.markdown(
        f"Customers with a churn probability above **{policy.threshold:.2f}** are targeted, as on the page Plans, with "
        f"{', '.join(widgets.plain(action) for action in policy.retention_actions)}."
    )
    holdout = st.slider("Control group, %", 0, 50, 10, key="campaign_holdout", help=campaign_groups.HOLDOUT_HELP)
    horizon = st.number_input(
        "Days until it is read", 1, 3650, 90, key="campaign_horizon", help="When outcomes will be compared."
    )
    metric = st.text_input(
        "What counts as success", "retained", max_chars=40, key="campaign_metric", help="What an outcome of 1 means."
    )
    if st.button("Make the campaign", type="primary", key="make_campaign"):
        with widgets.guarded("The campaign cannot be made:"), st.spinner("Applying the rules to all customers"):
            split = Split(salt=name or "campaign", holdout=holdout / 100, horizon_days=float(horizon), metric=metric)
            made = campaign_store.make(run, name or "campaign", policy=policy, split=split)
            st.session_state.pop(campaign_store.CHOSEN, None)
            st.query_params[campaign_store.CHOSEN] = made
            session.say(f"Campaign {made} made.")
            st.rerun()


def headline(chosen: Campaign) -> None:
    """Draw five figures of the campaign: targeted, contacted, control group, cost, state."""
    facts = campaign_store.counts(chosen)

    def metric(label: str, value: str, note: str, help_text: str | None = None) -> None:
        st.metric(
            label,
            value,
            border=True,
            height="stretch",
            delta=note,
            delta_color="off",
            delta_arrow="off",
            help=help_text,
        )

    with st.grid(5, min_column_width=165):
        metric(
            "Targeted",
            f"{facts.targeted:,}",
            f"of {facts.at_risk:,} at risk",
            "Customers at risk who may get at least one retention action, the control group included.",
        )
        metric("Contacted", f"{facts.contacts:,}", f"of {facts.customers:,} customers")
        metric(
            "Control group",
            f"{facts.by_arm['holdout']:,}",
            f"{chosen.split.holdout:.0%} asked for",
            "Targeted customers who are left out, to see what happens without the campaign.",
        )
        metric("Cost", f"{facts.cost:,.0f}", "of all contacts" if facts.cost else "no costs given")
        metric("State", *_state(chosen))


def _state(chosen: Campaign) -> tuple[str, str]:
    if campaign_store.reading(chosen) is not None:
        return "Read", "see What it did"
    with widgets.guarded():
        approved = ledger_state(chosen).approved_by
        return ("Approved", f"by {approved}") if approved else ("Draft", "not approved yet")
    return "Damaged", "see Approve"


TABS: dict[str, Callable[[Campaign], None]] = {
    "Rules": campaign_rules.draw,
    "Control group": campaign_groups.draw,
    "Approve": campaign_approval.draw,
    "What it did": campaign_effect.draw,
}


def tabs(chosen: Campaign) -> None:
    """Draw the tabs; only the open one is computed."""
    drawn = st.tabs(list(TABS), key="campaign_tab", on_change="rerun", bind="query-params")
    for tab, draw in zip(drawn, TABS.values(), strict=True):
        if tab.open:
            with tab, widgets.guarded():
                draw(chosen)
