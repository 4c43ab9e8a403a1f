"""Find the tables among files and folders, read them, and say which files are not read and why."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from crm_models.core.errors import DataError
from crm_models.core.schema import ACTION, CHURNED, CUSTOMER_ID, TIMESTAMP, VALUE
from crm_models.data.sources.frames import FOOTERS, RAGGED, REMARKS, is_text, together
from crm_models.data.sources.order_lines import joined, key_of, wants_lines
from crm_models.data.sources.reading import ReadOptions, read_files
from crm_models.data.sources.receipt import Receipt, counted
from crm_models.data.sources.roles import DOUBTFUL, FEW_ROWS, customer_of, dated_columns, guess_columns, kind_of, plain
from crm_models.data.sources.rows import data_rows

TABLES = ("interactions", "customers", "actions")
ENDINGS = tuple(
    f".{kind}{pack}" for kind in ("csv", "jsonl", "parquet", "tsv", "txt", "xlsx") for pack in ("", ".gz", ".zip")
)
IGNORED = ("receipt.json", "recipe.json", "rejected.csv")
"""What an import writes itself."""

TAKEN = {"interactions": (CUSTOMER_ID, ACTION, TIMESTAMP, VALUE), "customers": (CUSTOMER_ID, CHURNED), "actions": ()}
"""Columns used automatically under a usual name, with a note, if neither mapped nor present by their standard name."""


_DATE = re.compile(r"^[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}\b")

Table = tuple[pd.DataFrame, str]
"""A table, and its file name for messages."""


def find_tables(
    sources: Sequence[Path],
    columns: Mapping[str, str] | None,
    drop: Sequence[str],
    options: ReadOptions,
    receipt: Receipt,
) -> dict[str, Table]:
    """The tables by kind, which is the file name, or else is inferred from the columns after renaming by `columns`.

    Columns that differ from a standard name only in case, blanks and punctuation ("Customer ID") are renamed, unless
    mapped or dropped; missing ones are taken from usual names and values, and the notes list them. Files of one kind
    with the same columns are read together. Files that are not read are named in the receipt.
    """
    return recognised(_read(sources, options, receipt), columns, drop, receipt)


def recognised(
    read: Iterable[tuple[pd.DataFrame, str, bool]],
    columns: Mapping[str, str] | None,
    drop: Sequence[str],
    receipt: Receipt,
) -> dict[str, Table]:
    """The tables among those read: their cells, a name, and whether each must be a table; see `find_tables`."""
    columns = columns or {}
    reserved = {" ".join(column.split()) for column in (*columns.values(), *drop)}
    tables: dict[str, Table] = {}
    for cells, name, is_main in read:
        _refuse_without_header(cells, name)
        cells = _standard_spelling(cells, set(columns), reserved)
        file, _, sheet = name.partition(", sheet ")
        stems = [sheet.lower(), *([file.split(".")[0].lower()] if is_main or not sheet else [])]
        kind = next((s for s in stems if s in TABLES), None) or kind_of(renamed_columns(cells, columns))
        receipt.count_file(cells, name, kind)
        _add(tables, kind, (cells, name), is_main, receipt)
    join_lines(tables, receipt)
    if not {"interactions", "customers"} & set(tables):
        names = ", ".join(name for _, name in tables.values()) or "no table"
        raise DataError(f"expected a table of interactions or customers, found only actions ({names})")
    for kind, (cells, name) in tables.items():
        receipt.kinds[name] = kind
        tables[kind] = (_with_usual_names(cells, name, kind, set(columns), reserved, receipt), name)
    return tables


def join_lines(tables: dict[str, Table], receipt: Receipt) -> None:
    """Make events of the lines of orders, which look like a table of actions in which actions repeat, if wanted."""
    if not {"interactions", "actions"} <= set(tables):
        return
    (orders, orders_name), (lines, lines_name) = tables["interactions"], tables["actions"]
    key = key_of(orders, lines)
    if key is None:
        return
    del tables["actions"]
    receipt.kinds[orders_name] = "interactions"
    files = [file for file in receipt.files if file["kind"] == "actions"]
    if wants_lines(orders_name, lines_name, key, receipt):
        for file in files:
            file["kind"] = "interactions"
        tables["interactions"] = joined(orders, lines, key, (orders_name, lines_name), receipt), lines_name
    else:
        receipt.files = [file for file in receipt.files if file not in files]
        receipt.rows["read"] -= len(lines)
        _not_read(receipt, lines_name, "it is left apart")


def _refuse_without_header(cells: pd.DataFrame, name: str) -> None:
    """`DataError` if the first row is no header: a name of a column is a date or time, as the cells below it are."""
    for column in cells:
        if _DATE.match(str(column)) and is_text(cells[column]):
            sample = cells[column].dropna().iloc[:100]
            if len(sample) and sample.str.contains(_DATE).mean() > 0.9:
                raise DataError(
                    f"{name} row 1: expected column names, found data ({str(column)[:40]!r}); add a header row above it"
                )


def _read(sources: Sequence[Path], options: ReadOptions, receipt: Receipt) -> Iterator[tuple[pd.DataFrame, str, bool]]:
    for file, is_main in _files(sources, receipt):
        try:
            tables = read_files(file, options)
        except DataError as error:
            if is_main:
                raise
            _not_read(receipt, file.name, f"it is no table that can be read ({error})")
            continue
        for k, (cells, name) in enumerate(tables):
            yield cells, name, is_main and k == 0


def renamed_columns(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """The table with its columns renamed; columns: standard name to the name in the file."""
    standard = {" ".join(column.split()): name for name, column in columns.items()}
    return table.rename(columns={c: standard[c] for c in table.columns if c in standard})


def prepared(cells: pd.DataFrame, file: str, receipt: Receipt) -> pd.DataFrame:
    """The rows of a table just read that are data; counts them and notes what was unusual about the file."""
    attrs = cells.attrs
    footers, ragged = attrs.get(FOOTERS, []), attrs.get(RAGGED, [])
    receipt.rows["read"] += len(cells) + len(footers) + len(ragged)
    for remark in attrs.get(REMARKS, []):
        receipt.note(f"{file}: {remark}")
    if footers:
        receipt.rows["explained"] += len(footers)
        receipt.left_out.append({"file": file, "rows": len(footers), "first_row": None, "why": "lines below the table"})
        receipt.note(
            f"{file}: {counted(len(footers), 'line')} below the table left out, the first {footers[0][:60]!r}."
        )
    receipt.reject_ragged(file, ragged)
    return data_rows(cells, file, [str(c) for c in cells.columns], receipt)


def _add(tables: dict[str, Table], kind: str, found: Table, is_main: bool, receipt: Receipt) -> None:
    """Take a table, join it to one of the same kind and columns, or say why it is not read."""
    first, (cells, name) = tables.get(kind), found
    if first is None and (is_main or stands_alone(cells, name, kind)):
        tables[kind] = prepared(cells, name, receipt), name
        if not is_main:
            receipt.note(f"{name}: read as {kind}, by its columns.")
        return
    if first is not None and set(cells.columns) == set(first[0].columns):
        tables[kind] = _joined(first, found, kind, receipt)
        return
    receipt.files.pop()
    if first is not None and is_main:
        raise DataError(
            f"{name}: expected one table of {kind}, found a second besides {first[1]}; give both the same columns to "
            "read them together"
        )
    _not_read(receipt, name, f"its columns are not those of {first[1] if first else 'a known table'}")


def stands_alone(cells: pd.DataFrame, name: str, kind: str) -> bool:
    """Whether a table beside the named ones says by itself what it is: by customer and time, or by its sheet's name."""
    guessed = {*guess_columns(cells), *map(str, cells.columns)}
    if name.lower().endswith(tuple(f", sheet {table}" for table in TABLES)):
        return True
    needed = {"interactions": {CUSTOMER_ID, TIMESTAMP}, "customers": {CUSTOMER_ID}}.get(kind)
    return needed is not None and needed <= guessed and len(cells) >= FEW_ROWS


def _joined(first: Table, second: Table, kind: str, receipt: Receipt) -> Table:
    """Two files of one kind as one table, unless the second is a copy or has the same customers again."""
    (before, first_name), (cells, name) = first, second
    cells = cells[list(before.columns)]
    if len(cells) == len(before) and cells.reset_index(drop=True).equals(before.reset_index(drop=True)):
        receipt.files.pop()
        _not_read(receipt, name, f"it is a copy of {first_name}")
        return first
    cells = prepared(cells, name, receipt)
    receipt.note(f"{first_name} and {name} have the same columns and are read together as {kind}.")
    return together([first, (cells, name)])


def _not_read(receipt: Receipt, name: str, why: str) -> None:
    receipt.not_read.append({"name": name, "why": why})
    receipt.note(f"{name} is not read: {why}.")


def _files(sources: Sequence[Path], receipt: Receipt) -> list[tuple[Path, bool]]:
    """The files to read, and whether each must be a table: those beside tables of standard names need not."""
    files: list[tuple[Path, bool]] = []
    for source in sources:
        if not source.exists():
            raise DataError(f"{source}: expected a file or folder, found none")
        is_table = source.is_dir() and _is_parquet_folder(source)
        files += _in_folder(source, receipt) if source.is_dir() and not is_table else [(source, True)]
    return files


def _in_folder(folder: Path, receipt: Receipt) -> list[tuple[Path, bool]]:
    entries = sorted(f for f in folder.iterdir() if not f.name.startswith(".") and f.name not in IGNORED)
    candidates = [f for f in entries if _may_be_table(f)]
    standard = [f for f in candidates if f.name.split(".")[0].lower() in TABLES]
    too_many = not standard and len(candidates) > len(TABLES) and not _one_layout(candidates)
    if not candidates or too_many:
        names = ", ".join(f.name for f in entries[:8]) or "an empty folder"
        raise DataError(
            f"{folder}: expected interactions.csv or customers.csv (or .parquet), found {names}; name the files to read"
        )
    for other in (f for f in entries if f not in candidates):
        why = "folders within are not read" if other.is_dir() else f"its name ends in none of {', '.join(ENDINGS[::3])}"
        _not_read(receipt, other.name, why)
    others = [f for f in candidates if f not in standard]
    return [(f, True) for f in standard] + [(f, not standard and bool(f.suffix)) for f in others]


def _may_be_table(file: Path) -> bool:
    """Whether a file has the ending of a table, or none, as in archives; folders of Parquet files are tables, too."""
    if file.is_dir():
        return any(file.rglob("*.parquet"))
    return not file.suffix or file.name.lower().endswith(ENDINGS)


def _is_parquet_folder(folder: Path) -> bool:
    """Whether a folder is one table in parts: Parquet files that no name of a table tells apart."""
    files = [f for f in folder.iterdir() if f.is_file() and not f.name.startswith((".", "_"))]
    stems = {f.name.split(".")[0].lower() for f in files}
    return len(files) > 1 and all(f.suffix == ".parquet" for f in files) and not stems & set(TABLES)


def _one_layout(files: Sequence[Path]) -> bool:
    """Whether all files begin with the same line: parts of one export."""
    first_lines = set()
    for file in files:
        if file.is_dir():
            return False
        with open(file, "rb") as text:
            first_lines.add(text.readline(65_536).strip())
    return len(first_lines) == 1


def _standard_spelling(table: pd.DataFrame, mapped: set[str], reserved: set[str]) -> pd.DataFrame:
    names = {}
    for name in (CUSTOMER_ID, ACTION, TIMESTAMP, CHURNED):
        same = [c for c in table.columns if plain(c) == plain(name) and c not in reserved]
        if len(same) == 1 and name not in mapped:
            names[same[0]] = name
    return table.rename(columns=names)


def _with_usual_names(
    table: pd.DataFrame, file: str, kind: str, mapped: set[str], reserved: set[str], receipt: Receipt
) -> pd.DataFrame:
    free = table[[c for c in table.columns if c not in reserved]]
    guessed = guess_columns(free) | ({CUSTOMER_ID: c} if (c := customer_of(free, kind)) else {})
    if kind == "interactions" and TIMESTAMP not in {*guessed, *mapped, *map(str, table.columns)}:
        dated = dated_columns(free, *guessed.values())
        if len(dated) > 1:
            shown = {c: str(free[c].dropna().iloc[0])[:20] for c in dated}
            evidence = f"{file}: no column is named as the time of the event; {' and '.join(shown)} hold dates."
            readings = {c: f"the time is in {c!r} ({first})" for c, first in shown.items()}
            guessed[TIMESTAMP] = receipt.ask(
                "column", file=file, column=TIMESTAMP, evidence=evidence, readings=readings
            )
        guessed |= {TIMESTAMP: dated[0]} if len(dated) == 1 else {}
    names = {guessed[name]: name for name in TAKEN[kind] if name in guessed and name not in {*mapped, *table.columns}}
    names = {column: name for column, name in names.items() if name != CHURNED or plain(column) not in DOUBTFUL}
    if names:
        listed = ", ".join(f"{name}={column}" for column, name in names.items())
        receipt.note(f"{file}: columns recognised by their usual names: {listed} (--column maps others).")
    return table.rename(columns=names)
