"""Time and memory of importing events, beside what a bare engine takes to read, sort and write the same file.

`python -m crm_models.bench.imports --rows 1 10` (millions) prints a line for each. Every measurement is a process of
its own, so that its peak memory is its own. `--peers PYTHON` names an interpreter that has Polars, which the project
does not depend on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

MILLION = 1_000_000
EVENTS_PER_CUSTOMER = 20

_MEASURED = """
import json, resource, sys, time
start = time.perf_counter()
{code}
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
print(json.dumps({{"seconds": time.perf_counter() - start, "peak_mb": peak}}))
"""
_CODE = {
    "import": """
from crm_models import workflow
workflow.import_files(sys.argv[2], "tables", [sys.argv[1]])
""",
    "duckdb": """
import duckdb
engine = duckdb.connect(config={"memory_limit": "4GB"})
read = "SELECT customer_id, action, timestamp::TIMESTAMP AS moment, value::DOUBLE AS value"
rows = read + " FROM read_csv('" + sys.argv[1] + "', all_varchar=true) ORDER BY customer_id, moment"
engine.execute("COPY (" + rows + ") TO '" + sys.argv[2] + "' (FORMAT parquet, COMPRESSION zstd)")
""",
    "polars": """
import polars as pl
table = pl.scan_csv(sys.argv[1], infer_schema=False)
table = table.with_columns(pl.col("timestamp").str.to_datetime(), pl.col("value").cast(pl.Float64))
table.sort("customer_id", "timestamp").sink_parquet(sys.argv[2], compression="zstd")
""",
}
"""What is measured: our import, and the same work by engines without any judgement."""


def write_events(file: Path, rows: int, seed: int = 0) -> None:
    """Write a CSV of events with times to the second, a part at a time."""
    rng = np.random.default_rng(seed)
    names = pa.array([f"C{k:07d}" for k in range(max(1, rows // EVENTS_PER_CUSTOMER))])
    actions = pa.array([f"action {k}" for k in range(50)])
    first, last = (int(np.datetime64(day, "s").astype(np.int64)) for day in ("2025-01-01", "2026-01-01"))
    with open(file, "wb") as out:
        for start in range(0, rows, MILLION):
            n = min(MILLION, rows - start)
            part = pa.table(
                {
                    "customer_id": names.take(pa.array(rng.integers(0, len(names), n))),
                    "action": actions.take(pa.array(rng.integers(0, len(actions), n))),
                    "timestamp": pa.array(rng.integers(first, last, n)).cast(pa.timestamp("s")),
                    "value": pa.array(np.round(rng.gamma(2, 20, n), 2)),
                }
            )
            pa_csv.write_csv(part, out, pa_csv.WriteOptions(include_header=start == 0, quoting_style="none"))


def measure(rows: int, peers: str = sys.executable) -> dict[str, Any]:
    """Seconds and peak memory of our import and of each engine that is installed, on the same file.

    peers: the interpreter that has the engines besides DuckDB.
    """
    with tempfile.TemporaryDirectory(prefix="crm-bench-") as folder:
        source = Path(folder) / "interactions.csv"
        write_events(source, rows)
        found: dict[str, Any] = {"rows": rows, "mb": source.stat().st_size / 1e6}
        for name, code in _CODE.items():
            python = peers if name == "polars" else sys.executable
            if name == "polars" and subprocess.run([python, "-c", "import polars"], capture_output=True).returncode:
                continue
            target = str(Path(folder) / name)
            command = [python, "-c", _MEASURED.format(code=code), str(source), target]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            found[name] = json.loads(result.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, nargs="+", default=[1, 10], metavar="MILLIONS")
    parser.add_argument("--peers", default=sys.executable, metavar="PYTHON")
    options = parser.parse_args()
    for millions in options.rows:
        found = measure(int(millions * MILLION), options.peers)
        ours = found["import"]
        beside = ", ".join(
            f"{name} {found[name]['seconds']:.1f} s and {found[name]['peak_mb']:,.0f} MB "
            f"({ours['seconds'] / found[name]['seconds']:.1f} times)"
            for name in _CODE
            if name != "import" and name in found
        )
        print(
            f"{found['rows']:,} rows, {found['mb']:,.0f} MB: import {ours['seconds']:.1f} s and "
            f"{ours['peak_mb']:,.0f} MB; {beside}"
        )


if __name__ == "__main__":
    main()
