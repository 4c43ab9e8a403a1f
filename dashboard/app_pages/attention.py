"""Attention: what the models look at, and beside it what really moves a prediction."""

import streamlit as st

from dashboard.panels import attention as attention_panels
from dashboard.panels import widgets

widgets.title("Attention", "What do the models look at, and what really moves a prediction?")
run = widgets.need_run()
if not widgets.need_scores(run):
    st.stop()
model, row = attention_panels.controls(run)
found = attention_panels.explained(run, model, row)
if found is None:
    widgets.empty_state("timeline", "Nothing to explain", "There is no history here that the model could look at.")
    st.stop()
attention_panels.show(found)
