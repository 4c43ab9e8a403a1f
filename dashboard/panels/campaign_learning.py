"""What a campaign taught: who is moved by which action, and what other plans would have brought."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from crm_models.campaigns import learning
from crm_models.campaigns.folder import Campaign
from dashboard.charts import campaigns as charts
from dashboard.panels import widgets
from dashboard.state import access, campaign_store, session

RANKINGS = {"uplift": "learned uplift", "response": "response", "risk": "churn risk"}
QINI_NOTE = """
The Qini coefficient says what an order of customers is worth: how much more is gained on average by giving the action
to the first of them instead of to a random part. At 0 the order is no better than chance. **Learned uplift** orders by
the expected effect, **response** by how likely the customer stays with the action, **churn risk** by the risk alone.
Groups are shown only where the learned order is proven to be worth something.
"""
PLANS_NOTE = """
What the share would be if a plan were followed for everybody targeted, estimated from what was done and with which
probability (doubly robust). A plan with choices that the log never makes cannot be judged: let some customers explore.
"""


def draw(chosen: Campaign) -> None:
    """Draw what was learned, or the button to learn it."""
    st.subheader("Who is moved by what", anchor=False)
    result = campaign_store.learned(chosen)
    if st.button(
        "Learn from this campaign" if result is None else "Learn again", icon=":material/school:", key="learn"
    ):
        with widgets.guarded("Nothing can be learned yet:"), st.spinner("Comparing customers", show_time=True):
            learning.learn(chosen, who=access.who())
            session.say("Learned from the campaign.")
            st.rerun()
    if result is None:
        st.caption(
            "Compares customers with each action with the control group, to say whom it keeps. Needs some hundred "
            "customers with each action; those who explore help most."
        )
        return
    for row in result["uplift"]:
        _action(row)
    _plans(chosen, result["plans"])


def _action(row: dict[str, Any]) -> None:
    average = row["average"]
    st.markdown(
        f"**{widgets.plain(row['action'])}** changes the share by {100 * average['value']:+.1f} points on average "
        f"({100 * average['low']:+.1f} to {100 * average['high']:+.1f})."
        + ("" if row["useful"] else " Whom it moves more than others is not proven.")
    )
    rows = [{"label": RANKINGS[name], **estimate} for name, estimate in row["qini"].items()]
    with st.grid(2, min_column_width=widgets.CHART_WIDTH):
        widgets.chart(
            charts.effects(rows, share=False, title="Worth of an order", unit="Qini"),
            key=f"qini_{row['action']}",
            alt=f"Qini coefficients of three orders of customers for {row['action']}",
            table=pd.DataFrame(rows),
            note=QINI_NOTE,
        )
        if row["groups"]:
            groups = [{"label": f"fifth {g['group']}: {g['verdict']}", **g} for g in row["groups"]]
            widgets.chart(
                charts.effects(groups, share=True, title="Effect by expected effect"),
                key=f"groups_{row['action']}",
                alt=f"Effect of {row['action']} in fifths of the expected effect",
                table=pd.DataFrame(row["groups"]),
                note="Customers in fifths of the expected effect, lowest first, with the effect that they really show "
                "and intervals corrected for five groups.",
            )


def _plans(chosen: Campaign, plans: list[dict[str, Any]]) -> None:
    st.subheader("What other plans would have brought", anchor=False)
    known = [plan for plan in plans if plan["identifiable"]]
    if known:
        rows = [
            {"label": plan["plan"], **plan["dr"]} | ({"truth": plan["truth"]} if plan.get("truth") is not None else {})
            for plan in known
        ]
        widgets.chart(
            charts.effects(
                rows,
                share=max(row["value"] for row in rows) <= 1,
                title=f"{chosen.split.metric.capitalize()}, by plan",
                unit="outcome",
                zero=False,
            ),
            key="plan_values",
            alt="Value of several plans with 95% intervals",
            table=pd.DataFrame(rows),
            note=PLANS_NOTE,
        )
    for plan in plans:
        if not plan["identifiable"]:
            st.markdown(
                f":material/help: **{widgets.plain(plan['plan'])}** cannot be judged: {widgets.plain(plan['reason'])}."
            )
