"""Vocabulary of the product: column names, action kinds, plan sources, and fixed numbers.

Each thing has one name, from the column in a file to the label on a screen.
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
"""Action id of padding at the end of a history; real actions are 1..A in the order of `actions`."""

PlanSource = Literal["model", "override", "graded", "fallback"]
PLAN_SOURCES: Final[tuple[str, ...]] = ("model", "override", "graded", "fallback")
StepSource = Literal["model", "retention", "fallback"]
STEP_SOURCES: Final[tuple[str, ...]] = ("model", "retention", "fallback")
PlanMode = Literal["override", "graded"]
PLAN_MODES: Final[tuple[str, ...]] = ("override", "graded")
PlanLayout = Literal["wide", "long"]

PlanFor = Literal["whole", "steps"]
"""What a plan is made for: to be right as a whole, or in as many single steps as possible."""

ModelName = Literal["sequence", "churn"]
MODEL_NAMES: Final[tuple[ModelName, ...]] = ("sequence", "churn")
PresetName = Literal["paper", "standard", "strong", "large"]
PRESET_NAMES: Final[tuple[PresetName, ...]] = ("paper", "standard", "strong", "large")

Scenario = Literal["lifelike", "paper", "movielens", "amazon", "churn"]
SCENARIOS: Final[tuple[Scenario, ...]] = ("lifelike", "paper", "movielens", "amazon", "churn")

Outcome = Literal["none", "simulated", "observed"]
"""Kind of the events after a cohort's `as_of`.

none: no cut-off; each customer's last three events are the outcome in evaluation.
simulated: drawn by a generator; they are the outcome in evaluation, and unknown when plans are made.
observed: they really happened; they are the outcome in evaluation, and history when plans are made.
"""
