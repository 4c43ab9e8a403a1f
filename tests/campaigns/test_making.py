"""A campaign as a folder: plans keep the rules, nothing changes without rules, arms and columns."""

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from crm_models import workflow
from crm_models.campaigns.budgeting import fund
from crm_models.campaigns.checking import facts, report_lines
from crm_models.campaigns.exporting import export
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.making import new, remake
from crm_models.campaigns.offers import Offer, read_offers
from crm_models.campaigns.presets import ExportOptions
from crm_models.campaigns.rules import Condition, Rule
from crm_models.campaigns.split import Split
from crm_models.core.errors import ConfigError, DataError
from crm_models.data.storage import load_cohort, save_cohort
from crm_models.inference.score_store import read_scores
from crm_models.planning.policy import Policy


def test_without_rules_and_control_group_the_steps_are_those_of_the_plan_command(made, tmp_path):
    campaign = new(made / "run", tmp_path / "c", split=Split(salt="s", holdout=0), threads=1)
    workflow.plan(made / "run", tmp_path / "plans.csv", Policy(), threads=1)
    plans = pd.read_csv(tmp_path / "plans.csv", keep_default_na=False)
    decisions = campaign.decisions()
    for k in (1, 2, 3):
        assert decisions[f"step_{k}"].tolist() == plans[f"step_{k}_action"].tolist()
    assert (decisions["churn_probability"] == plans["churn_probability"]).all()
    assert set(decisions["arm"]) == {"plan"}  # the paper's preset puts everybody above one half
    assert campaign.about["decoded_again"] == 0
    assert (decisions["action"] == decisions["step_1"]).all()


def test_no_plan_holds_a_dropped_action_and_only_plans_that_did_are_decoded_again(made):
    campaign = Campaign.load(made / "campaign")
    decisions = campaign.decisions()
    allowed = np.concatenate([part.allowed for part in campaign.parts()])
    codes = {label: k for k, label in enumerate(campaign.catalogue.labels)}
    for k in (1, 2, 3):
        for row, label in enumerate(decisions[f"step_{k}"]):
            assert label == "" or allowed[row, codes[label]], (row, label)
    assert not (decisions[["step_1", "step_2", "step_3"]] == "Call the customer").any(axis=None)
    before = next(workflow.score_stream(_run(made), made / "cohort", threads=1)).plans
    after = read_scores(campaign.folder / "scores.parquet").plans
    hit = (~np.take_along_axis(allowed, (before.actions - 1).clip(min=0), axis=1) & (before.actions > 0)).any(axis=1)
    assert campaign.about["decoded_again"] == hit.sum() > 0
    assert (after.actions[~hit] == before.actions[~hit]).all()
    # No plan without a dropped action is likelier than the one without any limit.
    assert (after.plan_p[hit] <= before.plan_p[hit] + 1e-9).all()


def _run(made):
    from crm_models.runs.folder import RunFolder

    return RunFolder(made / "run")


def test_arms_actions_and_reasons_agree_with_each_other(made):
    table = Campaign.load(made / "campaign").decisions()
    arm, action, planned = table["arm"], table["action"], table["planned_action"]
    assert set(arm) == {"plan", "holdout", "explore", "none"}
    assert (action[arm == "plan"] == planned[arm == "plan"]).all()
    assert (action[arm == "holdout"] == "").all()
    assert (planned[arm == "holdout"] != "").all()
    assert (planned[arm == "none"] == "").all()
    assert table["propensity"].isna().equals(arm == "none")
    assert not table["plan_source"][arm.isin(["holdout", "none"])].isin(["override", "graded"]).any()
    capped = table[(arm == "none") & table["at_risk"]]
    assert set(capped["dropped_reason"]) == {"few contacts"}
    assert (capped[["step_1", "step_2", "step_3"]] == "").all(axis=None)


def test_saying_why_not_for_one_customer(made):
    campaign = Campaign.load(made / "campaign")
    table = campaign.decisions()
    capped = table.loc[table["dropped_reason"] == "few contacts", "customer_id"].iloc[0]
    reasons = dict(zip(*campaign.why_not(capped)[["action", "dropped_by"]].to_numpy().T, strict=True))
    assert reasons["Call the customer"] == "no calls"
    assert reasons["Send a newsletter"] == "few contacts"
    with pytest.raises(DataError, match="expected a customer of the campaign, found none with id 'nobody'"):
        campaign.why_not("nobody")


def test_offers_set_the_order_mandatory_first_and_cost_what_they_say(made, tmp_path):
    (tmp_path / "offers.csv").write_text(
        "action,channel,cost,success_rate,capacity,mandatory\n"
        "Provide a discount,email,10,0.2,,no\nVisit,,50,0.5,5,yes\n"
    )
    offers = read_offers(tmp_path / "offers.csv")
    assert offers[1] == Offer(action="Visit", cost=50.0, success_rate=0.5, capacity=5, mandatory=True)
    quiet = Rule(
        name="no visits in winter",
        kind="suppress",
        actions=("Visit",),
        where=(Condition(column="location", op="is", value="north"),),
    )
    campaign = new(
        made / "run", tmp_path / "c", offers=offers, rules=(quiet,), split=Split(salt="s", holdout=0.2), threads=1
    )
    table = campaign.decisions().merge(pd.read_parquet(made / "cohort" / "customers.parquet"), on="customer_id")
    north = table["location"] == "north"
    assert set(table["planned_action"][north]) == {"Provide a discount"}
    assert set(table["planned_action"][~north]) == {"Visit"}
    plan = table[(table["arm"] == "plan") & ~north]
    assert set(plan["step_2"]) == {"Provide a discount"}
    assert set(plan["cost"]) == {50.0}
    assert set(table["cost"][table["arm"] == "holdout"]) == {0.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("action,cost\nA,-1\n", "row 2: offer 'A': cost must be a number from 0 up"),
        ("action,success_rate\nA,20\n", "row 2: offer 'A': success_rate must lie between 0 and 1"),
        ("action,capacity\nA,2.5\n", "row 2: column capacity: expected a whole number"),
        ("action,capacity\nA,-2\n", "row 2: offer 'A': capacity must be a whole number from 0 up"),
        ("action,mandatory\nA,perhaps\n", "row 2: column mandatory: expected yes or no"),
        ("action\nA\nA\n", "expected each action once, found 'A' 2 times"),
        ("action,price\nA,2\n", "expected the columns action, channel, cost"),
        ("name\nA\n", "expected the column action, found name"),
        ("", "expected the column action, found an empty file"),
    ],
)
def test_bad_offers_are_refused(text, expected, tmp_path):
    (tmp_path / "offers.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read_offers(tmp_path / "offers.csv")
    assert expected in str(error.value)


def test_a_refused_campaign_leaves_nothing_behind(made, tmp_path):
    unknown = Rule(name="r", kind="block", actions=("Fax",))
    with pytest.raises(DataError, match="'Fax', which names no action"):
        new(made / "run", tmp_path / "c", rules=(unknown,))
    with pytest.raises(ConfigError, match="expected each action once"):
        new(made / "run", tmp_path / "c", offers=(Offer(action="A"), Offer(action="A")))
    with pytest.raises(DataError, match="a campaign of this name exists"):
        new(made / "run", made / "campaign")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_campaign_or_a_damaged_one_is_named(campaign):
    with pytest.raises(DataError, match="expected a campaign folder, found none"):
        Campaign.load(campaign.folder.parent)
    (campaign.folder / "campaign.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match="make it again with `campaign new`"):
        Campaign.load(campaign.folder)


def test_quiet_days_name_the_rule_and_the_first_day_after_them(made, tmp_path):
    quiet = Rule(
        name="new year",
        kind="quiet",
        actions=("Offer proactive support",),
        where=(Condition(column="tier", op="is", value="basic"),),
        first=date(2025, 12, 24),
        last=date(2026, 1, 6),
    )
    campaign = new(made / "run", tmp_path / "c", rules=(quiet,), split=Split(salt="s"), threads=1)
    table = campaign.decisions().merge(pd.read_parquet(made / "cohort" / "customers.parquet"), on="customer_id")
    basic = table["tier"] == "basic"
    assert set(table["not_before"][basic]) == {"2026-01-07"}
    assert set(table["dropped_reason"][basic]) == {"new year"}
    assert set(table["planned_action"][basic]) == {"Send a loyalty offer"}
    assert table["not_before"][~basic].isna().all()
    over = Rule(name="over", kind="quiet", first=date(2025, 12, 24), last=date(2025, 12, 31))
    assert set(new(made / "run", tmp_path / "d", rules=(over,), threads=1).decisions()["dropped_reason"]) == {""}


def test_who_edits_a_campaign_that_somebody_else_has_changed_meanwhile_loses_nothing(campaign):
    seen = campaign  # by both
    offers = tuple(Offer(action=name, cost=2.0) for name in campaign.policy.retention_actions)
    remake(seen, rules=campaign.rules[:1])
    made = remake(seen, offers=offers)  # another part: both changes stand
    assert (made.rules, made.offers) == (campaign.rules[:1], offers)
    with pytest.raises(ConfigError, match="somebody else changed the rules meanwhile"):
        remake(seen, rules=())
    assert Campaign.load(campaign.folder).rules == campaign.rules[:1]
    funded = fund(seen, money=50.0)  # whoever spends the budget keeps rules and offers that are newer
    assert (funded.rules, funded.offers) == (campaign.rules[:1], offers)
    assert remake(funded, rules=()).about["budget"]["money"] == 50.0


def test_whether_several_trainings_agree_comes_from_plans_and_stays(made, tmp_path):
    ids = Campaign.load(made / "campaign").risks()[0]
    said = ["true", "false", ""]
    table = pd.DataFrame({"customer_id": ids[::-1], "confident": [said[k % 3] for k in range(len(ids))]})
    table.drop(index=0).to_csv(tmp_path / "plans.csv", index=False)
    campaign = new(made / "run", tmp_path / "c", plans=tmp_path / "plans.csv", split=Split(salt="s"), threads=1)
    expected = table.set_index("customer_id")["confident"].reindex(ids).map({"true": True, "false": False})
    expected[ids[-1]] = None
    for made_again in (campaign, remake(campaign, rules=()), fund(campaign, money=5.0)):
        found = made_again.decisions(["confident"])["confident"]
        assert found.astype(object).where(found.notna(), None).tolist() == [
            None if pd.isna(value) else value for value in expected
        ]
    assert facts(campaign).confident == int(campaign.decisions().query("arm != 'none'")["confident"].sum())
    export(campaign, tmp_path / "out.csv", ExportOptions())
    kept = pd.read_csv(tmp_path / "out.csv", dtype="str", keep_default_na=False)["confident"]
    assert set(kept) == {"true", "false", ""}
    (tmp_path / "plans.csv").write_text("customer_id,at_risk\na,true\n")
    with pytest.raises(DataError, match="expected the column confident, found customer_id, at_risk"):
        new(made / "run", tmp_path / "d", plans=tmp_path / "plans.csv", threads=1)
    (tmp_path / "plans.csv").write_text("customer_id,confident\na,perhaps\n")
    with pytest.raises(DataError, match="row 2, column confident: expected true or false, found 'perhaps'"):
        new(made / "run", tmp_path / "d", plans=tmp_path / "plans.csv", threads=1)
    assert not (tmp_path / "d").exists()


def test_customers_unlike_the_training_customers_are_refused_unless_it_is_allowed(made, tmp_path):
    cohort = load_cohort(made / "cohort")
    people = cohort.customers.assign(tenure_days=cohort.customers["tenure_days"] * 1_000)
    save_cohort(replace(cohort, customers=people), tmp_path / "strange")
    with pytest.raises(DataError, match="differ too much from those the run was trained on"):
        new(made / "run", tmp_path / "c", cohort=tmp_path / "strange", threads=1)
    assert not (tmp_path / "c").exists()
    campaign = new(made / "run", tmp_path / "c", cohort=tmp_path / "strange", allow_drift=True, threads=1)
    assert any("tenure_days" in note for note in campaign.about["notes"])
    assert "tenure_days" in " ".join(report_lines(campaign))
