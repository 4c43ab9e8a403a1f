"""Customers: one customer's risk, plan, history, profile and what-if; and the list of all."""

import streamlit as st

from dashboard.panels import customers as customer_panels
from dashboard.panels import policy as policy_panels
from dashboard.panels import widgets

widgets.title("Customers", "Who is this customer, how likely are they to leave, and what comes next?")
run = widgets.need_run()
if not widgets.need_scores(run):
    st.stop()
customer_panels.look(run)
with st.expander("What is done above the threshold", icon=":material/tune:"):
    policy_panels.policy_row()
