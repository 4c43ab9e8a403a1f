"""Trained models and arrays to probabilities and plans; every customer's numbers are independent of the batch's others.

Letters: N customers, B batch, A actions, W candidate plans kept (the beam), P positions of the encoded history.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crm_models.core.records import CustomerScores, DecodedPlans, SequencePredictions
from crm_models.core.schema import N_STEPS
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Outcomes, true_steps
from crm_models.models.batches import churn_batch, history_batch
from crm_models.models.blocks import KeyValue, picked
from crm_models.models.churn import ChurnTransformer
from crm_models.models.sequence import SequenceBatch, SequenceTransformer
from crm_models.training.objectives import outcome_log_p

SCORING_BATCH = 256
"""Customers at a time: few enough for a batch to stay in the processor's cache, enough for its many small steps to pay.
(512 are hardly quicker and take more memory, 768 are slower.)"""

CHURN_ROWS = 512
"""Customers x members at a time, for the same reasons."""

NARROW, WIDE = 4, 16
"""Candidates kept per step: first few, then many for the customers for whom a plan that was cut might have been better.
Up to sixteen actions the wide search tries every first and the sixteen best first pairs."""

ROUNDING = 1e-4
"""The same log-probability, computed in another batch, differs by less than this."""

SCORES_AT_ONCE = 8_000_000
"""Scores (customers x candidates x actions) held at once while decoding, 32 MB: many actions mean smaller batches."""

Made = TypeVar("Made")


def _side_by_side(work: Callable[[np.ndarray], Made], batches: list[np.ndarray], device: torch.device) -> list[Made]:
    """What `work` makes of each batch, in order.

    Batches that stay in the cache are too small for cores to share one: each core takes batches of its own.
    """
    cores = torch.get_num_threads()
    if device.type != "cpu" or min(cores, len(batches)) < 2:
        return [work(batch) for batch in batches]
    try:
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, batches))
    finally:
        torch.set_num_threads(cores)


# ---- churn -----------------------------------------------------------------------------------------------------------


def churn_probabilities(model: ChurnTransformer, arrays: CohortArrays, rows: np.ndarray | None = None) -> np.ndarray:
    """(N,) float64 churn probabilities of the customers `rows` (None: all), in their order."""
    rows = np.arange(len(arrays)) if rows is None else rows
    device = model.output.weight.device
    out = np.empty(len(rows))

    @torch.inference_mode()
    def score(at: np.ndarray) -> None:
        logits, _ = model(churn_batch(arrays, rows[at], model).to(device))
        out[at] = torch.sigmoid(logits.double()).cpu().numpy()

    batches = _by_length(arrays.n_history[rows], most=max(1, CHURN_ROWS // model.config.n_members))
    _side_by_side(score, batches, device)
    return out


# ---- sequences -------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def sequence_predictions(model: SequenceTransformer, arrays: CohortArrays, found: Outcomes) -> SequencePredictions:
    """How the model does on customers whose outcome is known; plans are decoded with repeats allowed.

    rank counts the actions that score higher than the true next one, and those that score the same but have a lower id.
    """
    n = len(found.rows)
    log_p, rank = np.zeros((n, N_STEPS)), np.zeros(n, np.int64)
    plans = np.zeros((n, N_STEPS), np.int64)
    plan_p = np.zeros(n)
    steps = true_steps(arrays.events, found)
    for at in _by_length(found.n_history, model.n_actions):
        scores, own = outcome_log_p(model, arrays, found, at)
        target = (own - 1).clamp(min=0)[..., None]
        log_p[at] = torch.where(own > 0, scores.gather(2, target).squeeze(-1), 0.0).double().cpu().numpy()
        first, true = scores[:, 0], target[:, 0]
        value = first.gather(1, true)
        ties = (first == value) & (torch.arange(model.n_actions, device=first.device) < true)
        rank[at] = ((first > value) | ties).sum(dim=1).cpu().numpy()
        batch = history_batch(arrays, found.rows[at], found.n_history[at], model.config.max_events)
        decoded = _decode(model, batch, torch.from_numpy(found.n_history[at]), _Allowed.everything(len(at), model))
        plans[at], plan_p[at] = decoded.actions, decoded.plan_p
    return SequencePredictions(
        customer_id=arrays.customer_id[found.rows],
        n_events=found.n_history,
        actual=steps,
        plan=plans,
        plan_p=plan_p,
        actual_log_p=log_p,
        rank=rank,
    )


def decode_plans(
    model: SequenceTransformer, arrays: CohortArrays, encoder: FeatureEncoder, rows: np.ndarray | None = None
) -> DecodedPlans:
    """The most probable plan for use of each customer: no action twice, none had already that cannot be repeated.

    Retention actions are not proposed either: whether they are due is the policy's decision, not the model's.
    """
    rows = np.arange(len(arrays)) if rows is None else rows

    @torch.inference_mode()
    def decode(at: np.ndarray) -> DecodedPlans:
        chosen, stops = rows[at], arrays.n_history[rows[at]]
        batch = history_batch(arrays, chosen, stops, model.config.max_events)
        return _decode(model, batch, torch.from_numpy(stops), _Allowed.for_use(model, arrays, encoder, chosen))

    batches = _by_length(arrays.n_history[rows], model.n_actions)
    made = _side_by_side(decode, batches, model.action.weight.device)
    return _in_order(list(zip(batches, made, strict=True)), len(rows))


def score_customers(
    sequence: SequenceTransformer | None, churn: ChurnTransformer | None, arrays: CohortArrays, encoder: FeatureEncoder
) -> CustomerScores:
    """Churn probability and plan for use of every customer; what the run has no model for is NaN or None."""
    n = len(arrays)
    return CustomerScores(
        customer_id=arrays.customer_id,
        churn_p=np.full(n, np.nan) if churn is None else churn_probabilities(churn, arrays),
        n_events=arrays.n_history,
        plans=None if sequence is None else decode_plans(sequence, arrays, encoder),
    )


def _by_length(lengths: np.ndarray, n_actions: int = 1, most: int = SCORING_BATCH) -> list[np.ndarray]:
    """Positions cut into batches of like length, so that little of a batch is padding."""
    order = np.argsort(lengths, kind="stable")
    size = max(1, min(most, SCORES_AT_ONCE // (WIDE * n_actions)))
    return [order[k : k + size] for k in range(0, len(order), size)]


def _in_order(made: list[tuple[np.ndarray, DecodedPlans]], n: int) -> DecodedPlans:
    """Batches of decoded plans put back into the order of the customers."""
    place = np.empty(n, np.int64)
    if made:
        place[np.concatenate([at for at, _ in made])] = np.arange(n)
    fields = {}
    for name, shape in (
        ("actions", (0, 3)),
        ("step_p", (0, 3)),
        ("plan_p", (0,)),
        ("runner_up", (0, 3)),
        ("runner_up_p", (0, 3)),
    ):
        fields[name] = np.concatenate([getattr(plans, name) for _, plans in made] or [np.zeros(shape)])[place]
    return DecodedPlans(**fields)


# ---- decoding --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Allowed:
    """Which actions may stand in a plan. first: (B, A) bool; repeats: whether one may stand there twice."""

    first: Tensor
    repeats: bool

    @classmethod
    def everything(cls, n: int, model: SequenceTransformer) -> _Allowed:
        device = model.action.weight.device
        return cls(first=torch.ones(n, model.n_actions, dtype=torch.bool, device=device), repeats=True)

    @classmethod
    def for_use(
        cls, model: SequenceTransformer, arrays: CohortArrays, encoder: FeatureEncoder, rows: np.ndarray
    ) -> _Allowed:
        allowed = np.tile(np.array([kind != "retention" for kind in encoder.kinds]), (len(rows), 1))
        once = ~np.array(encoder.repeatable)
        if once.any():
            # All of the history counts, not only the window that the model sees.
            counts = arrays.n_history[rows]
            ends = np.cumsum(counts)
            at = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
                arrays.events.starts[rows] - (ends - counts), counts
            )
            had = arrays.events.action[at] - 1
            who = np.repeat(np.arange(len(rows)), counts)
            allowed[who[once[had]], had[once[had]]] = False
        return cls(first=torch.from_numpy(allowed).to(model.action.weight.device), repeats=False)


def _decode(model: SequenceTransformer, batch: SequenceBatch, n_history: Tensor, allowed: _Allowed) -> DecodedPlans:
    """The most probable three steps by beam search over one encoded history.

    The history is encoded once. Then the W candidates of a step are appended as W positions that see the history, their
    own forerunners and themselves, but not each other: one small pass per step instead of W passes over everything.
    """
    device = model.action.weight.device
    batch = batch.to(device)
    length = n_history.clamp(max=model.config.max_events).to(device)
    last = length - 1 + model.n_front
    # Without a profile token there is nothing to look at before the first event; such customers get a fallback plan.
    read = last.clamp(min=0)[:, None]
    encoded, recent = model(batch, read=read), picked(model.recent_actions(batch.action), read)[:, 0]
    n_positions = batch.action.shape[1] + model.n_front
    history = _History(
        length=length,
        seen=torch.arange(n_positions, device=device) <= last[:, None],
        past=encoded.past,
        recent=recent,
        first_logits=model.logits(encoded.hidden[:, 0], recent),
        allowed=allowed,
    )
    found = _search(model, history, NARROW)
    unsure = (found.total[:, 0] < found.cut).nonzero()[:, 0]
    plans = found.result()
    if not len(unsure):
        return plans
    better = _search(model, history.of(unsure), WIDE, found.total[unsure, 0] - ROUNDING)
    return _replaced(plans, unsure, better.result())


def _search(model: SequenceTransformer, history: _History, width: int, least: Tensor | None = None) -> _Beam:
    """The best plan of each customer (a beam of one) among those that `width` candidates per step lead to.

    least (B,): log-probability that the best plan is known to have; what falls below it is not followed.
    """
    beam = _Beam.start(history.first_logits, history.allowed, width).above(least)
    seen, past, ancestors = history.seen, history.past, None
    for step in range(1, N_STEPS):
        # After the last step only the best plan is asked for.
        keep = width if step < N_STEPS - 1 else 1
        seen, ancestors = beam.visible(seen, ancestors)
        recent = history.recent_after(beam.actions)
        logits, past = _advance(model, recent, history.length + step - 1, past, seen)
        beam = beam.extend(logits, history.allowed, keep).above(least)
    return beam


def _replaced(plans: DecodedPlans, at: Tensor, by: DecodedPlans) -> DecodedPlans:
    """The plans with those of the customers `at` replaced."""
    rows = at.cpu().numpy()
    for name, own in vars(plans).items():
        own[rows] = getattr(by, name)
    return plans


def _advance(
    model: SequenceTransformer, recent: Tensor, position: Tensor, past: list[KeyValue], seen: Tensor
) -> tuple[Tensor, list[KeyValue]]:
    """Logits (B, W, A) after recent (B, W, R), whose last events are new; position (B,), seen (B, W, P + W)."""
    actions = recent[..., -1]
    unknown = torch.full(actions.shape, torch.nan, device=actions.device)
    x = model.embed(actions, unknown, unknown, position[:, None].expand_as(actions))
    out = model.run_blocks(x, seen[:, None], past)
    return model.logits(out.hidden, recent), out.past


@dataclass(frozen=True, kw_only=True)
class _History:
    """What a search starts from: length (B,) events, which positions are seen (B, P), the latest actions (B, R), keys
    and values per block, the scores of the first step (B, A), and what may stand in a plan."""

    length: Tensor
    seen: Tensor
    recent: Tensor
    past: list[KeyValue]
    first_logits: Tensor
    allowed: _Allowed

    def recent_after(self, steps: Tensor) -> Tensor:
        """(B, W, R) the latest actions once the steps (B, W, s) of each candidate plan are taken."""
        n_recent = self.recent.shape[1]
        before = self.recent[:, None].expand(-1, steps.shape[1], -1)
        return torch.cat([before, steps], dim=2)[..., -n_recent:]

    def of(self, rows: Tensor) -> _History:
        """The same of some customers."""
        return _History(
            length=self.length[rows],
            seen=self.seen[rows],
            recent=self.recent[rows],
            past=[KeyValue(past.key[rows], past.value[rows]) for past in self.past],
            first_logits=self.first_logits[rows],
            allowed=_Allowed(first=self.allowed.first[rows], repeats=self.allowed.repeats),
        )


@dataclass(frozen=True, kw_only=True)
class _Beam:
    """The W best partial plans per customer, best first.

    actions (B, W, s) ids; step_log_p (B, W, s); total (B, W) log-probability of the plan so far; parent (B, W) place in
    the previous beam; runner_up (B, W, s) and its log-probability; cut (B,) log-probability of the best partial plan
    that did not stay in the beam at any step. No plan that it could have led to is more probable than itself, so a
    finished plan that is at least as probable is the best there is.
    """

    actions: Tensor
    step_log_p: Tensor
    total: Tensor
    parent: Tensor
    runner_up: Tensor
    runner_up_log_p: Tensor
    cut: Tensor

    @classmethod
    def start(cls, logits: Tensor, allowed: _Allowed, width: int) -> _Beam:
        """The `width` best first steps from logits (B, A)."""
        n = len(logits)
        nothing = torch.zeros(n, 1, 0, device=logits.device)
        empty = cls(
            actions=nothing.long(),
            step_log_p=nothing,
            total=torch.zeros(n, 1, device=logits.device),
            parent=torch.zeros(n, 1, dtype=torch.long, device=logits.device),
            runner_up=nothing.long(),
            runner_up_log_p=nothing,
            cut=torch.full((n,), -torch.inf, device=logits.device),
        )
        return empty.extend(logits[:, None], allowed, width)

    def extend(self, logits: Tensor, allowed: _Allowed, keep: int) -> _Beam:
        """The `keep` best plans that are one step longer, from logits (B, W, A) after each candidate."""
        action, log_p = self._best_next(logits, allowed, keep + 1)
        n, width, n_next = log_p.shape
        # Where no action is left, "none" (id 0) follows at no cost, so that the steps before it still count.
        used_up = ~torch.isfinite(log_p[..., :1])
        cost = torch.cat([log_p[..., :1].masked_fill(used_up, 0.0), log_p[..., 1:]], dim=2)
        total, index = (self.total[..., None] + cost).flatten(1).topk(min(keep + 1, width * n_next), dim=1)
        cut = torch.maximum(self.cut, total[:, keep]) if keep < total.shape[1] else self.cut
        total, index = total[:, :keep], index[:, :keep]
        rows = torch.arange(n, device=logits.device)[:, None]
        parent, place = index // n_next, index % n_next
        # The best action that was not chosen: the second where the best was, else the best.
        other = (place == 0).long()

        def grow(old: Tensor, table: Tensor, at: Tensor) -> Tensor:
            return torch.cat([old[rows, parent], table[rows, parent, at][..., None]], dim=2)

        return _Beam(
            actions=grow(self.actions, action, place),
            step_log_p=grow(self.step_log_p, log_p, place),
            total=total,
            parent=parent,
            runner_up=grow(self.runner_up, action, other),
            runner_up_log_p=grow(self.runner_up_log_p, log_p, other),
            cut=cut,
        )

    def above(self, least: Tensor | None) -> _Beam:
        """The beam cut where nobody's plan is as probable as their `least` (B,) any more."""
        if least is None:
            return self
        width = max(1, int((self.total >= least[:, None]).sum(dim=1).max()))
        return _Beam(**{name: own if name == "cut" else own[:, :width] for name, own in vars(self).items()})

    def _best_next(self, logits: Tensor, allowed: _Allowed, count: int) -> tuple[Tensor, Tensor]:
        """Ids and log-probabilities (B, W, K) of each candidate's `count` best next actions, best first; id 0 and -inf
        after the last one that is allowed. The others can neither enter the beam nor be a runner-up."""
        log_sum = logits.logsumexp(dim=-1, keepdim=True)
        usable = logits.masked_fill(~allowed.first[:, None], -torch.inf)
        if not allowed.repeats and self.actions.shape[2]:
            # Where a step is 0 nothing was left anyway: it does no harm that this closes action 1.
            usable.scatter_(2, (self.actions - 1).clamp(min=0), -torch.inf)
        best, index = usable.topk(min(count, usable.shape[2]), dim=2)
        action = torch.where(torch.isfinite(best), index + 1, 0)
        # A last column of none: with a single action, the runner-up must still be somewhere.
        return F.pad(action, (0, 1)), F.pad(best - log_sum, (0, 1), value=-torch.inf)

    def visible(self, seen: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """What each candidate may look at: what its forerunner saw, and itself. Returns (B, W, P + W), twice."""
        n, width = self.parent.shape
        rows = torch.arange(n, device=seen.device)[:, None]
        old = seen[:, None].expand(n, width, -1) if before is None else before[rows, self.parent]
        own = torch.eye(width, dtype=torch.bool, device=seen.device).expand(n, -1, -1)
        now = torch.cat([old, own], dim=2)
        return now, now

    def result(self) -> DecodedPlans:
        """The best plan of each customer as numpy arrays."""
        first = {
            name: getattr(self, name)[:, 0].cpu().numpy()
            for name in ("actions", "step_log_p", "runner_up", "runner_up_log_p")
        }
        step_p = np.exp(first["step_log_p"].astype(np.float64))
        return DecodedPlans(
            actions=first["actions"],
            step_p=step_p,
            plan_p=step_p.prod(axis=1),
            runner_up=first["runner_up"],
            runner_up_p=np.exp(first["runner_up_log_p"].astype(np.float64)),
        )
