"""Customers page: churn risk, plan, history, profile and what-if of one customer, and the list of all."""

import streamlit as st

from dashboard.panels import customers as customer_panels
from dashboard.panels import policy as policy_panels
from dashboard.panels import widgets

widgets.title("Customers", "Who is this customer, how likely is churn, and what should we do next?")
run = widgets.need_run()
if not widgets.need_scores(run):
    st.stop()
customer_panels.look(run)
with st.expander("Plan policy above the threshold", icon=":material/tune:"):
    policy_panels.policy_row()
