"""Parquet tables that this package keeps: written with a checksum of every column, read with one error for all damage.

The checksums lie in the file's own metadata, so that no second file must agree with it, and a reader of some columns
checks just those. Tables without checksums, of earlier versions or from elsewhere, are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crm_models.core.errors import CrmError, DataError
from crm_models.core.files import DAMAGED, new_file
from crm_models.core.places import Place

_CHECKSUMS = b"crm_checksums"
_SCHEMA = ""
"""Stands among the names of the columns for the schema."""


class TableWriter:
    """Writes a table part by part, each with the columns of the first; a context manager. metadata: of the file."""

    def __init__(self, file: Path, metadata: Mapping[bytes, bytes] | None = None) -> None:
        self._file, self._metadata = file, dict(metadata or {})
        self._writer: pq.ParquetWriter | None = None
        self._sums: dict[str, Any] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written yet."""
        return self._writer is None

    def write(self, table: pa.Table | pd.DataFrame) -> None:
        """Append rows."""
        if isinstance(table, pd.DataFrame):
            table = pa.Table.from_pandas(table, preserve_index=False)
        if self._writer is None:
            schema = table.schema.with_metadata((table.schema.metadata or {}) | self._metadata)
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
            self._sums = {name: hashlib.sha256() for name in schema.names}
        table = table.cast(self._writer.schema)
        self._writer.write_table(table)
        for name, checksum in self._sums.items():
            _with(checksum, table.column(name))

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is None:
            return
        if kind is not None:
            with suppress(OSError, pa.ArrowException):  # the disk may be full, which the first error says already
                self._writer.close()
            return
        sums = {name: checksum.hexdigest() for name, checksum in self._sums.items()}
        sums[_SCHEMA] = _schema_checksum(self._writer.schema, self._writer.schema)
        self._writer.add_key_value_metadata({_CHECKSUMS: json.dumps(sums).encode()})
        self._writer.close()


def write_table(file: Path, table: pa.Table | pd.DataFrame) -> None:
    """Write a table with its checksums, completely or not at all."""
    with new_file(file) as part, TableWriter(part) as writer:
        writer.write(table)


def read_table(file: Path, what: str, columns: Sequence[str] | None = None, *, remedy: str) -> pa.Table:
    """The table, or some columns of it. what, remedy: for the `DataError` of a missing or damaged file."""
    with table_errors(file, what, remedy):
        source = pq.ParquetFile(file)
        missing = [name for name in columns or () if name not in source.schema_arrow.names]
        if missing:
            raise DataError(f"{file}: expected {what} with the column {missing[0]!r}, found none; {remedy}")
        table = source.read(columns=None if columns is None else list(columns))
        sums = json.loads((source.metadata.metadata or {}).get(_CHECKSUMS, b"{}"))
        found = {_SCHEMA: _schema_checksum(source.schema_arrow, table.schema)}
        for name in table.column_names if sums else ():
            found[name] = _with(hashlib.sha256(), table.column(name)).hexdigest()
        changed = [name for name, checksum in found.items() if sums and sums.get(name) != checksum]
        if changed:
            where = ", ".join(f"column {name!r}" if name else "its columns" for name in changed)
            raise DataError(
                f"{file}: expected {what} as it was written, found it changed or damaged ({where}); {remedy}"
            )
    return table


def read_frame(file: Path, what: str, columns: Sequence[str] | None = None, *, remedy: str) -> pd.DataFrame:
    """The same as a data frame."""
    table = read_table(file, what, columns, remedy=remedy)
    with table_errors(file, what, remedy):  # what pandas noted in the file may be damaged, too
        return table.to_pandas()


@contextmanager
def table_errors(file: Place, what: str, remedy: str) -> Iterator[None]:
    """Context of code that reads a Parquet file: whatever is wrong with the file becomes one `DataError`."""
    try:
        yield
    except (CrmError, MemoryError):
        raise
    except FileNotFoundError:
        raise DataError(f"{file}: expected {what}, found an unreadable file (there is none); {remedy}") from None
    # NotImplementedError: a damaged file may name a compression or a type that Arrow does not know.
    except (pa.ArrowException, NotImplementedError, OSError, *DAMAGED) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise DataError(
            f"{file}: expected a Parquet table ({what}), found an unreadable file ({reason}); {remedy}"
        ) from None


def _with(checksum: Any, column: pa.ChunkedArray) -> Any:
    """The checksum with the values of a column added; how they are cut into chunks and row groups makes no change."""
    hashes = pd.util.hash_pandas_object(column.to_pandas(), index=False, categorize=False)
    checksum.update(hashes.to_numpy().tobytes())
    return checksum


def _schema_checksum(schema: pa.Schema, read: pa.Schema) -> str:
    """Checksum of the names and types of all columns, and of what pandas noted on them; read: of the columns read."""
    # Parquet does not keep whether the strings of a dictionary are large.
    text = "\n".join(f"{field.name}: {field.type}" for field in schema).replace("large_string", "string")
    return hashlib.sha256(text.encode() + (read.metadata or {}).get(b"pandas", b"")).hexdigest()
