"""Control group of a campaign: its share, what it can prove, and how a warehouse repeats it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.ledger import is_fixed
from crm_models.campaigns.split import SQL, Reading, customers_needed, detectable
from dashboard.charts import campaigns as charts
from dashboard.panels import widgets
from dashboard.state import campaign_store, session

HOLDOUT_HELP = (
    "Share of the targeted customers who are left out at random. They show what happens without the campaign; without "
    "them nobody can tell its effect."
)
READINGS = {
    "at_end": "Once, at the end",
    "any_time": "At any time, as often as we like",
}
FORMULA = """
The smallest rise *d* that is proven with a power of 80% at 5%:

$d = (z_{{0.975}} + z_{{0.8}}) \\sqrt{{\\frac{{p(1-p)}}{{n_c}} + \\frac{{(p+d)(1-p-d)}}{{n_t}}}}$

with p = {p:.1%} (expected to stay without the campaign, from the churn model), n_c = {n_c:,} in the control group and
n_t = {n_t:,} who get the plan: d = {d:.1%}.
"""


def draw(chosen: Campaign) -> None:
    """Draw who is in which group, the power, the settings, and the query for a warehouse."""
    facts = campaign_store.counts(chosen)
    st.markdown(facts.power_sentence())
    n = facts.by_arm["plan"] + facts.by_arm["holdout"]
    if n and np.isfinite(facts.expected_share):
        shares = np.linspace(0.01, 0.5, 50)
        table = pd.DataFrame(
            {
                "holdout": shares,
                "detectable": [detectable(n * h, n * (1 - h), facts.expected_share) for h in shares],
            }
        )
        widgets.chart(
            charts.power(table, chosen.split.holdout),
            key="power",
            alt="Smallest provable effect by share of the control group",
            table=table,
            note="The larger the control group, the smaller the effects that it can prove, up to one half. What you "
            "give up: customers in the control group get no retention action."
            + FORMULA.format(
                p=facts.expected_share, n_c=facts.by_arm["holdout"], n_t=facts.by_arm["plan"], d=facts.detectable
            ),
        )
    _needed(chosen, facts.expected_share)
    _settings(chosen)
    with st.expander("Repeat the control group in a warehouse", icon=":material/database:"):
        st.caption("True for the control group; the same for every system, and it stays the same from day to day.")
        for dialect in SQL:
            st.markdown(f"**{dialect}**")
            st.code(chosen.split.sql(dialect), language="sql", wrap_lines=True)


def _needed(chosen: Campaign, share: float) -> None:
    if not np.isfinite(share) or not chosen.split.holdout:
        return
    wish = st.number_input(
        "Effect to prove, points", 0.1, 50.0, 3.0, 0.5, key="effect_to_prove", persist_state="session", width=220
    )
    if wish / 100 < 1 - share:
        needed = customers_needed(wish / 100, share, chosen.split.holdout)
        st.markdown(
            f"A rise of {wish:g} points needs about **{needed:,} targeted customers** with a control group of "
            f"{chosen.split.holdout:.0%}."
        )


def _settings(chosen: Campaign) -> None:
    if is_fixed(chosen):
        st.caption(":material/lock: The groups were fixed when the campaign was sent or read.")
        return
    split = chosen.split
    with st.form("split", border=True):
        st.markdown("**Groups**, fixed once the campaign is exported")
        with st.grid(4, min_column_width=160, vertical_alignment="bottom"):
            holdout = st.number_input(
                "Control group, %", 0.0, 90.0, split.holdout * 100, 1.0, key=f"holdout_{chosen.name}", help=HOLDOUT_HELP
            )
            explore = st.number_input(
                "Explore, %", 0.0, 90.0, split.explore * 100, 1.0, key=f"explore_{chosen.name}",
                help="Share who get a random allowed action or none. Their results show which action helps whom.",
            )  # fmt: skip
            horizon = st.number_input(
                "Days until it is read", 1.0, 3650.0, split.horizon_days, 1.0, key=f"horizon_{chosen.name}"
            )
            reading = st.selectbox(
                "Read", list(READINGS), index=list(READINGS).index(split.reading), format_func=READINGS.__getitem__,
                key=f"reading_{chosen.name}",
                help="Looking again and again until something is significant finds effects that are not there. Reading "
                "at any time allows it, with intervals about 1.5 times as wide.",
            )  # fmt: skip
        if st.form_submit_button("Assign the groups", type="primary"):
            wanted: dict[str, Any] = {"holdout": holdout / 100, "explore": explore / 100, "horizon_days": horizon}
            with widgets.guarded("The groups cannot be assigned:"):
                campaign_store.change(chosen, split=replace(split, **wanted, reading=cast(Reading, reading)))
                session.say("Groups assigned.")
                st.rerun()
