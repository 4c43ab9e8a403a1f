"""The receipt: every row is accounted for, doubts stop and are settled, a recipe reads the next export the same way."""

import csv
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_models import workflow
from crm_models.cli.commands import main
from crm_models.core.errors import ConfigError, CrmError, DataError
from crm_models.data.sources import import_cohort
from crm_models.data.sources.receipt import DoubtError
from crm_models.data.sources.tables import import_tables

PEOPLE = "customer_id;churned;since\n" + "".join(
    f"c{k};{['ja', 'nein'][k % 2]};0{1 + k % 9}/0{1 + k % 8}/2024\n" for k in range(40)
)
ODD = st.sampled_from(
    [
        *("", "NA", "NULL", "\\N", "1.234", "1,5", "(5.00)", "12%", "Total", "31/01/2026", "9999-12-31", "2062-01-01"),
        *("0", "999", "Select", "inf", "a\nb", 'a"b', "\u200b", "Zo\u00eb", "1E+15", "0012", "2026-01-31T10:00:00Z"),
        "customer_id",
    ]
)


@st.composite
def damaged_table(draw) -> bytes:
    """A small table of events or customers with odd cells, doubled, cut and blank lines."""
    events = draw(st.booleans())
    names = ["customer_id", "action", "timestamp"] if events else ["customer_id", "churned", "age", "city"]
    n = draw(st.integers(1, 12))
    usual = [
        [f"c{k % 4}", "call", f"2026-01-{1 + k:02d}"] if events else [f"c{k}", "yes", str(20 + k), "Ulm"]
        for k in range(n)
    ]
    for _ in range(draw(st.integers(0, 3))):
        usual[draw(st.integers(0, n - 1))][draw(st.integers(0, len(names) - 1))] = draw(ODD)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([names, *usual])
    lines = out.getvalue().split("\n")
    for _ in range(draw(st.integers(0, 2))):
        k = draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(["double", "blank", "cut", "longer", "commas", "footer"]))
        if change == "cut":
            lines[k] = lines[k][: len(lines[k]) // 2]
        elif change == "longer":
            lines[k] += ",x"
        else:
            line = {"double": lines[k], "blank": "", "commas": "," * (len(names) - 1), "footer": "Exported on Monday"}
            lines.insert(len(lines) if change == "footer" else k, line[change])
    return "\n".join(lines).encode()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=damaged_table(), skip=st.booleans())
def test_every_row_that_is_read_is_kept_rejected_or_explained(tmp_path, raw, skip):
    (tmp_path / "table.csv").write_bytes(raw)
    try:
        cohort = import_tables([tmp_path / "table.csv"], accept_doubts=True, skip_bad_rows=skip)
    except CrmError:
        return  # refused in words; any other exception fails the test
    rows = cohort.documents["receipt.json"]["rows"]
    assert rows["read"] == rows["kept"] + rows["rejected"] + rows["explained"]
    assert rows["kept"] == max(len(cohort.interactions), 0) or not cohort.has_events
    assert rows["rejected"] == 0 or skip or any("later than tomorrow" in note for note in cohort.notes)
    json.dumps(cohort.documents["receipt.json"], allow_nan=False)


@pytest.fixture
def people(tmp_path):
    """The file of customers, whose dates have two readings."""
    file = tmp_path / "kunden.csv"
    file.write_text(PEOPLE, encoding="utf-8")
    return file


def test_the_command_stops_at_a_doubt_and_says_how_to_settle_it(people, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["import", "tables", str(people), "--out", str(out)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("doubt: kunden.csv: the dates in 'since' could be day-first or month-first")
    assert "--answer customers.since.order=month_first" in said[0]
    assert said[1].startswith("error: 1 doubt would change the results; settle it with --answer")
    assert not out.exists()
    assert (
        main(["import", "tables", str(people), "--answer", "customers.since.order=month_first", "--out", str(out)]) == 0
    )
    said = capsys.readouterr()
    assert "rows: 40 read = 40 kept + 0 rejected + 0 left out for a reason" in said.out
    assert said.err.count("\n") == 1
    assert said.err.endswith("as in '09/01/2024'. Read as: month-first, 09/01/2024 is 01 September 2024.\n")


def test_the_files_of_a_cohort_hold_the_receipt_and_a_recipe_for_the_next_export(people, tmp_path):
    first = workflow.import_files(
        tmp_path / "january", "tables", [people], answers={"customers.since.order": "month_first"}
    )
    receipt = json.loads((tmp_path / "january" / "receipt.json").read_text(encoding="utf-8"))
    assert receipt["files"] == [
        {"name": "kunden.csv", "kind": "customers", "rows": 40, "encoding": "utf-8", "delimiter": ";"}
    ]
    assert [doubt["settled_by"] for doubt in receipt["doubts"]] == ["answer"]
    since = next(column for column in receipt["columns"] if column["column"] == "since")
    assert (since["as"], since["type"], since["samples"][1]) == (
        "feature",
        "date",
        ["02/02/2024", "2024-02-02 00:00:00"],
    )
    next_month = tmp_path / "kunden_februar.csv"
    next_month.write_text(PEOPLE.replace("since", "since;plan").replace("/2024\n", "/2024;Pro\n"), encoding="utf-8")
    second = workflow.import_files(
        tmp_path / "february", "tables", [next_month], recipe=tmp_path / "january" / "recipe.json"
    )
    assert second.customers["since"].equals(first.customers["since"])
    assert "Changed since the recipe was made, customers: the column 'plan' is new." in second.notes


def test_answers_and_recipes_that_fit_nothing_are_refused(people, tmp_path):
    with pytest.raises(ConfigError, match=r"--answer customers\.x: no such doubt; found customers\.since\.order"):
        import_tables([people], answers={"customers.x": "a"}, accept_doubts=True)
    with pytest.raises(ConfigError, match="expected day_first or month_first, found 'year'"):
        import_tables([people], answers={"customers.since.order": "year"})
    with pytest.raises(DataError, match=r"expected a recipe\.json, found none"):
        import_tables([people], recipe=tmp_path / "none.json")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="found something else"):
        import_tables([people], recipe=tmp_path / "other.json")


def test_accepting_takes_the_proposals_and_says_so(people):
    with pytest.raises(DoubtError):
        import_tables([people])
    cohort = import_tables([people], accept_doubts=True)
    [doubt] = cohort.documents["receipt.json"]["doubts"]
    assert (doubt["chosen"], doubt["settled_by"]) == ("day_first", "accepted")
    assert any("Read as: day-first" in note for note in cohort.notes)


def test_known_formats_have_a_receipt_too(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,2,3,1000000000\n", encoding="utf-8")
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n2,A,Drama\n3,B,Drama\n", encoding="utf-8")
    cohort = import_cohort("movielens", [tmp_path])
    receipt = cohort.documents["receipt.json"]
    assert receipt["rows"] == {"read": 3, "kept": 2, "rejected": 0, "explained": 1}
    assert [file["name"] for file in receipt["files"]] == ["ratings.csv", "movies.csv"]
    assert receipt["left_out"] == [{"file": "movies.csv", "rows": 1, "first_row": 3, "why": "films without ratings"}]
