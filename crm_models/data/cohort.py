"""A cohort: customers, their interactions and the possible actions, in canonical form."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import (
    ACTION,
    ACTION_KINDS,
    CHURNED,
    CUSTOMER_ID,
    KIND,
    LABEL,
    REPEATABLE,
    TIMESTAMP,
    VALUE,
    Outcome,
)
from crm_models.data.engine import order_of

Moment = pd.Timestamp | float
"""A point in time: a date, or a plain number where the source has numeric timestamps."""


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """Customers, their interactions and the possible actions. Made by `Cohort.build`.

    customers: one row per customer: `customer_id` (str, unique), `churned` (nullable boolean), then feature columns.
    interactions: one row per event, sorted by customer (in the order of `customers`) and time, ties in the source's
        order: `customer_id` (categorical over all customers), `action` (categorical over all actions), `timestamp`
        (datetime64 without zone, or float64), `value` (float64, NaN where the source has none).
    actions: one row per action: `action` (str, unique), `label`, `kind`, `repeatable` (bool), then feature columns.
    as_of: the cut-off between history and outcome, or None; see `schema.Outcome`.
    notes: sentences on the source and on what the import left out.
    documents: further files of the cohort's folder, name to content: the receipt of the import and its recipe.
    """

    name: str
    source: str
    customers: pd.DataFrame
    interactions: pd.DataFrame
    actions: pd.DataFrame
    as_of: Moment | None = None
    outcome: Outcome = "none"
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def build(
        cls,
        *,
        name: str,
        source: str,
        customers: pd.DataFrame | None,
        interactions: pd.DataFrame | None,
        actions: pd.DataFrame | None = None,
        as_of: Moment | None = None,
        outcome: Outcome = "none",
        notes: Sequence[str] = (),
        settings: dict[str, Any] | None = None,
        documents: dict[str, Any] | None = None,
    ) -> Cohort:
        """A cohort in canonical form from a source's tables; customers or interactions may be missing, not both.

        Ids become strings; customers and actions that only occur in the interactions are added; events are sorted by
        customer and time (stable). Raises `DataError` for duplicate ids, and for timestamps or values of a wrong type.
        """
        if customers is None and interactions is None:
            raise DataError("a cohort needs customers or interactions, and neither was given")
        all_notes = list(notes)
        events = _canonical_interactions(interactions)
        customer_table = _canonical_customers(customers, events, all_notes)
        action_table = _canonical_actions(actions, events, all_notes)
        events = _sorted_events(events, customer_table, action_table)
        return cls(
            name=name,
            source=source,
            customers=customer_table,
            interactions=events,
            actions=action_table,
            as_of=as_of,
            outcome=outcome,
            notes=tuple(all_notes),
            settings=dict(settings or {}),
            documents=dict(documents or {}),
        )

    @property
    def n_customers(self) -> int:
        """Number of customers."""
        return len(self.customers)

    @property
    def has_events(self) -> bool:
        """Whether there are interactions: without them, only the churn model can be trained."""
        return len(self.interactions) > 0

    @property
    def has_labels(self) -> bool:
        """Whether any customer has a churn label: without labels, only the sequence model can be trained."""
        return bool(self.customers[CHURNED].notna().any())

    @property
    def is_dated(self) -> bool:
        """Whether timestamps are dates (True) or plain numbers (False)."""
        return pd.api.types.is_datetime64_any_dtype(self.interactions[TIMESTAMP])

    @property
    def feature_columns(self) -> list[str]:
        """Profile columns of `customers`: all but the id and the label."""
        return [c for c in self.customers.columns if c not in (CUSTOMER_ID, CHURNED)]

    @property
    def labels(self) -> np.ndarray:
        """(N,) churn labels: 1.0 churned, 0.0 stayed, NaN unknown."""
        return self.customers[CHURNED].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)

    @property
    def event_customers(self) -> np.ndarray:
        """(E,) row of `customers` of each event, in ascending order."""
        return self.interactions[CUSTOMER_ID].cat.codes.to_numpy()

    @property
    def event_actions(self) -> np.ndarray:
        """(E,) row of `actions` of each event."""
        return self.interactions[ACTION].cat.codes.to_numpy()

    @property
    def event_days(self) -> np.ndarray:
        """(E,) float64 time of each event in days (since 1970 for dates; plain numbers count as days)."""
        return days(self.interactions[TIMESTAMP])

    def is_history(self, as_of: Moment | None) -> np.ndarray:
        """(E,) whether each event is history at `as_of`: strictly before it. None: every event is history.

        The one rule of the cut-off; an event exactly at `as_of` belongs to the outcome.
        """
        if as_of is None:
            return np.ones(len(self.interactions), dtype=bool)
        return self.event_days < moment_days(as_of)

    @property
    def starts(self) -> np.ndarray:
        """(N + 1,) int64: the events of customer i are rows starts[i] to starts[i + 1] of `interactions`."""
        counts = np.bincount(self.event_customers, minlength=self.n_customers)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def days(moments: pd.Series) -> np.ndarray:
    """Timestamps as float64 days: dates count from 1970-01-01, plain numbers stay as they are."""
    if pd.api.types.is_datetime64_any_dtype(moments):
        return moments.to_numpy(dtype="datetime64[us]").astype(np.int64) / 86_400e6
    return moments.to_numpy(dtype=np.float64)


def moment_days(moment: Moment) -> float:
    """One moment as float64 days, in the same scale as `days`."""
    if isinstance(moment, pd.Timestamp):
        return float(moment.to_datetime64().astype("datetime64[us]").astype(np.int64) / 86_400e6)
    return float(moment)


def moment_of(text: str, is_dated: bool) -> Moment | None:
    """The moment that a text names: a date, or a number where times are numbers; None if it names none."""
    try:
        moment: Moment = pd.Timestamp(text) if is_dated else float(text)
    except ValueError:
        return None
    if isinstance(moment, pd.Timestamp) and moment.tz is not None:
        moment = moment.tz_convert("UTC").tz_localize(None)
    return None if pd.isna(moment) or moment in (np.inf, -np.inf) else moment


def moment_text(moment: Moment | None) -> str:
    """A moment as text that `moment_of` reads; "" for None."""
    if moment is None:
        return ""
    return moment.isoformat(sep=" ") if isinstance(moment, pd.Timestamp) else repr(float(moment))


def select(cohort: Cohort, rows: np.ndarray, ids: pd.Index | None = None) -> Cohort:
    """The cohort of these customers (rows of `customers`, in the order given), with their events.

    ids: new ids, needed where a row occurs more than once, since ids are unique.
    """
    rows = np.asarray(rows, dtype=np.int64)
    starts = cohort.starts
    counts = starts[rows + 1] - starts[rows]
    ends = np.cumsum(counts)
    # Positions of all events of the selected customers: a running count, shifted to each customer's first event.
    take = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts[rows] - (ends - counts), counts)
    customers = cohort.customers.take(rows).reset_index(drop=True)
    if ids is not None:
        customers[CUSTOMER_ID] = ids
    events = cohort.interactions.take(take).reset_index(drop=True)
    events[CUSTOMER_ID] = pd.Categorical.from_codes(
        np.repeat(np.arange(len(rows)), counts), categories=pd.Index(customers[CUSTOMER_ID], dtype="str").rename(None)
    )
    return replace(cohort, customers=customers, interactions=events)


def in_parts(cohort: Cohort | Iterable[Cohort]) -> Iterable[Cohort]:
    """The parts of a cohort: the whole as one, or what it was given as."""
    return [cohort] if isinstance(cohort, Cohort) else cohort


def joined(parts: Iterable[Cohort]) -> Cohort:
    """One cohort of the customers of all parts, in their order; the parts have the same actions and columns.

    A third of the memory that reading the tables as a whole takes, where they come as a stream.
    """
    first, n, customers = None, 0, []
    columns: dict[str, list[Any]] = {CUSTOMER_ID: [], ACTION: [], TIMESTAMP: [], VALUE: []}
    for part in parts:
        first = first or part
        customers.append(part.customers)
        columns[CUSTOMER_ID].append(part.event_customers.astype(np.int32) + np.int32(n))
        columns[ACTION].append(part.event_actions)
        columns[TIMESTAMP].append(part.interactions[TIMESTAMP].to_numpy())
        columns[VALUE].append(part.interactions[VALUE].to_numpy())
        n += part.n_customers
    assert first is not None  # a cohort has at least one part
    everybody = pd.concat(customers, ignore_index=True)
    # One column after the other, so that a column is in memory twice, but never the table.
    events: dict[str, Any] = {name: np.concatenate(columns.pop(name)) for name in tuple(columns)}
    ids, names = pd.Index(everybody[CUSTOMER_ID], dtype="str").rename(None), first.interactions[ACTION].cat.categories
    events[CUSTOMER_ID] = pd.Categorical.from_codes(events[CUSTOMER_ID], categories=ids)
    events[ACTION] = pd.Categorical.from_codes(events[ACTION], categories=names)
    return replace(first, customers=everybody, interactions=pd.DataFrame(events, copy=False))


def _canonical_interactions(table: pd.DataFrame | None) -> pd.DataFrame:
    """The four event columns with canonical types, in the order given."""
    if table is None:
        types = {CUSTOMER_ID: "str", ACTION: "str", TIMESTAMP: "float64", VALUE: "float64"}
        table = pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in types.items()})
    for column in (CUSTOMER_ID, ACTION, TIMESTAMP):
        if column not in table:
            raise DataError(f"interactions need the column {column!r}; found {', '.join(map(str, table.columns))}")
    for column in (CUSTOMER_ID, ACTION):
        _refuse_blanks(table[column], "interactions", column)
    timestamp = table[TIMESTAMP]
    if pd.api.types.is_datetime64_any_dtype(timestamp):
        if timestamp.dt.tz is not None:
            timestamp = timestamp.dt.tz_convert("UTC").dt.tz_localize(None)
        timestamp = timestamp.astype("datetime64[us]")
    elif pd.api.types.is_numeric_dtype(timestamp):
        timestamp = timestamp.astype("float64")
        if not np.isfinite(timestamp.to_numpy()).all():
            raise DataError("interactions: every timestamp must be a finite number or a date")
    else:
        raise DataError(f"interactions: timestamps must be dates or numbers, found {timestamp.dtype}")
    if timestamp.isna().any():
        raise DataError(f"interactions row {int(timestamp.isna().argmax()) + 1}: the timestamp is missing")
    value = table[VALUE].astype("float64") if VALUE in table else pd.Series(np.nan, index=table.index, dtype="float64")
    return pd.DataFrame(
        {CUSTOMER_ID: _names(table[CUSTOMER_ID]), ACTION: _names(table[ACTION]), TIMESTAMP: timestamp, VALUE: value},
        copy=False,  # the columns are copied when somebody writes to them, not before
    ).reset_index(drop=True)


def _canonical_customers(table: pd.DataFrame | None, events: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """`customer_id`, `churned`, then the features; customers that occur only in the events come last."""
    seen = _distinct(events[CUSTOMER_ID])
    customers = pd.DataFrame({CUSTOMER_ID: sorted(seen)}, dtype="str") if table is None else table.copy()
    if CUSTOMER_ID not in customers:
        raise DataError(f"customers need the column {CUSTOMER_ID!r}; found {', '.join(map(str, customers.columns))}")
    _refuse_blanks(customers[CUSTOMER_ID], "customers", CUSTOMER_ID)
    customers[CUSTOMER_ID] = _names(customers[CUSTOMER_ID]).astype("str")
    _refuse_duplicates(customers[CUSTOMER_ID], "customers", CUSTOMER_ID)
    if table is not None:
        new = sorted(set(seen).difference(customers[CUSTOMER_ID]))
        if new:
            notes.append(f"Customers found only in the interactions, added without a profile: {len(new):,}.")
            customers = pd.concat([customers, pd.DataFrame({CUSTOMER_ID: new}, dtype="str")], ignore_index=True)
    label = customers[CHURNED].astype("boolean") if CHURNED in customers else pd.Series(pd.NA, index=customers.index)
    features = customers.drop(columns=[CUSTOMER_ID, CHURNED], errors="ignore")
    front = pd.DataFrame({CUSTOMER_ID: customers[CUSTOMER_ID], CHURNED: label.astype("boolean")})
    return pd.concat([front, features], axis=1).reset_index(drop=True)


def _canonical_actions(table: pd.DataFrame | None, events: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """`action`, `label`, `kind`, `repeatable`, then the features; actions that occur only in the events come last."""
    seen = _distinct(events[ACTION])
    actions = pd.DataFrame({ACTION: sorted(seen)}, dtype="str") if table is None else table.copy()
    if ACTION not in actions:
        raise DataError(f"actions need the column {ACTION!r}; found {', '.join(map(str, actions.columns))}")
    _refuse_blanks(actions[ACTION], "actions", ACTION)
    actions[ACTION] = _names(actions[ACTION]).astype("str")
    _refuse_duplicates(actions[ACTION], "actions", ACTION)
    new = sorted(set(seen).difference(actions[ACTION]))
    if new:
        notes.append(f"Actions found only in the interactions, added without features: {len(new):,}.")
        actions = pd.concat([actions, pd.DataFrame({ACTION: new}, dtype="str")], ignore_index=True)
    label = _filled(actions, LABEL, actions[ACTION]).astype("str")
    kind = _filled(actions, KIND, "engagement").astype("str").str.strip().str.lower()
    invalid = ~kind.isin(ACTION_KINDS)
    if invalid.any():
        row = int(invalid.argmax())
        raise DataError(f"actions row {row + 1}: kind must be engagement or retention, found {kind.iloc[row]!r}")
    repeatable = _filled(actions, REPEATABLE, True).astype(bool)
    features = actions.drop(columns=[ACTION, LABEL, KIND, REPEATABLE], errors="ignore")
    front = pd.DataFrame({ACTION: actions[ACTION], LABEL: label, KIND: kind, REPEATABLE: repeatable})
    return pd.concat([front, features], axis=1).reset_index(drop=True)


def _sorted_events(events: pd.DataFrame, customers: pd.DataFrame, actions: pd.DataFrame) -> pd.DataFrame:
    """Events with categorical ids, sorted by customer and time; events already in order are not sorted again."""
    customer = _as_category(events[CUSTOMER_ID], customers[CUSTOMER_ID])
    action = _as_category(events[ACTION], actions[ACTION])
    events = events.assign(**{CUSTOMER_ID: customer, ACTION: action})
    codes, when = customer.codes, events[TIMESTAMP].to_numpy()
    back_in_time = (codes[1:] == codes[:-1]) & (when[1:] < when[:-1])
    if (codes[1:] < codes[:-1]).any() or back_in_time.any():
        # Simultaneous events of a customer keep the source's order. Unstable sorting changed up to a quarter of the
        # targets on MovieLens (measured by others on ties in its timestamps).
        events = events.take(order_of(codes, days(events[TIMESTAMP])))
    return events.reset_index(drop=True)


def _names(column: pd.Series) -> pd.Series:
    """Ids as text; a categorical column keeps its codes, and only its categories become text."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        if column.cat.categories.dtype == "str":
            return column
        return column.cat.rename_categories(list(column.cat.categories.astype("str")))
    if pd.api.types.is_float_dtype(column) and np.isfinite(column.to_numpy()).all() and (column % 1 == 0).all():
        column = column.astype("int64")
    return column.astype("str")


def _distinct(column: pd.Series) -> pd.Index:
    if isinstance(column.dtype, pd.CategoricalDtype):
        used = np.bincount(column.cat.codes, minlength=len(column.cat.categories)) > 0
        return column.cat.categories[used]
    return pd.Index(column.unique())


def _as_category(column: pd.Series, order: pd.Series) -> pd.Categorical:
    """The column as a categorical whose codes are rows of `order`."""
    categories = pd.Index(order, dtype="str").rename(None)
    if isinstance(column.dtype, pd.CategoricalDtype):
        if column.cat.categories.equals(categories):
            return column.array
        codes = categories.get_indexer(column.cat.categories)[column.cat.codes]
    else:
        codes = categories.get_indexer(pd.Index(column))
    return pd.Categorical.from_codes(codes, categories=categories)


def _refuse_blanks(ids: pd.Series, table: str, column: str) -> None:
    if ids.hasnans:
        row = int(ids.isna().argmax())
        raise DataError(f"{table} row {row + 1}: the {column} is missing")


def _refuse_duplicates(ids: pd.Series, table: str, column: str) -> None:
    duplicate = ids.duplicated()
    if duplicate.any():
        row = int(duplicate.argmax())
        raise DataError(
            f"{table} row {row + 1}: duplicate {column} {ids.iloc[row]!r} "
            f"(duplicate rows: {int(duplicate.sum()):,}); keep one row for each {column}"
        )


def _filled(table: pd.DataFrame, column: str, default: Any) -> pd.Series:
    """The column with blanks filled by the default; all default if the column is missing."""
    if column not in table:
        return pd.Series(default, index=table.index)
    return table[column].where(table[column].notna(), default)
