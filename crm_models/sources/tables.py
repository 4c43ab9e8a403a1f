"""The general form: `interactions`, `customers` and `actions` as CSV or Parquet, any of the first two missing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from crm_models.errors import ConfigError, DataError
from crm_models.records import Cohort
from crm_models.schema import ACTION, CHURNED, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.sources.inactivity import label_by_inactivity
from crm_models.sources.reading import (
    feature_of,
    labels_of,
    moments_of,
    names_of,
    need_columns,
    numbers_of,
    read_file,
)

TABLES = ("interactions", "customers", "actions")
SUFFIXES = (".csv", ".parquet", ".csv.gz", ".tsv", ".txt")

ROW = "ROW"
"""Mapped to customer_id, this numbers the customers by their row: for tables that name nobody."""

USUAL_NAMES = {
    CUSTOMER_ID: ("customer_id", "customerid", "customer", "user_id", "userid", "user", "client_id", "client", "id"),
    ACTION: ("action", "item", "item_id", "itemid", "product", "product_id", "event", "event_type", "sku", "movieid"),
    TIMESTAMP: ("timestamp", "time", "date", "datetime", "event_time", "created_at", "invoicedate", "when"),
    VALUE: ("value", "rating", "amount", "price", "revenue", "score", "dollar_value", "quantity"),
    CHURNED: ("churned", "churn", "exited", "is_churn", "churn_flag", "attrition", "left", "target", "label"),
}
"""What the columns are called elsewhere, the likeliest first; compared without case, blanks and punctuation."""


def guess_columns(table: pd.DataFrame) -> dict[str, str]:
    """Which column of a table is likely the customer, the action, the timestamp, the value and the label."""
    plain = {re.sub(r"[^a-z0-9]", "", str(column).lower()): str(column) for column in table.columns}
    found: dict[str, str] = {}
    for name, usual in USUAL_NAMES.items():
        for candidate in usual:
            column = plain.get(candidate.replace("_", ""))
            if column is not None and column not in found.values():
                found[name] = column
                break
    return found


def import_tables(
    sources: Sequence[Path],
    *,
    churn_days: float | None = None,
    columns: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    positive: str | None = None,
) -> Cohort:
    """A cohort from tables in a folder, or from files named one by one.

    columns: our name to theirs, as in {"customer_id": "userId"}. drop: columns to leave out. positive: the value of the
    label that means churned, where it is no usual word. churn_days: label churn by inactivity instead.
    """
    files = find_tables(sources)
    tables = {kind: (read_file(file), file.name) for kind, file in files.items()}
    return cohort_from_tables(tables, churn_days=churn_days, columns=columns, drop=drop, positive=positive)


def find_tables(sources: Sequence[Path]) -> dict[str, Path]:
    """Which file is which table: by name in a folder; a file named otherwise by the columns it has."""
    found: dict[str, Path] = {}
    for source in sources:
        if source.is_dir():
            here = {kind: file for kind in TABLES for file in _candidates(source, kind)}
            if not here:
                names = ", ".join(sorted(f.name for f in source.iterdir())[:8]) or "an empty folder"
                raise DataError(f"{source}: expected interactions.csv or customers.csv (or .parquet), found {names}")
            found |= here
        elif source.exists():
            stem = source.name.split(".")[0].lower()
            kind = stem if stem in TABLES else "interactions" if _has_events(source) else "customers"
            if kind in found:
                raise DataError(f"{source.name}: expected one table of {kind}, found a second one ({found[kind].name})")
            found[kind] = source
        else:
            raise DataError(f"{source}: expected a file or folder, found none")
    if not {"interactions", "customers"} & set(found):
        raise DataError(f"{sources[0]}: expected a table of interactions or customers, found only actions")
    return found


def cohort_from_tables(
    tables: Mapping[str, tuple[pd.DataFrame, str]],
    *,
    churn_days: float | None = None,
    columns: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    positive: str | None = None,
    name: str = "tables",
) -> Cohort:
    """The same from tables in memory: kind (`interactions`, `customers`, `actions`) to a table and its file's name."""
    notes: list[str] = []
    columns = dict(columns or {})
    number_rows = columns.get(CUSTOMER_ID) == ROW
    if number_rows:
        del columns[CUSTOMER_ID]
    mapped = {kind: (_renamed(table, columns), file) for kind, (table, file) in tables.items()}
    _check_mapping(mapped, columns, drop)
    events = _interactions(*mapped["interactions"], notes) if "interactions" in mapped else None
    people = _customers(*mapped["customers"], drop, positive, number_rows, notes) if "customers" in mapped else None
    deeds = _actions(*mapped["actions"]) if "actions" in mapped else None
    cohort = Cohort.build(name=name, source="tables", customers=people, interactions=events, actions=deeds, notes=notes)
    return label_by_inactivity(cohort, churn_days) if churn_days else cohort


def _candidates(folder: Path, kind: str) -> list[Path]:
    return [folder / f"{kind}{suffix}" for suffix in SUFFIXES if (folder / f"{kind}{suffix}").is_file()][:1]


def _has_events(file: Path) -> bool:
    """Whether a table looks like interactions: it has something like an action and a time."""
    guessed = guess_columns(read_file(file))
    return {ACTION, TIMESTAMP} <= set(guessed) or {TIMESTAMP, VALUE} <= set(guessed)


def _renamed(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    theirs = {" ".join(their.split()): ours for ours, their in columns.items()}
    return table.rename(columns={c: theirs[c] for c in table.columns if c in theirs})


def _check_mapping(
    mapped: Mapping[str, tuple[pd.DataFrame, str]], columns: Mapping[str, str], drop: Sequence[str]
) -> None:
    """A mapping that no table has, or a column to drop that is nowhere, is a mistake and not ignored."""
    have = {c for table, _ in mapped.values() for c in table.columns}
    for ours, theirs in columns.items():
        if ours not in have:
            raise ConfigError(f"--column {ours}={theirs}: no table has a column {theirs!r}")
    for column in drop:
        if column not in have:
            raise ConfigError(f"--drop {column}: no table has such a column; found {', '.join(sorted(have)[:12])}")
    for table, file in mapped.values():
        doubled = table.columns[table.columns.duplicated()]
        if len(doubled):
            raise DataError(f"{file}: the column {doubled[0]!r} stands there twice after mapping; rename or drop one")


def _interactions(table: pd.DataFrame, file: str, notes: list[str]) -> pd.DataFrame:
    if ACTION not in table and CUSTOMER_ID in table and TIMESTAMP in table:
        # A plain list of purchases has one kind of event only.
        table = table.assign(**{ACTION: "purchase"})
        notes.append(f"{file}: no column tells actions apart; every row counts as the action 'purchase'.")
    _need(table, file, CUSTOMER_ID, ACTION, TIMESTAMP)
    return pd.DataFrame(
        {
            CUSTOMER_ID: names_of(table, file, CUSTOMER_ID),
            ACTION: names_of(table, file, ACTION),
            TIMESTAMP: moments_of(table, file, TIMESTAMP, notes),
            VALUE: _finite(numbers_of(table, file, VALUE)) if VALUE in table else float("nan"),
        }
    )


def _customers(
    table: pd.DataFrame, file: str, drop: Sequence[str], positive: str | None, number_rows: bool, notes: list[str]
) -> pd.DataFrame:
    if number_rows:
        width = len(str(len(table)))
        ids = pd.Series(range(1, len(table) + 1), index=table.index).astype("str").str.zfill(width)
        table = table.assign(**{CUSTOMER_ID: "row " + ids})
        notes.append(f"{file}: customers are named by their row.")
    _need(table, file, CUSTOMER_ID)
    ids = names_of(table, file, CUSTOMER_ID)
    doubled = ids.duplicated()
    if doubled.any():
        row = int(doubled.to_numpy().argmax())
        raise DataError(
            f"{file} row {row + 2}: customer_id {ids.iloc[row]!r} stands there a second time "
            f"({int(doubled.sum()):,} doubled in all); give each customer one row"
        )
    columns = {CUSTOMER_ID: ids}
    if CHURNED in table and CHURNED not in drop:
        columns[CHURNED] = labels_of(table, file, CHURNED, positive)
    others = [c for c in table.columns if c not in (CUSTOMER_ID, CHURNED) and c not in drop]
    return pd.DataFrame(columns | {str(c): feature_of(table[c]) for c in others})


def _need(table: pd.DataFrame, file: str, *columns: str) -> None:
    """`need_columns`, with a guess at what the missing one is called here."""
    guessed = guess_columns(table)
    for column in columns:
        if column not in table and guessed.get(column) in table:
            raise DataError(
                f"{file}: expected the column {column!r}, found {', '.join(map(str, table.columns[:12]))}; "
                f"perhaps --column {column}={guessed[column]}"
            )
        if column == CUSTOMER_ID and column not in table:
            raise DataError(
                f"{file}: expected the column {column!r}, found {', '.join(map(str, table.columns[:12]))}; map it with "
                f"--column, or number the rows with --column {CUSTOMER_ID}={ROW}"
            )
    need_columns(table, file, *columns)


def _actions(table: pd.DataFrame, file: str) -> pd.DataFrame:
    need_columns(table, file, ACTION)
    columns = {ACTION: names_of(table, file, ACTION)}
    if REPEATABLE in table:
        columns[REPEATABLE] = labels_of(table, file, REPEATABLE).fillna(True).astype(bool)
    plain = {c: table[c] for c in (LABEL, KIND) if c in table}
    others = [c for c in table.columns if c not in (ACTION, LABEL, KIND, REPEATABLE)]
    return pd.DataFrame(columns | plain | {str(c): feature_of(table[c]) for c in others})


def _finite(values: pd.Series) -> pd.Series:
    """Infinite values count as missing: no rating or amount is infinite."""
    return values.where(values.abs() != float("inf"))
