"""Cohort page: generate or upload customers, check and profile them, choose or delete a cohort."""

import streamlit as st

from dashboard.panels import cohort as cohort_panels
from dashboard.panels import upload as upload_panels
from dashboard.panels import widgets
from dashboard.state import session

widgets.title("Cohort", "Who are the customers, what is their history, and what is wrong with the data?")

SOURCES = {"generate": "Generate", "own": "Upload your own files", "known": "Upload a public data set"}
with st.container(border=True):
    source = st.radio(
        "New cohort",
        list(SOURCES),
        format_func=SOURCES.__getitem__,
        horizontal=True,
        key="cohort_way",
        persist_state="session",
    )
    if source == "own":
        if upload_panels.bring_your_own():
            st.stop()  # while files are brought in, the page is about them alone
    elif source == "known":
        upload_panels.known_format()
    else:
        cohort_panels.generate()

if widgets.missing_choice():
    cohort_panels.saved()
    st.stop()
cohort = session.current_cohort()
if cohort is None:
    widgets.empty_state("groups", "No customers yet", "Generate a cohort above, or upload your own files.")
    st.stop()
upload_panels.next_step(cohort.name)
cohort_panels.about(cohort)
with widgets.guarded("These customers cannot be read:"):
    cohort_panels.data_check(cohort)
    cohort_panels.profile(cohort)
cohort_panels.saved()
