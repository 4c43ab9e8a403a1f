"""Plans page: churn threshold, customers at risk, plans it changes, best threshold, plans to download."""

import streamlit as st

from dashboard.panels import customer_list, other_customers, plan_file, widgets
from dashboard.panels import plans as plans_panels
from dashboard.panels import policy as policy_panels

widgets.title("Plans", "Which customers are at risk, and what should we do for each?")
run = widgets.need_run()
if not widgets.need_scores(run):
    st.stop()
trained = run.folder.trained()
if "churn" not in trained:
    st.info(
        "This run has no churn model, so no customer counts as at risk and no plan is changed.", icon=":material/info:"
    )
if "sequence" not in trained:
    fallback = "the most popular actions" if run.about["popular"] else "retention actions for customers at risk only"
    st.info(f"This run has no sequence model, so plans contain {fallback}.", icon=":material/info:")
bound = plan_file.Bound(policy=policy_panels.policy_row(), filter=customer_list.current_filter())
plans_panels.decide(run, bound)
plans_panels.download(run, bound)
other_customers.section(run)
