"""Scenario `lifelike`: hidden segments with usual orders of actions; all true probabilities are known.

Sampling is vectorised over customers; the only loop is over positions in a history.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from crm_models.core.schema import (
    ACTION,
    CHURNED,
    CUSTOMER_ID,
    DEFAULT_RETENTION_ACTIONS,
    KIND,
    LABEL,
    N_STEPS,
    REPEATABLE,
)
from crm_models.data.cohort import Cohort
from crm_models.data.sources.synthetic.drawing import cohort_of, customer_ids, events_table, profile_columns, times
from crm_models.data.sources.synthetic.settings import ScenarioSettings
from crm_models.data.truth import ChurnTruth, ProfileTruth, RetentionTruth, Truth, as_rows, churn_p

ENGAGEMENT = (
    "Send a newsletter",
    "Send a follow-up email",
    "Recommend a starter product",
    "Recommend a premium product",
    "Recommend an accessory",
    "Offer free shipping",
    "Invite to a webinar",
    "Ask for a review",
    "Offer a bundle",
    "Remind of the basket",
    "Answer a complaint",
    "Call the customer",
)
PRODUCTS = {  # rating, category, sentiment
    "Recommend a starter product": (4.1, "basic", 0.4),
    "Recommend a premium product": (4.6, "premium", 0.7),
    "Recommend an accessory": (3.8, "add-on", 0.2),
    "Offer a bundle": (4.3, "bundle", 0.5),
}
AMOUNTS = {  # median price in the cohort's currency
    "Recommend a starter product": 25.0,
    "Recommend a premium product": 120.0,
    "Recommend an accessory": 12.0,
    "Offer a bundle": 60.0,
}
COMPLAINT = "Answer a complaint"
RATED = "Ask for a review"

SEGMENTS: dict[str, tuple[str, ...]] = {
    # The usual order of actions in each segment, as cycles of the initials below.
    "newcomer": ("NWFSR", "KHA", "CLBP"),
    "bargain hunter": ("NKHS", "FBAR", "CLPW"),
    "loyal": ("NPARF", "SBKH", "CLW"),
    "business": ("WLPB", "NFRAH", "CSK"),
}
INITIALS = dict(zip("NFSPAHWRBKCL", ENGAGEMENT, strict=True))
SEGMENT_SHARE = (0.30, 0.28, 0.24, 0.18)

HABIT = 0.97
"""Probability at signal 1 that the next action is the usual one of the segment; otherwise it is uniform."""

MEAN_AGE = (29.0, 41.0, 54.0, 46.0)
AGE_SPREAD = 8.0
LOCATION = {
    "north": (0.40, 0.20, 0.25, 0.15),
    "east": (0.20, 0.40, 0.25, 0.15),
    "south": (0.25, 0.25, 0.35, 0.20),
    "west": (0.15, 0.15, 0.15, 0.50),
}
TIER = {
    "basic": (0.70, 0.55, 0.20, 0.10),
    "plus": (0.25, 0.35, 0.45, 0.30),
    "premium": (0.05, 0.10, 0.35, 0.60),
}
CHANNEL = {
    "search": (0.45, 0.25, 0.25, 0.20),
    "social": (0.40, 0.20, 0.10, 0.10),
    "referral": (0.10, 0.15, 0.50, 0.20),
    "partner": (0.05, 0.40, 0.15, 0.50),
}
SHORTEST, MEAN_LENGTH, LONGEST = 1, 20.0, 60
NO_HISTORY_SHARE = 0.01
BASE_RATE = 0.27

RETENTION_EFFECTS = {
    # Change of the log-odds of churn in each segment, in the order of `SEGMENTS`, and the mean delay in days.
    # Newcomers are persuaded by support and bargain hunters by a discount; a discount wakes sleeping dogs among the
    # loyal; business customers are lost causes.
    "Offer proactive support": ((-0.8, -0.1, 0.1, -0.05), 10.0),
    "Send a loyalty offer": ((-0.2, -0.35, -0.45, 0.0), 20.0),
    "Provide a discount": ((-0.3, -0.9, 0.5, -0.05), 5.0),
}


def lifelike(settings: ScenarioSettings) -> tuple[Cohort, Truth]:
    """Segments with different action cycles; churn from recency, complaints, satisfaction and profile (see `Truth`)."""
    n, truth = settings.customers or 5_000, lifelike_truth(settings.signal)
    segment = settings.rng("segments").choice(len(truth.prior), n, p=truth.prior)
    lengths = settings.rng("lengths")
    n_history = np.minimum(SHORTEST + lengths.geometric(1 / MEAN_LENGTH, n) - 1, LONGEST)
    n_history[lengths.random(n) < NO_HISTORY_SHARE] = 0
    if settings.events is not None:
        n_history[:] = settings.events
    total = n_history + N_STEPS
    action = _walks(truth, segment, total, settings.rng("actions"))
    customer = np.repeat(np.arange(n, dtype=np.int32), total)
    at, tenure = times(n_history, total, settings.rng("times"))
    value = _values(customer, action, n, settings.rng("values"))
    in_history = np.arange(len(customer)) < np.repeat(np.cumsum(total) - N_STEPS, total)
    profile = settings.rng("profile")
    columns = profile_columns(truth, segment, profile) | {
        "income": _income(n, profile),
        "tenure_days": tenure,
        **_activity(customer[in_history], action[in_history], n, settings.rng("products")),
    }
    customer_table = pd.DataFrame({CUSTOMER_ID: customer_ids(n), CHURNED: False, **columns})
    actions = _lifelike_actions()
    events = events_table(customer_table, actions, customer, action, at, value)
    cohort = cohort_of(settings, customer_table, events, actions)
    churned = settings.rng("labels").random(n) < churn_p(truth, cohort)
    cohort.customers[CHURNED] = pd.array(churned, dtype="boolean")
    return cohort, truth


def lifelike_truth(signal: float) -> Truth:
    """The parameters of the lifelike scenario. signal scales the action cycles, profile and churn effects."""
    n = len(ENGAGEMENT)
    usual = np.zeros((len(SEGMENTS), n, n))
    for s, cycles in enumerate(SEGMENTS.values()):
        for cycle in cycles:
            for now, after in zip(cycle, cycle[1:] + cycle[0], strict=True):
                usual[s, ENGAGEMENT.index(INITIALS[now]), ENGAGEMENT.index(INITIALS[after])] = 1.0
    habit = signal * HABIT
    transition = habit * usual + (1 - habit) / n
    ages = np.arange(18, 86)
    bell = np.exp(-0.5 * ((ages - np.array(MEAN_AGE)[:, None]) / AGE_SPREAD) ** 2)
    columns = {"age": (tuple(str(a) for a in ages), bell)}
    columns |= {
        name: (tuple(table), np.array(list(table.values())).T)
        for name, table in (("location", LOCATION), ("tier", TIER), ("channel", CHANNEL))
    }
    return Truth(
        actions=ENGAGEMENT,
        prior=SEGMENT_SHARE,
        start=(1 / n,) * n,
        transition=tuple(map(as_rows, transition)),
        profile=tuple(_profile_truth(name, levels, table, signal) for name, (levels, table) in columns.items()),
        churn=ChurnTruth(
            signal=signal,
            base_rate=BASE_RATE,
            intercept=-7.2,
            recency=2.6,
            complaint=9.0,
            rating=-1.5,
            tenure=-0.35,
            tier={"basic": 0.8, "plus": 0.0, "premium": -0.8},
            segment=(0.5, 0.3, -0.6, -0.4),
        ),
        complaint=COMPLAINT,
        rated=RATED,
        retention=RetentionTruth(
            actions=tuple(RETENTION_EFFECTS),
            log_odds=tuple(zip(*(by_segment for by_segment, _ in RETENTION_EFFECTS.values()), strict=True)),
            delay_days=tuple(delay for _, delay in RETENTION_EFFECTS.values()),
        ),
    )


def _profile_truth(name: str, levels: tuple[str, ...], table: np.ndarray, signal: float) -> ProfileTruth:
    p = table / table.sum(axis=1, keepdims=True)
    pooled = np.array(SEGMENT_SHARE) @ p
    mixed = signal * p + (1 - signal) * pooled
    return ProfileTruth(column=name, levels=levels, p=as_rows(mixed))


def _walks(truth: Truth, segment: np.ndarray, total: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(E,) int8 actions of all customers, sampled one position at a time for all histories that long."""
    order = np.argsort(-total, kind="stable")
    lengths = total[order]
    starts = np.concatenate([[0], np.cumsum(total)[:-1]])[order]
    cumulative = np.cumsum(np.array(truth.transition), axis=2).astype(np.float32)
    cumulative[:, :, -1] = 1.0
    action = np.zeros(int(total.sum()), np.int8)
    now = rng.choice(len(truth.start), len(total), p=truth.start).astype(np.int8)
    for position in range(int(total.max())):
        active = np.searchsorted(-lengths, -position, side="left")  # customers with more than `position` events
        if position:
            draw = rng.random(active, dtype=np.float32)
            now = (draw[:, None] >= cumulative[segment[order[:active]], now[:active]]).sum(axis=1).astype(np.int8)
        action[starts[:active] + position] = now[:active]
    return action


def _values(customer: np.ndarray, action: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """(E,) ratings of reviews (1 to 5, around the satisfaction of the customer), amounts of purchases, else NaN."""
    value = np.full(len(action), np.nan)
    satisfaction = rng.normal(3.4, 0.9, n)
    reviews = np.flatnonzero(action == ENGAGEMENT.index(RATED))
    opinion = satisfaction[customer[reviews]] + rng.normal(0, 0.6, len(reviews))
    value[reviews] = np.clip(np.rint(opinion), 1, 5)
    for name, price in AMOUNTS.items():
        bought = np.flatnonzero(action == ENGAGEMENT.index(name))
        value[bought] = np.round(price * rng.lognormal(0, 0.25, len(bought)), 2)
    return value


def _income(n: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) yearly income, which depends on nothing and is blank for 10% of customers."""
    income = np.round(rng.lognormal(np.log(42_000), 0.4, n), -2)
    return np.where(rng.random(n) < 0.1, np.nan, income)


def _activity(customer: np.ndarray, action: np.ndarray, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Purchases counted from the history; views and clicks drawn in proportion to the number of events."""
    count = np.bincount(customer, minlength=n)
    bought = np.isin(action, [ENGAGEMENT.index(name) for name in AMOUNTS])
    views = rng.poisson(3.0 * count + 1)
    return {
        "purchases": np.bincount(customer[bought], minlength=n),
        "views": views,
        "clicks": rng.binomial(views, 0.3),
    }


def _lifelike_actions() -> pd.DataFrame:
    """Twelve engagement actions, some with product features, and the retention actions, which occur in no history."""
    blank = (np.nan, None, np.nan)
    rows = [(a, a, "engagement", True, *PRODUCTS.get(a, blank)) for a in ENGAGEMENT]
    rows += [(a, a, "retention", True, *blank) for a in DEFAULT_RETENTION_ACTIONS]
    return pd.DataFrame(rows, columns=[ACTION, LABEL, KIND, REPEATABLE, "rating", "category", "sentiment"])
