"""Explanations of predictions: attention maps, and the effect of removing each event or feature.

Attention alone is not an explanation (Jain and Wallace, 2019): a token can get attention without changing the
prediction. So every map comes with the effect of deleting each past event or masking each feature, and the rank
correlation of the two.

DIFF from paper, Attention Weights Visualization: the paper reads importance off attention alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from crm_models.data.cohort import Cohort, Moment, moment_days, select
from crm_models.data.events import history_counts
from crm_models.data.features import MISSING_LEVEL, CohortArrays, FeatureEncoder
from crm_models.inference.effects import AttentionMap, Effects, Explanation
from crm_models.models.batches import churn_batch, history_batch
from crm_models.models.blocks import picked
from crm_models.models.churn import ChurnBatch, ChurnTransformer
from crm_models.models.sequence import SequenceTransformer

PROFILE = "customer profile"
"""Label of the profile token in front of a history."""

BATCH = 512


# ---- one customer ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def explain_sequence(
    model: SequenceTransformer, encoder: FeatureEncoder, cohort: Cohort, row: int, moment: Moment | None = None
) -> Explanation:
    """Explanation of the most likely next action of the customer at `row`, predicted at `moment`.

    Each event of the window is deleted in turn. The customer needs at least one event, or the model a profile token.
    """
    one = select(cohort, np.array([row]))
    now = _now(cohort, moment)
    arrays = encoder.encode(one, moment, now)
    batch = history_batch(arrays, np.array([0]), arrays.n_history, model.config.max_events)
    out = model(batch.to(_device(model)), need_weights=True)
    n_events = min(int(arrays.n_history[0]), model.config.max_events)
    n_tokens = n_events + model.n_front
    recent = model.recent_actions(batch.action)[:, n_tokens - 1].to(_device(model))
    p = model.logits(out.hidden[:, n_tokens - 1], recent).softmax(dim=-1)[0]
    top = int(p.argmax())
    window = arrays.events.action[arrays.n_history[0] - n_events : arrays.n_history[0]]
    events = _event_names(window, encoder)
    weights = torch.cat(out.weights).cpu().numpy()[:, :, :n_tokens, :n_tokens]
    tokens = ([PROFILE] if model.n_front else []) + events
    attention = AttentionMap(
        model="sequence", tokens=tuple(tokens), weights=weights, reader=n_tokens - 1, n_customers=1
    )
    without = _next_p(model, encoder, _without_each_event(one, moment, n_events), moment, now)[:, top]
    return Explanation(
        attention=attention,
        effects=Effects.of(
            model="sequence",
            names=tuple(events),
            kind=("event",) * n_events,
            effect=float(p[top]) - without,
            attention=attention.read_weights()[model.n_front :],
            outcome=f"the next action is {encoder.action_labels[top]}",
            probability=float(p[top]),
        ),
    )


@torch.inference_mode()
def explain_churn(
    model: ChurnTransformer, encoder: FeatureEncoder, cohort: Cohort, row: int, moment: Moment | None = None
) -> Explanation:
    """Explanation of the churn probability of the customer at `row`, predicted at `moment`.

    Features are masked (set to missing) one at a time. Events are deleted one at a time, and recency, counts and the
    other behaviour features are recomputed without them.
    """
    one = select(cohort, np.array([row]))
    now = _now(cohort, moment)
    arrays = encoder.encode(one, moment, now)
    batch = churn_batch(arrays, np.array([0]), model).to(_device(model))
    logits, all_weights = model(batch, need_weights=True)
    p = float(torch.sigmoid(logits[0]))
    ids = [int(a) for a in batch.action[0] if a > 0] if model.use_events else []
    events = _event_names(np.array(ids, np.int64), encoder)
    tokens = ["[CLS]", *model.feature_names, *events]
    weights = torch.cat(all_weights).cpu().numpy()[:, :, : len(tokens), : len(tokens)]
    attention = AttentionMap(model="churn", tokens=tuple(tokens), weights=weights, reader=0, n_customers=1)
    masked = torch.sigmoid(model(_each_feature_masked(batch))[0]).cpu().numpy()
    effect = p - masked
    if events:
        variants = encoder.encode(_without_each_event(one, moment, len(events)), moment, now)
        effect = np.concatenate([effect, p - _churn_p(model, variants)])
    return Explanation(
        attention=attention,
        effects=Effects.of(
            model="churn",
            names=tuple(tokens[1:]),
            kind=("feature",) * len(model.feature_names) + ("event",) * len(events),
            effect=effect,
            attention=attention.read_weights()[1:],
            outcome="the customer churns",
            probability=p,
        ),
    )


# ---- averaged --------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def average_sequence(
    model: SequenceTransformer,
    encoder: FeatureEncoder,
    cohort: Cohort,
    rows: np.ndarray,
    moment: Moment | None = None,
    n_latest: int = 10,
) -> Explanation:
    """`explain_sequence` averaged over customers, for their `n_latest` latest events, aligned at the latest one.

    Only customers with at least `n_latest` events count, so that every cell is a mean over the same customers. If fewer
    than ten have as many, `n_latest` is lowered to the median length.
    """
    selected, now = select(cohort, rows), _now(cohort, moment)
    lengths = np.minimum(history_counts(selected, moment), model.config.max_events)
    if (lengths >= n_latest).sum() < 10:
        n_latest = max(1, min(n_latest, int(np.median(lengths)) if len(lengths) else 1))
    selected = select(selected, np.flatnonzero(lengths >= n_latest))
    arrays = encoder.encode(selected, moment, now)
    names = [_place(k) for k in range(n_latest, 0, -1)]
    n_front, total = model.n_front, None
    tops, probabilities = [], []
    for first in range(0, selected.n_customers, BATCH):
        at = np.arange(first, min(first + BATCH, selected.n_customers))
        batch = history_batch(arrays, at, arrays.n_history[at], model.config.max_events)
        out = model(batch.to(_device(model)), need_weights=True)
        length = torch.from_numpy(np.minimum(arrays.n_history[at], model.config.max_events)) + n_front
        batch_sum = _aligned_sum(torch.stack(out.weights, dim=1), length, n_latest, n_front)
        total = batch_sum if total is None else total + batch_sum
        hidden = out.hidden[torch.arange(len(at)), length - 1]
        recent = model.recent_actions(batch.action)[torch.arange(len(at)), length - 1].to(_device(model))
        best = model.logits(hidden, recent).softmax(dim=-1).max(dim=-1)
        tops.append(best.indices.cpu().numpy())
        probabilities.append(best.values.double().cpu().numpy())
    n = selected.n_customers
    weights = np.zeros((1, 1, n_latest + n_front, n_latest + n_front)) if total is None else total.cpu().numpy() / n
    tokens = ([PROFILE] if n_front else []) + names
    attention = AttentionMap(
        model="sequence", tokens=tuple(tokens), weights=weights, reader=len(tokens) - 1, n_customers=n
    )
    effect = np.zeros(n_latest)
    if n:
        top, p = np.concatenate(tops), np.concatenate(probabilities)
        variants = _without_each_event(selected, moment, n_latest)
        without = _next_p(model, encoder, variants, moment, now, np.repeat(top, n_latest))
        effect = np.abs(np.repeat(p, n_latest) - without).reshape(n, n_latest).mean(axis=0)
    return Explanation(
        attention=attention,
        effects=Effects.of(
            model="sequence",
            names=tuple(names),
            kind=("event",) * n_latest,
            effect=effect,
            attention=attention.read_weights()[n_front:],
            outcome="the most likely next action",
            probability=float(np.concatenate(probabilities).mean()) if n else 0.0,
        ),
    )


@torch.inference_mode()
def average_churn(
    model: ChurnTransformer, encoder: FeatureEncoder, cohort: Cohort, rows: np.ndarray, moment: Moment | None = None
) -> Explanation:
    """`explain_churn` averaged over customers, for [CLS] and features; attention to events is summed into one token."""
    selected, now = select(cohort, rows), _now(cohort, moment)
    arrays = encoder.encode(selected, moment, now)
    n, n_features = selected.n_customers, len(model.feature_names)
    tokens = ["[CLS]", *model.feature_names, *(["all past events"] if model.use_events else [])]
    width = len(tokens)
    total = np.zeros((len(model.blocks), model.config.n_heads, width, width))
    size, p_sum = np.zeros(n_features), 0.0
    for first in range(0, n, BATCH):
        at = np.arange(first, min(first + BATCH, n))
        batch = churn_batch(arrays, at, model).to(_device(model))
        logits, all_weights = model(batch, need_weights=True)
        weights = torch.stack(all_weights, dim=1).double().cpu().numpy()
        front = 1 + n_features
        columns = weights[..., :front]
        if model.use_events:
            columns = np.concatenate([columns, weights[..., front:].sum(axis=-1, keepdims=True)], axis=-1)
            is_event = (batch.action > 0).cpu().numpy()[:, None, None, :, None]
            share = is_event / np.maximum(is_event.sum(axis=3, keepdims=True), 1)
            rows_of_events = (columns[..., front:, :] * share).sum(axis=-2, keepdims=True)
            columns = np.concatenate([columns[..., :front, :], rows_of_events], axis=-2)
        total += columns.sum(axis=0)
        p = torch.sigmoid(logits)
        p_sum += float(p.sum())
        for k in range(n_features):
            size[k] += float((p - torch.sigmoid(model(_masked(batch, k))[0])).abs().sum())
    attention = AttentionMap(model="churn", tokens=tuple(tokens), weights=total / max(n, 1), reader=0, n_customers=n)
    return Explanation(
        attention=attention,
        effects=Effects.of(
            model="churn",
            names=tuple(model.feature_names),
            kind=("feature",) * n_features,
            effect=size / max(n, 1),
            attention=attention.read_weights()[1 : 1 + n_features],
            outcome="the customer churns",
            probability=p_sum / max(n, 1),
        ),
    )


# ---- helpers ---------------------------------------------------------------------------------------------------------


def _without_each_event(cohort: Cohort, moment: Moment | None, n_latest: int) -> Cohort:
    """`n_latest` copies of every customer: copy k lacks the k-th of the latest `n_latest` events before `moment`.

    The copies of a customer are consecutive, ordered from the earliest deleted event to the latest.
    """
    ends = cohort.starts[:-1] + history_counts(cohort, moment)
    rows = np.repeat(np.arange(cohort.n_customers), n_latest)
    copies = select(cohort, rows, pd.Index([str(k) for k in range(len(rows))], dtype="str"))
    deleted = (ends[:, None] - n_latest + np.arange(n_latest)).ravel()
    # The deleted event is as far from the start of its copy as from the start of its customer.
    offset = deleted - np.repeat(cohort.starts[:-1], n_latest)
    keep = np.ones(len(copies.interactions), dtype=bool)
    keep[copies.starts[:-1] + offset] = False
    return replace(copies, interactions=copies.interactions[keep].reset_index(drop=True))


def _next_p(
    model: SequenceTransformer,
    encoder: FeatureEncoder,
    cohort: Cohort,
    moment: Moment | None,
    now: float,
    actions: np.ndarray | None = None,
) -> np.ndarray:
    """(N, A) probabilities of the next action, or (N,) those of `actions`."""
    arrays = encoder.encode(cohort, moment, now)
    parts = []
    for first in range(0, len(arrays), BATCH):
        at = np.arange(first, min(first + BATCH, len(arrays)))
        batch = history_batch(arrays, at, arrays.n_history[at], model.config.max_events)
        length = torch.from_numpy(np.minimum(arrays.n_history[at], model.config.max_events)) + model.n_front
        last = (length - 1).clamp(min=0)[:, None]
        recent = picked(model.recent_actions(batch.action), last)[:, 0].to(_device(model))
        hidden = model(batch.to(_device(model)), read=last.to(_device(model))).hidden[:, 0]
        p = model.logits(hidden, recent).softmax(dim=-1)
        parts.append(p if actions is None else p[torch.arange(len(at)), torch.from_numpy(actions[at])])
    return torch.cat(parts).double().cpu().numpy() if parts else np.zeros((0, model.n_actions))


def _churn_p(model: ChurnTransformer, arrays: CohortArrays) -> np.ndarray:
    logits = model(churn_batch(arrays, np.arange(len(arrays)), model).to(_device(model)))[0]
    return torch.sigmoid(logits).double().cpu().numpy()


def _each_feature_masked(batch: ChurnBatch) -> ChurnBatch:
    """Copies of one customer (B = 1), one per feature, each with that feature set to missing."""
    n = batch.numeric.shape[1] + batch.categorical.shape[1]
    copies = ChurnBatch(**{name: value.repeat_interleave(n, dim=0) for name, value in vars(batch).items()})
    k = torch.arange(batch.numeric.shape[1])
    copies.numeric[k, k] = torch.nan
    k = torch.arange(batch.categorical.shape[1])
    copies.categorical[batch.numeric.shape[1] + k, k] = MISSING_LEVEL
    return copies


def _masked(batch: ChurnBatch, feature: int) -> ChurnBatch:
    """The batch with one feature set to missing for all customers."""
    n_numeric = batch.numeric.shape[1]
    if feature < n_numeric:
        numeric = batch.numeric.clone()
        numeric[:, feature] = torch.nan
        return replace(batch, numeric=numeric)
    categorical = batch.categorical.clone()
    categorical[:, feature - n_numeric] = MISSING_LEVEL
    return replace(batch, categorical=categorical)


def _aligned_sum(weights: Tensor, length: Tensor, n_latest: int, n_front: int) -> Tensor:
    """Sum over customers of the weights (B, L, H, T, T) at the profile token and the latest events: (L, H, M, M)."""
    positions = length[:, None] - n_latest + torch.arange(n_latest)
    if n_front:
        positions = torch.cat([torch.zeros(len(positions), 1, dtype=torch.long), positions], dim=1)
    positions = positions.to(weights.device)
    index = positions[:, None, None, :, None].expand(-1, *weights.shape[1:3], -1, weights.shape[-1])
    rows = weights.gather(3, index)
    index = positions[:, None, None, None, :].expand(-1, *weights.shape[1:3], positions.shape[1], -1)
    return rows.gather(4, index).sum(dim=0)


def _place(k: int) -> str:
    """Name of the k-th event from the end: "latest event", "2nd latest event"."""
    if k == 1:
        return "latest event"
    suffix = "th" if k % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(k % 10, "th")
    return f"{k}{suffix} latest event"


def _event_names(ids: np.ndarray, encoder: FeatureEncoder) -> list[str]:
    """Labels of events, numbered from the earliest so that equal actions are told apart on an axis."""
    return [f"{k}. {encoder.action_labels[a - 1]}" for k, a in enumerate(ids.tolist(), 1)]


def _now(cohort: Cohort, moment: Moment | None) -> float:
    """Time in days that recency is measured from: that of the whole cohort, also for a single customer."""
    if moment is not None:
        return moment_days(moment)
    return float(cohort.event_days.max()) if cohort.has_events else 0.0


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device
