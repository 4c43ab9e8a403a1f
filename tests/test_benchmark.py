"""Benchmarks hold out what they say, and report what the contract names."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from crm_models import benchmark
from crm_models.config import preset
from crm_models.errors import DataError
from crm_models.records import Cohort

QUICK = preset("standard").with_epochs(1)
SMALL = {"d_model": 8, "n_heads": 2, "n_blocks": 1, "d_feedforward": 8}
CONFIG = replace(QUICK, sequence=replace(QUICK.sequence, **SMALL), churn=replace(QUICK.churn, **SMALL), threads=1)


def cohort(n: int = 60) -> Cohort:
    """Everybody goes round the same circle of four actions."""
    rows = [(f"c{k}", "abcd"[(k + t) % 4], float(t)) for k in range(n) for t in range(2 + k % 6)]
    people = pd.DataFrame(
        {"customer_id": [f"c{k}" for k in range(n)], "churned": [k % 3 == 0 for k in range(n)], "age": np.arange(n)}
    )
    table = pd.DataFrame(rows, columns=["customer_id", "action", "timestamp"])
    return Cohort.build(name="t", source="t", customers=people, interactions=table)


def test_customers_with_too_few_events_are_left_out_and_the_first_held_out_event_is_the_target():
    found = benchmark.sequence(cohort(), CONFIG, holdout=1)
    # Histories have 2 to 7 events, ten customers each; more than two are needed.
    assert found["customers"] == 50
    assert {"step_accuracy", "loss", "hr_at_10", "ndcg_at_10", "fit_s", "predict_s"} <= set(found)
    # The circle is deterministic: after one action, Markov knows the next.
    assert found["baselines"]["markov"]["step_accuracy"] == 1.0
    assert found["hr_at_10"] == 1.0


def test_the_held_out_event_is_never_trained_on():
    """An action that occurs only in held-out events is no better known than one that never occurs."""
    base = cohort()
    events = base.interactions.astype({"action": "str", "customer_id": "str"})
    last = ~events["customer_id"].duplicated(keep="last")
    events.loc[last, "action"] = "never seen before"
    people = base.customers
    edited = Cohort.build(name="t", source="t", customers=people, interactions=events)
    found = benchmark.sequence(edited, CONFIG, holdout=1)
    assert found["step_accuracy"] == 0.0
    assert found["baselines"]["popular"]["step_accuracy"] == 0.0


def test_folds_cover_every_labelled_customer_once():
    found = benchmark.churn(cohort(), CONFIG, folds=3)
    assert found["customers"] == 60
    assert {"auc", "auc_sd", "log_loss", "ece", "fit_s", "predict_s"} <= set(found)
    assert found["baselines"]["majority"]["auc"] == 0.5


def test_too_little_data_is_refused():
    with pytest.raises(DataError, match="more than 10 events"):
        benchmark.sequence(cohort(), CONFIG, holdout=9)
    with pytest.raises(DataError, match="at least 30 churned"):
        benchmark.churn(cohort(), CONFIG, folds=30)
