"""The exact ceilings of generated cohorts beside what the true probabilities score on outcomes that were really drawn.

    python -m crm_models.bench.ceilings [SCENARIO ...] [--draws 1000000] [--signal 1] [--seed 0]

Prints a Markdown table; each customer is three draws. The last column is the difference in standard errors.
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.metrics import roc_auc_score

from crm_models.core.schema import N_STEPS, SCENARIOS
from crm_models.data.cohort import Cohort
from crm_models.data.sources.synthetic import ScenarioSettings, generate
from crm_models.data.truth import Truth, believe, churn_ceiling, churn_p, expected_scores, outlook, plan_p

Row = tuple[str, float, float, float]
"""A score: its name, ceiling, value on the drawn outcomes, and difference in standard errors."""


def next_actions(cohort: Cohort, truth: Truth) -> list[Row]:
    """Scores of the best possible plans on the three actions drawn for every customer."""
    actual = cohort.event_actions[cohort.starts[1:, None] - N_STEPS + np.arange(N_STEPS)]
    belief = believe(truth, cohort)
    ahead = outlook(truth, belief)
    planned, single = ahead.plan == actual, actual == ahead.by_step.argmax(axis=2).T
    drawn = {
        "step_accuracy": planned.mean(axis=1),
        "plan_accuracy": planned.all(axis=1),
        "single_step_accuracy": single.mean(axis=1),
        "single_plan_accuracy": single.all(axis=1),
        "loss": -np.log(plan_p(truth, belief, actual)) / N_STEPS,
        "hr_at_1": single[:, 0],
    }
    expected = expected_scores(ahead)
    return [_row(name, expected[name], values) for name, values in drawn.items()]


def churn(cohort: Cohort, truth: Truth) -> list[Row]:
    """Scores of the true churn probabilities on the drawn labels."""
    p, label = churn_p(truth, cohort), cohort.labels
    expected = churn_ceiling(p)
    drawn = {
        "churn_rate": label,
        "accuracy": (p > 0.5) == (label > 0.5),
        "log_loss": -np.log(np.where(label > 0.5, p, 1 - p)),
        "brier": (label - p) ** 2,
    }
    # An AUC has at most this standard error (Cortes and Mohri, 2004).
    error = 0.5 / np.sqrt(min(label.sum(), (1 - label).sum()))
    auc = float(roc_auc_score(label, p))
    rows = [_row(name, expected[name], values) for name, values in drawn.items()]
    return [*rows, ("auc", expected["auc"], auc, (auc - expected["auc"]) / error)]


def _row(name: str, expected: float, values: np.ndarray) -> Row:
    # At signal 0 every outcome is equally surprising: no spread, and nothing but rounding to allow for. Of a rare hit
    # there may be none among those drawn.
    spread = np.sqrt(expected * (1 - expected)) if values.dtype == bool else values.std()
    error = max(float(spread) / np.sqrt(len(values)), 1e-9)
    return name, expected, float(values.mean()), (float(values.mean()) - expected) / error


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=SCENARIOS)
    parser.add_argument("--draws", type=int, default=1_000_000)
    parser.add_argument("--signal", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| scenario | score | ceiling | drawn | standard errors |\n|---|---|---|---|---|")
    for scenario in args.scenarios or SCENARIOS:
        customers = -(-args.draws // N_STEPS)
        settings = ScenarioSettings(scenario=scenario, customers=customers, signal=args.signal, seed=args.seed)
        cohort, truth = generate(settings)
        rows = next_actions(cohort, truth) + (churn(cohort, truth) if cohort.has_labels else [])
        for name, expected, found, errors in rows:
            print(f"| {scenario} | {name} | {expected:.5f} | {found:.5f} | {errors:+.2f} |", flush=True)


if __name__ == "__main__":
    main()
