"""A cohort on disk comes back as it was, whole or in parts, and damage is named."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from crm_models.core.errors import DataError
from crm_models.data import storage
from crm_models.data.cohort import select
from crm_models.data.storage import load_cohort, parts, save_cohort
from tests.data.test_cohort import make, random_cohort


def test_a_saved_cohort_comes_back_equal(tmp_path):
    cohort = random_cohort(as_of=pd.Timestamp("2026-03-01"), outcome="observed", notes=["one", "two"])
    again = load_cohort(save_cohort(cohort, tmp_path / "cohort"))
    pd.testing.assert_frame_equal(again.customers, cohort.customers)
    pd.testing.assert_frame_equal(again.interactions, cohort.interactions)
    pd.testing.assert_frame_equal(again.actions, cohort.actions)
    assert (again.as_of, again.outcome, again.notes) == (cohort.as_of, cohort.outcome, cohort.notes)


@pytest.mark.parametrize("edited", [False, True], ids=["as written", "rows moved by hand"])
def test_parts_stream_the_very_same_cohort(tmp_path, monkeypatch, edited):
    monkeypatch.setattr(storage, "PART_CUSTOMERS", 70)
    folder = save_cohort(random_cohort(), tmp_path / "cohort")
    if edited:
        table = pq.read_table(folder / "customers.parquet")
        pq.write_table(table.take(np.random.default_rng(1).permutation(len(table))), folder / "customers.parquet")
    whole = load_cohort(folder)
    pieces = list(parts(folder))
    assert [p.n_customers for p in pieces] == [70, 70, 70, 70, 20]
    first = 0
    for piece in pieces:
        same = select(whole, np.arange(first, first + piece.n_customers))
        pd.testing.assert_frame_equal(piece.customers, same.customers)
        pd.testing.assert_frame_equal(piece.interactions, same.interactions)
        first += piece.n_customers


def test_a_cohort_without_events_streams_too(tmp_path):
    folder = save_cohort(make({"customer_id": ["a", "b"], "churned": [True, False]}), tmp_path / "cohort")
    (piece,) = parts(folder)
    assert (piece.n_customers, len(piece.interactions)) == (2, 0)


@pytest.mark.parametrize("name", ["customers.parquet", "interactions.parquet", "actions.parquet"])
def test_a_damaged_table_is_named(tmp_path, name):
    folder = save_cohort(random_cohort(), tmp_path / "cohort")
    (folder / name).write_bytes(b"not parquet")
    with pytest.raises(DataError, match=name):
        load_cohort(folder)
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        load_cohort(folder)


def test_a_folder_that_is_no_cohort_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="`generate` or `import`"):
        load_cohort(tmp_path)
    with pytest.raises(DataError, match="found nothing"):
        load_cohort(tmp_path / "none")
