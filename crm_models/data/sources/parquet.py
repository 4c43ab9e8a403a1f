"""Parquet files, folders of them, and other Arrow tables as tables whose ids keep all their digits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crm_models.core.errors import DataError
from crm_models.data.sources.archives import Raw
from crm_models.data.sources.frames import (
    DELIMITER,
    FIRST_ROW,
    LEFT_OUT,
    REMARKS,
    refuse_duplicate_columns,
    tidy,
    trimmed,
)

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
        columns = [_as_pandas_type(c) for c in arrow.columns]
        left_out = [name for name, c in zip(names, columns, strict=True) if pa.types.is_binary(c.type)]
        arrow = pa.table(columns, names=names).drop_columns(left_out)
        # A pandas index in the file is read as a column, unless it only numbers the rows.
        table: pd.DataFrame = arrow.to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{name}: expected a Parquet table, found an unreadable file ({tidy(error)})") from None
    table = (
        table[[c for c in table.columns if not _UNNAMED_INDEX.fullmatch(str(c))]] if table.columns.is_unique else table
    )
    said = [f"{', '.join(map(repr, left_out))} left out: bytes that are no text."] if left_out else []
    table.attrs = {FIRST_ROW: 1, DELIMITER: "", LEFT_OUT: left_out, REMARKS: said}
    refuse_duplicate_columns(table, name)
    return table


def _as_pandas_type(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert types that pandas would store as Python objects, or as floats, to numbers, dates or text.

    Bytes that are neither text nor UUIDs stay bytes.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return _as_pandas_type(pa.chunked_array([c.storage for c in column.chunks], kind.storage_type))
    if pa.types.is_dictionary(kind):
        return _as_pandas_type(column.cast(kind.value_type))
    if pa.types.is_decimal(kind):
        # Databases export whole numbers, ids among them, as decimals of 38 digits: floats keep 15 of them.
        if kind.scale > 0 and not _is_long_whole(column):
            return column.cast(pa.float64())
        return column.cast(pa.decimal128(38, 0)).cast(pa.string()) if kind.scale else column.cast(pa.string())
    if pa.types.is_integer(kind) and column.null_count:
        return column.cast(pa.string())  # pandas would make floats of them
    if pa.types.is_float16(kind):
        return column.cast(pa.float64())
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("ms"))
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _text_or_bytes(column.cast(pa.binary()))
    if pa.types.is_nested(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind) or pa.types.is_null(kind):
        return pa.chunked_array([[None if cell is None else str(cell) for cell in column.to_pylist()]], pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return trimmed(column.cast(pa.string()))
    return column


def _is_long_whole(column: pa.ChunkedArray) -> bool:
    """Whether decimals are whole numbers, some of more digits than floats keep."""
    most = pc.max(pc.abs(column)).as_py()
    return most is not None and most > 2**53 and pc.all(pc.equal(pc.floor(column), column)).as_py()


def _text_or_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Bytes as the text that they are, or as UUIDs where each cell has 16; other bytes as they are."""
    try:
        return trimmed(column.cast(pa.string()))
    except pa.ArrowInvalid:
        if pc.all(pc.equal(pc.binary_length(column), 16)).as_py():
            cells = [None if cell is None else str(UUID(bytes=cell)) for cell in column.to_pylist()]
            return pa.chunked_array([cells], pa.string())
        return column
