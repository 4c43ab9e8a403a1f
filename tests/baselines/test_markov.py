"""Transition tables: probabilities, most probable plans and rankings agree with what trying everything gives."""

from itertools import product

import numpy as np
import pytest
from scipy import sparse

from crm_models.baselines import markov
from crm_models.baselines.markov import BACK_OFF, Chain, LongChain, Pairs, leave_one_out_weight, places


def pairs_of(*histories: list[int], held: tuple[int, ...] = ()) -> Pairs:
    """The successive actions of customers with these histories; `held` names the customers held back."""
    rows = [
        (h[k], h[k + 1], h[k - 1] if k else -1, who in held)
        for who, h in enumerate(histories)
        for k in range(len(h) - 1)
    ]
    last, following, before, kept = (np.array(column) for column in zip(*rows, strict=True))
    return Pairs(last=last, following=following, before=before, held=kept, times=np.ones(len(last), np.int64))


def random_pairs(n_actions: int, seed: int, customers: int = 30) -> tuple[Pairs, np.ndarray]:
    rng = np.random.default_rng(seed)
    histories = [rng.integers(0, n_actions, rng.integers(2, 9)).tolist() for _ in range(customers)]
    popular = rng.dirichlet(np.ones(n_actions))
    return pairs_of(*histories, held=tuple(range(0, customers, 5))), popular


def test_a_probability_is_the_count_mixed_with_popularity():
    # 0 was followed by 1, 1 and 2; nobody is held back, so the weight is the middle one.
    chain = Chain.fit(pairs_of([0, 1], [0, 1], [0, 2]), np.array([0.2, 0.3, 0.5]))
    assert chain.weight == BACK_OFF[3] == 32.0
    at = np.array([0, 0, 0, 2])
    np.testing.assert_allclose(
        chain.p(at, np.array([0, 1, 2, 1])),
        [(0 + 32 * 0.2) / 35, (2 + 32 * 0.3) / 35, (1 + 32 * 0.5) / 35, 0.3],  # 2 was followed by nothing
    )
    np.testing.assert_allclose(chain.dense().sum(axis=1), 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_plan_of_a_chain_is_the_best_of_all_plans(seed):
    chain = Chain.fit(*random_pairs(5, seed))
    p, (plans, plan_p) = chain.dense(), chain.plans()
    for last in range(5):
        every = {(a, b, c): p[last, a] * p[a, b] * p[b, c] for a, b, c in product(range(5), repeat=3)}
        best = max(every, key=every.__getitem__)
        assert tuple(plans[last]) == best
        assert plan_p[last] == pytest.approx(every[best], rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_plan_of_a_long_chain_is_the_best_of_all_plans(seed):
    pairs, popular = random_pairs(4, seed)
    long = LongChain.fit(pairs, Chain.fit(pairs, popular))
    p, (plans, plan_p) = long.table, long.plans()
    np.testing.assert_allclose(p.sum(axis=2), 1.0)
    for before, last in product(range(5), range(4)):
        every = {(a, b, c): p[before, last, a] * p[last, a, b] * p[a, b, c] for a, b, c in product(range(4), repeat=3)}
        best = max(every, key=every.__getitem__)
        assert tuple(plans[before, last]) == best
        assert plan_p[before, last] == pytest.approx(every[best], rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cells", [1, 10**6])
def test_single_steps_are_the_most_probable_actions_of_each_step(seed, cells, monkeypatch):
    monkeypatch.setattr(markov, "CELLS", cells)
    pairs, popular = random_pairs(4, seed)
    chain = Chain.fit(pairs, popular)
    long = LongChain.fit(pairs, chain)
    p, last = chain.dense(), np.array([3, 0, 3, 2])
    by_step = [np.linalg.matrix_power(p, k + 1)[last].argmax(axis=1) for k in range(3)]
    np.testing.assert_array_equal(chain.single_steps(last), np.stack(by_step, axis=1))
    for before, now in product(range(5), range(4)):
        of_step = np.zeros((3, 4))
        for a, b, c in product(range(4), repeat=3):
            whole = long.table[before, now, a] * long.table[now, a, b] * long.table[a, b, c]
            of_step[[0, 1, 2], [a, b, c]] += whole
        assert long.single_steps(np.array([before]), np.array([now])).tolist() == [of_step.argmax(axis=1).tolist()]


def test_among_equal_plans_the_lower_ids_win():
    chain = Chain.fit(pairs_of([0, 0], [1, 1], [2, 2]), np.full(4, 0.25))
    # After 3, which nothing followed, all four are equal: the plan begins with 0, which is followed by itself.
    assert chain.plans()[0].tolist() == [[0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 0, 0]]


@pytest.mark.parametrize(("popular", "seen"), [([0.25, 0.75], 0), ([0.75, 0.25], 1)])
def test_what_was_seen_and_what_is_popular_tie_in_favour_of_the_lower_id(popular, seen):
    # One event and 2 x 0.25 beside 2 x 0.75: both score 1.5 after action 0.
    follows = np.zeros((2, 2))
    follows[0, seen] = 1
    chain = Chain(follows=sparse.csr_array(follows), popular=np.array(popular), weight=2.0)
    assert chain.dense()[0].tolist() == [0.5, 0.5]
    assert chain.ranks(np.array([0, 0]), np.array([0, 1])).tolist() == [0, 1]
    p = chain.dense()
    every = {(a, b, c): p[0, a] * p[a, b] * p[b, c] for a, b, c in product(range(2), repeat=3)}
    assert tuple(chain.plans()[0][0]) == max(every, key=every.__getitem__)
    assert chain._best_next(np.ones(2))[1][0] == 0


@pytest.mark.parametrize("equal_popularity", [False, True])
@pytest.mark.parametrize("cells", [8_000_000, 7])
def test_ranks_agree_with_sorting_the_whole_row(equal_popularity, cells, monkeypatch):
    monkeypatch.setattr("crm_models.baselines.markov.CELLS", cells)
    pairs, popular = random_pairs(9, 3)
    chain = Chain.fit(pairs, np.full(9, 1 / 9) if equal_popularity else popular)
    last, action = (grid.ravel() for grid in np.indices((9, 9)))
    score = chain.follows.toarray() + chain.weight * chain.popular
    # Higher scores first, then lower ids.
    order = np.lexsort((np.broadcast_to(np.arange(9), score.shape), -score))
    expected = np.argsort(order, axis=1)[last, action]
    assert chain.ranks(last, action).tolist() == expected.tolist()
    assert places(score)[last, action].tolist() == expected.tolist()
    assert (np.sort(expected.reshape(9, 9), axis=1) == np.arange(9)).all()


def test_without_any_pair_everything_goes_by_popularity():
    nothing = np.zeros(0, np.int64)
    pairs = Pairs(last=nothing, following=nothing, before=nothing, held=nothing.astype(bool), times=nothing)
    chain = Chain.fit(pairs, np.array([0.2, 0.5, 0.3]))
    assert chain.plans()[0].tolist() == [[1, 1, 1]] * 3
    assert chain.ranks(np.array([0, 0, 0]), np.array([0, 1, 2])).tolist() == [2, 0, 1]
    np.testing.assert_allclose(LongChain.fit(pairs, chain).table, np.tile([0.2, 0.5, 0.3], (4, 3, 1)))


def test_the_weight_follows_what_held_back_customers_show():
    rng = np.random.default_rng(0)
    held = tuple(range(0, 200, 5))
    cycle = pairs_of(*[[(s + k) % 4 for k in range(8)] for s in range(200)], held=held)
    noise = pairs_of(*rng.integers(0, 4, (200, 8)).tolist(), held=held)
    even = np.full(4, 0.25)
    assert Chain.fit(cycle, even).weight == BACK_OFF[0]
    assert Chain.fit(noise, even).weight >= 512


def test_two_actions_tell_what_one_does_not():
    # a a b b a a b b ...: after one action both are equally likely, after two there is no doubt.
    pairs = pairs_of(*[[(s + k) % 4 // 2 for k in range(12)] for s in range(40)], held=tuple(range(0, 40, 5)))
    chain = Chain.fit(pairs, np.full(2, 0.5))
    table = LongChain.fit(pairs, chain).table
    np.testing.assert_allclose(chain.dense(), 0.5, atol=0.02)
    for before, last, following in [(0, 0, 1), (0, 1, 1), (1, 1, 0), (1, 0, 0)]:
        assert table[before, last, following] > 0.99


def test_the_leave_one_out_weight_by_hand():
    """Each event is predicted from the table without itself, so pairs that came once say nothing for the table."""
    once = leave_one_out_weight(np.array([0, 0, 1]), np.array([1, 1, 1]), np.array([0.5, 0.5, 1.0]))
    assert once == BACK_OFF[-1]
    often = leave_one_out_weight(np.array([0, 1]), np.array([50, 50]), np.array([0.1, 0.1]))
    assert often == BACK_OFF[0]
    assert leave_one_out_weight(np.zeros(0, int), np.zeros(0, int), np.zeros(0)) == BACK_OFF[0]
    context, times, simpler = np.array([0, 0, 1, 1]), np.array([9, 1, 4, 2]), np.array([0.4, 0.2, 0.3, 0.1])
    losses = {}
    for weight in BACK_OFF:
        total = np.array([10, 10, 6, 6])
        losses[weight] = -(times * np.log((times - 1 + weight * simpler) / (total - 1 + weight))).sum()
    assert leave_one_out_weight(context, times, simpler) == min(losses, key=losses.__getitem__)
