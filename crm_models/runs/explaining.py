"""Why customers are at risk, by a run's churn model: drivers of one customer, of a cohort, and their files."""

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
from crm_models.core.schema import CUSTOMER_ID, N_STEPS
from crm_models.data.cohort import Cohort, Moment, select
from crm_models.data.drift import conformed
from crm_models.data.storage import describe, last_moment_days, part, parts
from crm_models.data.training_schema import TrainingSchema
from crm_models.inference.drivers import (
    PAIRS,
    PAIRS_IN_BULK,
    Background,
    Explained,
    Explainer,
    Faithfulness,
    faithfulness,
)
from crm_models.planning.export import neutralised
from crm_models.planning.plans import Plans
from crm_models.runs.folder import RunFolder
from crm_models.runs.scoring import ScoringJob, moment_of
from crm_models.runs.trained import Models, load_models

METHOD = (
    "Shapley values by permutation sampling on the churn model: base and points add up to the churn probability; base "
    "is the mean probability of the customers compared with"
)
TRIED_ON = 100
"""Customers that the faithfulness of the drivers is measured on."""
COLUMNS = ("customer_id", "driver", "value", "points", "base", "churn_probability")


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
        moment_of: Any,
        *,
        in_bulk: bool,
        allow_drift: bool = False,
    ) -> CohortExplainer:
        """moment_of: from a part of the cohort to the moment of planning. `RunError` without a churn model."""
        if models.churn is None:
            raise RunError(f"{run.folder}: expected a churn model, whose probabilities have drivers; the run has none")
        schema = run.schema() if allow_drift else None
        first = _fitting(next(iter(parts(folder))), schema)
        moment = moment_of(first)
        last = last_moment_days(describe(folder)) if moment is None else None
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
        return (_fitting(customers, self.schema) for customers in parts(self.folder))

    def explain(self, customers: Collection[str] | None = None) -> Iterator[Explained]:
        """Drivers of all customers, or of those named; `DataError` if one of them is not in the cohort."""
        wanted = None if customers is None else set(customers)
        for customers_of_part in self.parts():
            ids = customers_of_part.customers[CUSTOMER_ID]
            rows = np.arange(len(ids)) if wanted is None else np.flatnonzero(ids.isin(wanted).to_numpy())
            if wanted is not None:
                wanted -= set(ids.iloc[rows])
            yield from self.explainer.explain(select(customers_of_part, rows), self.background)
            if wanted is not None and not wanted:
                return
        if wanted:
            raise DataError(f"{self.folder}: expected a customer with the id {sorted(wanted)[0]!r}, found none")

    def faithfulness(self) -> Faithfulness:
        """Whether the drivers are those that matter, on customers of the first part."""
        first = next(iter(self.parts()))
        rows = np.sort(np.random.default_rng(1).permutation(first.n_customers)[:TRIED_ON])
        sample, few = select(first, rows), self.background.few(min(PAIRS_IN_BULK, len(self.background.churn_p)))
        return faithfulness(self.explainer, sample, few, list(self.explainer.explain(sample, few)))

    def with_drivers(self, plans: Plans, planned: Cohort) -> Plans:
        """The plans of some customers with the drivers of those at risk."""
        drivers = np.full((len(plans), N_STEPS), "", dtype=object)
        rows = np.flatnonzero(plans.at_risk)
        for row, explained in zip(rows, self.explainer.explain(select(planned, rows), self.background), strict=True):
            top = explained.top(N_STEPS)
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
                lambda customers: moment_of(customers, asked.as_of),
                in_bulk=True,
                allow_drift=asked.allow_drift,
            )


def write_drivers(explained: Iterable[Explained], out: Path, faithful: Faithfulness) -> int:
    """Write drivers as CSV, or as JSON if the name ends so; returns the number of customers.

    Columns: `COLUMNS`, one row per customer and driver, strongest first. points, base and churn_probability are in
    percentage points: base + sum of points = churn probability.
    """
    if out.suffix.lower() == ".json":
        customers = [_as_json(one) for one in explained]
        write_json(out, {"method": METHOD, "faithfulness": vars(faithful), "customers": customers})
        return len(customers)
    n = 0
    with new_file(out) as part, part.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for one in explained:
            n += 1
            ends = round(100 * one.base, 4), round(100 * one.churn_p, 4)
            for driver in one.drivers:
                texts = (neutralised(text) for text in (one.customer_id, driver.name, driver.value))
                writer.writerow([*texts, round(driver.points, 4), *ends])
    return n


def _as_json(one: Explained) -> dict[str, Any]:
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
    ends = {"base": round(100 * one.base, 4), "churn_probability": round(100 * one.churn_p, 4)}
    return {"customer_id": one.customer_id} | ends | {"drivers": drivers}


def _number(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def _fitting(part: Cohort, schema: TrainingSchema | None) -> Cohort:
    return part if schema is None else conformed(schema, part)
