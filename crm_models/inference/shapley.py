"""Shapley values of drivers by permutation sampling, on mixtures of a customer with a few others.

Štrumbelj and Kononenko (2014), with antithetic pairs of permutations: profile columns, kinds of events and the time
since the last event are taken over from another customer one after the other, and the model predicts each time. Taking
over events changes counts and all other behaviour features with them, as in a real history; libraries for attribution
perturb columns of numbers and cannot do that.

Letters: N customers, K background customers, P drivers (features and kinds of events), A actions, M mixtures,
O outcomes that one prediction gives (one churn probability, three steps).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from crm_models.core.schema import ACTION, CUSTOMER_ID, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort, Moment
from crm_models.data.features import FeatureEncoder

MOST_ACTIONS = 24
"""Up to so many actions in all, each is a driver of its own; else the customer's most frequent ones."""
FREQUENT_ACTIONS = 10
OTHER_EVENTS = "other events"
SINCE_LAST = "time since the last event"
RECENT_DAYS = 30

Predict = Callable[[Cohort, np.ndarray], np.ndarray]
"""(M, O) probabilities of M mixtures. The second argument (M,) is the row of the customer that each is made from."""


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """What each driver of one customer contributes: base (O,) + points (P, O).sum(axis=0) / 100 = p (O,).

    points, error (P, O): percentage points, and their standard error (NaN with a single background customer).
    """

    p: np.ndarray
    base: np.ndarray
    points: np.ndarray
    error: np.ndarray


def contributions(cohort: Cohort, others: Cohort, players: list[Players], predict: Predict) -> list[Contributions]:
    """Contributions for each customer of the cohort, compared with each of K others along two permutations."""
    n_pairs = others.n_customers
    # orders (pairs, 2, P): each permutation, and its reverse.
    orders = []
    for own in players:
        rng = np.random.default_rng(0)  # a new one: nobody's drivers depend on who is explained beside them
        forward = np.stack([rng.permutation(len(own.names)) for _ in range(n_pairs)])
        orders.append(np.stack([forward, forward[:, ::-1]], axis=1))
    mixed = [
        Mixed(row=row, other=pair, own=_coalitions(orders[row][pair]), players=players[row])
        for row in range(len(players))
        for pair in range(n_pairs)
    ]
    p = predict(cohort, np.arange(cohort.n_customers))
    inner = iter(np.split(predict(mixture(cohort, others, mixed), rows_of(mixed)), _ends(mixed)))
    return [_of_one(orders[row], p[row], [next(inner) for _ in range(n_pairs)]) for row in range(len(players))]


def without(
    cohort: Cohort, others: Cohort, players: list[Players], removed: list[list[str]], predict: Predict
) -> np.ndarray:
    """(N, O) mean probabilities with the named drivers of each customer taken over from the others."""
    mixed = []
    for row, names in enumerate(removed):
        own = ~np.isin(np.array(players[row].names, dtype=object), names)[None]
        mixed += [Mixed(row=row, other=k, own=own, players=players[row]) for k in range(others.n_customers)]
    p = predict(mixture(cohort, others, mixed), rows_of(mixed))
    return p.reshape(len(removed), others.n_customers, -1).mean(axis=1)


def _of_one(orders: np.ndarray, p: np.ndarray, inner: list[np.ndarray]) -> Contributions:
    """inner: for each pair (1 + 2 * (P - 1), O): the other customer, then the steps of both permutations."""
    n_pairs, _, n_players = orders.shape
    gains = np.zeros((n_pairs, n_players, len(p)))
    for pair, values in enumerate(inner):
        for order, between in zip(orders[pair], values[1:].reshape(2, n_players - 1, len(p)), strict=True):
            gains[pair, order] += np.diff(np.concatenate([values[:1], between, p[None]]), axis=0) / 2
    error = gains.std(axis=0, ddof=1) / np.sqrt(n_pairs) if n_pairs > 1 else np.full(gains.shape[1:], np.nan)
    base = np.mean([values[0] for values in inner], axis=0)
    return Contributions(p=p, base=base, points=100 * gains.mean(axis=0), error=100 * error)


# ---- drivers of one customer -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Players:
    """The drivers of one customer: features, kinds of events, then the time since the last event if there are any.

    values: of the features, or how often and when the event happened, in words. of_action (A,): the driver of each
    action's events; empty if the model sees no events.
    """

    names: tuple[str, ...]
    values: tuple[str, ...]
    n_features: int
    of_action: np.ndarray

    @classmethod
    def of(
        cls,
        encoder: FeatureEncoder,
        now_days: float,
        cohort: Cohort,
        row: int,
        *,
        sees_profile: bool = True,
        sees_events: bool = True,
    ) -> Players:
        """now_days: moment that the time since an event is measured from."""
        columns = [f.name for f in encoder.numeric] + [f.name for f in encoder.categorical]
        features = columns if sees_profile else []
        profile = cohort.customers.iloc[row]
        values = [_value(profile[name]) for name in features]
        n_actions = len(cohort.actions)
        if not (sees_events and n_actions):
            return cls(
                names=tuple(features), values=tuple(values), n_features=len(features), of_action=np.zeros(0, int)
            )
        events = slice(cohort.starts[row], cohort.starts[row + 1])
        actions, when = cohort.event_actions[events], cohort.event_days[events]
        count = np.bincount(actions, minlength=n_actions)
        own = np.flatnonzero(np.isin(cohort.actions[ACTION].to_numpy(dtype=object), encoder.actions))
        if len(own) > MOST_ACTIONS:
            own = np.sort(np.argsort(-count, kind="stable")[:FREQUENT_ACTIONS])
            own = own[count[own] > 0]
        labels = cohort.actions["label"].to_numpy(dtype=object)
        of_action = np.full(n_actions, len(features) + len(own))
        of_action[own] = len(features) + np.arange(len(own))
        texts = [_happened(now_days - when[actions == a]) for a in own]
        rest = [OTHER_EVENTS] if (of_action == len(features) + len(own)).any() else []
        others = ~np.isin(actions, own)
        return cls(
            names=(*features, *(str(labels[a]) for a in own), *rest, SINCE_LAST),
            values=(
                *values,
                *texts,
                *[_happened(now_days - when[others]) for _ in rest],
                f"{now_days - when.max():,.0f} days" if len(when) else "no event",
            ),
            n_features=len(features),
            of_action=of_action,
        )

    def is_event(self, player: int) -> bool:
        """Whether the driver is a kind of event."""
        return self.n_features <= player < len(self.names) - 1


def _value(value: Any) -> str:
    if pd.isna(value):
        return "unknown"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}"
    return f"{value:,.6g}" if isinstance(value, float | np.floating) else str(value)


def _happened(ago: np.ndarray) -> str:
    """How often and when events happened: "never", "2 in 30 days of 5", "5, last 120 days ago"."""
    if not len(ago):
        return "never"
    recent = int((ago <= RECENT_DAYS).sum())
    if recent:
        return f"{recent} in {RECENT_DAYS} days" + (f" of {len(ago)}" if len(ago) > recent else "")
    return f"{len(ago)}, last {ago.min():.0f} days ago"


# ---- mixtures of two customers ---------------------------------------------------------------------------------------


def history_seen(cohort: Cohort, moment: Moment | None, encoder: FeatureEncoder) -> Cohort:
    """The cohort without the events that the models do not see."""
    seen = cohort.is_history(moment)
    known = np.isin(cohort.actions[ACTION].to_numpy(dtype=object), encoder.actions)
    keep = seen & known[cohort.event_actions] if cohort.has_events else seen
    return cohort if keep.all() else replace(cohort, interactions=cohort.interactions[keep].reset_index(drop=True))


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """Mixtures of the customer `row` with the background customer `other`. own (M, P): drivers that stay their own."""

    row: int
    other: int
    own: np.ndarray
    players: Players


def rows_of(mixed: list[Mixed]) -> np.ndarray:
    """(M,) the customer that each mixture is made from."""
    return np.repeat([one.row for one in mixed], [len(one.own) for one in mixed])


def _coalitions(orders: np.ndarray) -> np.ndarray:
    """(1 + 2 * (P - 1), P) drivers that are the customer's own: none, then after each step of two permutations (2, P).

    The last step of each, where all are the customer's own, is left out.
    """
    n = orders.shape[1]
    rank = np.argsort(orders, axis=1)  # when each driver is taken
    steps = (rank[:, None, :] < np.arange(1, n)[:, None]).reshape(-1, n)
    return np.concatenate([np.zeros((1, n), dtype=bool), steps])


def _ends(mixed: list[Mixed]) -> np.ndarray:
    return np.cumsum([len(one.own) for one in mixed])[:-1]


def mixture(cohort: Cohort, others: Cohort, mixed: list[Mixed]) -> Cohort:
    """All mixtures as one cohort, in order: profile columns and events of a kind come from one of the two customers.

    The events of a mixture are moved together, so that its last one is as long ago as that of one of the two.
    """
    n, n_mixed = cohort.n_customers, sum(len(one.own) for one in mixed)
    ids = pd.Index(np.arange(n_mixed).astype(str), dtype="str")
    both = pd.concat([cohort.customers, others.customers], ignore_index=True)
    customers = both.take(np.concatenate([np.full(len(m.own), n + m.other) for m in mixed])).reset_index(drop=True)
    customers[CUSTOMER_ID] = ids
    n_features = mixed[0].players.n_features
    names = mixed[0].players.names[:n_features]
    source = np.concatenate([np.where(m.own[:, :n_features], m.row, n + m.other) for m in mixed])
    for k, name in enumerate(names):
        customers[name] = both[name].take(source[:, k]).to_numpy()
    if not len(mixed[0].players.of_action):
        return replace(cohort, customers=customers, interactions=cohort.interactions.iloc[:0])
    events = pd.concat([part.interactions[[TIMESTAMP, VALUE]] for part in (cohort, others)], ignore_index=True)
    actions = np.concatenate([cohort.event_actions, others.event_actions])
    when = np.concatenate([cohort.event_days, others.event_days])
    first, second = cohort.starts, len(cohort.interactions) + others.starts
    takes, owners, shifts, done = [], [], [], 0
    for m in mixed:
        mine = np.arange(first[m.row], first[m.row + 1])
        theirs = np.arange(second[m.other], second[m.other + 1])
        at = np.concatenate([mine, theirs])
        order = np.argsort(when[at], kind="stable")
        at, is_mine = at[order], (np.arange(len(at)) < len(mine))[order]
        keep = m.own[:, m.players.of_action[actions[at]]] == is_mine  # (M, events)
        which, place = np.nonzero(keep)
        takes.append(at[place])
        owners.append(which + done)
        shifts.append(_shift(when[at], keep, is_mine, m.own[:, -1])[which])
        done += len(m.own)
    take = np.concatenate(takes)
    owner = pd.Categorical.from_codes(np.concatenate(owners), categories=ids)
    moved = events.take(take).reset_index(drop=True)
    interactions = pd.DataFrame(
        {
            CUSTOMER_ID: owner,
            ACTION: pd.Categorical.from_codes(actions[take], categories=pd.Index(cohort.actions[ACTION])),
            TIMESTAMP: _moved(moved[TIMESTAMP], np.concatenate(shifts)),
            VALUE: moved[VALUE],
        }
    )
    return replace(cohort, customers=customers, interactions=interactions)


def _shift(when: np.ndarray, keep: np.ndarray, is_mine: np.ndarray, own_time: np.ndarray) -> np.ndarray:
    """(M,) days to add to the events `keep` (M, events) of each mixture; 0 if one of the two has no events.

    when (events,): times in ascending order. own_time (M,): whether the last event is as long ago as the customer's.
    """
    if is_mine.all() or not is_mine.any():
        return np.zeros(len(keep))
    wanted = np.where(own_time, when[is_mine].max(), when[~is_mine].max())
    last = np.where(keep, when, -np.inf).max(axis=1)
    return np.where(np.isfinite(last), wanted - last, 0.0)


def _moved(timestamp: pd.Series, shift: np.ndarray) -> pd.Series:
    """Times moved by a number of days each; a move of zero changes nothing, not even the last digit."""
    if pd.api.types.is_datetime64_any_dtype(timestamp):
        return timestamp + pd.to_timedelta((shift * 86_400e6).round().astype(np.int64), unit="us")
    return timestamp + shift
