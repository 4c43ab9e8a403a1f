"""Drivers on the command line and in the long form of the plans."""

import json

import pandas as pd
import pytest

from crm_models import workflow
from crm_models.bench import drivers as bench_drivers
from crm_models.cli.commands import main
from crm_models.planning import Policy


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("explained")
    workflow.generate(root / "cohort", scenario="lifelike", customers=90, seed=1)
    list(workflow.train(root / "cohort", root / "run", workflow.run_config(preset="paper", epochs=2, threads=1)))
    workflow.generate(root / "random", scenario="paper", customers=60)
    config = workflow.run_config(preset="paper", epochs=1, threads=1, model="sequence")
    list(workflow.train(root / "random", root / "sequence", config))
    return root


def explain(root, *options: str) -> int:
    return main(["explain", str(root / "run"), "--threads", "1", *options])


def test_the_file_of_drivers_adds_up_for_every_customer(made, tmp_path, capsys):
    out = tmp_path / "drivers.csv"
    assert explain(made, "--out", str(out)) == 0
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table) == ["customer_id", "driver", "value", "points", "base", "churn_probability"]
    sums = table.groupby("customer_id").agg({"points": "sum", "base": "first", "churn_probability": "first"})
    assert (sums["base"] + sums["points"] - sums["churn_probability"]).abs().max() < 0.1
    plans = tmp_path / "plans.csv"
    workflow.plan(made / "run", plans, Policy(), threads=1)
    planned = pd.read_csv(plans).set_index("customer_id")["churn_probability"]
    assert (100 * planned - sums["churn_probability"]).abs().max() < 0.1
    assert "drivers of 90 customers. Replacing the three strongest drivers" in capsys.readouterr().out


def test_one_customer_is_explained_in_words_or_as_json(made, tmp_path, capsys):
    assert explain(made, "--customer", "C000003") == 0
    said = capsys.readouterr()
    assert said.out.startswith("C000003: churn probability ")
    assert "  tier " in said.out
    assert "replacing three at random, by" in said.err
    assert explain(made, "--customer", "C000003", "--out", str(tmp_path / "d.json")) == 0
    content = json.loads((tmp_path / "d.json").read_text())
    (one,) = content["customers"]
    total = one["base"] + sum(driver["points"] for driver in one["drivers"])
    assert total == pytest.approx(one["churn_probability"], abs=0.1)
    assert content["faithfulness"]["n_customers"] == 90


def test_everybody_is_summed_up_in_words(made, capsys):
    assert explain(made, "--quiet") == 0
    assert "Drivers of the churn probability, over 90 customers" in capsys.readouterr().out


def test_who_or_what_cannot_be_explained_is_said(made, capsys):
    assert explain(made, "--customer", "nobody") == 2
    assert "expected a customer with the id 'nobody', found none" in capsys.readouterr().err
    assert main(["explain", str(made / "sequence")]) == 2
    assert "expected a churn model" in capsys.readouterr().err


def test_the_long_form_carries_the_drivers_of_customers_at_risk_last(made, tmp_path):
    out = tmp_path / "long.csv"
    command = ["plan", str(made / "run"), "--layout", "long", "--threshold", "0.5", "--threads", "1", "--out", str(out)]
    assert main([*command, "--quiet"]) == 0
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table)[-3:] == ["driver_1", "driver_2", "driver_3"]
    at_risk = table["at_risk"]
    assert table.loc[at_risk, "driver_1"].str.contains(r": '?[+-]\d+\.\d points$").all()
    assert (table.loc[~at_risk, "driver_1"] == "").all()
    assert main([*command, "--quiet", "--no-drivers"]) == 0
    assert "driver_1" not in pd.read_csv(out)


def test_the_long_form_carries_the_drivers_of_the_model_s_steps_if_asked(made, tmp_path):
    out = tmp_path / "long.csv"
    command = ["plan", str(made / "run"), "--layout", "long", "--threads", "1", "--out", str(out), "--no-drivers"]
    assert main([*command, "--quiet", "--mode", "graded", "--threshold", "0.3", "--step-drivers"]) == 0
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table)[-3:] == ["step_driver_1", "step_driver_2", "step_driver_3"]
    assert ((table["step_driver_1"] != "") == (table["source"] == "model")).all()
    assert (table["source"] == "retention").any() and (table["source"] == "model").any()
    # The same as `explain --steps` says of them in a file of all.
    some = set(table["customer_id"][table["source"] == "model"][::9])
    told = workflow.explain_steps(made / "run", threads=1).explain(some)
    texts = {(one.customer_id, one.action): one.top() for one in told}
    for row in table[(table["source"] == "model") & table["customer_id"].isin(some)].itertuples():
        said = [text.removeprefix("'") for text in (row.step_driver_1, row.step_driver_2, row.step_driver_3)]
        assert said == texts[row.customer_id, row.action]


def test_the_benchmark_says_that_drivers_add_up_and_that_the_strongest_matter_most(made):
    risk, step = ([float(cell) for cell in line.split("|")[3:7]] for line in bench_drivers.rows(made / "run", 20))
    for off, top, random, per_second in (risk, step):
        assert off < 1e-3 and top > random and per_second > 0


def test_the_file_of_step_drivers_adds_up_to_the_probabilities_of_the_plans(made, tmp_path, capsys):
    out = tmp_path / "steps.csv"
    assert explain(made, "--steps", "--customer", "C000003", "--customer", "C000007", "--out", str(out)) == 0
    table = pd.read_csv(out)
    assert list(table)[:4] == ["customer_id", "step", "action", "driver"]
    by_step = table.groupby(["customer_id", "step"]).agg({"points": "sum", "base": "first", "probability": "first"})
    assert (by_step["base"] + by_step["points"] - by_step["probability"]).abs().max() < 0.1
    plans = tmp_path / "plans.csv"
    workflow.plan(made / "run", plans, Policy(threshold=1.0), layout="long", threads=1)
    planned = pd.read_csv(plans).set_index(["customer_id", "step"])
    assert (100 * planned["probability"].loc[by_step.index] - by_step["probability"]).abs().max() < 0.1
    actions = table.groupby(["customer_id", "step"])["action"].first()
    assert (planned["action"].loc[actions.index] == actions).all()
    assert "drivers of 2 customers. Replacing the three strongest drivers" in capsys.readouterr().out


def test_steps_are_explained_in_words_or_as_json(made, tmp_path, capsys):
    assert explain(made, "--steps", "--customer", "C000003", "--quiet") == 0
    assert capsys.readouterr().out.startswith("C000003: step 1, ")
    assert main(["explain", str(made / "sequence"), "--steps", "--quiet", "--threads", "1"]) == 0
    assert "Drivers of their probability, over 180 planned steps" in capsys.readouterr().out
    assert explain(made, "--steps", "--customer", "C000003", "--out", str(tmp_path / "s.json")) == 0
    steps = json.loads((tmp_path / "s.json").read_text())["steps"]
    assert [one["step"] for one in steps] == [1, 2, 3]


def test_the_smallest_change_below_the_threshold_for_one_customer_and_for_all_at_risk(made, tmp_path, capsys):
    plans = tmp_path / "plans.csv"
    workflow.plan(made / "run", plans, Policy(), threads=1)
    p = pd.read_csv(plans).set_index("customer_id")["churn_probability"]
    threshold, riskiest = round(float(p.quantile(0.8)), 4), str(p.idxmax())
    options = ["--counterfactual", "--threshold", str(threshold), "--change", "tier"]
    assert explain(made, *options, "--customer", riskiest) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{riskiest}: ")
    assert f"from {p.max():.1%} to " in said
    out = tmp_path / "changes.csv"
    assert explain(made, *options, "--out", str(out)) == 0
    table = pd.read_csv(out).set_index("customer_id")
    assert set(table.index) == set(p[p > threshold].index)
    assert (table["suffices"] == (table["new_probability"] < threshold)).all()
    assert explain(made, *options, "--customer", riskiest, "--out", str(tmp_path / "c.json")) == 0
    (one,) = json.loads((tmp_path / "c.json").read_text())["customers"]
    assert one["new_probability"] == pytest.approx(table["new_probability"][riskiest], abs=1e-5)
    assert {c["change"] for c in one["did_not_help"]} <= {c["change"] for c in one["alone"]}


def test_options_of_the_counterfactual_alone_and_unknown_levers_are_refused(made, capsys):
    assert explain(made, "--threshold", "0.3") == 2
    assert "belong to --counterfactual" in capsys.readouterr().err
    assert explain(made, "--counterfactual", "--change", "nothing", "--customer", "C000003") == 2
    assert "expected a column that the model sees" in capsys.readouterr().err
    assert main(["explain", str(made / "run"), "--counterfactual", "--threshold", "1", "--threads", "1"]) == 0
    assert capsys.readouterr().out == "nobody is at risk\n"
