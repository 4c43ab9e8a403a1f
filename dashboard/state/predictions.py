"""Cached predictions of a run: scores, plans, loaded models, test predictions, single customers.

The caches are bounded, and their objects are shared by all viewers (as in `store`): never change them. What depends on
the threshold slider is a look-up in arrays that are sorted once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from crm_models.core.permissions import MASK
from crm_models.core.records import CustomerScores
from crm_models.core.schema import LABEL
from crm_models.data.cohort import Cohort, moment_days, select
from crm_models.data.profile import BEHAVIOUR, group_customers
from crm_models.data.split import planning_moment
from crm_models.data.storage import last_moment_days, part, part_starts, parts
from crm_models.planning import action_mix, group_mix
from crm_models.planning.changes import Changes, changes
from crm_models.planning.group_mix import GroupMix
from crm_models.planning.plans import Catalogue, Plans, make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
from crm_models.runs.folder import RunFolder
from crm_models.runs.trained import plan_catalogue
from dashboard.jobs.tested import Tested, keep_tested
from dashboard.state import access, store, workspace

if TYPE_CHECKING:
    from crm_models.runs.trained import Models

BINS = 50
CHUNK = 65_536
"""Customers per chunk of plans: a million at once would take gigabytes."""


# ---- scores and plans ------------------------------------------------------------------------------------------------


def scores_mark(card: store.RunCard, cohort_name: str | None = None) -> str:
    """Cache key of the scores of a run, by default of its own cohort; it changes whenever the scores do."""
    file = store.scores_file(card, cohort_name)
    stat = file.stat()
    return f"{file}|{stat.st_mtime_ns}-{stat.st_size}"


def scored_at(card: store.RunCard, cohort_name: str | None = None) -> str:
    """Time of scoring (UTC), instead of the time of download, so that the same plans give the same file."""
    file = store.scores_file(card, cohort_name)
    return pd.Timestamp(file.stat().st_mtime, unit="s", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")


@st.cache_resource(max_entries=4, show_spinner=False)
def risk_counts(mark: str, _churn_p: np.ndarray) -> np.ndarray:
    """(50,) customers per bin of churn probability from 0 to 1."""
    return np.histogram(_churn_p[~np.isnan(_churn_p)], bins=BINS, range=(0.0, 1.0))[0]


@st.cache_resource(max_entries=3, show_spinner=False)
def ids(mark: str, _customer_id: np.ndarray) -> pa.Array:
    """Customer ids in cohort order, as an Arrow array that is searched in milliseconds."""
    return pa.array(_customer_id, type=pa.large_string())


def row_of(card: store.RunCard, everybody: CustomerScores, customer_id: str) -> int | None:
    """Row of a customer in the cohort; None if there is no such customer."""
    row = pc.index(ids(scores_mark(card), everybody.customer_id), customer_id).as_py()
    return None if row < 0 else int(row)


def nearest_id(card: store.RunCard, everybody: CustomerScores, customer_id: str) -> str:
    """The customer id that is spelled most like the one given: among those that begin as it does, as far as any do."""
    all_ids = ids(scores_mark(card), everybody.customer_id)
    for length in range(len(customer_id), -1, -1):
        found = all_ids.filter(pc.starts_with(all_ids, customer_id[:length], ignore_case=True))
        if len(found):
            return str(workspace.nearest(customer_id, found[:200].to_pylist()))
    raise AssertionError("a cohort has at least one customer")  # every id begins with nothing


def catalogue(card: store.RunCard, policy: Policy) -> Catalogue:
    """Vocabulary of the plans of a run under a policy."""
    return plan_catalogue(card.folder, policy)


@st.cache_resource(max_entries=4, show_spinner="Counting the actions of all plans")
def _mix_before(mark: str, retention: tuple[str, ...], _scores: CustomerScores, _catalogue: Catalogue) -> np.ndarray:
    """(V,) occurrences of each action in all plans before the policy. retention: the catalogue's retention actions."""
    without_retention = Policy(threshold=1.0, retention_actions=retention)
    counts = np.zeros(len(_catalogue.labels), np.int64)
    for plans in chunks(_scores, np.arange(len(_scores.customer_id)), _catalogue, without_retention):
        counts += np.bincount(plans.before[plans.before >= 0], minlength=len(counts))
    return counts


def mix(mark: str, policy: Policy, everybody: CustomerScores, words: Catalogue, risk: RiskIndex) -> pd.DataFrame:
    """Occurrences of each action in all plans: `action`, `before` and `after` the policy.

    The first call for these retention actions makes the plans of all customers; after that, a new threshold takes a
    look-up and the plans of at most a few thousand customers.
    """
    before = _mix_before(mark, policy.retention_actions, everybody, words)

    def change_of_first(k: int, n: int) -> np.ndarray:
        sums = _change_sums(mark, policy.retention_actions, k, everybody, risk, words)
        rest = risk.rows[n - n % action_mix.BLOCK : n]
        total = sums[n // action_mix.BLOCK]
        return total + action_mix.change(everybody.take(rest), words, policy, k) if len(rest) else total

    after = action_mix.mix_after(before, policy, risk, change_of_first)
    table = pd.DataFrame({"action": words.labels, "before": before, "after": after})
    used = table[(table["before"] > 0) | (table["after"] > 0)]
    return used.sort_values("after", ascending=False, kind="stable").reset_index(drop=True)


@st.cache_resource(max_entries=9, show_spinner="Counting the actions of all plans")
def _change_sums(
    mark: str, retention: tuple[str, ...], k: int, _scores: CustomerScores, _risk: RiskIndex, _catalogue: Catalogue
) -> np.ndarray:
    policy = Policy(retention_actions=retention)  # the number of retention steps is k, so only the actions matter
    return action_mix.change_sums(_scores, _risk.rows, _catalogue, policy, k)


def chunks(everybody: CustomerScores, rows: np.ndarray, words: Catalogue, policy: Policy) -> Iterator[Plans]:
    """Plans of the customers `rows` of the cohort, in chunks, so that memory stays small.

    Without rows, one empty chunk, so that a file of them still has its header.
    """
    for first in range(0, max(len(rows), 1), CHUNK):
        yield make_plans(everybody.take(rows[first : first + CHUNK]), words, policy)


@st.cache_resource(max_entries=8, show_spinner="Comparing with the last scores")
def changed(
    marks: tuple[str, str],
    policy: Policy,
    points: float,
    _scores: tuple[CustomerScores, CustomerScores],
    _words: Catalogue,
) -> Changes:
    """What changed from one scoring to another; marks: of both."""
    return changes(*_scores, _words, policy, points=points)


def plans(card: store.RunCard, everybody: CustomerScores, rows: np.ndarray, policy: Policy) -> Plans:
    """Plans of a few customers (rows of the cohort) under a policy."""
    return make_plans(everybody.take(np.asarray(rows)), catalogue(card, policy), policy)


# ---- the models ------------------------------------------------------------------------------------------------------


def models(card: store.RunCard) -> Models:
    """The models of a run, loaded once; the first call takes a few seconds, because it imports PyTorch."""
    file = card.folder.need_weights()
    return _models(str(card.folder.folder), file.stat().st_mtime_ns)


@st.cache_resource(max_entries=3, show_spinner=False)
def _models(folder: str, mark: int) -> Models:
    from crm_models.runs.trained import load_models

    return load_models(RunFolder(Path(folder)), device="cpu", threads=1)


def version(card: store.RunCard) -> str:
    """A text that changes when the weights of a run or the tables of its cohort do: part of cache keys."""
    folder = workspace.cohorts_folder() / card.cohort
    return f"{workspace.stamp(folder)}|{card.folder.need_weights().stat().st_mtime_ns}"


def tested(card: store.RunCard) -> Tested:
    """Predictions for the test customers of a run, computed once and saved."""
    folder = workspace.cohorts_folder() / card.cohort
    return _tested(str(card.folder.folder), str(folder), version(card))


@st.cache_resource(max_entries=4, show_spinner=False)
def _tested(run: str, cohort: str, version: str) -> Tested:
    """Read from the run folder, where the worker keeps it, or computed and kept there."""
    return keep_tested(RunFolder(Path(run)), Path(cohort))


def ways_to_group(card: store.RunCard) -> list[str]:
    """How the customers of a run's cohort can be grouped: by behaviour, and by each profile column."""
    return [way for way in _ways(*workspace.cohort_key(card.cohort)) if way not in access.personal()]


@st.cache_data(max_entries=16, show_spinner=False)
def _ways(folder: str, stamp: str) -> list[str]:
    first = part(Path(folder), 0)
    return [*(BEHAVIOUR if first.has_events else ()), *first.feature_columns]


def groups(card: store.RunCard, by: str) -> tuple[np.ndarray, list[str]]:
    """(N,) group of each customer of the run's cohort, and the names of the groups."""
    return _groups(*workspace.cohort_key(card.cohort), by)


@st.cache_resource(max_entries=12, show_spinner="Grouping the customers")
def _groups(folder: str, stamp: str, by: str) -> tuple[np.ndarray, list[str]]:
    """Computed part by part; only a small number for each customer is kept."""
    codes, names = group_customers(parts(Path(folder)), by)
    return codes.astype(np.int16), names


def groups_of(card: store.RunCard, customer_id: np.ndarray, by: str) -> tuple[np.ndarray, list[str]]:
    """The same for some customers, given by their ids."""
    codes, names = groups(card, by)
    everybody = store.scores(card)
    assert everybody is not None  # the page asked for them first
    at = pc.index_in(pa.array(customer_id, type=pa.large_string()), ids(scores_mark(card), everybody.customer_id))
    return codes[at.to_numpy(zero_copy_only=False).astype(np.int64)], names


def mix_by_group(card: store.RunCard, by: str, policy: Policy) -> GroupMix:
    """Plans of all customers under a policy, by group."""
    return _mix_by_group(scores_mark(card), by, policy, card)


@st.cache_resource(max_entries=16, show_spinner="Making the plans of all groups")
def _mix_by_group(mark: str, by: str, policy: Policy, _card: store.RunCard) -> GroupMix:
    everybody, (codes, names) = store.scores(_card), groups(_card, by)
    assert everybody is not None  # the page asked for them first
    stream = chunks(everybody, np.arange(len(everybody.customer_id)), catalogue(_card, policy), policy)
    return group_mix.mix_by_group(stream, codes, names)


# ---- one customer ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Customer:
    """A customer as a cohort of one. moment: when plans are made (None: after all known events)."""

    cohort: Cohort
    moment: Any
    now_days: float

    @property
    def profile(self) -> pd.Series:
        """Profile features of the customer; personal ones are masked for viewers."""
        features = self.cohort.customers.iloc[0][self.cohort.feature_columns].astype(object)
        features[features.index.isin(access.personal())] = MASK
        return features

    @property
    def seen(self) -> np.ndarray:
        """(T,) whether the models see each event: those strictly before the moment of planning."""
        return self.cohort.is_history(self.moment)

    @property
    def event_labels(self) -> np.ndarray:
        """(T,) label of each event's action."""
        labels: np.ndarray = self.cohort.actions[LABEL].to_numpy(dtype=object)
        return labels[self.cohort.event_actions]

    @property
    def churned(self) -> bool | None:
        """Whether the customer churned; None if unknown."""
        label = self.cohort.labels[0]
        return None if np.isnan(label) else bool(label)


def part_of(cohort_name: str, row: int) -> tuple[Cohort, int] | None:
    """The part of a cohort that contains the customer at `row`, and the row of its first customer.

    None if the cohort has no such row any more.
    """
    key = workspace.cohort_key(cohort_name)
    starts = _starts(*key)
    if row >= starts[-1]:
        return None
    k = int(np.searchsorted(starts, row, side="right")) - 1
    return _part(*key, k), int(starts[k])


def one_of(cohort_name: str, row: int) -> Cohort | None:
    """The customer at `row` as a cohort of one; None if there is no such row any more. Reads one part of the cohort."""
    found = part_of(cohort_name, row)
    return None if found is None else select(found[0], np.array([row - found[1]]))


def customer(cohort_name: str, row: int) -> Customer | None:
    """A customer with profile and history, or None if there is no such row."""
    single = one_of(cohort_name, row)
    if single is None:
        return None
    moment = planning_moment(single)
    now = last_moment_days(store.cohort_card(cohort_name).about) if moment is None else moment_days(moment)
    return Customer(cohort=single, moment=moment, now_days=now)


def parts_of(cohort_name: str, rows: np.ndarray) -> Iterator[Cohort]:
    """The customers at these rows (in ascending order) of a cohort, part by part."""
    key = workspace.cohort_key(cohort_name)
    starts = _starts(*key)
    for k in np.unique(np.searchsorted(starts, rows, side="right") - 1):
        of_part = rows[(rows >= starts[k]) & (rows < starts[k + 1])] - starts[k]
        yield select(_part(*key, int(k)), of_part)


@st.cache_resource(max_entries=16, show_spinner=False)
def _starts(folder: str, stamp: str) -> np.ndarray:
    return part_starts(Path(folder))


@st.cache_resource(max_entries=8, show_spinner=False)
def _part(folder: str, stamp: str, k: int) -> Cohort:
    return part(Path(folder), k)
