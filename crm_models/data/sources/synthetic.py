"""Generated cohorts: `paper`, which is pure noise, and `lifelike`, whose true probabilities are known.

Sampling is vectorised over customers; the only loop is over positions in a history. Each purpose has its random
stream, so that changing one draw does not change the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from crm_models.core.errors import ConfigError
from crm_models.core.schema import (
    ACTION,
    CHURNED,
    CUSTOMER_ID,
    DEFAULT_RETENTION_ACTIONS,
    KIND,
    LABEL,
    N_STEPS,
    REPEATABLE,
    TIMESTAMP,
    VALUE,
)
from crm_models.data.cohort import Cohort
from crm_models.data.truth import ChurnTruth, ProfileTruth, RetentionTruth, Truth, churn_p

Scenario = Literal["paper", "lifelike"]

STREAMS = ("segments", "profile", "lengths", "actions", "times", "values", "labels", "products")

AS_OF = pd.Timestamp("2026-01-01")
MINUTES_PER_DAY = 1440


@dataclass(frozen=True, kw_only=True)
class ScenarioSettings:
    """Settings of a generated cohort.

    customers: None is 100 for `paper`, 5,000 for `lifelike`. signal: from 0 (pure noise) to 1 (full signal).
    """

    scenario: Scenario
    customers: int | None = None
    signal: float = 1.0
    seed: int = 0
    events: int | None = None

    def __post_init__(self) -> None:
        if self.scenario not in get_args(Scenario):
            raise ConfigError(f"scenario must be paper or lifelike, found {self.scenario!r}")
        if self.customers is not None and not 1 <= self.customers <= 50_000_000:
            raise ConfigError(f"customers must lie between 1 and 50,000,000, found {self.customers}")
        if self.events is not None and not (self.scenario == "lifelike" and 0 <= self.events <= 1000):
            raise ConfigError(
                f"events must lie between 0 and 1000 and needs the scenario lifelike, found {self.events}"
            )
        if not 0 <= self.signal <= 1:
            raise ConfigError(f"signal must lie between 0 and 1, found {self.signal}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must lie between 0 and {2**32 - 1}, found {self.seed}")

    def rng(self, stream: str) -> np.random.Generator:
        """The random stream for one purpose."""
        return np.random.default_rng([self.seed, STREAMS.index(stream)])


def generate(settings: ScenarioSettings) -> tuple[Cohort, Truth]:
    """A cohort and the truth it was drawn from, for evaluation only; no column of the cohort contains the truth."""
    return _paper(settings) if settings.scenario == "paper" else _lifelike(settings)


# ---- paper -----------------------------------------------------------------------------------------------------------

N_MOVIES = 50
N_RATINGS = 5


def _paper(settings: ScenarioSettings) -> tuple[Cohort, Truth]:
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
            CUSTOMER_ID: _ids(n),
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
    events = _events(customers, actions, np.repeat(np.arange(n), per_user), action, at, rating)
    uniform = np.full(N_MOVIES, 1 / N_MOVIES)
    no_effect = ChurnTruth(
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
    truth = Truth(
        actions=tuple(movies),
        prior=(1.0,),
        start=tuple(uniform),
        transition=(tuple(tuple(uniform) for _ in movies),),
        profile=(),
        churn=no_effect,
    )
    return _cohort(settings, customers, events, actions), truth


# ---- lifelike --------------------------------------------------------------------------------------------------------

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


def _lifelike(settings: ScenarioSettings) -> tuple[Cohort, Truth]:
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
    at, tenure = _times(n_history, total, settings.rng("times"))
    value = _values(customer, action, n, settings.rng("values"))
    in_history = np.arange(len(customer)) < np.repeat(np.cumsum(total) - N_STEPS, total)
    profile_columns = _profile(truth, segment, settings.rng("profile")) | {
        "tenure_days": tenure,
        **_activity(customer[in_history], action[in_history], n, settings.rng("products")),
    }
    customer_table = pd.DataFrame({CUSTOMER_ID: _ids(n), CHURNED: False, **profile_columns})
    actions = _lifelike_actions()
    events = _events(customer_table, actions, customer, action, at, value)
    cohort = _cohort(settings, customer_table, events, actions)
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
        transition=_nested(transition),
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
    return ProfileTruth(column=name, levels=levels, p=tuple(tuple(float(v) for v in row) for row in mixed))


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


def _times(n_history: np.ndarray, total: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(E,) datetime64[us] of all events and (N,) tenure of each customer in days.

    Gaps are exponential with a mean drawn per customer; the last one before the cut-off, the recency, is four times as
    long for 35% of customers. In whole minutes; history is strictly before the cut-off, the outcome after it.
    """
    n = len(total)
    pace = rng.lognormal(np.log(7.0), 0.6, n).astype(np.float32)
    recency = rng.exponential(1.0, n) * pace * np.where(rng.random(n) < 0.35, 4.0, 1.0) + 0.05
    gap = rng.exponential(1.0, int(total.sum())).astype(np.float32) * np.repeat(pace, total) + 0.01
    elapsed = np.cumsum(gap, dtype=np.float64)
    ends = np.cumsum(total)
    starts = ends - total
    anchor = starts + n_history  # first outcome event; the last history event is `recency` days before the cut-off
    elapsed_at_anchor = np.repeat(elapsed[anchor], total)
    day = elapsed - elapsed_at_anchor
    in_history = np.arange(len(gap)) < np.repeat(anchor, total)
    first_gap = np.repeat(gap[anchor], total)
    day = np.where(in_history, day + first_gap - np.repeat(recency, total), day + first_gap)
    first = np.where(n_history > 0, -day[starts], 0.0)
    tenure = np.ceil(first + rng.exponential(60.0, n) + 1).astype(np.int64)
    minutes = np.floor(day * MINUTES_PER_DAY).astype(np.int64)
    at = AS_OF.to_datetime64().astype("datetime64[us]") + minutes * np.timedelta64(60_000_000, "us")
    return at, tenure


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


def _profile(truth: Truth, segment: np.ndarray, rng: np.random.Generator) -> dict[str, object]:
    """Columns that depend on the segment, and income, which does not and is blank for 10% of customers."""
    columns: dict[str, object] = {}
    for column in truth.profile:
        cumulative = np.cumsum(np.array(column.p), axis=1)
        cumulative[:, -1] = 1.0
        draw = rng.random(len(segment))
        level = np.zeros(len(segment), np.int64)
        for s in range(len(truth.prior)):
            in_segment = segment == s
            level[in_segment] = np.searchsorted(cumulative[s], draw[in_segment], side="right")
        names = np.array([int(v) for v in column.levels]) if column.column == "age" else None
        columns[column.column] = (
            names[level] if names is not None else pd.Series(pd.Index(column.levels, dtype="str").take(level))
        )
    income = np.round(rng.lognormal(np.log(42_000), 0.4, len(segment)), -2)
    columns["income"] = np.where(rng.random(len(segment)) < 0.1, np.nan, income)
    return columns


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


# ---- both ------------------------------------------------------------------------------------------------------------


def _ids(n: int) -> pd.Series:
    """C000001 and so on, with as many digits as the largest number needs (at least six)."""
    width = max(6, len(str(n)))
    return "C" + pd.Series(np.arange(1, n + 1)).astype("str").str.zfill(width)


def _events(
    customers: pd.DataFrame,
    actions: pd.DataFrame,
    customer: np.ndarray,
    action: np.ndarray,
    at: object,
    value: np.ndarray,
) -> pd.DataFrame:
    """Events with categorical ids built from codes, which avoids one id string per event."""
    ids = pd.Index(customers[CUSTOMER_ID], dtype="str").rename(None)
    names = pd.Index(actions[ACTION], dtype="str").rename(None)
    return pd.DataFrame(
        {
            CUSTOMER_ID: pd.Categorical.from_codes(customer, categories=ids),
            ACTION: pd.Categorical.from_codes(action, categories=names),
            TIMESTAMP: at,
            VALUE: value,
        }
    )


def _cohort(settings: ScenarioSettings, customers: pd.DataFrame, events: pd.DataFrame, actions: pd.DataFrame) -> Cohort:
    return Cohort.build(
        name=settings.scenario,
        source=settings.scenario,
        customers=customers,
        interactions=events,
        actions=actions,
        as_of=AS_OF,
        outcome="simulated",
        notes=[f"Generated: scenario {settings.scenario}, signal {settings.signal:g}, seed {settings.seed}."],
        settings={"scenario": settings.scenario, "signal": settings.signal, "seed": settings.seed},
    )


def _nested(table: np.ndarray) -> tuple[tuple[tuple[float, ...], ...], ...]:
    return tuple(tuple(tuple(float(v) for v in row) for row in matrix) for matrix in table)
