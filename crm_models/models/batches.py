"""Batches: the arrays of a cohort as tensors on a device, and the inputs of each model, gathered from them there.

Letters: B customers, T events, F and C numeric and categorical features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crm_models.core.schema import N_STEPS, PADDING
from crm_models.data.features import CohortArrays
from crm_models.data.split import Outcomes
from crm_models.models.churn import ChurnBatch, ChurnTransformer
from crm_models.models.sequence import SequenceBatch

CPU = torch.device("cpu")


def placed(array: np.ndarray, device: torch.device) -> Tensor:
    """The array as a tensor on the device, without waiting until a GPU has it."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class CohortTensors:
    """The events and features of `arrays` as tensors on one device, from which batches are gathered there."""

    arrays: CohortArrays
    columns: dict[str, Tensor]

    @classmethod
    def of(cls, arrays: CohortArrays | CohortTensors, device: torch.device = CPU) -> CohortTensors:
        """On the CPU they share memory with the arrays; a GPU takes them if they need at most half of what is free."""
        if isinstance(arrays, CohortTensors):
            return arrays
        events = {name: getattr(arrays.events, name) for name in ("action", "days", "value")}
        # Padding reads place 0, so there must be one.
        events = {name: column if len(column) else np.zeros(1, column.dtype) for name, column in events.items()}
        features = {name: getattr(arrays, name) for name in ("numeric", "categorical", "behaviour")}
        columns = {name: torch.from_numpy(column) for name, column in (events | features).items()}
        size = sum(column.nbytes for column in columns.values())
        if device.type == "cuda" and 2 * size < torch.cuda.mem_get_info(device)[0]:
            columns = {name: column.to(device) for name, column in columns.items()}
        return cls(arrays, columns)

    @property
    def device(self) -> torch.device:
        """Where batches are gathered."""
        return self.columns["action"].device

    def events(self, rows: np.ndarray, stops: np.ndarray, n_events: np.ndarray, width: int) -> dict[str, Tensor]:
        """The n_events[b] events before position stops[b] of each customer rows[b], right-padded to (B, width).

        action int64: ids, PADDING after the last; gap float32: log(1 + days since the event before, which may lie
        before the window), 0 where there is none; value float32 in [0, 1], NaN if missing; days float64: when it was.
        """
        begin = stops - n_events
        index = placed(np.stack([self.arrays.events.starts[rows] + begin, begin, n_events]), self.device)
        first, begin_of, n = index[:, :, None]
        place = torch.arange(-1, max(width, 1), device=self.device)  # the event before the window too, for its time
        at = torch.where(place < n, first + place, 0).clamp_(min=0)
        days, at, place = self._column("days", at), at[:, 1:], place[1:]
        real, before, when = place < n, days[:, :-1], days[:, 1:]
        has_before = real & (begin_of + place > 0)
        return {
            "action": torch.where(real, self._column("action", at), PADDING).long(),
            "gap": torch.where(has_before, (when - before).clamp_(min=0).log1p_(), 0.0).float(),
            "value": torch.where(real, self._column("value", at), torch.nan),
            "days": when,
        }

    def _column(self, name: str, at: Tensor) -> Tensor:
        return self.columns[name].index_select(0, at.flatten()).view(at.shape)

    def features(self, rows: np.ndarray, *names: str) -> list[Tensor]:
        """The features of the named kinds of the customers `rows`: (B, F) float32 or (B, C) int64."""
        at = placed(rows, self.device)
        return [self.columns[name][at] for name in names]

    def churn_features(self, rows: np.ndarray, use_behaviour: bool) -> tuple[Tensor, Tensor]:
        """Profile and behaviour features (B, F) float32, in this order, and categories (B, C) int64, for churn."""
        *numeric, categorical = self.features(rows, "numeric", *(["behaviour"] * use_behaviour), "categorical")
        return torch.cat(numeric, dim=1), categorical


def _batch(cohort: CohortTensors, rows: np.ndarray, events: dict[str, Tensor]) -> SequenceBatch:
    numeric, categorical = cohort.features(rows, "numeric", "categorical")
    context = {name: events[name] for name in ("action", "gap", "value")}
    return SequenceBatch(numeric=numeric, categorical=categorical, **context)


def history_batch(
    arrays: CohortArrays | CohortTensors, rows: np.ndarray, stops: np.ndarray, max_events: int
) -> SequenceBatch:
    """Batch of histories: the last `max_events` events before position stops[b] of each customer rows[b]."""
    cohort = CohortTensors.of(arrays)
    stops = np.minimum(stops, cohort.arrays.events.counts(rows))
    n_events = np.minimum(stops, max_events)
    return _batch(cohort, rows, cohort.events(rows, stops, n_events, n_events.max(initial=0)))


def outcome_batch(
    arrays: CohortArrays | CohortTensors, found: Outcomes, at: np.ndarray, max_events: int
) -> tuple[SequenceBatch, Tensor, Tensor]:
    """Histories followed by the true steps (teacher forcing); a third step is there only where it changes no padding.

    Returns the batch, the ids of the true steps (B, 3), 0 if there is none, and the lengths of the histories (B,).
    Gaps and values of the steps are NaN, because they are unknown while planning.
    """
    cohort, found = CohortTensors.of(arrays), found.take(at)
    n_seen = np.minimum(found.n_history, max_events)
    width = n_seen.max(initial=0) + N_STEPS
    events = cohort.events(found.rows, found.n_history + found.n_outcome, n_seen + found.n_outcome, width)
    length = placed(n_seen, cohort.device)
    steps = events["action"].gather(1, length[:, None] + torch.arange(N_STEPS, device=cohort.device))
    is_known = torch.arange(width, device=cohort.device) < length[:, None]
    for name in ("gap", "value"):
        events[name] = torch.where(is_known, events[name], torch.nan)
    return _batch(cohort, found.rows, {name: column[:, :-1] for name, column in events.items()}), steps, length


def churn_batch(arrays: CohortArrays | CohortTensors, rows: np.ndarray, model: ChurnTransformer) -> ChurnBatch:
    """Churn model inputs of the customers `rows`, at the moment that the arrays were encoded for."""
    cohort, config = CohortTensors.of(arrays), model.config
    stops = cohort.arrays.n_history[rows]
    n_events = np.minimum(stops, config.max_events)
    events = cohort.events(rows, stops, n_events, n_events.max(initial=0))
    age = (cohort.arrays.now_days - events.pop("days")).clamp_(min=0).log1p_()
    events["age"] = torch.where(events["action"] == PADDING, 0.0, age).float()
    numeric, categorical = cohort.churn_features(rows, config.use_behaviour)
    return ChurnBatch(numeric=numeric, categorical=categorical, **events)
