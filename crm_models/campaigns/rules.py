"""Rules: who may get which action; as objects, as rules.csv, and read back as sentences.

Kinds: `block` (never), `eligible` (only these customers), `suppress` (not these customers, or not so soon after an
action), `quiet` (not in these days), `cap` (no more than so many contacts). What they drop is in `judging`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, cast, get_args

from crm_models.campaigns.tables import Row, read_rows
from crm_models.core.errors import DataError
from crm_models.core.permissions import MASK

Op = Literal["is", "is not", "one of", ">=", "<=", "between", "missing"]
Kind = Literal["block", "eligible", "suppress", "quiet", "cap"]
OPS, KINDS = get_args(Op), get_args(Kind)

MOST_RULES = 254
"""More could not be told apart by their codes, which are bytes."""

COMPUTED = ("churn_probability", "n_events", "recency_days")
"""Columns for conditions beside the profile; also count(ACTION, DAYS) and days_since(ACTION)."""

COLUMNS = ("name", "kind", "actions", "column", "op", "value", "most", "days", "counts", "pause_days", "first", "last")
"""Columns of rules.csv. Lists are separated by semicolons; rows with the same name are one rule, joined by AND."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition on one column of a customer. value: one value; two or more in a tuple for `between` and `one of`."""

    column: str
    op: Op
    value: Any = None

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise DataError(f"op must be one of {', '.join(OPS)}; found {self.op!r}")
        if self.op == "between":
            if not isinstance(self.value, tuple) or len(self.value) != 2:
                raise DataError(f"{self.column} between: expected two values such as 18;30, found {self.value!r}")
        elif self.op == "one of":
            if not isinstance(self.value, tuple) or not self.value:
                raise DataError(f"{self.column} one of: expected values such as a;b, found {self.value!r}")
        elif self.op != "missing" and (self.value is None or self.value == ""):
            raise DataError(f"{self.column} {self.op}: expected a value, found none")

    @classmethod
    def of(cls, column: str, op: str, text: str) -> Condition:
        """The condition that somebody wrote; several values are separated by semicolons. `DataError` if it is none."""
        several = tuple(part.strip() for part in text.split(";") if part.strip())
        value = None if op == "missing" else several if op in ("one of", "between") else text.strip()
        return cls(column=column, op=cast(Op, op), value=value)

    @property
    def text(self) -> str:
        """The value as it is written; "" for none."""
        if isinstance(self.value, tuple):
            return ";".join(map(str, self.value))
        return "" if self.value is None else str(self.value)

    def sentence(self, hidden: Collection[str] = ()) -> str:
        """The condition in words: "age is between 18 and 30"; without the values of hidden columns."""
        if self.op == "missing":
            return f"{self.column} is missing"
        if self.column in hidden:
            return f"{self.column} {self.op} {MASK}"
        if self.op == "between":
            return f"{self.column} is between {self.value[0]} and {self.value[1]}"
        if self.op == "one of":
            return f"{self.column} is one of {', '.join(map(str, self.value))}"
        word = {">=": "is at least", "<=": "is at most"}.get(self.op, self.op)
        return f"{self.column} {word} {self.value}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. actions and counts: patterns as in `Actions.matching`.

    cap: drops where at least `most` events of `counts` happened in the last `days` days. suppress with most, days and
    pause_days: drops where so many happened within `days`, the last one less than `pause_days` ago. quiet: drops from
    `first` to `last`, both included. where: further conditions, all of which must hold.
    """

    name: str
    kind: Kind
    actions: tuple[str, ...] = ("*",)
    where: tuple[Condition, ...] = ()
    most: int | None = None
    days: float | None = None
    counts: tuple[str, ...] = ("*",)
    pause_days: float | None = None
    first: date | None = None
    last: date | None = None

    def __post_init__(self) -> None:
        def need(condition: bool, expected: str) -> None:
            if not condition:
                raise DataError(f"rule {self.name!r} ({self.kind}): expected {expected}")

        if not self.name.strip():
            raise DataError("a rule needs a name, found a blank")
        if self.kind not in KINDS:
            raise DataError(f"rule {self.name!r}: kind must be one of {', '.join(KINDS)}; found {self.kind!r}")
        need(bool(self.actions) and bool(self.counts), "at least one action, found none")
        need(self.most is None or self.most >= 1, f"most from 1 up, found {self.most}")
        need(self.days is None or self.days > 0, f"days above 0, found {self.days}")
        need(self.pause_days is None or self.pause_days > 0, f"pause_days above 0, found {self.pause_days}")
        need(self.most is None or self.days is not None, "days beside most, found none")
        if self.kind == "cap":
            need(self.most is not None, "most and days, as in at most 3 in 30 days; found no most")
        elif self.kind == "suppress":
            whole = (self.most is None) == (self.pause_days is None)
            need(whole, "most, days and pause_days together, or none of them")
            need(bool(self.where) or self.most is not None, "a condition, or most, days and pause_days; found neither")
        else:
            need(self.most is None and self.pause_days is None, "no most and no pause_days, which need cap or suppress")
        if self.kind == "quiet":
            need(self.first is not None and self.last is not None, "first and last, the quiet days; found no such days")
        if self.first is not None and self.last is not None:
            need(self.first <= self.last, f"first up to last, found {self.first} after {self.last}")
        if self.kind == "eligible":
            need(bool(self.where), "a condition that says who is eligible; found none")

    def sentence(self, hidden: Collection[str] = ()) -> str:
        """The rule in words, to read it back: what is dropped, and for whom; without the values of hidden columns."""
        what = " or ".join(map(_named, self.actions))
        who = " where " + " and ".join(condition.sentence(hidden) for condition in self.where) if self.where else ""
        events = "event" if self.most == 1 else "events"
        counted = events if self.counts == ("*",) else f"of {' or '.join(map(_named, self.counts))}"
        if self.kind == "block":
            return f"Never propose {what}{who}."
        if self.kind == "eligible":
            return f"Propose {what} only{who}."
        if self.kind == "quiet":
            return f"Do not propose {what} from {self.first} to {self.last}{who}."
        if self.kind == "cap":
            return f"Do not propose {what} after {self.most} {counted} in the last {self.days:g} days{who}."
        pause = ""
        if self.most is not None:
            pause = f"{' and' if who else ''} after {self.most} {counted} within {self.days:g} days, "
            pause += f"until {self.pause_days:g} days have passed since the last"
        return f"Do not propose {what}{who}{pause}."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Rule.from_dict` is the inverse."""
        conditions = [vars(c) | {"value": list(c.value) if isinstance(c.value, tuple) else c.value} for c in self.where]
        days = {name: day and day.isoformat() for name, day in (("first", self.first), ("last", self.last))}
        lists = {"where": conditions, "actions": list(self.actions), "counts": list(self.counts)}
        return vars(self) | days | lists

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Rule:
        """The rule from values of `to_dict`."""
        where = tuple(
            Condition(**c | {"value": tuple(v) if isinstance(v := c["value"], list) else v}) for c in given["where"]
        )
        days = {name: None if given[name] is None else date.fromisoformat(given[name]) for name in ("first", "last")}
        lists = {name: tuple(given[name]) for name in ("actions", "counts")}
        return cls(**(given | lists | days | {"where": where}))


def _named(pattern: str) -> str:
    """A pattern of actions in words."""
    group, _, name = pattern.partition(":")
    if pattern == "*":
        return "any action"
    if group == "kind" and name:
        return f"any {name} action"
    return f"any action by {name}" if group == "channel" and name else pattern


# ---- rules.csv -------------------------------------------------------------------------------------------------------


def read_rules(file: Path) -> tuple[Rule, ...]:
    """The rules in a CSV with the columns of `COLUMNS`. Raises `DataError` with row and column of a mistake."""
    rows = read_rows(file, needed=("name", "kind"), known=COLUMNS)
    by_name: dict[str, list[Row]] = {}
    for before, row in zip([None, *rows], rows, strict=False):
        name = row.text("name") or (before.text("name") if before else "")
        if name in by_name and before is not None and before.text("name") not in ("", name):
            raise DataError(
                f"{file} row {row.line}: expected the rows of a rule beside each other, found a second {name!r}; "
                "give it another name"
            )
        by_name.setdefault(name, []).append(row)
    return checked(tuple(_rule(rows) for rows in by_name.values()))


def checked(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The same rules. Raises `DataError` for two of one name, or for more than the codes can tell apart."""
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"rule {name!r}: expected each name once, found {names.count(name)} rules of that name")
    if len(rules) > MOST_RULES:
        raise DataError(f"expected at most {MOST_RULES} rules, found {len(rules)}")
    return rules


def _rule(rows: list[Row]) -> Rule:
    first = rows[0]
    conditions = []
    for row in rows:
        with row.located():
            if row.text("column") or row.text("op"):
                conditions.append(Condition.of(row.text("column"), row.text("op"), row.text("value")))
    with first.located():
        return Rule(
            name=first.text("name"),
            kind=cast(Kind, first.text("kind")),
            actions=first.texts("actions") or ("*",),
            where=tuple(conditions),
            most=first.whole("most"),
            days=first.number("days"),
            counts=first.texts("counts") or ("*",),
            pause_days=first.number("pause_days"),
            first=first.day("first"),
            last=first.day("last"),
        )


def rules_csv(rules: Sequence[Rule]) -> str:
    """The text of a CSV that `read_rules` reads back to the same rules."""
    handle = io.StringIO(newline="")
    writer = csv.DictWriter(handle, COLUMNS)
    writer.writeheader()
    for rule in rules:
        about = {name: value for name, value in rule.to_dict().items() if name in COLUMNS and value is not None}
        about |= {"actions": ";".join(rule.actions), "counts": ";".join(rule.counts)}
        for k, condition in enumerate(rule.where or (None,)):
            row = about if k == 0 else {"name": rule.name, "kind": rule.kind}
            if condition is not None:
                row = row | {"column": condition.column, "op": condition.op, "value": condition.text}
            writer.writerow(row)
    return handle.getvalue()
