"""Amazon reviews of every release: JSON lines, an array, and the "ratings only" CSV with and without a header."""

import gzip
import json

import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources import import_cohort

R2014 = {"reviewerID": "A2IBPI20UZIR0U", "asin": "1384719342", "overall": 5.0, "unixReviewTime": 1393545600}
R2018 = R2014 | {"vote": "1,067", "style": {"Color:": "red"}, "reviewTime": "02 28, 2014", "image": ["a", "b"]}
R2023 = {
    "rating": 5.0,
    "asin": "B1",
    "parent_asin": "1384719342",
    "user_id": "A2IBPI20UZIR0U",
    "timestamp": 1393545600000,
}

WRITTEN = {
    "2014.json": json.dumps(R2014) + "\n",
    "2018.json": json.dumps(R2018) + "\n\n",
    "2023.jsonl": json.dumps(R2023) + "\n",
    "array.json": json.dumps([R2014]),
    "no_unix_time.json": json.dumps({k: v for k, v in R2018.items() if k != "unixReviewTime"}),
    "ratings_only_2014.csv": "A2IBPI20UZIR0U,1384719342,5.0,1393545600\n",
    "ratings_only_2018.csv": "1384719342,A2IBPI20UZIR0U,5.0,1393545600\n",
    "ratings_only_2023.csv": "user_id,parent_asin,rating,timestamp\nA2IBPI20UZIR0U,1384719342,5.0,1393545600000\n",
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", WRITTEN)
def test_one_review_is_read_alike_from_every_release(tmp_path, name, packed):
    raw = WRITTEN[name].encode()
    file = tmp_path / (f"{name}.gz" if packed else name)
    file.write_bytes(gzip.compress(raw) if packed else raw)
    cohort = import_cohort("amazon", [file])
    assert cohort.interactions.values.tolist() == [["A2IBPI20UZIR0U", "1384719342", pd.Timestamp("2014-02-28"), 5.0]]
    assert cohort.actions[["action", "label"]].values.tolist() == [["1384719342", "product 1384719342"]]
    assert not cohort.actions["repeatable"].any()
    assert "Reviews are dated to whole days only: those of one day keep the order of the file." in cohort.notes


def test_reviews_of_one_day_keep_the_order_of_the_file(tmp_path):
    (tmp_path / "r.json").write_text("\n".join(json.dumps(R2014 | {"asin": asin}) for asin in ("Z", "M", "B")))
    assert list(import_cohort("amazon", [tmp_path]).interactions["action"]) == ["Z", "M", "B"]


def test_several_files_are_one_cohort_and_files_about_products_are_passed_over(tmp_path):
    (tmp_path / "Books.json").write_text(WRITTEN["2014.json"])
    (tmp_path / "Music.jsonl").write_text(WRITTEN["2023.jsonl"])
    (tmp_path / "meta_Books.json").write_text('{"asin": "1", "title": "x"}\n')
    cohort = import_cohort("amazon", [tmp_path])
    assert len(cohort.interactions) == 2
    assert "Files about products (meta...), not read: 1." in cohort.notes


def test_times_within_the_day_are_not_called_whole_days(tmp_path):
    (tmp_path / "r.jsonl").write_text(json.dumps(R2023 | {"timestamp": 1393545601500}))
    cohort = import_cohort("amazon", [tmp_path])
    assert cohort.interactions["timestamp"].tolist() == [pd.Timestamp("2014-02-28 00:00:01.5")]
    assert not any("whole days" in note for note in cohort.notes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "found none"),
        ("\n\n", "found none"),
        ("null\n", "line 1: expected a JSON object, found None"),
        ("[1, 2]", "number 1: expected a JSON object, found 1"),
        (WRITTEN["2014.json"] + '{"reviewerID": "A', "line 2: expected a JSON object, found none"),
        (WRITTEN["2014.json"] + "[]", "line 2: expected a JSON object, found []"),
        ("[" * 100_000, "line 1: expected a JSON object"),
        ('{"a": ' + "9" * 5_000 + "}", "line 1: expected a JSON object"),
        ('{"asin": "1", "overall": 5, "unixReviewTime": 1}', "expected one of the fields reviewerID, user_id"),
        (json.dumps(R2014 | {"overall": "good"}), "row 1, column 'overall': expected a number, found 'good'"),
        (json.dumps(R2014) + "\n" + json.dumps(R2014 | {"asin": None}), "row 2, column 'asin'"),
        (json.dumps(R2014 | {"unixReviewTime": "soon"}), "row 1, column 'unixReviewTime': expected a date"),
    ],
)
def test_what_is_no_review_is_refused_by_line(tmp_path, text, said):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError) as refusal:
        import_cohort("amazon", [tmp_path / "r.json"])
    assert str(refusal.value).startswith("r.json")
    assert said in str(refusal.value)


def test_a_folder_without_reviews_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(DataError, match="expected review files"):
        import_cohort("amazon", [tmp_path])
    with pytest.raises(DataError, match=r"x.json: expected a file"):
        import_cohort("amazon", [tmp_path / "x.json"])


@pytest.mark.data
def test_musical_instruments_has_its_published_counts(shared_data):
    cohort = import_cohort("amazon", [shared_data / "amazon-musical-instruments"])
    events = cohort.interactions
    assert (len(events), cohort.n_customers, len(cohort.actions)) == (10_261, 1_429, 900)
    assert (events["timestamp"].min(), events["timestamp"].max()) == (
        pd.Timestamp("2004-09-18"),
        pd.Timestamp("2014-07-22"),
    )
    assert events["value"].value_counts().sort_index().to_dict() == {1: 217, 2: 250, 3: 772, 4: 2_084, 5: 6_938}
