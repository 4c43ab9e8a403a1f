"""The Starbucks offers: three files to customers, events and offers; churn is a week without a transaction."""

import json

import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources import import_cohort
from crm_models.data.sources.starbucks import START

PORTFOLIO = [
    {"reward": 10, "channels": ["email", "mobile"], "difficulty": 10, "duration": 7, "offer_type": "bogo", "id": "o1"},
    {"reward": 0, "channels": ["web"], "difficulty": 0, "duration": 4, "offer_type": "informational", "id": "o2"},
    {"reward": 0, "channels": ["email"], "difficulty": 0, "duration": 4, "offer_type": "informational", "id": "o3"},
]
PROFILE = [
    {"gender": None, "age": 118, "id": "p1", "became_member_on": 20180726, "income": None},
    {"gender": "F", "age": 55, "id": "p2", "became_member_on": 20170715, "income": 112000.0},
]


def event(person: str, what: str, hour: int, **value) -> dict:
    return {"person": person, "event": what, "value": value, "time": hour}


TRANSCRIPT = [
    event("p1", "offer received", 0, **{"offer id": "o1"}),
    event("p2", "transaction", 0, amount=3.5),
    event("p1", "offer viewed", 6, **{"offer id": "o1"}),
    event("p1", "offer completed", 12, offer_id="o1", reward=10),
    event("p1", "transaction", 12, amount=19.89),
    event("p1", "transaction", 12, amount=19.89),
    event("p2", "offer received", 336, **{"offer id": "o2"}),
    event("p1", "transaction", 336, amount=1.0),
]


def write(folder, transcript=TRANSCRIPT, profile=PROFILE, portfolio=PORTFOLIO):
    """The three files, one object per line, with blank lines in the transcript as in the real one."""
    for name, rows, between in (
        ("transcript", transcript, "\n\n"),
        ("profile", profile, "\n"),
        ("portfolio", portfolio, "\n"),
    ):
        (folder / f"{name}.json").write_text(between.join(json.dumps(row) for row in rows))
    return folder


def test_events_that_speak_of_an_offer_are_one_action_per_offer(tmp_path):
    cohort = import_cohort("starbucks", [write(tmp_path)])
    offer = "bogo 10/10, 7 days"
    p1 = cohort.interactions[cohort.interactions["customer_id"] == "p1"]
    assert list(p1["action"]) == [
        f"offer received: {offer}",
        f"offer viewed: {offer}",
        f"offer completed: {offer}",
        "transaction",
        "transaction",
    ]
    assert p1["value"].fillna(-1).tolist() == [-1, -1, 10, 19.89, 1]
    assert p1["timestamp"].tolist() == [START + pd.Timedelta(hours=h) for h in (0, 6, 12, 12, 336)]


def test_duplicate_events_count_once(tmp_path):
    cohort = import_cohort("starbucks", [write(tmp_path)])
    assert len(cohort.interactions) == 7
    assert "Duplicate events, left out: 1." in cohort.notes


def test_offers_keep_their_features_and_two_alike_are_numbered(tmp_path):
    actions = import_cohort("starbucks", [write(tmp_path)]).actions.set_index("action")
    assert list(actions.index) == [
        "transaction",
        "offer received: bogo 10/10, 7 days",
        "offer received: informational 0/0, 4 days (1)",
        "offer received: informational 0/0, 4 days (2)",
        "offer viewed: bogo 10/10, 7 days",
        "offer viewed: informational 0/0, 4 days (1)",
        "offer viewed: informational 0/0, 4 days (2)",
        "offer completed: bogo 10/10, 7 days",
    ]
    assert actions["channels"].iloc[1] == "email|mobile"
    assert actions[["difficulty", "reward", "duration_days"]].iloc[1].tolist() == [10, 10, 7]
    assert actions["repeatable"].all()


def test_the_age_118_means_unknown(tmp_path):
    people = import_cohort("starbucks", [write(tmp_path)]).customers.set_index("customer_id")
    assert people["age"].isna().tolist() == [True, False]
    assert people.loc["p2", ["age", "gender", "income"]].tolist() == [55, "F", 112000]
    assert people["member_days"].tolist() == [6, 382]


def test_only_transactions_keep_a_customer_from_churning(tmp_path):
    cohort = import_cohort("starbucks", [write(tmp_path)])
    assert cohort.as_of == START + pd.Timedelta(hours=336 - 7 * 24)
    assert cohort.customers.set_index("customer_id")["churned"].to_dict() == {"p1": False, "p2": True}
    assert cohort.outcome == "observed"
    assert "no transaction in the 7 days" in cohort.notes[-1]


def test_other_days_can_be_chosen_and_labels_left_out(tmp_path):
    assert import_cohort("starbucks", [write(tmp_path)], churn_days=13.5).as_of == START + pd.Timedelta(hours=12)
    assert not import_cohort("starbucks", [tmp_path], churn_days=None).has_labels


def test_an_array_of_objects_and_a_copy_as_csv_say_the_same(tmp_path):
    lines, array, table = (tmp_path / name for name in ("lines", "array", "table"))
    for folder in (lines, array, table):
        folder.mkdir()
    for name, rows in (("transcript", TRANSCRIPT), ("profile", PROFILE), ("portfolio", PORTFOLIO)):
        (array / f"{name}.json").write_text(json.dumps(rows))
        pd.DataFrame(rows).to_csv(table / f"{name}.csv")
    expected = import_cohort("starbucks", [write(lines)])
    for folder in (array, table):
        cohort = import_cohort("starbucks", [folder])
        for part in ("customers", "interactions", "actions"):
            pd.testing.assert_frame_equal(getattr(cohort, part), getattr(expected, part))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"transcript": [*TRANSCRIPT, event("p1", "offer viewed", 5, **{"offer id": "o9"})]},
            "expected offers of the portfolio, found 'o9'",
        ),
        ({"transcript": [event("p1", "transaction", None, amount=3)]}, "expected objects with the field 'time'"),
        ({"transcript": [*TRANSCRIPT, event("p1", "transaction", None, amount=3)]}, "expected hours since the start"),
        ({"transcript": [event("p1", "transaction", 3, amount="much")]}, "column 'value.amount': expected a number"),
        ({"transcript": [*TRANSCRIPT, event(None, "transaction", 3, amount=1)]}, "row 9, column 'person'"),
        ({"profile": [{"id": "p1"}]}, "profile.json: expected objects with the field 'age'"),
        ({"profile": [PROFILE[1], PROFILE[1]]}, "duplicate customer_id 'p2'"),
        ({"profile": [PROFILE[1] | {"became_member_on": 20181399}]}, "dates such as 20180131 in `became_member_on`"),
        ({"portfolio": [PORTFOLIO[0], PORTFOLIO[0]]}, "portfolio.json: expected every offer once"),
        ({"portfolio": [PORTFOLIO[0] | {"reward": "ten"}]}, "row 1, column 'reward': expected a number"),
    ],
)
def test_what_does_not_fit_is_refused_by_file(tmp_path, changed, said):
    with pytest.raises(DataError) as refusal:
        import_cohort("starbucks", [write(tmp_path, **changed)])
    assert said in str(refusal.value)


def test_a_missing_file_is_named(tmp_path):
    (write(tmp_path) / "profile.json").unlink()
    with pytest.raises(DataError, match=r"expected profile.json \(or .json.gz\), found none"):
        import_cohort("starbucks", [tmp_path])


@pytest.mark.data
def test_the_real_offers_have_their_known_counts(shared_data):
    cohort = import_cohort("starbucks", [shared_data / "starbucks"])
    events = cohort.interactions
    kinds = events["action"].astype("str").str.split(":").str[0].value_counts()
    assert (cohort.n_customers, len(cohort.actions)) == (17_000, 1 + 10 + 10 + 8)
    assert len(events) == 306_534 - 397
    assert kinds[["offer received", "offer viewed", "transaction"]].tolist() == [76_277, 57_725, 138_953]
    assert kinds["offer completed"] == 33_579 - 397  # the doubles are completed offers, all of them
    assert int(cohort.customers["age"].isna().sum()) == 2_175
    assert (events["timestamp"].max() - events["timestamp"].min()) == pd.Timedelta(hours=714)
    assert (int((~cohort.customers["churned"].isna()).sum()), round(float(cohort.customers["churned"].mean()), 3)) == (
        16_243,
        0.136,
    )
