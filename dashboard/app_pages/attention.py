"""Attention page: attention weights beside the effect of removing each input."""

import streamlit as st

from dashboard.panels import attention as attention_panels
from dashboard.panels import widgets

widgets.title("Attention", "What do the models look at, and which inputs drive a prediction?")
run = widgets.need_run()
if not widgets.need_scores(run):
    st.stop()
model, row = attention_panels.controls(run)
explanation = attention_panels.explained(run, model, row)
if explanation is None:
    widgets.empty_state("timeline", "Nothing to explain", "There is no history here for the model to look at.")
    st.stop()
attention_panels.show(explanation, has_additive=model == "churn" and run.folder.config().churn.use_additive)
attention_panels.to_reasons(run, model, row)
