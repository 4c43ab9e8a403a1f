"""Choices from a catalogue, with their exact probabilities: tastes, popularity, sequels, and no item chosen twice.

A customer has a hidden taste, which may change from one choice to the next. The next item is the sequel of the last
one, or drawn by its appeal to the taste among the items not chosen yet; the rating says more about the taste.
Everything is computed from what is observable. Letters: N customers, S tastes, A items of the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from crm_models.core.schema import N_STEPS

MAX_RATING = 5

CELLS = 1_000_000
"""Most probabilities in memory at once while plans are enumerated; more no longer fit the cache of a processor."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """True probabilities of the next three actions of N customers.

    plan (N, 3): the most probable plan, as indices of actions; plan_p (N,). entropy (N,): the expected -ln p of all
    three steps together, in nats. by_step (3, N, A): probability of each action at each step. single_plan_p (N,): of
    the plan that takes the most probable action of each step by itself.
    """

    plan: np.ndarray
    plan_p: np.ndarray
    entropy: np.ndarray
    by_step: np.ndarray
    single_plan_p: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Choices:
    """How items are chosen and rated.

    appeal (S, A): weights of the items for each taste. drift (S, S): probability of the taste at the next choice
    (column) after one (row). sequel (A,): index of the item that continues each item, -1 for none; it is the next
    choice with probability `sequel_p`, if not chosen yet. rating (S, A, 5): probability of each rating from 1 to 5.
    signal: with probability 1 - signal an item is drawn uniformly from the whole catalogue instead. Whoever asks for
    more steps leaves as many items to choose from.
    """

    signal: float
    appeal: tuple[tuple[float, ...], ...]
    drift: tuple[tuple[float, ...], ...]
    sequel: tuple[int, ...]
    sequel_p: float
    rating: tuple[tuple[tuple[float, ...], ...], ...]

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Choices:
        """The choices from plain values, as `dataclasses.asdict` gives them."""
        return cls(
            signal=given["signal"],
            appeal=tuple(tuple(row) for row in given["appeal"]),
            drift=tuple(tuple(row) for row in given["drift"]),
            sequel=tuple(given["sequel"]),
            sequel_p=given["sequel_p"],
            rating=tuple(tuple(tuple(p) for p in row) for row in given["rating"]),
        )

    def next_p(self, taste: np.ndarray, last: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """(N, A) probability of each item for customers whose taste (N,) is known.

        last (N,): the latest item, -1 for none. chosen (N, A): whether the item was chosen before.
        """
        at, after = np.arange(len(taste)), self._after(last, chosen)
        weight = np.array(self.appeal)[taste] * ~chosen
        follow = self.sequel_p * (after >= 0)
        p = self._mixed(weight / weight.sum(axis=1, keepdims=True), follow[:, None], 0.0)
        p[at, after] += self.signal * follow  # without a sequel, 0 is added to the last item
        return p

    def believe(
        self, prior: np.ndarray, customer: np.ndarray, action: np.ndarray, value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tastes (N, S) at each customer's last event, the last item (N,), -1 for none, and the chosen items (N, A).

        prior (N, S): taste at the first event. customer, action, value (E,): events in the order of customers and time.
        The forward algorithm, over all customers at once.
        """
        drift, rating = np.array(self.drift), np.array(self.rating)
        taste, n = prior.copy(), len(prior)
        last, chosen = np.full(n, -1, np.int64), np.zeros((n, len(self.sequel)), dtype=bool)
        count = np.bincount(customer, minlength=n)
        first = np.cumsum(count) - count
        for place in range(int(count.max(initial=0))):
            rows = np.flatnonzero(count > place)
            item, rated = action[first[rows] + place], value[first[rows] + place]
            now = taste[rows] @ drift if place else taste[rows]
            now *= self._p_of(item, last[rows], chosen[rows])
            is_rated = np.isfinite(rated)
            now[is_rated] *= rating[:, item[is_rated], rated[is_rated].astype(np.int64) - 1].T
            taste[rows] = now / now.sum(axis=1, keepdims=True)
            last[rows] = item
            chosen[rows, item] = True
        return taste, last, chosen

    def plan_p(self, taste: np.ndarray, last: np.ndarray, chosen: np.ndarray, plan: np.ndarray) -> np.ndarray:
        """(N,) probability that the next items are those of plan (N, K); the other arrays as `believe` returns them."""
        drift, at, chosen = np.array(self.drift), np.arange(len(plan)), chosen.copy()
        p = taste
        for item in plan.T:
            p = np.where((last >= 0)[:, None], p @ drift, p) * self._p_of(item, last, chosen)
            last, chosen[at, item] = item, True
        return p.sum(axis=1)

    def outlook(self, taste: np.ndarray, last: np.ndarray, chosen: np.ndarray) -> Outlook:
        """Probabilities of the next three items, summed over all plans; the arrays as `believe` returns them."""
        n, n_items = chosen.shape
        plan, single = np.zeros((n, N_STEPS), np.int64), np.zeros((n, N_STEPS), np.int64)
        from scipy.special import entr  # not at import: the first page of the app needs no scipy

        plan_p, entropy, by_step = np.zeros(n), np.zeros(n), np.zeros((N_STEPS, n, n_items))
        for rows in _blocks(n, max(1, CELLS // n_items**N_STEPS)):
            p = self._joint(taste[rows], last[rows], chosen[rows])
            flat = p.reshape(len(p), -1)
            best = flat.argmax(axis=1)
            plan[rows] = np.stack(np.unravel_index(best, p.shape[1:]), axis=1)
            plan_p[rows] = flat[np.arange(len(p)), best]
            entropy[rows] = entr(flat).sum(axis=1)
            pairs = p.sum(axis=3)
            by_step[:, rows] = pairs.sum(axis=2), pairs.sum(axis=1), p.sum(axis=1).sum(axis=1)
        single = by_step.argmax(axis=2).T
        return Outlook(
            plan=plan,
            plan_p=plan_p,
            entropy=entropy,
            by_step=by_step,
            single_plan_p=self.plan_p(taste, last, chosen, single),
        )

    def _mixed(self, drawn: np.ndarray, follow: np.ndarray, is_sequel: np.ndarray | float) -> np.ndarray:
        """Probability of an item from that of being drawn by appeal, that of following a sequel, and being the one."""
        by_taste = (1 - follow) * drawn + follow * is_sequel
        return (1 - self.signal) / len(self.sequel) + self.signal * by_taste

    def _after(self, last: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """(N,) the sequel of the last item, -1 if there is none or it was chosen before."""
        after = np.append(self.sequel, -1)[last]  # `last` is -1 without a history
        return np.where(chosen[np.arange(len(last)), after], -1, after)

    def _p_of(self, item: np.ndarray, last: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """(N, S) probability of choosing item (N,) for each taste."""
        appeal, after = np.array(self.appeal), self._after(last, chosen)
        is_open = ~chosen[np.arange(len(item)), item]
        drawn = appeal[:, item].T * is_open[:, None] / (~chosen @ appeal.T)
        return self._mixed(drawn, self.sequel_p * (after >= 0)[:, None], (after == item)[:, None])

    def _joint(self, taste: np.ndarray, last: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """(N, A, A, A) probability of each plan of three items.

        Letters of axes: n customer; s taste; a, b, c the items of the three steps. An item is open while it can still
        be drawn; `left` is the appeal of all open items, which the draw divides by.
        """
        appeal, drift, n_items = np.array(self.appeal), np.array(self.drift), len(self.sequel)
        sequel, items = np.array(self.sequel), np.arange(n_items)
        is_open, other = ~chosen, ~np.eye(n_items, dtype=bool)
        weight = appeal * is_open[:, None]  # nsa
        left = weight.sum(axis=2)  # ns
        # First step.
        after = self._after(last, chosen)
        follow = self.sequel_p * (after >= 0)
        p = self._mixed(weight / left[..., None], follow[:, None, None], (after[:, None] == items)[:, None])
        p *= np.where((last >= 0)[:, None], taste @ drift, taste)[..., None]  # nsa
        # Second step. A sequel is never the item itself.
        p = np.einsum("nsa,st->nta", p, drift)
        left = left[..., None] - weight  # nsa
        follow = self.sequel_p * ((sequel >= 0) & is_open[:, sequel])  # na
        drawn = weight[:, :, None] * other / left[..., None]  # nsab
        p = p[..., None] * self._mixed(drawn, follow[:, None, :, None], sequel[:, None] == items)
        # Third step. The sequel of the second item may have been the first.
        p = np.einsum("nsab,st->ntab", p, drift)
        left = left[..., None] - weight[:, :, None] * other  # nsab
        follow = follow[:, None] * (sequel != items[:, None])  # nab
        pairs = p.sum(axis=1)  # nab
        by_taste = (1 - follow)[:, None] * p / left
        drawn = (np.moveaxis(by_taste, 1, 3) @ appeal) * is_open[:, None, None]  # nabc
        drawn[:, items, :, items] = 0.0
        drawn[:, :, items, items] = 0.0
        drawn[:, :, items, sequel] += (follow * pairs)[:, :, items]  # without a sequel, 0 is added to the last item
        return (1 - self.signal) / n_items * pairs[..., None] + self.signal * drawn


def _blocks(n: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
