"""Cohorts that choose from a catalogue of items, as in the data sets of Table I: how they are drawn.

What sets one data set apart from another is a `World`; `Choices` says how items are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, KIND, LABEL, N_STEPS, REPEATABLE
from crm_models.data.choices import MAX_RATING, Choices
from crm_models.data.cohort import Cohort
from crm_models.data.sources.synthetic.drawing import cohort_of, customer_ids, events_table, profile_columns, times
from crm_models.data.sources.synthetic.paper import N_RATINGS, NO_EFFECT
from crm_models.data.sources.synthetic.settings import ScenarioSettings
from crm_models.data.truth import ChurnTruth, ProfileTruth, Truth, as_rows, churn_p

N_ITEMS = 50
"""Paper, Datasets: 50 products, and 50 films in its sequences."""

SERIES = (3, 4)
"""Lengths of the series among the ten items of a category; the other three have no sequel."""

DEFAULT_CUSTOMERS = 100
BLOCK = 100_000
"""Customers drawn at once: bounds memory for cohorts of any size."""

Levels = tuple[tuple[str, ...], np.ndarray]
"""Levels of a profile column and their weights (S, L) for each taste."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A data set of Table I.

    item: what is recommended. categories: one for each taste, in a circle of tastes that are close to each other. skew:
    the r-th most popular item has weight r ** -skew. features: columns of the items. profile: columns of the customers.
    churn: None for a data set without labels.
    """

    item: str
    categories: tuple[str, ...]
    skew: float
    features: tuple[str, ...]
    profile: dict[str, Levels] = field(default_factory=dict)
    churn: ChurnTruth | None = None


def draw(settings: ScenarioSettings, world: World) -> tuple[Cohort, Truth]:
    """A cohort of the world, and its truth. At signal 0 choices, ratings and profiles are uniform, as in the paper."""
    n, n_history = settings.customers or DEFAULT_CUSTOMERS, N_RATINGS if settings.events is None else settings.events
    items = _items(world, settings.rng("products"))
    truth = _truth(world, items, settings.signal)
    taste, action, rating = _chosen(truth, n, n_history + N_STEPS, settings)
    length = np.full(n, n_history)
    at, _ = times(length, length + N_STEPS, settings.rng("times"))
    customers = pd.DataFrame(
        {CUSTOMER_ID: customer_ids(n), CHURNED: None, **profile_columns(truth, taste, settings.rng("profile"))}
    )
    shown = items[[ACTION, LABEL, KIND, REPEATABLE, *world.features]]
    customer = np.repeat(np.arange(n, dtype=np.int32), n_history + N_STEPS)
    events = events_table(customers, shown, customer, action.ravel(), at, rating.ravel().astype(np.float64))
    cohort = cohort_of(settings, customers, events, shown)
    if world.churn is not None:
        churned = settings.rng("labels").random(n) < churn_p(truth, cohort)
        cohort.customers[CHURNED] = pd.array(churned, dtype="boolean")
    return cohort, truth


def _items(world: World, rng: np.random.Generator) -> pd.DataFrame:
    """The catalogue in its order of popularity within chance: good items are popular, and people speak well of them."""
    names = [f"Recommend {world.item} {k}" for k in range(1, N_ITEMS + 1)]
    rating = rng.uniform(1, 5, N_ITEMS).round(1)
    return pd.DataFrame(
        {
            ACTION: names,
            LABEL: names,
            KIND: "engagement",
            REPEATABLE: False,
            "rating": rating,
            "category": rng.permutation(np.resize(world.categories, N_ITEMS)),
            "sentiment": np.clip((rating - 3) / 2 + rng.normal(0, 0.4, N_ITEMS), -1, 1).round(2),
            "popularity": (1 + np.argsort(np.argsort(-rating - rng.normal(0, 1, N_ITEMS)))) ** -world.skew,
        }
    )


def _truth(world: World, items: pd.DataFrame, signal: float) -> Truth:
    n_tastes = len(world.categories)
    category = pd.Index(world.categories).get_indexer(pd.Index(items["category"]))
    # Places on the circle from the taste (row) to the category of the item (column): 0 is the favourite, 1 the next.
    distance = (category - np.arange(n_tastes)[:, None]) % n_tastes
    near = np.minimum(distance, 2)
    appeal = np.array([0.8, 0.14, 0.06 / (n_tastes - 2)])[near] * items["popularity"].to_numpy()
    liking = (items["rating"].to_numpy() + np.array([4.6, 3.4, 2.2])[near]) / 2
    bell = np.exp(-0.5 * ((np.arange(1, MAX_RATING + 1) - liking[..., None]) / 0.9) ** 2)
    drift = np.full((n_tastes, n_tastes), 0.05 / (n_tastes - 2))
    np.fill_diagonal(drift, 0.85)
    drift[np.arange(n_tastes), (np.arange(n_tastes) + 1) % n_tastes] = 0.1
    choices = Choices(
        signal=signal,
        appeal=as_rows(appeal),
        drift=as_rows(drift),
        sequel=_sequels(category),
        sequel_p=0.75,
        rating=tuple(as_rows(_mixed(table, signal)) for table in bell),
    )
    profile = tuple(
        ProfileTruth(column=name, levels=levels, p=as_rows(_mixed(weights, signal)))
        for name, (levels, weights) in world.profile.items()
    )
    churn = replace(NO_EFFECT, segment=(0.0,) * n_tastes)
    if world.churn is not None:
        churn = replace(world.churn, signal=signal)
    return Truth(
        actions=tuple(items[ACTION]),
        prior=(1 / n_tastes,) * n_tastes,
        start=(),
        transition=(),
        profile=profile,
        churn=churn,
        choices=choices,
    )


def _sequels(category: np.ndarray) -> tuple[int, ...]:
    """The item that continues each item: the items of a category, by number, start with its series."""
    sequel = np.full(len(category), -1)
    for c in np.unique(category):
        of_category = np.flatnonzero(category == c)
        for end, length in zip(np.cumsum(SERIES), SERIES, strict=True):
            series = of_category[end - length : end]
            sequel[series[:-1]] = series[1:]
    return tuple(sequel.tolist())


def _chosen(
    truth: Truth, n: int, n_events: int, settings: ScenarioSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Taste of each customer at the first event (N,), and items and ratings of all events (N, n_events)."""
    choices = truth.choices
    assert choices is not None
    drift, rating_p = np.array(choices.drift), np.array(choices.rating)
    tastes, actions, values = (settings.rng(stream) for stream in ("segments", "actions", "values"))
    first = tastes.choice(len(truth.prior), n, p=truth.prior)
    item = np.zeros((n, n_events), np.int8)
    rating = np.zeros((n, n_events), np.int8)
    for start in range(0, n, BLOCK):
        rows = slice(start, min(start + BLOCK, n))
        taste, at = first[rows], np.arange(rows.stop - start)
        last, seen = np.full(len(taste), -1, np.int64), np.zeros((len(taste), N_ITEMS), dtype=bool)
        for place in range(n_events):
            if place:
                taste = _picked(drift[taste], tastes)
            last = _picked(choices.next_p(taste, last, seen), actions)
            seen[at, last] = True
            item[rows, place] = last
            rating[rows, place] = 1 + _picked(rating_p[taste, last], values)
    return first, item, rating


def _picked(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N,) a column for each row, drawn with the probabilities of the row (N, K)."""
    above = np.cumsum(p, axis=1)[:, :-1]  # the last column takes what rounding leaves
    return (rng.random(len(p))[:, None] >= above).sum(axis=1)


def _mixed(weights: np.ndarray, signal: float) -> np.ndarray:
    """Rows of probabilities between uniform ones (signal 0) and the given weights (signal 1)."""
    p = weights / weights.sum(axis=1, keepdims=True)
    return signal * p + (1 - signal) / weights.shape[1]
