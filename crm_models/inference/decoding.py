"""Decoding: churn probabilities and most probable plans from trained models; independent of how customers are batched.

Letters: N customers, B batch, A actions, W beam width (candidate plans kept), P positions of the encoded history.
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
from crm_models.core.schema import N_STEPS, PlanFor
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Outcomes, true_steps
from crm_models.models.batches import churn_batch, history_batch
from crm_models.models.blocks import KeyValue, picked
from crm_models.models.churn import ChurnTransformer
from crm_models.models.sequence import SequenceBatch, SequenceTransformer
from crm_models.training.objectives import outcome_log_p

SCORING_BATCH = 256
"""Customers per batch: small enough for the processor's cache, large enough for the overhead of its many small steps.
(512 are hardly faster and take more memory, 768 are slower.)"""

CHURN_ROWS = 512
"""Customers x ensemble members per batch, for the same reasons."""

NARROW, WIDE = 4, 16
"""Beam widths: narrow for all customers, then wide for those where a pruned plan might have been better.
With up to sixteen actions, the wide search tries every first step and the sixteen best first pairs."""

PAIRS = 64
"""First pairs of steps that the probabilities of the third step are summed over."""

ROUNDING = 1e-4
"""Upper limit of the difference between the same log-probability computed in different batches."""

SCORES_AT_ONCE = 8_000_000
"""Most scores (customers x candidates x actions) in memory while decoding, 32 MB: many actions mean smaller batches."""

Result = TypeVar("Result")


def _in_parallel(work: Callable[[np.ndarray], Result], batches: list[np.ndarray], device: torch.device) -> list[Result]:
    """Results of `work` for each batch, in order; on the CPU, batches run in parallel with one thread each.

    Batches that fit the cache are too small to be split between cores, and the number of threads changes no digit.
    """
    cores = torch.get_num_threads()
    if device.type != "cpu" or cores < 2:
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
    _in_parallel(score, batches, device)
    return out


# ---- sequences -------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def sequence_predictions(
    model: SequenceTransformer, arrays: CohortArrays, found: Outcomes, decode: bool = True
) -> SequencePredictions:
    """Predictions for customers with a known outcome, for evaluation; plans are decoded with repeats allowed.

    decode: whether to decode plans and single steps; without, both hold the most probable next action and nothing after
    it.
    rank: number of actions with a higher score than the true next one, plus those with the same score and a lower id.
    """
    n = len(found.rows)
    log_p, rank = np.zeros((n, N_STEPS)), np.zeros(n, np.int64)
    plans, single = np.zeros((n, N_STEPS), np.int64), np.zeros((n, N_STEPS), np.int64)
    plan_p = np.zeros(n)
    steps = true_steps(arrays.events, found)
    for at in _by_length(found.n_history, model.n_actions):
        scores, true_ids = outcome_log_p(model, arrays, found, at)
        target = (true_ids - 1).clamp(min=0)[..., None]
        log_p[at] = torch.where(true_ids > 0, scores.gather(2, target).squeeze(-1), 0.0).double().cpu().numpy()
        first, true = scores[:, 0], target[:, 0]
        value = first.gather(1, true)
        ties = (first == value) & (torch.arange(model.n_actions, device=first.device) < true)
        rank[at] = ((first > value) | ties).sum(dim=1).cpu().numpy()
        if not decode:
            best = first.softmax(dim=1).max(dim=1)
            plans[at, 0] = single[at, 0] = best.indices.cpu().numpy() + 1
            plan_p[at] = best.values.double().cpu().numpy()
            continue
        batch = history_batch(arrays, found.rows[at], found.n_history[at], model.config.max_events)
        history = _encoded(model, batch, found.n_history[at], _Allowed.everything(len(at), model))
        decoded = _best_plans(model, history)
        plans[at], plan_p[at] = decoded.actions, decoded.plan_p
        single[at] = _single_steps(model, history).actions
    return SequencePredictions(
        customer_id=arrays.customer_id[found.rows],
        n_events=found.n_history,
        actual=steps,
        plan=plans,
        plan_p=plan_p,
        actual_log_p=log_p,
        rank=rank,
        single_steps=single,
    )


def decode_plans(
    model: SequenceTransformer,
    arrays: CohortArrays,
    encoder: FeatureEncoder,
    rows: np.ndarray | None = None,
    plan_for: PlanFor = "whole",
    dropped: np.ndarray | None = None,
) -> DecodedPlans:
    """The most probable usable plan of each customer (rows None: all).

    plan_for: `whole` is the plan that is most probable as a whole; `steps` has at each step the action that is most
    probable there, whatever the other steps turn out to be. Retention actions are not proposed, because the policy
    decides on them, not the model. dropped (len(rows), A) bool: actions that a campaign's rules forbid.

    DIFF from paper, Integration for CRM: no action occurs twice in a plan, and a non-repeatable action the customer has
    already had (a film, a product) is not proposed; the paper puts no such limits on a plan.
    """
    rows = np.arange(len(arrays)) if rows is None else rows

    @torch.inference_mode()
    def decode(at: np.ndarray) -> DecodedPlans:
        batch_rows, stops = rows[at], arrays.n_history[rows[at]]
        batch = history_batch(arrays, batch_rows, stops, model.config.max_events)
        forbidden = None if dropped is None else dropped[at]
        allowed = _Allowed.for_use(model, arrays, encoder, batch_rows, forbidden)
        history = _encoded(model, batch, stops, allowed)
        return _best_plans(model, history) if plan_for == "whole" else _single_steps(model, history)

    batches = _by_length(arrays.n_history[rows], model.n_actions)
    decoded = _in_parallel(decode, batches, model.action.weight.device)
    return _in_order(list(zip(batches, decoded, strict=True)), len(rows))


def step_probabilities(model: SequenceTransformer, arrays: CohortArrays, steps: np.ndarray) -> np.ndarray:
    """(N, 3) probability of each step (ids (N, 3)) after the history and the steps before it; NaN where it is none."""
    out = np.empty(steps.shape)

    @torch.inference_mode()
    def score(at: np.ndarray) -> None:
        stops = arrays.n_history[at]
        batch = history_batch(arrays, at, stops, model.config.max_events)
        history = _encoded(model, batch, stops, _Allowed.everything(len(at), model))
        given = torch.from_numpy(steps[at]).to(model.action.weight.device)
        out[at] = _step_log_p(model, history, given).double().exp().cpu().numpy()

    _in_parallel(score, _by_length(arrays.n_history, model.n_actions), model.action.weight.device)
    return np.where(steps > 0, out, np.nan)


def score_customers(
    sequence: SequenceTransformer | None,
    churn: ChurnTransformer | None,
    arrays: CohortArrays,
    encoder: FeatureEncoder,
    plan_for: PlanFor = "whole",
) -> CustomerScores:
    """Churn probability and usable plan of every customer; NaN or None where the run has no model."""
    n = len(arrays)
    return CustomerScores(
        customer_id=arrays.customer_id,
        churn_p=np.full(n, np.nan) if churn is None else churn_probabilities(churn, arrays),
        n_events=arrays.n_history,
        plans=None if sequence is None else decode_plans(sequence, arrays, encoder, plan_for=plan_for),
    )


def _by_length(lengths: np.ndarray, n_actions: int = 1, most: int = SCORING_BATCH) -> list[np.ndarray]:
    """Batches of positions with similar lengths, so that there is little padding."""
    order = np.argsort(lengths, kind="stable")
    size = max(1, min(most, SCORES_AT_ONCE // (WIDE * n_actions)))
    return [order[k : k + size] for k in range(0, len(order), size)]


def _in_order(decoded: list[tuple[np.ndarray, DecodedPlans]], n: int) -> DecodedPlans:
    """Batches of decoded plans, concatenated in the order of the customers."""
    place = np.empty(n, np.int64)
    if decoded:
        place[np.concatenate([at for at, _ in decoded])] = np.arange(n)
    fields = {}
    for name, shape in (
        ("actions", (0, 3)),
        ("step_p", (0, 3)),
        ("plan_p", (0,)),
        ("runner_up", (0, 3)),
        ("runner_up_p", (0, 3)),
    ):
        fields[name] = np.concatenate([getattr(plans, name) for _, plans in decoded] or [np.zeros(shape)])[place]
    return DecodedPlans(**fields)


# ---- decoding --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Allowed:
    """Actions allowed in a plan. first: (B, A) bool; repeats: whether an action may occur twice."""

    first: Tensor
    repeats: bool

    @classmethod
    def everything(cls, n: int, model: SequenceTransformer) -> _Allowed:
        device = model.action.weight.device
        return cls(first=torch.ones(n, model.n_actions, dtype=torch.bool, device=device), repeats=True)

    @classmethod
    def for_use(
        cls,
        model: SequenceTransformer,
        arrays: CohortArrays,
        encoder: FeatureEncoder,
        rows: np.ndarray,
        dropped: np.ndarray | None = None,
    ) -> _Allowed:
        allowed = np.tile(np.array([kind != "retention" for kind in encoder.kinds]), (len(rows), 1))
        once = ~np.array(encoder.repeatable)
        if once.any():
            # The full history counts, not only the window that the model sees.
            counts = arrays.n_history[rows]
            ends = np.cumsum(counts)
            at = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
                arrays.events.starts[rows] - (ends - counts), counts
            )
            past_actions = arrays.events.action[at] - 1
            customer = np.repeat(np.arange(len(rows)), counts)
            excluded = once[past_actions]
            allowed[customer[excluded], past_actions[excluded]] = False
        if dropped is not None:
            allowed &= ~dropped
        return cls(first=torch.from_numpy(allowed).to(model.action.weight.device), repeats=False)


def _encoded(model: SequenceTransformer, batch: SequenceBatch, n_history: np.ndarray, allowed: _Allowed) -> _History:
    """The histories of a batch, encoded once; n_history (B,) counts all events, also those before the window."""
    device = model.action.weight.device
    batch = batch.to(device)
    length = torch.from_numpy(n_history).clamp(max=model.config.max_events).to(device)
    last = length - 1 + model.n_front
    # Without events and profile token there is nothing to attend to; such customers get a fallback plan.
    read = last.clamp(min=0)[:, None]
    encoded, recent = model(batch, read=read), picked(model.recent_actions(batch.action), read)[:, 0]
    n_positions = batch.action.shape[1] + model.n_front
    return _History(
        length=length,
        seen=torch.arange(n_positions, device=device) <= last[:, None],
        past=encoded.past,
        recent=recent,
        first_logits=model.logits(encoded.hidden[:, 0], recent),
        allowed=allowed,
    )


def _best_plans(model: SequenceTransformer, history: _History) -> DecodedPlans:
    """The most probable three steps of each customer, by beam search.

    The W candidates of a step are appended as W positions that attend to the history, to their ancestors and to
    themselves, but not to each other: one small pass per step instead of W full passes.

    DIFF from paper, Integration for CRM: the paper predicts "the next best action" step by step; beam search finds the
    most probable plan as a whole, which greedy steps can miss.
    """
    beam = _search(model, history, (NARROW, NARROW, 1))
    unsure = (beam.total[:, 0] < beam.cut).nonzero()[:, 0]
    plans = beam.result()
    if not len(unsure):
        return plans
    better = _search(model, history.of(unsure), (WIDE, WIDE, 1), beam.total[unsure, 0] - ROUNDING)
    return _replaced(plans, unsure, better.result())


def _single_steps(model: SequenceTransformer, history: _History) -> DecodedPlans:
    """The most probable action of each step by itself.

    Its probability is summed over the most probable steps before it: `WIDE` first steps, `PAIRS` first pairs. With up
    to sixteen actions that is exact for the second step, and for the third but for the least probable pairs.
    """
    by_step: list[Tensor] = []
    _search(model, history, (WIDE, PAIRS, 1), by_step=by_step)
    steps: dict[str, list[Tensor]] = {"actions": [], "step_p": [], "runner_up": [], "runner_up_p": []}
    chosen = torch.zeros(len(history.length), 0, dtype=torch.long, device=history.length.device)
    for log_p in by_step:
        if not history.allowed.repeats and chosen.shape[1]:
            log_p = log_p.scatter(1, (chosen - 1).clamp(min=0), -torch.inf)
        # Two columns of "none": with a single action there must still be a runner-up.
        best, index = F.pad(log_p, (0, 2), value=-torch.inf).topk(2, dim=1)
        ids = torch.where(torch.isfinite(best), index + 1, 0)
        chosen = torch.cat([chosen, ids[:, :1]], dim=1)
        for name, values in (("actions", ids[:, 0]), ("step_p", best[:, 0].exp())):
            steps[name].append(values)
        for name, values in (("runner_up", ids[:, 1]), ("runner_up_p", best[:, 1].exp())):
            steps[name].append(values)
    arrays = {name: torch.stack(values, dim=1).cpu().numpy() for name, values in steps.items()}
    for name in ("step_p", "runner_up_p"):
        arrays[name] = arrays[name].astype(np.float64)
    together = _step_log_p(model, history, chosen).sum(dim=1).double().exp().cpu().numpy()
    return DecodedPlans(plan_p=together, **arrays)


def _step_log_p(model: SequenceTransformer, history: _History, steps: Tensor) -> Tensor:
    """(B, 3) log-probability of each of the steps (B, 3) after the steps before it; 0 for a step that is none (0)."""
    seen, past, logits = history.seen[:, None], history.past, history.first_logits[:, None]
    by_step = []
    for step in range(N_STEPS):
        action = steps[:, step, None]
        log_p = logits[:, 0].log_softmax(dim=-1).gather(1, (action - 1).clamp(min=0))[:, 0]
        by_step.append(log_p.masked_fill(action[:, 0] == 0, 0.0))
        if step < N_STEPS - 1:
            seen = F.pad(seen, (0, 1), value=True)
            recent = history.recent_after(steps[:, None, : step + 1])
            logits, past = _advance(model, recent, history.length + step, past, seen)
    return torch.stack(by_step, dim=1)


def _search(
    model: SequenceTransformer,
    history: _History,
    widths: tuple[int, int, int],
    least: Tensor | None = None,
    by_step: list[Tensor] | None = None,
) -> _Beam:
    """Beam search with widths[k] candidates after step k; the beam of finished plans, best first.

    least (B,): lower limit of the best plan's log-probability; partial plans below it are pruned. by_step: takes the
    log-probabilities (B, A) of the actions at each step, summed over the candidates before it.
    """
    logits, beam = history.first_logits[:, None], _Beam.empty(history.first_logits)
    seen, past, ancestors = history.seen, history.past, None
    for step, keep in enumerate(widths):
        if step:
            seen, ancestors = beam.visible(seen, ancestors)
            recent = history.recent_after(beam.actions)
            logits, past = _advance(model, recent, history.length + step - 1, past, seen)
        if by_step is not None:
            by_step.append(beam.log_p_of_next(logits, history.allowed))
        beam = beam.extend(logits, history.allowed, keep).above(least)
    return beam


def _replaced(plans: DecodedPlans, at: Tensor, by: DecodedPlans) -> DecodedPlans:
    """The plans, with those of the customers `at` replaced."""
    rows = at.cpu().numpy()
    for name, values in vars(plans).items():
        values[rows] = getattr(by, name)
    return plans


def _advance(
    model: SequenceTransformer, recent: Tensor, position: Tensor, past: list[KeyValue], seen: Tensor
) -> tuple[Tensor, list[KeyValue]]:
    """Logits (B, W, A) after recent (B, W, R), whose last actions are new; position (B,), seen (B, W, P + W)."""
    actions = recent[..., -1]
    unknown = torch.full(actions.shape, torch.nan, device=actions.device)
    position = position[:, None].expand_as(actions)
    out = model.run_blocks(model.embed(actions, unknown, unknown, position), position, seen[:, None], past)
    return model.logits(out.hidden, recent), out.past


@dataclass(frozen=True, kw_only=True)
class _History:
    """Encoded histories, from which a search starts.

    length (B,): number of events. seen (B, P): real positions. recent (B, R): latest actions. past: keys and values per
    block. first_logits (B, A): logits of the first step. allowed: actions allowed in a plan.
    """

    length: Tensor
    seen: Tensor
    recent: Tensor
    past: list[KeyValue]
    first_logits: Tensor
    allowed: _Allowed

    def recent_after(self, steps: Tensor) -> Tensor:
        """(B, W, R) latest actions after the steps (B, W, s) of each candidate plan."""
        n_recent = self.recent.shape[1]
        before = self.recent[:, None].expand(-1, steps.shape[1], -1)
        return torch.cat([before, steps], dim=2)[..., -n_recent:]

    def of(self, rows: Tensor) -> _History:
        """The histories of some customers."""
        return _History(
            length=self.length[rows],
            seen=self.seen[rows],
            recent=self.recent[rows],
            past=[KeyValue(block.key[rows], block.value[rows]) for block in self.past],
            first_logits=self.first_logits[rows],
            allowed=_Allowed(first=self.allowed.first[rows], repeats=self.allowed.repeats),
        )


@dataclass(frozen=True, kw_only=True)
class _Beam:
    """The W best partial plans per customer, best first.

    actions (B, W, s): ids; step_log_p (B, W, s). total (B, W): log-probability of the plan so far. parent (B, W): index
    in the previous beam. runner_up (B, W, s): ids, with runner_up_log_p. cut (B,): log-probability of the best partial
    plan pruned at any step. A pruned plan never becomes more probable, so a finished plan that is at least as
    probable as `cut` is the best of all.
    """

    actions: Tensor
    step_log_p: Tensor
    total: Tensor
    parent: Tensor
    runner_up: Tensor
    runner_up_log_p: Tensor
    cut: Tensor

    @classmethod
    def empty(cls, logits: Tensor) -> _Beam:
        """One plan without steps per customer, on the device of logits (B, A)."""
        n = len(logits)
        nothing = torch.zeros(n, 1, 0, device=logits.device)
        return cls(
            actions=nothing.long(),
            step_log_p=nothing,
            total=torch.zeros(n, 1, device=logits.device),
            parent=torch.zeros(n, 1, dtype=torch.long, device=logits.device),
            runner_up=nothing.long(),
            runner_up_log_p=nothing,
            cut=torch.full((n,), -torch.inf, device=logits.device),
        )

    def log_p_of_next(self, logits: Tensor, allowed: _Allowed) -> Tensor:
        """(B, A) log-probability of each next action, summed over the candidates, from logits (B, W, A) after each."""
        log_p = self._usable(logits, allowed) - logits.logsumexp(dim=-1, keepdim=True)
        return (self.total[..., None] + log_p).logsumexp(dim=1)

    def extend(self, logits: Tensor, allowed: _Allowed, keep: int) -> _Beam:
        """The `keep` best plans that are one step longer, from logits (B, W, A) after each candidate."""
        action, log_p = self._best_next(logits, allowed, keep + 1)
        n, width, n_next = log_p.shape
        # If no action is left, "none" (id 0) follows at no cost, so that a shorter plan stays in the beam.
        used_up = ~torch.isfinite(log_p[..., :1])
        cost = torch.cat([log_p[..., :1].masked_fill(used_up, 0.0), log_p[..., 1:]], dim=2)
        total, index = (self.total[..., None] + cost).flatten(1).topk(min(keep + 1, width * n_next), dim=1)
        cut = torch.maximum(self.cut, total[:, keep]) if keep < total.shape[1] else self.cut
        total, index = total[:, :keep], index[:, :keep]
        rows = torch.arange(n, device=logits.device)[:, None]
        parent, place = index // n_next, index % n_next
        # Runner-up: the second-best action if the best one was chosen, else the best.
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
        """The beam without the ranks at which no customer's plan reaches its `least` (B,)."""
        if least is None:
            return self
        width = max(1, int((self.total >= least[:, None]).sum(dim=1).max()))
        return _Beam(**{name: value if name == "cut" else value[:, :width] for name, value in vars(self).items()})

    def _best_next(self, logits: Tensor, allowed: _Allowed, count: int) -> tuple[Tensor, Tensor]:
        """Ids and log-probabilities (B, W, K) of each candidate's `count` best next actions, best first.

        Id 0 and -inf follow the last allowed action. Others can neither enter the beam nor be a runner-up.
        """
        log_sum = logits.logsumexp(dim=-1, keepdim=True)
        usable = self._usable(logits, allowed)
        best, index = usable.topk(min(count, usable.shape[2]), dim=2)
        action = torch.where(torch.isfinite(best), index + 1, 0)
        # A last column of "none": with a single action, the runner-up index must still be valid.
        return F.pad(action, (0, 1)), F.pad(best - log_sum, (0, 1), value=-torch.inf)

    def _usable(self, logits: Tensor, allowed: _Allowed) -> Tensor:
        """Logits (B, W, A), -inf for actions that may not follow."""
        usable = logits.masked_fill(~allowed.first[:, None], -torch.inf)
        if not allowed.repeats and self.actions.shape[2]:
            # After a step of 0 no action is left anyway, so excluding action 1 there is harmless.
            usable.scatter_(2, (self.actions - 1).clamp(min=0), -torch.inf)
        return usable

    def visible(self, seen: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attention mask of each candidate, (B, W, P + W), twice: what its parent attends to, and itself."""
        n, width = self.parent.shape
        rows = torch.arange(n, device=seen.device)[:, None]
        old = seen[:, None].expand(n, width, -1) if before is None else before[rows, self.parent]
        itself = torch.eye(width, dtype=torch.bool, device=seen.device).expand(n, -1, -1)
        mask = torch.cat([old, itself], dim=2)
        return mask, mask

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
