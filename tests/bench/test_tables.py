"""Tables to choose on and tables to report on are apart; peers are measured on the same folds."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from crm_models.bench import ablation, tables
from crm_models.core.config import SequenceConfig
from crm_models.data.cohort import Cohort
from crm_models.data.storage import save_cohort


def cohort(n: int = 400) -> Cohort:
    rng = np.random.default_rng(0)
    people = pd.DataFrame(
        {
            "customer_id": [f"c{k}" for k in range(n)],
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.uniform(18, 80, n)),
            "town": rng.choice(["a", "b", None], n),
            "member": rng.random(n) < 0.5,
        }
    )
    people["churned"] = rng.random(n) < 1 / (1 + np.exp(2 - 4 * people["member"]))
    return Cohort.build(name="t", source="t", customers=people, interactions=None)


def test_no_table_is_both_chosen_on_and_reported_on_and_each_says_its_source():
    names = [(table.package, table.item) for table in tables.TABLES]
    assert len(set(names)) == len(names) >= 12
    by_part = {part: [t for t in tables.TABLES if t.part == part] for part in ("choose", "report")}
    assert min(map(len, by_part.values())) >= 6
    for table in tables.TABLES:
        told_by = table.positive.split()[0]
        assert told_by in table.drop, f"{table.item}: the outcome is left in"


def test_logistic_regression_is_measured_on_the_folds_of_the_benchmark():
    own = cohort()
    found = tables.peers(own, seed=0, folds=4)["logistic"]
    assert 0.8 < found["auc"] <= roc_auc_score(own.labels, own.customers["member"]) + 0.05
    assert found["log_loss"] < 0.6


def test_a_comparison_names_every_table_and_the_mean_gap(tmp_path, capsys):
    folder = save_cohort(cohort(), tmp_path / "t")
    tables.compare([folder], ["churn.d_model=8", "churn.d_feedforward=8", "churn_training.n_epochs=2"], 1, 3)
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("t: ours 0.") for line in lines)
    assert any(line.startswith("beside logistic on 1 tables: AUC") for line in lines)


@pytest.mark.parametrize("off", ablation.PARTS.values())
def test_what_is_left_out_are_settings_that_are_on_by_default(off):
    defaults = {field.name: getattr(SequenceConfig(), field.name) for field in fields(SequenceConfig)}
    assert all(defaults[name] is True for name in off)
