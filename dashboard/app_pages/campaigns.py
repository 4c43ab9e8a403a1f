"""Campaigns page: rules, budget, control group, approval, hand-over, and what the campaign did."""

import streamlit as st

from dashboard.panels import campaigns, widgets
from dashboard.state import campaign_store

widgets.title("Campaigns", "Who gets which offer, what does it cost, and what effect did it have?")
run = widgets.need_run()
if not widgets.need_scores(run):
    st.stop()
with widgets.guarded("The demo campaign cannot be made:"):
    campaign_store.prepare_demo(run)
campaigns.damaged()
chosen = campaigns.choose(run)
campaigns.headline(chosen)
campaigns.tabs(chosen)
campaign_store.note_seen(chosen)
