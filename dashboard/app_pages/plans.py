"""Plans: the churn threshold and what it does; who is at risk, what changes, the best threshold, plans to download."""

import streamlit as st

from dashboard.panels import customer_list, widgets
from dashboard.panels import plans as plans_panels
from dashboard.panels import policy as policy_panels

widgets.title("Plans", "Who is at risk, and what do we do for whom?")
run = widgets.need_run()
if not widgets.need_scores(run):
    st.stop()
trained = run.folder.trained()
if "churn" not in trained:
    st.info("This run has no churn model, so nobody counts as at risk and no plan is changed.", icon=":material/info:")
if "sequence" not in trained:
    instead = (
        "the most popular actions" if run.about["popular"] else "retention actions for those at risk, and no others"
    )
    st.info(f"This run has no sequence model, so plans hold {instead}.", icon=":material/info:")
bound = plans_panels.Bound(policy=policy_panels.policy_row(), filter=customer_list.current_filter())
plans_panels.decide(run, bound)
plans_panels.download(run, bound)
