"""Uplift: who is moved by which action, learned from a campaign with a control group, and what that ranking is worth.

tau_ia = m_a(x_i) - m_0(x_i): one model per arm, cross-fitted by customer. The Qini coefficient says what a ranking is
worth, with an interval and beside two baselines: risk alone, and the response expected with the action. Groups count as
moved only where that is proven. Letters: N customers, F features, A actions (arm 0 is the control group).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crm_models.campaigns.effects import holm, is_share, verdict
from crm_models.core.errors import DataError
from crm_models.evaluation.intervals import Estimate, Z

FOLDS = 5
RESAMPLES = 200
GROUPS = 5
LEAST_PER_ARM = 50
"""Customers that an arm needs for its model."""

LEAST_ROWS = 10
"""Rows that a model is fitted on, at least."""

MOST_LEVELS = 20
"""Most frequent values of a text column that become features of their own."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A campaign with a control group.

    x (N, F): features from before. arm (N,): 0 for the control group, k for actions[k - 1]. outcome (N,).
    propensity (N, 1 + A): probability of each arm, or None to take the shares of the arms. customer (N,): whose row it
    is. risk (N,): the churn probability, or None.
    """

    x: np.ndarray
    arm: np.ndarray
    outcome: np.ndarray
    actions: tuple[str, ...]
    customer: np.ndarray
    propensity: np.ndarray | None = None
    risk: np.ndarray | None = None

    def __post_init__(self) -> None:
        counts = np.bincount(self.arm, minlength=len(self.actions) + 1)
        for name, n in zip(("the control group", *self.actions), counts, strict=True):
            if n < LEAST_PER_ARM:
                raise DataError(f"uplift: expected at least {LEAST_PER_ARM} customers with {name}, found {n}")

    def between(self, action: int) -> Trial:
        """Only the customers with one action (1 to A) or the control group, who could have got either."""
        rows = np.isin(self.arm, [0, action])
        pair = None
        if self.propensity is not None:
            rows &= (self.propensity[:, [0, action]] > 0).all(axis=1)
            pair = self.propensity[rows][:, [0, action]]
            pair = pair / pair.sum(axis=1, keepdims=True)
        return Trial(
            x=self.x[rows],
            arm=(self.arm[rows] == action).astype(np.int64),
            outcome=self.outcome[rows],
            actions=(self.actions[action - 1],),
            customer=self.customer[rows],
            propensity=pair,
            risk=None if self.risk is None else self.risk[rows],
        )


def features_of(table: pd.DataFrame) -> np.ndarray:
    """(N, F) numbers from a table: text as the most frequent values, blanks as the mean and a flag."""
    columns: list[np.ndarray] = []
    for name in table:
        column = table[name]
        if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
            numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
            missing = np.isnan(numbers)
            columns.append(np.where(missing, np.nanmean(numbers) if not missing.all() else 0.0, numbers))
            if missing.any():
                columns.append(missing.astype(np.float64))
        elif not pd.api.types.is_datetime64_any_dtype(column):
            text = column.astype("str")
            frequent = text.value_counts().index[:MOST_LEVELS]
            columns += [(text == level).to_numpy(dtype=np.float64) for level in frequent[1:]]
    return np.column_stack(columns) if columns else np.zeros((len(table), 0))


def folds_of(customer: np.ndarray, seed: int = 0) -> np.ndarray:
    """(N,) fold of each row; the rows of a customer are in the same one."""
    distinct, inverse = np.unique(customer, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(distinct)) % FOLDS)[inverse]


def arm_models(trial: Trial, seed: int = 0) -> np.ndarray:
    """(N, 1 + A) expected outcome under each arm, from models that have not seen the customer."""
    return cross_fitted(trial.x, trial.outcome, trial.arm, len(trial.actions) + 1, trial.customer, seed)


def cross_fitted(
    x: np.ndarray, outcome: np.ndarray, choice: np.ndarray, n_choices: int, customer: np.ndarray, seed: int
) -> np.ndarray:
    """(N, K) expected outcome of each choice, from models that have not seen the customer.

    x (N, F); outcome, choice and customer (N,). The mean of all outcomes where a choice has fewer than `LEAST_ROWS`.
    """
    fold, expected = folds_of(customer, seed), np.full((len(choice), n_choices), float(outcome.mean()))
    for k in np.unique(fold):
        for made in range(n_choices):
            learn = (fold != k) & (choice == made)
            if learn.sum() >= LEAST_ROWS:
                expected[fold == k, made] = fitted(x[learn], outcome[learn], x[fold == k])
    return expected


def fitted(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Expected outcome at `new`: logistic regression for 0 and 1, ridge regression for numbers."""
    if x.shape[1] == 0 or (y == y[0]).all():
        return np.full(len(new), y.mean())
    if is_share(y):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(x, y)
        return model.predict_proba(new)[:, 1]
    return make_pipeline(StandardScaler(), Ridge()).fit(x, y).predict(new)


def pseudo_effects(trial: Trial, expected: np.ndarray) -> np.ndarray:
    """(N,) doubly robust effect of the one action of a trial, unbiased on average over any group of customers.

    q1 - q0 + T (y - q1) / e - (1 - T) (y - q0) / (1 - e), with the probability e of the action.
    """
    q0, q1 = expected.T
    treated = trial.arm == 1
    e = np.full(len(treated), treated.mean()) if trial.propensity is None else trial.propensity[:, 1]
    correction = (trial.outcome - np.where(treated, q1, q0)) / np.where(treated, e, 1 - e)
    return q1 - q0 + np.where(treated, correction, -correction)


# ---- what a ranking is worth -----------------------------------------------------------------------------------------


def qini(score: np.ndarray, treated: np.ndarray, outcome: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The Qini coefficient per customer (Radcliffe and Surry, unscaled) of treating the highest scores first.

    (mean over k of g(k) - g(N) / 2) / N, where g(k) = Y_t(k) - Y_c(k) N_t(k) / N_c(k) among the first k. 0 is what a
    random order is worth. weight (N,): how often each customer counts.
    """
    order = np.argsort(-score, kind="stable")
    weight = np.ones(len(score)) if weight is None else weight
    return _qini_in_order(treated[order].astype(np.float64), outcome[order], weight[order])


def _qini_in_order(t: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """The same for customers in order already: treated (1 or 0), outcome and weight, each (N,)."""
    n_t, n_c = np.cumsum(w * t), np.cumsum(w * (1 - t))
    y_t, y_c = np.cumsum(w * t * y), np.cumsum(w * (1 - t) * y)
    gain = y_t - np.where(n_c > 0, y_c * n_t / np.maximum(n_c, 1e-12), 0.0)
    n = w.sum()
    return float(((gain * w).sum() / n - gain[-1] / 2) / n)


def qini_with_interval(
    score: np.ndarray, treated: np.ndarray, outcome: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The Qini coefficient with a 95 % bootstrap interval over customers. Equal scores are in a random order."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(score))
    order = shuffled[np.argsort(-score[shuffled], kind="stable")]  # sorted once, not for every resample
    t, y, n = treated[order].astype(np.float64), outcome[order], len(order)
    values = [_qini_in_order(t, y, np.bincount(rng.integers(0, n, n), minlength=n)) for _ in range(resamples)]
    low, high = np.quantile(values, [0.025, 0.975])
    return Estimate(_qini_in_order(t, y, np.ones(n)), float(low), float(high))


def reliability(tau: np.ndarray, effect: np.ndarray) -> float:
    """How much of a predicted difference between customers is real, from 0 to 1.

    The slope of the doubly robust effects (N,) on the cross-fitted predictions (N,): the best linear predictor of the
    effect (Chernozhukov et al., 2018). Predictions are taken this much of the way from the average, because the highest
    of many noisy ones are too high.
    """
    spread = tau - tau.mean()
    variance = float((spread**2).mean())
    return min(max(float((spread * effect).mean()) / variance, 0.0), 1.0) if variance > 0 else 0.0


def groups(trial: Trial, score: np.ndarray, effect: np.ndarray) -> list[dict[str, Any]]:
    """The true effect in fifths of the score, lowest first, with intervals corrected for their number.

    effect (N,): doubly robust effects of customers (`pseudo_effects`).
    """
    edges = np.quantile(score, np.linspace(0, 1, GROUPS + 1)[1:-1])
    place = np.searchsorted(edges, score, side="right")
    z = float(stats.norm.ppf(1 - 0.025 / GROUPS))
    found: list[dict[str, Any]] = []
    p_values = []
    for k in range(GROUPS):
        values = effect[place == k]
        if len(values) < 2:
            continue
        mean = _mean(values, z)
        error = (mean.high - mean.low) / (2 * z)
        p_values.append(2 * float(stats.norm.sf(abs(mean.value) / error)) if error > 0 else 1.0)
        predicted = float(score[place == k].mean())
        found.append({"group": k + 1, "customers": len(values), "predicted": predicted} | vars(mean))
    for row, p in zip(found, holm(p_values), strict=True):
        row |= {"p_adjusted": float(p), "verdict": verdict(row["low"], row["high"], p)}
    return found


def _mean(values: np.ndarray, z: float = Z) -> Estimate:
    return Estimate.around(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), z)


def read_uplift(trial: Trial, seed: int = 0) -> list[dict[str, Any]]:
    """For each action: its average effect, the Qini of the learned ranking beside both baselines, and the groups.

    useful: whether the ranking is proven to be better than chance.
    """
    found = []
    for action, name in enumerate(trial.actions, start=1):
        pair = trial.between(action)
        expected = arm_models(pair, seed)
        tau, effect = expected[:, 1] - expected[:, 0], pseudo_effects(pair, expected)
        treated = pair.arm == 1
        rankings = {"uplift": tau, "response": expected[:, 1]}
        if pair.risk is not None:
            rankings["risk"] = pair.risk
        scores = {k: vars(qini_with_interval(s, treated, pair.outcome, seed)) for k, s in rankings.items()}
        found.append(
            {
                "action": name,
                "customers": int(treated.sum()),
                "control": int((~treated).sum()),
                "average": vars(_mean(effect)),
                "qini": scores,
                "reliability": reliability(tau, effect),
                "useful": scores["uplift"]["low"] > 0,
                "groups": groups(pair, tau, effect) if scores["uplift"]["low"] > 0 else [],
            }
        )
    return found
