"""What a run was trained on: ranges, levels, actions and units, kept as `schema.json` in the run folder.

`drift` compares other customers with it before they are scored. Runs of earlier versions have no such file; what their
encoder knows is used instead.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from crm_models.core.schema import VALUE
from crm_models.data.cohort import Cohort, days
from crm_models.data.features import FeatureEncoder, NumericFeature

ColumnType = Literal["number", "date", "text"]
USUAL = 0.05
MOST_LEVELS = 1_000
"""Levels of a text column that are kept; of a column with more, unknown levels are not counted."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Smallest and largest number of a column among training customers; dates in days since 1970.

    usual_low, usual_high: the ends without the outermost twentieth on each side, so that a few odd cells hide no
    change of unit.
    """

    low: float
    usual_low: float
    usual_high: float
    high: float


@dataclass(frozen=True, kw_only=True)
class TrainedColumn:
    """A profile column among training customers.

    range: of a number or date; None if unknown. levels: of a text column; None if there were more than MOST_LEVELS.
    missing: share of customers without a value, None if unknown.
    """

    name: str
    type: ColumnType
    range: Range | None = None
    levels: tuple[str, ...] | None = None
    missing: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingSchema:
    """What the models of a run know.

    columns: those that the models use. dated: whether times were dates (True) or plain numbers, None if unknown or
    without events. gap: days (or units of the numbers) between two events of a customer. value: event values.
    """

    columns: tuple[TrainedColumn, ...]
    actions: tuple[str, ...]
    dated: bool | None = None
    gap: Range | None = None
    value: Range | None = None

    @classmethod
    def of(cls, cohort: Cohort, rows: np.ndarray, encoder: FeatureEncoder) -> TrainingSchema:
        """The schema of the training customers `rows`, for the columns that the encoder uses."""
        customers = cohort.customers.iloc[rows]
        names = [f.name for f in encoder.numeric] + [f.name for f in encoder.categorical]
        training = np.isin(cohort.event_customers, rows)
        gaps = np.diff(cohort.event_days)[(np.diff(cohort.event_customers) == 0) & training[1:]]
        return cls(
            columns=tuple(_column(name, customers[name]) for name in names),
            actions=encoder.actions,
            dated=cohort.is_dated if cohort.has_events else None,
            gap=range_of(gaps[gaps > 0]),
            value=range_of(cohort.interactions[VALUE].to_numpy()[training]),
        )

    @classmethod
    def of_encoder(cls, encoder: FeatureEncoder) -> TrainingSchema:
        """What is known of a run without a schema: no units, and no share of missing values."""
        numbers = [TrainedColumn(name=f.name, type="number", range=_range_of_feature(f)) for f in encoder.numeric]
        texts = [
            TrainedColumn(name=f.name, type="text", levels=f.levels if len(f.levels) < 64 else None)
            for f in encoder.categorical
        ]
        return cls(columns=(*numbers, *texts), actions=encoder.actions)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> TrainingSchema:
        """A schema from the values of `to_dict`."""
        return cls(
            columns=tuple(
                TrainedColumn(**column | {"range": _range(column["range"]), "levels": _levels(column["levels"])})
                for column in given["columns"]
            ),
            actions=tuple(given["actions"]),
            dated=given["dated"],
            gap=_range(given["gap"]),
            value=_range(given["value"]),
        )


def type_of(column: pd.Series) -> ColumnType:
    """Whether a column holds dates, numbers, or text (and yes/no)."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return "date"
    return "number" if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column) else "text"


def numbers_of(column: pd.Series) -> np.ndarray:
    """(N,) float64 of a column of numbers or dates (in days); NaN where missing or infinite."""
    if type_of(column) == "date":
        values = days(column)
        values[column.isna().to_numpy()] = np.nan
    else:
        values = column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(values), values, np.nan)


def range_of(values: np.ndarray) -> Range | None:
    """The range of the finite values; None if there are none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, usual_low, usual_high, high = (float(end) for end in np.quantile(finite, (0, USUAL, 1 - USUAL, 1)))
    return Range(low=low, usual_low=usual_low, usual_high=usual_high, high=high)


def _range_of_feature(feature: NumericFeature) -> Range:
    """The range that an encoder keeps; its second and its last but one edge are quantiles, scaled to [0, 1]."""
    inner = (feature.edges[1], feature.edges[-2]) if len(feature.edges) > 3 else (0.0, 1.0)
    width = feature.maximum - feature.minimum
    low, high = (feature.minimum + edge * width for edge in inner)
    return Range(low=feature.minimum, usual_low=low, usual_high=high, high=feature.maximum)


def _column(name: str, column: pd.Series) -> TrainedColumn:
    missing = float(column.isna().mean()) if len(column) else None
    if (kind := type_of(column)) != "text":
        return TrainedColumn(name=name, type=kind, range=range_of(numbers_of(column)), missing=missing)
    levels = sorted(column.dropna().astype("str").unique())
    return TrainedColumn(
        name=name, type="text", levels=tuple(levels) if len(levels) <= MOST_LEVELS else None, missing=missing
    )


def _range(given: dict[str, float] | None) -> Range | None:
    return None if given is None else Range(**given)


def _levels(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(given)
