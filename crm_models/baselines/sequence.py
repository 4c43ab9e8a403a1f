"""Sequence baselines: popularity, repeat-last, and Markov chains of order 1 and 2.

They return the same records as the Sequence Transformer and are scored by the same code. They are fitted on training
and validation customers together, because they need no early stopping, and never on test customers. Actions are ranked
by higher score, then by lower id, as for the Transformers.
Letters: N customers, M scored customers, E events, A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crm_models.baselines.markov import Chain, LongChain, Pairs, places
from crm_models.core.records import SequencePredictions
from crm_models.core.schema import N_STEPS
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Outcomes, true_steps
from crm_models.data.streaming import on_disk
from crm_models.data.successions import DENSE_ACTIONS, Tally

RECENT_SHARE = 0.2
"""Share of the events, the latest ones, that the baseline `recent` counts."""

CUSTOMERS_AT_ONCE = 65_536
"""Customers whose events are in memory while they are counted."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Counts over the customers that the baselines are fitted on.

    popular and recent: (A,) probabilities, smoothed by one event in total. pairs: pairs of successive actions.
    """

    popular: np.ndarray
    recent: np.ndarray
    pairs: Pairs


def count(arrays: CohortArrays, rows: np.ndarray, n_actions: int) -> Counts:
    """Counts over all events of the customers `rows`, of a few customers at a time."""
    # A fifth of the customers, by hashed id, so that the order of rows changes nothing.
    held = pd.util.hash_array(arrays.customer_id.astype(object), categorize=False) % 5 == 0
    popular, tally = np.zeros(n_actions, np.int64), Tally()
    for action, _, customer in _fitted_events(arrays, rows):
        popular += np.bincount(action, minlength=n_actions)
        last = np.flatnonzero(np.diff(customer) == 0)
        earlier = np.maximum(last - 1, 0)
        known = (last > 0) & (customer[earlier] == customer[last]) & (n_actions <= DENSE_ACTIONS)
        before = np.where(known, action[earlier] + 1, 0)
        tally.add((((before * n_actions) + action[last]) * n_actions + action[last + 1]) * 2 + held[customer[last]])
    number, times = tally.total()
    number, is_held = np.divmod(number, 2)
    number, following = np.divmod(number, n_actions)
    before, last = np.divmod(number, n_actions)
    days = on_disk(days for _, days, _ in _fitted_events(arrays, rows))
    since = np.quantile(days, 1 - RECENT_SHARE, overwrite_input=True) if len(days) else np.inf
    recent = [
        np.bincount(action[days >= since], minlength=n_actions) for action, days, _ in _fitted_events(arrays, rows)
    ]
    return Counts(
        popular=_smoothed(popular),
        recent=_smoothed(np.sum(recent, axis=0)),
        pairs=Pairs(last=last, following=following, before=before - 1, held=is_held == 1, times=times),
    )


def _fitted_events(arrays: CohortArrays, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Actions (from 0), days and customers of the events of the customers `rows`, in order, block by block."""
    is_fitted = np.zeros(len(arrays), dtype=bool)
    is_fitted[rows] = True
    starts = arrays.events.starts
    for first in range(0, len(arrays), CUSTOMERS_AT_ONCE):
        some = np.arange(first, min(first + CUSTOMERS_AT_ONCE, len(arrays)))
        events = slice(starts[some[0]], starts[some[-1] + 1])
        customer = np.repeat(some, np.diff(starts[some[0] : some[-1] + 2]))
        keep = is_fitted[customer]
        action = arrays.events.action[events][keep].astype(np.int64) - 1
        yield action, arrays.events.days[events][keep], customer[keep]


def sequence_baselines(
    fitted: CohortArrays, rows: np.ndarray, arrays: CohortArrays, found: Outcomes, encoder: FeatureEncoder
) -> dict[str, SequencePredictions]:
    """All sequence baselines by name, fitted on the customers `rows` of `fitted`, for the outcomes `found` of `arrays`.

    `popular`, `recent`, `repeat_last`, `markov` (order 1) and, for small vocabularies, `markov_2` (order 2).
    """
    counts = count(fitted, rows, encoder.n_actions)
    chain = Chain.fit(counts.pairs, counts.popular)
    baselines = {
        "popular": _fixed(arrays, found, counts.popular),
        "recent": _fixed(arrays, found, counts.recent),
        "repeat_last": _repeat_last(arrays, found, counts),
        "markov": _markov(arrays, found, chain),
    }
    if encoder.n_actions <= DENSE_ACTIONS:
        baselines["markov_2"] = _markov_2(arrays, found, LongChain.fit(counts.pairs, chain))
    return baselines


def popular(
    fitted: CohortArrays, rows: np.ndarray, arrays: CohortArrays, found: Outcomes, encoder: FeatureEncoder
) -> SequencePredictions:
    """The most popular action of the customers `rows` of `fitted`, at all three steps."""
    return _fixed(arrays, found, count(fitted, rows, encoder.n_actions).popular)


def last_actions(arrays: CohortArrays, found: Outcomes) -> np.ndarray:
    """(M,) id of the last action of each history."""
    return arrays.events.action[arrays.events.starts[found.rows] + found.n_history - 1].astype(np.int64)


def _fixed(arrays: CohortArrays, outcomes: Outcomes, p: np.ndarray) -> SequencePredictions:
    """The same distribution for all customers and steps."""
    actual, m, best = true_steps(arrays.events, outcomes) - 1, len(outcomes.rows), int(p.argmax())
    plan, plan_p = np.full((m, N_STEPS), best + 1), np.full(m, p[best] ** N_STEPS)
    return _predictions(arrays, outcomes, plan, plan_p, p[actual], places(p)[actual[:, 0]], plan)


def _repeat_last(arrays: CohortArrays, outcomes: Outcomes, counts: Counts) -> SequencePredictions:
    """The last action first, as probable as repeats are among fitted customers; then the others by popularity.

    It plans and ranks in this order even if repeats are rare, so its plan need not be its most probable one.
    """
    pairs = counts.pairs
    share = (pairs.times[pairs.last == pairs.following].sum() + 0.5) / (pairs.times.sum() + 1)
    actions = _last_and_true(arrays, outcomes)
    last, first = actions[:, 0], actions[:, 1]
    p = (1 - share) * counts.popular[actions[:, 1:]] + share * (actions[:, 1:] == actions[:, :-1])
    place = places(counts.popular)
    rank = np.where(first == last, 0, place[first] + (place[last] > place[first]))
    plan = np.repeat(last[:, None] + 1, N_STEPS, axis=1)
    return _predictions(arrays, outcomes, plan, (share + (1 - share) * counts.popular[last]) ** N_STEPS, p, rank, plan)


def _markov(arrays: CohortArrays, outcomes: Outcomes, chain: Chain) -> SequencePredictions:
    """The most probable plan after the last action."""
    actions = _last_and_true(arrays, outcomes)
    last, first = actions[:, 0], actions[:, 1]
    plans, plan_p = chain.plans()
    p = chain.p(actions[:, :-1].ravel(), actions[:, 1:].ravel()).reshape(-1, N_STEPS)
    single = chain.single_steps(last) + 1
    return _predictions(arrays, outcomes, plans[last] + 1, plan_p[last], p, chain.ranks(last, first), single)


def _markov_2(arrays: CohortArrays, outcomes: Outcomes, chain: LongChain) -> SequencePredictions:
    """The most probable plan after the last two actions."""
    actions, nothing = _last_and_true(arrays, outcomes), chain.table.shape[1]
    last, first = actions[:, 0], actions[:, 1]
    earlier = arrays.events.action[arrays.events.starts[outcomes.rows] + np.maximum(outcomes.n_history - 2, 0)] - 1
    before = np.where(outcomes.n_history > 1, earlier, nothing).astype(np.int64)
    plans, plan_p = chain.plans()
    p = chain.table[np.column_stack([before, actions[:, :-2]]), actions[:, :-1], actions[:, 1:]]
    rank = places(chain.table)[before, last, first]
    single = chain.single_steps(before, last) + 1
    return _predictions(arrays, outcomes, plans[before, last] + 1, plan_p[before, last], p, rank, single)


def _last_and_true(arrays: CohortArrays, outcomes: Outcomes) -> np.ndarray:
    """(M, 4) indices of the last action and of the true next three, -1 if there are fewer."""
    return np.column_stack([last_actions(arrays, outcomes), true_steps(arrays.events, outcomes)]) - 1


def _predictions(
    arrays: CohortArrays,
    outcomes: Outcomes,
    plan: np.ndarray,
    plan_p: np.ndarray,
    p: np.ndarray,
    rank: np.ndarray,
    single_steps: np.ndarray,
) -> SequencePredictions:
    """The predictions of a baseline. p: (M, 3) probability of each true step; unused where there is none."""
    actual = true_steps(arrays.events, outcomes)
    return SequencePredictions(
        customer_id=arrays.customer_id[outcomes.rows],
        n_events=outcomes.n_history,
        actual=actual,
        plan=plan,
        plan_p=plan_p,
        actual_log_p=np.log(np.where(actual > 0, p, 1.0)),
        rank=rank,
        single_steps=single_steps,
    )


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """Counts as probabilities, smoothed by one event spread evenly, so that no action is impossible."""
    return (counts + 1 / len(counts)) / (counts.sum() + 1)
