"""Approval of a campaign: who gets what, edits one customer at a time, and the ledger."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from crm_models.campaigns import ledger
from crm_models.campaigns.folder import Campaign
from crm_models.core.permissions import Actor, Who
from crm_models.core.schema import CUSTOMER_ID
from dashboard.panels import customer_list, widgets
from dashboard.state import access, campaign_store, session

SHOWN = 200
WHO = "approver"
ARM_NAMES = {"plan": "Gets the plan", "holdout": "Control group", "explore": "Explores", "none": "Not targeted"}
EDITS: dict[ledger.Act, str] = {
    "exclude": "Take out of the campaign",
    "swap": "Give another action",
    "note": "Only note something",
}


def draw(chosen: Campaign) -> None:
    """Draw the approval, the decisions, the form for edits, and the ledger."""
    now = ledger.state(chosen)
    who = access.who("")
    if not isinstance(who, Actor):
        who = st.text_input("Your name", key=WHO, persist_state="session", max_chars=80, width=320).strip()
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        if now.approved_by:
            st.markdown(f":material/verified: Approved by **{widgets.plain(now.approved_by)}**.")
        else:
            st.markdown("Not approved. An approval covers the campaign as it is now; any edit after it withdraws it.")
        four_eyes = st.toggle("Four eyes", key="four_eyes", help="Refuse an approval by whoever made the last edit.")
        if st.button("Approve", type="primary", icon=":material/check:", disabled=not who, key="approve"):
            with widgets.guarded():
                ledger.approve(chosen, who, four_eyes=four_eyes)
                session.say("Campaign approved.")
                st.rerun()
    if not who:
        st.caption("Enter your name to approve or to edit.")
    _decisions(chosen, now)
    _edit(chosen, who)
    _ledger(chosen, who)


def _decisions(chosen: Campaign, now: ledger.State) -> None:
    table = campaign_store.decisions(chosen)
    arm = st.radio("Show", list(ARM_NAMES), format_func=ARM_NAMES.__getitem__, horizontal=True, key="arm_shown")
    rows = table[table["arm"] == arm]
    shown = rows.nlargest(SHOWN, "churn_probability") if rows["churn_probability"].notna().any() else rows.head(SHOWN)
    edited = shown[CUSTOMER_ID].map(
        lambda customer: "taken out" if customer in now.excluded else now.swaps.get(customer, "")
    )
    st.dataframe(
        pd.DataFrame(
            {
                "customer": shown[CUSTOMER_ID],
                "churn probability": (100 * shown["churn_probability"]).round(1),
                "action": shown["action"],
                "edited": edited,
                **{f"step {k}": shown[f"step_{k}"] for k in (1, 2, 3)},
                "dropped by": shown["dropped_reason"],
                "cost": shown["cost"],
            }
        ),
        hide_index=True,
        height=300,
        alt="Customers of the campaign with their actions",
        column_config={"churn probability": customer_list.risk_bar()},
    )
    if len(rows) > SHOWN:
        st.caption(f"The {SHOWN} highest risks of {len(rows):,} customers.")


def _edit(chosen: Campaign, who: Who) -> None:
    with st.expander("Edit one customer", icon=":material/edit:"), st.form("edit", clear_on_submit=True, border=False):
        with st.grid(3, min_column_width=200, vertical_alignment="bottom"):
            customer = st.text_input("Customer id", key="edit_customer")
            action = st.selectbox("Edit", list(EDITS), format_func=EDITS.__getitem__, key="edit_action")
            labels = [chosen.catalogue.labels[code] for code in chosen.candidates]
            to = st.selectbox("Other action", labels, key="edit_to", help="For giving another action only.")
        why = st.text_input("Why", key="edit_why", max_chars=300)
        if st.form_submit_button("Save edit", disabled=not who):
            with widgets.guarded("The edit cannot be saved:"):
                entry = ledger.Entry(
                    who=who,
                    action=action,
                    customer_id=customer.strip() or None,
                    to=to if action == "swap" else None,
                    why=why,
                )
                ledger.append(chosen, entry)
                session.say("Edit saved.")
                st.rerun()


def _ledger(chosen: Campaign, who: Who) -> None:
    lines = ledger.lines(chosen.folder)
    st.subheader("Ledger", anchor=False)
    if not lines:
        st.caption("Nobody has approved or edited anything yet.")
        return
    shown = ["at", "who", "action", CUSTOMER_ID, "from", "to", "why"]
    table = pd.DataFrame(lines)[shown].iloc[::-1]
    approvals = table["action"] == "approve"
    table["to"] = table["to"].mask(approvals, "the decisions as they were").fillna("")
    table["at"] = table["at"].str[:16].str.replace("T", " ")
    table = table.rename(columns={"at": "at (UTC)", CUSTOMER_ID: "customer"})
    st.dataframe(table.fillna(""), hide_index=True, alt="Approvals and edits, newest first")
    st.caption("Each line is chained to the one before by a checksum, so a later change of the file is noticed.")
    undone = {line["to"] for line in lines if line["action"] == "undo"}
    open_edits = {
        line["sha256"]: f"{line['action']} {line['customer_id']} by {line['who']}"
        for line in lines
        if line["action"] in ("swap", "exclude") and line["sha256"] not in undone
    }
    if open_edits:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            edit = st.selectbox(
                "Undo", list(open_edits), format_func=open_edits.__getitem__, key="undo_edit", width=360
            )
            if st.button("Undo this edit", icon=":material/undo:", disabled=not who, key="undo"):
                with widgets.guarded():
                    ledger.append(chosen, ledger.Entry(who=who, action="undo", to=edit))
                    session.say("Edit undone.")
                    st.rerun()
