"""Hand-over of a campaign: plans.csv or the file for a CRM system, with a manifest and a line in the ledger."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crm_models.campaigns import ledger
from crm_models.campaigns.deciding import edited_plans
from crm_models.campaigns.folder import Campaign
from crm_models.campaigns.presets import ExportOptions
from crm_models.campaigns.systems import write_system
from crm_models.core.errors import ConfigError, CrmError
from crm_models.core.files import PartOf, json_text, new_files, read_json
from crm_models.core.permissions import Actor, Who, doing
from crm_models.core.provenance import now, versions
from crm_models.planning.export import ExportSettings, Written, manifest_path, settings_safe, write_rows


def export(campaign: Campaign, out: Path | str, options: ExportOptions, *, who: Who = "local") -> dict[str, Any]:
    """Write the file (or files, where one would be too large), `rejected.csv` and a manifest; returns the manifest.

    The export is noted in the ledger, after which rules and groups of the campaign stay. On any error, no file changes.
    """
    with doing(who, "campaign.export", campaign.place):
        approved_by = ledger.state(campaign).approved_by
        if approved_by is None and isinstance(who, Actor):
            raise ConfigError(
                f"{campaign.name} is not approved as it is now; where people sign in, only what is approved goes out"
            )
        out = Path(out)
        with new_files() as part_of:
            write = _csv if options.preset == "csv" else write_system
            made = write(campaign, out, options, part_of)
            manifest = {
                "campaign": campaign.name,
                "preset": options.preset,
                "options": asdict(options),
                "run_id": campaign.about["run_id"],
                "cohort_hash": campaign.about["cohort_hash"],
                "decisions_sha256": campaign.decisions_mark(),
                "approved_by": approved_by,
                "written_at": now(),
                "versions": versions(),
                **made,
            }
            part_of(manifest_path(out)).write_text(json_text(manifest), encoding="utf-8")
            _remove_earlier_parts(out, made["files"])
        ledger.record(campaign, ledger.Entry(who=who, action="export", to=f"{options.preset}: {out.name}"))
        return manifest


def _remove_earlier_parts(out: Path, files: list[str]) -> None:
    """Remove further files that an earlier export wrote here, so that nobody loads them with the new ones."""
    try:
        before = [str(name) for name in read_json(manifest_path(out))["files"]]
    except (CrmError, KeyError, TypeError):
        return  # none, or nothing that this package wrote
    for name in before:
        if name not in files and re.fullmatch(rf"{re.escape(out.stem)}\.\d+{re.escape(out.suffix)}", name):
            out.with_name(name).unlink(missing_ok=True)


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
    written = Written.nothing()
    with part_of(out).open("wb") as handle:
        for k, (plans, decisions) in enumerate(edited_plans(campaign, targeted_only=options.targeted_only)):
            more = _campaign_columns(decisions, settings)
            written += write_rows(plans, handle, settings, header=k == 0, more=more)
    return {
        "files": [out.name],
        "text": settings.text,
        "ids_changed": written.changed_ids,
        "counts": {"rows": written.counts["customers"], "rejected": 0},
        "rejected_file": None,
    }


def _campaign_columns(decisions: pd.DataFrame, settings: ExportSettings) -> dict[str, Any]:
    return {
        "holdout": np.where(decisions["arm"] == "holdout", "true", "false"),
        "arm": decisions["arm"].to_numpy(),
        "propensity": decisions["propensity"].to_numpy(),
        "dropped_reason": decisions["dropped_reason"].map(partial(settings_safe, settings=settings)).to_numpy(),
        "confident": decisions["confident"].astype(object).map({True: "true", False: "false"}).to_numpy(),
        "not_before": decisions["not_before"].to_numpy(),
    }


# ---- systems ---------------------------------------------------------------------------------------------------------
