"""Sections of the evaluation page: headline scores, curves of the churn model, accuracy of the sequence model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import streamlit as st

from crm_models.core.records import ChurnPredictions
from crm_models.evaluation import curves
from crm_models.evaluation.intervals import auc_with_interval
from crm_models.evaluation.verdict import tone
from crm_models.planning.stability import Stability
from dashboard.charts import digits, theme
from dashboard.charts import evaluation as evaluation_charts
from dashboard.jobs.tested import Tested
from dashboard.panels import policy as policy_panels
from dashboard.panels import widgets
from dashboard.state import predictions, store

SEQUENCE = (
    ("step_accuracy", "Correct next actions (step accuracy)"),
    ("plan_accuracy", "Fully correct plans (plan accuracy)"),
    ("single_step_accuracy", "Correct single steps"),
    ("hr_at_1", "First next action correct (HR@1)"),
    ("hr_at_10", "True next action in the top 10 (HR@10)"),
    ("ndcg_at_10", "Rank of the true action in the top 10 (NDCG@10)"),
    ("loss", "Loss per step (nats)"),
)
CHURN = (
    ("auc", "Ranking of churners above stayers (AUC)"),
    ("average_precision", "Average precision"),
    ("accuracy", "Accuracy at 0.50"),
    ("log_loss", "Log loss (nats)"),
    ("brier", "Brier score (squared error)"),
)
BASELINES = {
    "popular": "the most popular actions",
    "recent": "the most popular recent actions",
    "repeat_last": "repeating the last action",
    "markov": "what usually follows the last action (Markov chain)",
    "markov_2": "what usually follows the last two actions (Markov chain)",
    "majority": "the majority class",
    "recency": "days since the last event",
    "logistic": "logistic regression",
}
"""Names of the baselines on screen."""
SMALL = 0.01
"""Scores below this are shown with more digits."""
INK = {"light": "#0D1420", "dark": "#E7ECF4"}
"""Text colours of the theme for coloured cells, because Plotly would fade its own."""
MIN_CHART_WIDTH = 360
"""Minimum width in pixels of a chart beside another one."""
MEANING = {
    "sequence": "**Step accuracy** counts each of the three steps separately; **plan accuracy** needs all three to be "
    "correct. Both are for the plan that is most probable as a whole; **single steps** are the most probable action of "
    "each step by itself, which is right more often step by step and less often as a whole. **HR@10** (hit rate): how "
    "often the true next action is among the ten that the model ranks highest. "
    "**NDCG@10** is 1 if the true action is ranked first, and lower the further down it is ranked. **Loss** measures "
    "how far the predicted probabilities are from what happened, in nats: lower is better. ",
    "churn": "**AUC**: how often a churner gets a higher probability than a customer who stayed; 0.5 is chance. "
    "**Average precision**: the precision averaged over all recall levels. **Log loss** and **Brier score** measure "
    "how accurate the probabilities are: lower is better. ",
}


ICONS = {"good": ":material/check_circle:", "warning": ":material/warning:", "neutral": ":material/info:"}


def notes(report: dict[str, Any]) -> None:
    """Draw the notes of the report on what the scores mean."""
    lines = [f"{ICONS[tone(note)]} {widgets.plain(note)}" for note in report.get("notes", [])]
    if lines:
        st.markdown("  \n".join(lines))  # one paragraph with line breaks


def headline(report: dict[str, Any], stability: Stability | None = None) -> None:
    """Draw all headline scores beside chance, the best baseline and the ceiling."""
    parts = [(name, scores) for name, scores in (("sequence", SEQUENCE), ("churn", CHURN)) if report.get(name)]
    if not parts:
        return
    grid = st.grid(len(parts), min_column_width=MIN_CHART_WIDTH)
    for name, scores in parts:
        headline = [widgets.score_of(report[name], key, label) for key, label in scores]
        with grid:
            title = "Next actions" if name == "sequence" else "Churn"
            readable = [_readable(score) for score in headline if score is not None]
            if stability is not None:
                keys = [key for (key, _), score in zip(scores, headline, strict=True) if score is not None]
                readable = [
                    replace(score, seeds=stability.spread(name, key)) for score, key in zip(readable, keys, strict=True)
                ]
            _rulers(readable, title, name, report[name]["customers"])


def _readable(score: theme.Score) -> theme.Score:
    """The score with its baseline in plain words, and with more digits if it is small."""
    baseline = BASELINES.get(score.baseline_name, score.baseline_name)
    return replace(score, baseline_name=baseline, digits=4 if 0 < max(score.ours, score.chance or 0) < SMALL else 3)


def _rulers(scores: list[theme.Score], title: str, name: str, customers: int) -> None:
    table = widgets.score_table(scores)
    table.insert(3, "best baseline", [s.baseline_name for s in scores])
    seeds = ""
    if any(s.seeds for s in scores):
        seeds = " The two ticks are the lowest and the highest score over the seeds."
        table["over seeds from"], table["over seeds to"] = zip(*(s.seeds or (None, None) for s in scores), strict=True)
    widgets.chart(
        theme.rulers(scores, title=title),
        key=f"rulers_{name}",
        table=table,
        alt="; ".join(f"{s.label} {s.ours:.3f}" for s in scores),
        note=MEANING[name] + widgets.RULER_NOTE.rstrip() + seeds + f"\n\nMeasured on {customers:,} held-out customers.",
    )


# ---- churn -----------------------------------------------------------------------------------------------------------


@st.fragment
@widgets.guarded("The curves cannot be drawn:")
def at_threshold(churn: ChurnPredictions, run: store.RunCard) -> None:
    """Draw what depends on the threshold: the confusion matrix, its scores, and the point on each curve."""
    threshold = policy_panels.threshold(store.risk_index(run), run)
    counts = curves.confusion_table(churn, threshold)
    scores = curves.confusion_scores(counts)
    with st.container(horizontal=True):
        for name, label, meaning in (
            ("precision", "Precision", "Share of flagged customers who churned."),
            ("recall", "Recall", "Share of churned customers who were flagged."),
            ("specificity", "Specificity", "Share of customers who stayed and were not flagged."),
            ("accuracy", "Accuracy", "Share of all customers who were classified correctly."),
            ("f1", "F1", "Harmonic mean of precision and recall."),
        ):
            st.metric(label, digits.share(scores[name]), border=True, help=meaning)
    grid = st.grid(2, min_column_width=MIN_CHART_WIDTH)
    with grid:
        _confusion(counts, threshold)
    with grid:
        distribution = curves.score_distribution(churn)
        widgets.chart(
            evaluation_charts.distribution(distribution, threshold),
            key="distribution",
            alt="Churn probability of customers who churned and who stayed",
            table=distribution,
            note="Distribution of the churn probability in both groups. The less they overlap, the better the model "
            "separates them. Customers to the right of the dotted line are flagged.",
        )
    if counts.to_numpy().sum(axis=1).min() == 0:
        st.info("All held-out customers are of one class, so there are no curves.", icon=":material/info:")
        return
    grid = st.grid(2, min_column_width=MIN_CHART_WIDTH)
    fpr = 1 - (scores["specificity"] or 0.0)
    with grid:
        _roc(churn, (threshold, fpr, scores["recall"] or 0.0))
    with grid:
        table = curves.precision_recall_table(churn)
        widgets.chart(
            evaluation_charts.precision_recall(
                table, float(churn.churned.mean()), (threshold, scores["precision"], scores["recall"] or 0.0)
            ),
            key="precision_recall",
            alt="Precision against recall over all thresholds",
            table=table,
            note="Each point is a threshold. Further right, more churners are found; further down, more of the flagged "
            "customers stay anyway. The dotted line, at the churn rate, is the precision of flagging at random; the "
            "red dot is the threshold above.",
        )
    with grid:
        _gain(churn, threshold, scores["recall"] or 0.0)
    with grid:
        table = curves.lift_table(churn)
        widgets.chart(
            evaluation_charts.lift(table),
            key="lift",
            alt="Lift: churners reached compared with contacting at random",
            table=table,
            note="The gain as a factor: at a lift of 3, you reach three times as many churners as by contacting at "
            "random.",
        )


def _confusion(counts: pd.DataFrame, threshold: float) -> None:
    widgets.chart(
        evaluation_charts.confusion(counts, threshold, INK["dark" if st.context.theme.type == "dark" else "light"]),
        key="confusion",
        alt="Confusion matrix: customers by outcome and prediction",
        table=counts.reset_index(names="what happened"),
        note="Each held-out customer is in one of the four cells. Green: the model was right; red: it was wrong. "
        "A lower threshold finds more churners and raises more false alarms.",
    )


def _roc(churn: ChurnPredictions, point: tuple[float, float, float]) -> None:
    table = curves.roc_table(churn)
    auc = auc_with_interval(churn.churned, churn.churn_p)
    widgets.chart(
        evaluation_charts.roc(table, f"ROC curve: AUC {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})", point),
        key="roc",
        alt=f"ROC curve, AUC {auc.value:.3f}",
        table=table,
        note="Each point is a threshold: the share of churners it finds (up), and the share of customers who stayed "
        "that it flags wrongly (right). The **AUC** is the area under the curve: 0.5 is chance, 1 is perfect; its 95% "
        "interval is in brackets. The red dot is the threshold above.",
    )


def _gain(churn: ChurnPredictions, threshold: float, reached: float) -> None:
    table = curves.lift_table(churn)
    flagged = curves.roc_point(churn, threshold)["flagged"] or 0
    widgets.chart(
        evaluation_charts.gain(table, (threshold, flagged / len(churn.churn_p), reached)),
        key="gain",
        alt="Share of churners reached by contacting customers with the highest risk first",
        table=table,
        note="Read off the share of all churners you reach by contacting, say, the 20% of customers with the highest "
        "risk. The red dot is the threshold above, with all customers at risk contacted.",
    )


def calibration(churn: ChurnPredictions, report: dict[str, Any]) -> None:
    """Draw the calibration curve: whether predicted probabilities match observed churn rates."""
    table, error = curves.calibration_table(churn), report.get("ece")
    title = "Calibration" if error is None else f"Calibration: {100 * error:.1f} points off on average"
    widgets.chart(
        evaluation_charts.calibration(table, title),
        key="calibration",
        alt="Observed churn rate against predicted probability",
        table=table,
        note="The held-out customers are split into ten groups of equal size by predicted risk. A dot on the dotted "
        "line means that the probability is accurate: of 100 customers with 30%, 30 leave. The bars are 95% "
        "intervals. The average distance (expected calibration error, ECE) is in the title; 0 is perfect.",
    )


# ---- sequences -------------------------------------------------------------------------------------------------------


def sequence(tested: Tested, report: dict[str, Any]) -> None:
    """Draw the accuracy by step and by length of history."""
    assert tested.sequence is not None  # checked by the page
    chance = (report.get("chance") or {}).get("step_accuracy")
    grid = st.grid(2, min_column_width=MIN_CHART_WIDTH)
    with grid:
        table = curves.per_step_table(tested.sequence)
        widgets.chart(
            evaluation_charts.accuracy_bars(
                table["step"].tolist(), table, "accuracy", title="Accuracy by step", x="step", chance=chance
            ),
            key="per_step",
            alt="Accuracy by step of the plan",
            table=table,
            note="Later steps are harder to predict. The error bars are 95% intervals; the dotted line is chance.",
        )
    with grid:
        table = curves.per_length_table(tested.sequence, tested.n_actions)
        widgets.chart(
            evaluation_charts.accuracy_bars(
                table["events"].tolist(), table, "step_accuracy", title="Accuracy by length of history",
                x="events in the history", chance=chance,
            ),
            key="per_length",
            alt="Accuracy by length of history",
            table=table,
            note="Shows whether the model needs long histories. Customers with few events are often new; where their "
            "bar is no higher than the dotted line, the model is no better than chance for them.",
        )  # fmt: skip


def tested_of(run: store.RunCard) -> Tested | None:
    """Return the predictions for the held-out customers, with a spinner on the first call; None after an error."""
    tested = None
    with (
        widgets.guarded("The curves cannot be drawn:"),
        st.spinner("Predicting the held-out customers (once per run)", show_time=True),
    ):
        tested = predictions.tested(run)
    return tested  # noqa: RET504  # None if `guarded` showed an error
