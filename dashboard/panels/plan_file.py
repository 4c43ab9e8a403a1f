"""The file of the plans: which customers, how it is written, and the buttons that make it on a click."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from crm_models import workflow
from crm_models.core.records import CustomerScores
from crm_models.core.schema import PlanLayout
from crm_models.data.drift import Difference
from crm_models.planning.export import ExportSettings, manifest_path
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
from dashboard.panels import customer_list
from dashboard.state import access, predictions, reasons, store, workspace

KEPT_EXPORTS = 24
"""Plan files kept in the workspace; older ones are deleted."""
SCOPES = {"all": "All customers", "risk": "Customers at risk", "filter": "Filtered list"}
TEXTS = {"safe": "For a spreadsheet", "exact": "Exact, for a system"}
LAYOUTS: dict[PlanLayout, str] = {"wide": "One row per customer", "long": "One row per step"}


@dataclass
class Bound:
    """Policy and filter for the download buttons, which are outside the slider's fragment and not redrawn with it."""

    policy: Policy
    filter: customer_list.Filter


class Export:
    """A plan file, written on demand and reused for the same request.

    drivers: with those of the risk of customers at risk; step_drivers: with those of the model's steps. cohort: whose
    scores these are, if not the run's own; drift: how it differs from that one.
    """

    def __init__(
        self,
        card: store.RunCard,
        all_scores: CustomerScores,
        risk: RiskIndex,
        bound: Bound,
        *,
        scope: str,
        layout: PlanLayout,
        api_exact: bool = False,
        drivers: bool = False,
        step_drivers: bool = False,
        cohort: str | None = None,
        drift: Sequence[Difference] = (),
    ) -> None:
        self.card, self.scores, self.risk, self.bound = card, all_scores, risk, bound
        self.scope, self.layout, self.api_exact, self.drift = scope, layout, api_exact, drift
        self.drivers, self.step_drivers = drivers, step_drivers
        cohort = cohort or card.cohort
        # Everything from the session and its caches is read here, because the download's thread has no session.
        self.mark, self.scored_at = predictions.scores_mark(card, cohort), predictions.scored_at(card, cohort)
        self.plan_for = store.plan_for()
        self.folder, self.cohort = workspace.exports_folder(), workspace.cohorts_folder() / cohort
        self.name = f"plans-{cohort}" + {"all": "", "risk": "-at-risk", "filter": "-filtered"}[scope]
        self.name += "-long" if layout == "long" else ""
        self._checked = access.exported(f"cohorts/{cohort}, runs/{card.run_id}", self._file)

    def buttons(self, label: str, *, key: str, manifest_key: str, main: bool = False) -> None:
        """Draw the download buttons of the plans and of the manifest."""
        st.download_button(
            label,
            data=lambda: self.file().open("rb"),
            file_name=f"{self.name}.csv",
            mime="text/csv",
            type="primary" if main else "secondary",
            icon=":material/download:",
            on_click="ignore",
            key=key,
            disabled=not access.may("plans.export"),
        )
        st.download_button(
            "Manifest",
            data=lambda: manifest_path(self.file()).open("rb"),
            file_name=f"{self.name}.manifest.json",
            mime="application/json",
            icon=":material/description:",
            on_click="ignore",
            key=manifest_key,
            disabled=not access.may("plans.export"),
            help="How the plans were made: run, cohort, policy, counts, versions, checksum.",
        )

    def rows(self, policy: Policy) -> np.ndarray:
        """Rows of the customers in the file, in cohort order."""
        if self.scope == "risk":
            return np.sort(self.risk.rows_at_risk(policy.threshold))
        if self.scope == "filter":
            return np.sort(customer_list.filtered(self.card, self.scores, policy, self.bound.filter))
        return np.arange(len(self.scores.customer_id))

    def file(self) -> Path:
        """Path of the CSV, written with its manifest unless the same request was written before."""
        return self._checked()

    def _file(self) -> Path:
        policy = self.bound.policy
        selection: dict[str, Any] = {"selection": SCOPES[self.scope]}
        if self.scope == "filter":
            selection["filter"] = vars(self.bound.filter)
        wanted = [self.mark, self.name, self.api_exact, self.drivers, self.step_drivers, policy.to_dict(), selection]
        key = json.dumps(wanted, sort_keys=True)
        out = self.folder / f"plans-{hashlib.sha256(key.encode()).hexdigest()[:16]}.csv"
        if not (out.exists() and manifest_path(out).exists()):
            self.folder.mkdir(parents=True, exist_ok=True)
            _make_room(self.folder)
            settings = ExportSettings(
                run_id=self.card.run_id,
                scored_at=self.scored_at,
                layout=self.layout,
                api_exact=self.api_exact,
                download_name=f"{self.name}.csv",
            )
            catalogue = predictions.catalogue(self.card, policy)
            with store.as_chosen(self.plan_for):
                rows = self.rows(policy)
            plans = predictions.chunks(self.scores, rows, catalogue, policy)
            if self.drivers:
                plans = reasons.with_drivers(self.card, plans, rows)
            if self.step_drivers:
                plans = reasons.with_step_drivers(self.card, plans, rows, self.plan_for)
            workflow.export_plans(
                plans,
                out,
                settings,
                run=self.card.folder,
                cohort=self.cohort,
                policy=policy,
                plan_for=self.plan_for,
                selection=selection,
                drift=self.drift,
            )
        return out


def _make_room(folder: Path) -> None:
    files = sorted(folder.glob("plans-*.csv"), key=lambda file: file.stat().st_mtime)
    for old in files[: max(0, len(files) - KEPT_EXPORTS + 1)]:
        old.unlink(missing_ok=True)
        manifest_path(old).unlink(missing_ok=True)
