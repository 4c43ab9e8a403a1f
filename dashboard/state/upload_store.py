"""Cache of uploaded files, so that each is read once, and each column mapping is built once, across script reruns.

A few entries, kept for half an hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from crm_models.data.checks import Finding, check_cohort
from crm_models.data.cohort import Cohort
from crm_models.data.sources.receipt import Receipt
from dashboard.state.uploads import Mapped, Reading, build, read_upload


@st.cache_resource(max_entries=6, ttl="30m", show_spinner="Reading the file")
def uploaded_tables(
    file_id: str, name: str, _file: Any, encoding: str | None = None, skip_bad_rows: bool = False
) -> list[tuple[pd.DataFrame, str]]:
    """The tables in an uploaded file, each with its name; `file_id` is the id that Streamlit gives the upload."""
    return read_upload(name, _file.getvalue(), encoding, skip_bad_rows=skip_bad_rows)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A cohort built from uploads, the receipt of its import, and its data check."""

    cohort: Cohort
    receipt: Receipt
    findings: list[Finding]


def built_cohort(tables: list[Mapped], name: str, churn_days: float | None, reading: Reading) -> Built:
    """The cohort built from mapped uploads, with receipt and data check."""
    parts = [
        (t.upload, t.file, t.kind, sorted(t.columns.items()), t.drop, t.positive, t.table.attrs.get("encoding"))
        for t in tables
    ]
    return _built(repr((parts, name, churn_days, reading)), tables, name, churn_days, reading)


@st.cache_resource(max_entries=2, ttl="30m", show_spinner=False)
def _built(key: str, _tables: list[Mapped], _name: str, _churn_days: float | None, _reading: Reading) -> Built:
    cohort, receipt = build(_tables, name=_name, churn_days=_churn_days, reading=_reading)
    return Built(cohort=cohort, receipt=receipt, findings=check_cohort(cohort))
