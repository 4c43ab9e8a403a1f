"""Markov chains of order 1 and 2 with back-off: transition probabilities, most probable plans, rankings.

Actions are indices 0 to A - 1 here (id - 1). Letters: A actions, P pairs of successive actions, M queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from crm_models.core.schema import N_STEPS

BACK_OFF = (0.5, 2.0, 8.0, 32.0, 128.0, 512.0, 2048.0)
"""Candidate weights of the lower-order model that a table backs off to, in events."""

CELLS = 8_000_000
"""Most table entries in memory at once, however many queries there are."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of successive actions `last` and `following`; all arrays are (P,).

    before: the action before `last`, -1 if there is none. held: whether the pair is held back to choose the back-off
    weights. times: how often there is such a pair.
    """

    last: np.ndarray
    following: np.ndarray
    before: np.ndarray
    held: np.ndarray
    times: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Markov chain of order 1: p(b | a) = (count(a, b) + weight * popular[b]) / (count(a) + weight).

    follows: sparse (A, A) counts, sorted. popular: (A,) probabilities. Only `dense` makes an array of A x A.
    """

    follows: sparse.csr_array
    popular: np.ndarray
    weight: float

    @classmethod
    def fit(cls, pairs: Pairs, popular: np.ndarray) -> Chain:
        """A chain counted on all pairs, with the back-off weight of lowest loss on the held-back pairs."""
        n = len(popular)
        simpler_p = popular[pairs.following]
        weight = _best_weight(pairs.last, pairs.following, simpler_p, pairs.held, pairs.times, (n, n))
        follows = _table(pairs.last, pairs.following, pairs.times, (n, n))
        return cls(follows=follows, popular=popular, weight=weight)

    def p(self, last: np.ndarray, action: np.ndarray) -> np.ndarray:
        """(M,) probability of `action` after `last`."""
        return (_looked_up(self.follows, last, action) + self.weight * self.popular[action]) / self._total()[last]

    def dense(self) -> np.ndarray:
        """(A, A) probabilities, for small vocabularies."""
        return (self.follows.toarray() + self.weight * self.popular) / self._total()[:, None]

    def plans(self) -> tuple[np.ndarray, np.ndarray]:
        """(A, 3) most probable three steps after each action, and (A,) their probability, by the Viterbi algorithm."""
        worth, choices = np.ones(len(self.popular)), []
        for _ in range(N_STEPS):
            worth, choice = self._best_next(worth)
            choices.append(choice)
        first = choices[2]
        second = choices[1][first]
        return np.stack([first, second, choices[0][second]], axis=1), worth

    def single_steps(self, last: np.ndarray) -> np.ndarray:
        """(M, 3) the most probable action of each of the next three steps by itself, after the actions `last`."""
        known, back = np.unique(last, return_inverse=True)
        steps = np.zeros((len(known), N_STEPS), np.int64)
        size = max(1, CELLS // len(self.popular))
        for first in range(0, len(known), size):
            p = np.zeros((len(known[first : first + size]), len(self.popular)))
            p[np.arange(len(p)), known[first : first + size]] = 1
            for step in range(N_STEPS):
                p = p / self._total()
                p = p @ self.follows + p.sum(axis=1, keepdims=True) * (self.weight * self.popular)
                steps[first : first + size, step] = p.argmax(axis=1)
        return steps[back.ravel()]

    def ranks(self, last: np.ndarray, action: np.ndarray) -> np.ndarray:
        """(M,) rank of `action` among all actions after `last`: higher probability first, then lower id.

        Computed as the rank by popularity, corrected for the actions seen after `last`; once per distinct query.
        """
        n_actions = len(self.popular)
        queries, back = np.unique(last * n_actions + action, return_inverse=True)
        alone = self.weight * self.popular
        # Complex numbers sort by real part, then imaginary part: higher score first, then lower id.
        sorted_keys = np.sort(-alone + 1j * np.arange(n_actions))
        ranks = np.empty(len(queries), np.int64)
        size = max(1, CELLS // int(np.diff(self.follows.indptr).max(initial=1)))
        for k in range(0, len(queries), size):
            a, b = np.divmod(queries[k : k + size], n_actions)
            score = _looked_up(self.follows, a, b) + alone[b]
            rows = self.follows[a]
            query, other = np.repeat(np.arange(len(a)), np.diff(rows.indptr)), rows.indices

            def ranks_before(theirs: np.ndarray, ours: np.ndarray, low_id: np.ndarray) -> np.ndarray:
                return ((theirs > ours) | ((theirs == ours) & low_id)).astype(np.int64)

            low_id = other < b[query]
            moved = ranks_before(rows.data + alone[other], score[query], low_id)
            moved -= ranks_before(alone[other], score[query], low_id)
            shift = np.bincount(query, weights=moved, minlength=len(a)).astype(np.int64)
            ranks[k : k + size] = np.searchsorted(sorted_keys, -score + 1j * b) + shift
        return ranks[back.ravel()]

    def _total(self) -> np.ndarray:
        return _row_sums(self.follows) + self.weight

    def _best_next(self, worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each action a, the maximum of p(b | a) * worth[b] over all b, and that b (the lowest on a tie).

        Actions never seen after a score by popularity alone, so the best of them is the same for all a; if it was seen
        after a, its entry in the table is even larger.
        """
        starts, other = self.follows.indptr, self.follows.indices
        alone = self.weight * self.popular * worth
        value, choice = np.full(len(worth), alone.max()), np.full(len(worth), alone.argmax())
        nonempty = np.flatnonzero(np.diff(starts))
        if len(nonempty):
            seen = self.follows.data * worth[other] + alone[other]
            top = np.maximum.reduceat(seen, starts[nonempty])
            is_top = seen == np.repeat(top, np.diff(starts)[nonempty])
            at = np.minimum.reduceat(np.where(is_top, other, len(worth)), starts[nonempty])
            better = (top > value[nonempty]) | ((top == value[nonempty]) & (at < choice[nonempty]))
            value[nonempty[better]], choice[nonempty[better]] = top[better], at[better]
        return value / self._total(), choice


@dataclass(frozen=True, kw_only=True)
class LongChain:
    """Markov chain of order 2. table: (A + 1, A, A) p(next | before, last); table[A]: only one action so far."""

    table: np.ndarray

    @classmethod
    def fit(cls, pairs: Pairs, chain: Chain) -> LongChain:
        """A chain counted on all triples, which backs off to `chain`, with a weight chosen in the same way."""
        n = len(chain.popular)
        known = pairs.before >= 0
        last, following, held, times = (getattr(pairs, k)[known] for k in ("last", "following", "held", "times"))
        both, shape, counted = pairs.before[known] * n + last, (n**2, n), ~pairs.held
        without = Chain(
            follows=_table(pairs.last[counted], pairs.following[counted], pairs.times[counted], (n, n)),
            popular=chain.popular,
            weight=chain.weight,
        )
        weight = _best_weight(both, following, without.p(last, following), held, times, shape)
        seen, alone = _table(both, following, times, shape).toarray().reshape(n, n, n), chain.dense()[None]
        table = (seen + weight * alone) / (seen.sum(axis=2, keepdims=True) + weight)
        return cls(table=np.concatenate([table, alone]))

    def plans(self) -> tuple[np.ndarray, np.ndarray]:
        """(A + 1, A, 3) most probable three steps after each pair of actions, and (A + 1, A) their probability."""
        worth, choices = np.ones(self.table.shape[1:]), []
        for _ in range(N_STEPS):
            joint = self.table * worth[: self.table.shape[1]]
            choices.append(joint.argmax(axis=2))
            worth = joint.max(axis=2)
        first = choices[2]
        second = choices[1][np.arange(first.shape[1]), first]
        return np.stack([first, second, choices[0][first, second]], axis=2), worth

    def single_steps(self, before: np.ndarray, last: np.ndarray) -> np.ndarray:
        """(M, 3) the most probable action of each of the next three steps by itself, after `before` and `last`."""
        n = self.table.shape[1]
        pairs, back = np.unique(np.column_stack([before, last]), axis=0, return_inverse=True)
        steps = np.zeros((len(pairs), N_STEPS), np.int64)
        size = max(1, CELLS // n**2)
        for first in range(0, len(pairs), size):
            rows = slice(first, first + size)
            one = self.table[pairs[rows, 0], pairs[rows, 1]]
            two = one[:, :, None] * self.table[pairs[rows, 1]]  # p(first step, second step)
            three = two.reshape(len(one), n * n) @ self.table[:n].reshape(n * n, n)
            steps[rows] = np.stack([p.argmax(axis=1) for p in (one, two.sum(axis=1), three)], axis=1)
        return steps[back.ravel()]


def leave_one_out_weight(context: np.ndarray, times: np.ndarray, simpler_p: np.ndarray) -> float:
    """The back-off weight with the lowest leave-one-out loss: each event is predicted from all others.

    context, times (count) and simpler_p (probability of the action in the lower-order model): (P,), one entry per
    distinct pair.
    """
    if not len(context):
        return BACK_OFF[0]
    others = np.bincount(context, weights=times)[context] - 1
    losses = [-(times * np.log((times - 1 + weight * simpler_p) / (others + weight))).sum() for weight in BACK_OFF]
    return BACK_OFF[int(np.argmin(losses))]


def places(scores: np.ndarray) -> np.ndarray:
    """(..., A) rank of each action along the last axis: higher score first, then lower id."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(scores.shape[-1]), order.shape), axis=-1)
    return place


def _best_weight(
    context: np.ndarray,
    action: np.ndarray,
    simpler_p: np.ndarray,
    held: np.ndarray,
    times: np.ndarray,
    shape: tuple[int, int],
) -> float:
    """The back-off weight with the lowest loss on the held-back pairs, with the table counted on the others.

    context, action, simpler_p (probability of the action in the lower-order model), held and times: (P,) each. shape:
    of the table.
    """
    if not held.any() or held.all():
        return BACK_OFF[len(BACK_OFF) // 2]
    table = _table(context[~held], action[~held], times[~held], shape)
    seen, total = _looked_up(table, context[held], action[held]), _row_sums(table)[context[held]]
    losses = [-times[held] @ np.log((seen + weight * simpler_p[held]) / (total + weight)) for weight in BACK_OFF]
    return BACK_OFF[int(np.argmin(losses))]


def _table(context: np.ndarray, action: np.ndarray, times: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """Counts of each action in each context."""
    table = sparse.coo_array((times.astype(np.float64), (context, action)), shape=shape).tocsr()
    table.sort_indices()
    return table


def _row_sums(table: sparse.csr_array) -> np.ndarray:
    return np.asarray(table.sum(axis=1)).ravel()


def _looked_up(table: sparse.csr_array, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """(M,) counts at these rows and columns."""
    return np.asarray(table[row, column]).ravel() if len(row) else np.zeros(0)
