"""Files to share: the present page, or the whole run, as one HTML file that needs no server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core import html_page
from crm_models.core.errors import RunError
from crm_models.core.schema import PlanFor
from crm_models.planning.policy import Policy
from dashboard.state import access, predictions, session, store
from dashboard.state.view import View


def popover(view: View) -> None:
    """Draw the buttons that make the files; the page itself is drawn after them, and read when one is clicked."""
    state, run = st.session_state, session.current_run()
    # Read while there is a session: a download has none.
    chosen = {"cohort": state.get(session.COHORT), "run": state.get(session.RUN)}
    view.threshold = session.threshold()  # a slider that is moved within a part of the page says so in the view
    with st.popover("Share", icon=":material/share:", width="stretch"):
        st.markdown("One file each, which opens in any browser without this app.")
        st.download_button(
            "This page (HTML)",
            data=access.shown(lambda: page_file(view, run, chosen)),
            file_name="page.html", mime="text/html", icon=":material/web:", on_click="ignore", key="share_page",
            help="The charts of this page as they are now, with their numbers and the model card of the run.",
        )  # fmt: skip
        if run is None or store.report(run) is None or not store.scores_file(run).exists():
            return
        policy, plan_for = session.policy(), store.plan_for()
        st.download_button(
            "The whole run (HTML)",
            data=access.shown(lambda: run_file(run, replace(policy, threshold=view.threshold), plan_for)),
            file_name=f"{run.run_id}.html", mime="text/html", icon=":material/lab_profile:", on_click="ignore",
            key="share_run", help="Scores, curves, plans at this threshold, model card and limits.",
        )  # fmt: skip


def page_file(view: View, run: store.RunCard | None, chosen: Mapping[str, str | None]) -> bytes:
    """The page as HTML: what it says, its charts with their numbers, and the model card of the run.

    chosen: names of the cohort and the run.
    """
    rows = {**chosen, "churn threshold": f"{view.threshold:.2f}"}
    shown = {name: value for name, value in rows.items() if value}
    parts = [html_page.table(pd.DataFrame({"": list(shown), "value": list(shown.values())}))]
    parts += [html_page.paragraph(_plain(said)) for said in view.said.values()]
    for one in view.charts.values():
        parts.append(html_page.figure(one.figure, one.alt, numbers=one.table, note=_plain(one.note)))
    if run is not None:
        from crm_models.runs.report import model_card

        parts.append(model_card(run.folder, store.report(run)))
    return html_page.page(view.title or "CRM Transformers", parts).encode()


def run_file(run: store.RunCard, policy: Policy, plan_for: PlanFor) -> bytes:
    """The report of the run as HTML, as the command `report` writes it."""
    from crm_models.runs.report import report_page

    with store.as_chosen(plan_for):
        scores = store.scores(run)
    if scores is None:
        raise RunError(f"{run.folder.folder}: expected the scores of its customers, found none; open Plans first")
    tested = predictions.tested(run)
    n = len(scores.customer_id)
    parts = (scores.take(np.arange(k, min(k + predictions.CHUNK, n))) for k in range(0, n, predictions.CHUNK))
    return report_page(run.folder, store.report(run) or {}, parts, policy, tested.churn).encode()


def _plain(text: str) -> str:
    """Text without the marks of Markdown."""
    line = " ".join(text.replace("\u2060", "").split())
    line = re.sub(r":[a-z]+(-badge)?\[([^\]]*)\]|:material/\w+:", r"\2", line)
    return re.sub(r"\*\*|\\(?=\W)", "", line)
