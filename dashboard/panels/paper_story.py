"""The paper's story as data: what is printed, what the re-runs gave so far, and the words and chapters to tell it."""

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
    """What there is to tell. result: as `paper.json`, None before the first re-run; lifelike: scores by signal.

    From the start of a new demonstration to its first re-run, the result is that of the one before.
    """

    result: dict[str, Any] | None
    lifelike: dict[float, dict[str, Any]]

    @property
    def seeds(self) -> int:
        """Re-runs so far."""
        return self.result["seeds"] if self.result else 0

    @property
    def paper(self) -> dict[str, Any]:
        """The printed tables."""
        return printed()

    def ours(self, model: str, what: str) -> np.ndarray:
        """(seeds,) accuracy or last loss of a model; (seeds, epochs) its `losses`. Empty before the first re-run."""
        if self.result is None:
            return np.empty(0)
        if what == "losses":
            return np.array(self.result[f"{model}_loss"])
        return np.array(self.result[f"{model}_{what}"]) if what == "accuracy" else self.ours(model, "losses")[:, -1]


def story() -> Story:
    """The story as far as the workspace knows it."""
    state = paper_store.state()
    found = paper_store.shown(state)
    lifelike = {float(signal): own for signal, own in (state or {}).get("lifelike", {}).items()}
    return Story(result=found["result"] if found else None, lifelike=dict(sorted(lifelike.items())))


def chapter(anchor: str, point: str) -> None:
    """The heading of a chapter, reached by the links on top of the page."""
    number = [name for name, _ in CHAPTERS].index(anchor) + 1
    st.space("medium")
    st.header(f"{number}. {point}", anchor=anchor, divider="gray")


# ---- words -----------------------------------------------------------------------------------------------------------


def chance(model: str, what: str) -> float:
    """What a model that knows nothing reaches on the paper's data: `accuracy`, or `loss` in nats."""
    return CHANCE_LOSS[model] if what == "loss" else {"sequence": 1 / 50, "churn": 0.5}[model]


def re_runs(seeds: int) -> str:
    """A count of re-runs in words."""
    return f"{seeds} re-run" + ("s" if seeds != 1 else "")


def spread(values: np.ndarray) -> str:
    """The range over the seeds."""
    return f"{values.min():.4f}\u2060–\u2060{values.max():.4f}"  # joined, so that a narrow cell does not break it


def within(value: float, ours: np.ndarray) -> bool | None:
    """Whether a printed figure lies in the range over the seeds; None before the first re-run."""
    return bool(ours.min() <= value <= ours.max()) if len(ours) else None


def verdict(inside: bool | None) -> str:
    """The outcome of such a check in a table cell."""
    return NONE if inside is None else ":material/check: yes" if inside else ":material/close: no"
