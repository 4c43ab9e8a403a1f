"""Sections of the cohort page: generator, current cohort with data check and profile, saved cohorts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import cohort as cohort_charts
from dashboard.charts import digits, theme
from dashboard.panels import widgets
from dashboard.panels.upload import findings, take
from dashboard.state import session, store, workspace

SCENARIOS = {
    "lifelike": "Customers belong to hidden segments that determine profile, history and churn. The best possible "
    "score is known exactly.",
    "paper": "The paper's data: 50 films, five random ratings per customer. There is nothing to learn.",
    "movielens": "The paper's first data set: five ratings of 50 films. Users prefer some genres, watch sequels, and "
    "their taste drifts. Take 1,000 users or more to learn from.",
    "amazon": "The paper's second data set: 50 products with rating, category and sentiment, and the users' clicks, "
    "views and purchases. Some products are rarely bought. Take 1,000 users or more to learn from.",
    "churn": "The paper's third data set: films, product features and user behaviour, with age, location and churn. "
    "Take 1,000 users or more to learn from.",
}
TOP_ACTIONS = 15
TOP_FEATURES = 4
MILLION = 1_000_000
"""Counts from here on are shown in millions, because they do not fit the metric."""
BY_CHURN = """
Each bar is the churn rate of customers with this value; the dotted line is the overall churn rate. Bars far from the
line show that the feature is related to churn. A bar of a few customers may be chance: **Numbers** shows how many there
are. A feature that separates nearly all churned customers may record the outcome; if so, leave it out.
"""


# ---- generator -------------------------------------------------------------------------------------------------------


def generate() -> None:
    """Draw the generator: scenario, customers, signal, seed and the button."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scenario = st.selectbox(
            "Scenario", list(SCENARIOS), key="generate_scenario", persist_state="session", width=160
        )
        customers = st.number_input(
            "Customers",
            min_value=20,
            max_value=store.MAX_GENERATED,
            value=min(5000 if scenario == "lifelike" else 100, store.MAX_GENERATED),
            step=1000 if scenario == "lifelike" else 100,
            key=f"generate_customers_{scenario}",
            persist_state="session",
            width=130,
        )
        signal = st.slider(
            "Signal",
            0.0,
            1.0,
            1.0,
            0.05,
            key="generate_signal",
            persist_state="session",
            disabled=scenario == "paper",
            help="How much there is to learn: 0 is pure chance, 1 is the full signal of the scenario.",
            width=150,
        )
        seed = st.number_input(
            "Seed", min_value=0, max_value=2**32 - 1, value=0, key="generate_seed", persist_state="session", width=120
        )
        name = st.text_input("Name", key="generate_name", placeholder="automatic", max_chars=48, width=140)
    st.caption(SCENARIOS.get(scenario, ""))
    if st.button("Generate cohort", type="primary", icon=":material/casino:"):
        with (
            widgets.guarded("The cohort could not be generated:"),
            st.spinner("Generating customers and their histories"),
        ):
            folder_name = workspace.new_name(name or f"{scenario}-{int(customers)}", workspace.cohorts_folder())
            store.generate_cohort(
                folder_name,
                scenario=scenario,
                customers=int(customers),
                signal=0.0 if scenario == "paper" else float(signal),
                seed=int(seed),
            )
            take(folder_name)


# ---- the current cohort ----------------------------------------------------------------------------------------------


def about(cohort: store.CohortCard) -> None:
    """Draw five metrics of the cohort, its source and its import notes."""
    facts = cohort.facts
    st.header(f"Current cohort: {widgets.plain(cohort.name)}", anchor=False)
    with st.grid(5, min_column_width=130):
        for name, count in (("Customers", facts.customers), ("Interactions", facts.interactions)):
            exact = f"{count:,}" if count >= MILLION else None
            st.metric(name, f"{count / MILLION:.2f} M" if exact else f"{count:,}", border=True, help=exact)
        st.metric("Different actions", f"{facts.actions:,}", border=True)
        st.metric(
            "Churn rate",
            digits.share(facts.churn_rate),
            border=True,
            help="Share of churned customers among those whose churn is known.",
        )
        st.metric("Churn known for", digits.share(facts.labelled / max(facts.customers, 1)), border=True)
    about = cohort.about
    as_of = f" History up to {str(about['as_of'])[:10]}." if about.get("as_of") else ""
    st.caption(f"Source: {widgets.plain(about['source'])}.{as_of}")
    if not about["notes"]:
        return
    with st.expander(f"Import notes ({len(about['notes'])})", icon=":material/notes:"):
        for note in about["notes"]:
            st.markdown(f"- {widgets.plain(note)}")


def profile(cohort: store.CohortCard) -> None:
    """Draw action mix, history lengths, recency, segments, and features by churn."""
    container = st.container()
    with container.skeleton(height=320):
        facts = store.cohort_profile(cohort.name)
    with container:
        grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
        with grid.cell():
            _action_mix(facts.actions)
        if facts.actions["events"].any():
            with grid.cell():
                _history(facts)
        if facts.recency["customers"].sum():
            with grid.cell():
                _recency(facts)
            with grid.cell():
                _segments(facts)
        _features(cohort, facts)


def _action_mix(actions: pd.DataFrame) -> None:
    top = actions[actions["events"] > 0].head(TOP_ACTIONS)
    if top.empty:
        widgets.empty_state("timeline", "No interactions", "This cohort has only customer profiles.")
        return
    hidden = int((actions["events"] > 0).sum()) - len(top)
    widgets.chart(
        cohort_charts.bars(
            top["label"].to_list(),
            top["events"].to_list(),
            title="Events by action" + (f" (top {len(top)} of {len(top) + hidden:,} actions)" if hidden else ""),
            unit="events",
            total=float(actions["events"].sum()),
            hover=[f"{n:,} customers" for n in top["customers"]],
        ),
        key="actions",
        alt="Events by action, most frequent first",
        table=actions,
        note="How often each action occurred. Actions that are much more frequent than the others are easy to predict, "
        "so a model must beat the guess that they come next. It hardly learns rare actions.",
    )


def _history(facts: Any) -> None:
    table = facts.history
    widgets.chart(
        cohort_charts.columns(
            table["events"],
            table["customers"],
            title="Length of histories",
            x="events per customer",
            unit="customers",
            rate=table["churn_rate"],
        ),
        key="history",
        alt="Customers by number of events, with their churn rate",
        table=table,
        note="Number of customers by number of events before the cut-off. With no event or only one, a sequence model "
        "has nothing to learn from; these customers get a fallback plan, labelled as such. The red line is the churn "
        "rate.",
    )


def _recency(facts: Any) -> None:
    table = facts.recency
    widgets.chart(
        cohort_charts.columns(
            table["since"],
            table["customers"],
            title="Time since the last event",
            x=f"{facts.time_unit} since the last event",
            unit="customers",
            rate=table["churn_rate"],
        ),
        key="recency",
        alt="Customers by time since their last event, with their churn rate",
        table=table,
        note="Measured from the cut-off, or from the last event in the data. If the churn rate rises to the right, "
        "inactivity is a warning sign.",
    )


def _segments(facts: Any) -> None:
    table = facts.segments
    widgets.chart(
        cohort_charts.bars(
            table["segment"],
            table["customers"],
            title="Segments by recency and frequency",
            unit="customers",
            total=float(table["customers"].sum()),
            hover=[
                f"{meaning}; {events:.1f} events each; churn rate {digits.share(rate)}"
                for meaning, events, rate in zip(
                    table["meaning"], table["events_each"], table["churn_rate"], strict=True
                )
            ],
        ),
        key="segments",
        alt="Customers by segment",
        table=table,
        note="Customers are grouped by recency and frequency of their events, each split at the median: "
        + "; ".join(f"**{s}**: {m}" for s, m in zip(table["segment"], table["meaning"], strict=True))
        + ".",
    )


def _features(cohort: store.CohortCard, facts: Any) -> None:
    order = facts.spread["feature"].tolist()
    if not order:
        return
    st.header("Features by churn" if cohort.facts.labelled else "Features", anchor=False)
    picked = st.multiselect(
        "Features shown",
        order,
        default=order[:TOP_FEATURES],
        key=f"features_{cohort.name}",
        help="Sorted by how much churn differs between their groups.",
    )
    grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
    for k, feature in enumerate(picked):
        table = facts.features[facts.features["feature"] == feature]
        with grid.cell():
            if cohort.facts.labelled:
                fig, note = cohort_charts.churn_by_group(table, feature=feature, mean=cohort.facts.churn_rate), BY_CHURN
                alt = f"Churn rate by {feature}"
            else:
                fig = cohort_charts.bars(
                    table["group"], table["customers"], title=theme.plain(feature), unit="customers"
                )
                note, alt = None, f"Customers by {feature}"
            widgets.chart(fig, key=f"feature_{k}", alt=alt, table=table, note=note)


def data_check(cohort: store.CohortCard) -> None:
    """Draw the problems that the data check found in the cohort."""
    container = st.container()
    with container.skeleton(height=80):
        problems = store.findings(cohort.name)
    with container:
        findings(problems)


def saved() -> None:
    """Draw the list of saved cohorts, buttons to switch between them, and one to delete the chosen one."""
    chosen = st.session_state.get(session.COHORT)
    st.header("Saved cohorts", anchor=False)
    rows = []
    for name in store.cohort_names():
        with widgets.guarded(f"{widgets.plain(name)} could not be read:"):
            card = store.cohort_card(name)
            rows.append(
                {
                    "cohort": name,
                    "source": card.about["source"],
                    "customers": card.facts.customers,
                    "interactions": card.facts.interactions,
                    "churn rate": None if card.facts.churn_rate is None else 100 * card.facts.churn_rate,
                    "runs": len(store.run_cards(name)),
                }
            )
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        alt="Saved cohorts, newest first",
        column_config={
            "customers": st.column_config.NumberColumn(format="localized"),
            "interactions": st.column_config.NumberColumn(format="localized"),
            "churn rate": st.column_config.NumberColumn(format="%.1f%%"),
        },
    )
    with st.container(horizontal=True):
        others = [name for name in store.cohort_names() if name != chosen]
        for name in others[:6]:
            st.button(
                f"Use {widgets.plain(name)}",
                key=f"use_{name}",
                icon=":material/swap_horiz:",
                on_click=session.choose_cohort,
                args=(name,),
            )
        if not chosen:
            return
        with st.popover(f"Delete {widgets.plain(chosen)}", icon=":material/delete:"):
            runs = len(store.run_cards(chosen))
            busy = any(job.job.cohort == chosen for job in store.work())
            st.markdown(f"Delete **{widgets.plain(chosen)}** for good? " + _runs_kept(runs))
            st.button(
                "Yes, delete it",
                type="primary",
                key="delete_cohort",
                on_click=session.delete_cohort,
                args=(chosen,),
                disabled=busy,
                help="A job uses this cohort. Stop it first." if busy else None,
            )


def _runs_kept(n: int) -> str:
    """What happens to the runs of a deleted cohort."""
    if n == 0:
        return "It has no runs."
    return ("Its run is kept" if n == 1 else f"Its {n} runs are kept") + ", but can no longer be evaluated."
