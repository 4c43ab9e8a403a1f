"""Churn labels by inactivity: a customer without activity for `churn_days` has churned.

The cut-off is that many days before the last event of the cohort. Customers who were active before it but not after it
have churned; customers first seen after it are unlabelled, because they have no history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from crm_models.core.errors import ConfigError, DataError
from crm_models.core.schema import ACTION, CHURNED, TIMESTAMP
from crm_models.data.cohort import Cohort, Moment, moment_days


def label_by_inactivity(
    cohort: Cohort, churn_days: float, activity: Sequence[str] | None = None, made_on: pd.Timestamp | None = None
) -> Cohort:
    """The cohort with `churned` by inactivity, `as_of` at the cut-off and an observed outcome.

    churn_days: days without activity that count as churn. activity: actions that count as activity (None: all).
    made_on: when the export was made, if it is known; else the last event stands for it. Raises `DataError` if no event
    is before the cut-off, or if the cohort has labels already.
    """
    if not 0 < churn_days < 1e6:
        raise ConfigError(f"churn_days must be a positive number of days, found {churn_days}")
    if cohort.has_labels:
        raise DataError("the customers have churn labels already; leave out --churn-days, or drop the label column")
    if not cohort.has_events:
        raise DataError("churn by inactivity needs interactions, found none; leave out --churn-days")
    as_of = _cut_off(cohort, churn_days, made_on)
    churned = pd.Series(silent(cohort, moment_days(as_of), np.inf, activity)).astype("boolean")
    known = churned.notna()
    rate = f"{churned.mean():.1%}" if known.any() else "none"
    counted = "activity" if activity is None else " or ".join(activity)
    note = (
        f"Churn by inactivity: no {counted} in the {churn_days:g} days from {_moment_text(as_of)} on. {rate} of "
        f"{int(known.sum()):,} customers churned; {int((~known).sum()):,} were not active before and are unlabelled."
    )
    return replace(
        cohort,
        customers=cohort.customers.assign(**{CHURNED: churned}),
        as_of=as_of,
        outcome="observed",
        notes=(*cohort.notes, note),
        settings=cohort.settings
        | {"churn_days": churn_days}
        | ({} if activity is None else {"churn_activity": list(activity)}),
    )


def silent(cohort: Cohort, since: float, until: float, activity: Sequence[str] | None = None) -> np.ndarray:
    """(N,) 1 for a customer active before `since` but not from then until `until` (days), 0 if active in both.

    NaN: not active before `since`. activity: actions that count (None: all).
    """
    days, customer, n = cohort.event_days, cohort.event_customers, cohort.n_customers
    counts = np.ones(len(days), dtype=bool)
    if activity is not None:
        counts = cohort.actions[ACTION].isin(list(activity)).to_numpy()[cohort.event_actions]
    before, within = counts & (days < since), counts & (days >= since) & (days < until)
    active_before = np.bincount(customer[before], minlength=n) > 0
    active_within = np.bincount(customer[within], minlength=n) > 0
    return np.where(active_before, (~active_within).astype(np.float64), np.nan)


def _cut_off(cohort: Cohort, churn_days: float, made_on: pd.Timestamp | None) -> Moment:
    days = cohort.event_days
    last = float(days.max()) if made_on is None or not cohort.is_dated else moment_days(made_on)
    cut = last - churn_days
    if cut <= float(days.min()):
        raise DataError(
            f"churn by inactivity over {churn_days:g} days needs a longer history, found events over "
            f"{days.max() - days.min():.1f} days; use a smaller --churn-days"
        )
    # Whole seconds, so that the cut-off written to disk is exactly the one used.
    return (pd.Timestamp(0) + pd.Timedelta(days=cut)).floor("s") if cohort.is_dated else cut


def _moment_text(moment: Moment) -> str:
    return moment.isoformat(sep=" ") if isinstance(moment, pd.Timestamp) else f"{TIMESTAMP} {moment:g}"
