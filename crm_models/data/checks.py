"""The data check: problems of a cohort that training would suffer from, and what to do about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from crm_models.core.schema import ACTION, CUSTOMER_ID, N_STEPS, TIMESTAMP, VALUE, Outcome
from crm_models.data.cohort import Cohort, Moment, days, in_parts

Level = Literal["problem", "warning", "note"]

FEW_CUSTOMERS = 200
FEW_CHURNERS = 50
TELLING_AUC = 0.95
STRONG_AUC = 0.8
"""Honest single columns rarely reach this: tenure separates the Telco customers with 0.74."""
FEW_LEVELS = 20
ONE_SIDED_CUSTOMERS = 30
ONE_SIDED_ELSEWHERE = 0.6
"""All of one class have a value that fewer than this share of the other class have."""
RARE_EVENTS = 5
MOSTLY_BLANK = 0.5
FEATURES_THAT_IDENTIFY = 5
"""With fewer features than this, customers have equal profiles by chance."""
CHURN_DATE_WORDS = ("churn_date", "churndate", "cancelled_at", "cancel_date", "left_on", "end_date", "exit_date")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One result of the check. level: a problem invalidates results, a warning weakens them, a note explains them.

    column: the feature it is about, if leaving that out would settle it.
    """

    level: Level
    title: str
    detail: str
    advice: str
    count: int = 0
    column: str | None = None


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the checks ask of a cohort, or of a part of one.

    lengths: (N,) events of each customer up to the cut-off. by_action: (A,) events of each action. counts: of events,
    by what is odd.
    """

    customers: pd.DataFrame
    feature_columns: list[str]
    labels: np.ndarray
    lengths: np.ndarray
    actions: pd.DataFrame
    by_action: np.ndarray
    counts: Counter[str]
    churn_date: str | None
    as_of: Moment | None
    outcome: Outcome

    @classmethod
    def of(cls, cohort: Cohort) -> Facts:
        """Of a cohort in memory."""
        churn_date = next((c for c in cohort.feature_columns if str(c).lower() in CHURN_DATE_WORDS), None)
        is_history = cohort.is_history(cohort.as_of)
        # Events are sorted by customer and time, so those that repeat another are in one tie.
        tied = (np.diff(cohort.event_customers) == 0) & (np.diff(cohort.event_days) == 0)
        counts = Counter(
            tied=int(tied.sum()),
            repeated=_repeated(cohort, tied) if tied.any() else 0,
            future=int((cohort.interactions[TIMESTAMP] > pd.Timestamp.now()).sum()) if cohort.is_dated else 0,
            late=_later_than(cohort, churn_date) if churn_date is not None else 0,
            after=int((~is_history).sum()),
        )
        return cls(
            customers=cohort.customers,
            feature_columns=cohort.feature_columns,
            labels=cohort.labels,
            lengths=np.bincount(cohort.event_customers[is_history], minlength=len(cohort.customers)),
            actions=cohort.actions,
            by_action=np.bincount(cohort.event_actions, minlength=len(cohort.actions)),
            counts=counts,
            churn_date=churn_date,
            as_of=cohort.as_of,
            outcome=cohort.outcome,
        )

    @classmethod
    def joined(cls, parts: Sequence[Facts]) -> Facts:
        """Of a cohort, from those of its parts in their order."""
        return replace(
            parts[0],
            customers=pd.concat([part.customers for part in parts], ignore_index=True),
            labels=np.concatenate([part.labels for part in parts]),
            lengths=np.concatenate([part.lengths for part in parts]),
            by_action=np.sum([part.by_action for part in parts], axis=0),
            counts=sum((part.counts for part in parts), Counter[str]()),
        )

    @property
    def n_customers(self) -> int:
        """Number of customers."""
        return len(self.customers)

    @property
    def n_events(self) -> int:
        """Number of events."""
        return int(self.by_action.sum())

    @property
    def has_labels(self) -> bool:
        """Whether any customer has a churn label."""
        return not bool(np.isnan(self.labels).all())


def check_cohort(cohort: Cohort | Iterable[Cohort]) -> list[Finding]:
    """All findings of the cohort, problems first.

    cohort: also as its parts, one after the other: then the customers are held in memory, and the events of one part.
    """
    return check(Facts.joined([Facts.of(part) for part in in_parts(cohort)]))


def check(facts: Facts) -> list[Finding]:
    """All findings, problems first."""
    findings = [f for look in (_sizes, _labels, _events, _outcome, _features, _actions) for f in look(facts)]
    order = {"problem": 0, "warning": 1, "note": 2}
    return sorted(findings, key=lambda f: order[f.level])


def _repeated(cohort: Cohort, tied: np.ndarray) -> int:
    """Events that repeat another of their customer in time, action and value; tied: (E - 1,) with the one before."""
    at = np.concatenate([[False], tied]) | np.concatenate([tied, [False]])
    codes = {"c": cohort.event_customers, "a": cohort.event_actions, "t": cohort.event_days}
    codes["v"] = cohort.interactions[VALUE].to_numpy()
    return int(pd.DataFrame({name: column[at] for name, column in codes.items()}).duplicated().sum())


def _later_than(cohort: Cohort, column: str) -> int:
    """Events that are later than the date in this column of their customer."""
    if not (cohort.is_dated and cohort.has_events):
        return 0
    left = pd.to_datetime(cohort.customers[column], errors="coerce")
    limit = days(left.astype("datetime64[us]"))
    limit[left.isna().to_numpy()] = np.inf
    return int((cohort.event_days > limit[cohort.event_customers]).sum())


def _sizes(facts: Facts) -> Iterator[Finding]:
    n = facts.n_customers
    if n < FEW_CUSTOMERS:
        yield Finding(
            level="warning",
            title="Few customers",
            detail=f"There are {n:,} customers, and models are tested on only a fifth of them.",
            advice="Read every score with its confidence interval, or add customers.",
            count=n,
        )
    if not facts.n_events and not facts.has_labels:
        yield Finding(
            level="problem",
            title="Nothing to train",
            detail="There are neither interactions nor churn labels.",
            advice="Add a table of interactions (customer_id, action, timestamp), or a column of churn labels.",
        )
    elif not facts.n_events:
        yield Finding(
            level="note",
            title="No interactions",
            detail="Only a churn model can be trained; plans are retention actions for customers at risk, else empty.",
            advice="Add a table of interactions (customer_id, action, timestamp) for engagement plans.",
        )
    elif not facts.has_labels:
        yield Finding(
            level="note",
            title="No churn labels",
            detail="Only the sequence model can be trained; no customer counts as at risk.",
            advice="Add a column of churn labels, or label churn by inactivity (--churn-days).",
        )


def _labels(facts: Facts) -> Iterator[Finding]:
    labels = facts.labels
    known = labels[~np.isnan(labels)]
    if not len(known):
        return
    churned = int(known.sum())
    fewer = min(churned, len(known) - churned)
    if fewer == 0:
        yield Finding(
            level="problem",
            title="One class only",
            detail=f"All {len(known):,} labelled customers {'churned' if churned else 'stayed'}.",
            advice="A churn model needs both classes; check the label column, or the days of inactivity.",
            count=len(known),
        )
    elif fewer < FEW_CHURNERS:
        yield Finding(
            level="warning",
            title="Few of one class",
            detail=f"Only {fewer:,} of {len(known):,} labelled customers "
            f"{'churned' if churned == fewer else 'stayed'}.",
            advice="Expect wide confidence intervals; collect more history before relying on the threshold.",
            count=fewer,
        )
    unknown = len(labels) - len(known)
    if unknown:
        yield Finding(
            level="note",
            title="Unlabelled customers",
            detail=f"{unknown:,} customers have no label; they are scored, but not used for training or testing.",
            advice="",
            count=unknown,
        )


def _events(facts: Facts) -> Iterator[Finding]:
    n, counts, lengths = facts.n_events, facts.counts, facts.lengths
    if not n:
        return
    if counts["repeated"]:
        yield Finding(
            level="warning",
            title="Duplicate events",
            detail=f"{counts['repeated']:,} of {n:,} events repeat another in customer, action, time and value.",
            advice="Remove them if the source recorded them twice; the model would learn to repeat actions.",
            count=counts["repeated"],
        )
    if counts["tied"] > 0.02 * n:
        yield Finding(
            level="warning",
            title="Events at the same moment",
            detail=f"{counts['tied'] / n:.1%} of events have the customer and time of the one before; "
            "file order decides.",
            advice="Use finer timestamps if you have them: models are tested on the order of events.",
            count=counts["tied"],
        )
    short, single = int(((lengths > 0) & (lengths <= N_STEPS)).sum()), int((lengths == 1).sum())
    if short:
        of_them = f", {single:,} of them only one" if single else ""
        yield Finding(
            level="warning" if short > 0.2 * facts.n_customers else "note",
            title="Short histories",
            detail=f"{short:,} {'customers have' if short > 1 else 'customer has'} three events or fewer{of_them}.",
            advice="Their plans depend mostly on the profile and on what other customers do.",
            count=short,
        )
    none = int((lengths == 0).sum())
    if none:
        yield Finding(
            level="note",
            title="Customers without a history",
            detail=f"{none:,} customers have no events; they get the fallback plan.",
            advice="",
            count=none,
        )
    if counts["future"] and facts.outcome != "simulated":
        yield Finding(
            level="warning",
            title="Events in the future",
            detail=f"{counts['future']:,} events are dated later than today.",
            advice="Check the format of the dates (day and month swapped?) and the time zone.",
            count=counts["future"],
        )


def _outcome(facts: Facts) -> Iterator[Finding]:
    """Events after the churn date or the cut-off: as model inputs they would leak the label."""
    late, after = facts.counts["late"], facts.counts["after"]
    if facts.as_of is None and facts.has_labels and late:
        yield Finding(
            level="problem",
            title="Events after the churn date",
            detail=f"{late:,} events are later than the {facts.churn_date} of their customer.",
            advice="Remove them, and the column itself: both give the label to the model.",
            count=late,
        )
    if facts.has_labels and facts.outcome == "observed" and after:
        yield Finding(
            level="note",
            title="Events after the cut-off",
            detail=f"{after:,} events are after the cut-off: they are outcome, and churn features do not use them.",
            advice="",
            count=after,
        )


def _features(facts: Facts) -> Iterator[Finding]:
    customers = facts.customers
    for name in facts.feature_columns:
        column = customers[name]
        filled = column.dropna()
        if filled.nunique() <= 1:
            yield Finding(
                level="note",
                title=f"Constant column {name}",
                detail="It has one value for all customers (or no value) and is left out.",
                advice="",
                count=len(filled),
            )
            continue
        blank = 1 - len(filled) / len(column)
        if blank > MOSTLY_BLANK:
            yield Finding(
                level="note",
                title=f"Mostly blank column {name}",
                detail=f"{blank:.0%} of customers have no value; a blank counts as a separate value.",
                advice="",
                count=len(column) - len(filled),
            )
        text = not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_datetime64_any_dtype(column)
        if text and filled.nunique() > 64 and filled.nunique() > 0.5 * len(filled):
            yield Finding(
                level="note",
                title=f"Column {name} identifies customers",
                detail=f"It has {filled.nunique():,} different values for {len(filled):,} customers and is left out.",
                advice="",
                count=int(filled.nunique()),
            )
    yield from _duplicate_profiles(facts)
    yield from _leaking_columns(facts)


def _duplicate_profiles(facts: Facts) -> Iterator[Finding]:
    """Equal profiles under different ids: without events, they are probably the same customer."""
    columns = facts.feature_columns
    if facts.n_events or len(columns) < FEATURES_THAT_IDENTIFY:
        return
    profiles = facts.customers.drop(columns=CUSTOMER_ID)
    n_duplicates = int(profiles.duplicated().sum())
    if n_duplicates > 2 * _equal_by_chance(profiles):
        yield Finding(
            level="warning" if n_duplicates > 0.02 * facts.n_customers else "note",
            title="Duplicate profiles",
            detail=f"{n_duplicates:,} of {facts.n_customers:,} customers repeat another in every column but the id.",
            advice="Where columns are coarse, such as age groups, that is no fault. Are they the same customers twice, "
            "bring each once: copies on both sides of the split inflate every score.",
            count=n_duplicates,
        )


def _equal_by_chance(profiles: pd.DataFrame) -> float:
    """How many customers would repeat another if the columns were independent: coarse columns repeat by themselves."""
    n = len(profiles)
    p_equal = 1.0
    for name in profiles.columns:
        shares = profiles[name].value_counts(dropna=False).to_numpy() / n
        p_equal *= float((shares**2).sum())
    return min(n, n * (n - 1) / 2 * p_equal)


def _leaking_columns(facts: Facts) -> Iterator[Finding]:
    """Leakage: columns that alone almost determine the label, or in which one class has a single value."""
    labels = facts.labels
    known = ~np.isnan(labels)
    if not known.sum() > 1 or len(np.unique(labels[known])) < 2:
        return
    for name in facts.feature_columns:
        column = facts.customers[name][known]
        auc = _auc_of(column, labels[known])
        if auc > TELLING_AUC:
            yield Finding(
                level="problem",
                title=f"Column {name} nearly gives the label away",
                detail=f"Used alone, it separates churned from other customers with an AUC of {auc:.3f}.",
                advice="It probably records the outcome: drop it (--drop) if it is known only after a customer left.",
                column=str(name),
            )
        elif (one_sided := _one_sided(column, labels[known])) is not None:
            yield Finding(
                level="warning",
                title=f"Column {name} is the same for all of one class",
                detail=one_sided,
                advice="Drop it (--drop) if it is known only after a customer left, or follows from that.",
                column=str(name),
            )
        elif auc > STRONG_AUC:
            yield Finding(
                level="warning",
                title=f"Column {name} says unusually much",
                detail=f"Used alone, it separates churned from other customers with an AUC of {auc:.3f}.",
                advice="Is it known before a customer leaves? If not, drop it (--drop).",
                column=str(name),
            )


def _one_sided(column: pd.Series, labels: np.ndarray) -> str | None:
    """A sentence, if all customers of one class have one value that is common in neither way in the other class."""
    codes, levels = pd.factorize(column, use_na_sentinel=False)
    if len(levels) > FEW_LEVELS:
        return None
    for side, said in ((1, "churned"), (0, "stayed")):
        here, there = codes[labels == side], codes[labels != side]
        if min(len(here), len(there)) < ONE_SIDED_CUSTOMERS:
            continue
        count = np.bincount(here, minlength=len(levels))
        level = int(count.argmax())
        elsewhere = float((there == level).mean())
        if count[level] == len(here) and elsewhere < ONE_SIDED_ELSEWHERE:
            value = "blank" if pd.isna(levels[level]) else repr(str(levels[level]))
            return (
                f"All {len(here):,} customers who {said} have the value {value}, and {elsewhere:.0%} of the others do."
            )
    return None


def _auc_of(column: pd.Series, labels: np.ndarray) -> float:
    """AUC of one column alone, in the better direction; levels of a text column are ranked by their churn rate."""
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.astype("int64").where(column.notna())
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(values).any():
            return 0.5
        values = np.where(np.isfinite(values), values, np.nanmin(np.where(np.isfinite(values), values, np.nan)) - 1)
    else:
        codes = pd.factorize(column.astype("str").where(column.notna(), ""))[0]
        if codes.max() > 0.2 * len(codes):
            # With almost one level per customer any AUC is high, so only blank or not counts, as in a churn date.
            codes = column.isna().to_numpy().astype(np.int64)
        count = np.bincount(codes).clip(1)
        values = (np.bincount(codes, weights=labels) / count)[codes]
    n_churned = labels.sum()
    above = pd.Series(values).rank().to_numpy()[labels > 0.5].sum() - n_churned * (n_churned + 1) / 2
    auc = above / (n_churned * (len(labels) - n_churned))
    return float(max(auc, 1 - auc))


def _actions(facts: Facts) -> Iterator[Finding]:
    if not facts.n_events:
        return
    count = facts.by_action
    rare = int(((count > 0) & (count < RARE_EVENTS)).sum())
    if rare > 0.3 * (count > 0).sum():
        yield Finding(
            level="note",
            title="Many rare actions",
            detail=f"{rare:,} of {int((count > 0).sum()):,} actions occur fewer than {RARE_EVENTS} times.",
            advice="Group them if you can: they are too rare for a model to learn when they occur.",
            count=rare,
        )
    top = count.max() / count.sum()
    if top > 0.8:
        name = facts.actions[ACTION].iloc[int(count.argmax())]
        yield Finding(
            level="warning",
            title="One action dominates",
            detail=f"{top:.0%} of events are {name!r}; always recommending it is hard to beat.",
            advice="Compare with the scores of the baselines before relying on a plan.",
            count=int(count.max()),
        )
