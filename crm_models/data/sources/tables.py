"""General tables: `interactions`, `customers` and `actions` as CSV, Parquet or .xlsx; one of the first two suffices.

`files` finds and reads the tables, `roles` says which column is what, `columns`, `ids` and `moments` read the cells;
here they become a cohort. The receipt goes with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crm_models.core.errors import ConfigError, DataError
from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, KIND, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.data.sources.column import ROLES, need_columns
from crm_models.data.sources.features import feature_of, without_row_numbers
from crm_models.data.sources.files import TABLES, Table, find_tables, renamed_columns
from crm_models.data.sources.frames import LEFT_OUT
from crm_models.data.sources.ids import join_twins, names_of, note_twins_within, renamed, unique_names_of
from crm_models.data.sources.importer import Importer
from crm_models.data.sources.inactivity import label_by_inactivity
from crm_models.data.sources.labels import labels_of
from crm_models.data.sources.moments import clock_beside, moments_of, with_clock
from crm_models.data.sources.numbers import numbers_of
from crm_models.data.sources.parts import read_by_file
from crm_models.data.sources.reading import ReadOptions
from crm_models.data.sources.receipt import Receipt, read_recipe, row_of
from crm_models.data.sources.roles import (
    action_candidates,
    guess_columns,
    id_candidates,
    kind_of,
    labels_again,
    offer_label,
)

__all__ = ["ROW", "TABLES", "cohort_from_tables", "guess_columns", "import_tables", "kind_of"]

_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?")
_FIGURES = re.compile(r"[0-9 .,:/+-]+")

ROW = "ROW"
"""As the column mapped to customer_id, numbers customers by row: for tables without an id column."""

LATE = pd.Timedelta(days=1)
"""Events later than tomorrow have not happened."""
MANY_EVENTS = 100
LONE_EVENTS = 5
LONE_DAYS = 180
"""Up to so many last events, so many days after all others, are probably mistyped: they would decide churn for all."""
EARLY_DAYS = 5 * 365
"""The same for first events: 1970-01-01 is what programs write for no date."""

RECIPE_OPTIONS = ("columns", "drop", "positive", "churn_days", "encoding")


def import_tables(
    sources: Sequence[Path],
    *,
    churn_days: float | None = None,
    columns: Mapping[str, str] | None = None,
    positive: str | None = None,
    drop: Sequence[str] = (),
    encoding: str | None = None,
    as_of: str | None = None,
    recipe: Path | None = None,
    answers: Mapping[str, str] | None = None,
    accept_doubts: bool = False,
    skip_bad_rows: bool = False,
) -> Cohort:
    """A cohort from tables in a folder, or from files of any name, recognised by their columns.

    columns: standard name to the name in the file, such as {"customer_id": "userId"}; usual names need no mapping.
    positive: the label value that means churned, if it is not a usual word. drop: columns to leave out. churn_days:
    label churn by inactivity instead. encoding: of text files, found if None. as_of: the day the export was made;
    later events are left out, and churn by inactivity counts back from it. recipe: the recipe.json of an earlier
    import, whose options and answers hold unless others are given. answers: doubt id to reading. accept_doubts: take
    the proposed readings. skip_bad_rows: leave out rows that cannot be read. `DoubtError` if doubts are open.
    """
    return imported(
        lambda read, known, receipt: find_tables(sources, known.get("columns"), known.get("drop", ()), read, receipt),
        {"churn_days": churn_days, "columns": columns, "positive": positive, "drop": drop, "encoding": encoding},
        as_of=as_of,
        recipe=recipe,
        answers=answers,
        accept_doubts=accept_doubts,
        skip_bad_rows=skip_bad_rows,
    )


def imported(
    find: Callable[[ReadOptions, Mapping[str, Any], Receipt], dict[str, Table]],
    given: Mapping[str, Any],
    *,
    as_of: str | None = None,
    recipe: Path | None = None,
    answers: Mapping[str, str] | None = None,
    accept_doubts: bool = False,
    skip_bad_rows: bool = False,
) -> Cohort:
    """A cohort with its receipt from the tables that `find` gives; see `import_tables` for the options.

    given: options that a recipe remembers (`RECIPE_OPTIONS`); those of the recipe hold where one is not given.
    """
    remembered = read_recipe(recipe)
    known = {name: value for name, value in remembered.get("options", {}).items() if name in RECIPE_OPTIONS}
    options: dict[str, Any] = known | {name: value for name, value in given.items() if value}
    receipt = Receipt(
        answers=answers or {}, recipe=remembered, accept_doubts=accept_doubts, skip_bad_rows=skip_bad_rows
    )
    read = ReadOptions(encoding=options.get("encoding"), skip_ragged=skip_bad_rows)
    with receipt.doubts_beside_refusals():
        cohort = cohort_from_tables(
            find(read, options, receipt),
            churn_days=options.get("churn_days"),
            columns=options.get("columns"),
            drop=options.get("drop", ()),
            positive=options.get("positive"),
            as_of=as_of,
            receipt=receipt,
        )
    receipt.check_answers()
    receipt.need_settled()
    return replace(cohort, documents=receipt.documents(options))


def cohort_from_tables(
    tables: dict[str, Table],
    *,
    churn_days: float | None = None,
    columns: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    positive: str | None = None,
    as_of: str | None = None,
    name: str = "tables",
    receipt: Receipt | None = None,
) -> Cohort:
    """`import_tables` for tables in memory: kind (`interactions`, `customers`, `actions`) to table and file name.

    Takes the tables out of the dictionary, so that their text is freed as it is read. The caller sees to open doubts:
    `receipt.need_settled()`.
    """
    receipt, columns = receipt or Receipt(), dict(columns or {})
    files = {kind: file for kind, (_, file) in tables.items()}
    receipt.kinds |= {file: kind for kind, file in files.items()}
    number_rows = columns.get(CUSTOMER_ID) == ROW
    if number_rows:
        del columns[CUSTOMER_ID]
    mapped = _mapped(tables, columns, drop)
    tables.clear()
    made_on = _made_on(as_of)
    events = _interactions(mapped, made_on, receipt) if "interactions" in mapped else None
    label = columns.get(CHURNED, CHURNED)
    customers = (
        _customers(*mapped.pop("customers"), positive, label, number_rows, receipt) if "customers" in mapped else None
    )
    actions = _actions(*mapped.pop("actions"), receipt) if "actions" in mapped else None
    if positive is not None and (customers is None or CHURNED not in customers):
        raise ConfigError(
            f"--positive {positive}: no table of customers has the column 'churned'; map it with --column"
        )
    if events is not None and customers is not None:
        events, customers = _joined(events, customers, (files["interactions"], files["customers"]), receipt)
    receipt.rows["kept"] = sum(len(table) for table in (events, customers, actions) if table is not None)
    receipt.count_rejected()
    receipt.note_changes()
    cohort = Cohort.build(
        name=name, source="tables", customers=customers, interactions=events, actions=actions, notes=receipt.notes
    )
    return cohort if churn_days is None else label_by_inactivity(cohort, churn_days, made_on=made_on)


def receipt_of_known() -> Receipt:
    """The receipt of public data, which asks nothing: also their first and last events are known to be right."""
    return Receipt(accept_doubts=True, answers={"interactions.timestamp.late": "keep"}, may_skip=False)


def known_cohort(
    form: str,
    tables: dict[str, Table],
    receipt: Receipt,
    churn_days: float | None = None,
    activity: Sequence[str] | None = None,
) -> Cohort:
    """The cohort of a known format from tables with our columns. churn_days, activity: see `label_by_inactivity`."""
    cohort = cohort_from_tables(tables, name=form, receipt=receipt)
    receipt.rows["kept"] = receipt.rows["read"] - receipt.rows["explained"]  # products and customers are made of events
    cohort = replace(cohort, source=form, documents=receipt.documents({}))
    return cohort if churn_days is None else label_by_inactivity(cohort, churn_days, activity)


def _made_on(as_of: str | None) -> pd.Timestamp | None:
    """The end of the day on which the export was made."""
    if as_of is None:
        return None
    try:
        if not _ISO.fullmatch(as_of):
            raise ValueError
        day = pd.Timestamp(as_of)
    except ValueError:
        raise ConfigError(
            f"--as-of expects a date such as 2026-01-31 (year-month-day, also with a time: 2026-01-31T18:00), found "
            f"{as_of!r}"
        ) from None
    return day + pd.Timedelta(days=1) - pd.Timedelta(seconds=1) if day == day.normalize() else day


def _mapped(tables: Mapping[str, Table], columns: Mapping[str, str], drop: Sequence[str]) -> dict[str, Table]:
    """The tables with standard names and without dropped columns. `ConfigError` for unknown columns in either."""
    existing = {str(c) for table, _ in tables.values() for c in table.columns}
    listed = ", ".join(sorted(existing)[:12])
    existing_bytes = {column for table, _ in tables.values() for column in table.attrs.get(LEFT_OUT, [])}
    for name, column in columns.items():
        if name not in ROLES:
            raise ConfigError(f"--column {name}={column}: no standard name {name!r}; known are {', '.join(ROLES)}")
        if " ".join(column.split()) not in existing:
            raise ConfigError(f"--column {name}={column}: no table has a column {column!r}; found {listed}")
    dropped = {" ".join(column.split()) for column in drop}
    for column in sorted(dropped - existing - existing_bytes):
        raise ConfigError(f"--drop {column}: no table has such a column; found {listed}")
    mapped = {}
    for kind, (table, file) in tables.items():
        kept = renamed_columns(table.drop(columns=[c for c in table.columns if c in dropped]), columns)
        duplicates = kept.columns[kept.columns.duplicated()]
        if len(duplicates):
            raise DataError(f"{file}: duplicate column {duplicates[0]!r} after mapping; --drop the other one")
        mapped[kind] = (kept, file)
    return mapped


def is_headless(table: pd.DataFrame) -> bool:
    """Whether the names of the columns are figures: the file begins with data."""
    return _FIGURES.fullmatch("".join(map(str, table.columns))) is not None


def _need(table: pd.DataFrame, file: str, *columns: str) -> None:
    """`need_columns`, with a guess in the message which column is the missing one."""
    guessed = guess_columns(table)
    existing = ", ".join(map(str, table.columns[:12]))
    for column in columns:
        if column not in table and is_headless(table):
            raise DataError(f"{file} row 1: expected column names, found {existing}; add a header row above the data")
        if column not in table and column in guessed:
            raise DataError(
                f"{file}: expected the column {column!r}, found {existing}; perhaps --column {column}={guessed[column]}"
            )
    need_columns(table, file, *columns)


def _interactions(mapped: dict[str, Table], made_on: pd.Timestamp | None, receipt: Receipt) -> pd.DataFrame:
    """The events; takes their table out of `mapped`, so that no caller holds the text of millions of cells."""
    table, file = mapped.pop("interactions")
    if ACTION not in table and {CUSTOMER_ID, TIMESTAMP} <= set(table.columns):
        table = _with_action(table, file, receipt)
    _need(table, file, CUSTOMER_ID, ACTION, TIMESTAMP)
    clock = clock_beside(table)
    unused = [str(c) for c in table.columns if c not in (CUSTOMER_ID, ACTION, TIMESTAMP, VALUE, clock)]
    if unused:
        receipt.note(f"{file}: unused columns of interactions: {', '.join(unused[:12])}.")
    columns: dict[str, Any] = {}
    for column in (CUSTOMER_ID, ACTION):
        columns[column] = names_of(table, file, column, receipt)
        table = table.drop(columns=column)  # ids take most of the memory
    columns[TIMESTAMP] = read_by_file(moments_of, table, file, TIMESTAMP, receipt)
    if clock is not None:
        columns[TIMESTAMP] = with_clock(columns[TIMESTAMP], table, file, clock, receipt)
    columns[VALUE] = read_by_file(numbers_of, table, file, VALUE, receipt) if VALUE in table else float("nan")
    events = pd.DataFrame(columns, copy=False)
    if pd.api.types.is_datetime64_any_dtype(events[TIMESTAMP]):
        _leave_out_late(table, events, file, made_on, receipt)
    good = _good_rows(table, file, receipt)
    del table, columns
    events = events if good.all() else events[good]
    pa.default_memory_pool().release_unused()
    note_twins_within(events[CUSTOMER_ID], file, receipt)
    note_twins_within(events[ACTION], file, receipt, ACTION)
    return _oldest_first(events, file, receipt)


def _good_rows(table: pd.DataFrame, file: str, receipt: Receipt) -> np.ndarray:
    """(R,) whether each row is kept. `DataError` if none is."""
    good = receipt.good_rows(table, file)
    if not good.any():
        raise DataError(f"{file}: expected rows that can be read, found none; correct the file")
    return good


def _with_action(table: pd.DataFrame, file: str, receipt: Receipt) -> pd.DataFrame:
    """The table with an action: a plain list of purchases has only one; a column that could be it is asked about."""
    candidates = action_candidates(table, CUSTOMER_ID, TIMESTAMP, VALUE)
    chosen = "purchase"
    if candidates:
        shown = {c: ", ".join(map(str, table[c].dropna().unique()[:3])) for c in candidates[:3]}
        chosen = receipt.ask(
            "column",
            file=file,
            column=ACTION,
            evidence=f"{file}: no column is named as the action; {candidates[0]!r} has {shown[candidates[0]]}.",
            readings={c: f"the action is in {c!r} ({words})" for c, words in shown.items()}
            | {"purchase": "every row is the same action, 'purchase'"},
        )
    if chosen != "purchase":
        return table.rename(columns={chosen: ACTION})
    guessed = guess_columns(table).get(ACTION)
    hint = f", unless --column {ACTION}={guessed} is given" if guessed else ""
    receipt.note(f"{file}: no action column found; every row counts as the action 'purchase'{hint}.")
    return table.assign(**{ACTION: "purchase"})


def _leave_out_late(
    table: pd.DataFrame, events: pd.DataFrame, file: str, made_on: pd.Timestamp | None, receipt: Receipt
) -> None:
    """Events after the day of the export are rejected; without that day, a few far ahead of all others are asked about.

    One date mistyped by years would put the cut-off there, and everybody would have churned.
    """
    when = events[TIMESTAMP]
    if made_on is not None:
        late = (when > made_on).to_numpy()
        if late.any() and late[when.notna()].all():
            raise ConfigError(
                f"--as-of: {file}: all {len(late):,} events are later than {made_on:%d %B %Y %H:%M}, from "
                f"{when.min():%d %B %Y %H:%M} on; give the day on which the export was made"
            )
        expected = f"not later than the export of {made_on:%d %B %Y %H:%M} (UTC where time zones are written)"
        receipt.reject(table, file, TIMESTAMP, late, expected)
        return
    late, why = _mistyped(when)
    if not late.any() or late.mean() >= 0.5:
        return  # where most are late, the data check warns: the whole table is of another time
    written = str(table[TIMESTAMP].to_numpy()[late][0])
    chosen = receipt.ask(
        "late",
        file=file,
        column=TIMESTAMP,
        evidence=f"{file}: {int(late.sum()):,} of {len(late):,} events {why} (first: {written!r} in row "
        f"{row_of(table, late)}); the last event decides who counts as churned, the first one how long the "
        "history is. --as-of DATE says when the export was made.",
        readings={"leave_out": "mistyped, these rows are left out", "keep": "as written"},
    )
    if chosen == "leave_out":
        receipt.reject(table, file, TIMESTAMP, late, "a moment that can have happened")


def _mistyped(when: pd.Series) -> tuple[np.ndarray, str]:
    """Which events have not happened yet, or are far from all others, and how to say it."""
    late = (when > pd.Timestamp.now() + LATE).to_numpy()
    dated = when.dropna().to_numpy()
    if late.any() or len(dated) < MANY_EVENTS:
        return late, "are later than tomorrow"
    # numpy's partition takes ten times as long.
    last = np.sort(dated[pc.top_k_unstable(pa.array(dated), LONE_EVENTS + 1)])
    gaps = np.diff(last) > np.timedelta64(LONE_DAYS, "D")
    if gaps.any():
        return (when > last[int(gaps.argmax())]).to_numpy(), f"are more than {LONE_DAYS} days later than all others"
    first = np.sort(dated[pc.bottom_k_unstable(pa.array(dated), LONE_EVENTS + 1)])
    gaps = np.diff(first) > np.timedelta64(EARLY_DAYS, "D")
    early = when < first[len(gaps) - int(gaps[::-1].argmax())] if gaps.any() else when.isna() & False
    return early.to_numpy(), f"are more than {EARLY_DAYS // 365} years earlier than all others"


def _oldest_first(events: pd.DataFrame, file: str, receipt: Receipt) -> pd.DataFrame:
    """The events, turned round if times only fall down the file: then ties are in falling order, too."""
    step = np.diff(events[TIMESTAMP].to_numpy())
    zero = np.zeros(1, dtype=step.dtype)[0]
    if not len(step) or (step > zero).any() or not (step < zero).any() or not (step == zero).any():
        return events
    receipt.note(f"{file}: the newest events come first; the order of events at the same moment is turned round.")
    return events.iloc[::-1]


def _customers(
    table: pd.DataFrame, file: str, positive: str | None, label: str, number_rows: bool, receipt: Receipt
) -> pd.DataFrame:
    """The customers. label: the name of the churn label in the file."""
    if number_rows:
        table = numbered(table, file, receipt)
    elif CUSTOMER_ID not in table and not is_headless(table) and CUSTOMER_ID not in guess_columns(table):
        # One column is rather a table with an unknown delimiter.
        table = _with_customer(table, file, receipt) if table.shape[1] > 1 else table
    if CHURNED not in table and (offered := offer_label(table, file, receipt)):
        table, label = table.rename(columns={offered: CHURNED}), offered
    _need(table, file, CUSTOMER_ID)
    columns = {CUSTOMER_ID: unique_names_of(table, file, CUSTOMER_ID, receipt)}
    if CHURNED in table:
        columns[CHURNED] = labels_of(table, file, CHURNED, positive, receipt, written=label)
        table = table.drop(columns=labels_again(table, file, receipt))
    others = [c for c in table.columns if c not in (CUSTOMER_ID, CHURNED)]
    features = {str(c): read_by_file(feature_of, table, file, c, receipt) for c in others}
    customers = pd.DataFrame(columns | without_row_numbers(features, file, receipt))
    good = _good_rows(table, file, receipt)
    customers = customers if good.all() else customers[good].reset_index(drop=True)
    note_twins_within(customers[CUSTOMER_ID], file, receipt)
    return customers


def _with_customer(table: pd.DataFrame, file: str, receipt: Receipt) -> pd.DataFrame:
    """The table with a customer, which is asked for: a column that tells all rows apart, or the row number."""
    chosen = receipt.ask(
        "column",
        file=file,
        column=CUSTOMER_ID,
        evidence=f"{file}: no column is named as the customer ({CUSTOMER_ID}).",
        readings={"rows": "every row is a customer of its own, called by its number"}
        | {c: f"the customer is in {c!r} ({table[c].iloc[0]})" for c in id_candidates(table)[:3]}
        | {"stop": "not to be used"},
    )
    return numbered(table, file, receipt) if chosen == "rows" else table.rename(columns={chosen: CUSTOMER_ID})


def numbered(table: pd.DataFrame, file: str, receipt: Receipt) -> pd.DataFrame:
    """The table with row numbers as customer ids, and a note: "row 0001" is the first below the header."""
    ids = pd.Series(range(1, len(table) + 1), index=table.index).astype("str").str.zfill(len(str(len(table))))
    receipt.note(f"{file}: customers are numbered by row.")
    return table.assign(**{CUSTOMER_ID: "row " + ids})


def _joined(
    events: pd.DataFrame, customers: pd.DataFrame, files: tuple[str, str], receipt: Receipt
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with one spelling of each id, where the spellings differ only in zeros or capitals."""
    new_names = join_twins(events[CUSTOMER_ID], customers[CUSTOMER_ID], files, receipt)
    events = events.assign(**{CUSTOMER_ID: renamed(events[CUSTOMER_ID], new_names)})
    customers = customers.assign(**{CUSTOMER_ID: renamed(customers[CUSTOMER_ID], new_names)})
    _refuse_disjoint_customers(events, customers, files)
    return events, customers


def _actions(table: pd.DataFrame, file: str, receipt: Receipt) -> pd.DataFrame:
    _need(table, file, ACTION)
    columns = {ACTION: unique_names_of(table, file, ACTION, receipt)}
    if REPEATABLE in table:
        columns[REPEATABLE] = labels_of(table, file, REPEATABLE, receipt=receipt).fillna(True).astype(bool)
    texts = {c: table[c] for c in (LABEL, KIND) if c in table}
    others = [c for c in table.columns if c not in (ACTION, LABEL, KIND, REPEATABLE)]
    actions = pd.DataFrame(
        columns | texts | {str(c): read_by_file(feature_of, table, file, c, receipt) for c in others}
    )
    return actions[receipt.good_rows(table, file)].reset_index(drop=True)


def _refuse_disjoint_customers(events: pd.DataFrame, customers: pd.DataFrame, files: tuple[str, str]) -> None:
    """`DataError` if two tables have no customer in common: a wrong mapping would separate labels from events."""
    active, known = events[CUSTOMER_ID].cat.categories, customers[CUSTOMER_ID].cat.categories
    if len(active) and len(known) and not known.isin(active).any():
        raise DataError(
            f"{files[0]} and {files[1]}: expected the same customers in both, found "
            f"none in common (first {active[0]!r} and {known[0]!r}); map the right columns with --column"
        )


IMPORTER = Importer(title="Your own tables", files="interactions.csv, customers.csv, or both", read=import_tables)
