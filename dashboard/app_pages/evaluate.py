"""Evaluate: the scores on customers whom no model has seen, from chance to ceiling, and the curves behind them."""

import streamlit as st

from dashboard import evaluate_panels, store, widgets

widgets.title("Evaluate", "How good are the models, and how far is it to the best possible?")
run = widgets.need_run()
if not widgets.need_scores(run):
    st.stop()
report = store.report(run) or {}
evaluate_panels.notes(report)
evaluate_panels.headline(report)

churn, sequence = st.tabs(["Who leaves", "The next actions"], key="evaluate_tab", on_change="rerun")
tested = evaluate_panels.tested_of(run)
if tested is None:
    st.stop()
if churn.open:
    with churn:
        if tested.churn is None:
            widgets.empty_state(
                "monitoring",
                "No churn model to evaluate",
                "This run has none, or churn is not known for anybody held out.",
            )
        else:
            evaluate_panels.at_threshold(tested.churn)
            evaluate_panels.churn_curves(tested.churn)
else:
    with sequence:
        if tested.sequence is None:
            widgets.empty_state(
                "monitoring",
                "No sequence model to evaluate",
                "This run has none, or no held-out customer has an outcome.",
            )
        else:
            evaluate_panels.sequence(tested, report["sequence"])
