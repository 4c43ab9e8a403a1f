"""The receipt of an import: what was read, how, what was left out, and which doubts were settled how.

Every function that judges cells takes a `Receipt`: it keeps the notes, asks about doubts, and refuses or collects bad
rows. `documents` turns it into the files that are kept beside the cohort.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from crm_models.core.errors import ConfigError, DataError
from crm_models.core.files import read_json
from crm_models.data.sources.frames import PARTS, first_row_of, written_name

SettledBy = Literal["answer", "recipe", "accepted", "open", "none needed"]

SAMPLES = 3
FIELDS = ("file", "row", "column", "value", "reason")
"""Columns of rejected.csv."""
LISTED_REJECTS = 1_000_000
"""Most rows written to rejected.csv; all are counted."""


class DoubtError(DataError):
    """An import that stops because of doubts; `doubts` are those that wait for an answer.

    refusal: what could not be read, where that may follow from the proposed reading of a doubt.
    """

    def __init__(self, doubts: Sequence[Doubt], refusal: str = "") -> None:
        self.doubts, self.refusal = tuple(doubts), refusal
        s = "" if len(doubts) == 1 else "s"
        answers = ", ".join(f"{doubt.id}={doubt.chosen}" for doubt in doubts)
        if refusal:
            message = f"{refusal}; or choose another reading of {len(doubts)} open doubt{s} with --answer ({answers})"
        else:
            message = (
                f"{len(doubts)} doubt{s} would change the results; settle {'each' if s else 'it'} with --answer "
                f"({answers}), or give --accept-doubts to take the proposed reading{s}"
            )
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A column or file that can be read in two ways.

    readings: key to meaning, the proposed one first. chosen: the key taken. stops: whether the import waits for an
    answer, because the readings give different results and the evidence does not decide.
    """

    id: str
    column: str
    evidence: str
    readings: dict[str, str]
    chosen: str
    settled_by: SettledBy
    stops: bool

    @property
    def is_open(self) -> bool:
        """Whether the import must not go on before somebody has chosen."""
        return self.stops and self.settled_by == "open"

    def text(self) -> str:
        """The doubt in one line, with the options that settle it."""
        ways = "; ".join(f"--answer {self.id}={key} ({meaning})" for key, meaning in self.readings.items())
        return f"{self.evidence} Proposed: {self.readings[self.chosen]}. Settle it with {ways}."


@dataclass(frozen=True, kw_only=True)
class ColumnRead:
    """How one column was read. blanks: word to number of cells; odd: cells that are not what the column is.

    unit: what stands beside its numbers or behind its name, such as "%" or "EUR".
    """

    file: str
    column: str
    role: str
    type: str
    blanks: dict[str, int] = field(default_factory=dict)
    odd: int = 0
    first_odd: tuple[int, str] | None = None
    samples: tuple[tuple[str, str], ...] = ()
    unit: str = ""

    def facts(self) -> dict[str, Any]:
        """The content of receipt.json for this column; `role` is called `as` there."""
        facts = asdict(self)
        return {"file": facts.pop("file"), "column": facts.pop("column"), "as": facts.pop("role"), **facts}


@dataclass
class Receipt:
    """What an import does and says; see the module.

    answers: doubt id to reading, as given; recipe: the content of an earlier recipe.json. skip_bad_rows: whether rows
    that cannot be read are rejected instead of refusing the file. ask_again: whether an answer that is no reading of
    its doubt is asked for again, as one of a recipe is, instead of being refused. may_skip: whether the user can choose
    skip_bad_rows.
    """

    answers: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    accept_doubts: bool = False
    skip_bad_rows: bool = False
    ask_again: bool = False
    may_skip: bool = True
    notes: list[str] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    not_read: list[dict[str, str]] = field(default_factory=list)
    columns: list[ColumnRead] = field(default_factory=list)
    twins: list[dict[str, Any]] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("read", "kept", "rejected", "explained"), 0))
    left_out: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    _rejects: list[dict[str, Any]] = field(default_factory=list)
    _bad: dict[str, set[int]] = field(default_factory=dict)
    _n_ragged: dict[str, int] = field(default_factory=dict)

    def count_file(self, cells: pd.DataFrame, name: str, kind: str) -> None:
        """List a file that is read, with its layout."""
        encoding, delimiter = cells.attrs.get("encoding"), cells.attrs.get("delimiter")
        facts = {"name": name, "kind": kind, "rows": len(cells), "encoding": encoding, "delimiter": delimiter}
        self.files.append(facts)

    def note(self, text: str) -> None:
        """Add a sentence that the user should read."""
        if text not in self.notes:
            self.notes.append(text)

    def ask(
        self,
        subject: str,
        *,
        file: str,
        column: str,
        evidence: str,
        readings: dict[str, str],
        stops: bool = True,
    ) -> str:
        """The reading to take for a doubt: the given answer, that of the recipe, or the first one, which is proposed.

        subject: with the kind of file and the column it makes the id, which stays the same next month.
        """
        key = self.key(file, column, subject)
        known = next((doubt for doubt in self.doubts if doubt.id == key), None)
        if known is not None:
            return known.chosen
        chosen, by = self._answered(key, readings, stops)
        doubt = Doubt(
            id=key, column=column, evidence=evidence, readings=readings, chosen=chosen, settled_by=by, stops=stops
        )
        self.doubts.append(doubt)
        if chosen == "stop":
            raise DataError(f"{evidence} You chose to stop here.")
        if not doubt.is_open:
            self.note(f"{evidence} Read as: {readings[chosen]}.")
        return chosen

    @property
    def _remembered(self) -> dict[str, str]:
        """The answers of the recipe, by doubt."""
        answers: dict[str, str] = self.recipe.get("answers", {})
        return answers

    def key(self, file: str, column: str, subject: str) -> str:
        """The id of a doubt."""
        parts = [self.kinds.get(file, file.split(".")[0]), column, subject]
        return ".".join(part.replace(" ", "_").replace("=", "_") for part in parts if part)

    def given(self, key: str) -> tuple[str | None, SettledBy]:
        """The reading that an answer or the recipe has for a doubt, and which of them."""
        if key in self.answers:
            return self.answers[key], "answer"
        return self._remembered.get(key), "recipe"

    def _answered(self, key: str, readings: Mapping[str, str], stops: bool) -> tuple[str, SettledBy]:
        given, remembered = self.answers.get(key), self._remembered.get(key)
        if given is not None and given in readings:
            return given, "answer"
        if given is not None and not self.ask_again:
            raise ConfigError(f"--answer {key}: expected {' or '.join(readings)}, found {given!r}")
        if remembered is not None and remembered in readings:
            return remembered, "recipe"
        proposed = next(iter(readings))
        if not stops:
            return proposed, "none needed"
        return proposed, "accepted" if self.accept_doubts else "open"

    def refuse(
        self,
        table: pd.DataFrame,
        file: str,
        column: str,
        bad: pd.Series | np.ndarray,
        expected: str,
        advice: str = "correct or remove the row",
    ) -> None:
        """Raise `DataError` for the first bad row, or reject all bad rows if bad rows are skipped."""
        bad = np.asarray(bad, dtype=bool)
        if self.skip_bad_rows:
            self.reject(table, file, column, bad, expected)
        elif bad.any():
            value = table[column].to_numpy()[bad][0]
            found = "a blank" if pd.isna(value) else repr(str(value)[:40])
            how_many, them = (f"{int(bad.sum()):,} such rows; ", "them") if bad.sum() > 1 else ("", "it")
            more = f" ({how_many}--skip-bad-rows leaves {them} out)" if self.may_skip else ""
            where = f"{place_of(table, file, bad)}, column {written_name(table, column)!r}"
            raise DataError(f"{where}: expected {expected}, found {found}{more}; {advice}")

    def reject(self, table: pd.DataFrame, file: str, column: str, bad: np.ndarray, expected: str) -> None:
        """Reject all bad rows (R,), whatever the option says."""
        if not bad.any():
            return  # the text of millions of cells takes long
        values, name = table[column].to_numpy()[bad], written_name(table, column)
        labels = table.index.to_numpy()[bad]
        known = self._bad.setdefault(file, set())
        reason = f"expected {expected}"
        for label, value in zip(labels.tolist(), values.tolist(), strict=True):
            if label not in known:
                known.add(label)
                if len(self._rejects) < LISTED_REJECTS:
                    text = "" if pd.isna(value) else str(value)
                    where, row = _located(table, file, label)
                    self._rejects.append({"file": where, "row": row, "column": name, "value": text, "reason": reason})

    def reject_ragged(self, file: str, rows: Sequence[tuple[int, str]]) -> None:
        """Reject rows with too few or too many cells, as (row number, text), that the reader has left out."""
        about = {"file": file, "column": "", "reason": "expected as many cells as the header"}
        self._rejects += [about | {"row": row, "value": text} for row, text in rows]
        if rows:
            self._n_ragged[file] = len(rows)

    def good_rows(self, table: pd.DataFrame, file: str) -> np.ndarray:
        """(R,) whether each row of the table is kept: it was not rejected."""
        bad = self._bad.get(file)
        return ~table.index.isin(list(bad)) if bad else np.ones(len(table), dtype=bool)

    def count_rejected(self) -> None:
        """Write the number of rejected rows into `rows` and say it, once all tables are read."""
        counts = {file: len(bad) for file, bad in self._bad.items() if bad}
        for file, n in self._n_ragged.items():
            counts[file] = counts.get(file, 0) + n
        self.rows["rejected"] = sum(counts.values())
        for file, n in counts.items():
            listed = (reject for reject in self._rejects if reject["file"] in file.split(" + "))
            first = min(listed, key=lambda reject: reject["row"], default=None)
            where = f" (first: row {first['row']}, {first['column'] or 'cells'}: {first['reason']})" if first else ""
            self.note(f"{file}: {counted(n, 'row')} left out{where}; see rejected.csv.")

    def explain(self, table: pd.DataFrame, file: str, left_out: np.ndarray, why: str, said: str = "") -> pd.DataFrame:
        """The table without the rows that are no data, which are counted and noted: as said, or with the first."""
        if not left_out.any():
            return table
        n, row = int(left_out.sum()), row_of(table, left_out)
        self.rows["explained"] += n
        self.left_out.append({"file": file, "rows": n, "first_row": row, "why": why})
        self.note(said or f"{file}: {counted(n, 'row')} left out ({'first: ' if n > 1 else ''}row {row}): {why}.")
        return table[~left_out]

    def need_settled(self) -> None:
        """`DoubtError` if doubts that would change results are open."""
        if open_doubts := self._open_doubts():
            raise DoubtError(open_doubts)

    def _open_doubts(self) -> list[Doubt]:
        return [doubt for doubt in self.doubts if doubt.is_open]

    @contextmanager
    def doubts_beside_refusals(self) -> Iterator[None]:
        """Within, a refusal also names the doubts that are open: another reading of them may be the way on."""
        try:
            yield
        except DataError as error:
            if open_doubts := self._open_doubts():
                raise DoubtError(open_doubts, str(error)) from None
            raise

    def check_answers(self) -> None:
        """`ConfigError` for an answer to a doubt that did not come up: probably a spelling mistake."""
        ids = [doubt.id for doubt in self.doubts]
        for key in self.answers:
            if key not in ids:
                raise ConfigError(f"--answer {key}: no such doubt; found {', '.join(ids) or 'none'}")

    def facts(self) -> dict[str, Any]:
        """The content of receipt.json."""
        return {
            "format": 1,
            "files": self.files,
            "not_read": self.not_read,
            "columns": [column.facts() for column in self.columns],
            "rows": self.rows,
            "left_out": self.left_out,
            "twins": self.twins,
            "doubts": [asdict(doubt) for doubt in self.doubts],
            "notes": self.notes,
        }

    def rejected_csv(self) -> str:
        """The content of rejected.csv: file, row, column, value and reason of every rejected row."""
        out = io.StringIO()
        writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rejects)
        return out.getvalue()

    def documents(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The files kept beside the cohort: file name to content. options: those of the importer, for the recipe."""
        recipe = {
            "format": 1,
            "options": {name: value for name, value in options.items() if value},
            "answers": self._unneeded()
            | {d.id: d.chosen for d in self.doubts if d.settled_by in ("answer", "recipe", "accepted")},
            "columns": self.schema(),
        }
        documents: dict[str, Any] = {"receipt.json": self.facts(), "recipe.json": recipe}
        return documents | ({"rejected.csv": self.rejected_csv()} if self._rejects else {})

    def _unneeded(self) -> dict[str, str]:
        """The answers of the recipe to doubts that have not come up: they may again next month."""
        ids = {doubt.id for doubt in self.doubts}
        return {key: answer for key, answer in self._remembered.items() if key not in ids}

    def schema(self) -> dict[str, dict[str, str]]:
        """Kind of table to column to what it was read as, for the comparison with next month's files."""
        schema: dict[str, dict[str, str]] = {}
        for column in self.columns:
            as_and_type = f"{column.role}, {column.type.split(' (')[0]}"
            schema.setdefault(self.kinds.get(column.file, column.file), {})[column.column] = as_and_type
        return schema

    def note_changes(self) -> None:
        """Say how the files differ from those that the recipe was made with: columns gone, new, or of another type.

        So are its answers to doubts that have not come up.
        """
        if unneeded := [f"{key}={answer}" for key, answer in self._unneeded().items()]:
            self.note(f"Answers of the recipe to doubts that have not come up: {', '.join(unneeded)}.")
        before, now = self.recipe.get("columns", {}), self.schema()
        for kind in before:
            old, new = before[kind], now.get(kind, {})
            changes = [
                *(f"the column {column!r} is missing" for column in old if column not in new),
                *(f"the column {column!r} is new" for column in new if column not in old),
                *(f"{c!r} was {old[c]} and is {new[c]}" for c in new if c in old and old[c] != new[c]),
            ]
            if changes:
                self.note(f"Changed since the recipe was made, {kind}: {'; '.join(changes)}.")


def read_recipe(file: Path | None) -> dict[str, Any]:
    """The content of a recipe.json, or nothing. `DataError` if it is no recipe."""
    if file is None:
        return {}
    if not Path(file).is_file():
        raise DataError(f"{file}: expected a recipe.json, found none; every imported cohort has one")
    recipe = read_json(Path(file))
    if not isinstance(recipe, dict) or recipe.get("format") != 1 or not isinstance(recipe.get("answers"), dict):
        raise DataError(f"{file}: expected a recipe.json of an import, found something else")
    return recipe


def row_of(table: pd.DataFrame, bad: pd.Series | np.ndarray) -> int:
    """Number of the first bad row in the file: the row below a header is row 2. The index counts rows from there."""
    return _located(table, "", int(table.index[int(np.argmax(np.asarray(bad)))]))[1]


def place_of(table: pd.DataFrame, file: str, bad: pd.Series | np.ndarray) -> str:
    """File and row of the first bad row, also where the table was joined from several files."""
    name, row = _located(table, file, int(table.index[int(np.argmax(np.asarray(bad)))]))
    return f"{name} row {row}"


def _located(table: pd.DataFrame, file: str, label: int) -> tuple[str, int]:
    for part in reversed(table.attrs.get(PARTS, [])):
        if label >= part["start"]:
            return part["file"], label - part["start"] + part["first_row"]
    return file, label + first_row_of(table)


def samples_of(written: Sequence[Any], read: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    """A few filled values as written beside as read."""
    pairs = (
        (str(before)[:40], "" if pd.isna(after) else str(after)[:40])
        for before, after in zip(written, read, strict=False)
        if not pd.isna(before)
    )
    return tuple(itertools.islice(pairs, SAMPLES))


def counted(n: int, noun: str) -> str:
    """A number with its noun: "1 row", "2 rows"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
