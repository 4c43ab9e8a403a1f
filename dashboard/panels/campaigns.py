"""The campaigns page as a whole: choose or make a campaign, its figures, its tabs."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from crm_models.campaigns import ledger, report
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.split import Split
from crm_models.core.errors import CrmError
from dashboard.panels import (
    campaign_approval,
    campaign_budget,
    campaign_effect,
    campaign_export,
    campaign_groups,
    campaign_rules,
    widgets,
)
from dashboard.state import access, campaign_store, session, store

FORM_OPEN = "campaign_form_open"
"""Session key: whether the form for a new campaign is open."""


def choose(run: store.RunCard) -> Campaign:
    """Draw the selector and the button `New campaign`; returns the chosen campaign, or stops with an empty state."""
    names = campaign_store.names(run.cohort)
    state = st.session_state
    if wanted := state.pop(_NEXT, None):
        state[campaign_store.CHOSEN] = wanted
    asked = st.query_params.get(campaign_store.CHOSEN)
    if campaign_store.CHOSEN not in state and asked is not None and asked not in names:
        st.warning(f"These customers have no campaign “{widgets.plain(asked, 60)}”.", icon=":material/link_off:")
    if state.get(campaign_store.CHOSEN, asked) not in names:
        state[campaign_store.CHOSEN] = names[0] if names else None
    name = None
    if names:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.selectbox(
                "Campaign", names, index=None, key=campaign_store.CHOSEN, bind="query-params", width=320
            )
            st.button("New campaign", icon=":material/add:", on_click=_open_form, key="new_campaign")
            chosen = campaign_store.campaign(str(name)) if name else None
            hidden = access.marked_personal()
            st.download_button(
                "Report (HTML)",
                data=access.exported(
                    f"campaigns/{name}", lambda: report.page(chosen, hidden).encode() if chosen else b"", "look"
                ),
                file_name=f"{name}.html",
                mime="text/html",
                icon=":material/description:",
                on_click="ignore",
                key="download_report",
            )
            with st.popover("Delete", icon=":material/delete:", type="tertiary"):
                st.markdown(f"Delete **{widgets.plain(name)}** with its approvals and its reading?")
                st.button("Delete this campaign", on_click=_delete, args=(name,), key="delete_campaign")
    elif not state.get(FORM_OPEN):
        widgets.empty_state(
            "campaign",
            "No campaign on this cohort yet",
            "A campaign takes the plans of a run, applies your rules, keeps a control group, and later shows its "
            "effect.",
        )
        with st.container(horizontal_alignment="center"):
            st.button("New campaign", type="primary", icon=":material/add:", on_click=_open_form, key="new_campaign")
    if state.get(FORM_OPEN):
        _form(run)
    if name is None:
        st.stop()
    return campaign_store.campaign(str(name))


def damaged() -> None:
    """Draw the campaigns that cannot be read, with a button to delete each."""
    for name, trouble in campaign_store.damaged().items():
        with st.container(horizontal=True, vertical_alignment="center"):
            widgets.error_box(trouble, f"The campaign {widgets.plain(name)} cannot be read:")
            st.button("Delete it", on_click=_delete, args=(name,), key=f"delete_damaged_{name}", type="tertiary")


_NEXT = "campaign_from_the_next_run_on"


def _open_form() -> None:
    st.session_state[FORM_OPEN] = True


def _close_form() -> None:
    st.session_state[FORM_OPEN] = False


def _delete(name: str) -> None:
    if session.told(campaign_store.delete, name):
        st.session_state.pop(campaign_store.CHOSEN, None)
        session.say(f"Campaign {name} deleted.")


def _form(run: store.RunCard) -> None:
    policy = session.policy()
    with st.container(border=True):
        st.subheader("New campaign", anchor=False)
        st.markdown(
            f"Customers with a churn probability above **{policy.threshold:.2f}** are targeted, as on the page Plans, "
            f"with {', '.join(widgets.plain(action) for action in policy.retention_actions)}."
        )
        with st.grid(4, min_column_width=160, vertical_alignment="bottom"):
            name = st.text_input("Name", "spring retention", max_chars=48, key="campaign_name")
            holdout = st.slider(
                "Control group, %", 0, 50, 10, key="campaign_holdout", help=campaign_groups.HOLDOUT_HELP
            )
            horizon = st.number_input(
                "Days until it is read", 1, 3650, 90, key="campaign_horizon", help="When outcomes will be compared."
            )
            metric = st.text_input(
                "What counts as success", "retained", max_chars=40, key="campaign_metric",
                help="What an outcome of 1 means.",
            )  # fmt: skip
        with st.container(horizontal=True):
            pressed = st.button("Make the campaign", type="primary", key="make_campaign")
            st.button("Cancel", on_click=_close_form, key="cancel_campaign")
        if pressed:
            with widgets.guarded("The campaign cannot be made:"), st.spinner("Applying the rules to all customers"):
                split = Split(
                    salt=name or "campaign",
                    holdout=holdout / 100,
                    horizon_days=float(horizon),
                    metric=metric.strip() or "retained",
                )
                st.session_state[_NEXT] = campaign_store.make(run, name or "campaign", policy=policy, split=split)
                _close_form()
                session.say("Campaign made.")
                st.rerun()


def headline(chosen: Campaign) -> None:
    """Draw five figures of the campaign: targeted, contacted, control group, cost, state."""
    facts = campaign_store.counts(chosen)
    with st.grid(5, min_column_width=135):
        widgets.metric(
            "Targeted",
            f"{facts.targeted:,}",
            f"{facts.at_risk:,} above {chosen.policy.threshold:.2f}",
            about="Customers at risk who may get at least one retention action, the control group included.",
        )
        widgets.metric("Contacted", f"{facts.contacts:,}", f"of {facts.customers:,}")
        widgets.metric(
            "Control group",
            f"{facts.by_arm['holdout']:,}",
            f"{chosen.split.holdout:.0%} asked",
            about="Targeted customers who are left out, to see what happens without the campaign.",
        )
        widgets.metric("Cost", f"{facts.cost:,.0f}", "all contacts" if facts.cost else "no costs given")
        widgets.metric("State", *_state(chosen))


def _state(chosen: Campaign) -> tuple[str, str]:
    if campaign_store.reading(chosen) is not None:
        return "Read", "What it did"
    try:
        done = {line["action"] for line in ledger.lines(chosen.folder)}
        approved = ledger.state(chosen).approved_by
    except CrmError:
        return "Damaged", "see Approve"
    if "export" in done:
        return ("Sent", "to be read") if approved or "confirm" in done else ("Written", "not approved")
    return ("Approved", f"by {approved}") if approved else ("Draft", "not approved")


TABS: dict[str, Callable[[Campaign], None]] = {
    "Rules": campaign_rules.draw,
    "Budget": campaign_budget.draw,
    "Control group": campaign_groups.draw,
    "Approve": campaign_approval.draw,
    "Hand over": campaign_export.draw,
    "What it did": campaign_effect.draw,
}


def tabs(chosen: Campaign) -> None:
    """Draw the tabs; only the open one is computed."""
    drawn = st.tabs(list(TABS), key="campaign_tab", on_change="rerun", bind="query-params")
    for tab, draw in zip(drawn, TABS.values(), strict=True):
        if tab.open:
            with tab, widgets.guarded():
                draw(chosen)
