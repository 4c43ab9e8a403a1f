"""Sections of the home page: key figures, the next step, scores, customers with the highest churn risk."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.schema import N_STEPS
from dashboard.charts import digits
from dashboard.jobs.queue import JobAtWork
from dashboard.panels import customer_list, train_form, widgets
from dashboard.panels import policy as policy_panels
from dashboard.panels import train as train_panels
from dashboard.state import predictions, session, store

LISTED = 50


def under_way() -> None:
    """Draw what is being trained or scored now; the page updates by itself when it ends."""
    work = store.work()
    if not work:
        return
    at_work = [job for job in work if job.state != "waiting"]
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        for job in at_work[:1]:
            activity = "being scored" if job.state == "scoring" else "training"
            st.markdown(
                f":material/model_training: **{widgets.plain(job.job.run)}** is {activity} in the background"
                f"{_time_left(job)}.",
                width="content",
            )
        waiting = len(work) - len(at_work)
        if waiting and at_work:
            st.markdown(f"{waiting} more in the queue.", width="content")
        elif waiting:
            text = "A training is about to begin." if waiting == 1 else f"{waiting} trainings are about to begin."
            st.markdown(f":material/model_training: {text}", width="content")
        st.page_link(widgets.PAGES["train"], label="Watch the training", icon=":material/arrow_forward:")
    widgets.wait_for_change()


def _time_left(job: JobAtWork) -> str:
    """How far a training is and how long it takes at most, as part of a sentence; "" before its first epoch."""
    run = store.run_card(job.job.run) if job.state == "training" and job.job.task in ("train", "resume") else None
    return f": {train_panels.position(run)[1]}" if run is not None and run.status.epochs else ""


def invented(cohort: store.CohortCard) -> None:
    """Say if the customers are generated, and offer to bring one's own."""
    is_generated = cohort.about["outcome"] == "simulated"
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        if is_generated:
            st.markdown(
                f":material/science: **{widgets.plain(cohort.name)}** is invented: its customers are generated, so "
                "that you can try everything.",
                width="content",
            )
        if st.button("Bring your own data", icon=":material/upload_file:", key="bring_your_own"):
            st.session_state["cohort_way"] = "own"
            st.switch_page(widgets.PAGES["cohort"])


def next_step(cohort: store.CohortCard) -> None:
    """Draw the recommended next step as a button."""
    run, busy = session.current_run(), bool(store.work())
    if run is None and busy:
        return
    if run is None:
        if why := _last_failure(cohort):
            widgets.error_box(why, "The last training on this cohort failed:")
        _first_training(cohort)
    elif run.preset == "paper" and cohort.facts.customers > 100:
        _step(
            "These are the paper's small models, for a first look only. Training the standard models takes minutes.",
            "Train the standard models",
            "train",
            ":material/model_training:",
        )
    elif store.scores(run) is not None and "churn" in run.folder.trained():
        _step(
            "The models are ready. Set the churn risk above which plans switch to retention actions.",
            "Set the threshold",
            "plans",
            ":material/checklist:",
        )
    else:
        _step("Check how good the models are.", "Evaluate", "evaluate", ":material/monitoring:")


def _first_training(cohort: store.CohortCard) -> None:
    with widgets.guarded("These customers cannot be read:"):
        possible = store.can_train(cohort.name)
        if possible:
            label = train_form.button_label(possible)
            _step("No models are trained on this cohort yet.", label, "train", ":material/model_training:")
        else:
            _step("These customers cannot train a model.", "Get other customers", "cohort", ":material/groups:")


def _last_failure(cohort: store.CohortCard) -> str:
    """Reason of the last failed training, with or without a run folder; "" if none failed."""
    runs = [card for card in store.run_cards(cohort.name) if card.state == "failed" and not card.search]
    jobs = [failure for failure in store.failures() if failure.job.cohort == cohort.name]
    return runs[0].status.reason if runs else jobs[0].reason if jobs else ""


def _step(text: str, label: str, page: str, icon: str) -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(text, width=470)
        if st.button(label, type="primary", icon=icon, key="next_step"):
            st.switch_page(widgets.PAGES[page])


def figures(cohort: store.CohortCard) -> None:
    """Draw four metrics: customers, churn rate, customers at risk, current run; the threshold above them."""
    run = session.current_run()
    risk = store.risk_index(run) if run is not None and "churn" in run.folder.trained() else None
    threshold = session.threshold()
    if run is not None and risk is not None:
        threshold = policy_panels.threshold(risk, run)
    at_risk = risk.n_at_risk(threshold) if risk is not None else None
    facts = cohort.facts
    with st.grid(4, min_column_width=150):
        widgets.metric("Customers", f"{facts.customers:,}", f"{facts.interactions:,} interactions")
        widgets.metric(
            "Churn rate",
            digits.share(facts.churn_rate),
            f"known for {facts.labelled:,}",
            about="Share of churned customers among those whose churn is known.",
        )
        widgets.metric(
            "Customers at risk",
            "–" if at_risk is None else f"{at_risk:,}",
            _why_unknown(run) if at_risk is None else f"{digits.share(at_risk / max(facts.customers, 1))} of all",
            about=f"Customers with a churn probability above {digits.threshold(threshold)}, in the run selected in the "
            "sidebar.",
        )
        widgets.metric(
            "Run",
            "none yet" if run is None else run.preset.capitalize(),
            "train one" if run is None else widgets.plain(run.run_id, 24),
            about="All pages use the models of this run. Select another one in the sidebar.",
        )


def _why_unknown(run: store.RunCard | None) -> str:
    return "no churn model" if run is not None and "churn" not in run.folder.trained() else "no scores yet"


def scores() -> None:
    """Draw the headline scores of the current run between chance and ceiling."""
    run = session.current_run()
    report = store.report(run) if run is not None else None
    if run is None or report is None:
        return
    headline = widgets.headline_scores(report)
    if headline:
        widgets.rulers(headline, key="home_scores")


def most_at_risk() -> None:
    """Draw a table of the customers with the highest churn risk and their plans."""
    run = session.current_run()
    if run is None or not widgets.need_scores(run):
        return
    all_scores, risk = store.scores(run), store.risk_index(run)
    if all_scores is None or risk is None:
        return
    has_churn = "churn" in run.folder.trained()
    rows = risk.rows[:LISTED] if has_churn else np.arange(min(LISTED, len(all_scores.customer_id)))
    plans = predictions.plans(run, all_scores, rows, session.policy())
    has_steps = bool((plans.action >= 0).any())
    heading = "Highest churn risk" + (", and the next actions" if has_steps else "")
    st.header(heading if has_churn else "Next actions", anchor=False)
    labels = plans.catalogue.labels
    table = pd.DataFrame(
        {
            "customer": plans.customer_id,
            "churn probability": (100 * plans.churn_p).round(1),
            "events": plans.n_events,
            **{f"step {k + 1}": [labels[a] if a >= 0 else "" for a in plans.action[:, k]] for k in range(N_STEPS)},
            "instead of": [customer_list.in_words(row, labels) for row in plans.before],
        }
    )
    empty = [name for name in table if not has_steps and str(name).startswith(("step", "instead"))]
    st.dataframe(
        table.drop(columns=empty if has_churn else [*empty, "churn probability"]),
        hide_index=True,
        alt="Customers with the highest churn risk, with their next three actions",
        row_height=customer_list.TALL if has_steps else None,
        column_config={
            "customer": st.column_config.TextColumn(pinned=True),
            "churn probability": customer_list.risk_bar(),
            "events": st.column_config.NumberColumn(help="Number of events in the history."),
            **{f"step {k + 1}": st.column_config.TextColumn(width=110) for k in range(N_STEPS)},
            "instead of": st.column_config.TextColumn(
                help="Plan of the sequence model if the churn risk were below the threshold.", width=230
            ),
        },
    )
    st.caption(
        f"Threshold {digits.threshold(session.threshold())}. The {len(table)} highest risks of "
        f"{len(all_scores.customer_id):,} customers."
        if has_churn
        else f"The first {len(table)} of {len(all_scores.customer_id):,} customers. This run has no churn model."
    )
