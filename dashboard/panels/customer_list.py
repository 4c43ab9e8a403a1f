"""Customer list with filter and paging, shared by the customers and plans pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import streamlit as st

from crm_models.core.records import CustomerScores
from crm_models.core.schema import N_STEPS, PLAN_SOURCES
from crm_models.planning.plans import Plans
from crm_models.planning.policy import Policy
from dashboard.charts import digits, theme
from dashboard.panels import stability, widgets
from dashboard.state import predictions, session, store

SEARCH = "search"
WHO = "who"
SOURCE = "source"
SORT = "sort"
CONFIDENCE = "confidence"
BY = "group_by"
GROUP = "group"
PAGE = "list_page"

ROWS = 100
"""Customers on one page of the list."""

WHO_OPTIONS = ("everybody", "at risk", "not at risk")
CONFIDENCES = ("confident", "not confident")
SORTS = ("highest risk first", "lowest risk first", "longest history first", "in the order of the cohort")
SOURCES = {
    "model": "the model's plan",
    "override": "retention in all steps",
    "graded": "retention in some steps",
    "fallback": "popular actions",
}


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which customers to list, and in which order."""

    search: str = ""
    who: str = "everybody"
    source: str | None = None
    confidence: str | None = None
    sort: str = SORTS[0]
    by: str | None = None
    group: str | None = None


def current_filter() -> Filter:
    """The viewer's filter, also on pages that do not draw it."""
    state = st.session_state
    return Filter(
        search=(state.get(SEARCH) or "").strip(),
        who=state.get(WHO) or "everybody",
        source=state.get(SOURCE),
        confidence=state.get(CONFIDENCE),
        sort=state.get(SORT) or SORTS[0],
        by=state.get(BY),
        group=state.get(GROUP),
    )


def filter_row(card: store.RunCard, *, search: bool = True) -> Filter:
    """Draw the filter controls; search=False if the page already has the search box."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if search:
            search_box("Search customers")

        st.radio("Show", WHO_OPTIONS, horizontal=True, key=WHO, persist_state="session")
        st.selectbox(
            "Plan",
            list(PLAN_SOURCES),
            index=None,
            format_func=SOURCES.__getitem__,
            key=SOURCE,
            persist_state="session",
            placeholder="any plan",
            width=210,
        )
        if stability.of_plans(card) is not None:
            st.selectbox(
                "Seeds", CONFIDENCES, index=None, key=CONFIDENCE, persist_state="session", placeholder="any", width=160,
                help="Whether trainings with other seeds give the same plan.",
            )  # fmt: skip
        st.selectbox("Order", SORTS, key=SORT, persist_state="session", width=230)
        by = st.selectbox(
            "Group by", predictions.ways_to_group(card), index=None, key=BY, persist_state="session",
            placeholder="no group", width=210,
        )  # fmt: skip
        if by is not None:
            names = predictions.groups(card, by)[1]
            if st.session_state.get(GROUP) not in names:
                st.session_state.pop(GROUP, None)
            st.selectbox("Group", names, index=None, key=GROUP, persist_state="session", placeholder="all", width=210)
    return current_filter()


def search_box(label: str, placeholder: str = "Part of a customer id") -> str:
    """Draw the search box, shared by all pages; returns the search text."""
    st.text_input(
        label,
        key=SEARCH,
        persist_state="session",
        type="search",
        placeholder=placeholder,
        icon=":material/search:",
        live="250ms",
        width=300,
    )
    return current_filter().search


def filtered(card: store.RunCard, everybody: CustomerScores, policy: Policy, wanted: Filter) -> np.ndarray:
    """Rows of the cohort that match the filter, in its order. For a million customers it takes tens of ms."""
    n = len(everybody.customer_id)
    passes = np.ones(n, dtype=bool)
    at_risk = policy.at_risk(everybody.churn_p)
    if wanted.search:
        ids = predictions.ids(predictions.scores_mark(card), everybody.customer_id)
        passes &= pc.match_substring(ids, wanted.search, ignore_case=True).to_numpy(zero_copy_only=False)
    if wanted.who != "everybody":
        passes &= at_risk if wanted.who == "at risk" else ~at_risk
    if wanted.source is not None:
        passes &= _source(everybody, policy) == PLAN_SOURCES.index(wanted.source)
    if wanted.confidence is not None and (seeds := stability.of_plans(card)) is not None:
        agree = pd.Series(seeds.agree(policy), index=seeds.customer_id).reindex(everybody.customer_id)
        passes &= (agree == (wanted.confidence == CONFIDENCES[0])).to_numpy()
    if wanted.by is not None and wanted.group is not None and wanted.by in predictions.ways_to_group(card):
        codes, names = predictions.groups(card, wanted.by)
        if wanted.group in names and len(codes) == n:
            passes &= codes == names.index(wanted.group)
    risk = store.risk_index(card)
    if wanted.sort in SORTS[:2] and risk is not None:
        rows = risk.rows
        rows = np.concatenate([rows, np.flatnonzero(np.isnan(everybody.churn_p))])
        rows = rows if wanted.sort == SORTS[0] else rows[::-1]
        return rows[passes[rows]]
    rows = np.flatnonzero(passes)
    if wanted.sort == SORTS[2]:
        rows = rows[np.argsort(-everybody.n_events[rows], kind="stable")]
    return rows


def _source(scores: CustomerScores, policy: Policy) -> np.ndarray:
    """(N,) index in PLAN_SOURCES of each customer's plan, without making the plans."""
    has_model = np.zeros(len(scores.customer_id), dtype=bool)
    if scores.plans is not None:
        has_model = (scores.n_events > 0) & (scores.plans.actions > 0).any(axis=1)
    source = np.where(has_model, PLAN_SOURCES.index("model"), PLAN_SOURCES.index("fallback"))
    is_changed = policy.n_retention(scores.churn_p) > 0
    return np.where(is_changed, PLAN_SOURCES.index(policy.mode), source)


def page_of(rows: np.ndarray) -> np.ndarray:
    """The rows on the current page of the list; `turn_pages` draws the paging control."""
    pages = max(1, -(-len(rows) // ROWS))
    at = min(int(st.session_state.get(PAGE) or 1), pages)
    return rows[(at - 1) * ROWS : at * ROWS]


def turn_pages(n_rows: int) -> None:
    """Draw the number of customers in the list and the paging control."""
    pages = max(1, -(-n_rows // ROWS))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(digits.count(n_rows, "customer") + (f", {ROWS} per page" if pages > 1 else ""))
        if pages > 1:
            st.pagination(pages, key=PAGE, persist_state="page")


def in_words(steps: np.ndarray, labels: Sequence[str] | np.ndarray) -> str:
    """The actions of a plan, -1 for none, in one text; names may have commas."""
    return "; ".join(labels[a] for a in steps if a >= 0)


def table(plans: Plans, *, has_churn: bool = True) -> pd.DataFrame:
    """Table of plans for display: one row per customer, the three steps as chips."""
    labels = np.array([*plans.catalogue.labels, ""], dtype=object)
    shown = pd.DataFrame(
        {
            "customer": plans.customer_id,
            "churn probability": (100 * plans.churn_p).round(1),
            "plan": [[f"{k}. {labels[a]}" for k, a in enumerate(row, 1) if a >= 0] for row in plans.action],
            "from": [SOURCES[PLAN_SOURCES[s]] for s in plans.source],
            "instead of": [in_words(row, labels) for row in plans.before],
            "events": plans.n_events,
        }
    )
    same = (plans.action == plans.before).all(axis=1)
    shown.loc[same, "instead of"] = ""
    return shown if has_churn else shown.drop(columns="churn probability")


def column_config(plans: Plans) -> dict[str, Any]:
    """Column configuration of `table`: risk as a bar, plan as chips, retention actions in their own colour."""
    labels, retention = plans.catalogue.labels, plans.policy.retention_actions[:N_STEPS]
    used = sorted({int(a) for a in plans.action.ravel() if a >= 0})
    options = [f"{k}. {labels[a]}" for a in used for k in range(1, N_STEPS + 1)]
    colors = ["green" if labels[a] in retention else "blue" for a in used for _ in range(N_STEPS)]
    return {
        "customer": st.column_config.TextColumn(pinned=True),
        "churn probability": risk_bar(),
        "plan": st.column_config.MultiselectColumn("three steps", options=options, color=colors, width=330),
        "from": st.column_config.TextColumn(help="Source of the plan.", width=100),
        "instead of": st.column_config.TextColumn(
            help="Plan of the sequence model if the churn risk were below the threshold.", width=200
        ),
        "events": st.column_config.NumberColumn(help="Number of events in the history."),
    }


TALL = 66
"""Height of a row in pixels whose texts wrap over up to three lines: Streamlit wraps from 64 on, and else cuts off."""


def risk_bar() -> Any:
    """Table column with churn probabilities in percent (0 to 100) as bars."""
    return st.column_config.ProgressColumn(format="%.1f%%", min_value=0, max_value=100, color=theme.AT_RISK)


def link_to(customer_id: str) -> dict[str, str]:
    """Query parameters that open the page of a customer."""
    params = {session.CUSTOMER: customer_id, session.THRESHOLD: f"{session.threshold():g}"}
    for key in (session.COHORT, session.RUN):
        if st.session_state.get(key):
            params[key] = st.session_state[key]
    return params


PREDICTIONS = {"sequence": "Next action", "churn": "Churn"}
"""What each model predicts, as the attention page and its address name it."""


def link_to_attention(customer_id: str, model: str) -> dict[str, str]:
    """Query parameters that open the attention page on what a model looks at for a customer."""
    return link_to(customer_id) | {"attention_model": PREDICTIONS[model]}


def nobody() -> None:
    """Draw the empty state of a list without matches."""
    widgets.empty_state("search_off", "No customer matches", "Change the filter or clear the search.")
