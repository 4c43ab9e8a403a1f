"""Cache of uploaded files, so that each is read once, and each column mapping is built once, across script reruns.

A few entries, kept for half an hour.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from crm_models.data.checks import Finding, check_cohort
from crm_models.data.cohort import Cohort
from dashboard.state.uploads import Mapped, build, read_upload


@st.cache_resource(max_entries=6, ttl="30m", show_spinner="Reading the file")
def uploaded_table(file_id: str, name: str, _file: Any) -> pd.DataFrame:
    """The table in an uploaded file; `file_id` is the id that Streamlit gives the upload."""
    return read_upload(name, _file.getvalue())


def checked_cohort(tables: list[Mapped], name: str, churn_days: float | None) -> tuple[Cohort, list[Finding]]:
    """The cohort built from mapped uploads, and its data check."""
    parts = [(t.upload, t.file, t.kind, sorted(t.columns.items()), t.drop, t.positive) for t in tables]
    return _built(repr((parts, name, churn_days)), tables, name, churn_days)


@st.cache_resource(max_entries=2, ttl="30m", show_spinner=False)
def _built(key: str, _tables: list[Mapped], _name: str, _churn_days: float | None) -> tuple[Cohort, list[Finding]]:
    cohort = build(_tables, name=_name, churn_days=_churn_days)
    return cohort, check_cohort(cohort)
