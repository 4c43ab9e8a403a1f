"""Search for the most probable plans after encoded histories, by beams; for single steps, by summing over plans.

Letters: B customers, A actions, W beam width (candidate plans kept), P positions of the encoded history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from crm_models.core.records import DecodedPlans
from crm_models.core.schema import N_STEPS
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.models.blocks import KeyValue, picked
from crm_models.models.runtime import most_logits
from crm_models.models.sequence import SequenceBatch, SequenceTransformer

NARROW, WIDE = 4, 16
"""Beam widths: narrow for all customers, then wide for those where a pruned plan might have been better.
With up to sixteen actions, the wide search tries every first step and the sixteen best first pairs."""

MANY_ACTIONS, WIDTH_FOR_MANY = 5_000, 8
"""With more actions than that there is one search, of this width: sixteen take twice the time for 7 % other plans."""

BLOCK = 128
"""Actions whose largest logit is looked for first."""

PAIRS = 64
"""First pairs of steps that the probabilities of the third step are summed over."""

ROUNDING = 1e-4
"""Upper limit of the difference between the same log-probability computed in different batches."""

SCORES_AT_ONCE = 500_000
"""Logits (customers x candidates x actions) computed at once, 2 MB: with many actions they must stay in the cache."""


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """Actions allowed in a plan. first: (B, A), 0, or -inf where one is not; repeats: whether one may occur twice."""

    first: Tensor
    repeats: bool

    @classmethod
    def everything(cls, n: int, model: SequenceTransformer) -> Allowed:
        """All actions, for n customers, also repeatedly: for evaluation."""
        device = model.action.weight.device
        return cls(first=torch.zeros(n, model.n_actions, device=device), repeats=True)

    @classmethod
    def for_use(
        cls,
        model: SequenceTransformer,
        arrays: CohortArrays,
        encoder: FeatureEncoder,
        rows: np.ndarray,
        dropped: np.ndarray | None = None,
    ) -> Allowed:
        """The actions that may be proposed to the customers `rows`; see `decode_plans`."""
        first = np.tile(
            np.array([-np.inf if kind == "retention" else 0.0 for kind in encoder.kinds], np.float32), (len(rows), 1)
        )
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
            first[customer[excluded], past_actions[excluded]] = -np.inf
        if dropped is not None:
            first[dropped] = -np.inf
        return cls(first=torch.from_numpy(first).to(model.action.weight.device), repeats=False)


def encoded_histories(
    model: SequenceTransformer, batch: SequenceBatch, n_history: np.ndarray, allowed: Allowed
) -> History:
    """The histories of a batch, encoded once; n_history (B,) counts all events, also those before the window."""
    device = model.action.weight.device
    batch = batch.to(device)
    length = torch.from_numpy(n_history).clamp(max=model.config.max_events).to(device)
    last = length - 1 + model.n_front
    # Without events and profile token there is nothing to attend to; such customers get a fallback plan.
    read = last.clamp(min=0)[:, None]
    encoded, recent = model(batch, read=read), picked(model.recent_actions(batch.action), read)[:, 0]
    n_positions = batch.action.shape[1] + model.n_front
    return History(
        length=length,
        seen=torch.arange(n_positions, device=device) <= last[:, None],
        past=[KeyValue(block.key.contiguous(), block.value.contiguous()) for block in encoded.past],
        last=encoded.hidden[:, 0],
        recent=recent,
        allowed=allowed,
    )


def best_plans(model: SequenceTransformer, history: History) -> DecodedPlans:
    """The most probable three steps of each customer, by beam search.

    The W candidates of a step are appended as W positions that attend to the history, to their ancestors and to
    themselves, but not to each other: one small pass per step instead of W full passes.

    DIFF from paper, Integration for CRM: the paper predicts "the next best action" step by step; beam search finds the
    most probable plan as a whole, which greedy steps can miss.
    """
    if model.n_actions > MANY_ACTIONS:
        return _search(model, history, (WIDTH_FOR_MANY, WIDTH_FOR_MANY, 1)).result()
    beam = _search(model, history, (NARROW, NARROW, 1))
    unsure = (beam.total[:, 0] < beam.cut).nonzero()[:, 0]
    plans = beam.result()
    if not len(unsure):
        return plans
    better = _search(model, history.of(unsure), (WIDE, WIDE, 1), beam.total[unsure, 0] - ROUNDING)
    return _replaced(plans, unsure, better.result())


def single_steps(model: SequenceTransformer, history: History) -> DecodedPlans:
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
    together = step_log_p(model, history, chosen).sum(dim=1).double().exp().cpu().numpy()
    return DecodedPlans(plan_p=together, **arrays)


def step_log_p(model: SequenceTransformer, history: History, steps: Tensor) -> Tensor:
    """(B, 3) log-probability of each of the steps (B, 3) after the steps before it; 0 for a step that is none (0)."""
    seen, past = history.seen[:, None], history.by_block()
    recent, hidden = history.recent[:, None], history.last[:, None]
    by_step = []
    for step in range(N_STEPS):
        log_p = _log_p_of(model, hidden[:, 0], recent[:, 0], steps[:, step])
        by_step.append(log_p)
        if step < N_STEPS - 1:
            seen = F.pad(seen, (0, 1), value=True)
            recent = history.recent_after(steps[:, None, : step + 1])
            hidden, past = _advance(model, recent, history.length + step, past, seen)
    return torch.stack(by_step, dim=1)


def _log_p_of(model: SequenceTransformer, hidden: Tensor, recent: Tensor, action: Tensor) -> Tensor:
    """(B,) log-probability of the actions (B,) after hidden states (B, D) and recent (B, R); 0 where there is none."""
    pieces = []
    for piece in torch.arange(len(action)).split(max(1, most_logits(SCORES_AT_ONCE, hidden.device) // model.n_actions)):
        log_p = model.logits(hidden[piece], recent[piece]).log_softmax(dim=-1)
        at = action[piece]
        pieces.append(log_p.gather(1, (at - 1).clamp(min=0)[:, None])[:, 0].masked_fill(at == 0, 0.0))
    return torch.cat(pieces)


def _search(
    model: SequenceTransformer,
    history: History,
    widths: tuple[int, int, int],
    least: Tensor | None = None,
    by_step: list[Tensor] | None = None,
) -> _Beam:
    """Beam search with widths[k] candidates after step k; the beam of finished plans, best first.

    least (B,): lower limit of the best plan's log-probability; partial plans below it are pruned. by_step: takes the
    log-probabilities (B, A) of the actions at each step, summed over the candidates before it.
    """
    beam, hidden, recent = _Beam.empty(history.length), history.last[:, None], history.recent[:, None]
    seen, past, ancestors = history.seen, history.by_block(), None
    for step, keep in enumerate(widths):
        if step:
            seen, ancestors = beam.visible(seen, ancestors)
            recent = history.recent_after(beam.actions)
            hidden, past = _advance(model, recent, history.length + step - 1, past, seen)
        after = _Following(model, hidden, recent, history.allowed, beam.actions)
        if by_step is not None:
            by_step.append(after.log_p(beam.total))
        beam = beam.extend(*after.best(keep + 1), keep).above(least)
    return beam


def _replaced(plans: DecodedPlans, at: Tensor, by: DecodedPlans) -> DecodedPlans:
    """The plans, with those of the customers `at` replaced."""
    rows = at.cpu().numpy()
    for name, values in vars(plans).items():
        values[rows] = getattr(by, name)
    return plans


def _advance(
    model: SequenceTransformer, recent: Tensor, position: Tensor, past: list[list[KeyValue]], seen: Tensor
) -> tuple[Tensor, list[list[KeyValue]]]:
    """Hidden states (B, W, D) after recent (B, W, R), whose last actions are new; position (B,), seen (B, W, P + W)."""
    actions = recent[..., -1]
    unknown = torch.full(actions.shape, torch.nan, device=actions.device)
    position = position[:, None].expand_as(actions)
    out = model.run_blocks(model.embed(actions, unknown, unknown, position), position, seen[:, None], past)
    return out.hidden, [[*pieces, new] for pieces, new in zip(past, out.past, strict=True)]


@dataclass(frozen=True, kw_only=True)
class History:
    """Encoded histories, from which a search starts.

    length (B,): number of events. seen (B, P): real positions. recent (B, R): latest actions. past: keys and values per
    block. last (B, D): hidden states that predict the first step. allowed: actions allowed in a plan.
    """

    length: Tensor
    seen: Tensor
    recent: Tensor
    past: list[KeyValue]
    last: Tensor
    allowed: Allowed

    def recent_after(self, steps: Tensor) -> Tensor:
        """(B, W, R) latest actions after the steps (B, W, s) of each candidate plan."""
        n_recent = self.recent.shape[1]
        before = self.recent[:, None].expand(-1, steps.shape[1], -1)
        return torch.cat([before, steps], dim=2)[..., -n_recent:]

    def by_block(self) -> list[list[KeyValue]]:
        """The pieces of the past of each block, to which steps add theirs."""
        return [[block] for block in self.past]

    def of(self, rows: Tensor) -> History:
        """The histories of some customers."""
        return History(
            length=self.length[rows],
            seen=self.seen[rows],
            recent=self.recent[rows],
            past=[KeyValue(block.key[rows], block.value[rows]) for block in self.past],
            last=self.last[rows],
            allowed=Allowed(first=self.allowed.first[rows], repeats=self.allowed.repeats),
        )


@dataclass(frozen=True)
class _Following:
    """What may follow the candidates: their hidden states (B, W, D), recent (B, W, R) and steps so far (B, W, s).

    Logits are computed for a few customers at a time and never kept: with 20,000 actions they are 5 MB a customer.
    """

    model: SequenceTransformer
    hidden: Tensor
    recent: Tensor
    allowed: Allowed
    steps: Tensor

    def best(self, count: int) -> tuple[Tensor, Tensor]:
        """Ids and log-probabilities (B, W, K) of each candidate's `count` best next actions, best first.

        Id 0 and -inf follow the last allowed action. Others can neither enter the beam nor be a runner-up.
        """
        pieces = []
        for _, usable, log_sum in self._pieces():
            best, index = _largest(usable, min(count, usable.shape[2]))
            # A last column of "none": with a single action, the runner-up index must still be valid.
            action = F.pad(torch.where(torch.isfinite(best), index + 1, 0), (0, 1))
            pieces.append((action, F.pad(best - log_sum, (0, 1), value=-torch.inf)))
        actions, log_p = zip(*pieces, strict=True)
        return torch.cat(actions), torch.cat(log_p)

    def log_p(self, total: Tensor) -> Tensor:
        """(B, A) log-probability of each next action, summed over the candidates; total (B, W): theirs."""
        return torch.cat(
            [(total[at, :, None] + usable - log_sum).logsumexp(dim=1) for at, usable, log_sum in self._pieces()]
        )

    def _pieces(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Customers, their logits (b, W, A), -inf for actions that may not follow, and logs (b, W, 1) of their sums."""
        size = max(1, most_logits(SCORES_AT_ONCE, self.hidden.device) // (self.hidden.shape[1] * self.model.n_actions))
        for start in range(0, len(self.hidden), size):
            at = slice(start, start + size)
            logits = self.model.logits(self.hidden[at], self.recent[at])
            log_sum = logits.logsumexp(dim=-1, keepdim=True)
            logits += self.allowed.first[at, None]
            if not self.allowed.repeats and self.steps.shape[2]:
                # After a step of 0 no action is left anyway, so excluding action 1 there is harmless.
                logits.scatter_(2, (self.steps[at] - 1).clamp(min=0), -torch.inf)
            yield at, logits, log_sum


def _largest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of values (b, W, A) and their indices (b, W, count), as `topk` finds them, but sooner.

    Those of the `count` blocks with the largest maxima are looked at, and what fills no block.
    """
    n_blocks = values.shape[2] // BLOCK
    if n_blocks <= count:
        return values.topk(count, dim=2)
    blocks = values[..., : n_blocks * BLOCK].unflatten(2, (n_blocks, BLOCK))
    best = blocks.amax(dim=3).topk(count, dim=2).indices[..., None] * BLOCK
    inside = (best + torch.arange(BLOCK, device=values.device)).flatten(2)
    rest = torch.arange(n_blocks * BLOCK, values.shape[2], device=values.device).expand(*values.shape[:2], -1)
    index = torch.cat([inside, rest], dim=2)
    largest, at = values.gather(2, index).topk(count, dim=2)
    return largest, index.gather(2, at)


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
    def empty(cls, like: Tensor) -> _Beam:
        """One plan without steps per customer, on the device of a tensor (B,)."""
        n, device = len(like), like.device
        nothing = torch.zeros(n, 1, 0, device=device)
        return cls(
            actions=nothing.long(),
            step_log_p=nothing,
            total=torch.zeros(n, 1, device=device),
            parent=torch.zeros(n, 1, dtype=torch.long, device=device),
            runner_up=nothing.long(),
            runner_up_log_p=nothing,
            cut=torch.full((n,), -torch.inf, device=device),
        )

    def extend(self, action: Tensor, log_p: Tensor, keep: int) -> _Beam:
        """The `keep` best plans that are one step longer, by the best next actions of each: see `_Following.best`."""
        n, width, n_next = log_p.shape
        # If no action is left, "none" (id 0) follows at no cost, so that a shorter plan stays in the beam.
        used_up = ~torch.isfinite(log_p[..., :1])
        cost = torch.cat([log_p[..., :1].masked_fill(used_up, 0.0), log_p[..., 1:]], dim=2)
        total, index = (self.total[..., None] + cost).flatten(1).topk(min(keep + 1, width * n_next), dim=1)
        cut = torch.maximum(self.cut, total[:, keep]) if keep < total.shape[1] else self.cut
        total, index = total[:, :keep], index[:, :keep]
        rows = torch.arange(n, device=log_p.device)[:, None]
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
