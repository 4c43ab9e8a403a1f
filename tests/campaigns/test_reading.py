"""Reading and simulating campaigns: intention to treat, what hides a lift, and the truth beside the estimate."""

import numpy as np
import pandas as pd
import pytest

from crm_models import workflow
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.ledger import Entry, append
from crm_models.campaigns.making import new
from crm_models.campaigns.reading import Looks, Observed, keep, read, read_outcomes, segments, summary
from crm_models.campaigns.simulation import World, simulate
from crm_models.campaigns.split import Split
from crm_models.core.errors import DataError
from crm_models.data.storage import load_cohort
from crm_models.data.truth import churn_p, churn_p_by_action, load_truth
from crm_models.planning.policy import Policy


def outcomes_of(campaign, plan: float, holdout: float) -> pd.DataFrame:
    """The first so many of each group stayed."""
    table = campaign.decisions()
    rank = table.groupby("arm").cumcount() / table.groupby("arm")["arm"].transform("size")
    share = table["arm"].map({"plan": plan, "holdout": holdout}).fillna(0.5)
    return pd.DataFrame({"customer_id": table["customer_id"], "outcome": (rank < share).astype(float)})


def test_everybody_assigned_counts_and_the_difference_is_that_of_the_groups(campaign):
    result = keep(campaign, outcomes_of(campaign, 0.8, 0.6))
    arms = campaign.decisions()["arm"].value_counts()
    assert result["assigned"] == result["observed"] == {"plan": arms["plan"], "holdout": arms["holdout"]}
    assert result["difference"]["value"] == pytest.approx(0.2, abs=0.02)
    assert 0 < result["difference"]["low"] < result["difference"]["value"] < result["difference"]["high"]
    assert result["relative_lift"]["value"] == pytest.approx(1 / 3, abs=0.04)
    assert result["sample_ratio_ok"]
    assert summary(result).startswith("Retained: +")
    assert summary(result).endswith("the campaign helped")
    assert campaign.reading() == result


def test_customers_who_are_missing_are_counted_by_group_and_never_taken_for_lost(campaign):
    outcomes = outcomes_of(campaign, 0.8, 0.6)
    table = campaign.decisions()
    lost = table["customer_id"][table["arm"] == "holdout"].iloc[:8]
    outcomes = outcomes[~outcomes["customer_id"].isin(lost)]
    outcomes = pd.concat([outcomes, pd.DataFrame({"customer_id": ["stranger"], "outcome": [1.0]})])
    result = read(campaign, outcomes)
    assert result["observed"]["holdout"] == result["assigned"]["holdout"] - 8
    notes = " ".join(result["notes"])
    assert f"8 of {result['assigned']['holdout']:,} in the control group" in notes
    assert "lost different shares" in notes
    assert "Outcomes of 1 customers who are not in the campaign were not used." in notes


def test_a_wrong_sample_ratio_hides_the_lift_and_says_why(campaign):
    table = campaign.decisions()
    outcomes = outcomes_of(campaign, 0.9, 0.5)
    gone = table["customer_id"][table["arm"] == "plan"].iloc[: int((table["arm"] == "plan").sum() * 0.6)]
    result = read(campaign, outcomes[~outcomes["customer_id"].isin(gone)])
    assert not result["sample_ratio_ok"]
    assert result["difference"] is result["relative_lift"] is result["adjusted"] is None
    assert result["segments"] == []
    assert "No lift is shown" in summary(result)


def test_values_are_compared_where_they_are_known(campaign):
    outcomes = outcomes_of(campaign, 0.8, 0.6)
    assert read(campaign, outcomes)["value"] is None
    worth = campaign.decisions()["arm"].map({"plan": 12.0, "holdout": 9.0}).fillna(0)
    noise = np.random.default_rng(0).normal(size=len(worth))
    found = read(campaign, outcomes.assign(value=worth + noise))["value"]
    assert found["low"] < 3 < found["high"]
    assert found["high"] - found["low"] < 1


def test_an_early_look_and_a_second_one_are_said_where_one_at_the_end_was_agreed(campaign):
    outcomes = outcomes_of(campaign, 0.8, 0.6)
    assert keep(campaign, outcomes.assign(observed_at="2026-04-01"))["notes"] == []
    early = keep(campaign, outcomes.assign(observed_at="2026-02-10T12:00:00Z"))
    assert early["looks"] == 2
    assert "This is look number 2" in early["notes"][0]
    assert "up to 2026-02-10, but one look after 90 days was agreed, on 2026-04-01" in early["notes"][1]


def test_without_outcomes_nothing_is_compared(campaign):
    result = read(campaign, pd.DataFrame({"customer_id": ["x"], "outcome": [1.0]}))
    assert result["difference"] is None
    assert "Nothing can be compared" in summary(result)


def test_sleeping_dogs_only_where_they_are_proven():
    def customers(action, n, plan, holdout):
        rank = np.tile(np.arange(n) / n, 2)
        arm = np.repeat(["plan", "holdout"], n)
        stayed = rank < np.where(arm == "plan", plan, holdout)
        return pd.DataFrame(
            {"arm": arm, "planned_action": action, "risk_band": "high", "outcome": stayed.astype(float)}
        )

    table = pd.concat(
        [customers("harmful", 300, 0.4, 0.6), customers("useful", 300, 0.7, 0.5), customers("unclear", 60, 0.45, 0.55)]
    ).reset_index(drop=True)
    observed = Observed(table=table, unknown_customers=0)
    found = {s["segment"]: s for s in segments(observed, Looks("at_end", len(table)))}
    assert found.pop("high")["verdict"] == "not proven"
    verdicts = {name: segment["verdict"] for name, segment in found.items()}
    assert verdicts == {"harmful": "sleeping dogs", "useful": "persuaded", "unclear": "not proven"}
    assert found["harmful"]["high"] < 0
    often = {s["segment"]: s for s in segments(observed, Looks("any_time", len(table)))}
    for name, at_end in found.items():
        assert often[name]["p_adjusted"] > at_end["p_adjusted"]
        assert often[name]["low"] < at_end["low"] < at_end["high"] < often[name]["high"]


def test_every_interval_allows_for_many_looks_where_they_were_agreed(campaign):
    from dataclasses import replace

    about = campaign.about | {"split": replace(campaign.split, reading="any_time").to_dict()}
    outcomes = outcomes_of(campaign, 0.8, 0.6)
    worth = np.random.default_rng(0).normal(10, 3, len(outcomes))
    once = read(campaign, outcomes.assign(value=worth))
    often = read(Campaign(campaign.folder, about), outcomes.assign(value=worth))
    for name in ("difference", "relative_lift", "adjusted", "value"):
        widths = [reading[name]["high"] - reading[name]["low"] for reading in (once, often)]
        assert widths[1] / widths[0] == pytest.approx(1.55, abs=0.06), name
    assert often["segments"][0]["high"] > once["segments"][0]["high"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("customer,outcome\na,1\n", "expected the column customer_id, found customer, outcome"),
        ("customer_id,outcome\na,1\na,0\n", "row 3: expected each customer once, found 'a' again (1 rows in all)"),
        ("customer_id,outcome\na,1\nb,left\n", "row 3, column outcome: expected 0, 1 or a number, found 'left'"),
        ("customer_id,outcome\na,inf\n", "row 2, column outcome: expected 0, 1 or a number, found 'inf'"),
        ("", "outcomes.csv: expected a table, found an empty file"),
    ],
)
def test_bad_outcomes_are_refused(text, expected, tmp_path):
    (tmp_path / "outcomes.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read_outcomes(tmp_path / "outcomes.csv")
    assert expected in str(error.value)


def test_yes_no_and_blanks_are_read(tmp_path):
    (tmp_path / "outcomes.csv").write_text("customer_id,outcome,value\n007,Yes,3.5\n8,no,\n9,,\n")
    table = read_outcomes(tmp_path / "outcomes.csv")
    assert table["customer_id"].tolist() == ["007", "8", "9"]
    assert table["outcome"].fillna(-1).tolist() == [1, 0, -1]


# ---- in the generated world ------------------------------------------------------------------------------------------


def test_true_probabilities_without_an_action_are_those_of_the_generator_and_effects_grow_with_time(made):
    cohort, truth = load_cohort(made / "cohort"), load_truth(made / "cohort")
    p = churn_p_by_action(truth, cohort)
    assert p[:, 0] == pytest.approx(churn_p(truth, cohort), abs=1e-12)
    early = churn_p_by_action(truth, cohort, days=5)
    assert (early[:, 0] < p[:, 0]).all()
    loyal_dogs = (p[:, 3] > p[:, 0] + 0.02).mean()
    assert 0.02 < loyal_dogs < 0.4
    # Undo the shorter time: after five days, the effect lies between none and that of the whole window.
    at_window = 1 - (1 - early) ** (90 / 5)
    assert at_window[:, 0] == pytest.approx(p[:, 0])
    share = (at_window[:, 1] - p[:, 0]) / (p[:, 1] - p[:, 0])
    reached = 1 - np.exp(-5 / 10)
    assert np.median(share) == pytest.approx(reached, abs=0.05)


@pytest.fixture(scope="module")
def large(tmp_path_factory, made):
    """A campaign on 4,000 customers, half of whom are the control group."""
    root = tmp_path_factory.mktemp("large")
    workflow.generate(root / "cohort", scenario="lifelike", customers=4_000, seed=2)
    split = Split(salt="s", holdout=0.5)
    campaign = new(
        made / "run", root / "campaign", cohort=root / "cohort", split=split, policy=Policy(threshold=0), threads=1
    )
    return campaign, simulate(campaign, seed=1)


def test_a_simulated_campaign_is_read_beside_its_truth(large):
    campaign, result = large
    truth = result["truth"]
    world = World.of(campaign)
    assert truth["difference"] == pytest.approx(float((world.stay[:, 1] - world.stay[:, 0]).mean()), abs=1e-12)
    assert result["difference"]["low"] - 0.01 < truth["difference"] < result["difference"]["high"] + 0.01
    assert sum(truth["kinds"].values()) == pytest.approx(1)
    assert truth["kinds"]["persuadable"] > 0.1


def test_of_two_hundred_campaigns_about_95_percent_hold_the_truth(large):
    found = large[1]["truth"]["coverage"]
    assert found["campaigns"] == 200
    # Two standard errors of a share of 0.95 in 200 are 0.031.
    assert found["covered"] == pytest.approx(0.95, abs=0.031)


def test_no_targeting_earns_more_than_the_best_and_stayers_are_no_proof(large):
    truth = large[1]["truth"]
    earned = {name: facts["earned"] for name, facts in truth["earnings"].items()}
    assert max(earned["campaign"], earned["risk_only"]) <= earned["best"] <= earned["best_unlimited"]
    assert truth["belief"]["believed_kept_if_all_who_stayed"] > 10 * truth["belief"]["true_kept"]


def test_the_same_seed_gives_the_same_outcomes_and_another_one_others(large):
    campaign, result = large
    again, other = simulate(campaign, seed=1), simulate(campaign, seed=2)
    assert again["difference"] == result["difference"] != other["difference"]


def test_real_customers_have_no_known_truth(campaign, tmp_path):
    workflow.generate(tmp_path / "paper", scenario="paper")
    elsewhere = Campaign(campaign.folder, campaign.about | {"cohort_folder": str(tmp_path / "paper")})
    with pytest.raises(DataError, match="effects of retention actions, found a truth without them"):
        simulate(elsewhere)
    (tmp_path / "paper" / "truth.json").unlink()
    with pytest.raises(DataError, match="found no truth"):
        simulate(elsewhere)


def test_a_changed_digit_of_the_kept_reading_is_named(campaign):
    keep(campaign, outcomes_of(campaign, 0.8, 0.6))
    file = campaign.folder / "reading.json"
    text = file.read_text()
    digit = text.index('"value": 0.') + len('"value": 0.')
    file.write_text(text[:digit] + str(9 - int(text[digit])) + text[digit + 1 :])
    with pytest.raises(DataError, match=r"reading.json: expected .* as it was written, found it changed or damaged"):
        campaign.reading()


def test_outcomes_of_nobody_in_the_campaign_are_refused_and_are_no_look(campaign):
    strangers = pd.DataFrame({"customer_id": [f"s{k}" for k in range(100)], "outcome": 1.0})
    with pytest.raises(DataError, match=r"found 0 and 0\. Nothing was kept, and this was no look"):
        keep(campaign, strangers)
    assert campaign.reading() is None
    assert keep(campaign, outcomes_of(campaign, 0.8, 0.6))["looks"] == 1


def test_outcomes_without_dates_soon_after_the_hand_over_are_an_early_look(campaign):
    append(campaign, Entry(who="ann", action="export", to="csv: plans.csv"))
    (note,) = (n for n in keep(campaign, outcomes_of(campaign, 0.8, 0.6))["notes"] if "early look" in n)
    assert "one look after 90 days was agreed" in note
    dated = outcomes_of(campaign, 0.8, 0.6).assign(observed_at="2026-04-01")
    assert not any("early look" in n for n in keep(campaign, dated)["notes"])


def test_outcomes_may_be_separated_as_a_spreadsheet_in_german_writes_them(tmp_path):
    (tmp_path / "outcomes.csv").write_text("customer_id;outcome\nJörg Müller;1\nb;\n", encoding="cp1252")
    found = read_outcomes(tmp_path / "outcomes.csv")
    assert found["customer_id"].tolist() == ["Jörg Müller", "b"]
    assert found["outcome"].fillna(-1).tolist() == [1.0, -1.0]
