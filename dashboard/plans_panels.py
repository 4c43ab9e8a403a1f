"""What the plans page shows: the threshold and what it does at once; on demand what changes, the best one, the list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.cohort import digest
from crm_models.errors import CrmError
from crm_models.export import ExportSettings, manifest_path, write_plans
from crm_models.planning import Policy, RiskIndex
from crm_models.records import CustomerScores
from crm_models.schema import N_STEPS
from dashboard import charts, decision_charts, list_panels, policy_panels, predictions, store, widgets

TABS = ("Who is at risk", "What changes", "Best threshold", "The plans")
SHOWN = 200
"""Customers that flip, at most this many in the table."""
KEPT_EXPORTS = 24
"""Files of plans that stay in the workspace; older ones make room."""


@st.fragment
def decide(card: store.RunCard) -> None:
    """The slider and everything that follows from it. A move reruns this and nothing else of the page."""
    everybody, risk = store.scores(card), store.risk_index(card)
    assert everybody is not None and risk is not None  # the page asked for them first
    threshold = policy_panels.threshold_slider()
    policy = store.policy()
    n, at_risk = len(everybody.customer_id), risk.n_at_risk(threshold)
    steps = predictions.steps_by_risk(policy, risk.n_at_risk)
    with st.container(horizontal=True):
        st.metric("Customers at risk", f"{at_risk:,}", border=True)
        st.metric("Share of all customers", widgets.share(at_risk / max(n, 1)), border=True)
        st.metric(
            "Plans changed", f"{steps[0]:,}", border=True, help="Plans with at least one step to keep the customer."
        )
        st.metric(
            "Retention steps", f"{sum(steps):,}", border=True, help="Steps of all plans that serve to keep a customer."
        )
    at_risk_tab, changes, best, listed = st.tabs(TABS, key="plans_tab", on_change="rerun")
    if changes.open:
        with changes:
            _what_changes(card, everybody, risk, policy)
    elif best.open:
        with best:
            _best_threshold(risk, threshold)
    elif listed.open:
        with listed:
            _list(card, everybody, policy)
    else:
        with at_risk_tab:
            _who(card, everybody, threshold)
    _download(card, everybody, risk, policy)


def _who(card: store.RunCard, everybody: CustomerScores, threshold: float) -> None:
    counts = predictions.risk_counts(predictions.scores_mark(card), everybody.churn_p)
    st.plotly_chart(
        decision_charts.risk_histogram(counts, threshold),
        key="risk_histogram",
        alt="Customers by churn probability, with the threshold",
        config=charts.CONFIG,
    )


# ---- what changes ----------------------------------------------------------------------------------------------------


def _what_changes(card: store.RunCard, everybody: CustomerScores, risk: RiskIndex, policy: Policy) -> None:
    mark = predictions.scores_mark(card)
    words = predictions.catalogue(card, policy)
    with st.spinner("Making the plans of the customers at risk", show_time=True):
        mix = predictions.mix(mark, policy, everybody, words, risk.rows_at_risk(policy.threshold))
    widgets.chart(
        decision_charts.before_after(mix, policy.retention_actions),
        key="mix",
        alt="Steps of all plans by action, before and after the policy",
        table=mix,
        note="How often each action stands in somebody's plan. **Pale**: what the model proposes. **Full**: after the "
        "plans of customers at risk turned to retention. Green: the retention actions; blue: all others.",
    )
    st.subheader("Who flips between two thresholds", anchor=False)
    other = st.slider(
        "Compare with threshold", 0.0, 1.0, 0.6, 0.01, key="other_threshold", bind="query-params"
    )
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
    plans = [
        predictions.plans(card, everybody, flipped, Policy(**policy.to_dict() | {"threshold": at, "retention_actions": policy.retention_actions}))
        for at in (low, high)
    ]
    labels = np.array([*plans[0].catalogue.labels, ""], dtype=object)
    table = pd.DataFrame(
        {
            "customer": plans[0].customer_id,
            "churn probability": plans[0].churn_p.round(4),
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
        column_config={
            "churn probability": st.column_config.ProgressColumn(
                format="percent", min_value=0, max_value=1, color=charts.AT_RISK
            )
        },
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
    st.session_state[store.THRESHOLD] = threshold


# ---- the list --------------------------------------------------------------------------------------------------------


def _list(card: store.RunCard, everybody: CustomerScores, policy: Policy) -> None:
    wanted = list_panels.filter_row()
    rows = list_panels.filtered(card, everybody, policy, wanted)
    if not len(rows):
        list_panels.nobody()
        return
    plans = predictions.plans(card, everybody, list_panels.page_of(rows), policy)
    picked = st.dataframe(
        list_panels.table(plans, has_churn=not np.isnan(everybody.churn_p).all()),
        hide_index=True,
        key="plans_list",
        alt="Customers with their churn probability and plan",
        column_config=list_panels.column_config(plans),
        on_select="rerun",
        selection_mode="single-row",
    )
    list_panels.turn_pages(len(rows))
    if picked.selection.rows:
        chosen = str(plans.customer_id[picked.selection.rows[0]])
        if st.button(f"Open {widgets.plain(chosen, 40)}", icon=":material/person_search:", key="open_customer"):
            st.switch_page(widgets.PAGES["customers"], query_params=list_panels.link_to(chosen))


# ---- download --------------------------------------------------------------------------------------------------------

SCOPES = {"all": "All customers", "risk": "Customers at risk", "filter": "The list's filter"}
LAYOUTS = {"wide": "One row per customer", "long": "One row per step"}


def _download(card: store.RunCard, everybody: CustomerScores, risk: RiskIndex, policy: Policy) -> None:
    """Files are made when they are asked for, on a thread of their own: what goes in is bound here, not looked up there."""
    state = st.session_state
    scope, layout = state.get("download_scope") or "all", state.get("download_layout") or "wide"
    wanted = list_panels.current_filter()

    def rows() -> np.ndarray:
        if scope == "risk":
            return np.sort(risk.rows_at_risk(policy.threshold))
        if scope == "filter":
            return np.sort(list_panels.filtered(card, everybody, policy, wanted))
        return np.arange(len(everybody.customer_id))

    name = f"plans-{card.cohort}-{scope}" + ("-long" if layout == "long" else "")
    request = {"policy": policy.to_dict(), "scope": scope, "layout": layout, "filter": vars(wanted)}
    make = _maker(card, everybody, policy, rows, request)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download plans (CSV)",
            data=lambda: make().open("rb"),
            file_name=f"{name}.csv",
            mime="text/csv",
            type="primary",
            icon=":material/download:",
            on_click="ignore",
            key="download_plans",
        )
        st.download_button(
            "Manifest",
            data=lambda: manifest_path(make()).open("rb"),
            file_name=f"{name}.manifest.json",
            mime="application/json",
            icon=":material/description:",
            on_click="ignore",
            key="download_manifest",
            help="What the plans rest on: run, cohort, policy, counts, versions, checksum.",
        )
        what = st.popover("What is in it", icon=":material/tune:", on_change="rerun", key="download_what")
        if what.open:
            with what:
                st.radio(
                    "Which customers", list(SCOPES), format_func=SCOPES.__getitem__, key="download_scope",
                    persist_state="session",
                )  # fmt: skip
                st.radio(
                    "Layout", list(LAYOUTS), format_func=LAYOUTS.__getitem__, key="download_layout",
                    persist_state="session",
                )  # fmt: skip
        st.caption(f"{SCOPES[scope]}, {LAYOUTS[layout].lower()}.")


def _maker(
    card: store.RunCard,
    everybody: CustomerScores,
    policy: Policy,
    rows: Callable[[], np.ndarray],
    request: dict[str, Any],
) -> Callable[[], Path]:
    """What makes the file of plans, or finds it where the same one was made before."""
    folder, mark, words = store.exports_folder(), predictions.scores_mark(card), predictions.catalogue(card, policy)
    key = hashlib.sha256(json.dumps([mark, request], sort_keys=True).encode()).hexdigest()[:16]
    out = folder / f"plans-{key}.csv"
    settings = ExportSettings(run_id=card.run_id, scored_at=predictions.scored_at(card), layout=request["layout"])

    def make() -> Path:
        if not (out.exists() and manifest_path(out).exists()):
            folder.mkdir(parents=True, exist_ok=True)
            _make_room(folder)
            about = {
                "cohort": card.cohort,
                "cohort_hash": digest(store.cohorts_folder() / card.cohort),
                "trained_on_cohort_hash": card.about["cohort_hash"],
                "customers": request["scope"],
                "policy": policy.to_dict(),
            }
            if request["scope"] == "filter":
                about["filter"] = request["filter"]
            write_plans(predictions.chunks(everybody, rows(), words, policy), out, settings, about)
        return out

    return make


def _make_room(folder: Path) -> None:
    made = sorted(folder.glob("plans-*.csv"), key=lambda file: file.stat().st_mtime)
    for old in made[: max(0, len(made) - KEPT_EXPORTS + 1)]:
        old.unlink(missing_ok=True)
        manifest_path(old).unlink(missing_ok=True)
