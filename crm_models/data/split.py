"""History, outcome, and the split of customers into training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crm_models.core.schema import CHURNED, CUSTOMER_ID, N_STEPS, PADDING
from crm_models.data.cohort import Cohort, Moment
from crm_models.data.events import Events, history_counts


def history(cohort: Cohort, as_of: Moment | None) -> Cohort:
    """The cohort with its events strictly before `as_of`; None: with all events."""
    if as_of is None or not cohort.has_events:
        return cohort
    keep = cohort.is_history(as_of)
    # Column by column: an index of the rows kept would take as much memory as two columns.
    columns = {name: column.array[keep] for name, column in cohort.interactions.items()}
    return replace(cohort, interactions=pd.DataFrame(columns, copy=False))


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """Boundary between history and outcome of each customer, for scoring a sequence model.

    rows: (M,) rows of the customers that can be scored (at least one event in the history and one in the outcome).
    n_history: (M,) events in the history. n_outcome: (M,) events in the outcome, 1 to 3.
    """

    rows: np.ndarray
    n_history: np.ndarray
    n_outcome: np.ndarray

    def take(self, at: np.ndarray) -> Outcomes:
        """Some of the outcomes, in the order given; at: positions, or a boolean mask."""
        return Outcomes(rows=self.rows[at], n_history=self.n_history[at], n_outcome=self.n_outcome[at])

    def of_customers(self, rows: np.ndarray) -> Outcomes:
        """The outcomes of the customers `rows`, in the order they have here."""
        return self.take(np.isin(self.rows, rows))


def outcomes(cohort: Cohort) -> Outcomes:
    """The next three events from `as_of` on; without `as_of`, the last three events of customers with four or more.

    DIFF from paper, Datasets: five ratings and then three target actions for everyone; a real history has any length,
    so a cut-off date separates history from outcome, and outcomes may be shorter than three steps.
    """
    total = np.diff(cohort.starts)
    n_history = np.maximum(total - N_STEPS, 0) if cohort.as_of is None else history_counts(cohort, cohort.as_of)
    n_outcome = np.minimum(total - n_history, N_STEPS)
    rows = np.flatnonzero((n_history > 0) & (n_outcome > 0))
    return Outcomes(rows=rows, n_history=n_history[rows], n_outcome=n_outcome[rows])


def true_steps(events: Events, outcomes: Outcomes) -> np.ndarray:
    """(M, 3) action ids of the first three events after each history, 0 if there are fewer."""
    place = np.arange(N_STEPS)
    is_real = place < outcomes.n_outcome[:, None]
    first = events.starts[outcomes.rows] + outcomes.n_history
    at = np.where(is_real, first[:, None] + place, 0)
    return np.where(is_real, events.action[at], PADDING).astype(np.int64)


def planning_moment(cohort: Cohort) -> Moment | None:
    """Moment that plans are made at: `as_of` if the outcome is simulated, else None, after all known events."""
    return cohort.as_of if cohort.outcome == "simulated" else None


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows of `customers` for training, for validation (early stopping, calibration), and for the final scores."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def split_customers(cohort: Cohort, *, seed: int, test_share: float = 0.2, valid_share: float = 0.15) -> Split:
    """Split the customers into train, valid and test, stratified by churn label.

    The split depends on customer ids and the seed, but not on the order of rows. valid_share is a share of all
    customers; with 0, `valid` is empty (80/20, which the paper's accuracy of 1/60 implies: 20 test users x 3 steps).

    DIFF from paper, Experimental Setup: a validation split for early stopping and calibration, because the training
    loss does not show overfitting; the paper has none, as has `paper`.
    DIFF from paper, Experimental Setup: stratified by label, so that small test splits have the cohort's churn rate,
    and hashed by id, so that a reordered cohort has the same split; the paper does not say how it splits.
    """
    return split_table(cohort.customers, seed=seed, test_share=test_share, valid_share=valid_share)


def split_table(customers: pd.DataFrame, *, seed: int, test_share: float, valid_share: float) -> Split:
    """The split of `split_customers` from the columns `customer_id` and `churned` alone."""
    ids, labels = customers[CUSTOMER_ID], customers[CHURNED]
    draw = pd.util.hash_array(ids.to_numpy(dtype=object), hash_key=f"split{seed:011d}"[-16:], categorize=False)
    groups = labels.astype("Int8").fillna(-1).to_numpy()
    # All customers in one list, class by class, in hashed order within a class; every k-th one is a test customer.
    order = np.lexsort((draw, groups))
    place = np.arange(len(order))
    is_test = _every(place, test_share)
    rest = order[~is_test]
    is_valid = _every(np.arange(len(rest)), valid_share / (1 - test_share))
    return Split(train=np.sort(rest[~is_valid]), valid=np.sort(rest[is_valid]), test=np.sort(order[is_test]))


def thinned(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64)]


def _every(place: np.ndarray, share: float) -> np.ndarray:
    """Mask of round(share * n) of n evenly spaced places: those where the running share passes a whole number."""
    return np.floor((place + 1) * share + 0.5) > np.floor(place * share + 0.5)
