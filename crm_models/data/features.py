"""Feature encoding: action vocabulary, min-max scaling and category codes.

A `FeatureEncoder` is fitted on training customers only and saved with the run as JSON; `encode` turns any cohort with
the same columns, whole or in parts, into arrays. Letters: N customers, E events, A actions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CUSTOMER_ID, KIND, LABEL, REPEATABLE
from crm_models.data.behaviour import NUMBER_OF, behaviour_features, moment_of_view
from crm_models.data.cohort import Cohort, Moment, days
from crm_models.data.events import Events
from crm_models.data.successions import ActionCounts

MISSING_LEVEL = 0
OTHER_LEVEL = 1
FIRST_LEVEL = 2
"""Codes of a categorical feature: missing, a level rare or unseen in training, then the known levels."""

MAX_LEVELS = 5_000
"""Levels of a feature with a code of their own, the most frequent ones."""

FEW_LEVELS = 64
"""A text column with more levels than this, each of less than two customers on average, is an id or an address. It is
also the largest number of levels of an action feature, which become one number each."""


@dataclass(frozen=True, kw_only=True)
class NumericFeature:
    """Numeric feature with its min-max scaling to [0, 1] (Paper, Data Preprocessing), fitted on the training split.

    edges: increasing, from 0 to 1, of the bins of the piecewise-linear embedding; see `_edges`.

    DIFF from paper, Data Preprocessing and Feature Engineering: the paper names no missing values; they stay missing
    (NaN) and get their own embedding, because a missing value can itself be informative.
    """

    name: str
    minimum: float
    maximum: float
    edges: tuple[float, ...]

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Values as float32, clipped to [0, 1]; NaN stays NaN."""
        return np.clip((values - self.minimum) / (self.maximum - self.minimum), 0.0, 1.0).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class CategoricalFeature:
    """Text or yes/no feature with its levels among training customers, most frequent first.

    DIFF from paper, Data Preprocessing and Feature Engineering: the paper does not say how text is encoded; the
    MAX_LEVELS most frequent levels have a code each, all others share one, so that unseen levels can be scored.
    """

    name: str
    levels: tuple[str, ...]

    @property
    def n_codes(self) -> int:
        """Number of codes: missing, other, and one per level."""
        return FIRST_LEVEL + len(self.levels)

    def encode(self, column: pd.Series) -> np.ndarray:
        """(N,) int64 category codes."""
        known = pd.Index(self.levels, dtype="str").get_indexer(pd.Index(_text(column)))
        codes = np.where(known >= 0, known + FIRST_LEVEL, OTHER_LEVEL)
        codes[column.isna().to_numpy()] = MISSING_LEVEL
        return codes.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class CohortArrays:
    """Model inputs of N customers at one moment.

    numeric (N, F) and behaviour (N, G): float32 in [0, 1], NaN where missing. categorical (N, C): int64 category codes.
    n_history (N,): events before the moment; `events` also holds later ones, as targets of the sequence model.
    now_days: the moment in days, from which recency is measured.
    """

    customer_id: np.ndarray
    numeric: np.ndarray
    categorical: np.ndarray
    behaviour: np.ndarray
    events: Events
    n_history: np.ndarray
    now_days: float

    def __len__(self) -> int:
        return len(self.customer_id)


@dataclass(frozen=True, kw_only=True)
class FeatureEncoder:
    """Turns a cohort into arrays. Fitted once, on training customers, and used for training, scoring and planning.

    actions: names in the order of their ids 1..A. action_features: (A + 1, K) numbers in [0, 1], row 0 for padding,
    with action_feature_names (K,). kinds: (A,) engagement or retention. repeatable: (A,) whether an action may be
    proposed again. action_counts: (A,) occurrences of each action among training customers; action_pairs: (id, id of
    the next action, count), by falling count, at most MAX_SUCCESSORS per id; action_triples: the same for three actions
    in a row, with few actions. They are empty in runs that lack them.
    """

    actions: tuple[str, ...]
    action_labels: tuple[str, ...]
    kinds: tuple[str, ...]
    repeatable: tuple[bool, ...]
    action_feature_names: tuple[str, ...]
    action_features: tuple[tuple[float, ...], ...]
    value_range: tuple[float, float]
    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoricalFeature, ...]
    behaviour: tuple[NumericFeature, ...]
    action_counts: tuple[int, ...] = ()
    action_pairs: tuple[tuple[int, ...], ...] = ()
    action_triples: tuple[tuple[int, ...], ...] = ()

    @property
    def n_actions(self) -> int:
        """A: size of the vocabulary without padding."""
        return len(self.actions)

    @classmethod
    def fit(
        cls,
        cohort: Cohort,
        rows: np.ndarray,
        as_of: Moment | None,
        n_bins: int = 16,
        *,
        now_days: float | None = None,
        counts: ActionCounts | None = None,
    ) -> FeatureEncoder:
        """An encoder with vocabulary, scales and counts from the customers `rows`.

        All scales, also that of event values, are fitted on their events before `as_of` (None: all events). Counts of
        actions and pairs include all their events, since these are the targets of the sequence model. The vocabulary is
        the cohort's table of actions, so an action without any training event still has an id.

        Of a part of a cohort: now_days as for `encode`; counts: those over all parts.
        """
        customers = cohort.customers.iloc[rows]
        numeric, categorical = [], []
        for name in cohort.feature_columns:
            column = customers[name]
            if _is_numeric(column):
                numeric.append(_fit_numeric(name, _numbers(column), n_bins))
            else:
                categorical.append(_fit_categorical(name, column))
        behaviour = behaviour_features(cohort, as_of, now_days)
        behaviour = {name: values for name, values in behaviour.items() if not name.startswith(NUMBER_OF)}
        feature_names, feature_rows = _action_features(cohort)
        training_events = np.isin(cohort.event_customers, rows)
        values = cohort.interactions["value"].to_numpy()[training_events & cohort.is_history(as_of)]
        finite = values[np.isfinite(values)]
        counts = counts or ActionCounts(len(cohort.actions)).add(cohort, rows)
        return cls(
            actions=tuple(cohort.actions[ACTION]),
            action_labels=tuple(cohort.actions[LABEL]),
            kinds=tuple(cohort.actions[KIND]),
            repeatable=tuple(bool(r) for r in cohort.actions[REPEATABLE]),
            action_feature_names=feature_names,
            action_features=feature_rows,
            value_range=(float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0),
            numeric=tuple(f for f in numeric if f is not None),
            categorical=tuple(f for f in categorical if f is not None),
            behaviour=tuple(f for f in (_fit_numeric(k, v[rows], n_bins) for k, v in behaviour.items()) if f),
            action_counts=tuple(counts.single.tolist()),
            action_pairs=counts.successions(2),
            action_triples=counts.successions(3),
        )

    def encode(self, cohort: Cohort, as_of: Moment | None = None, now_days: float | None = None) -> CohortArrays:
        """Arrays of the cohort at `as_of`: history is strictly before it; None: all events are history.

        now_days: moment that recency is measured from; by default `as_of`, or else the last event of the cohort. For a
        part of a cohort, pass that of the whole cohort. Raises `DataError` if a column of the training cohort is
        missing.
        """
        for name in [*(f.name for f in self.numeric), *(f.name for f in self.categorical)]:
            if name not in cohort.customers:
                raise DataError(f"customers need the column {name!r}, which the run was trained on; found none")
        now = moment_of_view(cohort, as_of, now_days)
        events, n_history = self._events(cohort, as_of)
        behaviour = behaviour_features(cohort, as_of, now, self.actions)
        n = cohort.n_customers
        return CohortArrays(
            customer_id=cohort.customers[CUSTOMER_ID].to_numpy(dtype=object),
            numeric=_stack([f.scale(_numbers(cohort.customers[f.name])) for f in self.numeric], n, np.float32),
            categorical=_stack([f.encode(cohort.customers[f.name]) for f in self.categorical], n, np.int64),
            behaviour=_stack([f.scale(behaviour[f.name]) for f in self.behaviour], n, np.float32),
            events=events,
            n_history=n_history,
            now_days=now,
        )

    def _events(self, cohort: Cohort, as_of: Moment | None) -> tuple[Events, np.ndarray]:
        """Events with this encoder's action ids, without unknown actions; and n_history (N,)."""
        ids = pd.Index(self.actions, dtype="str").get_indexer(pd.Index(cohort.actions[ACTION])) + 1
        action = ids[cohort.event_actions].astype(np.int32) if cohort.has_events else np.zeros(0, np.int32)
        known = action > 0
        customer, when = cohort.event_customers[known], cohort.event_days[known]
        low, high = self.value_range
        value = (cohort.interactions["value"].to_numpy()[known] - low) / max(high - low, 1e-12)
        count = np.bincount(customer, minlength=cohort.n_customers)
        starts = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        n_history = np.bincount(customer[cohort.is_history(as_of)[known]], minlength=cohort.n_customers)
        events = Events(
            starts=starts, action=action[known], days=when, value=np.clip(value, 0.0, 1.0).astype(np.float32)
        )
        return events, n_history.astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> FeatureEncoder:
        """An encoder from the values of `to_dict`."""
        return cls(
            **{k: tuple(given[k]) for k in ("actions", "action_labels", "kinds", "repeatable", "action_feature_names")},
            value_range=(given["value_range"][0], given["value_range"][1]),
            action_features=tuple(tuple(row) for row in given["action_features"]),
            numeric=_numeric_from(given["numeric"]),
            behaviour=_numeric_from(given["behaviour"]),
            action_counts=tuple(given.get("action_counts", ())),
            action_pairs=_successions_from(given.get("action_pairs", []), len(given["actions"])),
            action_triples=_successions_from(given.get("action_triples", []), len(given["actions"])),
            categorical=tuple(
                CategoricalFeature(name=f["name"], levels=tuple(f["levels"])) for f in given["categorical"]
            ),
        )


def _numeric_from(values: list[dict[str, Any]]) -> tuple[NumericFeature, ...]:
    return tuple(NumericFeature(**(f | {"edges": tuple(f["edges"])})) for f in values)


def _successions_from(given: list[list[int]], n_actions: int) -> tuple[tuple[int, ...], ...]:
    """Counted successions from JSON. Raises `ValueError` if an id is not in the vocabulary."""
    rows = tuple(tuple(int(value) for value in row) for row in given)
    if any(not all(1 <= action <= n_actions for action in row[:-1]) or row[-1] < 1 for row in rows):
        raise ValueError("action_pairs or action_triples hold an id outside the vocabulary")
    return rows


def _fit_numeric(name: str, values: np.ndarray, n_bins: int) -> NumericFeature | None:
    """A fitted numeric feature, or None if it is constant among training customers."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0 or finite.min() == finite.max():
        return None
    low, high = float(finite.min()), float(finite.max())
    return NumericFeature(name=name, minimum=low, maximum=high, edges=_edges((finite - low) / (high - low), n_bins))


def _edges(values: np.ndarray, n_bins: int) -> tuple[float, ...]:
    """Edges from 0 to 1 of bins with as many values each, and of bins of their own around values that fill a bin alone.

    Such a value (zero, very often) gets an edge at itself and one at the next larger value, so that the embedding can
    jump between them; quantiles of all values would leave nearly all bins to it and one to the rest.
    """
    distinct, counts = np.unique(values, return_counts=True)
    is_heavy = counts >= len(values) / n_bins
    rest = np.repeat(distinct[~is_heavy], counts[~is_heavy])
    quantiles = np.quantile(rest, np.linspace(0, 1, n_bins + 1)) if len(rest) else rest
    edges = np.concatenate([[0.0, 1.0], distinct[is_heavy], distinct[1:][is_heavy[:-1]], quantiles])
    # Equal as float32, which the model has, would be bins of no width.
    return tuple(float(e) for e in np.unique(edges.astype(np.float32)))


def _fit_categorical(name: str, column: pd.Series) -> CategoricalFeature | None:
    """A fitted categorical feature, or None if it is constant or nearly unique per customer (an id, an address)."""
    counts = _text(column.dropna()).value_counts()
    filled = int(counts.sum())
    if len(counts) == 0 or (len(counts) == 1 and filled == len(column)):
        return None
    if len(counts) > FEW_LEVELS and len(counts) > 0.5 * filled:
        return None
    # Levels seen once, where there are many, train the code that levels unseen in training get.
    counts = counts[counts > 1] if len(counts) > FEW_LEVELS else counts
    # Ties in frequency are broken by name, so that the result does not depend on the order of customers.
    ranked = sorted(counts.items(), key=lambda level: (-level[1], str(level[0])))
    return CategoricalFeature(name=name, levels=tuple(str(level) for level, _ in ranked[:MAX_LEVELS]))


def _action_features(cohort: Cohort) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]:
    """Names and (A + 1, K) values of the action features: numbers min-max scaled, text one-hot encoded.

    Text with `|` has several levels at once (genres). The table of actions is known before any customer is, so scaling
    by its minimum and maximum leaks nothing.
    """
    names, columns = [], []
    table = cohort.actions.drop(columns=[ACTION, LABEL, REPEATABLE])
    for name in table.columns:
        column = table[name]
        if _is_numeric(column):
            feature = _fit_numeric(str(name), _numbers(column), 2)
            if feature is not None:
                names.append(str(name))
                columns.append(np.nan_to_num(feature.scale(_numbers(column)), nan=0.5))
        elif not (name == KIND and column.nunique() == 1):
            levels = _text(column).fillna("").str.get_dummies(sep="|")
            common = levels.sum().sort_values(ascending=False, kind="stable").index[:FEW_LEVELS]
            if 1 < len(common) <= 0.5 * len(table) or len(table) <= FEW_LEVELS:
                names += [f"{name}: {level}" for level in common]
                columns += [levels[level].to_numpy(np.float32) for level in common]
    rows = np.zeros((len(table) + 1, len(names)), np.float32)
    if columns:
        rows[1:] = np.stack(columns, axis=1)
    return tuple(names), tuple(tuple(float(v) for v in row) for row in rows)


def _is_numeric(column: pd.Series) -> bool:
    dated = pd.api.types.is_datetime64_any_dtype(column)
    return dated or (pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


def _numbers(column: pd.Series) -> np.ndarray:
    """(N,) float64; dates in days, infinite and missing values as NaN."""
    if pd.api.types.is_datetime64_any_dtype(column):
        values = days(column)
        values[column.isna().to_numpy()] = np.nan
        return values
    values = column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def _text(column: pd.Series) -> pd.Series:
    return column.astype("str")


def _stack(columns: list[np.ndarray], n: int, dtype: type) -> np.ndarray:
    return np.stack(columns, axis=1).astype(dtype) if columns else np.zeros((n, 0), dtype)
