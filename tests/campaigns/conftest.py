"""A small lifelike cohort with a trained run, and a campaign on it, made once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crm_models import workflow
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.making import new
from crm_models.campaigns.rules import Condition, Rule
from crm_models.campaigns.split import Split
from crm_models.planning.policy import Policy

RULES = (
    Rule(name="no calls", kind="block", actions=("Call the customer",)),
    Rule(
        name="no discount for premium",
        kind="suppress",
        actions=("Provide a discount",),
        where=(Condition(column="tier", op="is", value="premium"),),
    ),
    Rule(name="few contacts", kind="cap", most=8, days=30),
)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `cohort` (lifelike, 400 customers), `run`, and `campaign` with the rules above."""
    root = tmp_path_factory.mktemp("campaigns")
    workflow.generate(root / "cohort", scenario="lifelike", customers=400, seed=1)
    list(workflow.train(root / "cohort", root / "run", workflow.run_config(preset="paper", epochs=4, threads=1)))
    split = Split(salt="spring", holdout=0.3, explore=0.1)
    new(root / "run", root / "campaign", rules=RULES, split=split, policy=Policy(threshold=0.2), threads=1)
    return root


@pytest.fixture
def campaign(made: Path, tmp_path: Path) -> Campaign:
    """A copy of the campaign, to be changed."""
    shutil.copytree(made / "campaign", tmp_path / "campaign")
    return Campaign.load(tmp_path / "campaign")
