"""What simple rules reach: popularity, repeat-last, Markov; majority and logistic regression. A model must beat these.

Every baseline is fitted on training customers only and answers in the same records as the Transformers do, so that the
same code scores them. Letters: N customers, M scored customers, E events, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crm_models.cohort import Outcomes, Split
from crm_models.features import CohortArrays, FeatureEncoder
from crm_models.records import ChurnPredictions, SequencePredictions
from crm_models.schema import N_STEPS

RECENT_SHARE = 0.2
"""`recent` counts the latest fifth of all training events."""

BACK_OFF = 5.0
"""Weight of popularity in the Markov table, in events: a row with few events leans on what is popular."""

REPEAT_P = 0.5
"""Probability that `repeat_last` gives to the last action; the rest goes by popularity."""

BEAM = 24


# ---- sequences -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What training customers did.

    popular and recent: (A,) probabilities, smoothed by one event in all. follows: sparse (A, A), how often an action
    (column) came right after another (row).
    """

    popular: np.ndarray
    recent: np.ndarray
    follows: sparse.csr_array


def count(arrays: CohortArrays, rows: np.ndarray, n_actions: int) -> Counts:
    """Counts over all events of the customers `rows`."""
    own = np.zeros(len(arrays), dtype=bool)
    own[rows] = True
    events = arrays.events
    customer = np.repeat(np.arange(len(arrays)), np.diff(events.starts))
    keep = own[customer]
    action, days, customer = events.action[keep] - 1, events.days[keep], customer[keep]
    latest = days >= np.quantile(days, 1 - RECENT_SHARE) if len(days) else np.zeros(0, bool)
    follows = np.flatnonzero(np.diff(customer) == 0)
    pairs = sparse.coo_array(
        (np.ones(len(follows)), (action[follows], action[follows + 1])), shape=(n_actions, n_actions)
    )
    return Counts(
        popular=_smoothed(np.bincount(action, minlength=n_actions)),
        recent=_smoothed(np.bincount(action[latest], minlength=n_actions)),
        follows=pairs.tocsr(),
    )


def sequence_baselines(
    fitted: CohortArrays, rows: np.ndarray, arrays: CohortArrays, found: Outcomes, encoder: FeatureEncoder
) -> dict[str, SequencePredictions]:
    """All sequence baselines, fitted on the customers `rows` of `fitted`, for the outcomes `found` of `arrays`."""
    counts = count(fitted, rows, encoder.n_actions)
    last, actual = last_actions(arrays, found), true_steps(arrays, found)
    return {
        "popular": _static(arrays, found, counts.popular),
        "recent": _static(arrays, found, counts.recent),
        "repeat_last": _Repeat(counts).predict(arrays, found, last, actual),
        "markov": _Markov(counts).predict(arrays, found, last, actual),
    }


def popular(
    fitted: CohortArrays, rows: np.ndarray, arrays: CohortArrays, found: Outcomes, encoder: FeatureEncoder
) -> SequencePredictions:
    """The most popular action of training customers, three times over."""
    return _static(arrays, found, count(fitted, rows, encoder.n_actions).popular)


def last_actions(arrays: CohortArrays, found: Outcomes) -> np.ndarray:
    """(M,) id of the last action of each history."""
    return arrays.events.action[arrays.events.starts[found.rows] + found.n_history - 1].astype(np.int64)


def true_steps(arrays: CohortArrays, found: Outcomes) -> np.ndarray:
    """(M, 3) ids of the events after the history, 0 where there are fewer."""
    place = np.arange(N_STEPS)
    real = place < found.n_outcome[:, None]
    first = arrays.events.starts[found.rows] + found.n_history
    return np.where(real, arrays.events.action[np.where(real, first[:, None] + place, 0)], 0).astype(np.int64)


def rank_of(scores: np.ndarray, action: np.ndarray) -> np.ndarray:
    """(M,) how many actions stand before `action` (ids) when scores (M, A) are sorted; ties go to the lower id."""
    at = (action - 1).clip(min=0)
    value = np.take_along_axis(scores, at[:, None], axis=1)
    before = (scores > value) | ((scores == value) & (np.arange(scores.shape[1]) < at[:, None]))
    return before.sum(axis=1)


def _static(arrays: CohortArrays, found: Outcomes, p: np.ndarray) -> SequencePredictions:
    """The same distribution for everybody and every step."""
    actual = true_steps(arrays, found)
    best = int(p.argmax()) + 1
    place = np.empty(len(p), np.int64)
    place[np.argsort(-p, kind="stable")] = np.arange(len(p))
    return SequencePredictions(
        customer_id=arrays.customer_id[found.rows],
        n_events=found.n_history,
        actual=actual,
        plan=np.full((len(found.rows), N_STEPS), best),
        plan_p=np.full(len(found.rows), p[best - 1] ** N_STEPS),
        actual_log_p=np.where(actual > 0, np.log(p[(actual - 1).clip(min=0)]), 0.0),
        rank=place[(actual[:, 0] - 1).clip(min=0)],
    )


class _Chain:
    """A baseline that knows only the action before; a plan therefore depends on the last action alone."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts

    def after(self, action: np.ndarray) -> np.ndarray:
        """(B, A) probabilities of what follows each action id."""
        raise NotImplementedError

    def predict(
        self, arrays: CohortArrays, found: Outcomes, last: np.ndarray, actual: np.ndarray
    ) -> SequencePredictions:
        """One answer per distinct last action, handed to all customers who share it."""
        plan, plan_p = np.zeros((len(last), N_STEPS), np.int64), np.zeros(len(last))
        log_p, rank = np.zeros(actual.shape), np.zeros(len(last), np.int64)
        before = np.concatenate([last[:, None], actual[:, :-1]], axis=1)
        for step in range(N_STEPS):
            for action in np.unique(before[actual[:, step] > 0, step]):
                rows = np.flatnonzero((before[:, step] == action) & (actual[:, step] > 0))
                p = self.after(np.array([action]))[0]
                log_p[rows, step] = np.log(p[actual[rows, step] - 1])
                if step == 0:
                    place = np.empty(len(p), np.int64)
                    place[np.argsort(-p, kind="stable")] = np.arange(len(p))
                    rank[rows] = place[actual[rows, 0] - 1]
        for action in np.unique(last):
            rows = last == action
            plan[rows], plan_p[rows] = self.best_plan(int(action))
        return SequencePredictions(
            customer_id=arrays.customer_id[found.rows],
            n_events=found.n_history,
            actual=actual,
            plan=plan,
            plan_p=plan_p,
            actual_log_p=log_p,
            rank=rank,
        )

    def best_plan(self, last: int) -> tuple[np.ndarray, float]:
        """The most probable three steps after `last` and their probability.

        Up to 24 actions every plan is weighed; beyond, the 24 best candidates of each step.
        """
        plans, p = np.zeros((1, 0), np.int64), np.ones(1)
        for _ in range(N_STEPS):
            here = plans[:, -1] if plans.shape[1] else np.array([last])
            joint = p[:, None] * self.after(here)
            n_actions = joint.shape[1]
            keep = min(BEAM * max(len(p), 1) if n_actions <= BEAM else BEAM, joint.size)
            best = np.argsort(-joint.ravel(), kind="stable")[:keep]
            plans = np.concatenate([plans[best // n_actions], (best % n_actions + 1)[:, None]], axis=1)
            p = joint.ravel()[best]
        return plans[0], float(p[0])


class _Markov(_Chain):
    """Order-1 transition counts, backing off to popularity where a row has few events."""

    def after(self, action: np.ndarray) -> np.ndarray:
        rows = self.counts.follows[action - 1].toarray()
        return (rows + BACK_OFF * self.counts.popular) / (rows.sum(axis=1, keepdims=True) + BACK_OFF)


class _Repeat(_Chain):
    """The last action again, with popularity for the rest."""

    def after(self, action: np.ndarray) -> np.ndarray:
        p = np.tile((1 - REPEAT_P) * self.counts.popular, (len(action), 1))
        p[np.arange(len(action)), action - 1] += REPEAT_P
        return p


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """Counts as probabilities; one event in all is spread evenly, so that nothing is impossible."""
    return (counts + 1 / len(counts)) / (counts.sum() + 1)


# ---- churn -----------------------------------------------------------------------------------------------------------


def majority(arrays: CohortArrays, labels: np.ndarray, split: Split) -> ChurnPredictions:
    """The churn rate of training customers for everybody."""
    return _churn(arrays, labels, split, np.full(len(arrays), np.nanmean(labels[split.train])))


def logistic(arrays: CohortArrays, labels: np.ndarray, split: Split, encoder: FeatureEncoder) -> ChurnPredictions:
    """Logistic regression on profile and behaviour features: one-hot levels, medians and a mark for what is missing."""
    design = _design(arrays, encoder)
    train = split.train[~np.isnan(labels[split.train])]
    model = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=2000),
    ).fit(design[train], labels[train])
    return _churn(arrays, labels, split, model.predict_proba(design)[:, 1])


def churn_baselines(
    arrays: CohortArrays, labels: np.ndarray, split: Split, encoder: FeatureEncoder
) -> dict[str, ChurnPredictions]:
    """All churn baselines, for the labelled customers of the test split."""
    return {"majority": majority(arrays, labels, split), "logistic": logistic(arrays, labels, split, encoder)}


def _design(arrays: CohortArrays, encoder: FeatureEncoder) -> np.ndarray:
    """(N, columns) float64: numbers with NaN, then one column per level of each categorical feature."""
    levels = [arrays.categorical[:, [k]] == np.arange(feature.n_codes) for k, feature in enumerate(encoder.categorical)]
    constant = np.zeros((len(arrays), 1))
    return np.concatenate([arrays.numeric, arrays.behaviour, *levels, constant], axis=1).astype(np.float64)


def _churn(arrays: CohortArrays, labels: np.ndarray, split: Split, p: np.ndarray) -> ChurnPredictions:
    test = split.test[~np.isnan(labels[split.test])]
    return ChurnPredictions(customer_id=arrays.customer_id[test], churned=labels[test], churn_p=p[test])
