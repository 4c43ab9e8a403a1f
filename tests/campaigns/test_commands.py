"""The commands `campaign ...`: a whole campaign from the command line, and one line with exit 2 on bad input."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from crm_models.cli.commands import main
from tests.refusals import refused


def ran(capsys, *arguments) -> str:
    assert main(["campaign", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_a_whole_campaign_from_the_command_line(made, tmp_path, capsys):
    (tmp_path / "rules.csv").write_text(
        "name,kind,actions,column,op,value\nno discount for premium,suppress,Provide a discount,tier,is,premium\n"
    )
    (tmp_path / "offers.csv").write_text(
        "action,cost,success_rate\nProvide a discount,5,0.2\nSend a loyalty offer,2,0.1\n"
    )
    out = tmp_path / "spring"
    options = ["--rules", tmp_path / "rules.csv", "--offers", tmp_path / "offers.csv", "--threshold", "0.2"]
    said = ran(capsys, "new", made / "run", "--out", out, "--holdout", "0.3", "--quiet", *options)
    assert "400 customers, 400 at risk, 400 targeted" in said
    assert "no discount for premium: Do not propose Provide a discount where tier is premium." in ran(
        capsys, "check", out
    )
    assert "Provide a discount" in ran(capsys, "check", out, "--customer", "C000001")
    assert "of 200 spent" in ran(capsys, "allocate", out, "--budget", "200")
    assert "approve by ann" in ran(capsys, "approve", out, "--who", "ann")
    assert "400 rows in 1 file (400 insert)" in ran(
        capsys, "export", out, "--preset", "salesforce", "--out", tmp_path / "sf.csv", "--approved-only"
    )
    assert "400 rows confirmed as loaded, 0 failed" in ran(capsys, "export", out, "--preset", "salesforce", "--confirm")
    assert "in truth: " in ran(capsys, "simulate", out, "--seed", "3")
    table = pd.read_csv(tmp_path / "sf.csv")
    assert (table["Plan_Action__c"].notna() <= ~table["Holdout__c"]).all()
    outcomes = pd.DataFrame({"customer_id": table["External_Id__c"], "outcome": 1 - table["Holdout__c"].astype(int)})
    outcomes.to_csv(tmp_path / "outcomes.csv", index=False)
    assert "the campaign helped" in ran(capsys, "read", out, "--outcomes", tmp_path / "outcomes.csv")
    reading = json.loads((out / "reading.json").read_text())
    wanted = {"assigned", "observed", "difference", "relative_lift", "adjusted", "sample_ratio_ok"}
    assert wanted <= set(reading)
    assert {"value", "low", "high"} == set(reading["difference"])
    report = ran(capsys, "report", out, "--out", tmp_path / "report.html")
    assert "report.html" in report
    text = (tmp_path / "report.html").read_text()
    assert "no discount for premium" in text
    assert "<script src=" not in text


def test_a_log_with_names_of_its_own_is_read_in_lines_and_json(tmp_path, capsys):
    rng = np.random.default_rng(0)
    log = pd.DataFrame({"segment": rng.choice(["No E-Mail", "Mail"], 600), "age": rng.integers(18, 70, 600)})
    log["visit"] = (rng.random(600) < 0.2 + 0.3 * (log["segment"] == "Mail")).astype(int)
    log["spend"] = log["visit"] * 10.0
    log.to_csv(tmp_path / "log.csv", index=False)
    options = ["--column", "arm=segment", "--column", "outcome=visit", "--drop", "spend"]
    said = ran(capsys, "uplift", tmp_path / "log.csv", *options, "--out", tmp_path / "uplift.json")
    assert said.startswith("Mail: +0.")
    assert "Mail for all: 0." in said
    (found,) = json.loads((tmp_path / "uplift.json").read_text())["uplift"]
    assert found["average"]["low"] < 0.3 < found["average"]["high"]
    assert "expected the column spent" in refused(
        capsys, "campaign", "uplift", tmp_path / "log.csv", *options[:-1], "spent"
    )
    assert "--column expects NAME=COLUMN" in refused(
        capsys, "campaign", "uplift", tmp_path / "log.csv", "--column", "x"
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check", "{}/nothing"], "expected a campaign folder, found none"),
        (["new", "{}/run", "--out", "{}/campaign"], "a campaign of this name exists"),
        (["new", "{}/run", "--out", "{}/cohort"], "the folder holds a cohort, which is not replaced by a campaign"),
        (
            ["new", "{}/run", "--out", "{}/new", "--holdout", "0.7", "--explore", "0.3"],
            "must leave somebody to contact",
        ),
        (["new", "{}/run", "--out", "{}/new", "--holdout", "1.5"], "expected a number from 0 to 1"),
        (["new", "{}/run", "--out", "{}/new", "--rules", "{}/none.csv"], "expected a CSV file, found none"),
        (["new", "{}/nothing", "--out", "{}/new"], "nothing"),
        (["allocate", "{}/campaign", "--budget", "-1"], "the budget must be a number from 0 up"),
        (["allocate", "{}/campaign", "--value", "worth"], "expected a number or a column of"),
        (["approve", "{}/campaign", "--exclude", "C000001"], "exclude: expected a reason"),
        (["approve", "{}/campaign", "--exclude", "nobody", "--why", "x"], "found none with id 'nobody'"),
        (["approve", "{}/campaign", "--undo", "abc"], "expected the sha256 of a swap or an exclusion"),
        (["export", "{}/campaign"], "export needs --out FILE, or --confirm"),
        (["export", "{}/campaign", "--out", "{}/x.csv", "--approved-only"], "is not approved as it is now"),
        (["export", "{}/campaign", "--preset", "braze", "--confirm"], "expected an export for braze to confirm"),
        (
            ["export", "{}/campaign", "--preset", "braze", "--identifier", "Email", "--out", "{}/x.csv"],
            "Braze identifies customers by external_id, braze_id, user_alias_name",
        ),
        (
            ["export", "{}/campaign", "--preset", "hubspot", "--id-column", "mail", "--out", "{}/x.csv"],
            "with the identifiers, found 'mail'",
        ),
        (["read", "{}/campaign", "--outcomes", "{}/none.csv"], "expected a table of outcomes, found no file"),
        (["report", "{}/campaign", "--out", "{}/cohort"], "expected a file to write to"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, expected, made, tmp_path, capsys):
    for name in ("run", "cohort", "campaign"):
        shutil.copytree(made / name, tmp_path / name)
    before = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*"))
    assert expected in refused(capsys, "campaign", *(str(a).format(tmp_path) for a in arguments))
    after = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*"))
    assert set(after) - set(before) <= {".campaign.lock"}


def test_damaged_decisions_are_named(campaign, capsys):
    (campaign.folder / "decisions.parquet").write_bytes(b"x")
    assert "decisions.parquet: expected a Parquet table" in refused(capsys, "campaign", "check", campaign.folder)
