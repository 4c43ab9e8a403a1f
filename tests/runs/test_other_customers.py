"""A run and other customers than its own: compared before they are scored, and the manifest repeats it."""

import json

import pandas as pd
import pytest

from crm_models import workflow
from crm_models.cli.commands import main
from crm_models.core.errors import DataError
from crm_models.data.storage import load_cohort, save_cohort
from crm_models.planning import Policy
from crm_models.runs.folder import RunFolder
from crm_models.runs.trained import differences


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Cohort `own`, a run on it, and `other`: the same customers with a renamed level and one odd cell."""
    root = tmp_path_factory.mktemp("drift")
    workflow.generate(root / "own", scenario="lifelike", customers=80, seed=1)
    list(workflow.train(root / "own", root / "run", workflow.run_config(preset="paper", epochs=1, threads=1)))
    own = load_cohort(root / "own")
    number = RunFolder(root / "run").encoder().numeric[0].name
    text = own.customers[number].astype("str")
    text.iloc[2] = "unknown"
    object.__setattr__(own, "customers", own.customers.assign(**{number: text}))
    save_cohort(own, root / "other")
    return root, number


def test_a_run_keeps_its_schema_and_does_without_one(made):
    root, _ = made
    run = RunFolder(root / "run")
    assert json.loads((root / "run" / "schema.json").read_text())["actions"] == list(run.encoder().actions)
    assert differences(run, root / "own") == []
    kept = [d.severity for d in differences(run, root / "other")]
    (root / "run" / "schema.json").rename(root / "run" / "kept")
    assert [d.severity for d in differences(run, root / "other")] == kept == ["refuse"]
    (root / "run" / "kept").rename(root / "run" / "schema.json")


def test_plan_refuses_by_name_and_goes_on_when_told_and_the_manifest_repeats_it(made, tmp_path, capsys):
    root, number = made
    out = tmp_path / "plans.csv"
    command = ["plan", str(root / "run"), "--cohort", str(root / "other"), "--out", str(out), "--threads", "1"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert f"The column '{number}' held numbers in training; the first that is none: 'unknown'" in said
    assert not out.exists()
    assert main([*command, "--allow-drift", "--quiet"]) == 0
    said = capsys.readouterr()
    assert "warning: The column" in said.err
    assert "1 difference from the training customers" in said.out
    assert len(pd.read_csv(out)) == 80
    (kept,) = json.loads((tmp_path / "plans.manifest.json").read_text())["drift"]
    assert (kept["what"], kept["severity"], kept["customers"]) == (number, "refuse", 80)


def test_evaluate_compares_before_it_scores(made):
    root, _ = made
    with pytest.raises(DataError, match="differ too much"):
        workflow.evaluate(root / "run", cohort=root / "other", threads=1)
    report = workflow.evaluate(root / "run", cohort=root / "other", allow_drift=True, threads=1)
    assert [d["severity"] for d in report["drift"]] == ["refuse"]
    assert "drift" not in workflow.evaluate(root / "run", threads=1)


def test_ids_that_a_spreadsheet_would_run_are_counted_and_the_way_out_named(made, tmp_path, capsys):
    root, _ = made
    own = load_cohort(root / "own")
    ids = own.customers["customer_id"].replace({own.customers["customer_id"].iloc[k]: f"+49{k}" for k in range(3)})
    events = own.interactions.drop(columns="customer_id").assign(customer_id=ids.to_numpy()[own.event_customers])
    from crm_models.data.cohort import Cohort

    phones = Cohort.build(
        name="phones", source="t", customers=own.customers.assign(customer_id=ids), interactions=events,
        actions=own.actions, as_of=own.as_of, outcome=own.outcome,
    )  # fmt: skip
    save_cohort(phones, tmp_path / "phones")
    command = ["plan", str(root / "run"), "--cohort", str(tmp_path / "phones"), "--out", str(tmp_path / "p.csv")]
    assert main([*command, "--quiet", "--threads", "1"]) == 0
    assert "warning: 3 customer ids begin like a formula" in capsys.readouterr().err
    assert main([*command, "--quiet", "--threads", "1", "--api-exact"]) == 0
    assert "formula" not in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "p.csv", dtype=str)["customer_id"].tolist() == ids.tolist()
    long = {"cohort": tmp_path / "phones", "layout": "long", "threads": 1}
    assert workflow.plan(root / "run", tmp_path / "l.csv", Policy(), **long)["changed_ids"] == 3
