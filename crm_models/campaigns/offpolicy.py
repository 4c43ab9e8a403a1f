"""Off-policy value: what a plan would have brought, from a log of what was done and with which probability.

IPS weighs each outcome by how much more often the plan does what was done; SNIPS divides by the sum of weights; the
doubly robust estimate adds them as a correction to a model of outcomes. Where the log cannot tell, that is the answer,
with the reason. Letters: N rows of the log, K choices (0 is none), pi (N, K) probabilities under the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crm_models.campaigns.uplift import cross_fitted
from crm_models.core.errors import DataError
from crm_models.evaluation.intervals import Estimate, Z

LEAST_EFFECTIVE = 100
"""Effective sample size below which nothing is said."""

MOST_OFF_SUPPORT = 0.05
"""Share of the plan on choices that the log never makes, above which only bounds are given."""

PREDICTABLE = 0.03
"""Accuracy above that of guessing the commonest choice from which on choices count as predictable."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """What was done. choice (N,): 0 to K - 1. outcome (N,). propensity (N,): of the choice made, or None if unknown.

    x (N, F): features from before. customer (N,): whose row it is. n_choices: K. possible (N, K) bool: choices that
    could have been made for each row; None: those that were made for any.
    """

    choice: np.ndarray
    outcome: np.ndarray
    propensity: np.ndarray | None
    x: np.ndarray
    customer: np.ndarray
    n_choices: int
    possible: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.propensity is not None and not ((self.propensity > 0) & (self.propensity <= 1)).all():
            row = int(np.argmin((self.propensity > 0) & (self.propensity <= 1)))
            raise DataError(
                f"log row {row + 1}: expected a propensity above 0 and up to 1, found {self.propensity[row]}"
            )
        if not np.isfinite(self.outcome).all():
            raise DataError(f"log row {int(np.argmin(np.isfinite(self.outcome))) + 1}: expected an outcome, found none")


def outcome_model(log: Log, seed: int = 0) -> np.ndarray:
    """(N, K) expected outcome of each choice, from models that have not seen the customer."""
    return cross_fitted(log.x, log.outcome, log.choice, log.n_choices, log.customer, seed)


def clustered(values: np.ndarray, customer: np.ndarray) -> float:
    """Standard error of the mean of values (N,) whose rows of one customer belong together."""
    distinct, inverse = np.unique(customer, return_inverse=True)
    sums = np.bincount(inverse, weights=values - values.mean())
    return float(np.sqrt((sums**2).sum() * len(distinct) / max(len(distinct) - 1, 1)) / len(values))


def ips(log: Log, pi: np.ndarray) -> Estimate:
    """Inverse propensity score: mean of w y, with w = pi(choice) / propensity."""
    w, y = _weights(log, pi), log.outcome
    return Estimate.around(float((w * y).mean()), clustered(w * y, log.customer))


def snips(log: Log, pi: np.ndarray) -> Estimate:
    """Self-normalised: sum of w y over sum of w."""
    w, y = _weights(log, pi), log.outcome
    value = float((w * y).sum() / w.sum())
    return Estimate.around(value, clustered(w * (y - value) / w.mean(), log.customer))


def doubly_robust(log: Log, pi: np.ndarray, q: np.ndarray) -> Estimate:
    """Mean of q(pi) + w (y - q(choice)); right if either the propensities or the outcome model q (N, K) are."""
    w = _weights(log, pi)
    own = q[np.arange(len(q)), log.choice]
    values = (pi * q).sum(axis=1) + w * (log.outcome - own)
    return Estimate.around(float(values.mean()), clustered(values, log.customer))


def gain(log: Log, pi: np.ndarray, other: np.ndarray, q: np.ndarray) -> Estimate:
    """How much more a plan would have brought than another: the doubly robust difference, paired by row."""
    return doubly_robust(_with_propensity(log), pi - other, q)


def effective_size(log: Log, pi: np.ndarray) -> float:
    """Kish's effective sample size of the weights: how many rows the estimate rests on."""
    w = _weights(log, pi)
    return float(w.sum() ** 2 / (w**2).sum()) if w.any() else 0.0


def value_of(log: Log, pi: np.ndarray, q: np.ndarray, *, seed: int = 0) -> dict[str, Any]:
    """The value of a plan, by an outcome model q (N, K), or why the log cannot tell it.

    identifiable, reason; ips, snips, dr (None where not identifiable); direct: what the model says of itself, never to
    be shown alone; effective: sample size; bounds: of the value where much of the plan is off support.
    """
    lottery = None if log.propensity is not None else _predictability(log, seed)
    log = _with_propensity(log)
    made = np.bincount(log.choice, minlength=log.n_choices) > 0
    possible = np.tile(made, (len(log.choice), 1)) if log.possible is None else log.possible & made
    off = float((pi * ~possible).sum(axis=1).mean())
    result: dict[str, Any] = {"identifiable": True, "reason": "", "off_support": off, "bounds": None}
    result["effective"] = effective_size(log, pi)
    result["direct"] = float((pi * q).sum(axis=1).mean())
    if lottery is not None:
        result |= {"identifiable": False, "reason": lottery}
    elif off > MOST_OFF_SUPPORT:
        low, high = float(log.outcome.min()), float(log.outcome.max())
        inside = float((_weights(log, pi) * log.outcome).mean())
        result |= {"identifiable": False, "bounds": [inside + off * low, inside + off * high]}
        result["reason"] = (
            f"{off:.0%} of the plan are choices that the log never makes for such customers; only bounds can be given"
        )
    elif result["effective"] < LEAST_EFFECTIVE:
        result["identifiable"] = False
        result["reason"] = (
            f"the estimate would rest on about {result['effective']:.0f} customers, fewer than {LEAST_EFFECTIVE}"
        )
    if not result["identifiable"]:
        return result | dict.fromkeys(("ips", "snips", "dr"))
    estimates = {"ips": ips(log, pi), "snips": snips(log, pi), "dr": doubly_robust(log, pi, q)}
    return result | {name: vars(estimate) for name, estimate in estimates.items()}


def _weights(log: Log, pi: np.ndarray) -> np.ndarray:
    assert log.propensity is not None
    return pi[np.arange(len(pi)), log.choice] / log.propensity


def _with_propensity(log: Log) -> Log:
    """The log with the shares of the choices as propensities, where it has none."""
    if log.propensity is not None:
        return log
    shares = np.bincount(log.choice, minlength=log.n_choices) / len(log.choice)
    return replace(log, propensity=shares[log.choice])


def _predictability(log: Log, seed: int) -> str | None:
    """Why choices without logged propensities were not at random; None if they could have been."""
    counts = np.bincount(log.choice)
    shares = counts / len(log.choice)
    if log.x.shape[1] == 0 or counts[counts > 0].min() < 10 or (counts > 0).sum() < 2:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    split = StratifiedKFold(3, shuffle=True, random_state=seed)
    guessed = cross_val_predict(model, log.x, log.choice, cv=split)
    accuracy, commonest = float((guessed == log.choice).mean()), float(shares.max())
    error = Z * np.sqrt(commonest * (1 - commonest) / len(guessed))
    if accuracy > commonest + max(PREDICTABLE, error):
        return (
            f"the log has no propensities, and its choices are no lottery: {accuracy:.0%} of them can be predicted "
            f"from the customers, where guessing gives {commonest:.0%}"
        )
    return None
