"""Last chapter of the paper page: the same small models on customers whose behaviour can be learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.schema import MODEL_NAMES
from dashboard.charts import digits
from dashboard.charts import paper as paper_charts
from dashboard.panels import widgets
from dashboard.panels.paper_story import MODELS, SCORE, Story, chapter
from dashboard.state import access, paper_store

FLOOR = {"sequence": 0.0, "churn": 0.5}
"""Start of the accuracy axis: a churn model that always predicts "stays" is right more than half the time."""
UNIT = {"sequence": "of the next actions", "churn": "of the customers"}


@st.fragment
@widgets.guarded("The signal cannot be shown:")
def signal(story: Story) -> None:
    """Draw the accuracy of the same small models by signal, from chance to beyond Table II."""
    chapter("signal", "What it takes to reach Table II: something to learn")
    st.markdown(
        "The same two small models on generated customers whose behaviour follows a pattern. Move the signal from "
        "**0**, pure chance, to **1**, the full pattern."
    )
    if not story.lifelike:
        st.caption("The models for this chapter are trained after the re-runs. The first ones take a few seconds.")
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
        help="How much the next action depends on the customer's history, and churn on their behaviour.",
    )
    scores = story.lifelike.get(round(chosen, 1))
    _signal_words(story, chosen, scores)
    grid, table = st.grid(2, min_column_width=widgets.CHART_WIDTH), _signal_table(story)
    for model in MODEL_NAMES:
        score = SCORE[model]
        points = [
            (level, result[model]["chance"][score], result[model][score], result[model]["ceiling"][score])
            for level, result in story.lifelike.items()
        ]
        with grid.cell():
            widgets.chart(
                paper_charts.signal_curve(
                    points, story.paper["table_2"][model]["accuracy"], round(chosen, 1), MODELS[model], FLOOR[model]
                ),
                key=f"paper_signal_{model}",
                alt=f"Accuracy of the {MODELS[model]} by signal, between chance and ceiling",
                table=table[table["Model"] == MODELS[model]].drop(columns="Model"),
                note=_SIGNAL,
            )
    _recipe(story)


_SIGNAL = """
From left to right, the customers' behaviour follows their pattern more closely. **Chance** is the accuracy of guessing:
a random action, or always the more frequent outcome for churn. The **ceiling** is the best accuracy that any model
could reach, computed from the probabilities used to generate the customers. At signal 0 the two meet, because there is
nothing to learn. With few held-out customers, a model can exceed the ceiling slightly by luck.
"""


def _signal_words(story: Story, chosen: float, scores: dict[str, Any] | None) -> None:
    if scores is None:
        st.markdown(f":material/hourglass_top: The models for signal {chosen:.1f} are being trained.")
        return
    lines = []
    for model in MODEL_NAMES:
        score, claim = SCORE[model], story.paper["table_2"][model]["accuracy"]
        ours = scores[model][score]
        verdict = "reached" if ours >= claim else "not reached"
        lines.append(
            f"- **{MODELS[model]}: {digits.share(ours)}** {UNIT[model]} right; "
            f"chance {digits.share(scores[model]['chance'][score])}, "
            f"ceiling {digits.share(scores[model]['ceiling'][score])}; Table II ({claim:.0%}) **{verdict}**"
        )
    st.markdown("\n".join(lines))


def _signal_table(story: Story) -> pd.DataFrame:
    rows = []
    for level, scores in story.lifelike.items():
        for model in MODEL_NAMES:
            score, loss = SCORE[model], "loss" if model == "sequence" else "log_loss"
            part, claim = scores[model], story.paper["table_2"][model]
            rows.append(
                {
                    "Model": MODELS[model],
                    "Signal": level,
                    "Held-out customers": part["customers"],
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


def _recipe(story: Story) -> None:
    setup = next(iter(story.lifelike.values()))
    seconds = np.median([scores["seconds"] for scores in story.lifelike.values()])
    st.caption(
        f"Setup: {setup['customers']:,} customers instead of 100, up to {setup['max_events']} events each instead "
        f"of 5, {setup['sequence_epochs']} and {setup['churn_epochs']} epochs in batches of {setup['batch_size']} "
        f"instead of ten updates; {seconds:.0f} s per signal on this machine. The models are as small as the paper's: "
        f"width {setup['sequence_width']} and {setup['churn_width']}, two heads."
    )


def take_away(story: Story) -> None:
    """Draw the download of the complete re-run as one HTML file."""
    if story.result is None or 1.0 not in story.lifelike:
        return
    complete = story.result | {"lifelike": story.lifelike[1.0]}
    st.download_button(
        "Download the report (HTML)",
        access.shown(lambda: _report(complete)),
        file_name="paper.html",
        mime="text/html",
        icon=":material/download:",
        on_click="ignore",
    )


def _report(result: dict[str, Any]) -> str:
    from crm_models.paper.report import page

    return page(result)
