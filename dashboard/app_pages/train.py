"""Train page: settings, the current training with live loss curves, and all runs to inspect and compare."""

import streamlit as st

from crm_models.core.errors import CrmError
from crm_models.core.schema import MODEL_NAMES, ModelName
from dashboard.panels import runs as run_panels
from dashboard.panels import time_split, train_form, widgets
from dashboard.panels import train as train_panels
from dashboard.panels import tune as tune_panels
from dashboard.panels.train_form import Wanted

widgets.title("Train", "How well can the models learn from these customers?")
cohort = widgets.need_cohort()
train_panels.be_ready()

# Drawn above the form but filled after it, so that a click shows its training in the same script run.
current = st.container()
with st.container(border=True):
    st.header("New training", anchor=False)
    wanted: Wanted | None = None
    possible: list[ModelName] = []
    with widgets.guarded("These customers cannot be read:"):
        reasons, trouble = time_split.cannot_train(cohort.name, train_form.seed())
        possible = [model for model in MODEL_NAMES if model not in reasons]
        try:
            wanted = train_form.training_form(possible) if possible else None
        except CrmError as error:
            widgets.error_box(error, "These settings cannot be combined:")
        if trouble is not None:
            widgets.error_box(trouble, "These customers cannot be split like this:")
            wanted = None
        train_panels.what_can_be_trained(reasons)
    label = train_form.button_label(possible) if wanted is None else wanted.button
    clicked = st.button(label, type="primary", icon=":material/play_arrow:", disabled=wanted is None, key="train")
    if wanted is not None:
        train_panels.time_it_takes(cohort, wanted)
with widgets.guarded("The search cannot be shown:"):
    tune_panels.section(cohort)
if clicked and wanted is not None:
    train_panels.start(cohort, wanted)
with current:
    train_panels.live()

train_panels.failures(cohort)
train_panels.damaged()
run_panels.history(cohort)
