"""What the evaluation page shows: headline scores on rulers, the churn model's curves, the sequence model's hits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from crm_models.core.records import ChurnPredictions
from crm_models.evaluation import curves
from crm_models.evaluation.intervals import auc_with_interval
from dashboard.charts import evaluation as evaluation_charts
from dashboard.charts import theme
from dashboard.panels import policy as policy_panels
from dashboard.panels import widgets
from dashboard.state import predictions, store

SEQUENCE = (
    ("step_accuracy", "Next actions that were right", False),
    ("plan_accuracy", "Whole plans that were right", False),
    ("hr_at_1", "Very next action right, asked for alone (HR@1)", False),
    ("hr_at_10", "True next action among the ten likeliest (HR@10)", False),
    ("ndcg_at_10", "How high it stands among the ten (NDCG@10)", False),
    ("loss", "Surprise per step (loss, nats)", True),
)
CHURN = (
    ("auc", "Ranking of churners above stayers (AUC)", False),
    ("average_precision", "Precision over all thresholds (average)", False),
    ("accuracy", "Right at a threshold of one half", False),
    ("log_loss", "Surprise (log loss, nats)", True),
    ("brier", "Squared error (Brier score)", True),
)
BASELINES = {
    "popular": "the most popular actions",
    "recent": "the most popular actions of late",
    "repeat_last": "the last action again",
    "markov": "what usually follows the last action (Markov chain)",
    "markov_2": "what usually follows the last two actions (Markov chain)",
    "majority": "what most customers do",
    "recency": "days since the last event",
    "logistic": "logistic regression",
}
"""Simple methods in plain words."""
SMALL = 0.01
"""Scores below this are shown with more digits."""
INK = {"light": "#0D1420", "dark": "#E7ECF4"}
"""Text on coloured fields: the theme's own, which Plotly would fade."""
WIDE = 360
"""Pixels below which a chart stands alone in its row."""
MEANING = {
    "sequence": "**Right next actions** (step accuracy) counts every one of the three steps by itself; **whole plans** "
    "(plan accuracy) asks for all three. **HR@10** (hit rate): how often the true next action is among the ten that "
    "the model finds likeliest. **NDCG@10** is 1 where the true action stands first and less the lower it stands. "
    "**Loss** is how surprised the model was by what really happened, in nats: lower is better. ",
    "churn": "**AUC**: how often a churner is given a higher probability than a stayer; one half is chance. **Average "
    "precision**: how pure the list of flagged customers stays as it grows. **Log loss** and **Brier score** ask for "
    "honest probabilities: lower is better. ",
}


def notes(report: dict[str, Any]) -> None:
    """What the scores mean, in the sentences of the report."""
    lines = []
    for note in report.get("notes", []):
        bad = "worse than" in note or "suspiciously" in note
        icon = ":material/warning:" if bad else ":material/check_circle:" if "beats" in note else ":material/info:"
        lines.append(f"{icon} {widgets.plain(note)}")
    if lines:
        st.markdown("  \n".join(lines))  # lines of one paragraph: together they are one answer


def headline(report: dict[str, Any]) -> None:
    """Every headline score between chance, a simple method and the ceiling."""
    parts = [(name, scores) for name, scores in (("sequence", SEQUENCE), ("churn", CHURN)) if report.get(name)]
    if not parts:
        return
    grid = st.grid(len(parts), min_column_width=WIDE)
    for name, scores in parts:
        found = [widgets.score_of(report[name], key, label, lower_is_better=lower) for key, label, lower in scores]
        with grid:
            title = "The next actions" if name == "sequence" else "Who leaves"
            readable = [_readable(score) for score in found if score is not None]
            _rulers(readable, title, name, report[name]["customers"])


def _readable(score: theme.Score) -> theme.Score:
    """With the simple method in plain words, and enough digits for a small score."""
    named = BASELINES.get(score.baseline_name, score.baseline_name)
    return replace(score, baseline_name=named, digits=4 if 0 < max(score.ours, score.chance or 0) < SMALL else 3)


def _rulers(scores: list[theme.Score], title: str, name: str, customers: int) -> None:
    table = pd.DataFrame(
        {
            "score": [s.label for s in scores],
            "chance": [s.chance for s in scores],
            "baseline": [s.baseline for s in scores],
            "best baseline": [s.baseline_name for s in scores],
            "ours": [s.ours for s in scores],
            "95 % from": [s.low for s in scores],
            "95 % to": [s.high for s in scores],
            "ceiling": [s.ceiling for s in scores],
        }
    )
    widgets.chart(
        theme.rulers(scores, title=title),
        key=f"rulers_{name}",
        table=table,
        alt="; ".join(f"{s.label} {s.ours:.3f}" for s in scores),
        note=MEANING[name] + widgets.RULER_NOTE + f"\n\nMeasured on {customers:,} customers whom no model had seen.",
    )


# ---- churn -----------------------------------------------------------------------------------------------------------


@st.fragment
def at_threshold(found: ChurnPredictions) -> None:
    """What hangs on the threshold: right and wrong, and its point on both curves."""
    threshold = policy_panels.threshold_slider()
    counts = curves.confusion_table(found, threshold)
    scores = curves.confusion_scores(counts)
    with st.container(horizontal=True):
        for name, label, meaning in (
            ("precision", "Precision", "Of the customers flagged, how many churned."),
            ("recall", "Recall", "Of the customers who churned, how many were flagged."),
            ("specificity", "Specificity", "Of the customers who stayed, how many were left in peace."),
            ("accuracy", "Accuracy", "Of all customers, how many were judged rightly."),
            ("f1", "F1", "Precision and recall in one number (their harmonic mean)."),
        ):
            st.metric(label, widgets.share(scores[name]), border=True, help=meaning)
    grid = st.grid(2, min_column_width=WIDE)
    with grid:
        _confusion(counts, threshold)
    with grid:
        spread = curves.score_distribution(found)
        widgets.chart(
            evaluation_charts.distribution(spread, threshold),
            key="distribution",
            alt="Churn probability of those who churned and of those who stayed",
            table=spread,
            note="How the churn probabilities of both groups spread. The less they overlap, the better the model tells "
            "them apart. Customers to the right of the dotted line are flagged.",
        )
    if counts.to_numpy().sum(axis=1).min() == 0:
        st.info("All test customers are of one class, so there is no curve to draw.", icon=":material/info:")
        return
    grid = st.grid(2, min_column_width=WIDE)
    fpr = 1 - (scores["specificity"] or 0.0)
    with grid:
        _roc(found, (threshold, fpr, scores["recall"] or 0.0))
    with grid:
        table = curves.precision_recall_table(found)
        widgets.chart(
            evaluation_charts.precision_recall(
                table, float(found.churned.mean()), (threshold, scores["precision"], scores["recall"] or 0.0)
            ),
            key="precision_recall",
            alt="Precision against recall over all thresholds",
            table=table,
            note="Each point is a threshold. Going right, more churners are found; going down, more of those flagged "
            "would have stayed anyway. The dotted line, at the churn rate, is what flagging at random gives; the red "
            "dot is the threshold above.",
        )
    with grid:
        _gain(found, threshold, scores["recall"] or 0.0)
    with grid:
        table = curves.lift_table(found)
        widgets.chart(
            evaluation_charts.lift(table),
            key="lift",
            alt="Times more churners reached than at random",
            table=table,
            note="The same as a factor: at a lift of 3, three times as many churners are reached as by contacting "
            "at random.",
        )


def _confusion(counts: pd.DataFrame, threshold: float) -> None:
    widgets.chart(
        evaluation_charts.confusion(counts, threshold, INK["dark" if st.context.theme.type == "dark" else "light"]),
        key="confusion",
        alt="Customers by what happened and what the model said",
        table=counts.reset_index(names="what happened"),
        note="Each test customer is in one of the four fields. Green: the model was right; red: it was wrong. "
        "A lower threshold finds more churners and raises more false alarms.",
    )


def _roc(found: ChurnPredictions, point: tuple[float, float, float]) -> None:
    table = curves.roc_table(found)
    auc = auc_with_interval(found.churned, found.churn_p)
    widgets.chart(
        evaluation_charts.roc(table, f"ROC curve: AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})", point),
        key="roc",
        alt=f"ROC curve, AUC {auc.value:.3f}",
        table=table,
        note="Each point is a threshold: how many churners it finds (up), and how many stayers it flags wrongly (to "
        "the right). The **AUC** is the area under the curve: one half is chance, 1 is perfect; in brackets its 95 % "
        "interval. The red dot is the threshold above.",
    )


def _gain(found: ChurnPredictions, threshold: float, reached: float) -> None:
    table = curves.lift_table(found)
    flagged = curves.roc_point(found, threshold)["flagged"] or 0
    widgets.chart(
        evaluation_charts.gain(table, (threshold, flagged / len(found.churn_p), reached)),
        key="gain",
        alt="Share of churners reached by contacting the riskiest first",
        table=table,
        note="If you contact the riskiest 20 % of customers, read off how many of all churners you reach. The red dot "
        "is the threshold above: everybody at risk is contacted.",
    )


def calibration(found: ChurnPredictions, report: dict[str, Any]) -> None:
    """Whether the probabilities can be taken at their word."""
    table, off = curves.calibration_table(found), report.get("ece")
    title = "Calibration" if off is None else f"Calibration: {100 * off:.1f} points off on average"
    widgets.chart(
        evaluation_charts.calibration(table, title),
        key="calibration",
        alt="Observed churn rate against predicted probability",
        table=table,
        note="The test customers are cut into ten groups of equal size by their predicted risk. Where a dot lies on "
        "the dotted line, the probability can be taken at its word: of 100 customers given 30 %, 30 leave. The bars "
        "are 95 % intervals. The average distance (expected calibration error, ECE) is in the title; 0 is perfect.",
    )


# ---- sequences -------------------------------------------------------------------------------------------------------


def sequence(tested: predictions.Tested, report: dict[str, Any]) -> None:
    """Accuracy by step and by length of history."""
    assert tested.sequence is not None  # the page asked
    chance = (report.get("chance") or {}).get("step_accuracy")
    grid = st.grid(2, min_column_width=WIDE)
    with grid:
        table = curves.per_step_table(tested.sequence)
        widgets.chart(
            evaluation_charts.accuracy_bars(
                table["step"].tolist(), table, "accuracy", title="Right actions by step", x="step", chance=chance
            ),
            key="per_step",
            alt="Right actions by step of the plan",
            table=table,
            note="The further ahead, the harder. The bars at the top are 95 % intervals; the dotted line is what "
            "guessing reaches.",
        )
    with grid:
        table = curves.per_length_table(tested.sequence, tested.n_actions)
        widgets.chart(
            evaluation_charts.accuracy_bars(
                table["events"].tolist(), table, "step_accuracy", title="Right actions by length of history",
                x="events in the history", chance=chance,
            ),
            key="per_length",
            alt="Right actions by length of history",
            table=table,
            note="Does the model need long histories? Customers with few events are often the new ones; where their "
            "bar is as low as the dotted line, popular actions do as well.",
        )  # fmt: skip


def tested_of(run: store.RunCard) -> predictions.Tested | None:
    """The held-out predictions, with a word on the wait the first time; None where they cannot be made."""
    found = None
    with (
        widgets.guarded("The curves cannot be drawn:"),
        st.spinner("Asking the models about the held-out customers (once per run)", show_time=True),
    ):
        found = predictions.tested(run)
    return found  # noqa: RET504  # None where `guarded` showed why
