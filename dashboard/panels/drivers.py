"""Why a customer, or many, are at risk, and why they get their steps: drivers in words and as a chart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts import decision as decision_charts
from dashboard.charts import digits
from dashboard.panels import customer_list, widgets
from dashboard.state import predictions, reasons, store

if TYPE_CHECKING:
    from crm_models.inference.drivers import Driver, Reasons
    from crm_models.inference.step_drivers import StepReasons

STEP = "explained_step"
IN_WORDS = 4
"""Drivers on each side that are told in words."""
LEAST_POINTS = 0.05
"""Smaller contributions would be shown as +0.0."""
_COMPARED = (
    "Features, kinds of events and the time since the last event are taken over one after the other, in many orders, "
    "and the model predicts each time: **Shapley values**, computed on the very model. The points add up to the "
    "probability. They say what the model goes by, not what would happen if it were changed."
)
METHOD = (
    "The customer is compared with a few others of this cohort, from low to high risk, whose average is the first bar. "
    + _COMPARED
)
STEP_METHOD = (
    "The customer is compared with others of this cohort, with short and long histories; the first bar is how probable "
    "the same action would be for them, after the same steps before it. " + _COMPARED
)


def of_customer(card: store.RunCard, row: int) -> None:
    """Draw what raises and what lowers the churn probability of the customer at `row`, and by how much."""
    explained = None
    with (
        widgets.guarded("The drivers cannot be computed:"),
        st.spinner("Comparing with other customers", show_time=True),
    ):
        explained = reasons.drivers(card, row)
    if explained is None:
        return
    _draw(explained, explained.churn_p, "churn probability", METHOD)
    _to_attention(explained.customer_id, "churn")


def of_steps(card: store.RunCard, row: int) -> None:
    """Draw the choice of a step of the model, and what raises and lowers its probability for the customer at `row`."""
    steps: tuple[StepReasons, ...] = ()
    with (
        widgets.guarded("The drivers cannot be computed:"),
        st.spinner("Comparing with other customers", show_time=True),
    ):
        steps = reasons.step_drivers(card, row)
    if not steps:
        widgets.empty_state("person_off", "No steps to explain", "The sequence model plans no steps for this customer.")
        return
    names = {one.step: f"Step {one.step}: {widgets.plain(one.action, 40)}" for one in steps}
    # No segmented control: the text of its chosen part is too pale for the dark theme.
    step = st.radio(
        "Step planned by the model", list(names), format_func=names.__getitem__, key=STEP, horizontal=True,
        help="The plan of the sequence model, before the policy. Retention steps come from the churn risk: see Why "
        "this risk.",
    )  # fmt: skip
    one = next((one for one in steps if one.step == step), steps[0])
    _draw(one, one.step_p, f"probability of step {one.step}", STEP_METHOD, of_risk=False)
    with widgets.guarded("The drivers cannot be checked:"):
        st.caption(f":material/verified: {reasons.step_faithfulness(predictions.scores_mark(card), card).said()}")
    _to_attention(one.customer_id, "sequence")


def _draw(explained: Reasons, p: float, what: str, method: str, *, of_risk: bool = True) -> None:
    """Draw the drivers of a probability in words and as a waterfall. what: names the probability."""
    left, right = st.columns(2)
    of = "risk" if of_risk else "probability"
    for place, heading, sign in ((left, f"Raises the {of}", 1), (right, f"Lowers the {of}", -1)):
        with place:
            st.markdown("\n".join([f"**{heading}**", "", *_lines(explained, sign)]))
    table = pd.DataFrame(
        [(d.name, d.value, d.points, d.error) for d in explained.drivers],
        columns=["name", "value", "points", "standard error"],
    )
    errors = table["standard error"].head(IN_WORDS)
    widgets.chart(
        decision_charts.waterfall(table, explained.base, p, what, of_risk=of_risk),
        key="waterfall",
        alt=f"Drivers of a {what} of {digits.share(p)}, strongest first",
        table=table,
        note=f"{method} Sampling error of the strongest: about {errors.mean():.1f} points.",
    )


def _to_attention(customer_id: str, model: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            widgets.PAGES["attention"],
            label="What the model looks at",
            icon=":material/grid_on:",
            query_params=customer_list.link_to_attention(customer_id, model),
        )


def _lines(explained: Reasons, sign: int) -> list[str]:
    """The strongest drivers on one side as lines of Markdown."""
    found = [d for d in explained.drivers if sign * d.points >= LEAST_POINTS][:IN_WORDS]
    return [f"- {_phrase(driver)}" for driver in found] or ["- nothing noticeable"]


def _phrase(driver: Driver) -> str:
    name = widgets.plain(driver.name, 60)
    separator = ", " if driver.is_event else " "
    return f"{name}{separator}{widgets.plain(driver.value, 40)}: **{driver.points:+.1f} points**"


def of_many(card: store.RunCard, who: str, rows: np.ndarray) -> None:
    """Draw the mean size of each driver over many customers. who: names them, as in "customers at risk"."""
    mark = predictions.scores_mark(card)
    with widgets.guarded("The drivers cannot be computed:"), st.spinner("Comparing customers", show_time=True):
        table, n, base = reasons.drivers_of_many(mark, who, card, rows)
        faithful = reasons.faithfulness(mark, card)
        widgets.chart(
            decision_charts.driver_sizes(table, f"What drives the risk of {who}"),
            key="driver_sizes",
            alt=f"Mean size of the drivers over {digits.count(n, 'customer')}, largest first",
            table=table,
            note=f"Over {digits.count(n, 'customer')}, compared with others whose churn probability is "
            f"{digits.share(base)} on average. {METHOD}",
        )
        st.caption(f":material/verified: {faithful.said()}")
