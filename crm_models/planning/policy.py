"""Policy: when a plan switches to retention actions (`is_at_risk`), and for how many steps (override or graded).

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
"""Digits of every probability in a file. Decisions use the rounded values, so that they agree with the file."""


def rounded(p: np.ndarray) -> np.ndarray:
    """Probabilities rounded as in files and decisions; NaN stays NaN."""
    return np.round(p, PROBABILITY_DIGITS)


def is_at_risk(churn_p: np.ndarray, threshold: float) -> np.ndarray:
    """(N,) whether each churn probability is strictly above the threshold; False if it is unknown (NaN).

    The only definition of "at risk": plans, lists, files, curves and scores call it. Strictly, because the paper acts
    when the probability "exceeds" the threshold (Integration for CRM).
    """
    return rounded(churn_p) > threshold


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Threshold, mode, intensity and retention actions: when a plan switches to retention, and for how many steps.

    override (Paper, Integration for CRM): a customer at risk gets the first three retention actions.
    graded (Paper, equations 8 and 10): the first min(3, ceil(3 * intensity * (p - t) / (1 - t))) steps are retention
    actions, the model's best steps follow. DIFF from paper, equation 10: the paper adds retention scaled by alpha
    (intensity) without saying how many steps that is; this rule reaches all three at p = 1 with alpha = 1.
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
        actions = [action.strip() for action in self.retention_actions]
        if len(actions) < N_STEPS or "" in actions or len(set(actions)) < len(actions):
            raise ConfigError(
                f"a policy needs at least {N_STEPS} different retention actions, none blank; "
                f"found {', '.join(repr(a) for a in self.retention_actions)}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"retention_actions": list(self.retention_actions)}

    def at_risk(self, churn_p: np.ndarray) -> np.ndarray:
        """(N,) whether each customer is at risk at this policy's threshold; see `is_at_risk`."""
        return is_at_risk(churn_p, self.threshold)

    def n_retention(self, churn_p: np.ndarray) -> np.ndarray:
        """(N,) number of retention steps, 0 to 3, never falling with the risk; 0 if the risk is unknown (NaN)."""
        at_risk = self.at_risk(churn_p)
        if self.mode == "override":
            return np.where(at_risk, N_STEPS, 0)
        excess = np.where(at_risk, rounded(churn_p) - self.threshold, 0.0) / max(1 - self.threshold, 1e-12)
        # Rounded before the ceiling, because 3 * (0.8 - 0.4) / 0.6 is exactly 2 but not in binary digits.
        return np.minimum(np.ceil(np.round(N_STEPS * self.intensity * excess, 9)), N_STEPS).astype(np.int64)
