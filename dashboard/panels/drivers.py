"""Why a customer, or many, are at risk: the drivers of the churn probability, in words and as a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts import decision as decision_charts
from dashboard.charts import digits
from dashboard.panels import customer_list, widgets
from dashboard.state import predictions, store

if TYPE_CHECKING:
    from crm_models.inference.drivers import Driver, Explained

IN_WORDS = 4
"""Drivers on each side that are told in words."""
LEAST_POINTS = 0.05
"""Smaller contributions would be shown as +0.0."""
METHOD = (
    "The customer is compared with a few others of this cohort, from low to high risk, whose average is the first bar. "
    "Features, kinds of events and the time since the last event are taken over one after the other, in many orders, "
    "and the churn model predicts each time: **Shapley values**, computed on the very model. The points add up to the "
    "churn probability. They say what the model goes by, not what would happen if it were changed."
)


def of_customer(card: store.RunCard, row: int) -> None:
    """Draw what raises and what lowers the churn probability of the customer at `row`, and by how much."""
    explained = None
    with (
        widgets.guarded("The drivers cannot be computed:"),
        st.spinner("Comparing with other customers", show_time=True),
    ):
        explained = predictions.drivers(card, row)
    if explained is None:
        return
    left, right = st.columns(2)
    for place, heading, sign in ((left, "Raises the risk", 1), (right, "Lowers the risk", -1)):
        with place:
            st.markdown("\n".join([f"**{heading}**", "", *_lines(explained, sign)]))
    table = pd.DataFrame(
        [(d.name, d.value, d.points, d.error) for d in explained.drivers],
        columns=["name", "value", "points", "standard error"],
    )
    errors = table["standard error"].head(IN_WORDS)
    widgets.chart(
        decision_charts.waterfall(table, explained.base, explained.churn_p),
        key="waterfall",
        alt=f"Drivers of a churn probability of {digits.share(explained.churn_p)}, strongest first",
        table=table,
        note=f"{METHOD} Sampling error of the strongest: about {errors.mean():.1f} points.",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            widgets.PAGES["attention"],
            label="What the model looks at",
            icon=":material/grid_on:",
            query_params=customer_list.link_to(explained.customer_id),
        )


def _lines(explained: Explained, sign: int) -> list[str]:
    """The strongest drivers on one side as lines of Markdown."""
    found = [d for d in explained.drivers if sign * d.points >= LEAST_POINTS][:IN_WORDS]
    return [f"- {_phrase(driver)}" for driver in found] or ["- nothing noticeable"]


def _phrase(driver: Driver) -> str:
    name = widgets.plain(driver.name, 60)
    separator = ", " if driver.is_event else ": "
    return f"{name}{separator}{widgets.plain(driver.value, 40)} **{driver.points:+.1f} points**"


def of_many(card: store.RunCard, who: str, rows: np.ndarray) -> None:
    """Draw the mean size of each driver over many customers. who: names them, as in "customers at risk"."""
    mark = predictions.scores_mark(card)
    with widgets.guarded("The drivers cannot be computed:"), st.spinner("Comparing customers", show_time=True):
        table, n, base = predictions.drivers_of_many(mark, who, card, rows)
        faithful = predictions.faithfulness(mark, card)
        widgets.chart(
            decision_charts.driver_sizes(table, f"What drives the risk of {who}"),
            key="driver_sizes",
            alt=f"Mean size of the drivers over {digits.count(n, 'customer')}, largest first",
            table=table,
            note=f"Over {digits.count(n, 'customer')}, compared with others whose churn probability is "
            f"{digits.share(base)} on average. {METHOD}",
        )
        st.caption(f":material/verified: {faithful.said()}")
