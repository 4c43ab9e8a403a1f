"""When and how far a plan turns to retention: the threshold, the override and the graded formula.

Paper, Integration for CRM and equations 8 and 10. Letters: N customers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crm_models.core.errors import ConfigError
from crm_models.core.schema import (
    DEFAULT_RETENTION_ACTIONS,
    DEFAULT_THRESHOLD,
    N_STEPS,
    PLAN_MODES,
    PlanMode,
)

PROBABILITY_DIGITS = 6
"""Churn probabilities are rounded before the policy looks at them, so that what a file shows is what was decided on."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When and how far a plan turns to retention.

    override (the paper's): an at-risk customer gets the first three retention actions. graded (equations 8 and 10): the
    first min(3, ceil(3 * intensity * (p - t) / (1 - t))) steps are retention actions, the model's best steps follow.
    """

    threshold: float = DEFAULT_THRESHOLD
    mode: PlanMode = "override"
    intensity: float = 1.0
    retention_actions: tuple[str, ...] = DEFAULT_RETENTION_ACTIONS

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise ConfigError(f"threshold must lie between 0 and 1, found {self.threshold}")
        if self.mode not in PLAN_MODES:
            raise ConfigError(f"mode must be one of {', '.join(PLAN_MODES)}; found {self.mode!r}")
        if not 0 <= self.intensity < math.inf:
            raise ConfigError(f"intensity must be a number from 0 up, found {self.intensity}")
        named = [action.strip() for action in self.retention_actions]
        if len(named) < N_STEPS or "" in named or len(set(named)) < len(named):
            raise ConfigError(
                f"a policy needs at least {N_STEPS} different retention actions, none blank; "
                f"found {', '.join(repr(a) for a in self.retention_actions)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"retention_actions": list(self.retention_actions)}

    def n_retention(self, churn_p: np.ndarray) -> np.ndarray:
        """(N,) retention steps of each plan, 0 to 3; 0 for who is not at risk, or whose risk is unknown (NaN)."""
        at_risk = churn_p > self.threshold
        if self.mode == "override":
            return np.where(at_risk, N_STEPS, 0)
        excess = np.where(at_risk, churn_p - self.threshold, 0.0) / max(1 - self.threshold, 1e-12)
        # Rounded before the ceiling: 3 * (0.8 - 0.4) / 0.6 is 2 on paper and must not be pushed over it by the last
        # binary digit.
        return np.minimum(np.ceil(np.round(N_STEPS * self.intensity * excess, 9)), N_STEPS).astype(np.int64)
