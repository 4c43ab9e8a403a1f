"""General tables: `interactions`, `customers` and `actions` as CSV, Parquet or .xlsx; one of the first two suffices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import ConfigError, DataError
from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.columns import (
    feature_of,
    labels_of,
    names_of,
    need_columns,
    numbers_of,
    row_of,
    without_row_numbers,
)
from crm_models.data.sources.importer import Importer
from crm_models.data.sources.inactivity import label_by_inactivity
from crm_models.data.sources.moments import moments_of
from crm_models.data.sources.reading import SHEETS_LEFT_OUT, read_file

TABLES = ("interactions", "customers", "actions")
ENDINGS = tuple(f".{kind}{pack}" for kind in ("csv", "parquet", "tsv", "txt", "xlsx") for pack in ("", ".gz", ".zip"))

_FIGURES = re.compile(r"[0-9 .,:/+-]+")

Table = tuple[pd.DataFrame, str]
"""A table, and its file name for messages."""

ROW = "ROW"
"""As the column mapped to customer_id, numbers customers by row: for tables without an id column."""

USUAL_NAMES = {
    CUSTOMER_ID: "customer_id customer user_id users_id user client_id client client_num member_id cust_id "
    "customer_number id",
    ACTION: "action item item_id product product_id event event_type sku stock_code movie_id asin offer_id offer",
    TIMESTAMP: "timestamp time date datetime event_time event_date created_at order_date purchase_date "
    "transaction_date invoice_date when",
    VALUE: "value rating amount amt price revenue score dollar_value sales quantity",
    CHURNED: "churned churn exited is_churn churn_flag churn_label churn_value attrition_flag attrition left target "
    "label",
}
"""Usual names of each column, most likely first; compared without case, blanks and punctuation."""

DOUBTFUL = ("left", "target", "label")
"""Label names that may also mean something else: suggested, never used automatically."""

TAKEN = {"interactions": (CUSTOMER_ID, ACTION, TIMESTAMP, VALUE), "customers": (CUSTOMER_ID, CHURNED), "actions": ()}
"""Columns used automatically under a usual name, with a note, if neither mapped nor present by their standard name."""


def guess_columns(table: pd.DataFrame) -> dict[str, str]:
    """The likely customer, action, timestamp, value and label columns of a table: standard name to column."""
    plain = {_plain(column): str(column) for column in reversed(table.columns)}
    guesses: dict[str, str] = {}
    for name, usual in USUAL_NAMES.items():
        for candidate in usual.split():
            column = plain.get(_plain(candidate))
            if column is not None and column not in guesses.values():
                guesses[name] = column
                break
    return guesses


def import_tables(
    sources: Sequence[Path],
    *,
    churn_days: float | None = None,
    columns: Mapping[str, str] | None = None,
    positive: str | None = None,
    drop: Sequence[str] = (),
) -> Cohort:
    """A cohort from tables in a folder, or from up to three files of any name, recognised by their columns.

    columns: standard name to the name in the file, such as {"customer_id": "userId"}; usual names need no mapping.
    positive: the label value that means churned, if it is not a usual word. drop: columns to leave out. churn_days:
    label churn by inactivity instead.
    """
    notes: list[str] = []
    return cohort_from_tables(
        find_tables(sources, columns, drop, notes),
        churn_days=churn_days,
        columns=columns,
        drop=drop,
        positive=positive,
        notes=notes,
    )


def find_tables(
    sources: Sequence[Path], columns: Mapping[str, str] | None, drop: Sequence[str], notes: list[str]
) -> dict[str, Table]:
    """The tables by kind, which is the file name, or else is inferred from the columns after renaming by `columns`.

    Columns that differ from a standard name only in case, blanks and punctuation ("Customer ID") are renamed, unless
    mapped or dropped; missing ones are taken from `USUAL_NAMES`, and notes list them.
    """
    columns = columns or {}
    reserved = {" ".join(column.split()) for column in (*columns.values(), *drop)}
    tables: dict[str, Table] = {}
    for file in (file for source in sources for file in _files(source)):
        table = _standard_spelling(read_file(file), set(columns), reserved)
        stem = file.name.split(".")[0].lower()
        kind = stem if stem in TABLES else kind_of(_renamed(table, columns))
        if kind in tables:
            raise DataError(f"{file.name}: expected one table of {kind}, found a second besides {tables[kind][1]}")
        if table.attrs.get(SHEETS_LEFT_OUT):
            notes.append(
                f"{file.name}: sheets with other columns are not read: {', '.join(table.attrs[SHEETS_LEFT_OUT])}."
            )
        tables[kind] = (_with_usual_names(table, kind, file.name, set(columns), reserved, notes), file.name)
    if not {"interactions", "customers"} & set(tables):
        raise DataError(f"{sources[0]}: expected a table of interactions or customers, found only actions")
    return tables


def kind_of(table: pd.DataFrame) -> str:
    """Whether a table is `interactions`, `customers` or `actions`, by standard column names, else by usual ones."""
    exact, likely = set(map(str, table.columns)), set(guess_columns(table))
    if TIMESTAMP in exact:
        return "interactions"
    if CHURNED in exact:
        return "customers"
    if ACTION in exact or (ACTION in likely and CUSTOMER_ID not in likely and TIMESTAMP not in likely):
        return "interactions" if {CUSTOMER_ID, TIMESTAMP} & (exact | likely) else "actions"
    return "interactions" if {CUSTOMER_ID, TIMESTAMP} <= likely and likely & {ACTION, VALUE} else "customers"


def cohort_from_tables(
    tables: Mapping[str, Table],
    *,
    churn_days: float | None = None,
    columns: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    positive: str | None = None,
    name: str = "tables",
    notes: Sequence[str] = (),
) -> Cohort:
    """`import_tables` for tables in memory: kind (`interactions`, `customers`, `actions`) to table and file name."""
    all_notes, columns = list(notes), dict(columns or {})
    number_rows = columns.get(CUSTOMER_ID) == ROW
    if number_rows:
        del columns[CUSTOMER_ID]
    mapped = _mapped(tables, columns, drop)
    events = _interactions(*mapped["interactions"], all_notes) if "interactions" in mapped else None
    customers = _customers(*mapped["customers"], positive, number_rows, all_notes) if "customers" in mapped else None
    actions = _actions(*mapped["actions"], all_notes) if "actions" in mapped else None
    if positive is not None and (customers is None or CHURNED not in customers):
        raise ConfigError(
            f"--positive {positive}: no table of customers has the column 'churned'; map it with --column"
        )
    if events is not None and customers is not None:
        _refuse_disjoint_customers(events, customers, mapped)
    cohort = Cohort.build(
        name=name, source="tables", customers=customers, interactions=events, actions=actions, notes=all_notes
    )
    return cohort if churn_days is None else label_by_inactivity(cohort, churn_days)


# ---- files and names -------------------------------------------------------------------------------------------------


def _files(source: Path) -> list[Path]:
    """The tables of a folder with standard file names, or else all tables if there are at most three."""
    if not source.exists():
        raise DataError(f"{source}: expected a file or folder, found none")
    if not source.is_dir():
        return [source]
    candidates = sorted(f for f in source.iterdir() if f.is_file() and f.name.lower().endswith(ENDINGS))
    standard = [f for f in candidates if f.name.split(".")[0].lower() in TABLES]
    if standard or 0 < len(candidates) <= len(TABLES):
        return standard or candidates
    names = ", ".join(sorted(f.name for f in source.iterdir())[:8]) or "an empty folder"
    raise DataError(f"{source}: expected interactions.csv or customers.csv (or .parquet), found {names}")


def _plain(column: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(column).lower())


def _renamed(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    standard = {" ".join(column.split()): name for name, column in columns.items()}
    return table.rename(columns={c: standard[c] for c in table.columns if c in standard})


def _standard_spelling(table: pd.DataFrame, mapped: set[str], reserved: set[str]) -> pd.DataFrame:
    names = {}
    for name in (CUSTOMER_ID, ACTION, TIMESTAMP, CHURNED):
        same = [c for c in table.columns if _plain(c) == _plain(name) and c not in reserved]
        if len(same) == 1 and name not in mapped:
            names[same[0]] = name
    return table.rename(columns=names)


def _with_usual_names(
    table: pd.DataFrame, kind: str, file: str, mapped: set[str], reserved: set[str], notes: list[str]
) -> pd.DataFrame:
    guessed = guess_columns(table[[c for c in table.columns if c not in reserved]])
    names = {guessed[name]: name for name in TAKEN[kind] if name in guessed and name not in {*mapped, *table.columns}}
    names = {column: name for column, name in names.items() if name != CHURNED or _plain(column) not in DOUBTFUL}
    if names:
        listed = ", ".join(f"{name}={column}" for column, name in names.items())
        notes.append(f"{file}: columns recognised by their usual names: {listed} (--column maps others).")
    return table.rename(columns=names)


def _mapped(tables: Mapping[str, Table], columns: Mapping[str, str], drop: Sequence[str]) -> dict[str, Table]:
    """The tables with standard names and without dropped columns. `ConfigError` for unknown columns in either."""
    existing = {str(c) for table, _ in tables.values() for c in table.columns}
    listed = ", ".join(sorted(existing)[:12])
    for name, column in columns.items():
        if " ".join(column.split()) not in existing:
            raise ConfigError(f"--column {name}={column}: no table has a column {column!r}; found {listed}")
    dropped = {" ".join(column.split()) for column in drop}
    for column in sorted(dropped - existing):
        raise ConfigError(f"--drop {column}: no table has such a column; found {listed}")
    mapped = {}
    for kind, (table, file) in tables.items():
        kept = _renamed(table.drop(columns=[c for c in table.columns if c in dropped]), columns)
        duplicates = kept.columns[kept.columns.duplicated()]
        if len(duplicates):
            raise DataError(f"{file}: duplicate column {duplicates[0]!r} after mapping; --drop the other one")
        mapped[kind] = (kept, file)
    return mapped


def _need(table: pd.DataFrame, file: str, *columns: str) -> None:
    """`need_columns`, with a guess in the message which column is the missing one."""
    guessed = guess_columns(table)
    existing = ", ".join(map(str, table.columns[:12]))
    for column in columns:
        if column not in table and _FIGURES.fullmatch("".join(map(str, table.columns))):
            raise DataError(f"{file} row 1: expected column names, found {existing}; add a header row above the data")
        if column not in table and column in guessed:
            raise DataError(
                f"{file}: expected the column {column!r}, found {existing}; perhaps --column {column}={guessed[column]}"
            )
        if column == CUSTOMER_ID and column not in table:
            raise DataError(
                f"{file}: expected the column {column!r}, found {existing}; map it with "
                f"--column, or number the rows with --column {CUSTOMER_ID}={ROW}"
            )
    need_columns(table, file, *columns)


# ---- tables ----------------------------------------------------------------------------------------------------------


def _interactions(table: pd.DataFrame, file: str, notes: list[str]) -> pd.DataFrame:
    if ACTION not in table and {CUSTOMER_ID, TIMESTAMP} <= set(table.columns):
        # A plain list of purchases has only one kind of event.
        guessed = guess_columns(table).get(ACTION)
        hint = f", unless --column {ACTION}={guessed} is given" if guessed else ""
        table = table.assign(**{ACTION: "purchase"})
        notes.append(f"{file}: no action column found; every row counts as the action 'purchase'{hint}.")
    _need(table, file, CUSTOMER_ID, ACTION, TIMESTAMP)
    unused = [str(c) for c in table.columns if c not in (CUSTOMER_ID, ACTION, TIMESTAMP, VALUE)]
    if unused:
        notes.append(f"{file}: unused columns of interactions: {', '.join(unused[:12])}.")
    return pd.DataFrame(
        {
            CUSTOMER_ID: names_of(table, file, CUSTOMER_ID),
            ACTION: names_of(table, file, ACTION),
            TIMESTAMP: moments_of(table, file, TIMESTAMP, notes),
            VALUE: numbers_of(table, file, VALUE, notes) if VALUE in table else float("nan"),
        }
    )


def _customers(
    table: pd.DataFrame, file: str, positive: str | None, number_rows: bool, notes: list[str]
) -> pd.DataFrame:
    if number_rows:
        table = numbered(table, file, notes)
    _need(table, file, CUSTOMER_ID)
    ids = _unique_ids(table, file, CUSTOMER_ID)
    columns = {CUSTOMER_ID: ids}
    if CHURNED in table:
        columns[CHURNED] = labels_of(table, file, CHURNED, positive, notes)
    others = [c for c in table.columns if c not in (CUSTOMER_ID, CHURNED)]
    features = {str(c): feature_of(table, file, c, notes) for c in others}
    return pd.DataFrame(columns | without_row_numbers(features, file, notes))


def numbered(table: pd.DataFrame, file: str, notes: list[str]) -> pd.DataFrame:
    """The table with row numbers as customer ids, and a note: "row 0001" is the first below the header."""
    ids = pd.Series(range(1, len(table) + 1), index=table.index).astype("str").str.zfill(len(str(len(table))))
    notes.append(f"{file}: customers are numbered by row.")
    return table.assign(**{CUSTOMER_ID: "row " + ids})


def _actions(table: pd.DataFrame, file: str, notes: list[str]) -> pd.DataFrame:
    _need(table, file, ACTION)
    columns = {ACTION: _unique_ids(table, file, ACTION)}
    if REPEATABLE in table:
        columns[REPEATABLE] = labels_of(table, file, REPEATABLE).fillna(True).astype(bool)
    texts = {c: table[c] for c in (LABEL, KIND) if c in table}
    others = [c for c in table.columns if c not in (ACTION, LABEL, KIND, REPEATABLE)]
    return pd.DataFrame(columns | texts | {str(c): feature_of(table, file, c, notes) for c in others})


def _unique_ids(table: pd.DataFrame, file: str, column: str) -> pd.Series:
    """Ids as text; `DataError` with the row of a duplicate."""
    ids = names_of(table, file, column)
    duplicate = ids.duplicated()
    if duplicate.any():
        raise DataError(
            f"{file} row {row_of(table, duplicate)}: duplicate {column} {ids[duplicate].iloc[0]!r} "
            f"(duplicate rows: {int(duplicate.sum()):,}); keep one row for each {column}"
        )
    return ids


def _refuse_disjoint_customers(events: pd.DataFrame, customers: pd.DataFrame, mapped: Mapping[str, Table]) -> None:
    """`DataError` if two tables have no customer in common: a wrong mapping would separate labels from events."""
    active, known = events[CUSTOMER_ID].cat.categories, customers[CUSTOMER_ID].cat.categories
    if len(active) and len(known) and not known.isin(active).any():
        raise DataError(
            f"{mapped['interactions'][1]} and {mapped['customers'][1]}: expected the same customers in both, found "
            f"none in common (first {active[0]!r} and {known[0]!r}); map the right columns with --column"
        )


IMPORTER = Importer(title="Your own tables", files="interactions.csv, customers.csv, or both", read=import_tables)
