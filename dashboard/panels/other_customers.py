"""Scoring of another cohort with a run, such as this month's export, compared with training and the last scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.records import CustomerScores
from crm_models.data.drift import Difference
from crm_models.planning.changes import Changes
from crm_models.planning.plans import Plans, make_plans
from crm_models.planning.policy import Policy
from dashboard.charts import digits
from dashboard.panels import customer_list, widgets
from dashboard.panels.plan_file import Bound, Export
from dashboard.state import access, predictions, session, store

OTHER = "other_cohort"
SHOWN = 200
ICONS = {"refuse": ":material/block:", "warning": ":material/warning:", "note": ":material/info:"}


def section(card: store.RunCard) -> None:
    """Draw the choice of another cohort, its comparison with training, the button to score it, and what changed."""
    with st.expander(
        "Score other customers with this run", icon=":material/group_add:", key="others", on_change="rerun"
    ) as box:
        if not box.open:
            return
        others = [name for name in store.cohort_names() if name != card.cohort]
        if not others:
            st.markdown("Bring this month's customers in on the Cohort page, then score them here.")
            st.page_link(widgets.PAGES["cohort"], label="Bring your own data", icon=":material/upload_file:")
            return
        name = st.selectbox(
            "Customers to score", others, index=None, key=OTHER, placeholder="Select a cohort", persist_state="session",
            width=320,
        )  # fmt: skip
        if name is None:
            return
        with widgets.guarded("These customers cannot be scored:"):
            found = store.differences(card, name)
            _differences(found)
            scored = store.scores(card, name)
            _button(card, name, found, is_scored=scored is not None)
            if scored is not None:
                _changes(card, name, scored, found)


def _differences(found: Sequence[Difference]) -> None:
    """Draw how the customers differ from those the run was trained on."""
    if not found:
        st.markdown(":material/check_circle: These customers look like those that the models were trained on.")
        return
    st.markdown("**Compared with the training customers**")
    st.markdown("\n".join(f"- {ICONS[d.severity]} {widgets.plain(d.text)}" for d in found))


def _button(card: store.RunCard, name: str, found: Sequence[Difference], *, is_scored: bool) -> None:
    """Draw the button that queues the scoring, or its progress or failure."""
    at_work = [job for job in store.work() if job.job.run == card.run_id and job.job.cohort == name]
    if at_work:
        st.markdown(":material/hourglass_top: Scoring these customers. This page updates by itself.")
        widgets.wait_for_change()
        return
    for failure in store.failures():
        if failure.job.run == card.run_id and failure.job.cohort == name:
            widgets.error_box(failure.reason, "The customers could not be scored:")
    nonsense = any(d.severity == "refuse" for d in found)
    allowed = not nonsense or st.checkbox(
        "Score them all the same: what does not fit is read as missing, and the results may be nonsense",
        key="allow_drift",
    )
    label = "Score again" if is_scored else "Score these customers"
    if st.button(label, type="secondary" if is_scored else "primary", key="score_others", disabled=not allowed):
        store.ask_for_scores_of(card, name, allow_drift=nonsense)
        st.rerun()


def _changes(card: store.RunCard, name: str, scored: CustomerScores, found: Sequence[Difference]) -> None:
    """Draw how many customers are new, gone, moved or planned otherwise than by the scores of the run's own cohort."""
    own, policy = store.scores(card), session.policy()
    assert own is not None  # the page asked for them first
    points = st.number_input(
        "Risk moved by at least (points)", 1.0, 100.0, 10.0, 1.0, key="moved_points", persist_state="session", width=240
    )
    marks = predictions.scores_mark(card), predictions.scores_mark(card, name)
    changes = predictions.changed(marks, policy, float(points), (own, scored), predictions.catalogue(card, policy))
    at_risk = int(policy.at_risk(scored.churn_p).sum())
    with st.grid(5, min_column_width=140):
        for label, count, note in (
            ("At risk", at_risk, f"of {len(scored.customer_id):,}"),
            ("New", len(changes.new), f"not in {widgets.plain(card.cohort, 24)}"),
            ("Gone", len(changes.gone), "no longer here"),
            ("Risk moved", len(changes.moved), f"{len(changes.newly_at_risk):,} newly at risk"),
            ("Other plan", len(changes.plan_changed), f"of {changes.common:,} in both"),
        ):
            widgets.metric(label, f"{count:,}", note, height="content")
    _table(card, name, scored, changes, policy)
    _download(card, name, scored, found)


def _table(card: store.RunCard, name: str, scored: CustomerScores, changes: Changes, policy: Policy) -> None:
    """Draw the customers of one kind of change, with both probabilities and the plan, and a file of all of them."""
    own = store.scores(card)
    assert own is not None  # the page asked for them first
    kinds = {
        "risk moved": changes.moved,
        "newly at risk": changes.newly_at_risk,
        "new": changes.new,
        "gone": changes.gone,
        "other plan": changes.plan_changed,
    }
    kind = st.radio("Show", list(kinds), key="changes_shown", horizontal=True)
    rows, is_gone = kinds[kind], kind == "gone"
    if not len(rows):
        st.caption("Nobody.")
        return
    scores = own if is_gone else scored  # of those who left, what was known of them
    before = None if is_gone else changes.before
    plans = predictions.plans(card, scores, rows[:SHOWN], policy)
    config = customer_list.column_config(plans) | {"before": customer_list.risk_bar()}
    shown = _listed(plans, before, rows[:SHOWN])
    st.dataframe(shown, hide_index=True, alt=f"Customers: {kind}", column_config=config, row_height=customer_list.TALL)
    if len(rows) > SHOWN:
        st.caption(f"The first {SHOWN} of {digits.count(len(rows), 'customer')}.")
    words = predictions.catalogue(card, policy)

    def file() -> bytes:
        return widgets.table_file(_as_text(_listed(make_plans(scores.take(rows), words, policy), before, rows)))

    st.download_button(
        f"These {digits.count(len(rows), 'customer')} (CSV)",
        data=access.exported(f"cohorts/{name}, runs/{card.run_id}", file),
        file_name=f"{name}-{kind.replace(' ', '-')}.csv", mime="text/csv", icon=":material/download:",
        on_click="ignore", key="download_changes", disabled=not access.may("plans.export"),
    )  # fmt: skip


def _listed(plans: Plans, before: np.ndarray | None, rows: np.ndarray) -> pd.DataFrame:
    """The list of these plans, with the churn probability before (N,) if there was one."""
    table = customer_list.table(plans, has_churn=not np.isnan(plans.churn_p).all())
    table = table.drop(columns=["from", "instead of"])
    if before is not None and "churn probability" in table:
        table.insert(1, "before", (100 * before[rows]).round(1))
    return table


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(plan=table["plan"].map("; ".join))


def _download(card: store.RunCard, name: str, scored: CustomerScores, found: Sequence[Difference]) -> None:
    risk = store.risk_index(card, name)
    assert risk is not None  # there are scores
    bound = Bound(policy=session.policy(), filter=customer_list.Filter())
    export = Export(card, scored, risk, bound, scope="all", layout="wide", cohort=name, drift=found)
    with st.container(horizontal=True):
        export.buttons("Download their plans (CSV)", key="download_others", manifest_key="download_others_manifest")
