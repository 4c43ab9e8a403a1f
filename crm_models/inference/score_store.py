"""Customer scores on disk, so that pages and plans need not run the models again.

One Parquet file with one row per customer in cohort order, written in parts: memory does not grow with the cohort.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crm_models.core.errors import DataError
from crm_models.core.files import DAMAGED, new_file, read_whole
from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.core.schema import N_STEPS
from crm_models.core.tables import TableWriter, read_table, table_errors

_STEPS = ("action", "step_p", "runner_up", "runner_up_p")
_KEY = b"crm_scores_of"
_WHAT, _REMEDY = "saved scores", "delete it, and score the customers again"


def write_scores(file: Path, stream: Iterable[CustomerScores], *, key: str) -> int:
    """Write parts of a cohort one after the other, completely or not at all; returns the number of customers.

    key: identifies run and cohort; `scores_key` reads it without reading the table. `DataError` for no customers.
    """
    n_customers = 0
    with new_file(Path(file)) as part, TableWriter(part, {_KEY: key.encode()}) as writer:
        for scores in stream:
            writer.write(_table(scores))
            n_customers += len(scores.customer_id)
        if writer.is_empty:
            raise DataError(f"{file}: expected customers to score, found none")
    return n_customers


def scores_key(file: Path) -> str | None:
    """The key that the scores of a file were written with; None if the file is missing or damaged."""
    try:
        metadata = pq.read_schema(file).metadata or {}
        return metadata[_KEY].decode() if _KEY in metadata else None
    except (OSError, pa.ArrowException, *DAMAGED):
        return None


def read_scores(file: Path) -> CustomerScores:
    """The scores of all customers in a file written by `write_scores`; `DataError` if it is unreadable."""
    table = read_table(Path(file), _WHAT, remedy=_REMEDY)
    with read_whole(Path(file), _WHAT, _REMEDY):
        return _scores(table)


def stream_scores(file: Path, size: int) -> Iterator[CustomerScores]:
    """The same in parts of `size` customers, so that memory does not grow with their number."""
    with table_errors(file, _WHAT, _REMEDY):
        for table in in_parts(file, size):
            yield _scores(table)


def in_parts(file: Path, size: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """Tables of `size` rows, the last one of fewer, from a Parquet file in whatever parts it was written."""
    with pq.ParquetFile(file) as parquet:
        held = parquet.schema_arrow.empty_table().select(columns or parquet.schema_arrow.names)
        for batch in parquet.iter_batches(size, columns=columns):
            held = pa.concat_tables([held, pa.Table.from_batches([batch])])
            while held.num_rows >= size:
                yield held.slice(0, size)
                held = held.slice(size)
        if held.num_rows:
            yield held


def _scores(table: pa.Table) -> CustomerScores:
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    plans = None
    if "plan_p" in columns:
        steps = {name: np.column_stack([columns[f"{name}_{k + 1}"] for k in range(N_STEPS)]) for name in _STEPS}
        plans = DecodedPlans(
            actions=steps["action"],
            step_p=steps["step_p"],
            plan_p=columns["plan_p"],
            runner_up=steps["runner_up"],
            runner_up_p=steps["runner_up_p"],
        )
    return CustomerScores(
        customer_id=columns["customer_id"], churn_p=columns["churn_p"], n_events=columns["n_events"], plans=plans
    )


def _table(scores: CustomerScores) -> pa.Table:
    columns = {
        "customer_id": pa.array(scores.customer_id, type=pa.string()),
        "churn_p": pa.array(scores.churn_p, type=pa.float64(), from_pandas=False),
        "n_events": pa.array(scores.n_events, type=pa.int64()),
    }
    if scores.plans is not None:
        plans = scores.plans
        parts = dict(zip(_STEPS, (plans.actions, plans.step_p, plans.runner_up, plans.runner_up_p), strict=True))
        for name, values in parts.items():
            kind = pa.float64() if name.endswith("_p") else pa.int32()
            for k in range(N_STEPS):
                columns[f"{name}_{k + 1}"] = pa.array(np.ascontiguousarray(values[:, k]), type=kind)
        columns["plan_p"] = pa.array(plans.plan_p, type=pa.float64())
    return pa.table(columns)
