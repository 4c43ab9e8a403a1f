"""What would bring a customer below the threshold: the smallest change, others, and what does not help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from dashboard.charts import digits
from dashboard.panels import customer_list, widgets
from dashboard.state import reasons, session, store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crm_models.inference.counterfactual import Change, Counterfactual

COLUMNS = "ours_to_change"
EVENTS = "ours_to_add"
ABOUT = (
    "Only what is seen among these customers is tried: events that others have had, as often as is usual within 30 "
    "days, and values of the columns marked as yours. Every set of changes is a new history that the churn model "
    "scores: an added event also makes the customer look active. The smallest set is shown; no part of it suffices. It "
    "says what the model would predict. Whether a contact keeps a customer, only a campaign's control group tells."
)


def of_customer(card: store.RunCard, row: int) -> None:
    """Draw what a business can change, and the smallest such change that brings the customer below the threshold."""
    encoder = card.folder.encoder()
    left, right = st.columns(2)
    columns = left.multiselect(
        "Columns that are yours to change",
        [f.name for f in encoder.numeric] + [f.name for f in encoder.categorical],
        key=f"{COLUMNS}_{card.cohort}", persist_state="session", placeholder="None",
        help="Such as a tariff or a service; not the age of a customer.",
    )  # fmt: skip
    events = right.multiselect(
        "Events that you can add", list(encoder.action_labels), key=f"{EVENTS}_{card.cohort}", persist_state="session",
        placeholder="All that customers have had",
    )  # fmt: skip
    found = None
    with (
        widgets.guarded("No change can be tried:"),
        st.spinner("Trying changes", show_time=True),
    ):
        found = reasons.counterfactual(card, row, session.threshold(), columns, events or None)
    if found is None:
        return
    _answer(found)
    st.caption("This is what the model would say. Whether a contact keeps a customer, only a control group tells.")
    if found.alone:
        _alone(found)
    with st.popover("How to read this", icon=":material/help:", type="tertiary"):
        st.markdown(ABOUT)


def _answer(found: Counterfactual) -> None:
    at = f"the threshold of {digits.threshold(found.threshold)}"
    if found.changes:
        st.markdown(
            f":material/trending_down: **{_words(found.changes)}**: the churn probability falls from "
            f"{digits.share(found.churn_p)} to **{digits.share(found.new_p)}**, below {at}."
        )
        others = [f"{_words(changes)} ({digits.share(p)})" for changes, p in found.others]
        if others:
            st.markdown(f"Or, with as few changes: {'; '.join(others)}.")
        if found.any_event_does:
            st.markdown(
                ":material/info: Every kind of event would do: for this customer the model goes by the time since the "
                "last event."
            )
    elif found.suffices:
        st.markdown(f":material/check_circle: This customer is not above {at}, so nothing has to change.")
    elif not found.alone:
        st.markdown(
            ":material/info: There is nothing to try: no event can be added that this churn model would see. Mark a "
            "column that is yours to change."
        )
    elif found.best:
        st.markdown(
            f":material/block: No plausible change brings this customer below {at}. The closest is "
            f"{digits.share(found.new_p)}: **{_words(found.best)}**."
        )
    else:
        st.markdown(f":material/block: No plausible change lowers the risk of {digits.share(found.churn_p)}.")


def _words(changes: Sequence[Change]) -> str:
    from crm_models.inference.counterfactual import in_words

    text = in_words(changes)
    return widgets.plain(text[:1].upper() + text[1:], 200)


def _alone(found: Counterfactual) -> None:
    """Draw the best change of each event and column by itself, those that do not help last."""
    useless, is_above = [change for change, _ in found.did_not_help], found.churn_p > found.threshold
    st.markdown("**Each change by itself**")
    table = pd.DataFrame(
        {
            "change": [change.phrase() for change, _ in found.alone],
            "churn probability": [100 * p for _, p in found.alone],
            "points": [round(100 * (p - found.churn_p), 1) + 0.0 for _, p in found.alone],  # never -0.0
            "result": [
                "does not help" if change in useless else "below the threshold" if is_below and is_above else "helps"
                for change, is_below in ((change, p < found.threshold) for change, p in found.alone)
            ],
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        alt="Churn probability after each change by itself",
        column_config={
            "change": st.column_config.TextColumn(width="large"),
            "churn probability": customer_list.risk_bar(),
            "points": st.column_config.NumberColumn(format="%+.1f"),
        },
    )
