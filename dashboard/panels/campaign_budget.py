"""Budget of a campaign: offers with cost and capacity, the allocation, its prices, and what more money would bring."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from crm_models.campaigns.budgeting import SUCCESS_RATE, remarks
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.learning import effects_for
from crm_models.campaigns.ledger import is_fixed
from crm_models.campaigns.offers import Offer
from dashboard.charts import campaigns as charts
from dashboard.panels import widgets
from dashboard.state import campaign_store, session

STATED = "stated success rates"
NOTE = """
Each customer at risk gets at most one retention action: the one worth most, where an action is worth *churn probability
× success rate × value of a kept customer − cost*. The success rate is your assumption until past campaigns with a
control group say how much an action helps. No other allocation can be worth more than the bound.
"""


def draw(chosen: Campaign) -> None:
    """Draw the offers, the budget, and what the allocation found."""
    fixed = is_fixed(chosen)
    budget = chosen.about["budget"]
    if budget is None:
        st.markdown(
            "Without a budget, every targeted customer gets the first retention action that the rules allow. Say what "
            "the actions cost and what a kept customer is worth to spend where it pays: then a plan starts with the "
            "one retention action that pays most for this customer, and the model's best steps follow."
        )
    else:
        _allocation(budget)
    if fixed:
        st.caption(":material/lock: Offers and budget were fixed when the campaign was sent or read.")
    _offers(chosen, fixed)
    if not fixed:
        if not any(offer.cost for offer in chosen.offered_actions):
            st.markdown(
                ":material/info: No action has a cost yet, so every contact pays. Enter costs first, under **Change an "
                "offer**."
            )
        _form(chosen, budget)


def _allocation(budget: dict[str, Any]) -> None:
    with st.grid(4, min_column_width=165):
        for label, value, note in (
            ("Expected value", f"{budget['expected_value']:,.0f}", f"of {budget['bound']:,.0f} possible"),
            (
                "Spent",
                f"{budget['spent']:,.0f}",
                "no limit" if budget["money"] is None else f"of {budget['money']:,.0f}",
            ),
            (
                "The next 100 bring",
                "–" if budget["money"] is None else f"{100 * budget['money_price']:,.0f}",
                "after costs",
            ),
            ("Contacts", f"{sum(budget['used'].values()):,}", f"{max(budget['gap'], 0.0):.2%} below best"),
        ):
            widgets.metric(label, value, note)
    for line in remarks(budget):
        st.markdown(widgets.plain(line[0].upper() + line[1:] + "."))
    if budget["curve"]:
        widgets.chart(
            charts.budget_curve(budget["curve"], budget["money"]),
            key="budget_curve",
            alt="Expected value by budget",
            table=pd.DataFrame(budget["curve"]),
            note=NOTE,
        )


def _offers(chosen: Campaign, fixed: bool) -> None:
    budget = chosen.about["budget"] or {}
    labels, rows = [chosen.catalogue.labels[code] for code in chosen.candidates], chosen.offered_actions
    st.dataframe(
        pd.DataFrame(
            {
                "action": labels,
                "channel": [offer.channel for offer in rows],
                "cost": [offer.cost for offer in rows],
                "success rate": ["–" if o.success_rate is None else f"{o.success_rate:.0%}" for o in rows],
                "capacity": ["no limit" if o.capacity is None else f"{o.capacity:,}" for o in rows],
                "mandatory": ["yes" if o.mandatory else "" for o in rows],
                "contacts": [f"{budget['used'][k]:,}" if budget else "–" for k in labels],
                "price of a place": [f"{budget['capacity_price'][k]:,.2f}" if budget else "–" for k in labels],
            }
        ),
        hide_index=True,
        alt="Retention actions on offer",
        column_config={
            "price of a place": st.column_config.TextColumn(
                help="What one more place for this action would be worth; 0 where there is room."
            ),
        },
    )
    if fixed:
        return
    with st.expander("Change an offer", icon=":material/edit:"):
        label = st.selectbox("Action", labels, key="offer_chosen")
        old = rows[labels.index(label)]
        known_rate = SUCCESS_RATE if old.success_rate is None else old.success_rate
        key = f"offer_{chosen.name}_{label}"
        with st.form(key, border=False):
            with st.grid(4, min_column_width=140, vertical_alignment="bottom"):
                cost = st.number_input("Cost of one contact", 0.0, 1e9, old.cost, 1.0, key=f"{key}_cost")
                rate = st.number_input(
                    "Success rate, %", 0.0, 100.0, 100 * known_rate, 1.0, key=f"{key}_rate",
                    help="Share of churners whom this action keeps.",
                )  # fmt: skip
                capacity = st.number_input(
                    "Most customers", 0, None, old.capacity, 10, key=f"{key}_capacity", placeholder="no limit"
                )
                channel = st.text_input("Channel", old.channel, key=f"{key}_channel", max_chars=40)
            mandatory = st.toggle(
                "Mandatory", old.mandatory, key=f"{key}_mandatory", help="Comes first wherever the rules allow it."
            )
            if st.form_submit_button("Save offer"):
                with widgets.guarded("The offer cannot be saved:"), st.spinner("Making the campaign again"):
                    offer = Offer(
                        action=old.action,
                        channel=channel.strip(),
                        cost=cost,
                        success_rate=rate / 100,
                        capacity=capacity,
                        mandatory=mandatory,
                    )
                    offers = tuple(offer if row is old else row for row in rows)
                    campaign_store.change(chosen, offers=offers)
                    session.say("Offer saved. Spend the budget again.")
                    st.rerun()


def _form(chosen: Campaign, budget: dict[str, Any] | None) -> None:
    with st.form("budget", border=True):
        with st.grid(4, min_column_width=160, vertical_alignment="bottom"):
            money = st.number_input(
                "Budget for all contacts", 0.0, None, (budget or {}).get("money"), 100.0,
                key=f"money_{chosen.name}", placeholder="no limit",
            )  # fmt: skip
            before = (budget or {}).get("value", 100.0)
            worth = st.number_input(
                "Value of a kept customer", 0.0, 1e9, before if isinstance(before, float) else 100.0, 10.0,
                key=f"worth_{chosen.name}",
            )  # fmt: skip
            teacher = st.selectbox(
                "Effect of an action",
                [STATED, *campaign_store.teachers(chosen)],
                key=f"teacher_{chosen.name}",
                help="The stated success rates, or what an earlier campaign taught (see its tab What it did).",
            )
            pressed = st.form_submit_button("Spend the budget", type="primary")
        if pressed:
            with widgets.guarded("The budget cannot be spent:"), st.spinner("Finding the best allocation"):
                taught: dict[str, Any] = {}
                if teacher != STATED:
                    past = campaign_store.campaign(teacher)
                    taught = {"effects": effects_for(chosen, past), "taught_by": past.name}
                campaign_store.spend(chosen, money=money, value=float(worth), **taught)
                session.say("Budget spent.")
                st.rerun()
