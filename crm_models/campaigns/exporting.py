"""Hand-over of a campaign: its file for a system, what was rejected, and only what changed since the last load.

A row counts as sent once it is confirmed as loaded, not when it is exported: what failed on the way goes again. The
time of scoring is no change. Letters: N customers.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns import ledger
from crm_models.campaigns.deciding import CHUNK, plans_of
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.presets import (
    FIELDS,
    Preset,
    PresetName,
    Problem,
    lint_identifiers,
    lint_label,
    preset,
)
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.files import json_text, new_files
from crm_models.core.provenance import now, versions
from crm_models.core.schema import CUSTOMER_ID, N_STEPS, PLAN_SOURCES
from crm_models.core.tables import TableWriter, read_frame, write_table
from crm_models.data.storage import customer_columns, customer_table
from crm_models.planning.export import ExportSettings, manifest_path, neutralised, wide_table
from crm_models.planning.plans import STEP_RETENTION, Plans

PartOf = Callable[[Path], Path]
"""From a target to the temporary file to write; see `new_files`."""

SENT = "sent.parquet"
REJECTED_COLUMNS = ("row", "customer_id", "column", "value", "rule")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How to export.

    identifier: the system's column, if not its usual one. id_column: column of the customers with the identifiers, if
    not `customer_id`. alias_label: for Braze's user_alias_name. changed_only: only rows that differ from what was
    confirmed as loaded. targeted_only: leave out customers whom the campaign is not for. api_exact: for csv, no
    apostrophe before formulas.
    """

    preset: PresetName = "csv"
    identifier: str | None = None
    id_column: str | None = None
    alias_label: str = ""
    changed_only: bool = False
    targeted_only: bool = False
    api_exact: bool = False

    def __post_init__(self) -> None:
        if self.identifier == "user_alias_name" and not self.alias_label:
            raise ConfigError("Braze's user_alias_name needs a label beside it; found none")


def export(campaign: Campaign, out: Path | str, options: ExportOptions, *, who: str = "local") -> dict[str, Any]:
    """Write the file (or files, where one would be too large), `rejected.csv` and a manifest; returns the manifest.

    The export is noted in the ledger, after which rules and groups of the campaign stay. On any error, no file changes.
    """
    out = Path(out)
    with new_files() as part_of:
        write = _csv if options.preset == "csv" else _system
        made = write(campaign, out, options, part_of)
        manifest = {
            "campaign": campaign.name,
            "preset": options.preset,
            "options": asdict(options),
            "run_id": campaign.about["run_id"],
            "cohort_hash": campaign.about["cohort_hash"],
            "decisions_sha256": campaign.decisions_mark(),
            "approved_by": ledger.state(campaign).approved_by,
            "written_at": now(),
            "versions": versions(),
            **made,
        }
        part_of(manifest_path(out)).write_text(json_text(manifest), encoding="utf-8")
    ledger.append(campaign, ledger.Entry(who=who, action="export", to=f"{options.preset}: {out.name}"))
    return manifest


def summary(manifest: dict[str, Any]) -> str:
    """What was written, in one sentence."""
    counts = manifest["counts"]
    changes = [f"{counts[k]:,} {k}" for k in ("insert", "update", "clear", "unchanged") if counts.get(k)]
    text = f"{counts['rows']:,} rows in {len(manifest['files'])} file{'s' if len(manifest['files']) > 1 else ''}"
    text += f" ({', '.join(changes)})" if changes else ""
    if counts["rejected"]:
        text += f"; {counts['rejected']:,} rejected, see {manifest['rejected_file']}"
    if manifest.get("ids_changed"):
        text += f"; {manifest['ids_changed']:,} ids gained an apostrophe against formulas (--api-exact leaves them)"
    return text + ("" if manifest["approved_by"] else "; not approved")


# ---- plans.csv -------------------------------------------------------------------------------------------------------


def _csv(campaign: Campaign, out: Path, options: ExportOptions, part_of: PartOf) -> dict[str, Any]:
    """plans.csv as the command `plan` writes it, with the columns of the campaign after its own."""
    settings = ExportSettings(
        run_id=campaign.about["run_id"], scored_at=campaign.about["created_at"], api_exact=options.api_exact
    )
    rows, changed = 0, 0
    with part_of(out).open("w", encoding="utf-8", newline="") as handle:
        for k, (plans, decisions) in enumerate(_planned(campaign, options)):
            table = wide_table(plans, settings)
            changed += int((table["customer_id"].to_numpy() != plans.customer_id).sum())
            for name, column in _campaign_columns(decisions, options.api_exact).items():
                table[name] = column
            table.to_csv(handle, index=False, header=k == 0, lineterminator="\r\n", quoting=csv.QUOTE_MINIMAL)
            rows += len(table)
    text = "exact" if options.api_exact else "spreadsheet-safe"
    return {
        "files": [out.name],
        "text": text,
        "ids_changed": changed,
        "counts": {"rows": rows, "rejected": 0},
        "rejected_file": None,
    }


def _campaign_columns(decisions: pd.DataFrame, exact: bool) -> dict[str, Any]:
    reason = decisions["dropped_reason"]
    return {
        "holdout": np.where(decisions["arm"] == "holdout", "true", "false"),
        "arm": decisions["arm"].to_numpy(),
        "propensity": decisions["propensity"].to_numpy(),
        "dropped_reason": (reason if exact else reason.map(neutralised)).to_numpy(),
        "confident": decisions["confident"].to_numpy(),
        "not_before": decisions["not_before"].to_numpy(),
    }


def _planned(campaign: Campaign, options: ExportOptions) -> Iterator[tuple[Plans, pd.DataFrame]]:
    """Plans after the edits of the ledger, with the decisions, chunk by chunk."""
    decisions = campaign.decisions()
    scores, allowed = campaign.scores(), campaign.allowed()
    catalogue, edits = campaign.catalogue, ledger.state(campaign)
    retention = _retention(campaign, decisions)
    ids = pd.Index(decisions[CUSTOMER_ID])
    retention[ids.get_indexer(list(edits.excluded))] = -1
    for customer, action in edits.swaps.items():
        retention[ids.get_loc(customer)] = [catalogue.code(action), *[-1] * (N_STEPS - 1)]
    rows = np.flatnonzero(decisions["arm"] != "none") if options.targeted_only else np.arange(len(decisions))
    for first in range(0, max(len(rows), 1), CHUNK):
        at = rows[first : first + CHUNK]
        yield plans_of(campaign, scores.take(at), allowed[at], retention[at]), decisions.iloc[at]


def _retention(campaign: Campaign, decisions: pd.DataFrame) -> np.ndarray:
    """(N, 3) retention steps of the decisions, -1 for none: the leading steps that have no probability of the model."""
    codes = {label: code for code, label in reversed(list(enumerate(campaign.catalogue.labels)))} | {"": -1}
    offered = set(campaign.candidates)
    retention = np.full((len(decisions), N_STEPS), -1)
    leads = np.isin(decisions["plan_source"], ["override", "graded"])
    for k in range(N_STEPS):
        code = decisions[f"step_{k + 1}"].map(codes).to_numpy(np.int64)
        leads = leads & np.isin(code, list(offered)) & decisions[f"step_{k + 1}_probability"].isna().to_numpy()
        retention[leads, k] = code[leads]
    return retention


# ---- systems ---------------------------------------------------------------------------------------------------------


def _system(campaign: Campaign, out: Path, options: ExportOptions, part_of: PartOf) -> dict[str, Any]:
    made_for = preset(options.preset)
    identifier = made_for.identifier(options.identifier)
    table, problems, everybody = _rows(campaign, made_for, identifier, options)
    hashes = row_hashes(table)
    table[made_for.scored_at] = _utc(campaign.about["created_at"])
    sent = _sent(campaign, options.preset)
    known = table[identifier].map(sent) if len(sent) else pd.Series([None] * len(table))
    kind = np.where(known.isna(), "insert", np.where(known == hashes, "unchanged", "update"))
    cleared = _cleared(table, sorted(set(sent).difference(everybody)), made_for, identifier)
    counts = {name: int((kind == name).sum()) for name in ("insert", "update", "unchanged")} | {"clear": len(cleared)}
    keep = kind != "unchanged" if options.changed_only else np.ones(len(table), dtype=bool)
    if options.changed_only and len(cleared):
        cleared[made_for.scored_at] = _utc(campaign.about["created_at"])
        table = pd.concat([table[keep], cleared[table.columns]], ignore_index=True)
        pending = np.concatenate([hashes[keep], np.full(len(cleared), "")])
    else:
        table, pending = table[keep].reset_index(drop=True), hashes[keep]
    rejected_file = out.with_name(f"{out.stem}.rejected.csv")
    parts = _write_parts(table, out, made_for, part_of)
    _need_round_trip(table, list(parts.values()))
    with part_of(rejected_file).open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(REJECTED_COLUMNS)
        writer.writerows([p.row, p.customer_id, p.column, p.value, p.rule] for p in problems)
    with TableWriter(part_of(_pending(campaign, options.preset))) as pending_file:
        pending_file.write(pd.DataFrame({"identifier": table[identifier].to_numpy(), "row_hash": pending}))
    rejected = len({problem.row for problem in problems})
    return {
        "files": list(parts),
        "text": "exact",
        "identifier": identifier,
        "counts": {"rows": len(table), "rejected": rejected, **counts},
        "rejected_file": rejected_file.name,
    }


def _rows(
    campaign: Campaign, made_for: Preset, identifier: str, options: ExportOptions
) -> tuple[pd.DataFrame, list[Problem], set[str]]:
    """The rows for a system as text, without the rejected ones, why those were rejected, and all identifiers."""
    labels = [*campaign.catalogue.labels, ""]
    text = np.array([label or made_for.blank for label in labels], dtype=object)
    chunks = []
    for plans, decisions in _planned(campaign, options):
        edited_action = np.where(plans.step_source[:, 0] == STEP_RETENTION, plans.action[:, 0], -1)
        columns = {
            "churn_risk": np.array(
                [made_for.blank if p != p else f"{p:.4f}" for p in plans.churn_p.tolist()], dtype=object
            ),
            "at_risk": _flags(plans.at_risk, made_for),
            "plan_source": np.array(PLAN_SOURCES, dtype=object)[plans.source],
            **{f"plan_step_{k + 1}": text[plans.action[:, k]] for k in range(N_STEPS)},
            "plan_action": text[edited_action],
            "holdout": _flags((decisions["arm"] == "holdout").to_numpy(), made_for),
        }
        chunks.append(pd.DataFrame({CUSTOMER_ID: plans.customer_id} | {name: columns[name] for name in FIELDS}))
    table = pd.concat(chunks, ignore_index=True)
    ids = table[CUSTOMER_ID].to_numpy()
    values = ids if options.id_column is None else _identifiers(campaign, options.id_column, ids)
    problems = lint_identifiers(made_for.identifiers[identifier], identifier, values, ids)
    bad_labels = {label: rule for label in set(labels) if label and (rule := lint_label(made_for, label))}
    for name in ("plan_step_1", "plan_step_2", "plan_step_3", "plan_action"):
        for row in np.flatnonzero(table[name].isin(list(bad_labels))):
            value = str(table[name].iloc[row])
            problems.append(Problem(int(row) + 1, str(ids[row]), made_for.column(name), value[:80], bad_labels[value]))
    front = {identifier: values}
    if identifier == "user_alias_name":
        front["user_alias_label"] = np.full(len(values), options.alias_label, dtype=object)
    ready = pd.DataFrame(front | {made_for.column(name): table[name].to_numpy() for name in FIELDS})
    good = np.ones(len(ready), dtype=bool)
    good[[problem.row - 1 for problem in problems]] = False
    return ready[good].reset_index(drop=True), sorted(problems, key=lambda problem: problem.row), set(values)


def _flags(values: np.ndarray, made_for: Preset) -> np.ndarray:
    return np.array([made_for.false, made_for.true], dtype=object)[values.astype(int)]


def _identifiers(campaign: Campaign, column: str, ids: np.ndarray) -> np.ndarray:
    """(N,) text of a column of the customers, "" for blanks, in the order of `ids`."""
    folder = Path(campaign.about["cohort_folder"])
    if column not in customer_columns(folder):
        raise ConfigError(f"expected a column of {folder / 'customers.parquet'} with the identifiers, found {column!r}")
    table = customer_table(folder, [CUSTOMER_ID, column])
    values = table[column]
    if pd.api.types.is_float_dtype(values):
        values = values.astype("Int64")
    by_id = values.astype("str").where(values.notna(), "")
    by_id.index = pd.Index(table[CUSTOMER_ID].astype("str"))
    return by_id.reindex(ids).fillna("").to_numpy(dtype=object)


def _utc(text: str) -> str:
    return pd.Timestamp(text).tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_parts(table: pd.DataFrame, out: Path, made_for: Preset, part_of: PartOf) -> dict[str, Path]:
    """Write the rows in as many files as the limits need: temporary path by name."""
    parts: dict[str, Path] = {}
    size, rows = 0, 0
    header = table.iloc[:0].to_csv(index=False, lineterminator="\n")
    for first in range(0, max(len(table), 1), CHUNK):
        chunk = table.iloc[first : first + CHUNK]
        text = chunk.to_csv(index=False, header=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL).encode()
        if not parts or size + len(text) > made_for.most_bytes or rows + len(chunk) > made_for.most_rows:
            target = out if not parts else out.with_name(f"{out.stem}.{len(parts) + 1}{out.suffix}")
            parts[target.name] = part_of(target)
            text, size, rows = header.encode() + text, 0, 0
        with list(parts.values())[-1].open("ab") as handle:
            handle.write(text)
        size, rows = size + len(text), rows + len(chunk)
    return parts


def _need_round_trip(table: pd.DataFrame, files: list[Path]) -> None:
    """`DataError` unless the files, read as text, hold exactly these rows."""
    first = 0
    for file in files:
        with pd.read_csv(file, dtype="str", keep_default_na=False, encoding="utf-8", chunksize=CHUNK) as chunks:
            for chunk in chunks:
                meant = table.iloc[first : first + len(chunk)].reset_index(drop=True)
                first += len(chunk)
                if list(chunk.columns) != list(table.columns) or not (
                    chunk.reset_index(drop=True).astype(object).equals(meant.astype(object))
                ):
                    first = -1
                    break
    if first != len(table):
        raise DataError(f"{files[0]}: expected to read back what was written, found something else; do not send it")


# ---- what changed ----------------------------------------------------------------------------------------------------


def row_hashes(table: pd.DataFrame) -> np.ndarray:
    """(N,) SHA-256 of each row's cells, hexadecimal."""
    rows = zip(*(table[column].astype("str").to_list() for column in table.columns), strict=True)
    return np.array([hashlib.sha256("\x1f".join(row).encode()).hexdigest() for row in rows], dtype=object)


def _sent(campaign: Campaign, preset_name: str) -> dict[str, str]:
    """Hash of the last confirmed row by identifier."""
    file = campaign.folder / SENT
    if not file.exists():
        return {}
    table = _marks(file)
    own = table[table["preset"] == preset_name]
    return dict(zip(own["identifier"], own["row_hash"], strict=True))


def _cleared(table: pd.DataFrame, gone: list[str], made_for: Preset, identifier: str) -> pd.DataFrame:
    """Rows that clear customers who were sent before and whom the campaign no longer holds; not those rejected now."""
    columns: dict[str, Any] = {column: np.full(len(gone), made_for.blank, dtype=object) for column in table.columns}
    for flag in ("at_risk", "holdout"):
        columns[made_for.column(flag)][:] = made_for.false
    if "user_alias_label" in columns and len(table):
        columns["user_alias_label"][:] = table["user_alias_label"].iloc[0]
    return pd.DataFrame(columns | {identifier: np.array(gone, dtype=object)})


def _marks(file: Path) -> pd.DataFrame:
    what, remedy = "what was confirmed as loaded", "delete it, and everything counts as new"
    return read_frame(file, what, ["preset", "identifier", "row_hash"], remedy=remedy)


def _pending(campaign: Campaign, preset_name: str) -> Path:
    return campaign.folder / f"pending-{preset_name}.parquet"


def confirm(
    campaign: Campaign, preset_name: PresetName, *, failed: Path | str | None = None, who: str = "local"
) -> dict[str, int]:
    """Note that the last export was loaded, apart from the identifiers in the first column of `failed`, a CSV.

    Failed rows go again with the next `changed_only` export. Raises `DataError` if nothing was exported.
    """
    file = _pending(campaign, preset_name)
    if not file.exists():
        raise DataError(f"{campaign.folder}: expected an export for {preset_name} to confirm, found none")
    pending = read_frame(file, "the rows of the last export", ["identifier", "row_hash"], remedy="export again")
    lost: set[str] = set()
    if failed is not None:
        try:
            lost = set(pd.read_csv(failed, dtype="str", keep_default_na=False, encoding="utf-8-sig").iloc[:, 0])
        except (OSError, ValueError, IndexError) as error:
            raise DataError(f"{failed}: expected a CSV with the failed identifiers, found: {error}") from None
        if unknown := sorted(lost.difference(pending["identifier"])):
            raise DataError(f"{failed}: expected identifiers of the export, found {unknown[0]!r}")
    loaded = pending[~pending["identifier"].isin(list(lost))]
    sent = _sent(campaign, preset_name) | dict(zip(loaded["identifier"], loaded["row_hash"], strict=True))
    sent = {identifier: mark for identifier, mark in sent.items() if mark}
    others = _marks(campaign.folder / SENT) if (campaign.folder / SENT).exists() else None
    table = pd.DataFrame({"preset": preset_name, "identifier": list(sent), "row_hash": list(sent.values())})
    if others is not None:
        table = pd.concat([others[others["preset"] != preset_name], table], ignore_index=True)
    write_table(campaign.folder / SENT, table)
    file.unlink()
    ledger.append(campaign, ledger.Entry(who=who, action="confirm", to=f"{preset_name}: {len(loaded)} rows"))
    return {"loaded": len(loaded), "failed": len(lost)}
