"""The campaigns page: a campaign made, ruled, funded, approved, handed over and read by clicking."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace

import pandas as pd
import pytest

from crm_models.campaigns import ledger, making
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.rules import Condition, Rule
from crm_models.campaigns.split import Split
from crm_models.inference.score_store import read_scores
from crm_models.planning.policy import Policy

RULE = Rule(
    name="no discount for premium",
    kind="suppress",
    actions=("Provide a discount",),
    where=(Condition(column="tier", op="is", value="premium"),),
)


@pytest.fixture
def spring(workspace) -> Campaign:
    """The campaign `spring` on the first run, with one rule and nearly half of the customers as control group."""
    return making.new(
        workspace / "runs" / "first",
        workspace / "campaigns" / "spring",
        cohort=workspace / "cohorts" / "small",
        policy=Policy(threshold=0.1),
        rules=(RULE,),
        split=Split(salt="s", holdout=0.45),
        scores=read_scores(workspace / "runs" / "first" / "scores" / "small.parquet"),
    )


def again(spring: Campaign) -> Campaign:
    return Campaign.load(spring.folder)


def test_without_a_campaign_the_page_offers_one_and_makes_it(workspace, open_page, texts):
    page = open_page("campaigns", run="first")
    assert not page.exception
    assert "No campaign on this cohort yet" in texts(page)
    page.button(key="new_campaign").click().run()
    page.text_input(key="campaign_name").set_value("Früh & gut")
    page.slider(key="campaign_holdout").set_value(20)
    page.button(key="make_campaign").click().run()
    assert not page.exception
    made = Campaign.load(workspace / "campaigns" / "fruh-gut")
    assert (made.split.holdout, made.split.salt, made.about["run_id"]) == (0.2, "Früh & gut", "first")
    assert page.selectbox(key="campaign").value == "fruh-gut"
    assert {m.label: m.value for m in page.metric}["State"] == "Draft"


def test_the_first_tab_shows_each_rule_with_what_it_drops(spring, open_page, texts):
    page = open_page("campaigns")
    assert not page.exception
    said = texts(page)
    assert "no discount for premium (suppress): Do not propose Provide a discount where tier is premium." in said
    table = spring.decisions()
    figures = {m.label: m.value for m in page.metric}
    assert figures["Targeted"] == str((table["arm"] != "none").sum())
    assert figures["Control group"] == str((table["arm"] == "holdout").sum())
    page.text_input(key="why_not").set_value("C000001").run()
    assert "Provide a discount" in page.dataframe[-1].value["action"].tolist()
    page.text_input(key="why_not").set_value("nobody").run()
    assert "found none with id 'nobody'" in page.error[0].value.replace("\\", "")


def test_a_rule_is_added_changed_and_deleted_in_the_form(spring, open_page, texts):
    page = open_page("campaigns")
    key = "rule_spring_(a new rule)"
    assert page.button(key="save_rule").disabled
    page.text_input(key=f"{key}_name").set_value("quiet please").run()
    page.selectbox(key=f"{key}_kind").set_value("cap").run()
    page.number_input(key=f"{key}_cap_most").set_value(2).run()
    assert "Do not propose any retention action after 2 events in the last 30 days." in texts(page).replace(
        "\u2060", ""
    )
    page.button(key="save_rule").click().run()
    assert not page.exception
    assert [r.name for r in again(spring).rules] == ["no discount for premium", "quiet please"]
    page.selectbox(key="rule_chosen").set_value("quiet please").run()
    page.number_input(key="rule_spring_quiet please_cap_days").set_value(7).run()
    page.button(key="save_rule").click().run()
    assert again(spring).rules[1].days == 7
    page.selectbox(key="rule_chosen").set_value("quiet please").run()
    page.button(key="delete_rule").click().run()
    assert [r.name for r in again(spring).rules] == ["no discount for premium"]


def test_a_rule_that_does_not_fit_is_refused_beside_the_form_and_changes_nothing(spring, open_page):
    page = open_page("campaigns")
    key = "rule_spring_(a new rule)"
    page.text_input(key=f"{key}_name").set_value("adults").run()
    page.selectbox(key=f"{key}_column_0").set_value("income").run()
    page.text_input(key=f"{key}_value_0").set_value("much").run()
    page.button(key="save_rule").click().run()
    assert "income: expected a number, found 'much'" in page.error[0].value.replace("\\", "").replace("\u2060", "")
    assert [r.name for r in again(spring).rules] == ["no discount for premium"]


def test_the_budget_is_spent_and_an_offer_changed(spring, open_page, texts):
    page = open_page("campaigns", campaign_tab="Budget")
    assert not page.exception
    assert "Without a budget" in texts(page)
    page.number_input(key="offer_spring_Offer proactive support_cost").set_value(5.0)
    next(b for b in page.button if b.label == "Save offer").click().run()
    assert again(spring).offers[0].cost == 5
    page.number_input(key="money_spring").set_value(50.0)
    next(b for b in page.button if b.label == "Spend the budget").click().run()
    assert not page.exception
    budget = again(spring).about["budget"]
    assert budget["money"] == 50
    assert {m.label: m.value for m in page.metric}["Spent"] == f"{budget['spent']:,.0f}"


def test_the_groups_are_assigned_anew(spring, open_page, texts):
    page = open_page("campaigns", campaign_tab="Control group")
    assert not page.exception
    assert "four times out of five" in texts(page)
    page.number_input(key="holdout_spring").set_value(20.0)
    page.selectbox(key="reading_spring").set_value("any_time")
    next(b for b in page.button if b.label == "Assign the groups").click().run()
    assert (again(spring).split.holdout, again(spring).split.reading) == (0.2, "any_time")


def test_a_change_by_somebody_else_is_told_and_not_undone(spring, open_page):
    page = open_page("campaigns", campaign_tab="Control group")
    making.remake(spring, split=replace(spring.split, holdout=0.3))  # somebody else, meanwhile
    page.number_input(key="holdout_spring").set_value(20.0)
    save = next(b for b in page.button if b.label == "Assign the groups")
    save.click().run()
    assert "somebody else changed spring meanwhile" in page.error[0].value.replace("\\", "")
    assert again(spring).split.holdout == 0.3
    next(b for b in page.button if b.label == "Assign the groups").click().run()  # having seen it
    assert again(spring).split.holdout == 0.2


def test_approval_needs_a_name_and_edits_a_reason(spring, open_page, texts):
    page = open_page("campaigns", campaign_tab="Approve")
    assert page.button(key="approve").disabled
    page.text_input(key="approver").set_value("ann").run()
    page.button(key="approve").click().run()
    assert "Approved by ann" in texts(page)
    customer = spring.decisions().query("arm == 'plan'")["customer_id"].iloc[0]
    page.text_input(key="edit_customer").set_value(customer)
    next(b for b in page.button if b.label == "Save edit").click().run()
    assert "exclude: expected a reason" in page.error[0].value.replace("\\", "").replace("\u2060", "")
    page.text_input(key="edit_customer").set_value(customer)
    page.text_input(key="edit_why").set_value("on holiday")
    next(b for b in page.button if b.label == "Save edit").click().run()
    assert ledger.state(spring).excluded == {customer}
    assert "Not approved" in texts(page)
    page.button(key="undo").click().run()
    assert ledger.state(spring).excluded == frozenset()
    assert [line["who"] for line in ledger.lines(spring.folder)] == ["ann"] * 3


def test_a_damaged_ledger_is_said_and_nothing_breaks(spring, open_page):
    ledger.append(spring, ledger.Entry(who="ann", action="note", why="x"))
    (spring.folder / "ledger.jsonl").write_text("{}\n")
    page = open_page("campaigns", campaign_tab="Approve")
    assert not page.exception
    assert {m.label: m.value for m in page.metric}["State"] == "Damaged"
    assert "no longer evidence" in page.error[0].value


def test_the_file_for_a_system_is_written_confirmed_and_fixes_the_campaign(spring, open_page, texts):
    page = open_page("campaigns", campaign_tab="Hand over")
    page.selectbox(key="system").set_value("braze").run()
    page.button(key="write_file").click().run()
    assert not page.exception
    assert "120 rows in 1 file (120 insert); not approved" in texts(page)
    _, manifest, file, rejected = page.session_state["campaign_files"]
    with zipfile.ZipFile(file) as archive:
        table = pd.read_csv(archive.open(manifest["files"][0]), dtype="str")
        assert {"spring-braze.csv", "spring-braze.manifest.json", "spring-braze.rejected.csv"} == set(
            archive.namelist()
        )
    assert table["external_id"].tolist() == spring.decisions()["customer_id"].tolist()
    assert rejected.empty
    page.file_uploader(key="failed_rows").upload("failed.csv", b"external_id\nnobody\n", "text/csv").run()
    page.button(key="confirm_loaded").click().run()
    said = page.error[0].value.replace("\\", "").replace("\u2060", "")
    assert said == "The load cannot be confirmed: failed.csv: expected identifiers of the export, found 'nobody'"
    page.file_uploader(key="failed_rows").set_value(None).run()
    page.button(key="confirm_loaded").click().run()
    page.toggle(key="changed_only").set_value(True).run()
    page.button(key="write_file").click().run()
    assert "0 rows in 1 file (120 unchanged)" in texts(page)
    fixed = open_page("campaigns")
    assert "its rules stay as they are" in texts(fixed)
    assert {m.label: m.value for m in fixed.metric}["State"] == "Sent"


def test_what_would_happen_stands_beside_the_truth(spring, open_page, texts):
    page = open_page("campaigns", campaign_tab="What it did")
    assert "Nothing is known yet" in texts(page)
    page.button(key="simulate").click().run()
    assert not page.exception
    result = json.loads((spring.folder / "reading.json").read_text())
    said = texts(page)
    assert f"{100 * result['truth']['difference']:+.1f} points" in said
    assert "Without a control group" in said
    figures = {m.label: m.value for m in page.metric}
    assert figures["Difference, points"] == f"{100 * result['difference']['value']:+.1f}"
    assert figures["State"] == "Read"


def test_uploaded_outcomes_are_read_and_bad_ones_named_by_their_file(spring, open_page, texts):
    page = open_page("campaigns", campaign_tab="What it did")
    page.file_uploader(key="outcomes_file").upload("o.csv", b"customer_id,outcome\na,left\n", "text/csv").run()
    page.button(key="read_campaign").click().run()
    assert "o.csv row 2, column outcome" in page.error[0].value.replace("\\", "")
    table = spring.decisions()
    stayed = pd.DataFrame({"customer_id": table["customer_id"], "outcome": (table["arm"] == "plan").astype(int)})
    page.file_uploader(key="outcomes_file").upload("o.csv", stayed.to_csv(index=False).encode(), "text/csv").run()
    page.button(key="read_campaign").click().run()
    assert not page.exception
    assert {m.label: m.value for m in page.metric}["Difference, points"] == "+100.0"
    assert "the campaign helped" in texts(page)


def test_the_demo_run_brings_a_campaign_that_was_read_and_stays_deleted(workspace, open_page):
    shutil.copytree(workspace / "runs" / "first", workspace / "runs" / "demo-standard")
    page = open_page("campaigns", run="demo-standard")
    assert not page.exception
    made = Campaign.load(workspace / "campaigns" / "demo-campaign")
    assert len(made.rules) == 3
    assert (made.folder / "reading.json").exists()
    assert made.about["budget"]["spent"] <= 1_500
    page.button(key="delete_campaign").click().run()
    assert not page.exception
    assert not made.folder.exists()
    assert not open_page("campaigns", run="demo-standard").exception
    assert not made.folder.exists()


def test_a_campaign_teaches_and_the_next_one_spends_by_it(workspace, open_page, texts):
    from crm_models import workflow
    from crm_models.runs.folder import RunFolder
    from dashboard.jobs import scoring

    workflow.generate(workspace / "cohorts" / "large", scenario="lifelike", customers=900, seed=3)
    shutil.copytree(workspace / "runs" / "first", workspace / "runs" / "large-run")
    about = json.loads((workspace / "runs" / "large-run" / "config.json").read_text())
    about["cohort"] = str(workspace / "cohorts" / "large")
    (workspace / "runs" / "large-run" / "config.json").write_text(json.dumps(about))
    scores = read_scores(scoring.keep(RunFolder(workspace / "runs" / "large-run"), workspace / "cohorts" / "large"))
    for name in ("winter", "spring"):
        making.new(
            workspace / "runs" / "large-run",
            workspace / "campaigns" / name,
            policy=Policy(threshold=0.1),
            split=Split(salt=name, holdout=0.3, explore=0.5),
            scores=scores,
        )
    page = open_page("campaigns", cohort="large", run="large-run", campaign="winter", campaign_tab="What it did")
    page.button(key="simulate").click().run()
    page.button(key="learn").click().run()
    assert not page.exception
    said = texts(page)
    assert "changes the share by" in said
    assert (workspace / "campaigns" / "winter" / "uplift.json").exists()
    page = open_page("campaigns", cohort="large", run="large-run", campaign="spring", campaign_tab="Budget")
    page.selectbox(key="teacher_spring").set_value("winter")
    next(b for b in page.button if b.label == "Spend the budget").click().run()
    assert not page.exception
    assert "as learned from winter" in texts(page)
    assert Campaign.load(workspace / "campaigns" / "spring").about["budget"]["taught_by"] == "winter"


@pytest.mark.parametrize("name", ["profiles", "events"])
def test_a_cohort_without_events_or_labels_and_with_nasty_names_has_campaigns_too(
    name, made_parts, tmp_path, monkeypatch, nobody_works, open_page, texts
):
    own = tmp_path / "workspace"
    shutil.copytree(made_parts, own)
    monkeypatch.setenv("CRM_WORKSPACE", str(own))
    made = making.new(
        own / "runs" / name,
        own / "campaigns" / "parts",
        cohort=own / "cohorts" / name,
        policy=Policy(threshold=0.0),
        rules=(Rule(name="<b>r</b>", kind="block", actions=("Send a loyalty offer",)),),
        split=Split(salt="s", holdout=0.3),
    )
    # Without labels there is no churn model, so nobody is at risk.
    assert ((made.decisions()["arm"] == "none").all()) == (name == "events")
    for tab in ("Rules", "Budget", "Control group", "Approve", "Hand over", "What it did"):
        page = open_page("campaigns", cohort=name, run=name, campaign="parts", campaign_tab=tab)
        assert not page.exception, tab
        assert not page.error, tab
    assert "<b>r</b>" in texts(open_page("campaigns", cohort=name, run=name, campaign="parts"))
