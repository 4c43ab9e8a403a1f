"""One try: an export is damaged, imported, and what came of it compared with what it means."""

from __future__ import annotations

import gzip
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models import workflow
from crm_models.core.errors import CrmError
from crm_models.core.files import read_json
from crm_models.data.cohort import Cohort
from crm_models.data.sources.receipt import DoubtError
from crm_models.data.storage import load_cohort
from tests.malformed.damages import DAMAGES
from tests.malformed.exports import Export, customers, interactions


@dataclass(frozen=True)
class Trial:
    """How a try ended: right, said, asked, refused, wrong (in silence) or broken (a traceback, half a cohort)."""

    kind: str
    damages: list[str]
    ending: str
    said: str


def try_one(rng: np.random.Generator, folder: Path, only: str = "") -> Trial:
    """Damage an export in one to three ways, import it into `folder`, and judge."""
    export = interactions(rng) if rng.random() < 0.4 else customers(rng)
    known = [name for name in DAMAGES if only in name]
    n = int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1]))
    damages = []
    for name in sorted(rng.choice(known, min(n, len(known)), replace=False).tolist(), key=list(DAMAGES).index):
        what = DAMAGES[name](export, rng)
        damages.append(f"{name} {what}".strip())
    folder.mkdir()
    carrier = str(rng.choice(["csv", "csv.gz", "xlsx"], p=[0.8, 0.05, 0.15]))
    source, out = folder / f"{export.kind}.{carrier}", folder / "cohort"
    raw = (
        export.workbook()
        if carrier == "xlsx" and export.encoding == "utf-8" and not export.edit + export.finish
        else export.raw()
    )
    source.write_bytes(gzip.compress(raw) if carrier == "csv.gz" else raw)
    options = {"skip_bad_rows": bool(rng.random() < 0.3), "accept_doubts": bool(rng.random() < 0.1)}
    try:
        workflow.import_files(out, "tables", [source], **options)
        ending, said = judged(load_cohort(out), read_json(out / "receipt.json"), export)
    except DoubtError as error:
        ending, said = "asked", "; ".join(doubt.evidence for doubt in error.doubts)
    except CrmError as error:
        ending, said = ("broken" if "\n" in str(error) else "refused"), str(error)
    except Exception as error:  # whatever it is, no user may see it
        ending, said = "broken", f"{type(error).__name__}: {error}"
    left = sorted(path.name for path in folder.iterdir() if path not in (source, out))
    if left or (ending in ("asked", "refused") and out.exists()):
        ending, said = "broken", f"left behind: {', '.join(left) or 'a cohort'}"
    if ending not in ("wrong", "broken"):
        shutil.rmtree(folder)
    return Trial(f"{export.kind}.{carrier}", damages, ending, f"{said} {options if any(options.values()) else ''}")


def judged(cohort: Cohort, facts: dict[str, Any], export: Export) -> tuple[str, str]:
    """How the cohort compares with the meaning of the export, and the first difference."""
    rows = facts["rows"]
    if rows["read"] != rows["kept"] + rows["rejected"] + rows["explained"]:
        return "wrong", f"rows do not add up: {rows}"
    table = cohort.interactions if export.kind == "interactions" else cohort.customers
    if rows["kept"] != len(table):
        return "wrong", f"{rows['kept']} rows kept, the cohort has {len(table)}"
    notes = [*facts["notes"], *(doubt["evidence"] for doubt in facts["doubts"])]
    if rows["read"] < export.n:
        return "wrong", f"{export.n} rows written, {rows['read']} read: {rows}"
    wrong = differences(table, export, notes, rows)
    if wrong:
        return "wrong", "; ".join(wrong[:2]) + f" {rows} {notes}"
    silent = not rows["rejected"] and not rows["explained"] and not _unusual(notes)
    if silent and export.must_be_said:
        return "wrong", f"nothing was said {notes}"
    return "right" if silent else "said", " | ".join(notes)


def _unusual(notes: list[str]) -> list[str]:
    return [note for note in notes if "recognised by their usual names" not in note]


def differences(table: pd.DataFrame, export: Export, notes: list[str], rows: dict[str, int]) -> list[str]:
    """Columns whose values are not those meant although nothing was said about them."""
    found = []
    lost = export.lost + rows["rejected"] + max(0, rows["explained"] - (rows["read"] - export.n))
    columns = {_same(column): column for column in table}
    letters = any("encoding was taken" in note or "not in UTF-8" in note for note in notes)
    for name, meant in export.meant.items():
        column = columns.get(_same(name))
        if column is None:
            if not any(_same(name) in _same(note) for note in notes):
                found.append(f"{name!r} is gone")
            continue
        here, there = Counter(map(_plain, table[column].tolist())), Counter(map(_plain, meant))
        missing, extra = there - here, here - there
        said = any(repr(column) in note or "closing quotation mark" in note for note in notes) or (
            letters and isinstance(meant[0], str)
        )
        if (sum(extra.values()) > export.lost or sum(missing.values()) > lost) and not said:
            found.append(f"{column!r}: meant {list(missing)[:3]}, found {list(extra)[:3]} of {table[column].dtype}")
    return found


def _same(name: str) -> str:
    return re.sub(r"[\W_]+", "", re.sub(r"[\[(].*?[\])]", "", str(name))).lower()


def _plain(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)) or value is pd.NaT:
        return None
    if isinstance(value, float | np.floating):
        return round(float(value), 3)
    if isinstance(value, pd.Timestamp):
        return value.tz_localize(None).round("s")
    return value
