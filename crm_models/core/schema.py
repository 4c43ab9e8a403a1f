"""The words of the product: column names, action kinds, plan sources and the few fixed numbers.

One name each, from the column in a file to the label on a screen. Nothing here does any work.
"""

from typing import Final, Literal

# Columns of the three tables of a cohort.
CUSTOMER_ID: Final = "customer_id"
CHURNED: Final = "churned"
ACTION: Final = "action"
TIMESTAMP: Final = "timestamp"
VALUE: Final = "value"
LABEL: Final = "label"
KIND: Final = "kind"
REPEATABLE: Final = "repeatable"

ActionKind = Literal["engagement", "retention"]
ACTION_KINDS: Final[tuple[str, ...]] = ("engagement", "retention")

N_STEPS: Final = 3
"""Steps in a plan (Paper, Methodology: "predicting the next 3 actions")."""

DEFAULT_THRESHOLD: Final = 0.5
"""Churn probability strictly above which a customer is at risk (Paper, Integration for CRM)."""

DEFAULT_RETENTION_ACTIONS: Final[tuple[str, str, str]] = (
    "Offer proactive support",
    "Send a loyalty offer",
    "Provide a discount",
)

PADDING: Final = 0
"""Action id that fills the unused end of a history; real actions are 1..A in the order of `actions`."""

PlanSource = Literal["model", "override", "graded", "fallback"]
PLAN_SOURCES: Final[tuple[str, ...]] = ("model", "override", "graded", "fallback")
StepSource = Literal["model", "retention", "fallback"]
STEP_SOURCES: Final[tuple[str, ...]] = ("model", "retention", "fallback")
PlanMode = Literal["override", "graded"]
PLAN_MODES: Final[tuple[str, ...]] = ("override", "graded")
PlanLayout = Literal["wide", "long"]

ModelName = Literal["sequence", "churn"]
MODEL_NAMES: Final[tuple[ModelName, ...]] = ("sequence", "churn")
PresetName = Literal["paper", "standard", "strong"]
PRESET_NAMES: Final[tuple[PresetName, ...]] = ("paper", "standard", "strong")

Outcome = Literal["none", "simulated", "observed"]
"""What a cohort knows of the time after its `as_of`.

none: there is no cut-off; the last three events of a customer serve as outcome when a model is scored.
simulated: a generator drew what comes next; it is the answer key, and plans are made as if it had not happened.
observed: it really happened, so it serves as outcome for scores, and as history when a plan is made today.
"""
