"""The head start of the scores is the transition table with back-off, and while training without the event itself."""

import numpy as np
import pandas as pd
import pytest
import torch

from crm_models.baselines.markov import BACK_OFF, leave_one_out_weight
from crm_models.baselines.sequence import sequence_baselines
from crm_models.data.cohort import Cohort
from crm_models.data.features import FeatureEncoder
from crm_models.data.successions import MAX_SUCCESSORS
from crm_models.models.candidates import add_at
from crm_models.models.transition_prior import TransitionPrior
from tests.small_cohorts import SMALL, random_cohort, training_data, untrained, with_sequence

PAIRS = ((1, 2, 5), (1, 3, 1), (3, 1, 2))
COUNTS = (7, 5, 1)
POPULAR = np.array([8, 6, 2]) / 16


def table(pairs: tuple, weight: float) -> np.ndarray:
    """(A + 1, A) the probabilities with back-off, by the book; row 0: nothing before."""
    seen = np.zeros((4, 3))
    for before, after, times in pairs:
        seen[before, after - 1] = times
    return (seen + weight * POPULAR) / (seen.sum(axis=1, keepdims=True) + weight)


def probabilities(
    prior: TransitionPrior, popular: np.ndarray, recent: torch.Tensor, target: torch.Tensor | None = None
) -> np.ndarray:
    """(M, A) after recent (M, R): popularity with the prior added."""
    logits = torch.tensor(np.log(popular), dtype=torch.float32).repeat(len(recent), 1)
    with torch.no_grad():
        for actions, bonus in prior(torch.zeros(len(recent), 4), recent, target):
            logits = add_at(logits, actions, bonus, None)
    return logits.softmax(dim=-1).numpy()


def scores(follow_ups: TransitionPrior, last: torch.Tensor, target: torch.Tensor | None = None) -> np.ndarray:
    return probabilities(follow_ups, POPULAR, last[:, None], target)


def weight_of(pairs: tuple) -> float:
    before, after, times = np.array(pairs).T
    return leave_one_out_weight(before, times, POPULAR[after - 1])


def test_before_any_training_the_scores_are_the_table():
    expected = table(PAIRS, weight_of(PAIRS))
    np.testing.assert_allclose(scores(TransitionPrior(PAIRS, COUNTS, 4), torch.arange(4)), expected, rtol=1e-5)
    np.testing.assert_allclose(expected[[0, 2]], [POPULAR, POPULAR])  # nothing known: popularity


def test_while_training_an_event_is_not_counted_for_itself():
    follow_ups, weight = TransitionPrior(PAIRS, COUNTS, 4), weight_of(PAIRS)
    found = scores(follow_ups, torch.tensor([1, 1, 2]), torch.tensor([1, 2, 0]))
    np.testing.assert_allclose(found[0], table(((1, 2, 4), (1, 3, 1)), weight)[1], rtol=1e-5)
    np.testing.assert_allclose(found[1], table(((1, 2, 5),), weight)[1], rtol=1e-5)  # it was the only one
    np.testing.assert_allclose(found[2], POPULAR, rtol=1e-5)  # never followed by anything


def test_the_weight_is_the_one_that_predicts_each_event_best_from_the_others():
    losses = []
    for weight in BACK_OFF:
        loss = 0.0
        for k, (before, after, times) in enumerate(PAIRS):
            others = [list(pair) for pair in PAIRS]
            others[k][2] -= 1
            loss -= times * np.log(table(tuple(map(tuple, others)), weight)[before, after - 1])
        losses.append(loss)
    assert weight_of(PAIRS) == BACK_OFF[int(np.argmin(losses))]
    assert min(losses) < max(losses) - 0.01


def cohort_of(*histories: list[int], n_actions: int = 3) -> Cohort:
    events = pd.DataFrame(
        [
            {"customer_id": i, "action": f"a{a:03d}", "timestamp": t}
            for i, h in enumerate(histories)
            for t, a in enumerate(h)
        ]
    )
    actions = pd.DataFrame({"action": [f"a{k:03d}" for k in range(1, n_actions + 1)]})
    return Cohort.build(
        name="t",
        source="test",
        customers=pd.DataFrame({"customer_id": range(len(histories))}),
        interactions=events,
        actions=actions,
        outcome="none",
    )


def test_pairs_are_counted_within_customers_and_only_those_fitted_on():
    cohort = cohort_of([1, 2, 2, 1, 2], [2, 1], [3, 3, 3])
    encoder = FeatureEncoder.fit(cohort, np.array([0, 1]), None)
    assert encoder.action_pairs == ((1, 2, 2), (2, 1, 2), (2, 2, 1))
    assert FeatureEncoder.from_dict(encoder.to_dict()) == encoder


def test_only_the_most_frequent_follow_ups_are_kept():
    n = MAX_SUCCESSORS + 5
    once = [x for k in range(2, n + 2) for x in (1, k)]
    encoder = FeatureEncoder.fit(cohort_of(once, [1, n + 1], n_actions=n + 1), np.array([0, 1]), None)
    kept = [pair for pair in encoder.action_pairs if pair[0] == 1]
    # First the one seen twice, then, at one time each, those with the lowest ids.
    assert kept == [(1, n + 1, 2), *((1, k, 1) for k in range(2, MAX_SUCCESSORS + 1))]


HISTORIES = ([1, 2, 3, 1, 2, 3, 1, 2], [1, 2, 1, 2, 3], [3, 1, 2, 1, 1], [2, 2, 3, 1, 2, 3])


def chained(
    histories: tuple[list[int], ...], weights: tuple[float, float], left_out: tuple[int, int, int] | None = None
):
    """p(next | before, last) by the book, (4, 4, 3), backed off twice; without one of the events left_out."""
    ones, twos = np.zeros((4, 3)), np.zeros((4, 4, 3))
    for history in histories:
        for k in range(1, len(history)):
            ones[history[k - 1], history[k] - 1] += 1
        for k in range(2, len(history)):
            twos[history[k - 2], history[k - 1], history[k] - 1] += 1
    if left_out is not None:
        before, last, after = left_out
        ones[last, after - 1] -= 1
        twos[before, last, after - 1] -= 1
    counts = np.bincount(np.concatenate(histories), minlength=4)[1:]
    popular = (counts + 1) / (counts + 1).sum()
    one = (ones + weights[0] * popular) / (ones.sum(axis=1, keepdims=True) + weights[0])
    return (twos + weights[1] * one) / (twos.sum(axis=2, keepdims=True) + weights[1]), popular


def prior_of(histories: tuple[list[int], ...]) -> TransitionPrior:
    encoder = FeatureEncoder.fit(cohort_of(*histories), np.arange(len(histories)), None)
    return TransitionPrior(encoder.action_pairs, encoder.action_counts, 4, encoder.action_triples)


def test_with_few_actions_the_scores_begin_as_the_table_of_the_last_two():
    prior = prior_of(HISTORIES)
    expected, popular = chained(HISTORIES, (prior.after_one.weight, prior.after_two.weight))
    recent = torch.tensor([[before, last] for before in range(1, 4) for last in range(1, 4)])
    found = probabilities(prior, popular, recent)
    np.testing.assert_allclose(found, expected[1:, 1:].reshape(9, 3), rtol=1e-5)


def test_an_event_is_not_counted_for_itself_in_either_table():
    """Up to a constant: that of the shorter context is left as it is, for one event of many it hardly moves."""
    prior = prior_of(HISTORIES)
    weights = (prior.after_one.weight, prior.after_two.weight)
    with_all, popular = chained(HISTORIES, weights)
    without, _ = chained(HISTORIES, weights, left_out=(1, 2, 3))
    (found,) = probabilities(prior, popular, torch.tensor([[1, 2]]), torch.tensor([2]))
    assert abs(found[2] - without[1, 2, 2]) < 0.3 * abs(with_all[1, 2, 2] - without[1, 2, 2])


def test_triples_are_counted_within_customers_and_only_with_few_actions(monkeypatch):
    cohort = cohort_of([1, 2, 2, 1, 2], [2, 1, 2], [3, 3, 3])
    encoder = FeatureEncoder.fit(cohort, np.array([0, 1]), None)
    assert encoder.action_triples == ((1, 2, 2, 1), (2, 1, 2, 2), (2, 2, 1, 1))
    monkeypatch.setattr("crm_models.data.successions.DENSE_ACTIONS", 2)
    assert FeatureEncoder.fit(cohort, np.array([0, 1]), None).action_triples == ()


@pytest.mark.parametrize("setting", [{"use_transition_prior": False}, {}])
def test_the_setting_decides(setting):
    encoder, _ = training_data(random_cohort())
    model = untrained("sequence", encoder, with_sequence(SMALL, **setting))
    assert (model.transition_prior is None) == bool(setting)


def test_an_untrained_model_is_already_as_good_as_the_table(walks):
    """What makes `standard` safe where data are few: it starts at the Markov baseline and keeps its best epoch."""
    from crm_models.inference.decoding import sequence_predictions

    encoder, known = training_data(walks)
    model = untrained("sequence", encoder, sharper=1.0)
    test = np.flatnonzero(np.isin(known.outcomes.rows, known.split.test))
    found = type(known.outcomes)(**{name: value[test] for name, value in vars(known.outcomes).items()})
    own = -sequence_predictions(model, known.arrays, found).actual_log_p.mean()
    others = sequence_baselines(known.arrays, known.split.train, known.arrays, found, encoder)
    loss = {name: -p.actual_log_p.mean() for name, p in others.items()}
    assert loss["markov"] < loss["popular"] - 0.3
    assert own < loss["markov"] + 0.05


@pytest.fixture(scope="module")
def walks() -> Cohort:
    """Customers who go round in a circle of eight actions, with a slip every fourth time."""
    rng = np.random.default_rng(0)
    histories = []
    for _ in range(300):
        at, walk = int(rng.integers(8)), []
        for _ in range(8):
            at = (at + 1) % 8 if rng.random() < 0.75 else int(rng.integers(8))
            walk.append(at + 1)
        histories.append(walk)
    return cohort_of(*histories, n_actions=8)
