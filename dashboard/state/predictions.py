"""What the current run says, ready for the pages that decide and explain.

Bounded caches over scores, models and single customers. Like those of `store`, what these functions hand out is shared
by all viewers: read it, never change it. Whatever moves with a slider is a look-up in arrays put in order once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st

from crm_models.core.errors import DataError
from crm_models.core.files import new_file
from crm_models.core.records import CustomerScores
from crm_models.core.schema import MODEL_NAMES
from crm_models.data.cohort import Cohort, moment_days, select
from crm_models.data.split import planning_moment
from crm_models.data.storage import last_moment_days, part, part_starts
from crm_models.planning import action_mix
from crm_models.planning.plans import Catalogue, Plans, make_plans
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
from crm_models.runs.trained import plan_catalogue
from dashboard.jobs import scoring
from dashboard.state import store, workspace

if TYPE_CHECKING:
    from crm_models.core.records import ChurnPredictions, SequencePredictions
    from crm_models.runs.trained import HeldOut, Models

BINS = 50
CHUNK = 65_536
"""Customers that plans are made for at a time: a million at once would take gigabytes."""


# ---- everybody's scores ----------------------------------------------------------------------------------------------


def scores_mark(card: store.RunCard) -> str:
    """Changes whenever the scores of a run do: the key of every cache over them."""
    file = scoring.scores_file(card.folder, workspace.cohorts_folder() / card.cohort)
    facts = file.stat()
    return f"{file}|{facts.st_mtime_ns}-{facts.st_size}"


def scored_at(card: store.RunCard) -> str:
    """When the scores of a run were made (UTC): the same plans get the same file, whenever they are downloaded."""
    file = scoring.scores_file(card.folder, workspace.cohorts_folder() / card.cohort)
    return pd.Timestamp(file.stat().st_mtime, unit="s", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ")


@st.cache_resource(max_entries=4, show_spinner=False)
def risk_counts(mark: str, _churn_p: np.ndarray) -> np.ndarray:
    """(50,) customers per bin of churn probability from 0 to 1."""
    return np.histogram(_churn_p[~np.isnan(_churn_p)], bins=BINS, range=(0.0, 1.0))[0]


@st.cache_resource(max_entries=3, show_spinner=False)
def ids(mark: str, _customer_id: np.ndarray) -> pa.Array:
    """The customers' ids in cohort order, in a form that is searched in milliseconds."""
    return pa.array(_customer_id, type=pa.large_string())


def row_of(card: store.RunCard, everybody: CustomerScores, customer_id: str) -> int | None:
    """The customer's row in the cohort; None where there is no such customer."""
    row = pc.index(ids(scores_mark(card), everybody.customer_id), customer_id).as_py()
    return None if row < 0 else int(row)


def catalogue(card: store.RunCard, policy: Policy) -> Catalogue:
    """The words that plans of this run under this policy are made of."""
    return plan_catalogue(card.folder, policy)


@st.cache_resource(max_entries=4, show_spinner=False)
def mix_before(mark: str, retention: tuple[str, ...], _everybody: CustomerScores, _catalogue: Catalogue) -> np.ndarray:
    """(V,) how often each action of the catalogue, which has these retention actions, stands in a plan before them."""
    nobody = Policy(threshold=1.0, retention_actions=retention)
    counts = np.zeros(len(_catalogue.labels), np.int64)
    for plans in chunks(_everybody, np.arange(len(_everybody.customer_id)), _catalogue, nobody):
        counts += np.bincount(plans.before[plans.before >= 0], minlength=len(counts))
    return counts


def mix(mark: str, policy: Policy, everybody: CustomerScores, words: Catalogue, risk: RiskIndex) -> pd.DataFrame:
    """Occurrences of each action in all plans: `action`, `before` and `after` the policy.

    The first call for these retention actions passes over all customers; after that, a threshold takes a look-up and
    the plans of a few thousand customers at most.
    """
    before = mix_before(mark, policy.retention_actions, everybody, words)

    def change_of_first(k: int, n: int) -> np.ndarray:
        sums = _change_sums(mark, policy.retention_actions, k, everybody, risk, words)
        rest = risk.rows[n - n % action_mix.BLOCK : n]
        total = sums[n // action_mix.BLOCK]
        return total + action_mix.change(everybody.take(rest), words, policy, k) if len(rest) else total

    after = action_mix.mix_after(before, policy, risk, change_of_first)
    table = pd.DataFrame({"action": words.labels, "before": before, "after": after})
    used = table[(table["before"] > 0) | (table["after"] > 0)]
    return used.sort_values("after", ascending=False, kind="stable").reset_index(drop=True)


@st.cache_resource(max_entries=9, show_spinner=False)
def _change_sums(
    mark: str, retention: tuple[str, ...], k: int, _everybody: CustomerScores, _risk: RiskIndex, _words: Catalogue
) -> np.ndarray:
    policy = Policy(retention_actions=retention)  # the number of steps is given, so only the actions matter
    return action_mix.change_sums(_everybody, _risk.rows, _words, policy, k)


def chunks(everybody: CustomerScores, rows: np.ndarray, words: Catalogue, policy: Policy) -> Iterator[Plans]:
    """The plans of these customers (rows of the cohort), a stretch at a time, so that memory stays small.

    Of nobody, one stretch without plans: a file of them still has its header.
    """
    for first in range(0, max(len(rows), 1), CHUNK):
        yield make_plans(everybody.take(rows[first : first + CHUNK]), words, policy)


def plans(card: store.RunCard, everybody: CustomerScores, rows: np.ndarray, policy: Policy) -> Plans:
    """The plans of a few customers (rows of the cohort) under a policy."""
    return make_plans(everybody.take(np.asarray(rows)), catalogue(card, policy), policy)


# ---- the models ------------------------------------------------------------------------------------------------------


def models(card: store.RunCard) -> Models:
    """The models of a run, loaded once; the first call of a server takes a few seconds, for PyTorch."""
    file = card.folder.need_weights()
    return _models(str(card.folder.folder), file.stat().st_mtime_ns)


@st.cache_resource(max_entries=3, show_spinner=False)
def _models(folder: str, mark: int) -> Models:
    from crm_models.runs.folder import RunFolder
    from crm_models.runs.trained import load_models

    return load_models(RunFolder(Path(folder)), device="cpu", threads=1)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What a run said about its held-out customers, beside what happened to them."""

    sequence: SequencePredictions | None
    churn: ChurnPredictions | None
    n_actions: int


def tested(card: store.RunCard) -> Tested:
    """Predictions on the held-out customers of a run, computed once and kept."""
    folder = workspace.cohorts_folder() / card.cohort
    return _tested(
        str(card.folder.folder), str(folder), workspace.stamp(folder), card.folder.need_weights().stat().st_mtime_ns
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _tested(run: str, cohort: str, stamp: str, mark: int) -> Tested:
    """From the run folder where they were kept, else computed and kept there."""
    file, key = Path(run) / "held_out.npz", f"{stamp}|{mark}"
    found = _read_tested(file, key)
    if found is None:
        from crm_models.evaluation.scores import possible_actions
        from crm_models.runs.trained import predict_held_out

        held, own = _held_out(run, cohort, stamp), _models(run, mark)
        sequence, churn = predict_held_out(own, held)
        found = Tested(sequence=sequence, churn=churn, n_actions=possible_actions(held.cohort))
        _write_tested(file, key, found)
    return found


def _write_tested(file: Path, key: str, found: Tested) -> None:
    parts = {f"{name}.{k}": v for name in MODEL_NAMES for k, v in vars(getattr(found, name) or _Nothing()).items()}
    # Ids are written as text of fixed width: arrays of objects would need pickle, which runs what it reads.
    arrays = {k: v.astype(str) if v.dtype == object else v for k, v in parts.items()}
    with new_file(file) as part, part.open("wb") as handle:
        np.savez(handle, key=np.array(key), n_actions=np.array(found.n_actions), **arrays)


class _Nothing:
    """A model that is not there has no arrays."""


def _read_tested(file: Path, key: str) -> Tested | None:
    from crm_models.core.records import ChurnPredictions, SequencePredictions

    try:
        with np.load(file, allow_pickle=False) as saved:
            if str(saved["key"]) != key:
                return None
            arrays = {name: saved[name] for name in saved.files}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
    own = {m: {k.split(".")[1]: v for k, v in arrays.items() if k.startswith(f"{m}.")} for m in MODEL_NAMES}
    return Tested(
        sequence=SequencePredictions(**own["sequence"]) if own["sequence"] else None,
        churn=ChurnPredictions(**own["churn"]) if own["churn"] else None,
        n_actions=int(arrays["n_actions"]),
    )


def held_out(card: store.RunCard) -> HeldOut:
    """The cohort of a run with its held-out customers."""
    folder = workspace.cohorts_folder() / card.cohort
    return _held_out(str(card.folder.folder), str(folder), workspace.stamp(folder))


@st.cache_resource(max_entries=2, show_spinner=False)
def _held_out(run: str, cohort: str, stamp: str) -> HeldOut:
    from crm_models.runs.folder import RunFolder
    from crm_models.runs.trained import held_out as cut

    folder = RunFolder(Path(run))
    return cut(folder, folder.encoder(), Path(cohort))


# ---- one customer ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Customer:
    """One customer as a cohort of one. moment: when plans are made (None: after everything known)."""

    cohort: Cohort
    moment: Any
    now_days: float

    @property
    def profile(self) -> pd.Series:
        """The features."""
        return self.cohort.customers.iloc[0][self.cohort.feature_columns]

    @property
    def churned(self) -> bool | None:
        """Whether the customer churned; None where it is not known."""
        label = self.cohort.labels[0]
        return None if np.isnan(label) else bool(label)


def part_of(cohort_name: str, row: int) -> tuple[Cohort, int]:
    """The part of a cohort that holds the customer at `row`, and the row its customers begin at.

    `DataError` where the cohort has become shorter than that.
    """
    folder = workspace.cohorts_folder() / cohort_name
    stamp = workspace.stamp(folder)
    starts = _starts(str(folder), stamp)
    if row >= starts[-1]:
        raise DataError(f"cohort {cohort_name}: expected a customer in row {row}, found {starts[-1]} customers")
    k = int(np.searchsorted(starts, row, side="right")) - 1
    return _part(str(folder), stamp, k), int(starts[k])


def customer(cohort_name: str, row: int) -> Customer:
    """One customer with profile and history; reads one part of the cohort, whatever the size of the rest."""
    own_part, first = part_of(cohort_name, row)
    own = select(own_part, np.array([row - first]))
    moment = planning_moment(own)
    now = last_moment_days(store.cohort_card(cohort_name).about) if moment is None else moment_days(moment)
    return Customer(cohort=own, moment=moment, now_days=now)


@st.cache_resource(max_entries=16, show_spinner=False)
def _starts(folder: str, stamp: str) -> np.ndarray:
    return part_starts(Path(folder))


@st.cache_resource(max_entries=8, show_spinner=False)
def _part(folder: str, stamp: str, k: int) -> Cohort:
    return part(Path(folder), k)
