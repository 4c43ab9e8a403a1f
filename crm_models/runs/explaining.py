"""Why customers are at risk, and why they get their steps: drivers of one customer, of a cohort, and their files."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crm_models.core.errors import DataError, RunError
from crm_models.core.files import new_file, write_json
from crm_models.core.places import Place, here, place
from crm_models.core.schema import CUSTOMER_ID, N_STEPS, PlanFor
from crm_models.data.cohort import Cohort, Moment, select
from crm_models.data.drift import conformed
from crm_models.data.storage import describe, last_moment_days, part, parts
from crm_models.data.training_schema import TrainingSchema
from crm_models.inference import step_drivers
from crm_models.inference.decoding import decode_plans
from crm_models.inference.drivers import (
    PAIRS,
    PAIRS_IN_BULK,
    Background,
    Explained,
    Explainer,
    Faithfulness,
    Reasons,
    faithfulness,
)
from crm_models.inference.step_drivers import StepExplainer, StepReasons
from crm_models.planning.export import neutralised
from crm_models.planning.plans import STEP_MODEL, Plans
from crm_models.runs.folder import RunFolder
from crm_models.runs.scoring import ScoringJob, moment_of
from crm_models.runs.trained import Models, load_models

METHOD = (
    "Shapley values by permutation sampling on the model: base and points add up to the probability; base is the mean "
    "probability of the customers compared with"
)
TRIED_ON = 100
"""Customers that the faithfulness of the drivers is measured on."""
COLUMNS = ("customer_id", "driver", "value", "points", "base", "churn_probability")
STEP_COLUMNS = ("customer_id", "step", "action", "driver", "value", "points", "base", "probability")


@dataclass(frozen=True, kw_only=True)
class CohortExplainer:
    """Explains customers of a cohort folder, part by part. schema: to read what does not fit as missing, or None."""

    folder: Place
    explainer: Explainer
    background: Background
    moment: Moment | None
    schema: TrainingSchema | None

    @classmethod
    def of(
        cls,
        models: Models,
        run: RunFolder,
        folder: Place,
        *,
        in_bulk: bool,
        as_of: str | None = None,
        allow_drift: bool = False,
    ) -> CohortExplainer:
        """in_bulk: with a quarter of the comparisons. as_of: see `moment_of`. `RunError` without a churn model."""
        if models.churn is None:
            raise RunError(f"{run.folder}: expected a churn model, whose probabilities have drivers; the run has none")
        schema, first, moment, last = _first_part(run, folder, as_of, allow_drift)
        explainer = Explainer.of(models.churn, models.encoder, first, moment, last)
        background = explainer.background(first, PAIRS)
        return cls(
            folder=folder,
            explainer=explainer,
            background=background.few(PAIRS_IN_BULK) if in_bulk else background,
            moment=moment,
            schema=schema,
        )

    def read(self, k: int) -> Cohort:
        """Part k of the cohort, as the models read it."""
        return _fitting(part(self.folder, k), self.schema)

    def work(self, k: int, read: Cohort) -> list[Explained]:
        """Drivers of all customers of part k."""
        return list(self.explainer.explain(read, self.background))

    def parts(self) -> Iterator[Cohort]:
        """The cohort part by part, as the models read it."""
        return fitting_parts(self.folder, self.schema)

    def explain(self, customers: Collection[str] | None = None) -> Iterator[Explained]:
        """Drivers of all customers, or of those named; `DataError` if one of them is not in the cohort."""
        for some in selected(self.folder, self.parts(), customers):
            yield from self.explainer.explain(some, self.background)

    def faithfulness(self) -> Faithfulness:
        """Whether the drivers are those that matter, on customers of the first part."""
        first = next(iter(self.parts()))
        rows = np.sort(np.random.default_rng(1).permutation(first.n_customers)[:TRIED_ON])
        sample, few = select(first, rows), self.background.few(min(PAIRS_IN_BULK, len(self.background.churn_p)))
        return faithfulness(self.explainer, sample, few, list(self.explainer.explain(sample, few)))

    def with_drivers(self, plans: Plans, planned: Cohort) -> Plans:
        """The plans of a part's customers with the drivers of those at risk."""
        return self.explained_plans(plans, [select(planned, np.flatnonzero(plans.at_risk))])

    def explained_plans(self, plans: Plans, at_risk: Iterable[Cohort]) -> Plans:
        """Plans with the drivers of their customers at risk, who are given as cohorts in the same order."""
        drivers = np.full((len(plans), N_STEPS), "", dtype=object)
        explained = (one for part in at_risk for one in self.explainer.explain(part, self.background))
        for row, one in zip(np.flatnonzero(plans.at_risk), explained, strict=True):
            top = one.top(N_STEPS)
            drivers[row, : len(top)] = top
        return replace(plans, drivers=drivers)


@dataclass(frozen=True, kw_only=True)
class ExplainingJob:
    """Explain every customer of a cohort: what `crm_models.core.engines` hands out, part by part."""

    scoring: ScoringJob

    def open(self, threads: int | None) -> CohortExplainer:
        """Load the model and choose the customers that others are compared with."""
        asked = self.scoring
        with here(place(asked.run)) as folder:
            run = RunFolder(folder)
            models = load_models(run, device=asked.device, threads=threads)
            return CohortExplainer.of(
                models,
                run,
                place(asked.cohort),
                in_bulk=True,
                as_of=asked.as_of,
                allow_drift=asked.allow_drift,
            )


@dataclass(frozen=True, kw_only=True)
class CohortStepExplainer:
    """Explains the model's steps for customers of a cohort folder, part by part; schema: as in `CohortExplainer`."""

    folder: Place
    explainer: StepExplainer
    background: Cohort
    plan_for: PlanFor
    schema: TrainingSchema | None

    @classmethod
    def of(
        cls,
        models: Models,
        run: RunFolder,
        folder: Place,
        *,
        in_bulk: bool,
        as_of: str | None = None,
        plan_for: PlanFor = "whole",
        allow_drift: bool = False,
    ) -> CohortStepExplainer:
        """in_bulk, as_of: as in `CohortExplainer`. `RunError` without a sequence model."""
        if models.sequence is None:
            raise RunError(f"{run.folder}: expected a sequence model, whose steps have drivers; the run has none")
        schema, first, moment, last = _first_part(run, folder, as_of, allow_drift)
        explainer = StepExplainer.of(models.sequence, models.encoder, first, moment, last)
        n_background = step_drivers.PAIRS_IN_BULK if in_bulk else step_drivers.PAIRS
        background = explainer.background(first, n_background)
        return cls(folder=folder, explainer=explainer, background=background, plan_for=plan_for, schema=schema)

    def explain(self, customers: Collection[str] | None = None) -> Iterator[StepReasons]:
        """Drivers of the model's steps, step by step; customers without a history have none."""
        for steps in self.by_customer(customers):
            yield from steps

    def by_customer(self, customers: Collection[str] | None = None) -> Iterator[tuple[StepReasons, ...]]:
        """The same, customer by customer."""
        for some in selected(self.folder, fitting_parts(self.folder, self.schema), customers):
            yield from self.explainer.explain(some, self._steps(some), self.background)

    def with_drivers(self, plans: Plans, planned: Cohort) -> Plans:
        """The plans of a part's customers with the drivers of the model's steps in them."""
        return self.explained_plans(plans, [select(planned, with_model_steps(plans))])

    def explained_plans(self, plans: Plans, customers: Iterable[Cohort]) -> Plans:
        """Plans with the drivers of their steps; `customers`: those `with_model_steps` as cohorts in the same order.

        A step is explained as the model planned it: after the history and the steps before it in the plan without a
        policy. Retention steps and popular actions are no predictions, and have no drivers.
        """
        drivers = np.full((*plans.action.shape, N_STEPS), "", dtype=object)
        rows, done = with_model_steps(plans), 0
        for some in customers:
            own, done = rows[done : done + some.n_customers], done + some.n_customers
            found = self.explainer.explain(some, plans.before[own] + 1, self.background)
            for row, steps in zip(own, found, strict=True):
                top = {plans.before[row, one.step - 1]: one.top(N_STEPS) for one in steps}
                for at in np.flatnonzero(plans.step_source[row] == STEP_MODEL):
                    phrases = top[plans.action[row, at]]
                    drivers[row, at, : len(phrases)] = phrases
        return replace(plans, step_drivers=drivers)

    def faithfulness(self) -> Faithfulness:
        """Whether the drivers are those that matter, on customers of the first part."""
        first = next(fitting_parts(self.folder, self.schema))
        rows = np.sort(np.random.default_rng(1).permutation(first.n_customers)[:TRIED_ON])
        sample = select(first, rows)
        few = select(self.background, np.arange(min(PAIRS_IN_BULK, self.background.n_customers)))
        return self.explainer.faithfulness(sample, self._steps(sample), few)

    def _steps(self, cohort: Cohort) -> np.ndarray:
        """(N, 3) ids of the model's steps, 0 where the plan is not the model's."""
        arrays, model = self.explainer.encoded(cohort), self.explainer.model
        plans = decode_plans(model, arrays, self.explainer.encoder, plan_for=self.plan_for)
        return np.where(arrays.n_history[:, None] > 0, plans.actions, 0)


def with_model_steps(plans: Plans) -> np.ndarray:
    """Rows of the customers whose plans have a step of the model."""
    return np.flatnonzero((plans.step_source == STEP_MODEL).any(axis=1))


def _first_part(
    run: RunFolder, folder: Place, as_of: str | None, allow_drift: bool
) -> tuple[TrainingSchema | None, Cohort, Moment | None, float | None]:
    """How a cohort is read, its first part, the moment of planning, and, where that is None, the last event in days."""
    schema = run.schema() if allow_drift else None
    first = _fitting(next(iter(parts(folder))), schema)
    moment = moment_of(first, as_of)
    return schema, first, moment, last_moment_days(describe(folder)) if moment is None else None


def fitting_parts(folder: Place, schema: TrainingSchema | None) -> Iterator[Cohort]:
    """A cohort part by part; schema: to read what does not fit the training customers as missing, or None."""
    return (_fitting(customers, schema) for customers in parts(folder))


def selected(folder: Place, stream: Iterable[Cohort], customers: Collection[str] | None) -> Iterator[Cohort]:
    """The named customers of each part of the stream, or all; `DataError` if one of them is in no part."""
    wanted = None if customers is None else set(customers)
    for some in stream:
        if wanted is None:
            yield some
            continue
        ids = some.customers[CUSTOMER_ID]
        rows = np.flatnonzero(ids.isin(wanted).to_numpy())
        wanted -= set(ids.iloc[rows])
        if len(rows):
            yield select(some, rows)
        if not wanted:
            return
    if wanted:
        raise DataError(f"{folder}: expected a customer with the id {sorted(wanted)[0]!r}, found none")


def write_drivers(explained: Iterable[Reasons], out: Path, faithful: Faithfulness, *, steps: bool = False) -> int:
    """Write drivers as CSV, or as JSON if the name ends so; returns the number of customers.

    Columns: `COLUMNS`, one row per customer and driver, strongest first; for steps `STEP_COLUMNS`, likewise for each
    step. points, base and the probability are in percentage points: base + sum of points = probability.
    """
    customers = set()
    if out.suffix.lower() == ".json":
        written = [_as_json(one) for one in explained]
        name = "steps" if steps else "customers"
        write_json(out, {"method": METHOD, "faithfulness": vars(faithful), name: written})
        return len({one["customer_id"] for one in written})
    with new_file(out) as part, part.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\r\n")
        writer.writerow(STEP_COLUMNS if steps else COLUMNS)
        for one in explained:
            customers.add(one.customer_id)
            facts = _facts(one)
            *first, probability = facts.values()
            for driver in one.drivers:
                texts = (neutralised(text) for text in (driver.name, driver.value))
                cells = [neutralised(cell) if isinstance(cell, str) else cell for cell in first]
                writer.writerow([*cells, *texts, round(driver.points, 4), round(100 * one.base, 4), probability])
    return len(customers)


def _facts(one: Reasons) -> dict[str, Any]:
    """Whose and which probability is explained, and last the probability, in percentage points."""
    if isinstance(one, StepReasons):
        step = {"customer_id": one.customer_id, "step": one.step, "action": one.action}
        return step | {"probability": round(100 * one.step_p, 4)}
    assert isinstance(one, Explained)  # there are two kinds
    return {"customer_id": one.customer_id, "churn_probability": round(100 * one.churn_p, 4)}


def _as_json(one: Reasons) -> dict[str, Any]:
    drivers = [
        {
            "driver": d.name,
            "value": d.value,
            "points": round(d.points, 4),
            "error": _number(d.error),
            "text": d.phrase(),
        }
        for d in one.drivers
    ]
    return _facts(one) | {"base": round(100 * one.base, 4), "drivers": drivers}


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _fitting(part: Cohort, schema: TrainingSchema | None) -> Cohort:
    return part if schema is None else conformed(schema, part)
