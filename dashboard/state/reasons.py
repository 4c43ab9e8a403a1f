"""Cached reasons of predictions: drivers of risks and of planned steps, and what would bring a customer below.

As in `predictions`, the caches are bounded and their objects are shared by all viewers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.permissions import MASK
from crm_models.core.schema import PlanFor
from dashboard.state import access, predictions, store, workspace
from dashboard.state.predictions import scores_mark

if TYPE_CHECKING:
    from crm_models.inference.counterfactual import Counterfactual, Levers
    from crm_models.inference.drivers import Explained, Faithfulness
    from crm_models.inference.step_drivers import StepReasons
    from crm_models.planning.plans import Plans
    from crm_models.runs.explaining import CohortExplainer, CohortStepExplainer

Reasons = TypeVar("Reasons", "Explained", "StepReasons")

EXPLAINED = 300
"""Most customers in averaged drivers."""


# ---- why a customer is at risk ---------------------------------------------------------------------------------------


@st.cache_resource(max_entries=3, show_spinner=False)
def _explainer(run: str, cohort: str, mark: str, _card: store.RunCard) -> CohortExplainer:
    """Explains customers of a run, compared with the same few others for all viewers."""
    from crm_models.runs.explaining import CohortExplainer

    return CohortExplainer.of(predictions.models(_card), _card.folder, Path(cohort), in_bulk=False)


def explainer_of(card: store.RunCard) -> CohortExplainer:
    """The explainer of a run's churn probabilities; it needs no session, so a download may use it."""
    folder = workspace.cohorts_folder() / card.cohort
    return _explainer(str(card.folder.folder), str(folder), predictions.version(card), card)


def drivers(card: store.RunCard, row: int) -> Explained | None:
    """Drivers of the churn probability of the customer at `row`; None if there is no such row any more.

    The values of personal columns are masked for viewers.
    """
    found = _drivers(scores_mark(card), row, card)
    return None if found is None else _masked(found)


def _masked(found: Reasons) -> Reasons:
    hidden = access.personal()
    if not hidden:
        return found
    masked = (replace(d, value=MASK) if d.name in hidden and not d.is_event else d for d in found.drivers)
    return replace(found, drivers=tuple(masked))


@st.cache_resource(max_entries=2_000, show_spinner=False)
def _drivers(mark: str, row: int, _card: store.RunCard) -> Explained | None:
    single = predictions.one_of(_card.cohort, row)
    if single is None:
        return None
    explainer = explainer_of(_card)
    return next(explainer.explainer.explain(single, explainer.background))


@st.cache_resource(max_entries=8, show_spinner=False)
def drivers_of_many(mark: str, who: str, _card: store.RunCard, _rows: np.ndarray) -> tuple[pd.DataFrame, int, float]:
    """Drivers averaged over at most `EXPLAINED` of the rows, how many that are, and the base in [0, 1].

    who: names the rows, for the cache.
    """
    from crm_models.inference.drivers import PAIRS_IN_BULK, over_customers

    explainer = explainer_of(_card)
    few = explainer.background.few(PAIRS_IN_BULK)
    rows = np.sort(np.random.default_rng(0).permutation(_rows)[:EXPLAINED])
    explained = [
        one for part in predictions.parts_of(_card.cohort, rows) for one in explainer.explainer.explain(part, few)
    ]
    return over_customers(explained), len(explained), few.base


@st.cache_resource(max_entries=8, show_spinner=False)
def faithfulness(mark: str, _card: store.RunCard) -> Faithfulness:
    """Whether the drivers of a run are those that matter; measured once."""
    return explainer_of(_card).faithfulness()


def with_drivers(card: store.RunCard, stream: Iterable[Plans], rows: np.ndarray) -> Iterator[Plans]:
    """The plans of the customers `rows` (in ascending order), with the drivers of those at risk. No session needed."""
    from crm_models.inference.drivers import PAIRS_IN_BULK

    explainer, done = explainer_of(card), 0
    few = replace(explainer, background=explainer.background.few(PAIRS_IN_BULK))
    for plans in stream:
        own, done = rows[done : done + len(plans)], done + len(plans)
        yield few.explained_plans(plans, predictions.parts_of(card.cohort, own[plans.at_risk]))


# ---- why these steps -------------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=3, show_spinner=False)
def _step_explainer(
    run: str, cohort: str, mark: str, plan_for: PlanFor, in_bulk: bool, _card: store.RunCard
) -> CohortStepExplainer:
    from crm_models.runs.explaining import CohortStepExplainer

    return CohortStepExplainer.of(
        predictions.models(_card), _card.folder, Path(cohort), in_bulk=in_bulk, plan_for=plan_for
    )


def step_drivers(card: store.RunCard, row: int) -> tuple[StepReasons, ...]:
    """Drivers of the model's steps for the customer at `row`; empty without a history or a sequence model.

    The values of personal columns are masked for viewers.
    """
    return tuple(_masked(step) for step in _step_drivers(scores_mark(card), row, card))


@st.cache_resource(max_entries=2_000, show_spinner=False)
def _step_drivers(mark: str, row: int, _card: store.RunCard) -> tuple[StepReasons, ...]:
    everybody, single = store.scores(_card), predictions.one_of(_card.cohort, row)
    if everybody is None or everybody.plans is None or single is None or not everybody.n_events[row]:
        return ()
    explainer = _step_explainer_of(_card)
    return next(explainer.explainer.explain(single, everybody.plans.actions[[row]], explainer.background))


def _step_explainer_of(
    card: store.RunCard, plan_for: PlanFor | None = None, *, in_bulk: bool = False
) -> CohortStepExplainer:
    folder = workspace.cohorts_folder() / card.cohort
    plan_for = plan_for or store.plan_for()
    return _step_explainer(str(card.folder.folder), str(folder), predictions.version(card), plan_for, in_bulk, card)


def with_step_drivers(
    card: store.RunCard, stream: Iterable[Plans], rows: np.ndarray, plan_for: PlanFor
) -> Iterator[Plans]:
    """The plans of the customers `rows` (in ascending order), with the drivers of their steps. No session needed."""
    from crm_models.runs.explaining import with_model_steps

    explainer, done = _step_explainer_of(card, plan_for, in_bulk=True), 0
    for plans in stream:
        own, done = rows[done : done + len(plans)], done + len(plans)
        yield explainer.explained_plans(plans, predictions.parts_of(card.cohort, own[with_model_steps(plans)]))


@st.cache_resource(max_entries=8, show_spinner=False)
def step_faithfulness(mark: str, _card: store.RunCard) -> Faithfulness:
    """Whether the drivers of the steps of a run are those that matter; measured once."""
    return _step_explainer_of(_card).faithfulness()


# ---- what would bring a customer below -------------------------------------------------------------------------------


def counterfactual(
    card: store.RunCard, row: int, threshold: float, columns: Sequence[str], events: Sequence[str] | None
) -> Counterfactual | None:
    """The smallest change below the threshold for the customer at `row`; None if there is no such row any more."""
    columns = [column for column in columns if column not in access.personal()]
    return _counterfactual(
        scores_mark(card), row, threshold, tuple(columns), None if events is None else tuple(events), card
    )


@st.cache_resource(max_entries=500, show_spinner=False)
def _counterfactual(
    mark: str,
    row: int,
    threshold: float,
    columns: tuple[str, ...],
    events: tuple[str, ...] | None,
    _card: store.RunCard,
) -> Counterfactual | None:
    from crm_models.inference.counterfactual import counterfactual as find

    single = predictions.one_of(_card.cohort, row)
    if single is None:
        return None
    return find(explainer_of(_card).explainer, single, _levers(mark, columns, events, _card), threshold)


@st.cache_resource(max_entries=16, show_spinner=False)
def _levers(mark: str, columns: tuple[str, ...], events: tuple[str, ...] | None, _card: store.RunCard) -> Levers:
    from crm_models.inference.counterfactual import Levers

    explainer = explainer_of(_card)
    return Levers.of(explainer.explainer, next(explainer.parts()), columns=columns, events=events)
