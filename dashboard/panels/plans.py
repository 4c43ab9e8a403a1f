"""What the plans page shows: the threshold and what it does at once; on demand what changes, the best one, the list."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from crm_models import workflow
from crm_models.core.records import CustomerScores
from crm_models.core.schema import PlanLayout
from crm_models.planning.export import ExportSettings, manifest_path
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import RiskIndex
from dashboard.charts import decision as decision_charts
from dashboard.panels import customer_list, widgets
from dashboard.panels import policy as policy_panels
from dashboard.state import predictions, session, store, workspace

TABS = ("Who is at risk", "What changes", "Best threshold", "The plans")
SHOWN = 200
"""Customers that flip, at most this many in the table."""
PAINT_SECONDS = 0.04
KEPT_EXPORTS = 24
"""Files of plans that stay in the workspace; older ones make room."""


@dataclass
class Bound:
    """What the buttons outside the fragment of the slider must know: the slider moves without drawing them anew."""

    policy: Policy
    filter: customer_list.Filter


@st.fragment
def decide(card: store.RunCard, bound: Bound) -> None:
    """The slider and everything that follows from it. A move reruns this and nothing else of the page."""
    everybody, risk = store.scores(card), store.risk_index(card)
    assert everybody is not None and risk is not None  # the page asked for them first
    threshold = policy_panels.threshold_slider()
    policy = bound.policy = session.policy()
    n, at_risk = len(everybody.customer_id), risk.n_at_risk(threshold)
    steps = risk.n_with_retention(policy)
    with st.container(horizontal=True):
        st.metric(
            "Customers at risk",
            f"{at_risk:,}",
            border=True,
            delta=f"{widgets.share(at_risk / max(n, 1))} of all",
            delta_color="off",
            delta_arrow="off",
        )
        st.metric(
            "Plans changed",
            f"{steps[0]:,}",
            border=True,
            delta=f"{sum(steps):,} steps to keep a customer",
            delta_color="off",
            delta_arrow="off",
        )
    # The browser paints together what arrives close together, and a chart takes it long: the numbers go first.
    time.sleep(PAINT_SECONDS)
    known = len(risk.rows) > 0
    at_risk_tab, changes, best, listed = st.tabs(
        TABS, default=None if known else TABS[3], key="plans_tab", on_change="rerun", bind="query-params"
    )
    if listed.open:
        with listed:
            _list(card, everybody, policy, bound)
    elif not known:
        with at_risk_tab if at_risk_tab.open else changes if changes.open else best:
            widgets.empty_state(
                "person_off", "Nobody's risk is known", "Without churn probabilities no threshold changes anything."
            )
    elif changes.open:
        with changes:
            _what_changes(card, everybody, risk, policy)
    elif best.open:
        with best:
            _best_threshold(risk, threshold)
    else:
        with at_risk_tab:
            _who_is_at_risk(predictions.scores_mark(card), threshold, everybody.churn_p)


def _who_is_at_risk(mark: str, threshold: float, churn_p: np.ndarray) -> None:
    widgets.chart(
        _histogram(mark, threshold, churn_p),
        key="risk_histogram",
        alt="Customers by churn probability, with the threshold",
        table=_bins(mark, churn_p),
        note="Each bar counts the customers whose churn probability lies in a range of two points. Red, to the right "
        "of the dotted line: at risk. A move of the threshold over a high bar changes many plans; over an empty "
        "stretch it changes none.",
    )


@st.cache_resource(max_entries=4, show_spinner=False)
def _bins(mark: str, _churn_p: np.ndarray) -> pd.DataFrame:
    counts = predictions.risk_counts(mark, _churn_p)
    edges = np.linspace(0, 1, len(counts) + 1).round(2)
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], "customers": counts})


@st.cache_resource(max_entries=512, show_spinner=False)
def _histogram(mark: str, threshold: float, _churn_p: np.ndarray) -> go.Figure:
    """Kept for each of the slider's 101 places: building a figure takes longer than everything else a move does."""
    return decision_charts.at_threshold(_any_histogram(mark, _churn_p), threshold)


@st.cache_resource(max_entries=4, show_spinner=False)
def _any_histogram(mark: str, _churn_p: np.ndarray) -> go.Figure:
    return decision_charts.risk_histogram(predictions.risk_counts(mark, _churn_p), 0.5)


# ---- what changes ----------------------------------------------------------------------------------------------------


def _what_changes(card: store.RunCard, everybody: CustomerScores, risk: RiskIndex, policy: Policy) -> None:
    mark = predictions.scores_mark(card)
    words = predictions.catalogue(card, policy)
    with st.spinner("Making everybody's plans, once for these retention actions", show_time=True):
        mix = predictions.mix(mark, policy, everybody, words, risk)
    widgets.chart(
        decision_charts.before_after(mix, policy.retention_actions),
        key="mix",
        alt="Steps of all plans by action, before and after the policy",
        table=mix,
        note="How often each action stands in somebody's plan. **Pale**: what the model proposes. **Full**: after the "
        "plans of customers at risk turned to retention. Green: the retention actions; blue: all others.",
    )
    st.subheader("Who flips between two thresholds", anchor=False)
    other = st.slider("Compare with threshold", 0.0, 1.0, 0.6, 0.01, key="other_threshold", bind="query-params")
    rows = risk.flips(policy.threshold, other)
    low, high = sorted((policy.threshold, other))
    if not len(rows):
        st.caption(f"Nobody's churn probability lies above {low:.2f} and not above {high:.2f}: no plan differs.")
        return
    st.markdown(
        f"**{len(rows):,} customers** have a churn probability above {low:.2f} and not above {high:.2f}. They are at "
        f"risk at {low:.2f} and not at {high:.2f}."
    )
    flipped = rows[::-1][:SHOWN]
    plans = [predictions.plans(card, everybody, flipped, replace(policy, threshold=at)) for at in (low, high)]
    labels = np.array([*plans[0].catalogue.labels, ""], dtype=object)
    table = pd.DataFrame(
        {
            "customer": plans[0].customer_id,
            "churn probability": (100 * plans[0].churn_p).round(1),
            **{
                f"plan at {at:.2f}": [", ".join(labels[a] for a in row if a >= 0) for row in made.action]
                for at, made in zip((low, high), plans, strict=True)
            },
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        alt="Customers who flip, with their plan at either threshold",
        column_config={"churn probability": customer_list.risk_bar()}
        | {f"plan at {at:.2f}": st.column_config.TextColumn(width=280) for at in (low, high)},
    )
    if len(rows) > SHOWN:
        st.caption(f"The {SHOWN} riskiest of {len(rows):,}.")


# ---- the best threshold ----------------------------------------------------------------------------------------------


def _best_threshold(risk: RiskIndex, threshold: float) -> None:
    st.markdown("What does a contact cost, and what is a kept customer worth? Then the best threshold follows.")
    with st.grid(4, min_column_width=150, vertical_alignment="bottom"):
        cost = st.number_input(
            "Cost per retention contact", 0.0, 1e9, 5.0, 1.0, key="contact_cost", persist_state="session",
            help="Of the three retention steps together, in your currency.",
        )  # fmt: skip
        value = st.number_input(
            "Value of a kept customer", 0.0, 1e9, 100.0, 10.0, key="kept_value", persist_state="session",
            help="What a customer brings who would have left and stays, in your currency.",
        )  # fmt: skip
        success = st.number_input(
            "Success rate, %", 0.0, 100.0, 20.0, 5.0, key="success_rate", persist_state="session",
            help="Of a hundred churners who are contacted, how many stay. An assumption: the models do not know it.",
        )  # fmt: skip
        capacity = st.number_input(
            "Most contacts possible", 1, None, None, 100, key="capacity", persist_state="session",
            placeholder="no limit", help="With a limit, only the riskiest are contacted.",
        )  # fmt: skip
    table = risk.expected_value(cost=cost, value=value, success_rate=success / 100, capacity=capacity)
    best = table[table["best"]].iloc[0]
    found = float(best["threshold"])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"Best threshold **{found:.2f}**: {int(best['contacted']):,} contacted, about {best['kept']:,.0f} kept, "
            f"worth {best['value']:,.0f} after costs."
            if best["value"] > 0
            else "With these numbers no contact pays for itself: contact nobody."
        )
        st.button(
            f"Use {found:.2f}",
            icon=":material/check:",
            on_click=_use,
            args=(found,),
            disabled=found == threshold,
            key="use_best",
        )
    widgets.chart(
        decision_charts.expected_value(table, threshold, "your currency"),
        key="expected_value",
        alt=f"Expected value by threshold; best at {found:.2f}",
        table=table.drop(columns="best"),
        note="Contacting one customer is worth *churn probability × success rate × value − cost*; the curve adds that "
        "up over everybody above the threshold. It trusts the probabilities, so look at the calibration on the "
        "evaluation page first.",
    )


def _use(threshold: float) -> None:
    st.session_state[session.THRESHOLD] = threshold


# ---- the list --------------------------------------------------------------------------------------------------------


def _list(card: store.RunCard, everybody: CustomerScores, policy: Policy, bound: Bound) -> None:
    wanted = bound.filter = customer_list.filter_row()
    rows = customer_list.filtered(card, everybody, policy, wanted)
    if not len(rows):
        customer_list.nobody()
        return
    plans = predictions.plans(card, everybody, customer_list.page_of(rows), policy)
    picked = st.dataframe(
        customer_list.table(plans, has_churn=not np.isnan(everybody.churn_p).all()),
        hide_index=True,
        key="plans_list",
        alt="Customers with their churn probability and plan",
        column_config=customer_list.column_config(plans),
        on_select="rerun",
        selection_mode="single-row",
    )
    customer_list.turn_pages(len(rows))
    if picked.selection.rows:
        chosen = str(plans.customer_id[picked.selection.rows[0]])
        if st.button(f"Open {widgets.plain(chosen, 40)}", icon=":material/person_search:", key="open_customer"):
            st.switch_page(widgets.PAGES["customers"], query_params=customer_list.link_to(chosen))


# ---- download --------------------------------------------------------------------------------------------------------

SCOPES = {"all": "All customers", "risk": "Customers at risk", "filter": "The filter of the list"}
LAYOUTS: dict[PlanLayout, str] = {"wide": "One row per customer", "long": "One row per step"}


def download(card: store.RunCard, bound: Bound) -> None:
    """The plans as a file, made when it is asked for, on a thread of its own, with the policy of that moment."""
    everybody, risk = store.scores(card), store.risk_index(card)
    assert everybody is not None and risk is not None  # the page asked for them first
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scope = st.selectbox(
            "Download", list(SCOPES), format_func=SCOPES.__getitem__, key="download_scope", persist_state="session",
            width=220,
        )  # fmt: skip
        layout = st.selectbox(
            "Layout", list(LAYOUTS), format_func=LAYOUTS.__getitem__, key="download_layout", persist_state="session",
            width=220,
        )  # fmt: skip
        make = Export(card, everybody, risk, bound, scope=scope, layout=layout)
        st.download_button(
            "Download plans (CSV)",
            data=lambda: make.file().open("rb"),
            file_name=f"{make.name}.csv",
            mime="text/csv",
            type="primary",
            icon=":material/download:",
            on_click="ignore",
            key="download_plans",
        )
        st.download_button(
            "Manifest",
            data=lambda: manifest_path(make.file()).open("rb"),
            file_name=f"{make.name}.manifest.json",
            mime="application/json",
            icon=":material/description:",
            on_click="ignore",
            key="download_manifest",
            help="What the plans rest on: run, cohort, policy, counts, versions, checksum.",
        )


class Export:
    """A file of plans to be made, or found where the same one was made before."""

    def __init__(
        self,
        card: store.RunCard,
        everybody: CustomerScores,
        risk: RiskIndex,
        bound: Bound,
        *,
        scope: str,
        layout: PlanLayout,
    ) -> None:
        self.card, self.everybody, self.risk, self.bound = card, everybody, risk, bound
        self.scope, self.layout = scope, layout
        # All that hangs on the session and its caches is taken here: on the download's thread there is no session.
        self.mark, self.scored_at = predictions.scores_mark(card), predictions.scored_at(card)
        self.folder, self.cohort = workspace.exports_folder(), workspace.cohorts_folder() / card.cohort
        self.name = f"plans-{card.cohort}" + {"all": "", "risk": "-at-risk", "filter": "-filtered"}[scope]
        self.name += "-long" if layout == "long" else ""

    def rows(self, policy: Policy) -> np.ndarray:
        """Rows of the cohort that go in, in its order."""
        if self.scope == "risk":
            return np.sort(self.risk.rows_at_risk(policy.threshold))
        if self.scope == "filter":
            return np.sort(customer_list.filtered(self.card, self.everybody, policy, self.bound.filter))
        return np.arange(len(self.everybody.customer_id))

    def file(self) -> Path:
        """The CSV, with its manifest beside it; the same request finds the same file."""
        policy = self.bound.policy
        selection: dict[str, Any] = {"selection": SCOPES[self.scope]}
        if self.scope == "filter":
            selection["filter"] = vars(self.bound.filter)
        key = json.dumps([self.mark, self.name, policy.to_dict(), selection], sort_keys=True)
        out = self.folder / f"plans-{hashlib.sha256(key.encode()).hexdigest()[:16]}.csv"
        if not (out.exists() and manifest_path(out).exists()):
            self.folder.mkdir(parents=True, exist_ok=True)
            _make_room(self.folder)
            settings = ExportSettings(
                run_id=self.card.run_id,
                scored_at=self.scored_at,
                layout=self.layout,
                download_name=f"{self.name}.csv",
            )
            catalogue = predictions.catalogue(self.card, policy)
            workflow.export_plans(
                predictions.chunks(self.everybody, self.rows(policy), catalogue, policy),
                out,
                settings,
                run=self.card.folder,
                cohort=self.cohort,
                policy=policy,
                selection=selection,
            )
        return out


def _make_room(folder: Path) -> None:
    made = sorted(folder.glob("plans-*.csv"), key=lambda file: file.stat().st_mtime)
    for old in made[: max(0, len(made) - KEPT_EXPORTS + 1)]:
        old.unlink(missing_ok=True)
        manifest_path(old).unlink(missing_ok=True)
