"""What the home page shows: the state of things as a few figures, the next step, the scores, the riskiest customers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.schema import DEFAULT_THRESHOLD, N_STEPS
from crm_models.planning.policy import Policy
from dashboard.charts import theme
from dashboard.panels import widgets
from dashboard.state import session, store

LISTED = 50


def under_way() -> None:
    """A line on what is being trained or scored right now; the page fills by itself when it ends."""
    work = store.work()
    if not work:
        return
    at_work = [job for job in work if job.state != "waiting"]
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        for job in at_work[:1]:
            what = "being scored" if job.state == "scoring" else "learning"
            st.markdown(
                f":material/model_training: **{widgets.plain(job.job.run)}** is {what} in the background.",
                width="content",
            )
        waiting = len(work) - len(at_work)
        if waiting and at_work:
            st.markdown(f"{waiting} more in the queue.", width="content")
        elif waiting:
            one = waiting == 1
            said = "A training is about to begin." if one else f"{waiting} trainings are about to begin."
            st.markdown(f":material/model_training: {said}", width="content")
        st.page_link(widgets.PAGES["train"], label="Watch it learn", icon=":material/arrow_forward:")
    widgets.wait_for_change()


def next_step(cohort: store.CohortCard) -> None:
    """The one thing to do now, as a button."""
    run, busy = session.current_run(), bool(store.work())
    if run is None and busy:
        return
    if run is None:
        if why := _last_failure(cohort):
            widgets.error_box(why, "The last training on this cohort failed:")
        _step("Nothing is trained on this cohort yet.", "Train both models", "train", ":material/model_training:")
    elif run.preset == "paper" and not busy and cohort.facts.customers > 100:
        _step(
            "The models here are the paper's tiny ones: a quick look, not a tool. The standard ones take minutes.",
            "Train the standard models",
            "train",
            ":material/model_training:",
        )
    elif store.scores(run) is not None and "churn" in run.folder.trained():
        _step(
            "The models are ready. Choose the risk above which plans turn to keeping the customer.",
            "Set the threshold",
            "plans",
            ":material/checklist:",
        )
    else:
        _step("See how good the models are.", "Evaluate", "evaluate", ":material/monitoring:")


def _last_failure(cohort: store.CohortCard) -> str:
    """Why the last training failed, before or after it had a run folder; "" where none did."""
    runs = [card for card in store.run_cards(cohort.name) if card.state == "failed" and not card.search]
    jobs = [failure for failure in store.failures() if failure.job.cohort == cohort.name]
    return runs[0].status.reason if runs else jobs[0].reason if jobs else ""


def _step(text: str, label: str, page: str, icon: str) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(text, width=470)
        if st.button(label, type="primary", icon=icon, key="next_step"):
            st.switch_page(widgets.PAGES[page])


def figures(cohort: store.CohortCard) -> None:
    """Customers, churn rate, customers at risk, last run."""
    run = session.current_run()
    risk = store.risk_index(run) if run is not None else None
    at_risk = risk.n_at_risk(DEFAULT_THRESHOLD) if risk is not None else None
    facts = cohort.facts
    with st.grid(4, min_column_width=190):
        st.metric(
            "Customers",
            f"{facts.customers:,}",
            border=True,
            height="stretch",
            delta=f"{facts.interactions:,} interactions",
            delta_color="off",
            delta_arrow="off",
        )
        st.metric(
            "Churn rate",
            widgets.share(facts.churn_rate),
            border=True,
            height="stretch",
            delta=f"{facts.labelled:,} known",
            delta_color="off",
            delta_arrow="off",
            help="Share of the customers who left, among those of whom it is known.",
        )
        st.metric(
            "Customers at risk",
            "–" if at_risk is None else f"{at_risk:,}",
            border=True,
            height="stretch",
            delta="no scores yet" if at_risk is None else f"{widgets.share(at_risk / facts.customers)} of all",
            delta_color="off",
            delta_arrow="off",
            help=f"Customers whose churn probability exceeds {DEFAULT_THRESHOLD:g}, by the run chosen on the left.",
        )
        st.metric(
            "Run",
            "none yet" if run is None else run.preset.capitalize(),
            border=True,
            height="stretch",
            delta="train one" if run is None else widgets.plain(run.run_id, 24),
            delta_color="off",
            delta_arrow="off",
            help="The training whose models speak on all pages; choose another one on the left.",
        )


def scores() -> None:
    """How good the current run is, between chance and ceiling."""
    run = session.current_run()
    report = store.report(run) if run is not None else None
    if run is None or report is None:
        return
    found = widgets.headline_scores(report)
    if found:
        widgets.rulers(found, key="home_scores")


def most_at_risk() -> None:
    """The riskiest customers with their plans."""
    run = session.current_run()
    if run is None or not widgets.need_scores(run):
        return
    everybody, risk = store.scores(run), store.risk_index(run)
    if everybody is None or risk is None:
        return
    has_churn = "churn" in run.folder.trained()
    rows = risk.rows_at_risk(-1.0)[:LISTED] if has_churn else np.arange(min(LISTED, len(everybody.customer_id)))
    plans = store.plans_of(run, rows, Policy())
    if plans is None:
        return
    st.header("Most likely to leave, and what comes next" if has_churn else "What comes next", anchor=False)
    labels = plans.catalogue.labels
    table = pd.DataFrame(
        {
            "customer": plans.customer_id,
            "churn probability": plans.churn_p.round(3),
            "events": plans.n_events,
            **{f"step {k + 1}": [labels[a] if a >= 0 else "" for a in plans.action[:, k]] for k in range(N_STEPS)},
            "instead of": [", ".join(labels[a] for a in row if a >= 0) for row in plans.before],
        }
    )
    st.dataframe(
        table if has_churn else table.drop(columns="churn probability"),
        hide_index=True,
        alt="The customers most likely to leave, with their three next actions",
        column_config={
            "customer": st.column_config.TextColumn(pinned=True),
            "churn probability": st.column_config.ProgressColumn(
                format="percent", min_value=0, max_value=1, color=theme.AT_RISK
            ),
            "events": st.column_config.NumberColumn(help="Length of the history."),
            "instead of": st.column_config.TextColumn(
                help="What the sequence model would do if the risk were below the threshold."
            ),
        },
    )
    st.caption(
        f"Threshold {DEFAULT_THRESHOLD:g}; the {len(table)} riskiest of {len(everybody.customer_id):,} customers."
        if has_churn
        else f"The first {len(table)} of {len(everybody.customer_id):,} customers; this run has no churn model."
    )
