"""Malformed input by the thousand: whatever the bytes, an importer gives a cohort or a `CrmError`, nothing else."""

import io
import itertools
import json
import tempfile
import zipfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crm_models.core.errors import CrmError
from crm_models.data.checks import check_cohort
from crm_models.data.sources import import_cohort
from crm_models.data.sources.reading import read_table
from crm_models.data.sources.tables import cohort_from_tables, guess_columns, kind_of
from tests.data.sources.test_workbook import rows_of, workbook_parts
from tests.malformed.trial import try_one

QUICK, LONG = 60, 120
QUICK_AND_LONG = [pytest.param(QUICK, id="quick"), pytest.param(LONG, id="long", marks=pytest.mark.slow)]

PLAIN_TEXT = """
a b 007 1 0 -1 2.5 1,5 1.234,5 1,234 1e999 -inf NaN nan None ? yes No maybe TRUE 1.0 2 2026-01-31 2026-02-30
31.01.2026 1/2/2026 13/14/2026 20260131 1600000000 1600000000000 99999999999999999999 2026-01-01T00:00:00+25:00
9999-12-31 0001-01-01 é =cmd() engagement retention 🙂 ; | " "" "x x"y
"""
PLAIN_CELLS = PLAIN_TEXT.split()
ODD_CELLS = ["", " ", "\t", '"a\nb"', "a\rb", "\x00", "\ufeff", "\u2028", "x" * 300]
CELLS = st.sampled_from(PLAIN_CELLS + ODD_CELLS) | st.text(max_size=6)
NAMES = ["customer_id", "action", "timestamp", "value", "churned", "label", "kind", "repeatable", "age", "userId"]
NAMES = st.sampled_from([*NAMES, "date", "churn_date", "id", "a;b", "Customer ID", "", " ", '"q"'])
KINDS = st.sampled_from(["interactions", "customers", "actions"])


def only_crm_errors(work) -> str:
    """Runs the work and says how it ended; anything but a `CrmError` of one line escapes and fails the test."""
    try:
        cohort = work()
    except CrmError as error:
        assert str(error)
        assert "\n" not in str(error)
        return "refused"
    for finding in check_cohort(cohort):
        assert finding.title
        assert finding.detail
    return "read"


GOOD = {
    "interactions": [["customer_id", "action", "timestamp", "value"]]
    + [[f"c{k % 3}", "call" if k % 2 else "mail", f"2026-01-0{k + 1}", f"{k}.5"] for k in range(6)],
    "customers": [["customer_id", "churned", "age", "city"]]
    + [[f"c{k}", "yes" if k % 2 else "no", f"{30 + k}", f"city {k}"] for k in range(4)],
    "actions": [
        ["action", "label", "kind", "repeatable"],
        ["call", "Call", "engagement", "yes"],
        ["mail", "Mail", "retention", "no"],
    ],
}


@st.composite
def csv_files(draw, kind: str) -> bytes:
    """A table that was right before up to three things happened to it, in any usual or unusual writing."""
    rows = [list(row) for row in GOOD[kind]]
    for _ in range(draw(st.integers(0, 3))):
        row = draw(st.integers(0, len(rows) - 1))
        column = draw(st.integers(0, max(len(rows[row]) - 1, 0)))
        change = draw(
            st.sampled_from(["cell", "cell", "cell", "name", "short", "long", "blank row", "no row", "column"])
        )
        if change == "name":
            rows[0][column : column + 1] = [draw(NAMES)]
        elif change == "cell":
            rows[row][column : column + 1] = [draw(CELLS)]
        elif change == "short":
            del rows[row][column]
        elif change == "long":
            rows[row].append(draw(CELLS))
        elif change == "blank row":
            rows.insert(row, [""] * draw(st.integers(1, 4)))
        elif change == "no row" and len(rows) > 1:
            del rows[row]
        elif change == "column":
            name, cells = draw(NAMES), draw(st.lists(CELLS, min_size=len(rows), max_size=len(rows)))
            rows = [[*cells_of, cell] for cells_of, cell in zip(rows, [name, *cells], strict=False)]
    delimiter = draw(st.sampled_from([",", ",", ";", "\t", "|", " "]))
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(delimiter.join(row) for row in rows)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])), errors="replace")


@st.composite
def parquet_files(draw) -> bytes:
    """Parquet with the right names over columns of any type."""
    n = draw(st.integers(0, 5))
    types = {
        "text": st.none() | st.text(max_size=5),
        "whole": st.none() | st.integers(-(2**63), 2**63 - 1),
        "float": st.none() | st.floats(),
        "moment": st.none() | st.datetimes(),
        "day": st.none() | st.dates(),
        "bool": st.none() | st.booleans(),
        "bytes": st.none() | st.binary(max_size=4),
        "list": st.none() | st.lists(st.integers(0, 9), max_size=2),
        "nothing": st.none(),
        "decimal": st.none() | st.decimals(-99, 99, places=2),
        "delta": st.none() | st.timedeltas(timedelta(-9999), timedelta(9999)),
        "time": st.none() | st.times(),
    }
    names = draw(st.lists(NAMES, min_size=1, max_size=5))
    columns = []
    for _ in names:
        cells = types[draw(st.sampled_from(sorted(types)))]
        column = pa.array([draw(cells) for _ in range(n)])
        columns.append(
            column.dictionary_encode() if draw(st.integers(0, 5)) == 0 and column.type == pa.string() else column
        )
    target = io.BytesIO()
    pq.write_table(pa.table(columns, names=names), target)
    return target.getvalue()


def import_bytes(form: str, files: dict[str, bytes], **options: object) -> str:
    with tempfile.TemporaryDirectory() as folder:
        for name, raw in files.items():
            (Path(folder) / name).write_bytes(raw)
        return only_crm_errors(lambda: import_cohort(form, [Path(folder)], **options))


def fuzz(max_examples: int):
    return settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("max_examples", QUICK_AND_LONG)
def test_random_bytes_and_text_are_read_or_refused(max_examples):
    @fuzz(max_examples)
    @given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", errors="replace")), KINDS)
    def check(raw, kind):
        def work():
            table = read_table(raw, "t.csv")
            assert len(table.columns) == len(set(table.columns))
            assert kind_of(table) in ("interactions", "customers", "actions")
            assert set(guess_columns(table).values()) <= set(map(str, table.columns))
            tables = {kind: (table, "t.csv")}
            return cohort_from_tables(tables if kind != "actions" else tables | {"customers": (table, "t.csv")})

        only_crm_errors(work)

    check()


@pytest.mark.parametrize("max_examples", QUICK_AND_LONG)
def test_malformed_tables_are_read_or_refused(max_examples):
    ended = {"read": 0, "refused": 0}

    @fuzz(max_examples)
    @given(st.data())
    def check(data):
        kinds = data.draw(st.sampled_from([["interactions"], ["customers"], ["interactions", "customers"]]))
        kinds = kinds + (["actions"] if data.draw(st.integers(0, 3)) == 0 else [])
        files = {f"{kind}.csv": data.draw(csv_files(kind)) for kind in kinds}
        options = data.draw(st.sampled_from([{}, {}, {"churn_days": 1.0}, {"positive": "yes"}]))
        ended[import_bytes("tables", files, **options)] += 1

    check()
    assert min(ended.values()) > 0.05 * sum(ended.values()), f"the examples are one-sided: {ended}"


@pytest.mark.parametrize("max_examples", QUICK_AND_LONG)
def test_parquet_of_any_types_is_read_or_refused(max_examples):
    @fuzz(max_examples)
    @given(parquet_files(), KINDS, st.integers(0, 4000), st.integers(0, 40))
    def check(raw, kind, place, damage):
        if damage == 0:
            raw = raw[: place % len(raw)] + b"\xff" + raw[place % len(raw) + 1 :]

        def work():
            tables = {kind: (read_table(raw, "t.parquet"), "t.parquet")}
            if kind == "actions":
                tables["customers"] = (pd.DataFrame({"customer_id": ["a", "b"]}), "c.csv")
            return cohort_from_tables(tables)

        only_crm_errors(work)

    check()


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JSON = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)


@st.composite
def json_files(draw, fields: list[str]) -> bytes:
    """Objects whose fields are mostly there and mostly odd, one per line or as an array; sometimes cut short."""
    objects = []
    for _ in range(draw(st.integers(0, 5))):
        usual = {"value": {"amount": 3.5}, "time": 6, "unixReviewTime": 1393545600, "became_member_on": "20170212"}
        row = {f: usual.get(f, f"{f[:1]}1") if draw(st.integers(0, 3)) else draw(JSON) for f in fields}
        objects.append(draw(JSON) if draw(st.integers(0, 9)) == 0 else row)
    text = json.dumps(objects) if draw(st.booleans()) else "\n".join(json.dumps(o) for o in objects)
    cut = draw(st.integers(0, 3))
    return (text if cut else text[: draw(st.integers(0, len(text)))]).encode()


REVIEW = ["reviewerID", "asin", "overall", "unixReviewTime"]
STARBUCKS = {
    "transcript.json": ["person", "event", "value", "time"],
    "profile.json": ["id", "age", "gender", "income", "became_member_on"],
    "portfolio.json": ["id", "offer_type", "difficulty", "reward", "duration", "channels"],
}


@pytest.mark.parametrize("max_examples", QUICK_AND_LONG)
def test_malformed_json_is_read_or_refused(max_examples):
    @fuzz(max_examples)
    @given(st.data())
    def check(data):
        if data.draw(st.booleans()):
            import_bytes("amazon", {"reviews.json": data.draw(json_files(REVIEW))})
        else:
            files = {name: data.draw(json_files(fields)) for name, fields in STARBUCKS.items()}
            import_bytes("starbucks", files, churn_days=None)

    check()


LINES = {
    "movielens": ("ratings.dat", "::", ["1", "2", "5", "978300760"]),
    "retail": ("r.csv", ",", ["536365", "85123A", "HEART", "6", "2010-12-01", "2.55", "17850", "France"]),
    "telco": ("t.csv", ",", ["7590-A", "0", "29.85", "No"]),
}
HEADERS = {
    "retail": "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
    "telco": "customerID,SeniorCitizen,TotalCharges,Churn",
}


@pytest.mark.parametrize("max_examples", QUICK_AND_LONG)
def test_malformed_files_of_the_known_forms_are_read_or_refused(max_examples):
    @fuzz(max_examples)
    @given(st.sampled_from(sorted(LINES)), st.lists(st.lists(CELLS | st.none(), min_size=8, max_size=8), max_size=5))
    def check(form, odd):
        name, delimiter, usual = LINES[form]
        rows = [
            [u if o is None or k % 3 else o for k, (u, o) in enumerate(zip(usual, row, strict=False))] for row in odd
        ]
        lines = itertools.chain([HEADERS[form]] if form in HEADERS else [], (delimiter.join(row) for row in rows))
        import_bytes(form, {name: "\n".join(lines).encode("utf-8", errors="replace")})

    check()


@pytest.mark.parametrize("max_examples", QUICK_AND_LONG)
def test_damaged_workbooks_are_read_or_refused(max_examples):
    parts = workbook_parts({"customers": rows_of(("customer_id", "churned"), ("a", 1), ("b", 0))}, shared=("<t>x</t>",))

    @fuzz(max_examples)
    @given(st.sampled_from(sorted(parts)), st.integers(0, 400), st.sampled_from(["", "<", '"', "s", "}", "9", "<c/>"]))
    def check(part, place, patch):
        text = parts[part]
        place %= len(text)
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as archive:
            for name in parts:
                archive.writestr(name, text[:place] + patch + text[place + 1 :] if name == part else parts[name])
        import_bytes("tables", {"customers.xlsx": target.getvalue()})

    check()


@pytest.mark.parametrize("tries", [pytest.param(20, id="quick"), pytest.param(60, id="long", marks=pytest.mark.slow)])
def test_damaged_exports_are_right_or_said_or_refused(tries, tmp_path):
    found = [try_one(np.random.default_rng([2, tries, k]), tmp_path / str(k)) for k in range(tries)]
    assert not [trial for trial in found if trial.ending in ("wrong", "broken")]
    assert {trial.ending for trial in found} >= {"right", "said", "refused"}
