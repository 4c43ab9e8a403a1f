"""What a CRM system holds: the rows that were exported and then confirmed as loaded, by this campaign or others.

A row counts as loaded once somebody confirms it, not when it is exported: what failed on the way goes again. Campaigns
beside each other write the same fields of the same system, so the latest load of an identifier counts, whoever made it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crm_models.campaigns import ledger
from crm_models.campaigns.folder import FILE, Campaign
from crm_models.campaigns.presets import PresetName, preset
from crm_models.campaigns.tables import read_brought
from crm_models.core.errors import CrmError, DataError
from crm_models.core.files import read_whole
from crm_models.core.permissions import Who, doing
from crm_models.core.provenance import now
from crm_models.core.tables import read_frame, write_table

SENT = "sent.parquet"
COLUMNS = ("preset", "identifier_column", "identifier", "row_hash", "at")
"""Of sent.parquet. row_hash: SHA-256 of the mapped cells; "" for a row that cleared its customer."""

_WHAT, _REMEDY = "the rows that were loaded", "delete it, and export everything again"


@dataclass(frozen=True)
class Loaded:
    """Rows that a system holds. identifier, row_hash: S texts. own (S,): whether this campaign wrote them last."""

    identifier: pa.Array
    row_hash: pa.Array
    own: np.ndarray

    @classmethod
    def of(cls, campaign: Campaign, system: PresetName, identifier_column: str) -> Loaded:
        """The rows of a system with this identifier, as last confirmed by this campaign or one beside it."""
        tables = [_sent(campaign.folder).assign(own=True)]
        for other in sorted(campaign.folder.resolve().parent.glob(f"*/{SENT}")):
            if other.parent != campaign.folder.resolve() and (other.parent / FILE).exists():
                try:
                    tables.append(_sent(other.parent).assign(own=False))
                except CrmError:
                    continue  # its rows are sent again, which is safe
        rows = pd.concat(tables, ignore_index=True)
        rows = rows[(rows["preset"] == system) & (rows["identifier_column"] == identifier_column)]
        rows = rows.sort_values("at", kind="stable").drop_duplicates("identifier", keep="last")
        rows = rows[rows["row_hash"] != ""]
        identifier, row_hash = (pa.array(rows[name], type=pa.string()) for name in ("identifier", "row_hash"))
        return cls(identifier, row_hash, rows["own"].to_numpy(dtype=bool))

    def hashes_of(self, identifier: pa.Array) -> np.ndarray:
        """(n,) the hash of each identifier's row, None for those that the system does not hold."""
        return self.row_hash.take(pc.index_in(identifier, value_set=self.identifier)).to_numpy(zero_copy_only=False)

    def gone(self, identifier: pa.Array) -> list[str]:
        """Identifiers that this campaign wrote last and that are not among its present ones, sorted."""
        gone = self.own & ~pc.is_in(self.identifier, value_set=identifier).to_numpy(zero_copy_only=False)
        return sorted(self.identifier.filter(pa.array(gone)).to_pylist())


def _sent(folder: Path) -> pd.DataFrame:
    file = folder / SENT
    if not file.exists():
        return pd.DataFrame({name: pd.array([], dtype="str") for name in COLUMNS})
    table = read_frame(file, _WHAT, remedy=_REMEDY)
    with read_whole(file, _WHAT, _REMEDY):
        if "at" not in table:  # before campaigns knew of each other
            usual = {name: preset(name).identifier(None) for name in set(table["preset"])}
            table = table.assign(identifier_column=table["preset"].map(usual), at="")
        return table[list(COLUMNS)]


def pending_file(campaign: Campaign, system: PresetName) -> Path:
    """The rows of the last export for a system, until somebody confirms that they were loaded."""
    return campaign.folder / f"pending-{system}.parquet"


def confirm(
    campaign: Campaign, system: PresetName, *, failed: Path | str | None = None, who: Who = "local"
) -> dict[str, int]:
    """Note that the last export was loaded, apart from the identifiers in the first column of `failed`, a CSV.

    Failed rows go again with the next `changed_only` export. Raises `DataError` if nothing was exported.
    """
    file = pending_file(campaign, system)
    with doing(who, "campaign.confirm", campaign.place):
        if not file.exists():
            raise DataError(f"{campaign.folder}: expected an export for {system} to confirm, found none")
        pending = read_frame(file, "the rows of the last export", remedy="export again")
        lost: set[str] = set()
        if failed is not None:
            lost = set(read_brought(failed, "the failed identifiers").iloc[:, 0])
            if unknown := sorted(lost.difference(pending["identifier"])):
                raise DataError(f"{failed}: expected identifiers of the export, found {unknown[0]!r}")
        loaded = pending[~pending["identifier"].isin(list(lost))].assign(preset=system, at=now())
        before = _sent(campaign.folder)
        key = ["preset", "identifier_column", "identifier"]
        table = pd.concat([before, loaded], ignore_index=True).drop_duplicates(key, keep="last")
        write_table(campaign.folder / SENT, table[list(COLUMNS)])
        file.unlink()
        ledger.record(campaign, ledger.Entry(who=who, action="confirm", to=f"{system}: {len(loaded)} rows"))
        return {"loaded": len(loaded), "failed": len(lost)}
