"""Data of the paper page: the printed tables, the results of the re-runs, the chapters and text helpers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from crm_models.paper.rerun import CHANCE_LOSS, printed
from dashboard.state import paper_store

MODELS = {"sequence": "Sequence Transformer", "churn": "Churn Transformer"}
SCORE = {"sequence": "step_accuracy", "churn": "accuracy"}
TESTED = 20
"""Customers of the paper's test split."""
NONE = "–"

CHAPTERS = (
    ("claims", "The claim"),
    ("losses", "Loss by epoch"),
    ("accuracy", "Tables II and IV"),
    ("figures", "Figures 2 and 3"),
    ("plans", "Sample plans"),
    ("contradictions", "Contradictions"),
    ("signal", "What it takes"),
)


@dataclass(frozen=True, kw_only=True)
class Story:
    """Results to show. result: as `paper.json`, None before the first re-run; lifelike: scores by signal.

    After a new start, the result is the previous one until the first new re-run is done.
    """

    result: dict[str, Any] | None
    lifelike: dict[float, dict[str, Any]]

    @property
    def seeds(self) -> int:
        """Number of re-runs so far."""
        return self.result["seeds"] if self.result else 0

    @property
    def paper(self) -> dict[str, Any]:
        """The printed tables."""
        return printed()

    def ours(self, model: str, score: str) -> np.ndarray:
        """(seeds,) accuracy or last loss of a model; (seeds, epochs) its `losses`. Empty before the first re-run."""
        if self.result is None:
            return np.empty(0)
        if score == "losses":
            return np.array(self.result[f"{model}_loss"])
        return np.array(self.result[f"{model}_{score}"]) if score == "accuracy" else self.ours(model, "losses")[:, -1]


def story() -> Story:
    """Read the results from the workspace."""
    state = paper_store.state()
    shown = paper_store.shown(state)
    lifelike = {float(signal): scores for signal, scores in (state or {}).get("lifelike", {}).items()}
    return Story(result=shown["result"] if shown else None, lifelike=dict(sorted(lifelike.items())))


def chapter(anchor: str, heading: str) -> None:
    """Draw the heading of a chapter, the target of the links at the top of the page."""
    number = [name for name, _ in CHAPTERS].index(anchor) + 1
    st.space("medium")
    st.header(f"{number}. {heading}", anchor=anchor, divider="gray")


# ---- text ------------------------------------------------------------------------------------------------------------


def chance(model: str, score: str) -> float:
    """Score of guessing on the paper's data: `accuracy`, or `loss` in nats."""
    return CHANCE_LOSS[model] if score == "loss" else {"sequence": 1 / 50, "churn": 0.5}[model]


def re_runs(seeds: int) -> str:
    """A count of re-runs in words."""
    return f"{seeds} re-run" + ("s" if seeds != 1 else "")


def spread(values: np.ndarray) -> str:
    """Range over the seeds, as text."""
    return f"{values.min():.4f}\u2060–\u2060{values.max():.4f}"  # word joiners prevent a line break in a narrow cell


def within(value: float, ours: np.ndarray) -> bool | None:
    """Whether a printed figure is within the range over the seeds; None before the first re-run."""
    return bool(ours.min() <= value <= ours.max()) if len(ours) else None


def verdict(inside: bool | None) -> str:
    """Text of a table cell for the result of `within`."""
    return NONE if inside is None else ":material/check: yes" if inside else ":material/close: no"
