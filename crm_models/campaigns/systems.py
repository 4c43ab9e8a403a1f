"""The file of a campaign for a CRM system: rows that its preset allows, in as many files as its limits need.

Customers are written part by part: beside a part, memory holds an identifier and a reason for each customer. The time
of scoring is no change. Letters: N customers, n of a part.
"""

from __future__ import annotations

import csv
import hashlib
from contextlib import closing
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pandas as pd
import pyarrow as pa

from crm_models.campaigns.deciding import edited_plans
from crm_models.campaigns.folder import CHUNK, Campaign
from crm_models.campaigns.loaded import Loaded, pending_file
from crm_models.campaigns.presets import FIELDS, ExportOptions, Preset, identifier_rules, label_rules, preset
from crm_models.core.errors import ConfigError, DataError
from crm_models.core.files import PartOf
from crm_models.core.schema import CUSTOMER_ID, N_STEPS, PLAN_SOURCES
from crm_models.core.tables import TableWriter
from crm_models.data.storage import customer_columns, customer_table
from crm_models.planning.plans import STEP_RETENTION, Plans

REJECTED_COLUMNS = ("row", "customer_id", "column", "value", "rule")
PENDING = pa.schema([(name, pa.string()) for name in ("identifier_column", "identifier", "row_hash")])


def write_system(campaign: Campaign, out: Path, options: ExportOptions, part_of: PartOf) -> dict[str, Any]:
    """Write the files, the rejected rows, and what waits to be confirmed; returns their part of the manifest."""
    made_for = preset(options.preset).within(options.most_mb, options.most_rows)
    identifier = made_for.identifier(options.identifier)
    ids = _customer_ids(campaign, options.targeted_only)
    values = ids if options.id_column is None else _identifiers(campaign, options.id_column, ids)
    rules = identifier_rules(made_for.identifiers[identifier], values)
    front = {"user_alias_label": options.alias_label} if identifier == "user_alias_name" else {}
    back = {made_for.scored_at: pd.Timestamp(campaign.about["created_at"]).tz_convert("UTC").strftime("%FT%TZ")}
    header = [identifier, *front, *map(made_for.column, FIELDS), *back]
    loaded = Loaded.of(campaign, made_for.key, identifier)
    rejected_file = out.with_name(f"{out.stem}.rejected.csv")
    with (
        closing(_Parts(out, made_for, header, part_of)) as parts,
        TableWriter(part_of(pending_file(campaign, made_for.key))) as pending,
        part_of(rejected_file).open("w", encoding="utf-8", newline="") as rejected,
    ):
        sorter = _Sorter(loaded, parts, pending, rejected, back, changed_only=options.changed_only)
        first = 0
        for plans, decisions in edited_plans(campaign, targeted_only=options.targeted_only):
            rows = slice(first, first + len(plans))
            table = _fields(campaign, made_for, plans, decisions)
            table = pd.DataFrame({identifier: values[rows], **front}, index=table.index).join(table)
            sorter.add(table, {identifier: rules[rows], **label_rules(made_for, table)}, ids[rows], first)
            first = rows.stop
        gone = loaded.gone(pa.array(values, pa.string()))
        sorter.clear(_cleared(made_for, identifier, front, gone))
        parts.close()
        _need_round_trip(list(parts.files.values()), header, back, sorter.counts["rows"], sorter.written.hexdigest())
    return {
        "files": list(parts.files),
        "text": "exact",
        "identifier": identifier,
        "counts": sorter.counts,
        "rejected_file": rejected_file.name,
    }


class _Sorter:
    """Sorts rows into sent, rejected and unchanged ones, and writes each where it belongs.

    A row is the identifier and what the system is told; `back`: constant columns that follow in the file and are no
    change. counts: rows of the files, and of each kind. written: hash of the rows as meant, to compare with the files.
    """

    def __init__(
        self,
        loaded: Loaded,
        parts: _Parts,
        pending: TableWriter,
        rejected: TextIO,
        back: dict[str, str],
        *,
        changed_only: bool,
    ) -> None:
        self.counts = dict.fromkeys(("rows", "rejected", "insert", "update", "clear", "unchanged"), 0)
        self.written = hashlib.sha256()
        self._loaded, self._parts, self._pending, self._back = loaded, parts, pending, back
        self._changed_only = changed_only
        self._rejected = csv.writer(rejected)
        self._rejected.writerow(REJECTED_COLUMNS)
        pending.write(PENDING.empty_table())

    def add(self, table: pd.DataFrame, problems: dict[str, np.ndarray], ids: np.ndarray, first: int) -> None:
        """Rows of the customers `ids` (n,), the first of which is row `first` of the campaign.

        problems: by column, (n,) the rule that rejects its text, "" for none.
        """
        bad = np.any([rule != "" for rule in problems.values()], axis=0)
        for row in np.flatnonzero(bad):
            for column, rule in problems.items():
                if rule[row]:
                    text = str(table[column].iloc[row])[:80]
                    self._rejected.writerow([first + int(row) + 1, str(ids[row]), column, text, rule[row]])
        self.counts["rejected"] += int(bad.sum())
        table = table[~bad]
        hashes = row_hashes(table)
        before = self._loaded.hashes_of(pa.array(table.iloc[:, 0], pa.string()))
        kind = np.where(before == None, "insert", np.where(before == hashes, "unchanged", "update"))  # noqa: E711
        for name, n in zip(*np.unique(kind, return_counts=True), strict=True):
            self.counts[name] += int(n)
        keep = kind != "unchanged" if self._changed_only else np.ones(len(table), dtype=bool)
        self._send(table[keep], hashes[keep], hashes[keep])

    def clear(self, table: pd.DataFrame) -> None:
        """Rows of customers whom the campaign no longer holds; sent only among changes."""
        self.counts["clear"] = len(table)
        if self._changed_only:
            self._send(table, row_hashes(table), np.full(len(table), "", dtype=object))

    def _send(self, table: pd.DataFrame, hashes: np.ndarray, confirmed: np.ndarray) -> None:
        """confirmed: what counts as loaded once somebody confirms the file; "" for a row that clears."""
        if table.empty:
            return
        self._parts.add(table.assign(**self._back))
        self.written.update("".join(hashes).encode())
        self.counts["rows"] += len(table)
        identifier = table.columns[0]
        columns = [np.full(len(table), identifier, dtype=object), table[identifier].to_numpy(), confirmed]
        self._pending.write(pa.table([pa.array(c, pa.string()) for c in columns], schema=PENDING))


# ---- rows ------------------------------------------------------------------------------------------------------------


def _customer_ids(campaign: Campaign, targeted_only: bool) -> np.ndarray:
    decisions = campaign.decisions([CUSTOMER_ID, "arm"])
    rows = decisions["arm"] != "none" if targeted_only else np.ones(len(decisions), dtype=bool)
    return decisions[CUSTOMER_ID].to_numpy(dtype=object)[rows]


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


def _fields(campaign: Campaign, made_for: Preset, plans: Plans, decisions: pd.DataFrame) -> pd.DataFrame:
    """(n, FIELDS) what the system is told about each customer, as text."""
    text = np.array([label or made_for.blank for label in (*campaign.catalogue.labels, "")], dtype=object)
    flag = np.array([made_for.false, made_for.true], dtype=object)
    risk = [made_for.blank_number if p != p else f"{p:.4f}" for p in plans.churn_p.tolist()]
    columns = {
        "churn_risk": np.array(risk, dtype=object),
        "at_risk": flag[plans.at_risk.astype(int)],
        "plan_source": np.array(PLAN_SOURCES, dtype=object)[plans.source],
        **{f"plan_step_{k + 1}": text[plans.action[:, k]] for k in range(N_STEPS)},
        "plan_action": text[np.where(plans.step_source[:, 0] == STEP_RETENTION, plans.action[:, 0], -1)],
        "holdout": flag[(decisions["arm"] == "holdout").to_numpy(dtype=int)],
    }
    return pd.DataFrame({made_for.column(name): columns[name] for name in FIELDS})


def _cleared(made_for: Preset, identifier: str, front: dict[str, str], gone: list[str]) -> pd.DataFrame:
    """Rows that clear customers whom this campaign sent before and no longer holds."""
    blanks = dict.fromkeys(FIELDS, made_for.blank) | {"churn_risk": made_for.blank_number}
    blanks |= {"at_risk": made_for.false, "holdout": made_for.false}
    about = {made_for.column(name): blanks[name] for name in FIELDS}
    return pd.DataFrame({identifier: gone}).assign(**front, **about).astype(object)


def row_hashes(table: pd.DataFrame) -> np.ndarray:
    """(N,) SHA-256 of each row's cells, hexadecimal."""
    rows = zip(*(table[column].astype("str").to_list() for column in table.columns), strict=True)
    return np.array([hashlib.sha256("\x1f".join(row).encode()).hexdigest() for row in rows], dtype=object)


# ---- files -----------------------------------------------------------------------------------------------------------


class _Parts:
    """Writes rows to a file and, where it is full, to further ones: `files` are their temporary paths by name."""

    def __init__(self, out: Path, made_for: Preset, header: list[str], part_of: PartOf) -> None:
        self.files: dict[str, Path] = {}
        self._out, self._made_for, self._part_of = out, made_for, part_of
        self._size, self._rows = 0, 0
        self._header = pd.DataFrame(columns=header).to_csv(index=False, lineterminator="\n").encode()
        self._open()

    def add(self, table: pd.DataFrame) -> None:
        """Append rows; a cell holds no line break (the linter rejects it)."""
        text = table.to_csv(index=False, header=False, lineterminator="\n", quoting=csv.QUOTE_MINIMAL).encode()
        lines = text.splitlines(keepends=True)
        ends = np.cumsum([len(line) for line in lines])
        begin = 0
        while begin < len(lines):
            room = self._made_for.most_bytes - self._size + (ends[begin - 1] if begin else 0)
            fit = int(np.searchsorted(ends, room, side="right")) - begin
            fit = min(max(fit, 1 - min(self._rows, 1)), self._made_for.most_rows - self._rows)
            if fit <= 0:
                self._open()
                continue
            self._handle.write(b"".join(lines[begin : begin + fit]))
            self._size += int(ends[begin + fit - 1] - (ends[begin - 1] if begin else 0))
            self._rows, begin = self._rows + fit, begin + fit

    def close(self) -> None:
        """Write out what is buffered."""
        self._handle.close()

    def _open(self) -> None:
        if self.files:
            self.close()
        n = len(self.files)
        target = self._out if not n else self._out.with_name(f"{self._out.stem}.{n}{self._out.suffix}")
        self.files[target.name] = self._part_of(target)
        self._handle = self.files[target.name].open("wb")
        self._handle.write(self._header)
        self._size, self._rows = len(self._header), 0


def _need_round_trip(files: list[Path], header: list[str], back: dict[str, str], rows: int, digest: str) -> None:
    """`DataError` unless the files, read as text, hold exactly the rows that were meant."""
    found, n = hashlib.sha256(), 0
    for file in files:
        with pd.read_csv(file, dtype="str", keep_default_na=False, encoding="utf-8", chunksize=CHUNK) as chunks:
            for chunk in chunks:
                same = list(chunk.columns) == header and all((chunk[c] == value).all() for c, value in back.items())
                n += len(chunk) if same else rows + 1
                found.update("".join(row_hashes(chunk.drop(columns=list(back)))).encode())
    if (n, found.hexdigest()) != (rows, digest):
        raise DataError(f"{files[0]}: expected to read back what was written, found something else; do not send it")
