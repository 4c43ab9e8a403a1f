"""Parquet files, folders of them, and other Arrow tables as tables whose ids keep all their digits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crm_models.core.errors import DataError
from crm_models.data.sources.archives import Raw
from crm_models.data.sources.frames import DELIMITER, FIRST_ROW, refuse_duplicate_columns, tidy, trimmed

_UNNAMED_INDEX = re.compile(r"__index_level_\d+__")


def read_parquet(raw: Raw, name: str) -> pd.DataFrame:
    """A Parquet file as a table; see `from_arrow`."""
    return from_arrow(lambda: pq.read_table(pa.BufferReader(pa.py_buffer(raw))), name)


def read_parquet_folder(folder: Path) -> pd.DataFrame:
    """A table in parts, as Spark and warehouses write it; folders such as `year=2026` are columns."""
    return from_arrow(lambda: pq.read_table(folder), folder.name)


def from_arrow(read: Callable[[], pa.Table], name: str) -> pd.DataFrame:
    """An Arrow table as a table; `DataError` if reading it fails."""
    try:
        arrow = read()
        names = [" ".join(str(c).split()) for c in arrow.schema.names]
        arrow = pa.table([_as_pandas_type(c) for c in arrow.columns], names=names)
        # A pandas index in the file is read as a column, unless it only numbers the rows.
        table: pd.DataFrame = arrow.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name}: expected a Parquet table, found an unreadable file ({tidy(error)})") from None
    table = (
        table[[c for c in table.columns if not _UNNAMED_INDEX.fullmatch(str(c))]] if table.columns.is_unique else table
    )
    table.attrs = {FIRST_ROW: 1, DELIMITER: ""}
    refuse_duplicate_columns(table, name)
    return table


def _as_pandas_type(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert types that pandas would store as Python objects, or as floats, to numbers, dates or text."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_pandas_type(column.cast(kind.value_type))
    if pa.types.is_decimal(kind):
        # Databases export whole numbers, ids among them, as decimals of 38 digits: floats keep 15 of them.
        return column.cast(pa.string()) if kind.scale == 0 else column.cast(pa.float64())
    if pa.types.is_integer(kind) and column.null_count:
        return column.cast(pa.string())  # pandas would make floats of them
    if pa.types.is_float16(kind):
        return column.cast(pa.float64())
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms"))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _as_pandas_type(column.cast(pa.binary()).cast(pa.string()))
    if pa.types.is_nested(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind):
        return pa.chunked_array([[None if cell is None else str(cell) for cell in column.to_pylist()]], pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return trimmed(column.cast(pa.string()))
    return column
