"""Ground truth of a generated cohort: the true probability of every next action and of churn.

Everything is computed from observable data (profile and history), so the ceilings are exactly the best expected scores
of any model. Only the evaluation, the re-run of the paper and the simulation of campaigns read this; deleting
`truth.json` changes no feature, no training and no plan. Letters: N customers, S segments, A actions that occur, R
retention actions, L levels of a column.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.files import need_undamaged, read_json, read_whole
from crm_models.core.schema import ACTION, N_STEPS, TIMESTAMP, VALUE
from crm_models.data.choices import Choices, Outlook
from crm_models.data.cohort import Cohort, moment_days, select
from crm_models.data.storage import describe

FILE = "truth.json"
CHUNK = 65_536
"""Customers whose churn probabilities are computed at once: of a million at once, it would take a gigabyte."""

CELLS = 8_000_000
"""Most probabilities in memory while plans are enumerated: bounds memory for cohorts of any size."""


@dataclass(frozen=True, kw_only=True)
class ProfileTruth:
    """Distribution of a profile column by segment: p[s][l] is the probability of level l in segment s."""

    column: str
    levels: tuple[str, ...]
    p: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ChurnTruth:
    """Churn as a logistic function of observable features, plus an offset per segment.

    The log-odds are intercept + recency * ln(1 + days since the last event) + complaint * share of complaints among the
    events + rating * (mean rating - 3) + tenure * ln(1 + tenure in days) + tier[level] + segment[s], and for further
    columns numbers[column] * its value and levels[column][level]; a customer without events or ratings counts as
    `no_recency` days and a mean rating of 3. With probability 1 - signal the label is drawn at the base rate instead.
    """

    signal: float
    base_rate: float
    intercept: float
    recency: float
    complaint: float
    rating: float
    tenure: float
    tier: dict[str, float]
    segment: tuple[float, ...]
    no_recency: float = 60.0
    numbers: dict[str, float] = field(default_factory=dict)
    levels: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RetentionTruth:
    """Effects of R retention actions on churn. Without an action, churn is as `ChurnTruth` says.

    log_odds (S, R): change of the log-odds of churn within `window_days`; below 0, the action keeps customers of that
    segment. delay_days (R,): the effect approaches its full size exponentially, with this mean delay.
    """

    actions: tuple[str, ...]
    log_odds: tuple[tuple[float, ...], ...]
    delay_days: tuple[float, ...]
    window_days: float = 90.0


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The parameters that a cohort was generated with.

    actions: names of the A actions that occur. prior (S,), start (A,) and transition (S, A, A): probabilities of the
    segment, of the first action, and of the next action (column) after an action (row). complaint and rated: the
    actions that count as a complaint and that carry a rating. retention: effects of retention actions, or None where
    they have none (all scenarios but `lifelike`, and cohorts of earlier versions). choices: how items of a catalogue
    are chosen, in place of start, transition and rated; the prior is then of the taste at the first event, and the
    segment that churn depends on is the taste at the last one.
    """

    actions: tuple[str, ...]
    prior: tuple[float, ...]
    start: tuple[float, ...]
    transition: tuple[tuple[tuple[float, ...], ...], ...]
    profile: tuple[ProfileTruth, ...]
    churn: ChurnTruth
    complaint: str = ""
    rated: str = ""
    retention: RetentionTruth | None = None
    choices: Choices | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `truth.json`; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Truth:
        """The truth from values of `to_json`."""
        profile = tuple(
            ProfileTruth(column=p["column"], levels=tuple(p["levels"]), p=tuple(tuple(row) for row in p["p"]))
            for p in given["profile"]
        )
        churn = ChurnTruth(**(given["churn"] | {"segment": tuple(given["churn"]["segment"])}))
        transition = tuple(tuple(tuple(row) for row in table) for table in given["transition"])
        return cls(
            actions=tuple(given["actions"]),
            prior=tuple(given["prior"]),
            start=tuple(given["start"]),
            transition=transition,
            profile=profile,
            churn=churn,
            complaint=given["complaint"],
            rated=given["rated"],
            retention=_retention_from_json(given.get("retention")),
            choices=None if given.get("choices") is None else Choices.from_json(given["choices"]),
        )


def _retention_from_json(given: dict[str, Any] | None) -> RetentionTruth | None:
    if given is None:
        return None
    return RetentionTruth(
        actions=tuple(given["actions"]),
        log_odds=tuple(tuple(row) for row in given["log_odds"]),
        delay_days=tuple(given["delay_days"]),
        window_days=float(given["window_days"]),
    )


def as_rows(table: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """The rows of a table, as a truth keeps them."""
    return tuple(map(tuple, table.tolist()))


def load_truth(folder: Path) -> Truth | None:
    """The truth of a generated cohort folder, or None if it has none. `DataError` if it is damaged."""
    file = Path(folder) / FILE
    if not file.exists():
        return None
    need_undamaged(file, describe(folder).get("files", {}), "generate the cohort again")
    with read_whole(file, "the truth of a generated cohort", "generate the cohort again"):
        return Truth.from_json(read_json(file))


# ---- inference from histories ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Belief:
    """Posterior of N customers at one moment: segment (N, S) probabilities, last (N,) index of the latest action in
    `truth.actions`, -1 without a history; chosen (N, A): items chosen before, where they come from a catalogue."""

    segment: np.ndarray
    last: np.ndarray
    chosen: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Belief:
        """The belief about some of the customers."""
        chosen = None if self.chosen is None else self.chosen[rows]
        return Belief(segment=self.segment[rows], last=self.last[rows], chosen=chosen)


def believe(truth: Truth, cohort: Cohort, n_history: np.ndarray | None = None) -> Belief:
    """Posterior over segments after each customer's first `n_history` events (None: those before `as_of`).

    Where a customer never changes segment, the forward algorithm is one sum of log-probabilities per segment.
    """
    customer, action, _, value = _history(truth, cohort, n_history)
    n, n_segments = cohort.n_customers, len(truth.prior)
    log_p = np.tile(np.log(np.maximum(truth.prior, 1e-300)), (n, 1))
    if truth.choices is not None:
        return Belief(*truth.choices.believe(_given_profile(log_p, truth, cohort), customer, action, value))
    log_transition = np.log(np.maximum(np.array(truth.transition), 1e-300))
    follows = np.flatnonzero(np.diff(customer) == 0) if len(customer) else np.zeros(0, np.int64)
    for s in range(n_segments):
        steps = log_transition[s, action[follows], action[follows + 1]]
        log_p[:, s] += np.bincount(customer[follows], weights=steps, minlength=n)
    last = np.full(n, -1, np.int64)
    last[customer] = action  # in time order: the last assignment is the latest event
    return Belief(segment=_given_profile(log_p, truth, cohort), last=last)


def _given_profile(log_p: np.ndarray, truth: Truth, cohort: Cohort) -> np.ndarray:
    """(N, S) probability of each segment, from its log-probability without the profile."""
    for column in truth.profile:
        level = pd.Index(column.levels).get_indexer(pd.Index(cohort.customers[column.column].astype("str")))
        table = np.log(np.maximum(np.array(column.p), 1e-300)).T
        log_p += np.where(level[:, None] >= 0, table[level], 0.0)
    log_p -= log_p.max(axis=1, keepdims=True)
    p = np.exp(log_p)
    return p / p.sum(axis=1, keepdims=True)


def next_p(truth: Truth, belief: Belief, steps: int = 1) -> np.ndarray:
    """(N, A) true probability of each action `steps` events ahead, summed over the events in between."""
    transition = np.array(truth.transition)
    ahead = np.linalg.matrix_power(transition, steps)
    later = np.linalg.matrix_power(transition, steps - 1)
    after = np.einsum("ns,nsa->na", belief.segment, ahead[:, belief.last].transpose(1, 0, 2))
    first = belief.segment @ np.einsum("a,sab->sb", np.array(truth.start), later)
    return np.where((belief.last >= 0)[:, None], after, first)


@dataclass(frozen=True, kw_only=True)
class TruePlans:
    """The most probable three steps, repeats allowed: plan (N, 3) indices in `truth.actions`, plan_p (N,), and
    entropy (N,): the expected -ln p of all three steps together, in nats."""

    plan: np.ndarray
    plan_p: np.ndarray
    entropy: np.ndarray


def best_plans(truth: Truth, belief: Belief) -> TruePlans:
    """The best of all A^3 plans; ties go to the plan with the lowest action indices."""
    n, n_actions = len(belief.last), len(truth.actions)
    plan, plan_p, entropy = np.zeros((n, N_STEPS), np.int64), np.zeros(n), np.zeros(n)
    for last in np.unique(belief.last):
        rows = np.flatnonzero(belief.last == last)
        joint = _joint(truth, int(last))
        # Customers with the same posterior have the same plan; with one segment that is all of them.
        posteriors, inverse = np.unique(belief.segment[rows], axis=0, return_inverse=True)
        best, best_p, best_entropy = (np.zeros(len(posteriors), dt) for dt in (np.int64, float, float))
        size = max(1, CELLS // joint.shape[1])
        for k in range(0, len(posteriors), size):
            p = posteriors[k : k + size] @ joint
            best[k : k + size], best_p[k : k + size] = p.argmax(axis=1), p.max(axis=1)
            best_entropy[k : k + size] = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
        inverse = inverse.ravel()
        plan[rows] = np.stack(np.unravel_index(best[inverse], (n_actions,) * N_STEPS), axis=1)
        plan_p[rows], entropy[rows] = best_p[inverse], best_entropy[inverse]
    return TruePlans(plan=plan, plan_p=plan_p, entropy=entropy)


def churn_p(truth: Truth, cohort: Cohort) -> np.ndarray:
    """(N,) true probability of churn given profile and history before `as_of`, averaged over the unknown segment."""
    n, found = cohort.n_customers, [np.zeros(0)]
    for first in range(0, n, CHUNK):
        some = select(cohort, np.arange(first, min(first + CHUNK, n)))
        found.append(_mixed_churn_p(truth, believe(truth, some), _churn_log_odds(truth, some)))
    return np.concatenate(found)


def churn_p_by_action(truth: Truth, cohort: Cohort, days: float | None = None) -> np.ndarray:
    """(N, 1 + R) true probability of churn within `days`: without a retention action, then with each one.

    days: None for the whole window. Within it, the hazard of churn is constant: by day d, 1 - (1 - p)^(d / window)
    have left. Raises `DataError` if the truth knows no effects of retention actions.
    """
    effects = truth.retention
    if effects is None:
        raise DataError("the truth of this cohort has no effects of retention actions; generate it again")
    days = effects.window_days if days is None else days
    belief, log_odds = believe(truth, cohort), _churn_log_odds(truth, cohort)
    reached = 1 - np.exp(-days / np.array(effects.delay_days))
    shifts = [np.zeros(len(truth.prior)), *(np.array(effects.log_odds) * reached).T]
    p = np.stack([_mixed_churn_p(truth, belief, log_odds, shift) for shift in shifts], axis=1)
    return 1 - (1 - p) ** (days / effects.window_days)


def _mixed_churn_p(truth: Truth, belief: Belief, log_odds: np.ndarray, shift: np.ndarray | float = 0.0) -> np.ndarray:
    """(N,) churn probability averaged over the segments; shift (S,): change of the log-odds by an action."""
    parameters = truth.churn
    per_segment = 1 / (1 + np.exp(-(log_odds[:, None] + (np.array(parameters.segment) + shift))))
    p = (belief.segment * per_segment).sum(axis=1)
    return parameters.signal * p + (1 - parameters.signal) * parameters.base_rate


def _churn_log_odds(truth: Truth, cohort: Cohort) -> np.ndarray:
    """(N,) log-odds of churn before the offset of the segment."""
    parameters = truth.churn
    customer, action, days, value = _history(truth, cohort, None)
    n = cohort.n_customers
    count = np.bincount(customer, minlength=n)
    recency = np.full(n, parameters.no_recency)
    if cohort.as_of is not None:
        recency[customer] = moment_days(cohort.as_of) - days  # in time order: the last assignment is the latest
    log_odds = parameters.intercept + parameters.recency * np.log1p(np.maximum(recency, 0))
    if truth.complaint:
        complaints = np.bincount(customer[action == truth.actions.index(truth.complaint)], minlength=n)
        log_odds += parameters.complaint * complaints / np.maximum(count, 1)
    if truth.rated or truth.choices is not None:
        is_rating = action == truth.actions.index(truth.rated) if truth.rated else True
        rated = is_rating & np.isfinite(value)
        n_rated = np.bincount(customer[rated], minlength=n)
        total = np.bincount(customer[rated], weights=value[rated] - 3, minlength=n)
        log_odds += parameters.rating * total / np.maximum(n_rated, 1)
    if parameters.tenure:
        log_odds += parameters.tenure * np.log1p(cohort.customers["tenure_days"].to_numpy(np.float64))
    if parameters.tier:
        log_odds += cohort.customers["tier"].astype("str").map(parameters.tier).to_numpy(np.float64)
    for column, slope in parameters.numbers.items():
        log_odds += slope * cohort.customers[column].to_numpy(np.float64)
    for column, by_level in parameters.levels.items():
        log_odds += cohort.customers[column].astype("str").map(by_level).to_numpy(np.float64)
    return log_odds


def _history(
    truth: Truth, cohort: Cohort, n_history: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Customer row, action index, time in days and value of every event of the histories, in cohort order."""
    if n_history is None:
        keep = cohort.is_history(cohort.as_of)
    else:
        total = np.diff(cohort.starts)
        position = np.arange(len(cohort.interactions)) - np.repeat(cohort.starts[:-1], total)
        keep = position < np.repeat(n_history, total)
    ids = pd.Index(truth.actions, dtype="str").get_indexer(pd.Index(cohort.actions[ACTION]))
    action = ids[cohort.event_actions[keep]]
    if (action < 0).any():
        raise DataError("the cohort has actions that are not in its truth.json; generate it again")
    times = replace(cohort, interactions=cohort.interactions[[TIMESTAMP]])
    value = cohort.interactions[VALUE].to_numpy()[keep]
    return cohort.event_customers[keep], action, times.event_days[keep], value


def _joint(truth: Truth, last: int) -> np.ndarray:
    """(S, A^3) probability of each plan in each segment after action `last` (-1: before the first)."""
    transition = np.array(truth.transition)
    first = transition[:, last] if last >= 0 else np.tile(truth.start, (len(transition), 1))
    return np.einsum("sa,sab,sbc->sabc", first, transition, transition).reshape(len(transition), -1)


def outlook(truth: Truth, belief: Belief) -> Outlook:
    """True probabilities of the next three actions: of each one, and of the best plans."""
    if truth.choices is not None and belief.chosen is not None:
        return truth.choices.outlook(belief.segment, belief.last, belief.chosen)
    plans = best_plans(truth, belief)
    by_step = np.stack([next_p(truth, belief, k + 1) for k in range(N_STEPS)])
    single = by_step.argmax(axis=2).T
    return Outlook(**vars(plans), by_step=by_step, single_plan_p=plan_p(truth, belief, single))


def plan_p(truth: Truth, belief: Belief, plan: np.ndarray) -> np.ndarray:
    """(N,) true probability of the plans (N, 3) as a whole."""
    if truth.choices is not None and belief.chosen is not None:
        return truth.choices.plan_p(belief.segment, belief.last, belief.chosen, plan)
    transition = np.array(truth.transition)
    after = transition[:, belief.last, plan[:, 0]].T
    first = np.where((belief.last >= 0)[:, None], after, np.array(truth.start)[plan[:, 0]][:, None])
    later = transition[:, plan[:, 0], plan[:, 1]].T * transition[:, plan[:, 1], plan[:, 2]].T
    return (belief.segment * first * later).sum(axis=1)


# ---- ceilings --------------------------------------------------------------------------------------------------------


def sequence_ceiling(
    truth: Truth, cohort: Cohort, rows: np.ndarray | None = None, n_history: np.ndarray | None = None
) -> dict[str, float]:
    """Expected scores of the best possible plans for the customers `rows` after their first `n_history` events.

    Exact, because all probabilities are those of the generator. The plan is the most probable one, as for our models;
    `single_...`: of the most probable action of each step by itself.
    """
    belief = believe(truth, cohort, n_history)
    return expected_scores(outlook(truth, belief if rows is None else belief.take(rows)))


def expected_scores(ahead: Outlook) -> dict[str, float]:
    """Expected scores of the best plans, as `sequence_ceiling` has them."""
    at = np.arange(len(ahead.plan))
    step_accuracy = np.mean([p[at, ahead.plan[:, k]] for k, p in enumerate(ahead.by_step)])
    ranked = -np.sort(-ahead.by_step[0], axis=1)[:, :10]
    gain = 1 / np.log2(np.arange(ranked.shape[1]) + 2)
    return {
        "step_accuracy": float(step_accuracy),
        "plan_accuracy": float(ahead.plan_p.mean()),
        "single_step_accuracy": float(np.mean([p.max(axis=1) for p in ahead.by_step])),
        "single_plan_accuracy": float(ahead.single_plan_p.mean()),
        "loss": float(ahead.entropy.mean() / N_STEPS),
        "hr_at_1": float(ranked[:, 0].mean()),
        "hr_at_10": float(ranked.sum(axis=1).mean()),
        "ndcg_at_10": float((ranked * gain).sum(axis=1).mean()),
    }


def churn_ceiling(p: np.ndarray) -> dict[str, float]:
    """Expected scores of the true probabilities p (N,), with labels drawn from them.

    auc and average_precision are ratios of expectations: their limits for many customers.
    """
    order = np.sort(p)[::-1]
    churners = np.cumsum(order)
    precision = churners / np.arange(1, len(p) + 1)
    entropy = -(p * np.log(np.maximum(p, 1e-300)) + (1 - p) * np.log(np.maximum(1 - p, 1e-300)))
    return {
        "churn_rate": float(p.mean()),
        "accuracy": float(np.maximum(p, 1 - p).mean()),
        "auc": expected_auc(p),
        "average_precision": float((precision * order).sum() / churners[-1]),
        "log_loss": float(entropy.mean()),
        "brier": float((p * (1 - p)).mean()),
        "ece": 0.0,
    }


def expected_auc(p: np.ndarray) -> float:
    """Probability that a random churner has a higher p than a random stayer, with labels drawn from p.

    Ties count half: the sum over pairs i != j of p_i (1 - p_j) ([p_i > p_j] + [p_i = p_j] / 2), over the sum over pairs
    of p_i (1 - p_j).
    """
    inverse = np.unique(p, return_inverse=True)[1].ravel()
    churned, stayed = np.bincount(inverse, weights=p), np.bincount(inverse, weights=1 - p)
    with_itself = np.bincount(inverse, weights=p * (1 - p))
    below = np.concatenate([[0], np.cumsum(stayed)[:-1]])
    concordant = (churned * below).sum() + 0.5 * (churned * stayed - with_itself).sum()
    pairs = p.sum() * (1 - p).sum() - with_itself.sum()
    return float(concordant / pairs) if pairs > 0 else 0.5
