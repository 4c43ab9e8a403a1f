"""The general form: `interactions`, `customers` and `actions` as CSV or Parquet, any of the first two missing."""

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
"""A table and the name of the file it came from, for messages."""

ROW = "ROW"
"""Mapped to customer_id, this numbers the customers by their row: for tables that name nobody."""

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
"""What the columns are called elsewhere, the likeliest first; compared without case, blanks and punctuation."""

DOUBTFUL = ("left", "target", "label")
"""Names of a label that may as well be something else: proposed, never taken."""

TAKEN = {"interactions": (CUSTOMER_ID, ACTION, TIMESTAMP, VALUE), "customers": (CUSTOMER_ID, CHURNED), "actions": ()}
"""Which columns are taken from likely ones, with a note, where nobody mapped them and none has our name."""


def guess_columns(table: pd.DataFrame) -> dict[str, str]:
    """Which column of a table is likely the customer, the action, the timestamp, the value and the label."""
    plain = {_plain(column): str(column) for column in reversed(table.columns)}
    found: dict[str, str] = {}
    for name, usual in USUAL_NAMES.items():
        for candidate in usual.split():
            column = plain.get(_plain(candidate))
            if column is not None and column not in found.values():
                found[name] = column
                break
    return found


def import_tables(
    sources: Sequence[Path],
    *,
    churn_days: float | None = None,
    columns: Mapping[str, str] | None = None,
    positive: str | None = None,
    drop: Sequence[str] = (),
) -> Cohort:
    """A cohort from tables in a folder, or from up to three files of any name, told apart by their columns.

    columns: our name to theirs, as in {"customer_id": "userId"}; likely names are found without it. positive: the value
    of the label that means churned, where it is no usual word. drop: columns to leave out. churn_days: label churn by
    inactivity instead.
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
    """The tables, by what they are: known by name, else by the columns they have once `columns` renames them.

    Columns called as ours but for case, blanks and punctuation ("Customer ID") get our name, unless mapped or dropped;
    so do likely ones where none is (see `USUAL_NAMES`), and notes say which.
    """
    columns = columns or {}
    spoken_for = {" ".join(theirs.split()) for theirs in (*columns.values(), *drop)}
    found: dict[str, Table] = {}
    for file in (file for source in sources for file in _files(source)):
        table = _in_our_case(read_file(file), set(columns), spoken_for)
        stem = file.name.split(".")[0].lower()
        kind = stem if stem in TABLES else kind_of(_renamed(table, columns))
        if kind in found:
            raise DataError(f"{file.name}: expected one table of {kind}, found a second beside {found[kind][1]}")
        if table.attrs.get(SHEETS_LEFT_OUT):
            notes.append(
                f"{file.name}: sheets with other columns are not read: {', '.join(table.attrs[SHEETS_LEFT_OUT])}."
            )
        found[kind] = (_likely_taken(table, kind, file.name, set(columns), spoken_for, notes), file.name)
    if not {"interactions", "customers"} & set(found):
        raise DataError(f"{sources[0]}: expected a table of interactions or customers, found only actions")
    return found


def kind_of(table: pd.DataFrame) -> str:
    """Whether a table looks like `interactions`, `customers` or `actions`: our own names decide, else likely ones."""
    sure, likely = set(map(str, table.columns)), set(guess_columns(table))
    if TIMESTAMP in sure:
        return "interactions"
    if CHURNED in sure:
        return "customers"
    if ACTION in sure or (ACTION in likely and CUSTOMER_ID not in likely and TIMESTAMP not in likely):
        return "interactions" if {CUSTOMER_ID, TIMESTAMP} & (sure | likely) else "actions"
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
    """The same from tables in memory: kind (`interactions`, `customers`, `actions`) to a table and its file's name."""
    said, columns = list(notes), dict(columns or {})
    number_rows = columns.get(CUSTOMER_ID) == ROW
    if number_rows:
        del columns[CUSTOMER_ID]
    mapped = _mapped(tables, columns, drop)
    events = _interactions(*mapped["interactions"], said) if "interactions" in mapped else None
    people = _customers(*mapped["customers"], positive, number_rows, said) if "customers" in mapped else None
    deeds = _actions(*mapped["actions"], said) if "actions" in mapped else None
    if positive is not None and (people is None or CHURNED not in people):
        raise ConfigError(
            f"--positive {positive}: no table of customers has the column 'churned'; map it with --column"
        )
    if events is not None and people is not None:
        _refuse_strangers(events, people, mapped)
    cohort = Cohort.build(name=name, source="tables", customers=people, interactions=events, actions=deeds, notes=said)
    return cohort if churn_days is None else label_by_inactivity(cohort, churn_days)


# ---- files and names -------------------------------------------------------------------------------------------------


def _files(source: Path) -> list[Path]:
    """The tables of a folder by their usual names, or if it has none of these, up to three of any name."""
    if not source.exists():
        raise DataError(f"{source}: expected a file or folder, found none")
    if not source.is_dir():
        return [source]
    inside = sorted(f for f in source.iterdir() if f.is_file() and f.name.lower().endswith(ENDINGS))
    usual = [f for f in inside if f.name.split(".")[0].lower() in TABLES]
    if usual or 0 < len(inside) <= len(TABLES):
        return usual or inside
    names = ", ".join(sorted(f.name for f in source.iterdir())[:8]) or "an empty folder"
    raise DataError(f"{source}: expected interactions.csv or customers.csv (or .parquet), found {names}")


def _plain(column: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(column).lower())


def _renamed(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    theirs = {" ".join(their.split()): ours for ours, their in columns.items()}
    return table.rename(columns={c: theirs[c] for c in table.columns if c in theirs})


def _in_our_case(table: pd.DataFrame, mapped: set[str], spoken_for: set[str]) -> pd.DataFrame:
    names = {}
    for ours in (CUSTOMER_ID, ACTION, TIMESTAMP, CHURNED):
        same = [c for c in table.columns if _plain(c) == _plain(ours) and c not in spoken_for]
        if len(same) == 1 and ours not in mapped:
            names[same[0]] = ours
    return table.rename(columns=names)


def _likely_taken(
    table: pd.DataFrame, kind: str, file: str, mapped: set[str], spoken_for: set[str], notes: list[str]
) -> pd.DataFrame:
    guessed = guess_columns(table[[c for c in table.columns if c not in spoken_for]])
    names = {guessed[ours]: ours for ours in TAKEN[kind] if ours in guessed and ours not in {*mapped, *table.columns}}
    names = {theirs: ours for theirs, ours in names.items() if ours != CHURNED or _plain(theirs) not in DOUBTFUL}
    if names:
        listed = ", ".join(f"{ours}={theirs}" for theirs, ours in names.items())
        notes.append(f"{file}: columns were taken by their names: {listed} (--column maps others).")
    return table.rename(columns=names)


def _mapped(tables: Mapping[str, Table], columns: Mapping[str, str], drop: Sequence[str]) -> dict[str, Table]:
    """The tables without dropped columns, under our names. A mapping or a drop that no table has is a mistake."""
    have = {str(c) for table, _ in tables.values() for c in table.columns}
    listed = ", ".join(sorted(have)[:12])
    for ours, theirs in columns.items():
        if " ".join(theirs.split()) not in have:
            raise ConfigError(f"--column {ours}={theirs}: no table has a column {theirs!r}; found {listed}")
    dropped = {" ".join(column.split()) for column in drop}
    for column in sorted(dropped - have):
        raise ConfigError(f"--drop {column}: no table has such a column; found {listed}")
    mapped = {}
    for kind, (table, file) in tables.items():
        kept = _renamed(table.drop(columns=[c for c in table.columns if c in dropped]), columns)
        doubled = kept.columns[kept.columns.duplicated()]
        if len(doubled):
            raise DataError(f"{file}: the column {doubled[0]!r} stands there twice after mapping; --drop the other one")
        mapped[kind] = (kept, file)
    return mapped


def _need(table: pd.DataFrame, file: str, *columns: str) -> None:
    """`need_columns`, with a guess at what the missing one is called here."""
    guessed = guess_columns(table)
    has = ", ".join(map(str, table.columns[:12]))
    for column in columns:
        if column not in table and _FIGURES.fullmatch("".join(map(str, table.columns))):
            raise DataError(f"{file} row 1: expected column names, found {has}; write a row of names above the data")
        if column not in table and column in guessed:
            raise DataError(
                f"{file}: expected the column {column!r}, found {has}; perhaps --column {column}={guessed[column]}"
            )
        if column == CUSTOMER_ID and column not in table:
            raise DataError(
                f"{file}: expected the column {column!r}, found {has}; map it with "
                f"--column, or number the rows with --column {CUSTOMER_ID}={ROW}"
            )
    need_columns(table, file, *columns)


# ---- tables ----------------------------------------------------------------------------------------------------------


def _interactions(table: pd.DataFrame, file: str, notes: list[str]) -> pd.DataFrame:
    if ACTION not in table and {CUSTOMER_ID, TIMESTAMP} <= set(table.columns):
        # A plain list of purchases has one kind of event only.
        guessed = guess_columns(table).get(ACTION)
        hint = f", unless --column {ACTION}={guessed} is given" if guessed else ""
        table = table.assign(**{ACTION: "purchase"})
        notes.append(f"{file}: no column tells actions apart; every row counts as the action 'purchase'{hint}.")
    _need(table, file, CUSTOMER_ID, ACTION, TIMESTAMP)
    unused = [str(c) for c in table.columns if c not in (CUSTOMER_ID, ACTION, TIMESTAMP, VALUE)]
    if unused:
        notes.append(f"{file}: columns of interactions that are not used: {', '.join(unused[:12])}.")
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
    ids = _only_once(table, file, CUSTOMER_ID)
    columns = {CUSTOMER_ID: ids}
    if CHURNED in table:
        columns[CHURNED] = labels_of(table, file, CHURNED, positive, notes)
    others = [c for c in table.columns if c not in (CUSTOMER_ID, CHURNED)]
    features = {str(c): feature_of(table, file, c, notes) for c in others}
    return pd.DataFrame(columns | without_row_numbers(features, file, notes))


def numbered(table: pd.DataFrame, file: str, notes: list[str]) -> pd.DataFrame:
    """The table with customers named by their row, which a note says: "row 0001" is the first below the header."""
    ids = pd.Series(range(1, len(table) + 1), index=table.index).astype("str").str.zfill(len(str(len(table))))
    notes.append(f"{file}: customers are named by their row.")
    return table.assign(**{CUSTOMER_ID: "row " + ids})


def _actions(table: pd.DataFrame, file: str, notes: list[str]) -> pd.DataFrame:
    _need(table, file, ACTION)
    columns = {ACTION: _only_once(table, file, ACTION)}
    if REPEATABLE in table:
        columns[REPEATABLE] = labels_of(table, file, REPEATABLE).fillna(True).astype(bool)
    plain = {c: table[c] for c in (LABEL, KIND) if c in table}
    others = [c for c in table.columns if c not in (ACTION, LABEL, KIND, REPEATABLE)]
    return pd.DataFrame(columns | plain | {str(c): feature_of(table, file, c, notes) for c in others})


def _only_once(table: pd.DataFrame, file: str, column: str) -> pd.Series:
    """Ids as text; `DataError` naming the row where one stands a second time."""
    ids = names_of(table, file, column)
    doubled = ids.duplicated()
    if doubled.any():
        raise DataError(
            f"{file} row {row_of(table, doubled)}: {column} {ids[doubled].iloc[0]!r} stands there a second time "
            f"({int(doubled.sum()):,} doubled in all); give each one row"
        )
    return ids


def _refuse_strangers(events: pd.DataFrame, people: pd.DataFrame, mapped: Mapping[str, Table]) -> None:
    """Two tables that have no customer in common were mapped wrongly; all labels and all events would fall apart."""
    active, known = events[CUSTOMER_ID].cat.categories, people[CUSTOMER_ID].cat.categories
    if len(active) and len(known) and not known.isin(active).any():
        raise DataError(
            f"{mapped['interactions'][1]} and {mapped['customers'][1]}: expected the same customers in both, found "
            f"none in common ({active[0]!r} here, {known[0]!r} there); map the right columns with --column"
        )


IMPORTER = Importer(title="Your own tables", files="interactions.csv, customers.csv, or both", read=import_tables)
