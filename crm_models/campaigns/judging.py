"""Judging: for every customer and action, the first rule that drops it, and the funnel over all customers.

The kinds of rules are applied in the order of `KINDS`, whatever the order in the file; then a non-repeatable action
that the customer has already had is dropped. The order decides only which rule is named as the reason, never what is
allowed. Vectorised; a cohort is judged part by part.

Letters: N customers, E events, V actions of a campaign, R rules.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns.offers import Actions
from crm_models.campaigns.rules import COMPUTED, KINDS, Condition, Op, Rule
from crm_models.core.errors import DataError
from crm_models.data.cohort import Cohort, Moment, moment_days

ALLOWED, HAD_ALREADY = 0, 255
"""Codes of an allowed action and of a non-repeatable one that the customer has had; k means rule k - 1."""


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What the rules say on N customers.

    code (N, V) uint8: the first rule that drops the action, `ALLOWED` or `HAD_ALREADY`. n_drops (N, V) uint8: how many
    rules drop it. unknown (R,): customers for whom a condition of the rule could not be decided.
    """

    code: np.ndarray
    n_drops: np.ndarray
    unknown: np.ndarray


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


_DAYS_SINCE = re.compile(r"days_since\((.*)\)")
_COUNT = re.compile(r"count\((.*),\s*(\d+\.?\d*(?:e\d+)?|inf)\s*\)")


class _Facts:
    """What is known of the customers of a part at a moment; each column is computed once."""

    def __init__(
        self, part: Cohort, actions: Actions, moment: Moment | None, churn_p: np.ndarray, now_days: float | None = None
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
            counted = self._counted(rule.counts)
            met &= self._n_recent(counted, rule.days) >= rule.most
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

    def _n_recent(self, counted: np.ndarray, days: float) -> np.ndarray:
        """(N,) how many of the counted events lie in the last `days` days."""
        return np.bincount(self.customer[counted & (self.days >= self.now - days)], minlength=self.n)

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
        if name == "churn_probability":
            return pd.Series(self.churn_p)
        if name == "n_events":
            return pd.Series(np.bincount(self.customer, minlength=self.n))
        if name == "recency_days":
            return pd.Series(self._days_since(self._counted(["*"])))
        if call := _DAYS_SINCE.fullmatch(name):
            return pd.Series(self._days_since(self._counted([call[1]])))
        if call := _COUNT.fullmatch(name):
            return pd.Series(self._n_recent(self._counted([call[1]]), float(call[2])))
        if name.startswith("count("):
            raise DataError(f"expected count(ACTION, DAYS), found {name!r}")
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
        holds = _HOLDS[condition.op](column, _as_type_of(column, condition))
        return holds.fillna(False).to_numpy(dtype=bool) & ~missing, missing


_HOLDS: dict[Op, Callable[[pd.Series, Any], pd.Series]] = {
    "is": operator.eq,
    "is not": operator.ne,
    "one of": pd.Series.isin,
    ">=": operator.ge,
    "<=": operator.le,
    "between": lambda column, ends: column.between(*ends),
}


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
                number = float(text)
            except ValueError:
                number = math.nan
            if math.isnan(number):
                raise DataError(f"{condition.column}: expected a number, found {text!r}")
            return number
        if pd.api.types.is_datetime64_any_dtype(column):
            try:
                return pd.Timestamp(text)
            except ValueError:
                raise DataError(f"{condition.column}: expected a date, found {text!r}") from None
        if condition.op in (">=", "<=", "between"):
            raise DataError(f"{condition.column} {condition.op}: expected a column of numbers or dates, found text")
        return text

    if not isinstance(condition.value, tuple):
        return one(condition.value)
    values = [one(value) for value in condition.value]
    if condition.op == "between" and values[0] > values[1]:
        raise DataError(f"{condition.column} between: expected the smaller value first, found {values[0]};{values[1]}")
    return values


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
