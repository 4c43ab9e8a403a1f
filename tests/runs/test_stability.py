"""More seeds of a run: trained beside it on the same split, continued after a stop, and read by plans and campaigns."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from crm_models import campaigns, workflow
from crm_models.campaigns.making import OVERRULED, remake
from crm_models.core.errors import ConfigError, DataError, RunError
from crm_models.planning.policy import Policy
from crm_models.runs.folder import RunFolder
from crm_models.runs.stability import FILE, member, read_stability
from tests.runs.test_pipeline import CONFIG


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("stability")
    workflow.generate(root / "cohort", scenario="lifelike", customers=80, seed=3)
    list(workflow.train(root / "cohort", root / "run", CONFIG.with_epochs(1)))
    epochs = workflow.stability(root / "run", seeds=3, threads=1)
    next(epochs)
    (root / "run" / "stop").touch()
    assert list(epochs) == []  # stopped: nothing is said yet, and the first of the two is continued below
    assert read_stability(RunFolder(root / "run")) is None
    assert [(e.model, e.epoch) for e in workflow.stability(root / "run", seeds=3, threads=1)].count(("churn", 1)) == 2
    return root


def test_members_differ_in_the_seed_alone(made):
    run = RunFolder(made / "run")
    splits = [member(run, seed).split() for seed in (0, 1, 2)]
    for other in splits[1:]:
        pd.testing.assert_frame_equal(other, splits[0])
    assert [member(run, seed).config().seed for seed in (0, 1, 2)] == [0, 1, 2]
    found = read_stability(run)
    assert found.seeds == (0, 1, 2)
    assert (found.churn_p.min(axis=1) < found.churn_p.max(axis=1)).all()
    report = workflow.evaluate(made / "run", threads=1)
    assert found.scores["churn"]["auc"][0] == report["churn"]["auc"]
    assert found.scores["sequence"]["loss"][0] == report["sequence"]["loss"]
    assert len(set(found.scores["churn"]["log_loss"])) == 3


def test_plans_and_campaigns_say_where_seeds_disagree(made, tmp_path):
    # Half of the customers are at risk by every seed.
    threshold = float(np.median(read_stability(RunFolder(made / "run")).ends[0]))
    manifest = workflow.plan(made / "run", tmp_path / "plans.csv", Policy(threshold=threshold), threads=1)
    plans = pd.read_csv(tmp_path / "plans.csv")
    counts = read_stability(RunFolder(made / "run")).counts(threshold)
    assert plans.columns[-1] == "confident"
    assert 0 < counts["not_confident"] == (~plans["confident"]).sum() == manifest["counts"]["not_confident"] <= 40
    assert "plans are not confident" in workflow.plan_summary(manifest)
    workflow.plan(made / "run", tmp_path / "long.csv", Policy(threshold=threshold), layout="long", threads=1)
    assert pd.read_csv(tmp_path / "long.csv")["confident"].tolist() == np.repeat(plans["confident"], 3).tolist()
    campaign = campaigns.new(made / "run", tmp_path / "campaign", policy=Policy(threshold=threshold))
    seeds = campaign.decisions()["confident"]
    assert seeds.notna().all()
    # A plans.csv that is given wins, also when the campaign is made again or funded, and it is said.
    others = pd.DataFrame({"customer_id": campaign.risks()[0], "confident": ~seeds})
    others.to_csv(tmp_path / "others.csv", index=False)
    given = campaigns.new(
        made / "run", tmp_path / "given", policy=Policy(threshold=threshold), plans=tmp_path / "others.csv"
    )
    for made_again in (given, remake(given, rules=()), campaigns.fund(given, money=5.0)):
        assert made_again.decisions()["confident"].tolist() == (~seeds).tolist()
        assert OVERRULED in made_again.about["notes"]
    assert OVERRULED not in campaign.about["notes"]
    workflow.plan(made / "run", tmp_path / "later.csv", Policy(), as_of="latest", threads=1)
    assert "confident" not in pd.read_csv(tmp_path / "later.csv")


def test_other_customers_are_not_marked(made, tmp_path):
    workflow.generate(tmp_path / "others", scenario="lifelike", customers=60, seed=4)
    workflow.plan(made / "run", tmp_path / "plans.csv", Policy(), cohort=tmp_path / "others", threads=1)
    assert "confident" not in pd.read_csv(tmp_path / "plans.csv")


def test_other_weights_damage_and_a_changed_cohort(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    weights = run.folder / "weights.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert read_stability(run) is None
    weights.write_bytes(before)
    (run.folder / FILE).write_bytes(b"no table")
    with pytest.raises(DataError, match=r"stability\.parquet: expected a Parquet table \(what several seeds say"):
        read_stability(run)
    about = json.loads((run.folder / "config.json").read_text())
    (run.folder / "config.json").write_text(json.dumps(about | {"cohort_hash": "other"}))
    with pytest.raises(RunError, match="has changed since the run was trained"):
        next(workflow.stability(run.folder, seeds=2))
    with pytest.raises(ConfigError, match="from 2 to 100 seeds"):
        next(workflow.stability(run.folder, seeds=1))
