"""Scores by group of customers on the evaluation page, and from a group to its customers."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from crm_models.evaluation.slices import MIN_CUSTOMERS, churn_slices, sequence_slices
from dashboard.charts import evaluation as evaluation_charts
from dashboard.jobs.tested import Tested
from dashboard.panels import customer_list, widgets
from dashboard.state import predictions, session, store

BY = "slices_by"


def by_group(run: store.RunCard, tested: Tested, report: dict[str, Any]) -> None:
    """Draw the choice of grouping, the scores of both models by group, and the way to a group's customers."""
    with widgets.guarded("The customers cannot be grouped:"):
        by = st.selectbox(
            "Group by", predictions.ways_to_group(run), key=BY, persist_state="session", width=320,
            help="Behaviour in the history, or a column of the profile.",
        )  # fmt: skip
        picked: list[str | None] = []
        if tested.churn is not None and report.get("churn"):
            group, names = predictions.groups_of(run, tested.churn.customer_id, by)
            picked.append(_churn(churn_slices(tested.churn, group, names)))
        if tested.sequence is not None and report.get("sequence"):
            group, names = predictions.groups_of(run, tested.sequence.customer_id, by)
            chance = (report["sequence"].get("chance") or {}).get("step_accuracy")
            picked.append(_sequence(sequence_slices(tested.sequence, group, names), chance))
        picked.append(_plans(run, by))
        for name in filter(None, picked):
            _open(by, name)
        _to_customers(run, by)


def _open(by: str, group: str) -> None:
    """Show the customers of a group on the customers page."""
    st.session_state[customer_list.BY], st.session_state[customer_list.GROUP] = by, group
    st.switch_page(widgets.PAGES["customers"], query_params={"customer_tab": "All customers"})


def _churn(table: pd.DataFrame) -> str | None:
    """Draw both churn rates of each group; returns the group that was clicked."""
    if table.empty:
        st.caption(f"No group has {MIN_CUSTOMERS} held-out customers whose churn is known.")
        return None
    off = table[table["is_off"]]
    if off.empty:
        st.markdown(
            ":material/check_circle: In every group, the mean prediction lies inside the interval of what happened."
        )
    else:
        worst = off.iloc[0]
        side = "too high" if worst["gap"] > 0 else "too low"
        st.markdown(
            f":material/warning: Furthest off: **{widgets.plain(worst['group'], 60)}**, predicted "
            f"{100 * abs(worst['gap']):.1f} points {side}."
        )
    row = widgets.chart(
        evaluation_charts.slices(table),
        key="churn_slices",
        alt="Predicted and observed churn rate by group, worst first",
        table=table,
        note="Held-out customers of each group: the share who churned with its 95% interval, and the mean of their "
        "predicted probabilities. A diamond outside the interval shows a group for which the model is too high or too "
        "low; those come first. The **AUC** of each group is under Numbers. A click on a point opens the customers of "
        "its group.",
        pick=True,
    )
    return None if row is None else str(table["group"].iloc[row])


def _sequence(table: pd.DataFrame, chance: float | None) -> str | None:
    """Draw the accuracy of each group; returns the group that was clicked."""
    if table.empty:
        return None
    row = widgets.chart(
        evaluation_charts.accuracy_slices(table, chance),
        key="sequence_slices",
        alt="Share of correct next actions by group, lowest first",
        table=table,
        note="Share of the known next steps that the plan has right, with 95% intervals, lowest first. A click on a "
        "point opens the customers of its group.",
        pick=True,
    )
    return None if row is None else str(table["group"].iloc[row])


def _plans(run: store.RunCard, by: str) -> str | None:
    """Draw the planned actions of each group, of all customers; returns the group that was clicked."""
    policy = session.policy()
    table = predictions.mix_by_group(run, by, policy).table()
    row = widgets.chart(
        evaluation_charts.plans_by_group(table, policy.retention_actions),
        key="plan_slices",
        alt="Planned steps by group: the share of each action",
        table=table,
        note=f"All customers of the cohort at a threshold of {policy.threshold:.2f}: the share of each action in the "
        "steps of a group's plans. How many customers are at risk is under Numbers. A click on a bar opens the "
        "customers of its group.",
        pick=True,
    )
    return None if row is None else str(table["group"].iloc[row])


def _to_customers(run: store.RunCard, by: str) -> None:
    """Draw a button to the customers of one group."""
    _, names = predictions.groups(run, by)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Customers of the group", names, key=f"slice_of_{by}", width=320)
        if st.button("Show these customers", icon=":material/groups:", key="show_group"):
            _open(by, name)
