"""Evaluate page: scores on held-out customers between chance and ceiling, and the curves behind them."""

import streamlit as st

from dashboard.panels import evaluate as evaluate_panels
from dashboard.panels import slices as slice_panels
from dashboard.panels import stability, time_split, widgets
from dashboard.state import store

widgets.title("Evaluate", "How good are the models, and how close to the best possible score?")
run = widgets.need_run()
if not widgets.need_scores(run):
    st.stop()
report = store.report(run) or {}
time_split.about(run)
evaluate_panels.notes(report)
evaluate_panels.headline(report, stability.of_run(run))
stability.section(run)

TABS = ("Churn", "Next actions", "Groups")
churn_tab, sequence_tab, groups_tab = st.tabs(
    TABS,
    default=TABS[0] if report.get("churn") else TABS[1],
    key="evaluate_tab",
    on_change="rerun",
    bind="query-params",
)
tested = evaluate_panels.tested_of(run)
if tested is None:
    st.stop()
if churn_tab.open:
    with churn_tab:
        if tested.churn is None or not report.get("churn"):
            widgets.empty_state(
                "monitoring",
                "No churn model to evaluate",
                "This run has none, or churn is unknown for all held-out customers.",
            )
        else:
            evaluate_panels.at_threshold(tested.churn, run)
            evaluate_panels.calibration(tested.churn, report["churn"])
elif groups_tab.open:
    with groups_tab:
        slice_panels.by_group(run, tested, report)
else:
    with sequence_tab:
        if tested.sequence is None or not report.get("sequence"):
            widgets.empty_state(
                "monitoring",
                "No sequence model to evaluate",
                "This run has none, or no held-out customer has an outcome.",
            )
        else:
            evaluate_panels.sequence(tested, report["sequence"])
