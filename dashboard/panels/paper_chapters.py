"""Chapters 1 to 6 of the paper page: the printed tables and figures beside the results of the re-runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.schema import MODEL_NAMES
from crm_models.paper.rerun import CHANCE_LOSS, CLAIMS_ABOUT, CONTRADICTIONS
from dashboard.charts import digits
from dashboard.charts import paper as paper_charts
from dashboard.panels import widgets
from dashboard.panels.paper_story import MODELS, NONE, TESTED, Story, chance, chapter, re_runs, spread, verdict, within

# ---- 1: what is claimed ----------------------------------------------------------------------------------------------


def claims(story: Story) -> None:
    """Draw Table I, and the two contradicting results for the same ten epochs."""
    chapter("claims", "One experiment, two results")
    paper = story.paper
    st.markdown(
        "The paper generates random customers, trains for ten epochs on 80 of them, and tests on 20. It then prints "
        "**two** tables of results for the same ten epochs. They cannot both be right, so we re-run the experiment."
    )
    with st.grid(2, min_column_width=widgets.CHART_WIDTH):
        for number in (2, 4):
            with st.container():
                st.markdown(f"**Table {'II' if number == 2 else 'IV'}, as printed**")
                table = paper[f"table_{number}"]
                st.table(
                    pd.DataFrame(
                        {
                            "Model": [MODELS[m] for m in MODEL_NAMES],
                            "Data set": ["MovieLens", "Kaggle Customer Churn"],
                            "Accuracy": [f"{table[m]['accuracy']:.{2 if number == 2 else 4}f}" for m in MODEL_NAMES],
                            "Loss (epoch 10)": [f"{table[m]['loss']:.{2 if number == 2 else 4}f}" for m in MODEL_NAMES],
                        }
                    ),
                    border="horizontal",
                )
    st.markdown("**Table I, as printed: the data, all simulated**")
    claims_about = [{"Claims about it": claims, "Scenario here": scenario} for scenario, claims in CLAIMS_ABOUT]
    printed = pd.DataFrame(paper["table_1"], columns=["Data set", "Users", "Features"])
    st.table(printed.join(pd.DataFrame(claims_about)), border="horizontal")
    st.caption(
        "The paper does not say which data set a figure comes from: that is our reading of its text. The re-run uses "
        "the scenario **paper**, which holds all three at random. Scenarios **movielens**, **amazon** and **churn** "
        "generate each data set for any number of users, with a dial from nothing to something to learn."
    )
    st.page_link(widgets.PAGES["cohort"], label="Generate one on the Cohort page", icon=":material/casino:")


# ---- 2: losses -------------------------------------------------------------------------------------------------------

_FIGURE_1 = """
The **diamonds** are the losses printed in the paper, one per epoch. The **band** is the range over all re-runs, and
its line the median. The loss measures how far the predictions are from what happened. **Chance** is the loss of
guessing: ln 50 = 3.912 nats for 50 equally likely actions, ln 2 = 0.693 nats for churn. On random data, a *training*
loss below chance means that the model memorised the 80 training customers; it does not predict new ones.
"""


def losses(story: Story) -> None:
    """Draw Figure 1, and Table III with a check of each printed loss against the range over the seeds."""
    chapter("losses", "Figure 1 and Table III: can the losses be reproduced?")
    if story.result:
        inside = {m: sum(story.result["inside"][f"{m}_loss"]) for m in MODEL_NAMES}
        st.markdown(
            f"**{inside['sequence']} of 10** printed losses of the Sequence Transformer and **{inside['churn']} of "
            f"10** of the Churn Transformer lie inside the range of {re_runs(story.seeds)}."
        )
    grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
    for model in MODEL_NAMES:
        with grid.cell():
            widgets.chart(
                paper_charts.losses(
                    story.ours(model, "losses"), story.paper["table_3"][model], CHANCE_LOSS[model], MODELS[model]
                ),
                key=f"paper_losses_{model}",
                alt=f"Training loss of the {MODELS[model]} by epoch, as printed and in the re-runs",
                note=_FIGURE_1,
            )
            st.markdown(f"**Table III, {MODELS[model]}**")
            st.table(_table_3(story, model), border="horizontal")


def _table_3(story: Story, model: str) -> pd.DataFrame:
    ours = story.ours(model, "losses")
    inside = story.result["inside"][f"{model}_loss"] if story.result else [None] * 10
    return pd.DataFrame(
        {
            "Epoch": [str(k) for k in range(1, 11)],
            "Printed": [f"{value:.4f}" for value in story.paper["table_3"][model]],
            "Ours, lowest to highest": [spread(ours[:, k]) if len(ours) else NONE for k in range(10)],
            "Inside?": [verdict(value) for value in inside],
        }
    )


# ---- 3: accuracies ---------------------------------------------------------------------------------------------------

_ACCURACY = f"""
Each dot is the accuracy of one re-run on the {TESTED} held-out customers; equal values are stacked. On random data
**chance is also the ceiling**, the best score that any model could reach: one action in 50, one customer in two. A run
above or below that is luck. 0.0167 is one correct prediction in 60 ({TESTED} customers × 3 steps); 0.4000 is 8 of
{TESTED} customers.
"""


def accuracies(story: Story) -> None:
    """Draw Tables II and IV beside chance, our re-runs and the ceiling."""
    chapter("accuracy", "Tables II and IV: which of the two can be reproduced?")
    if story.result:
        hits = int((np.abs(story.ours("sequence", "accuracy") - 1 / 60) < 1e-6).sum())
        st.markdown(
            f"**{hits} of {re_runs(story.seeds)}** {'gives' if hits == 1 else 'give'} exactly the 0.0167 of Table IV. "
            f"The best of them gets {digits.share(story.ours('sequence', 'accuracy').max())} of the next "
            "actions right; Table II says "
            f"{story.paper['table_2']['sequence']['accuracy']:.0%}."
        )
    rows, table = [], _table_4(story)
    for model in MODEL_NAMES:
        marks = {
            "Table II": story.paper["table_2"][model]["accuracy"],
            "Table IV": story.paper["table_4"][model]["accuracy"],
            "Chance = ceiling": chance(model, "accuracy"),
        }
        rows.append((MODELS[model], story.ours(model, "accuracy").tolist(), marks))
    widgets.chart(
        paper_charts.accuracies(rows),
        key="paper_accuracies",
        table=table,
        alt="Accuracy of each re-run beside Tables II and IV, chance and ceiling",
        note=_ACCURACY,
    )
    st.table(table, border="horizontal")


def _table_4(story: Story) -> pd.DataFrame:
    """Tables II and IV with chance, ours and the ceiling; one column per printed figure, to fit a narrow window."""
    columns: dict[str, list[str]] = {
        "": [
            *("Chance", "Ours, median", "Ours, lowest to highest", "Ceiling"),
            *("Table IV, printed", "Inside ours?", "Table II, printed", "Inside ours?"),
        ]
    }
    for model in MODEL_NAMES:
        for score in ("accuracy", "loss"):
            ours = story.ours(model, score)
            table_2, table_4 = (story.paper[f"table_{n}"][model][score] for n in (2, 4))
            ceiling = story.result["ceiling"][f"{model}_{score}"] if story.result else chance(model, score)
            columns[f"{MODELS[model].split()[0]} {score}"] = [
                f"{chance(model, score):.4f}",
                f"{np.median(ours):.4f}" if len(ours) else NONE,
                spread(ours) if len(ours) else NONE,
                f"{ceiling:.4f}",
                f"{table_4:.4f}",
                verdict(within(table_4, ours)),
                f"{table_2:.2f}",
                verdict(within(table_2, ours)),
            ]
    return pd.DataFrame(columns)


# ---- 4 and 5: figures and plans --------------------------------------------------------------------------------------


def figures(story: Story) -> None:
    """Draw Figures 2 and 3: attention of the sequence model and ROC curve of the churn model."""
    chapter("figures", "Figures 2 and 3: attention and ROC curve on random data")
    if story.result is None:
        st.caption("Available after the first re-run.")
        return
    attention, curve = story.result["attention"], story.result["roc"]
    grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
    with grid.cell():
        widgets.chart(
            paper_charts.step_attention(attention["weights"], attention["rows"], attention["columns"]),
            key="paper_attention",
            alt="Attention of the three plan steps to the five ratings and the earlier steps",
            table=pd.DataFrame(np.round(attention["weights"], 4), columns=attention["columns"]).assign(
                predicting=attention["rows"]
            ),
            note="Each row is one step of a plan; its colours show how the model distributes its attention over the "
            "five ratings and the steps already planned, averaged over heads and the held-out customers of the first "
            "re-run. A row adds up to 100%; later steps are hidden. Nearly even rows mean that no rating matters more "
            "than another, as expected for random ratings.",
        )
    with grid.cell():
        widgets.chart(
            paper_charts.roc(curve, TESTED * story.seeds),
            key="paper_roc",
            alt="ROC curve over all re-runs",
            table=pd.DataFrame({"false positive rate": curve["fpr"], "true positive rate": curve["tpr"]}),
            note="For every threshold, the share of churned customers found, against the share of customers who stayed "
            "and are wrongly flagged, over the held-out customers of all re-runs. The dotted diagonal is chance, with "
            "an AUC of 0.5. The paper shows the curve, but prints no AUC.",
        )


def plans(story: Story) -> None:
    """Draw the sample plan as printed, ours in the same form, and our complete plans."""
    chapter("plans", "Sample plans: the paper announces five plans but prints five actions")
    printed = story.paper["sample_plan"]
    ours = story.result["sample_plans"] if story.result else []
    with st.grid(2, min_column_width=widgets.CHART_WIDTH):
        with st.container():
            st.markdown("**As printed**: one action for each of the first five users")
            st.code(_as_list(printed), language=None)
        with st.container():
            st.markdown("**Ours, in the same form**: the first step of each plan, first re-run")
            st.code(_as_list([plan[0] for _, plan in ours]) if ours else "[]", language=None)
    if ours:
        st.markdown("**Ours, complete**: a plan has three steps")
        rows = [{"User": user} | {f"Step {k}": action for k, action in enumerate(plan, 1)} for user, plan in ours]
        st.table(pd.DataFrame(rows), border="horizontal")
        n_first = len({plan[0] for _, plan in ours})
        st.caption(
            f"{n_first} different first step{'s' if n_first != 1 else ''} for five users. After ten epochs on random "
            "data, a plan depends more on the films that happen to be frequent than on the user. Above a churn "
            "probability of 0.5, the paper replaces the plan with retention actions:"
        )
        st.page_link(widgets.PAGES["plans"], label="See this on the Plans page", icon=":material/checklist:")


def _as_list(actions: list[str]) -> str:
    return "[" + ",\n ".join(repr(action) for action in actions) + "]"


# ---- 6: contradictions -----------------------------------------------------------------------------------------------


def contradictions(story: Story) -> None:
    """Draw the contradictions in the paper, one card each, with the numbers of our re-runs that settle them."""
    chapter("contradictions", "Where the paper contradicts itself")
    with st.grid(2, min_column_width=widgets.CHART_WIDTH):
        for k, text in enumerate(CONTRADICTIONS, start=1):
            with st.container(border=True, height="stretch"):
                st.markdown(f"**{k}.** {text}")
    if story.result:
        below = int((story.ours("churn", "loss") < CHANCE_LOSS["churn"]).sum())
        median = np.median(story.ours("churn", "accuracy"))
        st.caption(
            f"{below} of {re_runs(story.seeds)} end{'s' if below == 1 else ''} with a churn training loss below ln 2. "
            f"The median accuracy of all re-runs on held-out customers is {median:.2f}."
        )
