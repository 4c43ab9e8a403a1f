"""The paper's three data sets by name, as Table I has them, each with something to learn at signal 1.

`movielens`: five ratings per user, of 50 films. `amazon`: 50 products with rating, category and sentiment, and the
users' clicks, views and purchases. `churn`: both combined, with age, location and a churn label.
"""

from __future__ import annotations

import numpy as np

from crm_models.data.sources.synthetic.catalogue import Levels, World
from crm_models.data.truth import ChurnTruth


def _numbers(low: int, high: int, means: tuple[float, ...], spread: float) -> Levels:
    """The whole numbers from low to high, for each taste in a bell around its mean."""
    values = np.arange(low, high + 1)
    bell = np.exp(-0.5 * ((values - np.array(means)[:, None]) / spread) ** 2)
    return tuple(str(v) for v in values), bell


FILMS = ("action", "thriller", "drama", "comedy", "family")
PRODUCTS = ("sports", "electronics", "books", "home", "toys")

# Paper, Datasets: clicks, views and purchases; their ranges are those of the scenario `paper`, as are those below.
ACTIVITY = {
    "clicks": _numbers(0, 100, (70, 55, 45, 35, 25), 18),
    "views": _numbers(0, 200, (60, 140, 120, 80, 100), 35),
    "purchases": _numbers(0, 20, (6, 13, 8, 11, 7), 3.5),
}
PERSON = {
    "age": _numbers(18, 70, (27, 36, 56, 44, 39), 9),
    "location": (
        ("north", "east", "south", "west"),
        np.array([[5, 2, 2, 1], [2, 5, 2, 1], [1, 2, 5, 2], [2, 1, 2, 5], [1, 1, 1, 1]]),
    ),
}

MOVIELENS = World(item="movie", categories=FILMS, skew=0.8, features=("category",))
AMAZON = World(
    item="product", categories=PRODUCTS, skew=1.2, features=("rating", "category", "sentiment"), profile=ACTIVITY
)
CHURN = World(
    item="movie",
    categories=FILMS,
    skew=0.8,
    features=("rating", "category", "sentiment"),
    profile=ACTIVITY | PERSON,
    churn=ChurnTruth(
        signal=1.0,
        base_rate=0.5,
        intercept=3.5,
        recency=1.2,
        complaint=0.0,
        rating=-1.4,
        tenure=0.0,
        tier={},
        segment=(0.8, 0.3, 0.0, -0.3, -0.8),
        numbers={"clicks": -0.04, "views": -0.02, "purchases": -0.15},
        levels={"location": {"north": 0.6, "east": 0.0, "south": -0.6, "west": 0.0}},
    ),
)
