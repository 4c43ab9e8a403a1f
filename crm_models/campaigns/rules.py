"""Rules: who may get which action, and for every customer and action the first rule that dropped it.

Kinds, applied in this order whatever the order in the file: `block` (never), `eligible` (only these customers),
`suppress` (not these customers, or not so soon after an action), `quiet` (not in these days), `cap` (no more than so
many contacts). After them, a non-repeatable action that the customer has already had is dropped. The order decides only
which rule is named as the reason, never what is allowed. Vectorised; a cohort is judged part by part.

Letters: N customers, V actions of a campaign, R rules.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import date
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd

from crm_models.campaigns.offers import Actions
from crm_models.campaigns.tables import Row, read_rows
from crm_models.core.errors import DataError
from crm_models.core.files import new_file
from crm_models.data.cohort import Cohort, Moment, moment_days

Op = Literal["is", "is not", "one of", ">=", "<=", "between", "missing"]
Kind = Literal["block", "eligible", "suppress", "quiet", "cap"]
OPS, KINDS = get_args(Op), get_args(Kind)

ALLOWED, HAD_ALREADY = 0, 255
"""Codes of an allowed action and of a non-repeatable one that the customer has had; k means rule k - 1."""

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

    def sentence(self) -> str:
        """The condition in words: "age is between 18 and 30"."""
        if self.op == "missing":
            return f"{self.column} is missing"
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

    def sentence(self) -> str:
        """The rule in words, to read it back: what is dropped, and for whom."""
        what = " or ".join(map(_named, self.actions))
        who = " and ".join(condition.sentence() for condition in self.where)
        events = "event" if self.most == 1 else "events"
        counted = events if self.counts == ("*",) else f"of {' or '.join(map(_named, self.counts))}"
        if self.kind == "block":
            text = f"Never propose {what}" + (f" where {who}" if who else "")
        elif self.kind == "eligible":
            text = f"Propose {what} only where {who}"
        elif self.kind == "quiet":
            text = f"Do not propose {what} from {self.first} to {self.last}" + (f" where {who}" if who else "")
        elif self.kind == "cap":
            text = f"Do not propose {what} after {self.most} {counted} in the last {self.days:g} days"
            text += f" where {who}" if who else ""
        else:
            text = f"Do not propose {what}" + (f" where {who}" if who else "")
            if self.most is not None and self.days is not None and self.pause_days is not None:
                text += f"{' and' if who else ''} after {self.most} {counted} within {self.days:g} days"
                text += f", until {self.pause_days:g} days have passed since the last"
        return text + "."

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `Rule.from_dict` is the inverse."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        conditions = [{"column": c.column, "op": c.op, "value": _plain(c.value)} for c in self.where]
        days = {name: None if values[name] is None else values[name].isoformat() for name in ("first", "last")}
        return values | days | {"where": conditions, "actions": list(self.actions), "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Rule:
        """The rule from values of `to_dict`."""
        where = tuple(
            Condition(column=c["column"], op=c["op"], value=tuple(v) if isinstance(v := c["value"], list) else v)
            for c in given["where"]
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


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


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
    if len(rules) >= HAD_ALREADY:
        raise DataError(f"expected at most {HAD_ALREADY - 1} rules, found {len(rules)}")
    return rules


def _rule(rows: list[Row]) -> Rule:
    first = rows[0]
    conditions = []
    for row in rows:
        with row.located():
            if row.text("column") or row.text("op"):
                conditions.append(_condition(row))
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


def _condition(row: Row) -> Condition:
    op, text = row.text("op"), row.text("value")
    value: Any = row.texts("value") if op in ("one of", "between") else text
    return Condition(column=row.text("column"), op=cast(Op, op), value=None if op == "missing" else value)


def write_rules(rules: Sequence[Rule], file: Path) -> None:
    """Write rules as a CSV that `read_rules` reads back to the same rules."""
    with new_file(file) as part, part.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS)
        writer.writeheader()
        for rule in rules:
            about = {name: value for name, value in rule.to_dict().items() if name in COLUMNS and value is not None}
            about |= {"actions": ";".join(rule.actions), "counts": ";".join(rule.counts)}
            for k, condition in enumerate(rule.where or (None,)):
                row = about if k == 0 else {"name": rule.name, "kind": rule.kind}
                writer.writerow(row | ({} if condition is None else _cells(condition)))


def _cells(condition: Condition) -> dict[str, Any]:
    value = condition.value
    text = ";".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else value
    return {"column": condition.column, "op": condition.op, "value": text}


# ---- judging ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What the rules say on N customers.

    code (N, V) uint8: the first rule that drops the action, `ALLOWED` or `HAD_ALREADY`. n_drops (N, V) uint8: how many
    rules drop it. unknown (R,): customers for whom a condition of the rule could not be decided.
    """

    code: np.ndarray
    n_drops: np.ndarray
    unknown: np.ndarray


def first_rule(
    part: Cohort,
    rules: Sequence[Rule],
    actions: Actions,
    moment: Moment | None,
    churn_p: np.ndarray,
    now_days: float | None = None,
) -> np.ndarray:
    """(N, V) uint8 codes: 0 allowed, k dropped first by rules[k - 1], 255 had already. See `judge`."""
    return judge(part, rules, actions, moment, churn_p, now_days).code


def judge(
    part: Cohort,
    rules: Sequence[Rule],
    actions: Actions,
    moment: Moment | None,
    churn_p: np.ndarray,
    now_days: float | None = None,
) -> Verdicts:
    """Apply the rules to every customer of a part of a cohort, at `moment` (None: after all known events).

    now_days: the day that `moment` None means, if it is not that of the part's last event. A condition on a missing
    value is not met: `eligible` then drops, the others do not.
    """
    facts = _Facts(part, actions, moment, churn_p, now_days)
    code = np.zeros((part.n_customers, len(actions)), np.uint8)
    n_drops = np.zeros_like(code)
    unknown = np.zeros(len(rules), np.int64)

    def drop(dropped: np.ndarray, as_code: int) -> None:
        code[dropped & (code == ALLOWED)] = as_code
        np.add(n_drops, dropped, out=n_drops, casting="unsafe")

    for k in sorted(range(len(rules)), key=lambda k: KINDS.index(rules[k].kind)):
        who, unknown[k] = facts.dropped_by(rules[k])
        if who.any():
            drop(who[:, None] & actions.matching(rules[k].actions), k + 1)
    if actions.once.any():
        drop(facts.had() & actions.once, HAD_ALREADY)
    return Verdicts(code=code, n_drops=n_drops, unknown=unknown)


def need_valid(
    rules: Sequence[Rule], part: Cohort, actions: Actions, moment: Moment | None, mandatory: Sequence[str] = ()
) -> None:
    """`DataError` if a rule names an unknown column, action or value, or blocks a mandatory action for everybody.

    part: any part of the cohort, also one without customers.
    """
    facts = _Facts(part, actions, moment, np.zeros(part.n_customers))
    for rule in rules:
        try:
            dropped = actions.matching(rule.actions)
            facts.dropped_by(rule)
        except DataError as error:
            raise DataError(f"rule {rule.name!r}: {error}") from None
        if rule.kind == "block" and not rule.where:
            for action in mandatory:
                if dropped[actions.matching([action])].any():
                    raise DataError(f"rule {rule.name!r}: {action!r} is blocked for everybody, but it is mandatory")


_CALL = re.compile(r"(count|days_since)\((.*)\)")


class _Facts:
    """What is known of the customers of a part at a moment; each column is computed once."""

    def __init__(
        self,
        part: Cohort,
        actions: Actions,
        moment: Moment | None,
        churn_p: np.ndarray,
        now_days: float | None = None,
    ) -> None:
        self.part, self.actions, self.moment, self.churn_p = part, actions, moment, churn_p
        self.n = part.n_customers
        past = part.is_history(moment)
        self.customer, self.days = part.event_customers[past], part.event_days[past]
        # Rows of the vocabulary, -1 for actions of this cohort that the run does not know.
        known = pd.Index(actions.names).get_indexer(pd.Index(part.actions["action"]))
        self.action = known[part.event_actions[past]]
        if moment is not None:
            now_days = moment_days(moment)
        self.now = now_days if now_days is not None else float(self.days.max(initial=0.0))
        self._columns: dict[str, pd.Series] = {}

    def dropped_by(self, rule: Rule) -> tuple[np.ndarray, int]:
        """(N,) whether the rule drops its actions for each customer, and how many could not be decided."""
        met, unknown = np.ones(self.n, dtype=bool), np.zeros(self.n, dtype=bool)
        for condition in rule.where:
            holds, missing = self._holds(condition)
            met &= holds
            unknown |= missing
        if rule.kind == "eligible":
            return ~met, int(unknown.sum())
        if rule.most is not None and rule.days is not None:
            recent = self.days >= self.now - rule.days
            counted = self._counted(rule.counts)
            met &= np.bincount(self.customer[counted & recent], minlength=self.n) >= rule.most
            if rule.pause_days is not None:
                met &= self._days_since(counted) < rule.pause_days
        if rule.kind == "quiet":
            met &= self._is_quiet(rule)
        return met, int(unknown.sum())

    def had(self) -> np.ndarray:
        """(N, V) whether the customer has had the action before."""
        had = np.zeros((self.n, len(self.actions)), dtype=bool)
        known = self.action >= 0
        had[self.customer[known], self.action[known]] = True
        return had

    def _is_quiet(self, rule: Rule) -> bool:
        assert rule.first is not None and rule.last is not None  # checked when the rule was made
        if not self.part.is_dated or not isinstance(self.moment, pd.Timestamp | None):
            raise DataError("quiet days need a cohort with dates, found numeric times")
        today = pd.Timestamp(self.now, unit="D").date()
        return rule.first <= today <= rule.last

    def _counted(self, patterns: Sequence[str]) -> np.ndarray:
        """(E,) whether each event is of the named actions; `*` counts actions unknown to the run as well."""
        if tuple(patterns) == ("*",):
            return np.ones(len(self.action), dtype=bool)
        return np.append(self.actions.matching(patterns), False)[self.action]

    def _days_since(self, counted: np.ndarray) -> np.ndarray:
        """(N,) days since the latest of the counted events, NaN if there is none."""
        latest = np.full(self.n, np.nan)
        latest[self.customer[counted]] = self.days[counted]  # in time order: the last assignment is the latest
        return self.now - latest

    def _column(self, name: str) -> pd.Series:
        if name not in self._columns:
            self._columns[name] = self._compute(name)
        return self._columns[name]

    def _compute(self, name: str) -> pd.Series:
        everything = np.ones(len(self.action), dtype=bool)
        if name == "churn_probability":
            return pd.Series(self.churn_p)
        if name == "n_events":
            return pd.Series(np.bincount(self.customer, minlength=self.n))
        if name == "recency_days":
            return pd.Series(self._days_since(everything))
        if call := _CALL.fullmatch(name):
            verb, inside = call.groups()
            if verb == "days_since":
                return pd.Series(self._days_since(self._counted([inside])))
            action, comma, days = inside.rpartition(",")
            try:
                window = float(days)
            except ValueError:
                comma = ""
                window = 0.0
            if not comma:
                raise DataError(f"expected count(ACTION, DAYS), found {name!r}")
            within = self._counted([action]) & (self.days >= self.now - window)
            return pd.Series(np.bincount(self.customer[within], minlength=self.n))
        if name not in self.part.feature_columns:
            raise DataError(
                f"expected a profile column ({', '.join(self.part.feature_columns)}), {', '.join(COMPUTED)}, "
                f"count(ACTION, DAYS) or days_since(ACTION); found {name!r}"
            )
        return self.part.customers[name]

    def _holds(self, condition: Condition) -> tuple[np.ndarray, np.ndarray]:
        """(N,) whether the condition is met, and (N,) whether the value is missing, which then is not met."""
        column = self._column(condition.column)
        missing = column.isna().to_numpy()
        if condition.op == "missing":
            return missing, np.zeros_like(missing)
        value = _as_type_of(column, condition)
        if condition.op == "is":
            holds = column == value
        elif condition.op == "is not":
            holds = column != value
        elif condition.op == "one of":
            holds = column.isin(value)
        elif condition.op == ">=":
            holds = column >= value
        elif condition.op == "<=":
            holds = column <= value
        else:
            holds = (column >= value[0]) & (column <= value[1])
        return holds.fillna(False).to_numpy(dtype=bool) & ~missing, missing


def _as_type_of(column: pd.Series, condition: Condition) -> Any:
    """The value of a condition as the type of the column; `DataError` if it is none, or the column has no order."""

    def one(value: Any) -> Any:
        text = str(value).strip()
        if pd.api.types.is_bool_dtype(column):
            if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
                raise DataError(f"{condition.column}: expected true or false, found {text!r}")
            return text.lower() in ("true", "1", "yes")
        if pd.api.types.is_numeric_dtype(column):
            try:
                return float(text)
            except ValueError:
                raise DataError(f"{condition.column}: expected a number, found {text!r}") from None
        if pd.api.types.is_datetime64_any_dtype(column):
            try:
                return pd.Timestamp(text)
            except ValueError:
                raise DataError(f"{condition.column}: expected a date, found {text!r}") from None
        if condition.op in (">=", "<=", "between"):
            raise DataError(f"{condition.column} {condition.op}: expected a column of numbers or dates, found text")
        return text

    return [one(v) for v in condition.value] if isinstance(condition.value, tuple) else one(condition.value)


# ---- the funnel ------------------------------------------------------------------------------------------------------


@dataclass
class Funnel:
    """Counts of dropped actions, added up over the parts of a cohort.

    Each (R + 1, V), the last row for actions had already: first (customers whose action the rule dropped first), only
    (would come back without this rule: no other rule drops it). allowed (V,). unknown (R,). customers: how many.
    """

    rules: tuple[Rule, ...]
    actions: Actions
    first: np.ndarray = field(init=False)
    only: np.ndarray = field(init=False)
    allowed: np.ndarray = field(init=False)
    unknown: np.ndarray = field(init=False)
    customers: int = 0

    def __post_init__(self) -> None:
        shape = (len(self.rules) + 1, len(self.actions))
        self.first, self.only = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.allowed = np.zeros(len(self.actions), np.int64)
        self.unknown = np.zeros(len(self.rules), np.int64)

    def add(self, verdicts: Verdicts) -> None:
        """Add the verdicts on one part."""
        for v in range(len(self.actions)):
            code = verdicts.code[:, v]
            self.first[:, v] += self._by_rule(code)
            self.only[:, v] += self._by_rule(code[verdicts.n_drops[:, v] == 1])
            self.allowed[v] += int((code == ALLOWED).sum())
        self.unknown += verdicts.unknown
        self.customers += len(verdicts.code)

    def _by_rule(self, code: np.ndarray) -> np.ndarray:
        counts = np.bincount(code, minlength=HAD_ALREADY + 1)
        return np.append(counts[1 : len(self.rules) + 1], counts[HAD_ALREADY])

    def table(self) -> pd.DataFrame:
        """One row per rule and action that it drops: `rule`, `kind`, `action`, `dropped_first`, `would_come_back`."""
        names = [*((rule.name, rule.kind) for rule in self.rules), ("had already", "not repeatable")]
        rows = [
            {"rule": name, "kind": kind, "action": self.actions.labels[v]}
            | {"dropped_first": int(self.first[r, v]), "would_come_back": int(self.only[r, v])}
            for r, (name, kind) in enumerate(names)
            for v in np.flatnonzero(self.first[r])
        ]
        return pd.DataFrame(rows, columns=["rule", "kind", "action", "dropped_first", "would_come_back"])

    def warnings(self) -> list[str]:
        """Sentences on rules that drop everybody, nobody, or could not be decided for some customers."""
        said = []
        for r, rule in enumerate(self.rules):
            dropped = self.first[r][self.actions.matching(rule.actions)]
            if self.customers and (dropped == self.customers).all():
                said.append(f"Rule {rule.name!r} drops its actions for everybody.")
            if self.unknown[r]:
                said.append(
                    f"Rule {rule.name!r}: a value is missing for {self.unknown[r]:,} customers; its condition then "
                    "counts as not met."
                )
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "customers": self.customers,
            "drops": self.table().to_dict("records"),
            "allowed": {label: int(n) for label, n in zip(self.actions.labels, self.allowed, strict=True)},
            "unknown": {rule.name: int(n) for rule, n in zip(self.rules, self.unknown, strict=True)},
            "warnings": self.warnings(),
        }
