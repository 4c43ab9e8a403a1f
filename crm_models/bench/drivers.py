"""Drivers tried on a trained run: do they add up, are they those that matter, and how many customers a second.

    python -m crm_models.bench.drivers RUN [RUN ...] [--customers 200]

Prints a Markdown table with a row for the churn probability and one for the probabilities of the planned steps. "Off":
the largest difference between a probability and its base plus all drivers. "Top" and "random": how far the probability
moves without the three strongest drivers, and without three drawn at random. All in percentage points. Customers a
second of processor time are those of `plan`, on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from crm_models.inference.drivers import Faithfulness, Reasons
from crm_models.runs.explaining import CohortExplainer, CohortStepExplainer
from crm_models.runs.folder import RunFolder
from crm_models.runs.trained import load_models

Explaining = Iterable[Sequence[tuple[float, Reasons]]]
"""For each customer, the probabilities that are explained and their reasons."""


def row(run: Path, explaining: Explaining, faithful: Faithfulness) -> str:
    """A row of the table."""
    began = time.process_time()
    explained = list(explaining)
    rate = len(explained) / (time.process_time() - began)
    off = max(
        abs(100 * (p - one.base) - sum(driver.points for driver in one.drivers))
        for of_customer in explained
        for p, one in of_customer
    )
    return f"| {run.name} | {faithful.of} | {off:.1e} | {faithful.top:.1f} | {faithful.random:.1f} | {rate:.0f} |"


def rows(folder: Path, customers: int) -> Iterable[str]:
    """The rows of a run."""
    run = RunFolder(folder)
    models, cohort = load_models(run, device="cpu", threads=1), Path(run.about()["cohort"])
    if models.churn is not None:
        risk = CohortExplainer.of(models, run, cohort, in_bulk=True)
        found = ([(one.churn_p, one)] for one in islice(risk.explain(), customers))
        yield row(folder, found, risk.faithfulness())
    if models.sequence is not None:
        steps = CohortStepExplainer.of(models, run, cohort, in_bulk=True)
        of_steps = islice(steps.by_customer(), customers)
        yield row(folder, ([(one.step_p, one) for one in of_one] for of_one in of_steps), steps.faithfulness())


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--customers", type=int, default=200)
    args = parser.parse_args()
    print("| run | drivers of | off | top | random | customers a second |\n|---|---|---|---|---|---|")
    for run in args.runs:
        for line in rows(run, args.customers):
            print(line, flush=True)


if __name__ == "__main__":
    main()
