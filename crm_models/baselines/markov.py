"""What follows an action, or two: transition tables with back-off, their most probable plans, their rankings.

Actions are places 0 to A - 1 here (id - 1). Letters: A actions, P pairs of successive actions, M questions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from crm_models.core.schema import N_STEPS

BACK_OFF = (0.5, 2.0, 8.0, 32.0, 128.0, 512.0, 2048.0)
"""Weights that a table may give to the simpler rule behind it, in events."""

CELLS = 8_000_000
"""Entries of the table looked at together: bounds memory, whatever the number of questions."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Every action and the one right after it. Each (P,).

    last and following: places. before: place of the action before `last`, -1 where there is none. held: marks the
    pairs of the customers that choose the back-off weights.
    """

    last: np.ndarray
    following: np.ndarray
    before: np.ndarray
    held: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The last action decides: p(b after a) = (times b followed a + weight * popular[b]) / (times any did + weight).

    follows: sparse (A, A) counts, sorted. popular: (A,) probabilities. Nothing here is ever as large as A x A.
    """

    follows: sparse.csr_array
    popular: np.ndarray
    weight: float

    @classmethod
    def fit(cls, pairs: Pairs, popular: np.ndarray) -> Chain:
        """The table over all pairs, with the back-off weight that does best for customers held back."""
        n = len(popular)
        weight = _best_weight(pairs.last, pairs.following, popular[pairs.following], pairs.held, (n, n))
        return cls(follows=_table(pairs.last, pairs.following, (n, n)), popular=popular, weight=weight)

    def p(self, last: np.ndarray, action: np.ndarray) -> np.ndarray:
        """(M,) probability of `action` after `last`."""
        return (_looked_up(self.follows, last, action) + self.weight * self.popular[action]) / self._total()[last]

    def dense(self) -> np.ndarray:
        """(A, A) probabilities; for small vocabularies."""
        return (self.follows.toarray() + self.weight * self.popular) / self._total()[:, None]

    def plans(self) -> tuple[np.ndarray, np.ndarray]:
        """(A, 3) the most probable three steps after each action, and (A,) their probability.

        From the last step to the first (Viterbi): the best end depends on the action before it alone.
        """
        worth, choices = np.ones(len(self.popular)), []
        for _ in range(N_STEPS):
            worth, choice = self._best_next(worth)
            choices.append(choice)
        first = choices[2]
        second = choices[1][first]
        return np.stack([first, second, choices[0][second]], axis=1), worth

    def ranks(self, last: np.ndarray, action: np.ndarray) -> np.ndarray:
        """(M,) place of `action` among all actions after `last`: higher probability first, then lower id.

        The place by popularity alone, corrected for the actions that have been seen after `last`. Every distinct
        question is asked once.
        """
        n_actions = len(self.popular)
        questions, back = np.unique(last * n_actions + action, return_inverse=True)
        alone = self.weight * self.popular
        # Complex numbers sort by their real part, then the imaginary one: higher score first, then lower id.
        ladder = np.sort(-alone + 1j * np.arange(n_actions))
        found = np.empty(len(questions), np.int64)
        size = max(1, CELLS // int(np.diff(self.follows.indptr).max(initial=1)))
        for k in range(0, len(questions), size):
            a, b = np.divmod(questions[k : k + size], n_actions)
            own = _looked_up(self.follows, a, b) + alone[b]
            rows = self.follows[a]
            asked, other = np.repeat(np.arange(len(a)), np.diff(rows.indptr)), rows.indices

            def stand_before(score: np.ndarray, own: np.ndarray, low_id: np.ndarray) -> np.ndarray:
                return ((score > own) | ((score == own) & low_id)).astype(np.int64)

            low_id = other < b[asked]
            moved = stand_before(rows.data + alone[other], own[asked], low_id)
            moved -= stand_before(alone[other], own[asked], low_id)
            shift = np.bincount(asked, weights=moved, minlength=len(a)).astype(np.int64)
            found[k : k + size] = np.searchsorted(ladder, -own + 1j * b) + shift
        return found[back.ravel()]

    def _total(self) -> np.ndarray:
        return _row_sums(self.follows) + self.weight

    def _best_next(self, worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each action the largest p(b after it) * worth[b] over all b, and that b (the lowest among equals).

        What was never seen after an action scores by popularity alone, and the best of that is the same for every row:
        where it was seen after all, its own entry is larger still.
        """
        starts, other = self.follows.indptr, self.follows.indices
        alone = self.weight * self.popular * worth
        value, choice = np.full(len(worth), alone.max()), np.full(len(worth), alone.argmax())
        some = np.flatnonzero(np.diff(starts))
        if len(some):
            seen = self.follows.data * worth[other] + alone[other]
            top = np.maximum.reduceat(seen, starts[some])
            is_top = seen == np.repeat(top, np.diff(starts)[some])
            at = np.minimum.reduceat(np.where(is_top, other, len(worth)), starts[some])
            better = (top > value[some]) | ((top == value[some]) & (at < choice[some]))
            value[some[better]], choice[some[better]] = top[better], at[better]
        return value / self._total(), choice


@dataclass(frozen=True, kw_only=True)
class LongChain:
    """The last two actions decide. table: (A + 1, A, A) p of the next after [before, last]; [A]: nothing before."""

    table: np.ndarray

    @classmethod
    def fit(cls, pairs: Pairs, chain: Chain) -> LongChain:
        """Counts of all triples, backing off to `chain`, by a weight chosen as there."""
        n = len(chain.popular)
        known = pairs.before >= 0
        last, following, held = pairs.last[known], pairs.following[known], pairs.held[known]
        both, shape = pairs.before[known] * n + last, (n**2, n)
        without = Chain(
            follows=_table(pairs.last[~pairs.held], pairs.following[~pairs.held], (n, n)),
            popular=chain.popular,
            weight=chain.weight,
        )
        weight = _best_weight(both, following, without.p(last, following), held, shape)
        seen, alone = _table(both, following, shape).toarray().reshape(n, n, n), chain.dense()[None]
        table = (seen + weight * alone) / (seen.sum(axis=2, keepdims=True) + weight)
        return cls(table=np.concatenate([table, alone]))

    def plans(self) -> tuple[np.ndarray, np.ndarray]:
        """(A + 1, A, 3) the most probable three steps after each two actions, and (A + 1, A) their probability."""
        worth, choices = np.ones(self.table.shape[1:]), []
        for _ in range(N_STEPS):
            joint = self.table * worth[: self.table.shape[1]]
            choices.append(joint.argmax(axis=2))
            worth = joint.max(axis=2)
        first = choices[2]
        second = choices[1][np.arange(first.shape[1]), first]
        return np.stack([first, second, choices[0][first, second]], axis=2), worth


def leave_one_out_weight(context: np.ndarray, times: np.ndarray, simpler_p: np.ndarray) -> float:
    """The back-off weight with the lowest loss over all events, each predicted from a table without itself.

    context, times and simpler_p (the simpler rule's probability of the action): (P,), one entry per distinct pair.
    """
    if not len(context):
        return BACK_OFF[0]
    others = np.bincount(context, weights=times)[context] - 1
    losses = [-(times * np.log((times - 1 + weight * simpler_p) / (others + weight))).sum() for weight in BACK_OFF]
    return BACK_OFF[int(np.argmin(losses))]


def places(scores: np.ndarray) -> np.ndarray:
    """(..., A) place of each action when the last axis is sorted: higher score first, then lower id."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(scores.shape[-1]), order.shape), axis=-1)
    return place


def _best_weight(
    context: np.ndarray, action: np.ndarray, simpler_p: np.ndarray, held: np.ndarray, shape: tuple[int, int]
) -> float:
    """The back-off weight with the lowest loss over the held-back pairs, the table being counted on the others.

    context, action, simpler_p (the simpler rule's probability of the action) and held: (P,) each. shape: of the table.
    """
    if not held.any() or held.all():
        return BACK_OFF[len(BACK_OFF) // 2]
    table = _table(context[~held], action[~held], shape)
    seen, total = _looked_up(table, context[held], action[held]), _row_sums(table)[context[held]]
    losses = [-np.log((seen + weight * simpler_p[held]) / (total + weight)).mean() for weight in BACK_OFF]
    return BACK_OFF[int(np.argmin(losses))]


def _table(context: np.ndarray, action: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """How often each action came in each context."""
    table = sparse.coo_array((np.ones(len(action)), (context, action)), shape=shape).tocsr()
    table.sort_indices()
    return table


def _row_sums(table: sparse.csr_array) -> np.ndarray:
    return np.asarray(table.sum(axis=1)).ravel()


def _looked_up(table: sparse.csr_array, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """(M,) the counts at these places."""
    return np.asarray(table[row, column]).ravel() if len(row) else np.zeros(0)
