"""Hand-over: each system's file against its published rules, the linter, and only what changed."""

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest

from crm_models import workflow
from crm_models.campaigns import folder, ledger, presets, systems
from crm_models.campaigns.exporting import export, summary
from crm_models.campaigns.loaded import confirm
from crm_models.campaigns.making import new
from crm_models.campaigns.presets import ExportOptions
from crm_models.campaigns.split import Split
from crm_models.campaigns.systems import row_hashes
from crm_models.core.errors import ConfigError, DataError
from crm_models.data.cohort import Cohort
from crm_models.data.storage import load_cohort, save_cohort
from crm_models.planning.policy import Policy


def written(campaign, tmp_path, name="out.csv", **options):
    manifest = export(campaign, tmp_path / name, ExportOptions(**options))
    return manifest, pd.read_csv(tmp_path / name, dtype="str", keep_default_na=False)


def test_plans_csv_keeps_its_columns_and_the_new_ones_come_last(campaign, made, tmp_path):
    _, table = written(campaign, tmp_path)
    workflow.plan(made / "run", tmp_path / "plans.csv", Policy(threshold=0.2), threads=1)
    before = pd.read_csv(tmp_path / "plans.csv", dtype="str").columns.tolist()
    assert table.columns.tolist() == [
        *before, "holdout", "arm", "propensity", "dropped_reason", "confident", "not_before"
    ]  # fmt: skip
    decisions = campaign.decisions()
    for k in (1, 2, 3):
        assert table[f"step_{k}_action"].tolist() == decisions[f"step_{k}"].tolist()
    assert table["arm"].tolist() == decisions["arm"].tolist()
    assert (tmp_path / "out.csv").read_bytes().count(b"\r\n") == len(table) + 1


def test_salesforce_file(campaign, tmp_path):
    _, table = written(campaign, tmp_path, preset="salesforce")
    assert table.columns.tolist() == [
        "External_Id__c", "Churn_Risk__c", "At_Risk__c", "Plan_Source__c", "Plan_Step_1__c", "Plan_Step_2__c",
        "Plan_Step_3__c", "Plan_Action__c", "Holdout__c", "Scored_At__c",
    ]  # fmt: skip
    assert set(table["At_Risk__c"]) | set(table["Holdout__c"]) == {"true", "false"}
    assert table["Churn_Risk__c"].str.fullmatch(r"[01]\.\d{4}").all()
    assert table["Scored_At__c"].str.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ").all()
    raw = (tmp_path / "out.csv").read_bytes()
    assert b"\r" not in raw
    assert not raw.startswith(b"\xef\xbb\xbf")
    assert "#N/A" in set(table["Plan_Step_1__c"])
    assert not (table == "").any(axis=None)


def test_braze_and_klaviyo_write_none_because_a_blank_clears_nothing(campaign, tmp_path):
    for system in ("braze", "klaviyo"):
        _, table = written(campaign, tmp_path, preset=system)
        assert table.columns[0] == "external_id"
        assert "none" in set(table["plan_action"])
        assert not (table == "").any(axis=None)
        flags = {"TRUE", "FALSE"} if system == "braze" else {"true", "false"}
        assert set(table["at_risk"]) | set(table["holdout"]) == flags
    _, table = written(campaign, tmp_path, preset="braze", identifier="user_alias_name", alias_label="crm")
    assert table.columns[:2].tolist() == ["user_alias_name", "user_alias_label"]
    assert set(table["user_alias_label"]) == {"crm"}


def test_hubspot_needs_mail_addresses_or_record_ids(campaign, tmp_path):
    manifest, table = written(campaign, tmp_path, preset="hubspot")
    assert len(table) == 0
    assert table.columns[0] == "Email"
    assert manifest["counts"]["rejected"] == 400
    rejected = pd.read_csv(tmp_path / "out.rejected.csv", dtype="str")
    assert rejected.columns.tolist() == ["row", "customer_id", "column", "value", "rule"]
    assert set(rejected["rule"]) == {"expected an e-mail address"}
    assert "400 rejected, see out.rejected.csv" in summary(manifest)
    with pytest.raises(ConfigError, match="HubSpot identifies customers by Email, Record ID; found 'external_id'"):
        written(campaign, tmp_path, preset="hubspot", identifier="external_id")


@pytest.mark.parametrize(
    ("system", "column", "value", "rule"),
    [
        ("hubspot", "Email", "", "identifier is missing"),
        ("hubspot", "Email", "ann(at)x.org", "expected an e-mail address"),
        ("hubspot", "Email", "a@" + "x" * 260 + ".org", "longer than 254 characters"),
        ("hubspot", "Record ID", "12a", "expected digits"),
        ("klaviyo", "phone_number", "0151 1234567", "expected a number such as +4915112345678"),
        ("klaviyo", "external_id", "a\nb", "control character"),
        ("salesforce", "Id", "12345", "expected 15 or 18 characters"),
        ("braze", "external_id", " a", "blank before or after the identifier"),
    ],
)
def test_each_rule_of_the_linter(system, column, value, rule):
    kind = presets.PRESETS[system].identifiers[column]
    good = {"Email": "a@x.org", "Record ID": "7", "phone_number": "+4915112345678", "Id": "a" * 15}.get(column, "x")
    assert presets.identifier_rules(kind, np.array([good, value], dtype=object)).tolist() == ["", rule]


def test_doubled_identifiers_are_all_rejected_and_labels_with_commas_for_braze():
    twice = "identifier occurs 2 times"
    values = np.array(["a", "b", "a"], dtype=object)
    found = presets.identifier_rules(presets.PRESETS["braze"].identifiers["external_id"], values)
    assert found.tolist() == [twice, "", twice]
    mails = np.array(["Ann@x.org", "ann@X.org", "bob@x.org"], dtype=object)
    found = presets.identifier_rules(presets.PRESETS["hubspot"].identifiers["Email"], mails)
    assert found.tolist() == [twice, twice, ""]
    assert presets.lint_label(presets.PRESETS["braze"], "Call, then mail") == "comma in a text"
    assert presets.lint_label(presets.PRESETS["hubspot"], "Call, then mail") == ""


def test_ids_that_look_like_formulas_are_counted_in_the_safe_file_and_exact_elsewhere(made, tmp_path):
    cohort = load_cohort(made / "cohort")
    people = cohort.customers.copy()
    people.loc[:39, "customer_id"] = [f"+49151{k:07d}" for k in range(40)]
    save_cohort(
        Cohort.build(name="phones", source="t", customers=people.head(60), interactions=None), tmp_path / "phones"
    )
    campaign = new(made / "run", tmp_path / "c", cohort=tmp_path / "phones", split=Split(salt="s"), threads=1)
    manifest, table = written(campaign, tmp_path)
    assert manifest["ids_changed"] == 40
    assert "40 ids gained an apostrophe against formulas" in summary(manifest)
    assert table["customer_id"].str.startswith("'+").sum() == 40
    exact, table = written(campaign, tmp_path, api_exact=True)
    assert exact["ids_changed"] == 0
    assert table["customer_id"].str.startswith("+").sum() == 40
    _, table = written(campaign, tmp_path, preset="klaviyo", identifier="phone_number")
    assert table["phone_number"].str.startswith("+49").all()
    assert len(table) == 40  # the others are no phone numbers


# ---- what changed ----------------------------------------------------------------------------------------------------


def test_only_what_changed_since_it_was_confirmed_goes_again(campaign, tmp_path):
    options = {"preset": "salesforce", "changed_only": True}
    first, table = written(campaign, tmp_path, **options)
    assert first["counts"]["insert"] == len(table) == 400
    again, table = written(campaign, tmp_path, **options)
    assert len(table) == 400  # not confirmed, so all of it again
    (tmp_path / "failed.csv").write_text("id,why\nC000002,timeout\nC000009,timeout\n")
    assert confirm(campaign, "salesforce", failed=tmp_path / "failed.csv") == {"loaded": 398, "failed": 2}
    again, table = written(campaign, tmp_path, **options)
    assert table["External_Id__c"].tolist() == ["C000002", "C000009"]
    assert again["counts"] | {"unchanged": 398, "insert": 2} == again["counts"]
    confirm(campaign, "salesforce")
    assert written(campaign, tmp_path, **options)[0]["counts"]["rows"] == 0
    assert written(campaign, tmp_path, preset="braze", changed_only=True)[0]["counts"]["insert"] == 400


def test_an_edit_updates_and_a_customer_who_drops_out_is_cleared_and_old_plus_changes_is_new(campaign, tmp_path):
    _, old = written(campaign, tmp_path, preset="braze", targeted_only=True)
    confirm(campaign, "braze")
    customer = campaign.decisions().query("arm == 'plan'")["customer_id"].iloc[0]
    ledger.append(campaign, ledger.Entry(who="ann", action="exclude", customer_id=customer, why="on holiday"))
    manifest, change = written(campaign, tmp_path, preset="braze", targeted_only=True, changed_only=True)
    assert manifest["counts"]["update"] == len(change) == 1
    assert change["external_id"].tolist() == [customer]
    assert change["plan_action"].tolist() == ["none"]
    _, now = written(campaign, tmp_path, preset="braze", targeted_only=True)
    merged = old.set_index("external_id")
    merged.loc[customer] = change.set_index("external_id").loc[customer]
    assert merged.equals(now.set_index("external_id"))
    # Somebody who was sent before and is in no file any more.
    file = campaign.folder / "sent.parquet"
    sent = pd.read_parquet(file)
    pd.concat([sent, sent.head(1).assign(identifier="left", row_hash="x")]).to_parquet(file, index=False)
    manifest, change = written(campaign, tmp_path, preset="braze", targeted_only=True, changed_only=True)
    assert manifest["counts"]["clear"] == 1
    assert change.set_index("external_id").loc["left", "plan_step_1"] == "none"
    confirm(campaign, "braze")
    sent = pd.read_parquet(file).set_index("identifier")
    assert sent.loc["left", "row_hash"] == ""
    assert written(campaign, tmp_path, preset="braze", targeted_only=True, changed_only=True)[0]["counts"]["rows"] == 0


def test_the_system_holds_what_any_campaign_loaded_last_and_each_clears_only_its_own(campaign, made, tmp_path):
    settings = {"policy": campaign.policy, "split": Split(salt="other", holdout=0.1), "threads": 1}
    other = new(made / "run", tmp_path / "other", **settings)
    options = {"preset": "braze", "changed_only": True}
    written(campaign, tmp_path, **options)
    confirm(campaign, "braze")
    manifest, _ = written(other, tmp_path, targeted_only=True, **options)
    counts = manifest["counts"]
    assert (counts["insert"], counts["clear"]) == (0, 0)  # the first campaign's customers are not the second's to clear
    assert counts["rows"] == counts["update"] > 0
    assert counts["unchanged"] > 0
    confirm(other, "braze")
    # What the second campaign wrote is not what the first one would write again.
    assert written(campaign, tmp_path, **options)[0]["counts"]["update"] == counts["update"]
    # Another identifier is another row of the system: nothing of it is known, and nothing is cleared.
    by_alias = written(campaign, tmp_path, identifier="user_alias_name", alias_label="crm", **options)[0]["counts"]
    assert (by_alias["insert"], by_alias["clear"]) == (400, 0)
    # Files of before campaigns knew of each other.
    file = campaign.folder / "sent.parquet"
    pd.read_parquet(file)[["preset", "identifier", "row_hash"]].to_parquet(file, index=False)
    assert written(campaign, tmp_path, **options)[0]["counts"]["insert"] == 0
    file.write_bytes(b"damaged")
    assert written(other, tmp_path, **options)[0]["counts"]["insert"] > 0  # sent again, which is safe
    with pytest.raises(DataError, match=r"sent\.parquet: expected a Parquet table \(the rows that were loaded\)"):
        written(campaign, tmp_path, **options)


def test_a_row_that_is_rejected_later_is_not_cleared(campaign, tmp_path, monkeypatch):
    written(campaign, tmp_path, preset="braze")
    confirm(campaign, "braze")
    monkeypatch.setattr(presets, "lint_label", lambda made_for, label: "comma in a text" if "support" in label else "")
    manifest, table = written(campaign, tmp_path, preset="braze", changed_only=True)
    assert manifest["counts"]["rejected"] > 100
    assert manifest["counts"]["clear"] == len(table) == 0


def test_what_cannot_be_read_back_is_not_put_in_place(campaign, tmp_path, monkeypatch):
    (tmp_path / "out.csv").write_text("before")
    closed = systems._Parts.close

    def spoil(parts):
        closed(parts)
        for part in parts.files.values():
            part.write_bytes(part.read_bytes().replace(b"C000007", b"C000008"))

    monkeypatch.setattr(systems._Parts, "close", spoil)
    with pytest.raises(DataError, match="expected to read back what was written"):
        export(campaign, tmp_path / "out.csv", ExportOptions(preset="salesforce"))
    assert (tmp_path / "out.csv").read_text() == "before"
    assert [file.name for file in tmp_path.glob("*.csv")] == ["out.csv"]
    assert ledger.lines(campaign.folder) == []


def test_a_campaign_for_nobody_is_a_file_with_a_header(made, tmp_path):
    nobody = new(made / "run", tmp_path / "c", policy=Policy(threshold=1.0), split=Split(salt="s"), threads=1)
    assert (nobody.decisions()["arm"] == "none").all()
    for system in ("csv", "salesforce", "klaviyo"):
        manifest, table = written(nobody, tmp_path, preset=system, targeted_only=True)
        assert manifest["counts"]["rows"] == len(table) == 0
        assert len(table.columns) > 8


def test_hashes_do_not_depend_on_the_order_of_rows_and_see_every_cell():
    table = pd.DataFrame({"id": ["a", "b"], "x": ["1", "2"], "y": ["", "2"]})
    assert (row_hashes(table.iloc[::-1]) == row_hashes(table)[::-1]).all()
    assert row_hashes(pd.DataFrame({"a": ["x"], "b": ["y"]})) != row_hashes(pd.DataFrame({"a": ["xy"], "b": [""]}))


def test_a_file_that_would_be_too_large_is_split_and_every_part_has_the_header(campaign, tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "CHUNK", 50)
    manifest, _ = written(campaign, tmp_path, preset="salesforce", most_mb=0.015, most_rows=120)
    parts = [pd.read_csv(tmp_path / name, dtype="str", keep_default_na=False) for name in manifest["files"]]
    assert len(parts) == 4
    assert all((tmp_path / name).stat().st_size <= 15_000 and len(p) <= 120
               for name, p in zip(manifest["files"], parts, strict=True))  # fmt: skip
    assert pd.concat(parts)["External_Id__c"].tolist() == campaign.decisions()["customer_id"].tolist()
    manifest, _ = written(campaign, tmp_path, preset="salesforce", most_rows=399)
    assert [len(pd.read_csv(tmp_path / name)) for name in manifest["files"]] == [399, 1]
    # Those of the earlier export are gone, so that nobody loads them with the new ones; other files stay.
    (tmp_path / "out.7.csv").write_text("mine")
    written(campaign, tmp_path, preset="salesforce", most_rows=399)
    assert sorted(file.name for file in tmp_path.glob("out*.csv") if "rejected" not in file.name) == [
        "out.1.csv", "out.7.csv", "out.csv"
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="rows of a file must be above 0, found 0"):
        written(campaign, tmp_path, preset="salesforce", most_rows=0)


# ---- ledger ----------------------------------------------------------------------------------------------------------


def plan_customers(campaign, n):
    return campaign.decisions().query("arm == 'plan'")["customer_id"].head(n).tolist()


def test_approval_holds_until_an_edit_and_four_eyes_need_another_person(campaign):
    one, two = plan_customers(campaign, 2)
    ledger.approve(campaign, "ann")
    assert ledger.state(campaign).approved_by == "ann"
    swap = ledger.append(
        campaign,
        ledger.Entry(who="bob", action="swap", customer_id=one, to="Send a loyalty offer", why="asked for it"),
    )
    assert swap["from"] == "Offer proactive support"
    assert ledger.state(campaign).approved_by is None
    with pytest.raises(ConfigError, match="expected somebody other than bob"):
        ledger.approve(campaign, "bob", four_eyes=True)
    ledger.approve(campaign, "ann", four_eyes=True)
    ledger.append(campaign, ledger.Entry(who="ann", action="exclude", customer_id=two, why="complained"))
    now = ledger.state(campaign)
    assert (now.swaps, now.excluded, now.approved_by) == ({one: "Send a loyalty offer"}, {two}, None)
    ledger.append(campaign, ledger.Entry(who="ann", action="undo", to=swap["sha256"]))
    assert ledger.state(campaign).swaps == {}


def test_a_swap_reaches_the_file_and_keeps_the_rules(campaign, tmp_path):
    (one,) = plan_customers(campaign, 1)
    ledger.append(campaign, ledger.Entry(who="bob", action="swap", customer_id=one, to="Send a loyalty offer", why="x"))
    _, table = written(campaign, tmp_path, preset="salesforce")
    row = table.set_index("External_Id__c").loc[one]
    assert row["Plan_Step_1__c"] == row["Plan_Action__c"] == "Send a loyalty offer"
    table = campaign.decisions()
    for customer in table.query("arm == 'plan'")["customer_id"]:
        reasons = campaign.why_not(customer).set_index("action")["dropped_by"]
        if reasons["Provide a discount"]:
            break
    with pytest.raises(DataError, match=r"not allowed for .*: no discount for premium"):
        ledger.append(
            campaign, ledger.Entry(who="b", action="swap", customer_id=customer, to="Provide a discount", why="x")
        )


@pytest.mark.parametrize("line", [0, 1])
def test_a_line_that_was_changed_or_removed_is_noticed(campaign, line):
    for text in ("first", "second", "third"):
        ledger.append(campaign, ledger.Entry(who="ann", action="note", why=text))
    file = campaign.folder / "ledger.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:line] + lines[line + 1 :]) + "\n")
    with pytest.raises(DataError, match="expected the line as it was written"):
        ledger.lines(campaign.folder)
    changed = json.loads(lines[line]) | {"who": "eve"}
    file.write_text("\n".join([*lines[:line], json.dumps(changed), *lines[line + 1 :]]) + "\n")
    with pytest.raises(DataError, match=f"line {line + 1}: expected the line"):
        ledger.lines(campaign.folder)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"action": "exclude", "customer_id": "C000001"}, "exclude: expected a reason, found none"),
        ({"action": "swap", "why": "x"}, "swap: expected a customer, found none"),
        ({"action": "note", "who": " "}, "note: expected who does it"),
        ({"action": "steal"}, "action must be one of approve"),
    ],
)
def test_an_entry_that_lacks_something_is_refused(entry, expected):
    with pytest.raises(ConfigError, match=expected):
        ledger.Entry(**({"who": "ann"} | entry))


def test_two_people_who_edit_at_once_lose_nothing(campaign):
    from concurrent.futures import ThreadPoolExecutor

    def note(k: int) -> None:
        ledger.append(campaign, ledger.Entry(who=f"p{k}", action="note", why=str(k)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(note, range(24)))
    lines = ledger.lines(campaign.folder)
    assert sorted(line["why"] for line in lines) == sorted(map(str, range(24)))


def test_an_approval_while_the_campaign_is_made_again_waits_and_is_not_lost(campaign):
    from concurrent.futures import ThreadPoolExecutor

    from crm_models.campaigns.making import remake

    ledger.append(campaign, ledger.Entry(who="ann", action="note", why="before"))
    with ThreadPoolExecutor(2) as pool:
        making = pool.submit(remake, campaign, rules=())
        noting = pool.submit(ledger.append, campaign, ledger.Entry(who="bob", action="note", why="meanwhile"))
        assert making.result().rules == ()
        noting.result()
    assert sorted(line["why"] for line in ledger.lines(campaign.folder)) == ["before", "meanwhile"]


def test_an_exported_campaign_no_longer_changes(campaign, tmp_path):
    from crm_models.campaigns.budgeting import fund
    from crm_models.campaigns.making import remake

    written(campaign, tmp_path)
    with pytest.raises(ConfigError, match="was exported or read already"):
        remake(campaign, rules=())
    with pytest.raises(ConfigError, match="was exported or read already"):
        fund(campaign, money=10.0)


def test_the_rejected_file_is_a_csv_and_the_manifest_says_how(campaign, tmp_path):
    written(campaign, tmp_path, preset="hubspot")
    with (tmp_path / "out.rejected.csv").open(encoding="utf-8", newline="") as handle:
        assert len(list(csv.reader(handle))) == 401
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert re.fullmatch("[0-9a-f]{64}", manifest["decisions_sha256"])
    assert (manifest["preset"], manifest["approved_by"]) == ("hubspot", None)
    assert ledger.lines(campaign.folder)[-1]["action"] == "export"
