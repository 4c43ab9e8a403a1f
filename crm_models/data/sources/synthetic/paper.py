"""Scenario `paper`: pure noise, as the paper's printed losses show its data to be."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, KIND, LABEL, N_STEPS, REPEATABLE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.synthetic.drawing import cohort_of, customer_ids, events_table
from crm_models.data.sources.synthetic.settings import AS_OF, MINUTES_PER_DAY, ScenarioSettings
from crm_models.data.truth import ChurnTruth, Truth

N_MOVIES = 50
N_RATINGS = 5

NO_EFFECT = ChurnTruth(
    signal=0.0,
    base_rate=0.5,
    intercept=0.0,
    recency=0.0,
    complaint=0.0,
    rating=0.0,
    tenure=0.0,
    tier={},
    segment=(0.0,),
)
"""Churn by the toss of a coin."""


def paper(settings: ScenarioSettings) -> tuple[Cohort, Truth]:
    """Paper, Datasets, as read in section 3 of the design: all uniform at random, so nothing can be learned."""
    n = settings.customers or 100
    per_user = N_RATINGS + N_STEPS
    movies = [f"Recommend movie {k}" for k in range(1, N_MOVIES + 1)]
    action = settings.rng("actions").integers(0, N_MOVIES, n * per_user)
    rating = settings.rng("values").integers(1, 6, n * per_user).astype(np.float64)
    # One event a week, at a random minute; the cut-off is between the fifth and the sixth.
    minute = settings.rng("times").integers(0, 7 * MINUTES_PER_DAY, n * per_user).reshape(n, per_user)
    weeks = np.arange(per_user) - N_RATINGS
    at = AS_OF + pd.to_timedelta((weeks * 7 * MINUTES_PER_DAY + minute).ravel(), unit="min")
    profile = settings.rng("profile")
    ratings = rating.reshape(n, per_user)[:, :N_RATINGS]
    customers = pd.DataFrame(
        {
            CUSTOMER_ID: customer_ids(n),
            CHURNED: settings.rng("labels").random(n) < 0.5,
            "age": profile.integers(18, 71, n),
            "location": profile.choice(["north", "east", "south", "west"], n),
            "clicks": profile.integers(0, 101, n),
            "views": profile.integers(0, 201, n),
            "purchases": profile.integers(0, 21, n),
            "average_rating": ratings.mean(axis=1).round(2),
            "last_rating": ratings[:, -1],
            "sentiment": profile.uniform(-1, 1, n).round(3),
        }
    )
    product = settings.rng("products")
    actions = pd.DataFrame(
        {
            ACTION: movies,
            LABEL: movies,
            KIND: "engagement",
            REPEATABLE: False,
            "rating": product.uniform(1, 5, N_MOVIES).round(1),
            "category": product.choice(["action", "comedy", "drama", "family", "thriller"], N_MOVIES),
            "sentiment": product.uniform(-1, 1, N_MOVIES).round(2),
        }
    )
    events = events_table(customers, actions, np.repeat(np.arange(n), per_user), action, at, rating)
    uniform = np.full(N_MOVIES, 1 / N_MOVIES)
    truth = Truth(
        actions=tuple(movies),
        prior=(1.0,),
        start=tuple(uniform),
        transition=(tuple(tuple(uniform) for _ in movies),),
        profile=(),
        churn=NO_EFFECT,
    )
    return cohort_of(settings, customers, events, actions), truth
