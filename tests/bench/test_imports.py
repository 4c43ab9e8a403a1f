"""The benchmark of imports writes the file it says, and measures ours beside the bare engine."""

import pytest

from crm_models.bench import imports
from crm_models.data.sources import import_cohort


def test_the_events_of_the_benchmark_are_an_ordinary_file(tmp_path):
    imports.write_events(tmp_path / "interactions.csv", 1_000)
    cohort = import_cohort("tables", [tmp_path / "interactions.csv"])
    assert len(cohort.interactions) == 1_000
    assert cohort.documents["receipt.json"]["doubts"] == []
    assert cohort.is_dated


@pytest.mark.slow
def test_seconds_and_memory_are_measured_for_each_engine():
    found = imports.measure(20_000)
    assert found["rows"] == 20_000
    assert {"import", "duckdb"} <= set(found)
    for name in ("import", "duckdb"):
        assert found[name]["seconds"] > 0
        assert found[name]["peak_mb"] > 20
