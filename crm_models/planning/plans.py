"""Plans: the next three actions of each customer under a policy, with the source of and the reason for each step.

Paper, Integration for CRM and equations 8 and 10: above the threshold, retention actions replace steps of the Sequence
Transformer's plan. Vectorised over customers: a million plans take about a second. Letters: N customers, A actions of
the run, V entries of the plan vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.core.schema import (
    N_STEPS,
    PLAN_SOURCES,
    STEP_SOURCES,
)
from crm_models.data.features import FeatureEncoder
from crm_models.planning.policy import PROBABILITY_DIGITS, Policy, rounded

MODEL, OVERRIDE, GRADED, FALLBACK = range(len(PLAN_SOURCES))
STEP_MODEL, STEP_RETENTION, STEP_FALLBACK = range(len(STEP_SOURCES))


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Vocabulary of the plans. Codes 0 to A - 1 are the run's actions; retention actions outside the run follow.

    names: (V,) action names in the source data. labels: (V,) display names. fallback: (3,) codes of the most popular
    engagement actions, with fallback_p (3,), their share of all events.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    n_actions: int
    fallback: tuple[int, ...]
    fallback_p: tuple[float, ...]

    @classmethod
    def of(cls, encoder: FeatureEncoder, popular: list[list[float]], policy: Policy) -> Catalogue:
        """The catalogue of a run under a policy. popular: [id, share] as recorded in the run, most popular first.

        Raises `ValueError` if an id is not an action of the run.
        """
        labels = list(encoder.action_labels)
        extra = [a for a in policy.retention_actions if a not in labels and a not in encoder.actions]
        return cls(
            names=(*encoder.actions, *extra),
            labels=(*labels, *extra),
            n_actions=encoder.n_actions,
            fallback=tuple(range(encoder.n_actions).index(int(action) - 1) for action, _ in popular),
            fallback_p=tuple(float(share) for _, share in popular),
        )

    def code(self, action: str) -> int:
        """Code of an action, given its label or name."""
        return self.labels.index(action) if action in self.labels else self.names.index(action)


@dataclass(frozen=True, kw_only=True)
class Plans:
    """Three steps for each of N customers, with their sources. Actions are codes in `catalogue`, -1 for none.

    source (N,): index in PLAN_SOURCES; step_source (N, 3): index in STEP_SOURCES. step_p (N, 3): model probability of
    the step, for a fallback step its share of all events, NaN for a retention step, which is a decision and not a
    prediction. before (N, 3): the plan without the policy. runner_up (N, 3) with runner_up_p: the next best action at a
    model step. drivers (N, 3): what raises or lowers the churn probability most, in words, "" for customers who are not
    at risk; None if nobody asked. step_drivers (N, 3, 3): likewise of the probability of each step, "" for steps that
    are not the model's. confident (N,): whether runs of other seeds agree, nullable; None if there are none.
    """

    policy: Policy
    catalogue: Catalogue
    customer_id: np.ndarray
    churn_p: np.ndarray
    at_risk: np.ndarray
    n_events: np.ndarray
    source: np.ndarray
    action: np.ndarray
    step_source: np.ndarray
    step_p: np.ndarray
    before: np.ndarray
    runner_up: np.ndarray
    runner_up_p: np.ndarray
    drivers: np.ndarray | None = None
    step_drivers: np.ndarray | None = None
    confident: pd.Series | None = None

    def __len__(self) -> int:
        return len(self.customer_id)

    def take(self, rows: np.ndarray) -> Plans:
        """The plans of these customers, in the order given."""
        arrays = {k: v[rows] for k, v in vars(self).items() if isinstance(v, np.ndarray)}
        confident = None if self.confident is None else self.confident.iloc[rows].reset_index(drop=True)
        return replace(self, **arrays, confident=confident)

    def counts(self) -> dict[str, Any]:
        """Number of customers, customers at risk, empty plans, and plans by source."""
        by_source = np.bincount(self.source, minlength=len(PLAN_SOURCES))
        unsure = {} if self.confident is None else {"not_confident": int((~self.confident).sum())}
        return unsure | {
            "customers": len(self),
            "at_risk": int(self.at_risk.sum()),
            "empty": int((self.action < 0).all(axis=1).sum()),
            "by_source": {name: int(n) for name, n in zip(PLAN_SOURCES, by_source, strict=True)},
        }


def make_plans(
    scores: CustomerScores,
    catalogue: Catalogue,
    policy: Policy,
    n_retention: np.ndarray | None = None,
    *,
    retention: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
) -> Plans:
    """Plans of all customers of `scores` under `policy`.

    n_retention (N,): number of retention steps, instead of the policy's. retention (N, 3): codes of each customer's
    retention actions in order, -1 for none, instead of the policy's. allowed (N, V): actions that a campaign's rules
    allow; without it, all. If the model has fewer than three actions left to propose, popular actions that are allowed
    and not yet in the plan fill it up.

    DIFF from paper, Integration for CRM: the paper has no customer without a history. Such a customer, and every one if
    the run has no sequence model, gets the most popular actions, labelled `fallback`, unless the policy overrides them.
    """
    churn_p = rounded(scores.churn_p)
    base = _model_steps(scores, catalogue, allowed)
    n_retention = policy.n_retention(churn_p) if n_retention is None else n_retention
    if retention is None:
        retention = np.array([catalogue.code(a) for a in policy.retention_actions[:N_STEPS]])
    else:
        n_retention = np.minimum(n_retention, (retention >= 0).sum(axis=1))
    action, step_source, step_p, place = _graded(base, n_retention, retention)
    runner_up, runner_up_p = (_placed(values, place, fill) for values, fill in base.second)
    no_model_step = ~((base.source == STEP_MODEL).any(axis=1))
    source = np.where(no_model_step, FALLBACK, MODEL)
    # Under an override, a campaign may leave fewer than three retention steps: the model's follow, as in graded plans.
    overridden = (n_retention == N_STEPS) & (policy.mode == "override")
    source = np.where(n_retention > 0, np.where(overridden, OVERRIDE, GRADED), source)
    return Plans(
        policy=policy,
        catalogue=catalogue,
        customer_id=scores.customer_id,
        churn_p=churn_p,
        at_risk=policy.at_risk(churn_p),
        n_events=scores.n_events,
        source=source.astype(np.int8),
        action=action,
        step_source=step_source.astype(np.int8),
        step_p=rounded(step_p),
        before=base.action,
        runner_up=runner_up,
        runner_up_p=runner_up_p,
    )


@dataclass(frozen=True, kw_only=True)
class _Base:
    """Plans without the policy: action codes, indices in STEP_SOURCES and probabilities, each (N, 3).

    second: runner-up codes and probabilities, each with its fill value.
    """

    action: np.ndarray
    source: np.ndarray
    p: np.ndarray
    second: tuple[tuple[np.ndarray, float], tuple[np.ndarray, float]]


def _model_steps(scores: CustomerScores, catalogue: Catalogue, allowed: np.ndarray | None = None) -> _Base:
    """The model's steps, filled up with popular actions; no action twice, and none that is not allowed."""
    n = len(scores.customer_id)
    plans = scores.plans or DecodedPlans(
        actions=np.zeros((n, N_STEPS), np.int64),
        step_p=np.zeros((n, N_STEPS)),
        plan_p=np.zeros(n),
        runner_up=np.zeros((n, N_STEPS), np.int64),
        runner_up_p=np.zeros((n, N_STEPS)),
    )
    usable = (plans.actions > 0) & (scores.n_events > 0)[:, None]
    if allowed is not None:
        usable &= np.take_along_axis(allowed, (plans.actions - 1).clip(min=0), axis=1)
    action = np.where(usable, plans.actions - 1, -1)
    p = np.where(usable, plans.step_p, np.nan)
    source = np.where(usable, STEP_MODEL, STEP_FALLBACK)
    for step in range(N_STEPS):
        for popular, share in zip(catalogue.fallback, catalogue.fallback_p, strict=True):
            free = (action[:, step] < 0) & ~(action == popular).any(axis=1)
            if allowed is not None:
                free &= allowed[:, popular]
            action[free, step], p[free, step] = popular, share
    seconds = np.where(usable & (plans.runner_up > 0), plans.runner_up - 1, -1)
    return _Base(action=action, source=source, p=p, second=((seconds, -1), (plans.runner_up_p, np.nan)))


def _graded(
    base: _Base, n_retention: np.ndarray, retention: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Retention actions first, then the steps of the base plan in order, skipping actions already in the plan.

    Returns action, step source, step probability and place, all (N, 3); place: index of the base step used, or -1.
    """
    n = len(n_retention)
    action = np.where(np.arange(N_STEPS) < n_retention[:, None], retention, -1)
    source = np.where(action >= 0, STEP_RETENTION, STEP_FALLBACK)
    p = np.full((n, N_STEPS), np.nan)
    place = np.full((n, N_STEPS), -1)
    rows, filled = np.arange(n), n_retention.copy()
    for step in range(N_STEPS):
        candidate = base.action[:, step]
        fits = (filled < N_STEPS) & (candidate >= 0) & ~(action == candidate[:, None]).any(axis=1)
        at = filled[fits]
        action[rows[fits], at], source[rows[fits], at] = candidate[fits], base.source[fits, step]
        p[rows[fits], at], place[rows[fits], at] = base.p[fits, step], step
        filled[fits] += 1
    return action, source, p, place


def _placed(values: np.ndarray, place: np.ndarray, fill: float) -> np.ndarray:
    """Values (N, 3) of the base steps, reordered by `place`; `fill` where no base step is used."""
    moved = np.take_along_axis(values, place.clip(min=0), axis=1)
    return np.where(place >= 0, moved, fill)


def reasons(plans: Plans) -> list[list[str]]:
    """(N, 3) the reason for each step, as a phrase."""
    labels, threshold = plans.catalogue.labels, plans.policy.threshold
    return [[_reason(plans, row, step, labels, threshold) for step in range(N_STEPS)] for row in range(len(plans))]


def _reason(plans: Plans, row: int, step: int, labels: tuple[str, ...], threshold: float) -> str:
    if plans.action[row, step] < 0:
        return "no action left to propose"
    source, p = plans.step_source[row, step], plans.step_p[row, step]
    if source == STEP_RETENTION:
        return _exceeds(float(plans.churn_p[row]), threshold)
    if source == STEP_FALLBACK:
        cause = "no history" if plans.n_events[row] == 0 else "no prediction for this step"
        return f"{cause}: popular action ({p:.0%} of all events)"
    reason = f"from the most likely three-step sequence (probability {p:.2f}"
    other, other_p = int(plans.runner_up[row, step]), plans.runner_up_p[row, step]
    if other >= 0:
        # The plan as a whole is the most probable one, but a single step need not be.
        rank = "more likely on its own" if other_p > p else "runner-up"
        reason += f"; {rank}: {labels[other]} {other_p:.2f}"
    return reason + ")"


def _exceeds(churn_p: float, threshold: float) -> str:
    """ "churn probability 0.71 exceeds 0.50", with enough digits to show the difference."""
    for digits in range(2, PROBABILITY_DIGITS):
        if round(churn_p, digits) > round(threshold, digits):
            return f"churn probability {churn_p:.{digits}f} exceeds {threshold:.{digits}f}"
    return f"churn probability {churn_p} exceeds {threshold}"
