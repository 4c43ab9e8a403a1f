"""Counterfactuals of a run's customers: for those named, or for all at risk, and their file."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crm_models.core.files import new_file, write_json
from crm_models.data.cohort import select
from crm_models.inference.counterfactual import BELOW, Change, Counterfactual, Levers, counterfactual, in_words
from crm_models.planning.export import neutralised
from crm_models.runs.explaining import CohortExplainer, selected

COLUMNS = ("customer_id", "churn_probability", "new_probability", "threshold", "suffices", "changes", "did_not_help")


def counterfactuals(
    explainer: CohortExplainer,
    threshold: float,
    *,
    customers: Collection[str] | None = None,
    columns: Sequence[str] = (),
    events: Sequence[str] | None = None,
) -> Iterator[Counterfactual]:
    """The smallest change below the threshold for each named customer, or for each one at risk.

    What is plausible (`Levers`) is learned from the first part of the cohort. `DataError` if a customer is not in it.
    """
    levers = Levers.of(explainer.explainer, next(explainer.parts()), columns=columns, events=events)
    for part in selected(explainer.folder, explainer.parts(), customers):
        rows = np.arange(part.n_customers)
        if customers is None:
            rows = rows[explainer.explainer.probabilities(part) > threshold - BELOW]
        for row in rows:
            yield counterfactual(explainer.explainer, select(part, np.array([row])), levers, threshold)


def write_counterfactuals(found: Iterable[Counterfactual], out: Path) -> int:
    """Write counterfactuals as CSV (`COLUMNS`), or as JSON if the name ends so; returns the number of customers.

    Probabilities are in [0, 1]. changes: the smallest that suffice, or those that come closest.
    """
    if out.suffix.lower() == ".json":
        customers = [_as_json(one) for one in found]
        write_json(out, {"customers": customers})
        return len(customers)
    n = 0
    with new_file(out) as part, part.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        for one in found:
            n += 1
            useless = "; ".join(change.phrase() for change, _ in one.did_not_help)
            numbers = [round(one.churn_p, 6), round(one.new_p, 6), one.threshold, str(one.suffices).lower()]
            texts = [neutralised(text) for text in (one.customer_id, in_words(one.best), useless)]
            writer.writerow([texts[0], *numbers, *texts[1:]])
    return n


def _as_json(one: Counterfactual) -> dict[str, Any]:
    def plain(changes: Sequence[Change]) -> list[str]:
        return [change.phrase() for change in changes]

    return {
        "customer_id": one.customer_id,
        "threshold": one.threshold,
        "churn_probability": one.churn_p,
        "new_probability": one.new_p,
        "suffices": one.suffices,
        "changes": plain(one.best),
        "others": [{"changes": plain(changes), "new_probability": p} for changes, p in one.others],
        "alone": [{"change": change.phrase(), "new_probability": p} for change, p in one.alone],
        "did_not_help": [{"change": change.phrase(), "points": points} for change, points in one.did_not_help],
    }
