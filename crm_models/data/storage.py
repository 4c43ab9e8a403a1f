"""Cohort folders: save and load a cohort, whole or in parts.

A cohort folder holds `cohort.json`, `customers.parquet`, `actions.parquet` and `interactions.parquet`; a
generated one also holds `truth.json`, which only `truth.py` reads and writes. Row group k of `interactions.parquet`
holds exactly the events of the customers in row group k of `customers.parquet`, so that `parts` can stream a cohort
larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crm_models.core.errors import CrmError, DataError
from crm_models.core.files import DAMAGED, need_undamaged, new_folder, noted, read_whole, sha256, write_json
from crm_models.core.places import Place, place
from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, TIMESTAMP, VALUE
from crm_models.core.sealed import Types, read_record, write_record
from crm_models.core.tables import table_errors
from crm_models.data.cohort import Cohort, Moment, moment_days, select

PART_CUSTOMERS = 8_192
"""Customers in one row group, the unit of streaming; 8,192 x 50 events take about 10 MB. With twice as many, planning
100,000 customers peaked at 747 MB instead of 683."""

_TABLES = ("customers.parquet", "interactions.parquet", "actions.parquet")
_REMEDY = "generate or import it again"
_TYPES: Types = {
    "name": str,
    "source": str,
    "customers": int,
    "interactions": int,
    "actions": int,
    "as_of": (str, float, int, type(None)),
    "last_timestamp": (str, float, int, type(None)),
    "outcome": str,
    "settings": dict,
    "notes": list,
}
"""Entries of `cohort.json`."""


def save_cohort(cohort: Cohort, folder: Path, *, extra: dict[str, Any] | None = None) -> Path:
    """Write the cohort as a folder, atomically. extra: further JSON files in it, file name to content."""
    folder = Path(folder)
    with new_folder(folder, "cohort.json") as part:
        _write_customers(cohort, part / "customers.parquet")
        _write_interactions(cohort, part / "interactions.parquet")
        cohort.actions.to_parquet(part / "actions.parquet", index=False)
        for name, content in (cohort.documents | (extra or {})).items():
            if isinstance(content, str):
                (part / name).write_text(content, encoding="utf-8")
            else:
                write_json(part / name, content)
        last = cohort.interactions[TIMESTAMP].max() if cohort.has_events else None
        write_record(
            part / "cohort.json",
            {
                "format": 1,
                "name": cohort.name,
                "source": cohort.source,
                "customers": cohort.n_customers,
                "interactions": len(cohort.interactions),
                "actions": len(cohort.actions),
                "as_of": _moment_out(cohort.as_of),
                "last_timestamp": _moment_out(last),
                "outcome": cohort.outcome,
                "settings": cohort.settings,
                "notes": list(cohort.notes),
                "files": noted(*sorted(part.iterdir())),
            },
        )
    return folder


def load_cohort(folder: Place) -> Cohort:
    """The whole cohort in memory. `DataError` if it is no cohort folder, or a file is missing or damaged."""
    folder, about = _open(folder)
    return _build(folder, about, *(_parquet(folder / name, about).read() for name in _TABLES))


class Parts:
    """A cohort folder as smaller cohorts in customer order; part k is read when it is asked for, as `parts[k]`.

    If the tables were edited by hand (rows moved, other row groups), the whole cohort is loaded and split instead.
    starts (K + 1,) int64: part k holds customer rows starts[k] to starts[k + 1].
    """

    def __init__(self, folder: Place) -> None:
        self.folder, self.about = _open(folder)
        self._customers, self._events, actions = (_parquet(self.folder / name, self.about) for name in _TABLES)
        self._actions = actions.read()
        self._whole: Cohort | None = None
        metadata = self._customers.metadata
        counts = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        self._may_stream = max(counts, default=0) <= 4 * PART_CUSTOMERS  # another program may write one large group
        if not self._may_stream:
            n = metadata.num_rows
            counts = [min(PART_CUSTOMERS, n - first) for first in range(0, n, PART_CUSTOMERS)]
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[Cohort]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> Cohort:
        if not 0 <= k < len(self):
            raise DataError(f"{self.folder}: expected a part from 0 to {len(self) - 1}, found {k}")
        if not (self._may_stream and _aligned(self._customers, self._events, k)):
            self._whole = self._whole or load_cohort(self.folder)
            return select(self._whole, np.arange(self.starts[k], self.starts[k + 1]))
        events = self._events.frame(k) if k < self._events.num_row_groups else None
        return _build(self.folder, self.about, self._customers.frame(k), events, self._actions)


def parts(folder: Place) -> Iterator[Cohort]:
    """The cohort as a stream of smaller cohorts in customer order; only one part is in memory at a time."""
    return iter(Parts(folder))


def part_starts(folder: Place) -> np.ndarray:
    """(K + 1,) int64: part k of a cohort folder holds customer rows starts[k] to starts[k + 1]."""
    return Parts(folder).starts


def part(folder: Place, k: int) -> Cohort:
    """Part k of a cohort folder, without loading the others; see `part_starts`."""
    return Parts(folder)[k]


def describe(folder: Place) -> dict[str, Any]:
    """The content of `cohort.json` of a cohort folder; the tables are not read."""
    return _open(folder)[1]


def customer_columns(folder: Place) -> list[str]:
    """Names of the columns of the customers, of a cohort folder; the table is not read."""
    folder, about = _open(folder)
    return list(_parquet(folder / "customers.parquet", about).schema_arrow.names)


def customer_table(folder: Place, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The customers of a cohort folder, or some columns of them, as stored."""
    folder, about = _open(folder)
    table = _parquet(folder / "customers.parquet", about)
    for name in columns or (CUSTOMER_ID, CHURNED):
        if name not in table.schema_arrow.names:
            raise DataError(f"{folder / 'customers.parquet'}: expected a column {name!r}, found none; {_REMEDY}")
    return table.read(columns)


def last_moment_days(about: dict[str, Any]) -> float:
    """The time of the last event in days, from the content of `cohort.json`; 0 without events."""
    last = about["last_timestamp"]
    return 0.0 if last is None else moment_days(pd.Timestamp(last) if isinstance(last, str) else float(last))


def digest(folder: Place) -> str:
    """SHA-256 of the three tables: identifies the data a run was trained on. The truth is not included."""
    return sha256(*(place(folder) / name for name in _TABLES))


def _open(folder: Place) -> tuple[Place, dict[str, Any]]:
    folder = place(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a cohort folder, found {'a file' if folder.exists() else 'nothing'}")
    if not (folder / "cohort.json").exists():
        raise DataError(
            f"{folder}: expected a cohort folder with cohort.json, found none; "
            "make one with `generate` or `import` first"
        )
    about = read_record(folder / "cohort.json", "a cohort", _TYPES, remedy=_REMEDY)
    with read_whole(folder / "cohort.json", "the description of a cohort", _REMEDY):
        last_moment_days(about)
        _build_arguments(about)
    return folder, about


def _build_arguments(about: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Cohort.build` in `cohort.json`: all but the tables."""
    return {
        "name": str(about["name"]),
        "source": str(about["source"]),
        "as_of": _moment_in(about["as_of"]),
        "outcome": about["outcome"],
        "notes": list(about["notes"]),
        "settings": dict(about["settings"]),
    }


class _Table:
    """A Parquet file of a cohort; whatever is wrong with it is a `DataError` that names it."""

    def __init__(self, file: Place) -> None:
        self._file = file
        with self._errors():
            source = file if isinstance(file, Path) else file.open()
            self._source = pq.ParquetFile(source, pre_buffer=not isinstance(file, Path))
            self.metadata, self.schema_arrow = self._source.metadata, self._source.schema_arrow
        self.num_row_groups = self._source.num_row_groups

    def read(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The whole table, or some columns of it."""
        with self._errors():
            return self._source.read(columns=columns and list(columns)).to_pandas()

    def read_row_group(self, k: int, columns: list[str] | None = None) -> pa.Table:
        """A part of the table."""
        with self._errors():
            return self._source.read_row_group(k, columns=columns)

    def frame(self, k: int) -> pd.DataFrame:
        """A part of the table as a data frame."""
        with self._errors():
            return self._source.read_row_group(k).to_pandas()

    def _errors(self) -> AbstractContextManager[None]:
        return table_errors(self._file, "this table of the cohort", _REMEDY)


def _parquet(file: Place, about: dict[str, Any]) -> _Table:
    if isinstance(file, Path):  # object storage checks what it sends
        need_undamaged(file, about.get("files", {}), _REMEDY)
    return _Table(file)


def _build(
    folder: Place, about: dict[str, Any], customers: pd.DataFrame, events: pd.DataFrame | None, actions: pd.DataFrame
) -> Cohort:
    try:
        return Cohort.build(customers=customers, interactions=events, actions=actions, **_build_arguments(about))
    except (CrmError, *DAMAGED) as error:
        raise DataError(f"{folder}: expected tables of a cohort, found: {error}; {_REMEDY}") from None


def _write_customers(cohort: Cohort, file: Path) -> None:
    table = pa.Table.from_pandas(cohort.customers, preserve_index=False)
    pq.write_table(table, file, row_group_size=PART_CUSTOMERS, compression="zstd")


def _write_interactions(cohort: Cohort, file: Path) -> None:
    """One row group per part of customers; its id dictionary holds only the customers of that part."""
    starts, ids = cohort.starts, cohort.customers[CUSTOMER_ID]
    actions = pa.array(cohort.actions[ACTION], pa.string())
    action_codes = cohort.event_actions.astype(np.int32)
    timestamp = cohort.interactions[TIMESTAMP]
    time_type = pa.timestamp("us") if cohort.is_dated else pa.float64()
    schema = pa.schema(
        [
            (CUSTOMER_ID, pa.dictionary(pa.int32(), pa.string())),
            (ACTION, pa.dictionary(pa.int32(), pa.string())),
            (TIMESTAMP, time_type),
            (VALUE, pa.float64()),
        ]
    )
    # Hardly two times are the same: a dictionary of them would double the time and the size.
    repeating = [CUSTOMER_ID, ACTION, VALUE]
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=repeating) as writer:
        for first in range(0, cohort.n_customers, PART_CUSTOMERS):
            last = min(first + PART_CUSTOMERS, cohort.n_customers)
            rows = slice(int(starts[first]), int(starts[last]))
            codes = np.repeat(np.arange(last - first, dtype=np.int32), np.diff(starts[first : last + 1]))
            columns = [
                pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(ids.iloc[first:last], pa.string())),
                pa.DictionaryArray.from_arrays(pa.array(action_codes[rows]), actions),
                pa.array(timestamp.iloc[rows].to_numpy(), type=time_type),
                pa.array(cohort.interactions[VALUE].iloc[rows].to_numpy(), type=pa.float64()),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=max(1, len(codes)))


def _aligned(customers: _Table, events: _Table, k: int) -> bool:
    """Whether row group k has the same customers, in the same order, in both tables."""
    if any(CUSTOMER_ID not in table.schema_arrow.names for table in (customers, events)):
        return False
    if customers.num_row_groups != events.num_row_groups:
        return events.metadata.num_rows == 0
    ids = customers.read_row_group(k, columns=[CUSTOMER_ID]).column(0).combine_chunks()
    column = events.read_row_group(k, columns=[CUSTOMER_ID]).column(0).combine_chunks()
    return isinstance(column, pa.DictionaryArray) and column.dictionary.equals(ids.cast(pa.string()))


def _moment_out(moment: Moment | None) -> str | float | None:
    if moment is None:
        return None
    return moment.isoformat() if isinstance(moment, pd.Timestamp) else float(moment)


def _moment_in(text: str | float | None) -> Moment | None:
    if text is None:
        return None
    return pd.Timestamp(text) if isinstance(text, str) else float(text)
