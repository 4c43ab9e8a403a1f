"""Cohort: get customers (generate, own files, known formats), look them over, choose and delete."""

import streamlit as st

from dashboard.panels import cohort as cohort_panels
from dashboard.panels import upload as upload_panels
from dashboard.panels import widgets
from dashboard.state import session

widgets.title("Cohort", "Who are the customers, what happened to them, and what in the data will hurt?")

WAYS = {"generate": "Generate", "own": "Bring your own files", "known": "A known public format"}
with st.container(border=True):
    way = st.radio(
        "A new cohort",
        list(WAYS),
        format_func=WAYS.__getitem__,
        horizontal=True,
        key="cohort_way",
        persist_state="session",
    )
    if way == "own":
        upload_panels.bring_your_own()
    elif way == "known":
        upload_panels.known_format()
    else:
        cohort_panels.generate()

cohort = session.current_cohort()
if cohort is None:
    widgets.empty_state("groups", "No customers yet", "Generate a cohort above, or bring your own files.")
    st.stop()
cohort_panels.about(cohort)
cohort_panels.data_check(cohort)
cohort_panels.profile(cohort)
cohort_panels.saved(cohort)
