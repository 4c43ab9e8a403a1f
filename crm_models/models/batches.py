"""Batches: turn a cohort's arrays into the input tensors of each model.

Letters: B customers, T events, F and C numeric and categorical features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from crm_models.core.schema import N_STEPS
from crm_models.data.features import CohortArrays
from crm_models.data.split import Outcomes, true_steps
from crm_models.models.churn import ChurnBatch, ChurnTransformer
from crm_models.models.sequence import SequenceBatch


def profile_tensors(arrays: CohortArrays, rows: np.ndarray) -> dict[str, Tensor]:
    """Profile features of the customers `rows`: numeric (B, F) and categorical (B, C)."""
    numeric, categorical = torch.from_numpy(arrays.numeric[rows]), torch.from_numpy(arrays.categorical[rows])
    return {"numeric": numeric, "categorical": categorical}


def history_batch(arrays: CohortArrays, rows: np.ndarray, stops: np.ndarray, max_events: int) -> SequenceBatch:
    """Batch of histories: the last `max_events` events before position stops[b] of each customer rows[b]."""
    padded = arrays.events.padded(rows, stops, max_events, arrays.now_days)
    return SequenceBatch(
        action=torch.from_numpy(padded.action),
        gap=torch.from_numpy(padded.gap),
        value=torch.from_numpy(padded.value),
        **profile_tensors(arrays, rows),
    )


def outcome_batch(
    arrays: CohortArrays, found: Outcomes, at: np.ndarray, max_events: int
) -> tuple[SequenceBatch, Tensor, Tensor]:
    """Histories followed by the first two true steps (teacher forcing).

    Returns the batch, the ids of the true steps (B, 3), 0 if there is none, and the lengths of the histories (B,).
    Gaps and values of the steps are NaN, because they are unknown while planning.
    """
    rows, n_history = found.rows[at], found.n_history[at]
    padded = arrays.events.padded(rows, n_history, max_events, arrays.now_days)
    steps = true_steps(arrays.events, found.take(at))
    width = padded.action.shape[1]
    unknown = np.full((len(rows), N_STEPS - 1), np.nan, np.float32)
    action = np.concatenate([padded.action, np.zeros((len(rows), N_STEPS - 1), np.int64)], axis=1)
    gap, value = (np.concatenate([a, unknown], axis=1) for a in (padded.gap, padded.value))
    step_positions = padded.length[:, None] + np.arange(N_STEPS - 1)
    np.put_along_axis(action, step_positions, steps[:, :-1], axis=1)
    for context in (gap, value):
        np.put_along_axis(context, step_positions, np.float32(np.nan), axis=1)
    assert action.shape[1] == width + N_STEPS - 1
    batch = SequenceBatch(
        action=torch.from_numpy(action),
        gap=torch.from_numpy(gap),
        value=torch.from_numpy(value),
        **profile_tensors(arrays, rows),
    )
    return batch, torch.from_numpy(steps), torch.from_numpy(padded.length)


def churn_batch(arrays: CohortArrays, rows: np.ndarray, model: ChurnTransformer) -> ChurnBatch:
    """Churn model inputs of the customers `rows`, at the moment that the arrays were encoded for."""
    config = model.config
    numeric = [arrays.numeric[rows], *([arrays.behaviour[rows]] if config.use_behaviour else [])]
    n_history = arrays.n_history[rows] if config.max_events else np.zeros(len(rows), np.int64)
    padded = arrays.events.padded(rows, n_history, max(config.max_events, 1), arrays.now_days)
    return ChurnBatch(
        numeric=torch.from_numpy(np.concatenate(numeric, axis=1)),
        categorical=torch.from_numpy(arrays.categorical[rows]),
        action=torch.from_numpy(padded.action),
        age=torch.from_numpy(padded.age),
        gap=torch.from_numpy(padded.gap),
        value=torch.from_numpy(padded.value),
    )
