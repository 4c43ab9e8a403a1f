"""What the page of this viewer shows now: its charts and sentences, kept for a file that can be shared.

Plotly figures and tables, never models. A rerun of a part of the page replaces what that part had shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from crm_models.core.schema import DEFAULT_THRESHOLD

_VIEW = "view_of_the_page"


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One chart of the page. alt: for screen readers. note: how to read it, in Markdown."""

    figure: go.Figure
    alt: str
    table: pd.DataFrame | None
    note: str


@dataclass(kw_only=True)
class View:
    """A page: its title, the churn threshold, the sentences that say what it shows, and its charts, by their keys."""

    title: str = ""
    threshold: float = DEFAULT_THRESHOLD
    said: dict[str, str] = field(default_factory=dict)
    charts: dict[str, Shown] = field(default_factory=dict)


def begin() -> View:
    """Forget the page before; at the beginning of every complete run of the script."""
    st.session_state[_VIEW] = view = View()
    return view


def current() -> View:
    """The page as it is shown."""
    view: View = st.session_state.get(_VIEW) or begin()
    return view
