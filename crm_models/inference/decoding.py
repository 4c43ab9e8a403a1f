"""Decoding: churn probabilities and most probable plans from trained models; independent of how customers are batched.

Letters: N customers, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from crm_models.core.records import CustomerScores, DecodedPlans, SequencePredictions
from crm_models.core.schema import N_STEPS, PlanFor
from crm_models.data.features import CohortArrays, FeatureEncoder
from crm_models.data.split import Outcomes, true_steps
from crm_models.inference.beam import Allowed, best_plans, encoded_histories, single_steps, step_log_p
from crm_models.models.batches import CohortTensors, churn_batch, history_batch
from crm_models.models.churn import ChurnTransformer
from crm_models.models.sequence import SequenceTransformer
from crm_models.training.objectives import outcome_log_p, outcomes_at_once

SCORING_BATCH = 256
"""Customers per batch: small enough for the processor's cache, large enough for the overhead of its many small steps.
(512 are hardly faster and take more memory, 768 are slower.)"""

CHURN_ROWS = 512
"""Customers x ensemble members per batch, for the same reasons."""

CARD_BATCH = 2048
"""Customers per batch on a GPU, which needs more at once to be busy."""

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
    out, cohort = np.empty(len(rows)), CohortTensors.of(arrays, device)

    @torch.inference_mode()
    def score(at: np.ndarray) -> None:
        logits, _ = model(churn_batch(cohort, rows[at], model).to(device))
        out[at] = torch.sigmoid(logits.double()).cpu().numpy()

    size = max(1, CHURN_ROWS // model.config.n_members) if device.type == "cpu" else CARD_BATCH
    batches = _by_length(arrays.n_history[rows], size)
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
    for at in _by_length(found.n_history, outcomes_at_once(model, SCORING_BATCH)):
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
        history = encoded_histories(model, batch, found.n_history[at], Allowed.everything(len(at), model))
        decoded = best_plans(model, history)
        plans[at], plan_p[at] = decoded.actions, decoded.plan_p
        single[at] = single_steps(model, history).actions
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
    device = model.action.weight.device
    cohort = CohortTensors.of(arrays, device)

    @torch.inference_mode()
    def decode(at: np.ndarray) -> DecodedPlans:
        batch_rows, stops = rows[at], arrays.n_history[rows[at]]
        batch = history_batch(cohort, batch_rows, stops, model.config.max_events)
        forbidden = None if dropped is None else dropped[at]
        allowed = Allowed.for_use(model, arrays, encoder, batch_rows, forbidden)
        history = encoded_histories(model, batch, stops, allowed)
        return best_plans(model, history) if plan_for == "whole" else single_steps(model, history)

    batches = _by_length(arrays.n_history[rows], SCORING_BATCH if device.type == "cpu" else CARD_BATCH)
    decoded = _in_parallel(decode, batches, device)
    return _in_order(list(zip(batches, decoded, strict=True)), len(rows))


def step_probabilities(model: SequenceTransformer, arrays: CohortArrays, steps: np.ndarray) -> np.ndarray:
    """(N, 3) probability of each step (ids (N, 3)) after the history and the steps before it; NaN where it is none."""
    out = np.empty(steps.shape)

    @torch.inference_mode()
    def score(at: np.ndarray) -> None:
        stops = arrays.n_history[at]
        batch = history_batch(arrays, at, stops, model.config.max_events)
        history = encoded_histories(model, batch, stops, Allowed.everything(len(at), model))
        given = torch.from_numpy(steps[at]).to(model.action.weight.device)
        out[at] = step_log_p(model, history, given).double().exp().cpu().numpy()

    _in_parallel(score, _by_length(arrays.n_history), model.action.weight.device)
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


def _by_length(lengths: np.ndarray, size: int | None = None) -> list[np.ndarray]:
    """Batches of positions with similar lengths, so that there is little padding."""
    order, size = np.argsort(lengths, kind="stable"), size or SCORING_BATCH
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
