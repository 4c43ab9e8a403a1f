"""Train: settings, the training under way with its live curves, and all runs to look at and compare."""

import streamlit as st

from crm_models.errors import CrmError
from dashboard import store, train_form, train_panels, widgets

widgets.title("Train", "How much can the models learn from these customers?")
cohort = widgets.need_cohort()

train_panels.be_ready()
train_panels.live(cohort)

with st.container(border=True):
    st.subheader("New training", anchor=False)
    try:
        wanted = train_form.training_form()
    except CrmError as error:
        widgets.error_box(error, "These settings do not go together:")
        wanted = None
    train_panels.what_can_be_trained(cohort)
    if st.button("Train both models", type="primary", icon=":material/play_arrow:", disabled=wanted is None):
        train_panels.start(cohort, wanted)
        st.rerun()
    if wanted is not None:
        train_panels.time_it_takes(cohort, wanted)

train_panels.failures(cohort)

st.subheader("Runs on this cohort", anchor=False)
runs = store.run_cards(cohort.name)
if not runs:
    widgets.empty_state(
        "history", "No runs yet", "Each training becomes a run: its settings, curves, scores and plans."
    )
    st.stop()
train_panels.history(runs)
