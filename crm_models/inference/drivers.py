"""Drivers of a churn probability: by how many points each feature and each kind of event raises or lowers it.

Shapley values on the very model (`shapley`): the contributions add up exactly to the probability; `error` is the
sampling error of each. The same for the steps of a plan: `step_drivers`.

Letters: N customers, K background customers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crm_models.core.schema import CUSTOMER_ID
from crm_models.data.behaviour import moment_of_view
from crm_models.data.cohort import Cohort, Moment, select
from crm_models.data.features import FeatureEncoder
from crm_models.inference.decoding import churn_probabilities
from crm_models.inference.shapley import Contributions, Players, contributions, history_seen, without
from crm_models.models.churn import ChurnTransformer

PAIRS = 16
"""Background customers, and pairs of permutations, for one customer: the sampling error is about a point."""
PAIRS_IN_BULK = 4
"""The same for files of many customers, four times as fast."""
CHUNK = 32
"""Customers explained at once."""
SAMPLE = 1_000
"""Customers from whom a background is chosen."""


@dataclass(frozen=True, kw_only=True)
class Driver:
    """One driver of one customer's probability. points: percentage points, positive if it raises the probability.

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
class Reasons:
    """Drivers of one probability of a customer, strongest first. base: mean probability of the background."""

    customer_id: str
    base: float
    drivers: tuple[Driver, ...]

    def top(self, n: int = 3) -> list[str]:
        """The `n` strongest drivers in words."""
        return [driver.phrase() for driver in self.drivers[:n]]


@dataclass(frozen=True, kw_only=True)
class Explained(Reasons):
    """Drivers of a customer's churn probability: base + sum of their points / 100 = churn_p."""

    churn_p: float


def strongest_first(players: Players, found: Contributions, outcome: int = 0) -> tuple[Driver, ...]:
    """The drivers of one outcome of a customer, in words."""
    points, error = found.points[:, outcome], found.error[:, outcome]
    return tuple(
        Driver(
            name=players.names[k],
            value=players.values[k],
            points=float(points[k]),
            error=float(error[k]),
            is_event=players.is_event(k),
        )
        for k in np.argsort(-np.abs(points), kind="stable").tolist()
    )


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
        return cls(model=model, encoder=encoder, moment=moment, now_days=moment_of_view(cohort, moment, now_days))

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
            part = self._history(select(cohort, np.arange(first, min(first + CHUNK, cohort.n_customers))))
            players = self._players(part)
            found = contributions(part, background.cohort, players, self._predict)
            for customer_id, own, one in zip(part.customers[CUSTOMER_ID], players, found, strict=True):
                yield Explained(
                    customer_id=str(customer_id),
                    churn_p=float(one.p[0]),
                    base=float(one.base[0]),
                    drivers=strongest_first(own, one),
                )

    def without(self, cohort: Cohort, background: Background, removed: list[list[str]]) -> np.ndarray:
        """(N,) mean churn probability with the named drivers of each customer taken over from the background."""
        history = self._history(cohort)
        return without(history, background.cohort, self._players(history), removed, self._predict)[:, 0]

    def _history(self, cohort: Cohort) -> Cohort:
        return history_seen(cohort, self.moment, self.encoder)

    def _predict(self, cohort: Cohort, of: np.ndarray) -> np.ndarray:
        return self.probabilities(cohort)[:, None]

    def _players(self, cohort: Cohort) -> list[Players]:
        sees = bool(self.model.use_events or self.model.config.use_behaviour)
        return [
            Players.of(self.encoder, self.now_days, cohort, row, sees_events=sees) for row in range(cohort.n_customers)
        ]


# ---- faithfulness and everybody --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Faithfulness:
    """How far the probability moves without the top three drivers, and without three at random: points on average.

    of: which probability, in words.
    """

    top: float
    random: float
    n_customers: int
    of: str = "churn probability"

    def said(self) -> str:
        """In one sentence."""
        return (
            f"Replacing the three strongest drivers with those of other customers moves the {self.of} by "
            f"{self.top:.1f} points on average; replacing three at random, by {self.random:.1f} "
            f"({self.n_customers:,} customers)."
        )


def faithfulness(
    explainer: Explainer, cohort: Cohort, background: Background, explained: list[Explained], draws: int = 5
) -> Faithfulness:
    """Whether the drivers are those that matter, tried on the customers of the cohort, who were explained."""
    return measured_faithfulness(
        explainer.probabilities(cohort),
        explained,
        lambda removed: explainer.without(cohort, background, removed),
        draws=draws,
    )


def measured_faithfulness(
    p: np.ndarray,
    explained: Sequence[Reasons],
    p_without: Callable[[list[list[str]]], np.ndarray],
    *,
    of: str = "churn probability",
    draws: int = 5,
) -> Faithfulness:
    """The same for any probabilities p (N,); p_without: (N,) those without the named drivers of each customer."""
    rng = np.random.default_rng(0)
    names = [[driver.name for driver in one.drivers] for one in explained]

    def moved(removed: list[list[str]]) -> float:
        return 100 * float(np.abs(p - p_without(removed)).mean())

    at_random = [[[own[k] for k in rng.permutation(len(own))[:3]] for own in names] for _ in range(draws)]
    return Faithfulness(
        top=moved([own[:3] for own in names]),
        random=float(np.mean([moved(removed) for removed in at_random])),
        n_customers=len(explained),
        of=of,
    )


def over_customers(explained: Sequence[Reasons]) -> pd.DataFrame:
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
