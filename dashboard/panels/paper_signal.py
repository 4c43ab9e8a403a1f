"""The last chapter of the paper page: the same tiny models where there is something to learn, by how much."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.schema import MODEL_NAMES
from dashboard.charts import paper as paper_charts
from dashboard.panels import widgets
from dashboard.panels.paper_story import MODELS, SCORE, Story, chapter
from dashboard.state import paper_store

FLOOR = {"sequence": 0.0, "churn": 0.5}
"""Where the axis begins: a churn model that always says "stays" is right more often than not."""
DOES = {"sequence": "of the next actions", "churn": "of the customers"}


@st.fragment
def signal(tale: Story) -> None:
    """The same tiny models on cohorts with more and more to learn, from chance to beyond Table II."""
    chapter("signal", "What it takes to reach Table II: something to learn")
    st.markdown(
        "The same two tiny models, now on generated customers whose behaviour follows a pattern, more or less. Move "
        "the signal from **0**, pure chance, to **1**."
    )
    if not tale.lifelike:
        st.caption("The models for this chapter are trained after the re-runs; the first ones take a few seconds.")
        return
    chosen = st.slider(
        "Signal",
        min_value=0.0,
        max_value=1.0,
        value=0.0,
        step=0.1,
        format="%.1f",
        key=paper_store.SIGNAL,
        bind="query-params",
        help="How much the next action depends on the customer's past, and leaving on their behaviour.",
    )
    found = tale.lifelike.get(round(chosen, 1))
    _signal_words(tale, chosen, found)
    grid, table = st.grid(2, min_column_width=widgets.CHART_WIDTH), _signal_table(tale)
    for model in MODEL_NAMES:
        score = SCORE[model]
        points = [
            (at, own[model]["chance"][score], own[model][score], own[model]["ceiling"][score])
            for at, own in tale.lifelike.items()
        ]
        with grid.cell():
            widgets.chart(
                paper_charts.signal_curve(
                    points, tale.paper["table_2"][model]["accuracy"], round(chosen, 1), MODELS[model], FLOOR[model]
                ),
                key=f"paper_signal_{model}",
                alt=f"Accuracy of the {MODELS[model]} by signal, between chance and ceiling",
                table=table[table["Model"] == MODELS[model]].drop(columns="Model"),
                note=_SIGNAL,
            )
    _recipe(tale)


_SIGNAL = """
From left to right the customers' behaviour follows their pattern more closely. **Chance** is what guessing reaches: any
action alike; for leaving, always the more frequent answer. The **ceiling** is the best that any model could do,
computed from the probabilities that the customers were drawn with, not from a model. At signal 0 the two meet: nobody
can learn what is not there. A small test group can land a little above the ceiling by luck.
"""


def _signal_words(tale: Story, chosen: float, found: dict[str, Any] | None) -> None:
    if found is None:
        st.markdown(f":material/hourglass_top: The models for signal {chosen:.1f} are being trained.")
        return
    said = []
    for model in MODEL_NAMES:
        score, claim = SCORE[model], tale.paper["table_2"][model]["accuracy"]
        ours = found[model][score]
        verdict = "reached" if ours >= claim else "not reached"
        said.append(
            f"- **{MODELS[model]}: {ours:.1%}** {DOES[model]} right; chance {found[model]['chance'][score]:.1%}, "
            f"ceiling {found[model]['ceiling'][score]:.1%}; Table II ({claim:.0%}) **{verdict}**"
        )
    st.markdown("\n".join(said))


def _signal_table(tale: Story) -> pd.DataFrame:
    rows = []
    for at, own in tale.lifelike.items():
        for model in MODEL_NAMES:
            score, loss = SCORE[model], "loss" if model == "sequence" else "log_loss"
            part, claim = own[model], tale.paper["table_2"][model]
            rows.append(
                {
                    "Model": MODELS[model],
                    "Signal": at,
                    "Test customers": part["customers"],
                    "Chance": part["chance"][score],
                    "Ours": part[score],
                    "Ceiling": part["ceiling"][score],
                    "Table II": claim["accuracy"],
                    "Loss: chance": part["chance"][loss],
                    "Loss: ours": part[loss],
                    "Loss: ceiling": part["ceiling"][loss],
                    "Loss: Table II": claim["loss"],
                }
            )
    return pd.DataFrame(rows)


def _recipe(tale: Story) -> None:
    own = next(iter(tale.lifelike.values()))
    seconds = np.median([found["seconds"] for found in tale.lifelike.values()])
    st.caption(
        f"What it took: {own['customers']:,} customers instead of 100, up to {own['max_events']} events each instead "
        f"of 5, {own['sequence_epochs']} and {own['churn_epochs']} epochs in batches of {own['batch_size']} instead of "
        f"ten updates; {seconds:.0f} s per signal on this machine. The models stay as small as the paper's: width "
        f"{own['sequence_width']} and {own['churn_width']}, two heads."
    )


def take_away(tale: Story) -> None:
    """The whole re-run as one HTML file, once it is complete."""
    if tale.result is None or 1.0 not in tale.lifelike:
        return
    complete = tale.result | {"lifelike": tale.lifelike[1.0]}
    st.download_button(
        "Download the report (HTML)",
        lambda: _report(complete),
        file_name="paper.html",
        mime="text/html",
        icon=":material/download:",
        on_click="ignore",
    )


def _report(result: dict[str, Any]) -> str:
    from crm_models.paper.report import page

    return page(result)
