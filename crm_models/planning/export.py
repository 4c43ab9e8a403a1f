"""Export of plans: a streamed, atomically written CSV that is safe to open in a spreadsheet, and its manifest.

Text that a spreadsheet would run as a formula is prefixed with an apostrophe (OWASP ASVS 5.0, 1.2.10); numbers are not
changed. Quoting follows RFC 4180, the encoding is UTF-8, and lines end in CR LF.
"""

from __future__ import annotations

import csv
import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from crm_models.core.files import json_text, new_files
from crm_models.core.places import Place
from crm_models.core.provenance import peak_mib, versions
from crm_models.core.schema import N_STEPS, PLAN_SOURCES, STEP_SOURCES, PlanLayout
from crm_models.planning.plans import Plans, reasons

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters that make some spreadsheet run a cell as a formula; the last four are the full-width = + - @."""


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Export settings. api_exact: do not neutralise formulas, for loaders that would keep the apostrophe.

    download_name: file name of the downloaded CSV, if it differs from the name on disk.
    """

    run_id: str
    scored_at: str
    layout: PlanLayout = "wide"
    api_exact: bool = False
    download_name: str | None = None

    @property
    def text(self) -> str:
        """What the manifest says of the text."""
        return "exact" if self.api_exact else "spreadsheet-safe"


def neutralised(text: str) -> str:
    """The text, prefixed with an apostrophe if a spreadsheet would run it as a formula."""
    # Spreadsheets ignore leading spaces.
    return "'" + text if text.lstrip(" ").startswith(FORMULA_STARTS) else text


@dataclass(frozen=True, kw_only=True)
class Written:
    """Counts of plans written to a file. changed_ids: customer ids that were neutralised: loaders would not find them.

    counts: as `Plans.counts` has them.
    """

    counts: dict[str, Any]
    changed_ids: int = 0

    @classmethod
    def nothing(cls) -> Written:
        """Before the first plan."""
        return cls(counts={"customers": 0, "at_risk": 0, "empty": 0, "by_source": dict.fromkeys(PLAN_SOURCES, 0)})

    def __add__(self, other: Written) -> Written:
        a, b = self.counts, other.counts
        totals = ("customers", "at_risk", "empty", "not_confident")
        total = {name: a.get(name, 0) + b.get(name, 0) for name in totals if name in a or name in b}
        by_source = {name: a["by_source"][name] + b["by_source"][name] for name in PLAN_SOURCES}
        return Written(counts=total | {"by_source": by_source}, changed_ids=self.changed_ids + other.changed_ids)


def write_plans(stream: Iterable[Plans], out: Place, settings: ExportSettings, about: dict[str, Any]) -> dict[str, Any]:
    """Write a stream of plans to the CSV `out` and a manifest beside it; returns the manifest.

    Memory does not grow with the number of customers. On any error neither file is created or changed, and both are
    replaced together, the manifest last. about: the manifest's entries on run, cohort and policy.
    """

    def write(handle: BinaryIO) -> Iterator[Written]:
        return (write_rows(plans, handle, settings, header=k == 0) for k, plans in enumerate(stream))

    return _published(write, out, settings, about | {"computed": computed_by("local", 1, 1, peak_mib())})


def computed_by(engine: str, workers: int, parts: int, peak: int) -> dict[str, Any]:
    """What the manifest says of the processes that made the plans; peak: memory of the largest, in MiB."""
    return {"engine": engine, "workers": workers, "parts": parts, "peak_mib": peak}


def join_plans(
    parts: Iterable[tuple[Written, Place]], out: Place, settings: ExportSettings, about: dict[str, Any]
) -> dict[str, Any]:
    """As `write_plans`, from files that hold the rows of one part each, the first with the header; they are removed."""

    def write(handle: BinaryIO) -> Iterator[Written]:
        for written, file in parts:
            with file.open("rb") as part:
                shutil.copyfileobj(part, handle, 1 << 20)
            file.unlink()
            yield written

    return _published(write, out, settings, about)


def _published(
    write: Callable[[BinaryIO], Iterator[Written]], out: Place, settings: ExportSettings, about: dict[str, Any]
) -> dict[str, Any]:
    began = time.perf_counter()
    with new_files() as part_of:
        file = part_of(out)
        with file.open("wb") as handle:
            written = sum(write(handle), Written.nothing())
        manifest = about | {
            "file": settings.download_name or out.name,
            "layout": settings.layout,
            "text": settings.text,
            "run_id": settings.run_id,
            "scored_at": settings.scored_at,
            "counts": written.counts,
            "csv_sha256": _sha256(file),
            "seconds": round(time.perf_counter() - began, 3),
            "versions": versions(),
        }
        if written.changed_ids:
            manifest["changed_ids"] = written.changed_ids
        part_of(out.with_name(_manifest_name(out))).write_text(json_text(manifest), encoding="utf-8")
    return manifest


def _sha256(file: Path) -> str:
    """SHA-256 of the file, as `sha256sum` prints it."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def manifest_path(out: Path) -> Path:
    """Path of the manifest beside a plan file: plans.manifest.json for plans.csv."""
    return out.with_name(_manifest_name(out))


def _manifest_name(out: Place) -> str:
    return f"{out.stem}.manifest.json"


def write_rows(
    plans: Plans,
    handle: BinaryIO,
    settings: ExportSettings,
    *,
    header: bool,
    more: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Written:
    """Append the table to an open file; with no rows, only the header. more: columns that follow, as they are."""
    table = wide_table(plans, settings) if settings.layout == "wide" else long_table(plans, settings)
    table.assign(**more).to_csv(
        handle,
        mode="wb",
        encoding="utf-8",
        index=False,
        header=header,
        lineterminator="\r\n",
        quoting=csv.QUOTE_MINIMAL,
    )
    ids = table["customer_id"].to_numpy()[:: 1 if settings.layout == "wide" else N_STEPS]
    return Written(counts=plans.counts(), changed_ids=int((ids != plans.customer_id).sum()))


def wide_table(plans: Plans, settings: ExportSettings) -> pd.DataFrame:
    """One row per customer; columns with action ids, if they differ from the labels, and `confident` come last."""
    text = _TextColumns.of(plans, settings)
    columns: dict[str, Any] = {
        "customer_id": text.ids,
        "churn_probability": plans.churn_p,
        "at_risk": text.flag(plans.at_risk),
        "plan_source": text.plan_source(plans.source),
    }
    for step in range(N_STEPS):
        columns[f"step_{step + 1}_action"] = text.label(plans.action[:, step])
        columns[f"step_{step + 1}_source"] = text.step_source(plans.step_source[:, step])
        columns[f"step_{step + 1}_probability"] = plans.step_p[:, step]
    columns |= {"run_id": text.run_id, "threshold": plans.policy.threshold, "scored_at": settings.scored_at}
    if text.ids_differ:
        columns |= {f"step_{k + 1}_action_id": text.name(plans.action[:, k]) for k in range(N_STEPS)}
    if plans.confident is not None:
        columns["confident"] = text.known_flag(plans.confident)
    return pd.DataFrame(columns, index=range(len(plans)))


def long_table(plans: Plans, settings: ExportSettings) -> pd.DataFrame:
    """One row per customer and step, with its reason, last the drivers of risk and step and `confident`, if known."""
    text = _TextColumns.of(plans, settings)
    n = len(plans)
    step_reasons = [settings_safe(reason, settings) for row in reasons(plans) for reason in row]
    columns: dict[str, Any] = {
        "customer_id": np.repeat(text.ids, N_STEPS),
        "step": np.tile(np.arange(1, N_STEPS + 1), n),
        "action": text.label(plans.action.ravel()),
        "source": text.step_source(plans.step_source.ravel()),
        "probability": plans.step_p.ravel(),
        "reason": step_reasons,
        "churn_probability": np.repeat(plans.churn_p, N_STEPS),
        "at_risk": text.flag(np.repeat(plans.at_risk, N_STEPS)),
        "plan_source": text.plan_source(np.repeat(plans.source, N_STEPS)),
        "run_id": text.run_id,
        "threshold": plans.policy.threshold,
        "scored_at": settings.scored_at,
    }
    if text.ids_differ:
        columns["action_id"] = text.name(plans.action.ravel())
    if plans.drivers is not None:
        columns |= text.phrases("driver", np.repeat(plans.drivers, N_STEPS, axis=0))
    if plans.step_drivers is not None:
        columns |= text.phrases("step_driver", plans.step_drivers.reshape(n * N_STEPS, -1))
    if plans.confident is not None:
        columns["confident"] = np.repeat(text.known_flag(plans.confident), N_STEPS)
    return pd.DataFrame(columns, index=range(n * N_STEPS))


def settings_safe(text: str, settings: ExportSettings) -> str:
    """The text, neutralised unless `api_exact`."""
    return text if settings.api_exact else neutralised(text)


@dataclass(frozen=True, kw_only=True)
class _TextColumns:
    """Text columns of a table; each vocabulary is neutralised once instead of once per cell."""

    ids: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    run_id: str
    ids_differ: bool
    settings: ExportSettings

    @classmethod
    def of(cls, plans: Plans, settings: ExportSettings) -> _TextColumns:
        def safe(texts: Iterator[str] | tuple[str, ...] | np.ndarray) -> np.ndarray:
            return np.array([settings_safe(str(text), settings) for text in texts], dtype=object)

        catalogue = plans.catalogue
        # Code -1 (no action) indexes the blank at the end.
        return cls(
            ids=safe(plans.customer_id),
            labels=np.append(safe(catalogue.labels), ""),
            names=np.append(safe(catalogue.names), ""),
            run_id=settings_safe(settings.run_id, settings),
            ids_differ=catalogue.labels != catalogue.names,
            settings=settings,
        )

    def label(self, codes: np.ndarray) -> np.ndarray:
        return self.labels[codes]

    def name(self, codes: np.ndarray) -> np.ndarray:
        return self.names[codes]

    def phrases(self, name: str, phrases: np.ndarray) -> dict[str, np.ndarray]:
        """A column for each phrase of a row: `name`_1 and so on."""
        return {
            f"{name}_{k + 1}": np.array(
                [settings_safe(str(phrase), self.settings) for phrase in phrases[:, k]], dtype=object
            )
            for k in range(phrases.shape[1])
        }

    def flag(self, values: np.ndarray) -> np.ndarray:
        return np.array(["false", "true"], dtype=object)[values.astype(int)]

    def known_flag(self, values: pd.Series) -> np.ndarray:
        """The same for nullable booleans; "" where unknown."""
        return np.where(values.isna(), "", self.flag(values.fillna(False).to_numpy(bool)))

    def plan_source(self, codes: np.ndarray) -> np.ndarray:
        return np.array(PLAN_SOURCES, dtype=object)[codes]

    def step_source(self, codes: np.ndarray) -> np.ndarray:
        return np.array(STEP_SOURCES, dtype=object)[codes]
