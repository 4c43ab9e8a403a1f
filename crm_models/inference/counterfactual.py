"""Counterfactuals: the smallest change of what a business can influence that brings a customer below the threshold.

A change adds an event shortly before the moment of planning, or sets a profile column that is marked as ours to change
to another value. Only events and values that are seen in the cohort are tried (`Levers`). Sets of changes are scored
in one batch for each number of changes, on the very model, as new histories: counts and times change with the events.
The smallest set wins; fewer do not suffice, because every part of it is scored, too.

They say what the model would predict, not what would happen: only a control group tells that.

Letters: M sets of changes, L levers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from crm_models.core.errors import ConfigError
from crm_models.core.schema import ACTION, CUSTOMER_ID, LABEL, REPEATABLE, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort, select
from crm_models.data.engine import order_of
from crm_models.inference.drivers import Explainer
from crm_models.inference.shapley import RECENT_DAYS, history_seen

MOST_CHANGES = 4
"""Larger sets are no small change any more."""
EXHAUSTIVE = 1_500
"""Up to so many sets, all of a size are scored; else the most promising ones of the size before are extended."""
BEAM = 24
ALTERNATIVES = 3
NOTICEABLE_POINTS = 0.5
"""A change that lowers the risk by less did not help."""
SEEN_SHARE = 0.01
"""Least share of customers with an event or a category for it to be plausible."""
USUAL_COUNT = 0.9
"""As many events of a kind within 30 days are plausible as this share of the customers who have any does not exceed."""
QUANTILES = np.linspace(0.1, 0.9, 9)
"""Plausible values of a number."""
BELOW = 1e-6
"""How far below the threshold: plans round probabilities to six digits."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change: an event of the action `label` is added (value: usual for it), or the column is set to `value`.

    lever: the action or column. most: how often it is plausible. size: 1, for a number the share of customers between.
    """

    lever: str
    value: Any
    is_event: bool
    label: str
    code: int = -1
    most: int = 1
    size: float = 1.0

    def phrase(self) -> str:
        """In words: "add “Call the customer”", "set plan to gold"."""
        if self.is_event:
            return f"add “{self.label}”"
        value = f"{self.value:,.6g}" if isinstance(self.value, int | float | np.number) else str(self.value)
        return f"set {self.lever} to {value}"


@dataclass(frozen=True, kw_only=True)
class Counterfactual:
    """What brings a customer below the threshold. churn_p, new_p: before and after `changes`; new_p is scored anew.

    changes: the smallest set, () if the customer is below already or if none suffices; then new_p is that of the best
    set, `best`. others: further sets of as many changes that suffice. alone: for each lever its best change alone with
    the probability that it leads to, lowest first.
    """

    customer_id: str
    threshold: float
    churn_p: float
    new_p: float
    changes: tuple[Change, ...]
    best: tuple[Change, ...]
    others: tuple[tuple[tuple[Change, ...], float], ...]
    alone: tuple[tuple[Change, float], ...]

    @property
    def suffices(self) -> bool:
        """Whether the customer is below the threshold, with or without changes."""
        return self.new_p <= self.threshold - BELOW

    @property
    def did_not_help(self) -> list[tuple[Change, float]]:
        """Levers of which no change alone lowers the risk noticeably, with the points it adds, worst last."""
        points = [(change, 100 * (p - self.churn_p)) for change, p in self.alone]
        return [(change, gain) for change, gain in points if gain > -NOTICEABLE_POINTS]

    @property
    def any_event_does(self) -> bool:
        """Whether each kind of event suffices alone: then the time since the last event counts, not its kind."""
        events = [p for change, p in self.alone if change.is_event]
        return len(events) > 1 and bool(self.changes) and max(events) <= self.threshold - BELOW

    def said(self) -> str:
        """In one sentence."""
        ends = f"from {self.churn_p:.1%} to {self.new_p:.1%}"
        if self.changes:
            return f"{in_words(self.changes)}: {ends}, below {self.threshold:.2f}"
        if self.suffices:
            return f"already below {self.threshold:.2f}: {self.churn_p:.1%}"
        if not self.best:
            return f"no plausible change lowers the risk of {self.churn_p:.1%}"
        return f"no plausible change suffices; the closest is: {in_words(self.best)}; {ends}"


def in_words(changes: Sequence[Change]) -> str:
    """Changes in one phrase: "add “Call the customer” twice and set plan to gold"."""
    times = {1: "", 2: " twice"}
    texts = list(dict.fromkeys(change.phrase() for change in changes))
    counts = [sum(change.phrase() == text for change in changes) for text in texts]
    *first, last = [text + times.get(n, f" {n} times") for text, n in zip(texts, counts, strict=True)] or [""]
    return f"{', '.join(first)} and {last}" if first else last


@dataclass(frozen=True, kw_only=True)
class Levers:
    """What may be changed, as far as it is plausible: learned from the customers of a cohort.

    events: one `Change` for each kind of event. columns: sorted values seen, by column. is_number: of each column.
    """

    events: tuple[Change, ...]
    columns: dict[str, list[Any]]
    is_number: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(
        cls, explainer: Explainer, cohort: Cohort, *, columns: Sequence[str] = (), events: Sequence[str] | None = None
    ) -> Levers:
        """columns: those that are ours to change. events: names or labels of actions that may be added; None: all."""
        encoder = explainer.encoder
        numbers, categories = {f.name for f in encoder.numeric}, {f.name for f in encoder.categorical}
        for name in columns:
            if name not in numbers | categories:
                raise ConfigError(
                    f"expected a column that the model sees ({', '.join(sorted(numbers | categories)) or 'none'}), "
                    f"found {name!r}"
                )
        return cls(
            events=_plausible_events(explainer, cohort, events),
            columns={name: _seen_values(cohort.customers[name], is_number=name in numbers) for name in columns},
            is_number={name: name in numbers for name in columns},
        )

    def changes_for(self, customer: Cohort) -> list[Change]:
        """Every single change of this customer (a cohort of one) that is plausible."""
        had = set(customer.event_actions.tolist())
        repeatable = customer.actions[REPEATABLE].to_numpy()
        changes = [event for event in self.events if repeatable[event.code] or event.code not in had]
        for name, values in self.columns.items():
            own = customer.customers[name].iloc[0]
            for value in dict.fromkeys(_picked(values) if self.is_number[name] else values):
                if pd.isna(own) or value != own:
                    size = 1.0 if pd.isna(own) or not self.is_number[name] else _share_between(values, own, value)
                    changes.append(Change(lever=name, value=value, is_event=False, label=name, size=size))
        return changes


def _plausible_events(explainer: Explainer, cohort: Cohort, wanted: Sequence[str] | None) -> tuple[Change, ...]:
    names, labels = (cohort.actions[column].astype("str").tolist() for column in (ACTION, LABEL))
    for name in wanted or ():
        if name not in names and name not in labels:
            raise ConfigError(f"expected an action of the cohort, such as {labels[0]!r}, found {name!r}")
    if not (explainer.model.use_events or explainer.model.config.use_behaviour):
        return ()
    history = history_seen(cohort, explainer.moment, explainer.encoder)
    actions, customers, n = history.event_actions, history.event_customers, len(names)
    is_recent = history.event_days >= explainer.now_days - RECENT_DAYS
    changes = []
    for code in range(n):
        mine = actions == code
        has = np.unique(customers[mine])
        if len(has) < max(1, SEEN_SHARE * cohort.n_customers):
            continue
        if wanted is not None and not {names[code], labels[code]} & set(wanted):
            continue
        recent = np.bincount(customers[mine & is_recent], minlength=1)
        usual = np.quantile(recent[recent > 0], USUAL_COUNT) if recent.any() else 1
        values = history.interactions[VALUE].to_numpy()[mine]
        typical = float(np.median(values[~np.isnan(values)])) if (~np.isnan(values)).any() else np.nan
        changes.append(
            Change(
                lever=names[code], value=typical, is_event=True, label=labels[code], code=code, most=max(1, int(usual))
            )
        )
    return tuple(changes)


def _seen_values(column: pd.Series, *, is_number: bool) -> list[Any]:
    """Numbers in ascending order, with their repetitions; categories that are frequent enough."""
    seen = column.dropna()
    if is_number:
        return sorted(seen.tolist())
    counts = seen.value_counts()
    return list(counts.index[counts >= max(1, SEEN_SHARE * len(column))])


def _picked(values: list[Any]) -> list[Any]:
    return [values[round(q * (len(values) - 1))] for q in QUANTILES] if values else []


def _share_between(values: list[Any], own: Any, new: Any) -> float:
    low, high = sorted((own, new))
    return float(np.searchsorted(values, high, "right") - np.searchsorted(values, low, "left")) / max(len(values), 1)


# ---- the search ------------------------------------------------------------------------------------------------------

Set = tuple[int, ...]
"""A set of changes: their indices in ascending order; an event may occur more than once."""


def counterfactual(explainer: Explainer, customer: Cohort, levers: Levers, threshold: float) -> Counterfactual:
    """The smallest change that brings the customer (a cohort of one) below the threshold."""
    history = history_seen(customer, explainer.moment, explainer.encoder)
    changes = levers.changes_for(history)

    def scored(sets: Sequence[Set]) -> dict[Set, float]:
        with_changes = changed(history, [[changes[k] for k in one] for one in sets], explainer.now_days)
        return dict(zip(sets, explainer.probabilities(with_changes).tolist(), strict=True)) if sets else {}

    known = scored([(), *((k,) for k in range(len(changes)))])
    churn_p, limit = known[()], threshold - BELOW
    layer = [one for one in known if one]
    while churn_p > limit and layer and len(layer[0]) < MOST_CHANGES and min(known.values()) > limit:
        layer = _extended(layer, changes, known)
        known |= scored(layer)

    def order(one: Set) -> tuple[float, ...]:
        return (len(one), sum(changes[k].size for k in one), known[one])

    enough = sorted((one for one, p in known.items() if p <= limit), key=order)[: 1 + ALTERNATIVES]
    # A beam may have missed a part of a set that suffices by itself.
    known |= scored(sorted({part for one in enough for part in _parts(one)} - set(known)))
    parts = {part for one in enough for part in _parts(one) if known[part] <= limit}
    enough = sorted(
        (one for one in {*enough, *parts} if not any(known[part] <= limit for part in _parts(one))), key=order
    )
    best = enough[0] if enough else min(known, key=lambda one: known[one])
    new_p = float(explainer.probabilities(changed(history, [[changes[k] for k in best]], explainer.now_days))[0])
    return Counterfactual(
        customer_id=str(customer.customers[CUSTOMER_ID].iloc[0]),
        threshold=threshold,
        churn_p=churn_p,
        new_p=new_p,
        changes=tuple(changes[k] for k in best) if enough else (),
        best=tuple(changes[k] for k in best),
        others=tuple((tuple(changes[k] for k in one), known[one]) for one in enough[1:]),
        alone=_alone(changes, known),
    )


def _extended(layer: list[Set], changes: list[Change], known: dict[Set, float]) -> list[Set]:
    """Plausible sets of one change more: all, or those that extend the most promising sets."""
    if len(layer) * len(changes) > EXHAUSTIVE:
        layer = sorted(layer, key=lambda one: known[one])[:BEAM]
    longer = {tuple(sorted((*one, k))) for one in layer for k in range(len(changes))}
    return sorted(one for one in longer if _is_plausible([changes[k] for k in one]))


def _is_plausible(changes: list[Change]) -> bool:
    """Whether no column is set twice, and no event is added more often than is usual."""
    levers = [change.lever for change in changes if not change.is_event]
    events = [change for change in changes if change.is_event]
    return len(set(levers)) == len(levers) and all(events.count(change) <= change.most for change in events)


def _parts(one: Set) -> set[Set]:
    """All proper parts of a set of changes, also the empty one."""
    return {part for n in range(len(one)) for part in combinations(one, n)}


def _alone(changes: list[Change], known: dict[Set, float]) -> tuple[tuple[Change, float], ...]:
    best: dict[tuple[str, bool], tuple[Change, float]] = {}
    for k, change in enumerate(changes):
        lever = change.lever, change.is_event
        if lever not in best or known[(k,)] < best[lever][1]:
            best[lever] = change, known[(k,)]
    return tuple(sorted(best.values(), key=lambda found: found[1]))


def changed(customer: Cohort, sets: Sequence[Sequence[Change]], now_days: float) -> Cohort:
    """(M) copies of the customer (a cohort of one), each with its changes; events are added a day apart, up to now."""
    ids = pd.Index([str(k) for k in range(len(sets))], dtype="str")
    copies = select(customer, np.zeros(len(sets), dtype=np.int64), ids)
    customers = copies.customers.copy()
    for name in {change.lever for one in sets for change in one if not change.is_event}:
        values = customers[name].to_numpy(dtype=object, copy=True)
        for k, one in enumerate(sets):
            values[k] = next(
                (change.value for change in one if change.lever == name and not change.is_event), values[k]
            )
        customers[name] = pd.Series(values).astype(customers[name].dtype)
    added = [(k, event) for k, one in enumerate(sets) for event in enumerate(c for c in one if c.is_event)]
    if not added:
        return replace(copies, customers=customers)
    ago = np.array([1.0 + place for _, (place, _) in added])
    events = copies.interactions
    days = pd.Series(now_days - ago)
    when: pd.Series = days
    if customer.is_dated:
        when = pd.to_datetime((days * 86_400e6).round().astype("int64"), unit="us")
    owner = np.concatenate([copies.event_customers, [k for k, _ in added]])
    action = np.concatenate([copies.event_actions, [change.code for _, (_, change) in added]])
    table = pd.DataFrame(
        {
            CUSTOMER_ID: pd.Categorical.from_codes(owner, categories=ids),
            ACTION: pd.Categorical.from_codes(action, categories=events[ACTION].cat.categories),
            TIMESTAMP: pd.concat([events[TIMESTAMP], when.astype(events[TIMESTAMP].dtype)], ignore_index=True),
            VALUE: np.concatenate([events[VALUE].to_numpy(), [change.value for _, (_, change) in added]]),
        }
    )
    mixed = replace(copies, customers=customers, interactions=table)
    in_order = table.take(order_of(owner, mixed.event_days)).reset_index(drop=True)
    return replace(mixed, interactions=in_order)
