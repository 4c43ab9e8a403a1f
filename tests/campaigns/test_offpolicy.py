"""Off-policy value: exact laws, coverage on generated logs, when nothing can be said, and Starbucks' real offers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.json import read_json

from crm_models.campaigns.offpolicy import (
    Log,
    clustered,
    doubly_robust,
    gain,
    ips,
    outcome_model,
    snips,
    value_of,
)
from crm_models.campaigns.uplift import features_of
from crm_models.core.errors import DataError


def lottery(n: int, seed: int, k: int = 3) -> tuple[Log, np.ndarray, np.ndarray]:
    """A log with known probabilities that depend on x; also the probabilities (N, K) and the true outcome model."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    logits = np.column_stack([np.zeros(n), 0.8 * x[:, 0], -0.5 * x[:, 1]])[:, :k]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    choice = (rng.random(n)[:, None] > np.cumsum(p, axis=1)).sum(axis=1)
    q = np.column_stack([x[:, 0], 1 + 0.5 * x[:, 1], 0.5 - x[:, 0]])[:, :k]
    outcome = q[np.arange(n), choice] + rng.normal(size=n)
    log = Log(
        choice=choice,
        outcome=outcome,
        propensity=p[np.arange(n), choice],
        x=x,
        customer=np.arange(n),
        n_choices=k,
    )
    return log, p, q


def one_hot(choice: np.ndarray, k: int) -> np.ndarray:
    return np.eye(k)[choice]


@given(st.integers(0, 1_000), st.floats(-50, 50))
@settings(max_examples=25, deadline=None)
def test_the_logging_plan_is_worth_the_mean_and_a_constant_moves_every_estimate_by_itself(seed, c):
    log, p, q = lottery(200, seed)
    mean = log.outcome.mean()
    assert ips(log, p).value == pytest.approx(mean, abs=1e-9)
    assert snips(log, p).value == pytest.approx(mean, abs=1e-9)
    assert doubly_robust(log, p, np.full_like(q, 0.3)).value == pytest.approx(mean, abs=1e-9)
    pi = one_hot(np.argmax(q, axis=1), 3)
    moved = Log(**(vars(log) | {"outcome": log.outcome + c}))
    assert snips(moved, pi).value == pytest.approx(snips(log, pi).value + c, abs=1e-6)
    assert doubly_robust(moved, pi, q + c).value == pytest.approx(doubly_robust(log, pi, q).value + c, abs=1e-6)


def test_intervals_hold_the_truth_and_a_true_model_makes_them_narrower():
    x = np.random.default_rng(0).normal(size=(1_000_000, 2))
    truth = float(np.maximum(np.maximum(x[:, 0], 1 + 0.5 * x[:, 1]), 0.5 - x[:, 0]).mean())
    covered, widths = [], []
    for seed in range(100):
        log, _, q = lottery(800, seed)
        pi = one_hot(np.argmax(q, axis=1), 3)
        found = ips(log, pi), snips(log, pi), doubly_robust(log, pi, q)
        covered.append([e.low <= truth <= e.high for e in found])
        widths.append([e.high - e.low for e in found])
    assert np.mean(covered, axis=0) == pytest.approx([0.95] * 3, abs=0.07)
    assert (np.mean(widths, axis=0)[2] < np.mean(widths, axis=0)[:2]).all()


def test_rows_of_one_customer_count_together():
    values, customer = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1])
    assert clustered(values, customer) == pytest.approx(1.0)
    assert clustered(values, np.arange(4)) == pytest.approx(values.std(ddof=1) / 2)


def test_what_cannot_be_told_is_said_with_the_reason():
    log, _, q = lottery(600, 1)
    hidden = Log(**(vars(log) | {"propensity": None, "choice": (log.x[:, 0] > 0).astype(int)}))
    found = value_of(hidden, one_hot(np.zeros(600, int), 3), q)
    assert not found["identifiable"]
    assert "choices are no lottery" in found["reason"]
    assert found["dr"] is None
    never = Log(**(vars(log) | {"n_choices": 4}))
    found = value_of(never, one_hot(np.full(600, 3), 4), np.column_stack([q, q[:, 0]]))
    assert "100% of the plan are choices that the log never makes for such customers" in found["reason"]
    assert found["bounds"] == [pytest.approx(log.outcome.min()), pytest.approx(log.outcome.max())]
    few = Log(**{k: v[:150] if isinstance(v, np.ndarray) else v for k, v in vars(log).items()})
    found = value_of(few, one_hot(np.argmax(q[:150], axis=1), 3), q[:150])
    assert "fewer than 100" in found["reason"]
    fair = Log(**(vars(log) | {"propensity": None, "choice": np.random.default_rng(0).integers(0, 3, 600)}))
    assert value_of(fair, one_hot(np.ones(600, int), 3), q)["identifiable"]


def test_a_choice_that_is_made_for_others_only_is_off_support_too():
    log, _, q = lottery(600, 1)
    possible = np.ones((600, 3), dtype=bool)
    possible[300:, 2] = False
    log = Log(**(vars(log) | {"choice": np.where(log.choice == 2, 0, log.choice), "possible": possible}))
    log.choice[:100] = 2
    found = value_of(log, one_hot(np.full(600, 2), 3), q)
    assert found["off_support"] == 0.5
    assert not found["identifiable"]
    assert value_of(log, one_hot(np.where(np.arange(600) < 300, 2, 0), 3), q)["off_support"] == 0


def test_bad_logs_are_refused():
    log, _, _ = lottery(50, 1)
    with pytest.raises(DataError, match="log row 3: expected a propensity above 0 and up to 1, found 0"):
        Log(**(vars(log) | {"propensity": np.where(np.arange(50) == 2, 0.0, 0.5)}))
    with pytest.raises(DataError, match="log row 5: expected an outcome, found none"):
        Log(**(vars(log) | {"outcome": np.where(np.arange(50) == 4, np.nan, 0.5)}))


# ---- Starbucks -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def starbucks(shared_data) -> Log:
    """Six waves of ten offers or none, with the spend in the 72 hours after, capped at 100."""
    folder = shared_data / "starbucks"
    people = pd.read_json(folder / "profile.json", lines=True)
    offers = pd.read_json(folder / "portfolio.json", lines=True)["id"].tolist()
    events = read_json(folder / "transcript.json.gz").flatten().to_pandas()
    events["at"] = pd.Index(people["id"]).get_indexer(events["person"])
    bought, got = events[events["event"] == "transaction"], events[events["event"] == "offer received"]
    at, when, amount = (bought[name].to_numpy() for name in ("at", "time", "value.amount"))

    def spent(first: float, last: float) -> np.ndarray:
        rows = (when >= first) & (when < last)
        return np.bincount(at[rows], weights=amount[rows], minlength=len(people))

    profile = people.assign(age=people["age"].where(people["age"] != 118))[["age", "gender", "income"]]
    fixed, choices, outcomes, x = features_of(profile), [], [], []
    for wave, received in got.groupby("time"):
        choice = np.zeros(len(people), np.int64)
        choice[received["at"]] = received["value.offer id"].map(offers.index) + 1
        choices.append(choice)
        outcomes.append(np.minimum(spent(wave, wave + 72), 100.0))
        x.append(np.column_stack([fixed, spent(0, wave), np.full(len(people), wave)]))
    return Log(
        choice=np.concatenate(choices),
        outcome=np.concatenate(outcomes),
        propensity=None,
        x=np.concatenate(x),
        customer=np.tile(np.arange(len(people)), len(choices)),
        n_choices=len(offers) + 1,
    )


@pytest.mark.data
@pytest.mark.slow
def test_starbucks_offers_were_a_lottery_and_personal_offers_are_not_proven_to_bring_more(starbucks):
    means = [float(starbucks.outcome[starbucks.choice == k].mean()) for k in range(11)]
    shares = np.bincount(starbucks.choice) / len(starbucks.choice)
    assert 1 - shares[0] == pytest.approx(0.748, abs=0.004)
    assert shares[1:].max() / shares[1:].min() < 1.05
    assert means[0] == pytest.approx(6.83, abs=0.17)
    assert max(means) == pytest.approx(14.28, abs=0.5)
    q = outcome_model(starbucks)
    personal, single = one_hot(q.argmax(axis=1), 11), one_hot(np.full(len(q), int(np.argmax(means))), 11)
    found = value_of(starbucks, personal, q)
    assert found["identifiable"], found["reason"]
    claimed = found["direct"] - value_of(starbucks, single, q)["direct"]
    assert claimed == pytest.approx(0.48, abs=0.1)
    shown = gain(starbucks, personal, single, q)
    assert shown.low < 0.05 < shown.high
    assert shown.value < claimed / 2
