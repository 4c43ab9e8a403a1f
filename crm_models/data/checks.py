"""The data check: what in a cohort will hurt, said before anything is trained on it, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from crm_models.core.schema import ACTION, CUSTOMER_ID, N_STEPS, TIMESTAMP
from crm_models.data.cohort import Cohort, days, moment_days

Level = Literal["problem", "warning", "note"]

FEW_CUSTOMERS = 200
FEW_CHURNERS = 50
TELLING_AUC = 0.95
RARE_EVENTS = 5
MOSTLY_BLANK = 0.5
FEATURES_THAT_IDENTIFY = 5
"""With fewer features than this, customers are alike by chance."""
CHURN_DATE_WORDS = ("churn_date", "churndate", "cancelled_at", "cancel_date", "left_on", "end_date", "exit_date")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing to know. level: a problem spoils results, a warning weakens them, a note explains them."""

    level: Level
    title: str
    detail: str
    advice: str
    count: int = 0


def check_cohort(cohort: Cohort) -> list[Finding]:
    """Everything found in the cohort, problems first. Vectorised: seconds for a million customers."""
    found = [f for check in (_sizes, _labels, _events, _outcome, _features, _actions) for f in check(cohort)]
    order = {"problem": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda f: order[f.level])


def _sizes(cohort: Cohort) -> Iterator[Finding]:
    n = cohort.n_customers
    if n < FEW_CUSTOMERS:
        yield Finding(
            level="warning",
            title="Few customers",
            detail=f"There are {n:,} customers; a fifth of them decides how good a model looks.",
            advice="Read every score with its interval, or bring more customers.",
            count=n,
        )
    if not cohort.has_events:
        yield Finding(
            level="note",
            title="No interactions",
            detail="Only the churn model can be trained; at risk means retention actions, else the plan is empty.",
            advice="Add a table of interactions (customer_id, action, timestamp) for engagement plans.",
        )
    if not cohort.has_labels:
        yield Finding(
            level="note",
            title="No churn labels",
            detail="Only the sequence model can be trained; nobody is ever at risk.",
            advice="Add a column `churned`, or label churn by inactivity (--churn-days).",
        )


def _labels(cohort: Cohort) -> Iterator[Finding]:
    labels = cohort.labels
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
            advice="A churn model needs both; check the label, or the days of inactivity.",
            count=len(known),
        )
    elif fewer < FEW_CHURNERS:
        yield Finding(
            level="warning",
            title="Few of one class",
            detail=f"Only {fewer:,} of {len(known):,} labelled customers "
            f"{'churned' if churned == fewer else 'stayed'}.",
            advice="Expect wide intervals; gather more history before trusting the threshold.",
            count=fewer,
        )
    unknown = len(labels) - len(known)
    if unknown:
        yield Finding(
            level="note",
            title="Unlabelled customers",
            detail=f"{unknown:,} customers have no label; they are scored, but neither trained on nor tested.",
            advice="",
            count=unknown,
        )


def _events(cohort: Cohort) -> Iterator[Finding]:
    if not cohort.has_events:
        return
    events = cohort.interactions
    n = len(events)
    # Events are sorted by customer and time, so doubles and ties are neighbours but for their order within a tie.
    same_moment = (np.diff(cohort.event_customers) == 0) & (np.diff(cohort.event_days) == 0)
    ties = int(same_moment.sum())
    if ties:
        codes = pd.DataFrame(
            {"c": cohort.event_customers, "a": cohort.event_actions, "t": cohort.event_days, "v": events["value"]}
        )
        near = np.concatenate([[False], same_moment]) | np.concatenate([same_moment, [False]])
        doubled = int(codes[near].duplicated().sum())
        if doubled:
            yield Finding(
                level="warning",
                title="Doubled events",
                detail=f"{doubled:,} of {n:,} events repeat another in customer, action, time and value.",
                advice="Remove them if the source wrote them twice; they teach the model to repeat itself.",
                count=doubled,
            )
        if ties > 0.02 * n:
            yield Finding(
                level="warning",
                title="Events at the same moment",
                detail=f"{ties / n:.1%} of events share customer and time with the one before; the file decides.",
                advice="Bring finer timestamps if you have them: the order of ties is what a model is tested on.",
                count=ties,
            )
    lengths = np.diff(cohort.starts)
    short = int(((lengths > 0) & (lengths <= N_STEPS)).sum())
    if short:
        yield Finding(
            level="warning" if short > 0.2 * cohort.n_customers else "note",
            title="Short histories",
            detail=f"{short:,} customers have three events or fewer, {int((lengths == 1).sum()):,} of them one.",
            advice="Their plans lean on the profile and on what others do.",
            count=short,
        )
    none = int((lengths == 0).sum())
    if none:
        yield Finding(
            level="note",
            title="Customers without a history",
            detail=f"{none:,} customers have no event; they get the fallback plan.",
            advice="",
            count=none,
        )
    if cohort.is_dated:
        future = int((events[TIMESTAMP] > pd.Timestamp.now()).sum())
        if future and cohort.outcome != "simulated":
            yield Finding(
                level="warning",
                title="Events in the future",
                detail=f"{future:,} events are dated later than today.",
                advice="Check the format of the dates (day and month swapped?) and the time zone.",
                count=future,
            )


def _outcome(cohort: Cohort) -> Iterator[Finding]:
    """Events that happened after the customer left: the label would be read from them."""
    if not cohort.has_events or not cohort.has_labels:
        return
    if cohort.as_of is None:
        column = next((c for c in cohort.feature_columns if str(c).lower() in CHURN_DATE_WORDS), None)
        if column is None:
            return
        left = pd.to_datetime(cohort.customers[column], errors="coerce")
        if not cohort.is_dated or left.isna().all():
            return
        limit = days(left.astype("datetime64[us]"))
        limit[left.isna().to_numpy()] = np.inf
        late = int((cohort.event_days > limit[cohort.event_customers]).sum())
        if late:
            yield Finding(
                level="problem",
                title="Events after the churn date",
                detail=f"{late:,} events are later than their customer's {column}.",
                advice="Remove them, and the column itself: a model would read the label from them.",
                count=late,
            )
        return
    if cohort.outcome == "observed":
        after = int((cohort.event_days >= moment_days(cohort.as_of)).sum())
        if after:
            yield Finding(
                level="note",
                title="Events after the cut-off",
                detail=f"{after:,} events lie after the cut-off: they are outcome, and no churn feature sees them.",
                advice="",
                count=after,
            )


def _features(cohort: Cohort) -> Iterator[Finding]:
    people = cohort.customers
    for name in cohort.feature_columns:
        column = people[name]
        filled = column.dropna()
        if filled.nunique() <= 1:
            yield Finding(
                level="note",
                title=f"Constant column {name}",
                detail="It has the same value for everybody (or none) and is left out.",
                advice="",
                count=len(filled),
            )
            continue
        blank = 1 - len(filled) / len(column)
        if blank > MOSTLY_BLANK:
            yield Finding(
                level="note",
                title=f"Mostly blank column {name}",
                detail=f"{blank:.0%} of customers have no value; being blank counts as a value of its own.",
                advice="",
                count=len(column) - len(filled),
            )
        text = not pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_datetime64_any_dtype(column)
        if text and filled.nunique() > 64 and filled.nunique() > 0.5 * len(filled):
            yield Finding(
                level="note",
                title=f"Column {name} names customers",
                detail=f"It has {filled.nunique():,} different values for {len(filled):,} customers and is left out.",
                advice="",
                count=int(filled.nunique()),
            )
    yield from _doubled_profiles(cohort)
    yield from _telling(cohort)


def _doubled_profiles(cohort: Cohort) -> Iterator[Finding]:
    """Rows that stand there twice under two ids: with nothing but a profile to go by, they are one customer."""
    columns = cohort.feature_columns
    if cohort.has_events or len(columns) < FEATURES_THAT_IDENTIFY:
        return
    doubled = int(cohort.customers.drop(columns=CUSTOMER_ID).duplicated().sum())
    if doubled:
        yield Finding(
            level="warning" if doubled > 0.02 * cohort.n_customers else "note",
            title="Doubled profiles",
            detail=f"{doubled:,} of {cohort.n_customers:,} customers repeat another in every column but the id.",
            advice="Remove them if they are copies: a copy on either side of the split flatters every score.",
            count=doubled,
        )


def _telling(cohort: Cohort) -> Iterator[Finding]:
    """Columns that alone nearly give the label away."""
    labels = cohort.labels
    known = ~np.isnan(labels)
    if not known.sum() > 1 or len(np.unique(labels[known])) < 2:
        return
    for name in cohort.feature_columns:
        auc = _auc_of(cohort.customers[name][known], labels[known])
        if auc > TELLING_AUC:
            yield Finding(
                level="problem",
                title=f"Column {name} nearly gives the label away",
                detail=f"Alone it tells churners from stayers with an AUC of {auc:.3f}.",
                advice="Drop it if it is known only after the customer has left (--drop); no honest model needs more.",
            )


def _auc_of(column: pd.Series, labels: np.ndarray) -> float:
    """How well one column alone ranks churners above stayers, whichever way round; levels rank by their churn rate."""
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
            # Nearly one level per customer ranks anything; but to be blank or not may tell, as in a date of leaving.
            codes = column.isna().to_numpy().astype(np.int64)
        count = np.bincount(codes).clip(1)
        values = (np.bincount(codes, weights=labels) / count)[codes]
    n_churned = labels.sum()
    above = rankdata(values)[labels > 0.5].sum() - n_churned * (n_churned + 1) / 2
    auc = above / (n_churned * (len(labels) - n_churned))
    return float(max(auc, 1 - auc))


def _actions(cohort: Cohort) -> Iterator[Finding]:
    if not cohort.has_events:
        return
    count = np.bincount(cohort.event_actions, minlength=len(cohort.actions))
    rare = int(((count > 0) & (count < RARE_EVENTS)).sum())
    if rare > 0.3 * (count > 0).sum():
        yield Finding(
            level="note",
            title="Many rare actions",
            detail=f"{rare:,} of {int((count > 0).sum()):,} actions occur fewer than {RARE_EVENTS} times.",
            advice="Group them if you can: nobody can learn when a thing happens that hardly ever does.",
            count=rare,
        )
    top = count.max() / count.sum()
    if top > 0.8:
        name = cohort.actions[ACTION].iloc[int(count.argmax())]
        yield Finding(
            level="warning",
            title="One action dominates",
            detail=f"{top:.0%} of events are {name!r}; always proposing it is hard to beat.",
            advice="Look at the scores of the baselines before trusting a plan.",
            count=int(count.max()),
        )
