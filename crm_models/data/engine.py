"""DuckDB for what is larger than memory likes: it sorts on all cores and spills to the disk."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import duckdb

LARGE = 1_000_000
"""From so many rows on, sorting in the engine is faster than in numpy, its start included."""
MEMORY = "1GB"
"""What the engine may hold in memory; the rest goes to a temporary folder."""


def order_of(customer: np.ndarray, when: np.ndarray) -> np.ndarray:
    """(E,) rows in ascending order of customer and time; rows equal in both keep their order.

    >>> order_of(np.array([1, 0, 1]), np.array([5.0, 9.0, 5.0])).tolist()
    [1, 0, 2]
    """
    if len(customer) < LARGE:
        return np.lexsort((when, customer))
    rows = pa.table({"customer": customer, "moment": when, "row": np.arange(len(customer), dtype=np.int32)})
    with tempfile.TemporaryDirectory(prefix="crm-sort-") as folder, connection(folder) as engine:
        engine.register("events", rows)
        ordered = engine.sql('SELECT "row" FROM events ORDER BY customer, moment, "row"')
        return np.concatenate([batch.column(0).to_numpy() for batch in ordered.to_arrow_reader(LARGE)])


def connection(spill: str) -> duckdb.DuckDBPyConnection:
    """An engine in memory that spills to a folder."""
    import duckdb

    engine = duckdb.connect(config={"memory_limit": MEMORY, "temp_directory": spill, "preserve_insertion_order": True})
    engine.execute("SET enable_progress_bar = false")
    return engine
