"""Home page: introduction, current state and the next step."""

import streamlit as st

from dashboard.panels import home as home_panels
from dashboard.panels import train as train_panels
from dashboard.panels import widgets

widgets.title("CRM Transformers", "Which three actions come next for each customer, and who is about to leave?")
st.markdown(
    "Two small Transformers learn from your customers' history: one plans the **next three actions**, one gives the "
    "**churn risk**. Above a churn risk you set, the plan switches to retention actions."
)
cohort = widgets.need_cohort()
home_panels.invented(cohort)
home_panels.under_way()
train_panels.damaged()
with widgets.guarded():
    home_panels.next_step(cohort)
with widgets.guarded():
    home_panels.figures(cohort)
with widgets.guarded():
    home_panels.scores()
with widgets.guarded():
    home_panels.most_at_risk()
