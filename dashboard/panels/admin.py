"""What admins see: the audit log, who has which role, and what each person may take of the machine."""

from __future__ import annotations

from dataclasses import fields

import pandas as pd
import streamlit as st

from crm_models.core.permissions import ACTIONS, AUDIT, ROLES, ROLES_FILE, Actor
from dashboard.panels import widgets
from dashboard.state import access

SHOWN = 1_000
NAMES = {"at": "at (UTC)", "who": "who", "role": "role", "action": "action", "on": "on", "outcome": "outcome",
         "from": "from"}  # fmt: skip


def log() -> None:
    """Draw the audit log, newest first, with a filter."""
    lines = access.audit()
    st.subheader("What was done", anchor=False)
    if not lines:
        st.caption("Nobody who signed in has changed or exported anything yet.")
        return
    table = pd.DataFrame(lines)[list(NAMES)].iloc[::-1]
    table["at"] = table["at"].str[:19].str.replace("T", " ")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        people = st.multiselect("Who", sorted(table["who"].unique()), key="audit_who", width=300)
        outcomes = st.multiselect("Outcome", sorted(table["outcome"].unique()), key="audit_outcome", width=240)
    for column, chosen in (("who", people), ("outcome", outcomes)):
        table = table[table[column].isin(chosen)] if chosen else table
    st.dataframe(table.head(SHOWN).rename(columns=NAMES), hide_index=True, alt="Actions of people, newest first")
    st.caption(
        f"{len(table):,} lines of {AUDIT}. Each is chained to the one before by a checksum, so a later change "
        "of the file is noticed."
    )


def roles() -> None:
    """Draw the roles, what each may do, and the quotas."""
    now = access.who()
    assert isinstance(now, Actor)  # the page is for people who signed in
    st.subheader("Roles", anchor=False)
    rows = [
        {
            "role": role,
            "who": ", ".join(now.rules.roles.get(role, ())) or "–",
            "may also": ", ".join(words for least, words in ACTIONS.values() if least == role),
        }
        for role in ROLES
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, alt="Roles, who has them, and what each may do")
    limits = now.rules.quotas
    quotas = ", ".join(f"{quota.name} {getattr(limits, quota.name):,}" for quota in fields(limits))
    personal = ", ".join(now.rules.personal) or "none"
    st.caption(
        f"From {widgets.plain(ROLES_FILE)}. One person may take: {widgets.plain(quotas)}. Others' cohorts, runs and "
        f"campaigns: {now.rules.others}. Personal columns: {widgets.plain(personal)}."
    )
