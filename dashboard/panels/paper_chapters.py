"""Chapters 1 to 6 of the paper page: the printed tables and figures, and beside them what the re-runs give."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.schema import MODEL_NAMES
from crm_models.paper.rerun import CHANCE_LOSS, CONTRADICTIONS
from dashboard.charts import paper as paper_charts
from dashboard.panels import widgets
from dashboard.panels.paper_story import MODELS, NONE, TESTED, Story, chance, chapter, re_runs, spread, verdict, within

# ---- 1: what is claimed ----------------------------------------------------------------------------------------------


def claims(tale: Story) -> None:
    """Table I, and the two results that the paper prints for the same ten epochs."""
    chapter("claims", "One experiment, two results")
    paper = tale.paper
    st.markdown(
        "The paper draws its customers at random, trains ten epochs on 80 of them, and tests on 20. It then prints "
        "**two** tables of results for the same ten epochs. They cannot both be right, so we run it and see."
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
                            "Accuracy": [f"{table[m]['accuracy']:.{2 if number == 2 else 4}f}" for m in MODEL_NAMES],
                            "Loss (epoch 10)": [f"{table[m]['loss']:.{2 if number == 2 else 4}f}" for m in MODEL_NAMES],
                        }
                    ),
                    border="horizontal",
                )
    st.markdown("**Table I, as printed: the data, all of it simulated**")
    st.table(pd.DataFrame(paper["table_1"], columns=["Data set", "Users", "Features"]), border="horizontal")


# ---- 2: losses -------------------------------------------------------------------------------------------------------

_FIGURE_1 = """
The **diamonds** are the losses that the paper prints, one per epoch. The **band** spans all re-runs, the line in it is
their median. A loss says how surprised a model is by what really happened; **chance** is the loss of one that knows
nothing: ln 50 = 3.912 nats for 50 equally likely actions, ln 2 = 0.693 for leaving or staying. A *training* loss below
chance on random data is memory of the 80 customers, not knowledge about new ones.
"""


def losses(tale: Story) -> None:
    """Figure 1, and each printed loss of Table III checked against the range over the seeds."""
    chapter("losses", "Figure 1 and Table III: do the losses come out again?")
    if tale.result:
        inside = {m: sum(tale.result["inside"][f"{m}_loss"]) for m in MODEL_NAMES}
        st.markdown(
            f"**{inside['sequence']} of 10** printed losses of the Sequence Transformer and **{inside['churn']} of "
            f"10** of the Churn Transformer lie inside the range of {re_runs(tale.seeds)}."
        )
    grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
    for model in MODEL_NAMES:
        with grid.cell():
            widgets.chart(
                paper_charts.losses(
                    tale.ours(model, "losses"), tale.paper["table_3"][model], CHANCE_LOSS[model], MODELS[model]
                ),
                key=f"paper_losses_{model}",
                alt=f"Training loss of the {MODELS[model]} by epoch, printed and over the re-runs",
                note=_FIGURE_1,
            )
            st.markdown(f"**Table III, {MODELS[model]}**")
            st.table(_table_3(tale, model), border="horizontal")


def _table_3(tale: Story, model: str) -> pd.DataFrame:
    ours = tale.ours(model, "losses")
    within = tale.result["inside"][f"{model}_loss"] if tale.result else [None] * 10
    return pd.DataFrame(
        {
            "Epoch": [str(k) for k in range(1, 11)],
            "Printed": [f"{value:.4f}" for value in tale.paper["table_3"][model]],
            "Ours, lowest to highest": [spread(ours[:, k]) if len(ours) else NONE for k in range(10)],
            "Inside?": [verdict(value) for value in within],
        }
    )


# ---- 3: accuracies ---------------------------------------------------------------------------------------------------

_ACCURACY = f"""
Each dot is one re-run: its accuracy on the {TESTED} customers that it did not learn from; equal ones are piled up. On
data drawn at random **chance is also the ceiling**, the best that any model could do: one action in 50, one customer in
two. What a single run reaches beyond that, or short of it, is luck. 0.0167 is one hit in {TESTED} customers × 3 steps,
which is 60 guesses; 0.4000 is 8 of {TESTED}.
"""


def accuracies(tale: Story) -> None:
    """Tables II and IV beside chance, ours and the ceiling."""
    chapter("accuracy", "Tables II and IV: which of the two comes out?")
    if tale.result:
        hits = int((np.abs(tale.ours("sequence", "accuracy") - 1 / 60) < 1e-6).sum())
        st.markdown(
            f"**{hits} of {re_runs(tale.seeds)}** give exactly the 0.0167 of Table IV. The best of them gets "
            f"{tale.ours('sequence', 'accuracy').max():.1%} of the next actions right, where Table II says "
            f"{tale.paper['table_2']['sequence']['accuracy']:.0%}."
        )
    rows, table = [], _table_4(tale)
    for model in MODEL_NAMES:
        marks = {
            "Table II": tale.paper["table_2"][model]["accuracy"],
            "Table IV": tale.paper["table_4"][model]["accuracy"],
            "Chance = ceiling": chance(model, "accuracy"),
        }
        rows.append((MODELS[model], tale.ours(model, "accuracy").tolist(), marks))
    widgets.chart(
        paper_charts.accuracies(rows),
        key="paper_accuracies",
        table=table,
        alt="Accuracy of each re-run beside Tables II and IV, chance and ceiling",
        note=_ACCURACY,
    )
    st.table(table, border="horizontal")


def _table_4(tale: Story) -> pd.DataFrame:
    """One column for each printed figure, so that it stands beside chance, ours and the ceiling in a narrow window."""
    columns: dict[str, list[str]] = {
        "": [
            *("Chance", "Ours, median", "Ours, lowest to highest", "Ceiling"),
            *("Table IV, printed", "Inside ours?", "Table II, printed", "Inside ours?"),
        ]
    }
    for model in MODEL_NAMES:
        for what in ("accuracy", "loss"):
            ours = tale.ours(model, what)
            second, fourth = (tale.paper[f"table_{n}"][model][what] for n in (2, 4))
            ceiling = tale.result["ceiling"][f"{model}_{what}"] if tale.result else chance(model, what)
            columns[f"{MODELS[model].split()[0]} {what}"] = [
                f"{chance(model, what):.4f}",
                f"{np.median(ours):.4f}" if len(ours) else NONE,
                spread(ours) if len(ours) else NONE,
                f"{ceiling:.4f}",
                f"{fourth:.4f}",
                verdict(within(fourth, ours)),
                f"{second:.2f}",
                verdict(within(second, ours)),
            ]
    return pd.DataFrame(columns)


# ---- 4 and 5: figures and plans --------------------------------------------------------------------------------------


def figures(tale: Story) -> None:
    """Figures 2 and 3: the attention of the sequence model and the ROC curve of the churn model."""
    chapter("figures", "Figures 2 and 3: what there is to see in random data")
    if tale.result is None:
        st.caption("Drawn with the first re-run.")
        return
    seen, curve = tale.result["attention"], tale.result["roc"]
    grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
    with grid.cell():
        widgets.chart(
            paper_charts.step_attention(seen["weights"], seen["rows"], seen["columns"]),
            key="paper_attention",
            alt="Attention of the three plan steps over five ratings and the steps before",
            table=pd.DataFrame(np.round(seen["weights"], 4), columns=seen["columns"]).assign(predicting=seen["rows"]),
            note="Each row is one step of a plan; its colours say how the model spreads its attention over the five "
            "ratings and the steps already planned, averaged over heads and the test customers of the first re-run. "
            "A row adds up to 100 %; later steps cannot be seen. Nearly even rows say that no rating matters more "
            "than another, as it must be where ratings are drawn at random.",
        )
    with grid.cell():
        widgets.chart(
            paper_charts.roc(curve, TESTED * tale.seeds),
            key="paper_roc",
            alt="ROC curve over all re-runs",
            table=pd.DataFrame({"false positive rate": curve["fpr"], "true positive rate": curve["tpr"]}),
            note="For every threshold, how many of those who left are found, against how many of those who stayed are "
            "wrongly flagged; over the test customers of all re-runs together. The dotted diagonal is guessing, an "
            "AUC of one half. The paper draws the curve, but prints no AUC.",
        )


def plans(tale: Story) -> None:
    """The sample plan as printed, ours in the same form, and ours as whole plans."""
    chapter("plans", "Sample plans: five actions are printed where five plans are announced")
    theirs = tale.paper["sample_plan"]
    ours = tale.result["sample_plans"] if tale.result else []
    with st.grid(2, min_column_width=widgets.CHART_WIDTH):
        with st.container():
            st.markdown("**As printed**: one action for each of the first five users")
            st.code(_as_list(theirs), language=None)
        with st.container():
            st.markdown("**Ours, in the same form**: the first step of each plan, first re-run")
            st.code(_as_list([plan[0] for _, plan in ours]) if ours else "[]", language=None)
    if ours:
        st.markdown("**Ours, whole**: a plan has three steps")
        rows = [{"User": user} | {f"Step {k}": action for k, action in enumerate(plan, 1)} for user, plan in ours]
        st.table(pd.DataFrame(rows), border="horizontal")
        first = len({plan[0] for _, plan in ours})
        st.caption(
            f"{first} different first steps for five users. After ten epochs on random data a plan says more about the "
            "films that happened to be drawn often than about the user. Above a churn probability of 0.5 the paper "
            "replaces the plan by retention actions:"
        )
        st.page_link(widgets.PAGES["plans"], label="See that on the Plans page", icon=":material/checklist:")


def _as_list(actions: list[str]) -> str:
    return "[" + ",\n ".join(repr(action) for action in actions) + "]"


# ---- 6: contradictions -----------------------------------------------------------------------------------------------


def contradictions(tale: Story) -> None:
    """Where the paper contradicts itself, one card each, with the numbers of our re-runs where they decide."""
    chapter("contradictions", "Where the paper contradicts itself")
    with st.grid(2, min_column_width=widgets.CHART_WIDTH):
        for k, text in enumerate(CONTRADICTIONS, start=1):
            with st.container(border=True, height="stretch"):
                st.markdown(f"**{k}.** {text}")
    if tale.result:
        below = int((tale.ours("churn", "loss") < CHANCE_LOSS["churn"]).sum())
        st.caption(
            f"Of our {re_runs(tale.seeds)}, {below} end with a churn training loss below ln 2; their median accuracy "
            f"on new customers is {np.median(tale.ours('churn', 'accuracy')):.2f}."
        )
