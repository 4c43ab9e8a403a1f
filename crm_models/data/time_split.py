"""Out-of-time split: models learn what was known by a date, and are tested on what came from that date on.

Training and test customers are as in the random split, so that runs of both splits are compared on the same ones; only
the moment differs at which the training customers are seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crm_models.core.errors import ConfigError, DataError
from crm_models.core.schema import CHURNED
from crm_models.data.cohort import Cohort, Moment, moment_days, moment_of, moment_text
from crm_models.data.sources.inactivity import silent
from crm_models.data.split import history


@dataclass(frozen=True, kw_only=True)
class Views:
    """A cohort as models learn from it and as they are tested on it; the same one where the split is random.

    no_churn: why no churn label is known by the date of the split; None if they are, or the split is random.
    """

    learned: Cohort
    tested: Cohort
    no_churn: str | None = None


def views_of(cohort: Cohort, date: str | None, span: tuple[float, float] | None = None) -> Views:
    """The two views of a cohort. date: of the split, as `split_date` returns it; None: the split is random.

    Events from the date on are unknown to training. Churn labels are made anew for both sides, where churn is
    inactivity: for training from the days right before the date, for testing from the days right after it. span: first
    and last event in days of the whole cohort, if this is a part of it.
    """
    if date is None:
        return Views(learned=cohort, tested=cohort)
    moment = moment_of(date, cohort.is_dated)
    if moment is None:
        times = "dates" if cohort.is_dated else "numbers"
        raise DataError(
            f"the split of the run is at {date}, but the times of this cohort are {times}; use its own cohort"
        )
    known = history(cohort, moment)
    days: float = cohort.settings.get("churn_days", np.nan)
    activity: list[str] | None = cohort.settings.get("churn_activity")
    no_churn = _no_churn(cohort, moment_days(moment), days, span or span_of([cohort]))
    if no_churn is not None:
        unknown = pd.array([pd.NA] * cohort.n_customers, dtype="boolean")
        learned = replace(known, as_of=None, customers=known.customers.assign(**{CHURNED: unknown}))
        return Views(learned=learned, tested=replace(cohort, as_of=moment), no_churn=no_churn)
    now = moment_days(moment)
    learned_at: Moment = moment - pd.Timedelta(days=days) if isinstance(moment, pd.Timestamp) else now - days
    return Views(
        learned=_labelled(replace(known, as_of=learned_at), moment_days(learned_at), now, activity),
        tested=_labelled(replace(cohort, as_of=moment), now, now + days, activity),
    )


def span_of(parts: Iterable[Cohort]) -> tuple[float, float]:
    """The first and the last event of all parts of a cohort in days; infinity and minus infinity without events."""
    ends = [(np.min(part.event_days, initial=np.inf), np.max(part.event_days, initial=-np.inf)) for part in parts]
    return float(min(first for first, _ in ends)), float(max(last for _, last in ends))


def split_date(cohort: Cohort, wanted: str, test_share: float, days: np.ndarray | None = None) -> str:
    """The date of a time split as text. wanted: a date, or a number where times are numbers; "": the default.

    The default is the cut-off of the cohort, or else the date from which on `test_share` of the events are. days: times
    of all events, if the cohort is only a part; they are put in another order. Raises `DataError` for a cohort without
    events, `ConfigError` for a date that is none or not within the events.
    """
    days = cohort.event_days.copy() if days is None else days
    if not len(days):
        raise DataError("a split by time needs interactions, and the cohort has none; use the random split")
    first, last = (moment_text(_moment_at(day, cohort.is_dated)) for day in (days.min(), days.max()))
    if wanted:
        moment = moment_of(wanted, cohort.is_dated)
    elif cohort.as_of is not None:
        moment = cohort.as_of
    else:
        moment = _moment_at(float(np.quantile(days, 1 - test_share, overwrite_input=True)), cohort.is_dated)
    if moment is None or not days.min() < moment_days(moment) <= days.max():
        usual = "a date such as 2026-01-31" if cohort.is_dated else "a number as its times are"
        raise ConfigError(
            f"the date of the split must be {usual}, after the first event ({first}) and not after the last one "
            f"({last}); found {wanted or moment_text(moment)!r}"
        )
    return moment_text(moment)


def _no_churn(cohort: Cohort, moment: float, churn_days: float, span: tuple[float, float]) -> str | None:
    """Why the churn labels on both sides of a moment cannot be known; None if they can. churn_days: NaN if unknown."""
    if np.isnan(churn_days):
        return (
            "a split by time needs churn labels by inactivity, which can be made for any date (import with "
            "--churn-days); the labels of this cohort have no date"
        )
    first, last = span[0] + churn_days, span[1] - churn_days
    # The cut-off of the import itself is always allowed: there, the last event may be a part of a second later.
    if cohort.as_of is not None:
        last = max(last, moment_days(cohort.as_of))
    if first < moment <= last:
        return None
    if first >= last:
        return (
            f"a split by time needs events over more than twice the {churn_days:g} days that count as churn, found "
            f"{span[1] - span[0]:.1f} days"
        )
    low, high = (moment_text(_moment_at(day, cohort.is_dated)) for day in (first, last))
    return (
        f"a split by time needs the {churn_days:g} days of the churn labels on both sides of its date; choose a date "
        f"after {low} and not after {high}"
    )


def _labelled(cohort: Cohort, since: float, until: float, activity: list[str] | None) -> Cohort:
    churned = pd.Series(silent(cohort, since, until, activity)).astype("boolean")
    return replace(cohort, customers=cohort.customers.assign(**{CHURNED: churned}))


def _moment_at(day: float, is_dated: bool) -> Moment:
    # Whole seconds, so that the date written to disk is exactly the one used.
    return (pd.Timestamp(0) + pd.Timedelta(days=day)).floor("s") if is_dated else float(day)
