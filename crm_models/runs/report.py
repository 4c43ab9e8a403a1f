"""Report of a run: one self-contained HTML file with its scores, figures, plans and model card."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from crm_models.core.html_page import bullets, figure, page, paragraph, section, table
from crm_models.core.records import ChurnPredictions, CustomerScores
from crm_models.core.schema import MODEL_NAMES
from crm_models.evaluation.curves import calibration_table, roc_table
from crm_models.evaluation.scores import best_baseline
from crm_models.evaluation.verdict import notes
from crm_models.planning.plans import make_plans
from crm_models.planning.policy import Policy
from crm_models.runs import figures
from crm_models.runs.folder import RunFolder
from crm_models.runs.trained import plan_catalogue

SCORES = (
    ("sequence", "step_accuracy", "correct next actions"),
    ("sequence", "plan_accuracy", "whole plans correct"),
    ("sequence", "loss", "loss per step (nats)"),
    ("churn", "auc", "churn ranking (AUC)"),
    ("churn", "accuracy", "churn accuracy at 0.50"),
    ("churn", "log_loss", "churn log loss (nats)"),
    ("churn", "ece", "calibration error"),
)
"""Scores of a model card: part of the report, name, in words."""
MODEL_TITLES = {"sequence": "Sequence Transformer", "churn": "Churn Transformer"}
LIMITS = (
    "The models predict what customers like these do next. Only a campaign with a control group tells what an action "
    "brings about.",
    "A churn probability is right on average over many customers, within its calibration error. For one, it says "
    "how similar ones behaved.",
    "Scores hold for customers like those held out. If behaviour changes over time, expect lower scores, and train "
    "again.",
    "Attention and drivers say what the models go by, not why customers act.",
)


def report_page(
    run: RunFolder,
    report: dict[str, Any],
    scores: Iterable[CustomerScores],
    policy: Policy,
    held_out: ChurnPredictions | None = None,
) -> str:
    """The report as HTML. report: of the evaluation; scores: of all customers; held_out: for the curves, if known."""
    status = run.status()
    learned = [
        figure(
            figures.losses(status.epochs, name, f"Loss of the {MODEL_TITLES[name]}"),
            f"Loss by epoch of the {name} model",
        )
        for name in MODEL_NAMES
        if any(epoch.model == name for epoch in status.epochs)
    ]
    sentences = notes({name: report.get(name) for name in MODEL_NAMES})
    return page(
        f"Run {run.run_id}",
        [
            paragraph(sentences[0], "lead"),
            bullets(sentences[1:]),
            model_card(run, report),
            *_curves(report, held_out),
            *_plans(run, scores, policy),
            section("Training", *learned) if learned else "",
        ],
    )


def model_card(run: RunFolder, report: dict[str, Any] | None) -> str:
    """Data, split, models, scores between chance and ceiling, and limits of a run, as HTML sections."""
    about, config = run.about(), run.config()
    n = about["customers"]
    parts = ", ".join(f"{n[part]:,} {said}" for part, said in _PARTS.items() if part in n)
    rows = {
        "run": run.run_id,
        "made": about["created_at"],
        "cohort": about.get("cohort_name", ""),
        "source": about.get("cohort_source", ""),
        "data (SHA-256)": about["cohort_hash"],
        "split": f"{_split(config)}: {parts}; seed {config.seed}",
        "preset": config.preset,
        "models": ", ".join(MODEL_TITLES[name] for name in run.trained()),
        "versions": ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
    }
    content = [table(pd.DataFrame({"": list(rows), "value": list(rows.values())}))]
    if report:
        content += [paragraph("Scores on the held-out customers:"), table(score_table(report))]
    return section("Model card", *content, *(paragraph(note) for note in about["notes"])) + section(
        "Limits", bullets(LIMITS)
    )


_PARTS = {"train": "to train on", "valid": "to stop training by", "test": "held out for the scores"}


def _split(config: Any) -> str:
    """How the customers were split, in words."""
    return "by time" if getattr(config, "split", "random") == "time" else "at random by customer"


def score_table(report: dict[str, Any]) -> pd.DataFrame:
    """Scores between chance and ceiling, one row each; ceiling NaN where it is unknown."""
    rows = []
    for part, name, label in SCORES:
        scores = report.get(part)
        if not scores or scores.get(name) is None:
            continue
        low, high = scores.get("intervals", {}).get(name, (None, None))
        baselines = scores.get("baselines") or {}
        best = best_baseline(baselines, name)
        values = {
            "chance": (scores.get("chance") or {}).get(name),
            "best baseline": baselines[best][name] if best else None,
            "ours": scores[name],
            "95% from": low,
            "to": high,
            "ceiling": (scores.get("ceiling") or {}).get(name),
        }
        rows.append({"score": label} | {k: np.nan if v is None else float(v) for k, v in values.items()})
    return pd.DataFrame(rows)


def _curves(report: dict[str, Any], held_out: ChurnPredictions | None) -> list[str]:
    churn = report.get("churn")
    if held_out is None or not churn:
        return []
    curve, bins = roc_table(held_out), calibration_table(held_out)
    drawn = [
        figure(
            figures.calibration(bins), "Predicted beside observed churn", numbers=bins,
            note="Held-out customers in groups of equal size, with 95% intervals. On the dotted line, it is "
            "right on average.",
        )
    ]  # fmt: skip
    if len(curve) and churn.get("auc") is not None:
        drawn.insert(0, figure(figures.roc(curve, churn["auc"]), "ROC curve of the churn model"))
    return [section("How good the churn probabilities are", *drawn)]


def _plans(run: RunFolder, scores: Iterable[CustomerScores], policy: Policy) -> list[str]:
    catalogue = plan_catalogue(run, policy)
    steps, probabilities, at_risk = np.zeros(len(catalogue.labels) + 1, np.int64), [], 0
    for part in scores:
        plans = make_plans(part, catalogue, policy)
        steps += _counted(plans.action, len(steps))
        probabilities.append(plans.churn_p)
        at_risk += int(plans.at_risk.sum())
    churn_p = np.concatenate(probabilities) if probabilities else np.zeros(0)
    content = []
    if not np.isnan(churn_p).all():
        drawn, counts = figures.risks(churn_p, policy.threshold)
        said = f"{at_risk:,} of {len(churn_p):,} customers have a churn probability above {policy.threshold:.2f}."
        content += [paragraph(said), figure(drawn, "Customers by churn probability", numbers=counts)]
    mix = pd.DataFrame({"action": list(catalogue.labels), "steps": steps[:-1]})
    mix = mix[mix["steps"] > 0].sort_values("steps", ascending=False, kind="stable")
    if len(mix):
        drawn = figures.actions(mix, policy.retention_actions)
        content.append(figure(drawn, "Planned steps by action", numbers=mix))
    return [section("Customers and plans", *content)] if content else []


def _counted(action: np.ndarray, n: int) -> np.ndarray:
    """(n,) occurrences of each code; the last is that of no action (-1)."""
    return np.bincount(np.where(action < 0, n - 1, action).ravel(), minlength=n)
