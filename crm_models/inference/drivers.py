"""Drivers of a churn probability: by how many points each feature and each kind of event raises or lowers it.

Shapley values by permutation sampling (Štrumbelj and Kononenko, 2014), with antithetic pairs of permutations, on the
very model: the customer is compared with a few others (`Background`), and features, kinds of events and the time since
the last event are taken over from them one after the other. Taking over events changes counts and all other behaviour
features with them, as in a real history; libraries for attribution perturb columns of numbers and cannot do that. The
contributions add up exactly to the probability; `error` is the sampling error of each.

Letters: N customers, K background customers, P drivers (features and kinds of events), A actions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from crm_models.core.schema import ACTION, CUSTOMER_ID, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort, Moment, moment_days, select
from crm_models.data.features import FeatureEncoder
from crm_models.inference.decoding import churn_probabilities
from crm_models.models.churn import ChurnTransformer

PAIRS = 16
"""Background customers, and pairs of permutations, for one customer: the sampling error is about a point."""
PAIRS_IN_BULK = 4
"""The same for files of many customers, four times as fast."""
CHUNK = 32
"""Customers explained at once."""
MOST_ACTIONS = 24
"""Up to so many actions in all, each is a driver of its own; else the customer's most frequent ones."""
FREQUENT_ACTIONS = 10
OTHER_EVENTS = "other events"
SINCE_LAST = "time since the last event"
RECENT_DAYS = 30
SAMPLE = 1_000
"""Customers from whom a background is chosen."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """One driver of one customer's churn probability. points: percentage points, positive if it raises the risk.

    value: of the feature, or how often and when the event happened, in words. error: standard error of the points.
    """

    name: str
    value: str
    points: float
    error: float
    is_event: bool

    def phrase(self) -> str:
        """In words: "Answer a complaint, 2 in 30 days: +18.0 points"."""
        separator = ", " if self.is_event else " "  # a feature and its value, or an event and how often it happened
        return f"{self.name}{separator}{self.value}: {self.points:+.1f} points"


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A customer's drivers, strongest first. base + sum of their points / 100 = churn_p. base: of the background."""

    customer_id: str
    churn_p: float
    base: float
    drivers: tuple[Driver, ...]

    def top(self, n: int = 3) -> list[str]:
        """The `n` strongest drivers in words."""
        return [driver.phrase() for driver in self.drivers[:n]]


@dataclass(frozen=True, kw_only=True)
class Background:
    """K customers that others are compared with, from low to high churn probability churn_p (K,)."""

    cohort: Cohort
    churn_p: np.ndarray

    @property
    def base(self) -> float:
        """Their mean churn probability."""
        return float(self.churn_p.mean())

    def few(self, n: int) -> Background:
        """`n` of them, spread over the range of probabilities."""
        rows = np.linspace(0, len(self.churn_p) - 1, 2 * n + 1)[1::2].round().astype(int)
        return Background(cohort=select(self.cohort, rows), churn_p=self.churn_p[rows])


@dataclass(frozen=True, kw_only=True)
class Explainer:
    """Explains churn probabilities of one run at one moment. now_days: moment that recency is measured from."""

    model: ChurnTransformer
    encoder: FeatureEncoder
    moment: Moment | None
    now_days: float

    @classmethod
    def of(
        cls,
        model: ChurnTransformer,
        encoder: FeatureEncoder,
        cohort: Cohort,
        moment: Moment | None,
        now_days: float | None = None,
    ) -> Explainer:
        """now_days: by default the moment, or the last event of the cohort."""
        if now_days is None:
            last = float(cohort.event_days.max()) if cohort.has_events else 0.0
            now_days = last if moment is None else moment_days(moment)
        return cls(model=model, encoder=encoder, moment=moment, now_days=now_days)

    def probabilities(self, cohort: Cohort) -> np.ndarray:
        """(N,) churn probabilities."""
        return churn_probabilities(self.model, self.encoder.encode(cohort, self.moment, self.now_days))

    def background(self, cohort: Cohort, pairs: int = PAIRS) -> Background:
        """Customers at evenly spaced ranks of the churn probability: their mean is close to that of the cohort."""
        rows = np.random.default_rng(0).permutation(cohort.n_customers)[:SAMPLE]
        sample = select(cohort, np.sort(rows))
        p = self.probabilities(sample)
        n = min(pairs, sample.n_customers)
        chosen = np.argsort(p, kind="stable")[((np.arange(n) + 0.5) * len(p) / n).astype(int)]
        return Background(cohort=self._history(select(sample, chosen)), churn_p=p[chosen])

    def explain(self, cohort: Cohort, background: Background) -> Iterator[Explained]:
        """The drivers of each customer of the cohort, in order."""
        for first in range(0, cohort.n_customers, CHUNK):
            rows = np.arange(first, min(first + CHUNK, cohort.n_customers))
            yield from self._chunk(self._history(select(cohort, rows)), background)

    def _history(self, cohort: Cohort) -> Cohort:
        """The cohort without the events that the models do not see."""
        seen = cohort.is_history(self.moment)
        known = np.isin(cohort.actions[ACTION].to_numpy(dtype=object), self.encoder.actions)
        keep = seen & known[cohort.event_actions] if cohort.has_events else seen
        return cohort if keep.all() else replace(cohort, interactions=cohort.interactions[keep].reset_index(drop=True))

    def _chunk(self, cohort: Cohort, background: Background) -> list[Explained]:
        rng = np.random.default_rng(0)
        players = [_Players.of(self, cohort, row) for row in range(cohort.n_customers)]
        p, n_pairs = self.probabilities(cohort), len(background.churn_p)
        # orders (pairs, 2, P): each permutation, and its reverse.
        orders = []
        for own in players:
            forward = np.stack([rng.permutation(len(own.names)) for _ in range(n_pairs)])
            orders.append(np.stack([forward, forward[:, ::-1]], axis=1))
        mixed = [
            _Mixed(row=row, other=pair, own=_coalitions(orders[row][pair]), players=players[row])
            for row in range(len(players))
            for pair in range(n_pairs)
        ]
        inner = iter(np.split(self.probabilities(_mixture(cohort, background.cohort, mixed)), _ends(mixed)))
        return [
            _explained(
                cohort, row, float(p[row]), background, orders[row], players[row], [next(inner) for _ in range(n_pairs)]
            )
            for row in range(len(players))
        ]

    def without(self, cohort: Cohort, background: Background, removed: list[list[str]]) -> np.ndarray:
        """(N,) mean churn probability with the named drivers of each customer taken over from the background."""
        history = self._history(cohort)
        mixed = []
        for row, names in enumerate(removed):
            players = _Players.of(self, history, row)
            own = ~np.isin(np.array(players.names, dtype=object), names)[None]
            mixed += [_Mixed(row=row, other=k, own=own, players=players) for k in range(len(background.churn_p))]
        p = self.probabilities(_mixture(history, background.cohort, mixed))
        return p.reshape(len(removed), -1).mean(axis=1)


# ---- drivers of one customer -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Players:
    """The drivers of one customer: features, kinds of events, then the time since the last event if there are any.

    of_action (A,): the driver of each action's events; empty if the model sees no events.
    """

    names: tuple[str, ...]
    values: tuple[str, ...]
    n_features: int
    of_action: np.ndarray

    @classmethod
    def of(cls, explainer: Explainer, cohort: Cohort, row: int) -> _Players:
        encoder, model = explainer.encoder, explainer.model
        features = [f.name for f in encoder.numeric] + [f.name for f in encoder.categorical]
        profile = cohort.customers.iloc[row]
        values = [_value(profile[name]) for name in features]
        n_actions = len(cohort.actions)
        if not (model.use_events or model.config.use_behaviour) or not n_actions:
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
        texts = [_happened(explainer.now_days - when[actions == a]) for a in own]
        rest = [OTHER_EVENTS] if (of_action == len(features) + len(own)).any() else []
        others = ~np.isin(actions, own)
        return cls(
            names=(*features, *(str(labels[a]) for a in own), *rest, SINCE_LAST),
            values=(
                *values,
                *texts,
                *[_happened(explainer.now_days - when[others]) for _ in rest],
                f"{explainer.now_days - when.max():,.0f} days" if len(when) else "no event",
            ),
            n_features=len(features),
            of_action=of_action,
        )


def _value(value: Any) -> str:
    if pd.isna(value):
        return "unknown"
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d}"
    return f"{value:,.6g}" if isinstance(value, float | np.floating) else str(value)


def _happened(ago: np.ndarray) -> str:
    """How often and when events happened: "never", "2 in 30 days of 5", "5, the last 120 days before"."""
    if not len(ago):
        return "never"
    recent = int((ago <= RECENT_DAYS).sum())
    if recent:
        return f"{recent} in {RECENT_DAYS} days" + (f" of {len(ago)}" if len(ago) > recent else "")
    return f"{len(ago)}, the last {ago.min():.0f} days before"


def _explained(
    cohort: Cohort,
    row: int,
    p: float,
    background: Background,
    orders: np.ndarray,
    players: _Players,
    inner: list[np.ndarray],
) -> Explained:
    """The drivers of a customer from the probabilities along the permutations. inner: (2 * (P - 1),) for each pair."""
    n_pairs, n_players = len(orders), len(players.names)
    gains = np.zeros((n_pairs, n_players))
    for pair, values in enumerate(inner):
        for order, between in zip(orders[pair], values.reshape(2, n_players - 1), strict=True):
            path = np.concatenate([[background.churn_p[pair]], between, [p]])
            gains[pair, order] += np.diff(path) / 2
    points = 100 * gains.mean(axis=0)
    error = 100 * gains.std(axis=0, ddof=1) / np.sqrt(n_pairs) if n_pairs > 1 else np.full(n_players, np.nan)
    return Explained(
        customer_id=str(cohort.customers[CUSTOMER_ID].iloc[row]),
        churn_p=p,
        base=background.base,
        drivers=tuple(
            Driver(
                name=players.names[k],
                value=players.values[k],
                points=float(points[k]),
                error=float(error[k]),
                is_event=players.n_features <= k < n_players - 1,
            )
            for k in np.argsort(-np.abs(points), kind="stable")
        ),
    )


# ---- mixtures of two customers ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Mixed:
    """Mixtures of the customer `row` with the background customer `other`. own (M, P): drivers that stay their own."""

    row: int
    other: int
    own: np.ndarray
    players: _Players


def _coalitions(orders: np.ndarray) -> np.ndarray:
    """(2 * (P - 1), P) drivers that are the customer's own after each step of two permutations (2, P), without ends."""
    n = orders.shape[1]
    rank = np.argsort(orders, axis=1)  # when each driver is taken
    return (rank[:, None, :] < np.arange(1, n)[:, None]).reshape(-1, n)


def _ends(mixed: list[_Mixed]) -> np.ndarray:
    return np.cumsum([len(one.own) for one in mixed])[:-1]


def _mixture(cohort: Cohort, others: Cohort, mixed: list[_Mixed]) -> Cohort:
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


# ---- faithfulness and everybody --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """How far the probability moves without the top three drivers, and without three at random: points on average."""

    top: float
    random: float
    n_customers: int

    def said(self) -> str:
        """In one sentence."""
        return (
            f"Taking over the top three drivers from other customers moves the churn probability by {self.top:.1f} "
            f"points on average, three drivers at random by {self.random:.1f} ({self.n_customers:,} customers)."
        )


def faithfulness(
    explainer: Explainer, cohort: Cohort, background: Background, explained: list[Explained], draws: int = 5
) -> Faithfulness:
    """Whether the drivers are those that matter, tried on the customers of the cohort, who were explained."""
    rng, p = np.random.default_rng(0), explainer.probabilities(cohort)
    names = [[driver.name for driver in one.drivers] for one in explained]

    def moved(removed: list[list[str]]) -> float:
        return 100 * float(np.abs(p - explainer.without(cohort, background, removed)).mean())

    at_random = [[[own[k] for k in rng.permutation(len(own))[:3]] for own in names] for _ in range(draws)]
    return Faithfulness(
        top=moved([own[:3] for own in names]),
        random=float(np.mean([moved(removed) for removed in at_random])),
        n_customers=len(explained),
    )


def over_customers(explained: list[Explained]) -> pd.DataFrame:
    """Drivers of many customers, strongest first: `driver`, `points` (mean), `size` (mean absolute), `customers`."""
    rows = [(driver.name, driver.points) for one in explained for driver in one.drivers]
    table = pd.DataFrame(rows, columns=["driver", "points"])
    table["size"] = table["points"].abs()
    n = max(len(explained), 1)
    grouped = table.groupby("driver", sort=True).agg(
        points=("points", lambda values: values.sum() / n),
        size=("size", lambda values: values.sum() / n),
        customers=("points", "size"),
    )
    return grouped.sort_values("size", ascending=False, kind="stable").reset_index()
