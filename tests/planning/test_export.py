"""The CSV says what the plans say, opens safely in a spreadsheet, and appears whole or not at all."""

import csv
import hashlib
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_models.core.records import CustomerScores, DecodedPlans
from crm_models.planning.export import ExportSettings, manifest_path, neutralised, write_plans
from crm_models.planning.plans import Catalogue, make_plans
from crm_models.planning.policy import Policy

SETTINGS = ExportSettings(run_id="run", scored_at="2026-11-24T00:00:00+00:00")
LONG = ExportSettings(run_id="run", scored_at="2026-11-24T00:00:00+00:00", layout="long")


def plans_of(ids, churn_p, labels=("call", "mail", "visit"), names=None, threshold=0.5):
    n = len(ids)
    policy = Policy(threshold=threshold)
    words = (*labels, *policy.retention_actions)
    catalogue = Catalogue(
        names=words if names is None else (*names, *policy.retention_actions),
        labels=words,
        n_actions=len(labels),
        fallback=(0, 1, 2),
        fallback_p=(0.5, 0.3, 0.2),
    )
    decoded = DecodedPlans(
        actions=np.tile([1, 2, 3], (n, 1)),
        step_p=np.tile([0.5, 0.25, 1 / 3], (n, 1)),
        plan_p=np.full(n, 1 / 24),
        runner_up=np.tile([2, 3, 1], (n, 1)),
        runner_up_p=np.tile([0.2, 0.2, 0.2], (n, 1)),
    )
    scores = CustomerScores(
        customer_id=np.array(ids, dtype=object),
        churn_p=np.array(churn_p, float),
        n_events=np.full(n, 4),
        plans=decoded,
    )
    return make_plans(scores, catalogue, policy)


def csv_of(plans, settings) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "plans.csv"
        write_plans([plans], out, settings, {})
        return out.read_bytes()


def rows(raw: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(raw.decode("utf-8"), newline="")))


def test_the_wide_form_has_the_contracts_columns_and_values():
    found = rows(csv_of(plans_of(["a", "b"], [0.25, 0.75]), SETTINGS))
    assert list(found[0]) == [
        "customer_id",
        "churn_probability",
        "at_risk",
        "plan_source",
        *(f"step_{k}_{what}" for k in (1, 2, 3) for what in ("action", "source", "probability")),
        "run_id",
        "threshold",
        "scored_at",
    ]
    first, second = found
    assert [first[c] for c in ("customer_id", "churn_probability", "at_risk", "plan_source")] == [
        "a",
        "0.25",
        "false",
        "model",
    ]
    assert [first[f"step_{k}_action"] for k in (1, 2, 3)] == ["call", "mail", "visit"]
    assert first["step_3_probability"] == "0.333333"
    assert (second["at_risk"], second["plan_source"], second["step_1_source"]) == ("true", "override", "retention")
    assert second["step_1_probability"] == ""


def test_the_long_form_has_one_row_per_step_and_agrees_with_the_wide_one():
    plans = plans_of(["a", "b"], [0.25, 0.75])
    wide, long = rows(csv_of(plans, SETTINGS)), rows(csv_of(plans, LONG))
    assert list(long[0])[:6] == ["customer_id", "step", "action", "source", "probability", "reason"]
    assert [(r["customer_id"], r["step"]) for r in long] == [(c, str(k)) for c in "ab" for k in (1, 2, 3)]
    for k, row in enumerate(long):
        of = wide[k // 3]
        assert row["action"] == of[f"step_{row['step']}_action"]
        assert row["probability"] == of[f"step_{row['step']}_probability"]
    assert long[3]["reason"] == "churn probability 0.75 exceeds 0.50"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@cmd", "\t=1", "\r=1", "\n=1", "  =1", "\uff1d1"])
def test_text_that_a_spreadsheet_would_run_is_neutralised(text):
    assert neutralised(text) == "'" + text


@pytest.mark.parametrize("text", ["Ann", "a=b", "1-2", "", "O'Neil", "50% off"])
def test_other_text_is_left_alone(text):
    assert neutralised(text) == text


def test_formulas_are_neutralised_in_every_text_cell_and_numbers_never():
    plans = plans_of(['=HYPERLINK("http://x")'], [0.75], labels=("-10 %", "+call", "@mail"), threshold=0.8)
    (row,) = rows(csv_of(plans, SETTINGS))
    assert row["customer_id"] == '\'=HYPERLINK("http://x")'
    assert [row[f"step_{k}_action"] for k in (1, 2, 3)] == ["'-10 %", "'+call", "'@mail"]
    assert float(row["churn_probability"]) == 0.75
    exact = ExportSettings(run_id="run", scored_at="", api_exact=True)
    assert rows(csv_of(plans, exact))[0]["step_1_action"] == "-10 %"


def test_ids_of_actions_come_last_where_they_differ_from_their_labels():
    (row,) = rows(csv_of(plans_of(["a"], [0.1], names=("1", "2", "3")), SETTINGS))
    assert list(row)[-3:] == ["step_1_action_id", "step_2_action_id", "step_3_action_id"]
    assert (row["step_1_action"], row["step_1_action_id"]) == ("call", "1")


def test_formulas_in_ids_of_actions_and_in_reasons_are_neutralised_too():
    plans = plans_of(["a"], [0.1], labels=("=call()", "mail", "visit"), names=("+1", "@2", "-3"))
    (row,) = rows(csv_of(plans, SETTINGS))
    assert [row[f"step_{k}_action_id"] for k in (1, 2, 3)] == ["'+1", "'@2", "'-3"]
    steps = rows(csv_of(plans, LONG))
    assert [step["action_id"] for step in steps] == ["'+1", "'@2", "'-3"]
    assert [step["action"] for step in steps] == ["'=call()", "mail", "visit"]
    exact = ExportSettings(run_id="=run()", scored_at="", layout="long", api_exact=True)
    assert [step["action_id"] for step in rows(csv_of(plans, exact))] == ["+1", "@2", "-3"]
    named = ExportSettings(run_id="=run()", scored_at="")
    assert rows(csv_of(plans, named))[0]["run_id"] == "'=run()"


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, unique=True),
    st.floats(0, 1),
)
def test_any_customer_id_survives_the_csv_and_at_risk_is_what_the_text_says(ids, threshold):
    churn_p = np.random.default_rng(0).random(len(ids))
    found = rows(csv_of(plans_of(ids, churn_p, threshold=threshold), SETTINGS))
    assert [r["customer_id"] for r in found] == [neutralised(i) for i in ids]
    for row in found:
        above = float(row["churn_probability"]) > float(row["threshold"])
        assert row["at_risk"] == ("true" if above else "false")


def test_lines_end_as_rfc_4180_asks_and_awkward_cells_are_quoted():
    raw = csv_of(plans_of(['say "hi", all', "two\nlines"], [0.1, 0.1]), SETTINGS)
    assert raw.count(b"\r\n") == 3
    assert b'"say ""hi"", all"' in raw
    assert b'"two\nlines"' in raw


def test_stretches_make_the_same_file_as_one_piece(tmp_path):
    ids = [f"c{k}" for k in range(10)]
    plans = plans_of(ids, np.linspace(0, 1, 10))
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    write_plans([plans], whole, SETTINGS, {})
    write_plans((plans.take(np.array(r)) for r in ([0, 1, 2], [3], [4, 5, 6, 7, 8, 9])), parts, SETTINGS, {})
    assert whole.read_bytes() == parts.read_bytes()


def test_the_manifest_stands_beside_and_counts(tmp_path):
    out = tmp_path / "spring.plans.csv"
    manifest = write_plans([plans_of(["a", "b"], [0.1, 0.9])], out, SETTINGS, {"cohort_hash": "x"})
    assert manifest_path(out).name == "spring.plans.manifest.json"
    assert json.loads(manifest_path(out).read_text()) == manifest
    assert manifest["counts"] == {
        "customers": 2,
        "at_risk": 1,
        "empty": 0,
        "by_source": {"model": 1, "override": 1, "graded": 0, "fallback": 0},
    }
    assert manifest["cohort_hash"] == "x"
    assert {"python", "torch", "numpy", "pandas"} <= set(manifest["versions"])


def test_an_error_half_way_leaves_the_old_plans_and_no_rubbish(tmp_path):
    out = tmp_path / "plans.csv"
    write_plans([plans_of(["a"], [0.1])], out, SETTINGS, {})
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def broken():
        yield plans_of(["b"], [0.9])
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_plans(broken(), out, SETTINGS, {})
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_pandas_reads_the_numbers_back():
    churn_p = np.round(np.random.default_rng(1).random(50), 6)
    table = pd.read_csv(io.BytesIO(csv_of(plans_of([f"c{k}" for k in range(50)], churn_p), SETTINGS)))
    np.testing.assert_array_equal(table["churn_probability"], churn_p)
    assert (table["at_risk"] == (table["churn_probability"] > 0.5)).all()


def test_the_long_form_has_the_contracts_columns():
    table = rows(csv_of(plans_of(["a"], [0.75], names=("1", "2", "3")), LONG))
    assert list(table[0]) == [
        *("customer_id", "step", "action", "source", "probability", "reason"),
        *("churn_probability", "at_risk", "plan_source", "run_id", "threshold", "scored_at", "action_id"),
    ]
    assert [table[0][c] for c in ("churn_probability", "at_risk", "plan_source")] == ["0.75", "true", "override"]


def test_the_manifest_says_what_the_file_is_and_sums_over_stretches(tmp_path):
    out = tmp_path / "x.csv"
    settings = ExportSettings(run_id="r", scored_at="now", layout="long", api_exact=True, download_name="mine.csv")
    stretches = [plans_of(["a", "b"], [0.1, 0.9]), plans_of(["c"], [0.8]), plans_of([], [])]
    manifest = write_plans(stretches, out, settings, {"about": 1})
    assert manifest["counts"] == {
        "customers": 3,
        "at_risk": 2,
        "empty": 0,
        "by_source": {"model": 1, "override": 2, "graded": 0, "fallback": 0},
    }
    facts = {k: v for k, v in manifest.items() if k not in ("seconds", "versions", "counts", "computed")}
    assert facts == {
        "about": 1,
        "file": "mine.csv",
        "layout": "long",
        "text": "exact",
        "run_id": "r",
        "scored_at": "now",
        "csv_sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
    }
    assert 0 <= manifest["seconds"] < 60
    assert {k: v for k, v in manifest["computed"].items() if k != "peak_mib"} == {
        "engine": "local",
        "workers": 1,
        "parts": 1,
    }
    safe = write_plans([plans_of(["a"], [0.1])], out, SETTINGS, {})
    assert (safe["file"], safe["layout"], safe["text"]) == ("x.csv", "wide", "spreadsheet-safe")


def test_text_is_utf_8_and_line_ends_stay_as_they_are_written():
    raw = csv_of(plans_of(["Zoë", "李"], [0.1, 0.1]), SETTINGS)
    assert [row["customer_id"] for row in rows(raw)] == ["Zoë", "李"]
    assert b"\r\r\n" not in raw
    assert raw.endswith(b"\r\n")


def test_a_step_without_an_action_is_a_blank_cell():
    plans = plans_of(["a"], [0.1], names=("1", "2", "3"))
    plans = replace(plans, action=np.array([[0, -1, -1]]), step_p=np.array([[0.5, np.nan, np.nan]]))
    (row,) = rows(csv_of(plans, SETTINGS))
    assert [row[f"step_{k}_{what}"] for k in (2, 3) for what in ("action", "action_id", "probability")] == [""] * 6


def test_leading_blanks_do_not_hide_a_formula_and_other_leading_space_is_one():
    assert neutralised("  =1") == "'  =1"
    assert neutralised("\t=1") == "'\t=1"
    assert neutralised("X=1") == "X=1"


def test_a_tab_in_front_is_neutralised_whatever_follows_it():
    assert neutralised("\tabc") == "'\tabc"
    assert neutralised(" \nabc") == "' \nabc"
