"""Tables from a database: read in streams by SQLAlchemy, or by DuckDB from files of its own; an extra.

The address of the database comes from the environment, because it holds a password: it is never stored, logged or
shown, also not in the message of an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa

from crm_models.core.errors import ConfigError, DataError
from crm_models.data.cohort import Cohort
from crm_models.data.sources.files import recognised
from crm_models.data.sources.frames import tidy
from crm_models.data.sources.parquet import from_arrow
from crm_models.data.sources.tables import RECIPE_OPTIONS, imported

URL = "CRM_DATABASE_URL"
"""The environment variable with the address, such as postgresql+psycopg://user:password@host/name."""
ROWS = 50_000
"""Rows fetched at a time."""


def import_sql(*, tables: Sequence[str] = (), queries: Sequence[str] = (), **options: Any) -> Cohort:
    """A cohort from tables and queries of the database in `CRM_DATABASE_URL`; options: those of `import_tables`.

    A table called `interactions`, `customers` or `actions` is that; others, and queries, are recognised by their
    columns. `DataError` if the database cannot be read.
    """
    url = os.environ.get(URL)
    if not url:
        raise ConfigError(f"import sql needs an address such as sqlite:///crm.db in {URL}, found none")
    asked = [*(_Asked(name, is_table=True) for name in tables), *(_Asked(query, is_table=False) for query in queries)]
    if not asked:
        raise ConfigError("import sql needs --table NAME or --query SQL, found neither")
    given = {name: options.pop(name, None) for name in RECIPE_OPTIONS}

    def read() -> Iterator[tuple[pd.DataFrame, str, bool]]:
        for number, what in enumerate(asked, start=1):
            name = what.text if what.is_table else f"query {number}"
            yield from_arrow(partial(_fetched, url, what, name), name), name, True

    return imported(
        lambda _, known, receipt: recognised(read(), known.get("columns"), known.get("drop", ()), receipt),
        given,
        **options,
    )


@dataclass(frozen=True)
class _Asked:
    """A table, by its name, or a query."""

    text: str
    is_table: bool

    def select(self, quote: Callable[[str], str]) -> str:
        """The query; quote: puts a name into the quotation marks of the database."""
        if not self.is_table:
            return self.text
        return f"SELECT * FROM {'.'.join(quote(part) for part in self.text.split('.'))}"


def _fetched(url: str, asked: _Asked, name: str) -> pa.Table:
    try:
        return _from_duckdb(url, asked) if url.startswith("duckdb:") else _from_sqlalchemy(url, asked)
    except (ConfigError, DataError):
        raise
    except Exception as error:  # each driver has errors of its own
        said = _without_address(error, url)
        raise DataError(f"{name}: expected rows from the database, found an error: {said}") from None


def _from_duckdb(url: str, asked: _Asked) -> pa.Table:
    import duckdb

    def quote(part: str) -> str:
        return '"' + part.replace('"', '""') + '"'

    with duckdb.connect(url.removeprefix("duckdb:///"), read_only=True) as database:
        return database.sql(asked.select(quote)).to_arrow_table()


def _from_sqlalchemy(url: str, asked: _Asked) -> pa.Table:
    try:
        import sqlalchemy
    except ImportError:
        raise ConfigError("import sql needs SQLAlchemy: pip install 'crm-transformers[sql]'") from None
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        select = sqlalchemy.text(asked.select(engine.dialect.identifier_preparer.quote_identifier))
        rows = connection.execution_options(stream_results=True, yield_per=ROWS).execute(select)
        names = [str(name) for name in rows.keys()]  # noqa: SIM118  # a result iterates over its rows
        batches = [_batch(names, part) for part in rows.partitions()]
    engine.dispose()
    if not batches:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    return pa.concat_tables(batches, promote_options="permissive")


def _batch(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays([_column(list(column)) for column in columns], names=list(names))


def _column(values: list[Any]) -> pa.Array:
    """Values of a driver as Arrow: numbers, dates and flags as they are, decimals and all else as text."""
    filled = [value for value in values if value is not None]
    if any(isinstance(value, Decimal) for value in filled):
        return pa.array([None if value is None else format(value, "f") for value in values], pa.string())
    if any(isinstance(value, datetime) and value.tzinfo is not None for value in filled):
        return pa.array(values, pa.timestamp("us", tz="UTC"))
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _without_address(error: Exception, url: str) -> str:
    """The first line of a driver's message without any part of the address."""
    text = tidy(Exception(str(error).partition("\n")[0]))
    secrets: Mapping[str, Any] = {}
    try:
        from sqlalchemy.engine import make_url

        secrets = make_url(url).translate_connect_args()
    except Exception:
        text = text.replace(url, "(address)")
    for part in sorted({url, *(str(value) for value in secrets.values() if value)}, key=len, reverse=True):
        text = text.replace(part, "(address)") if len(part) > 2 else text
    return text
