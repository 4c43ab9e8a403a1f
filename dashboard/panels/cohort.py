"""What the cohort page shows: a generator, the profile of the current cohort, its data check, the saved cohorts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from crm_models import workflow
from dashboard.charts import cohort as cohort_charts
from dashboard.charts import theme
from dashboard.panels import widgets
from dashboard.panels.upload import findings, take
from dashboard.state import places, session, store

SCENARIOS = {
    "lifelike": "Customers in hidden segments, with profiles, histories and churn that follow from them. The best "
    "possible score is known exactly.",
    "paper": "The paper's own data: 50 films, five ratings each, everything at random. There is nothing to learn.",
}
TOP_ACTIONS = 15
TOP_FEATURES = 4
MILLION = 1_000_000
"""From here on a count does not fit its box, and is shown in millions."""
BY_CHURN = """
Each bar is the share of customers with this value who left; the dotted line is the share among all. Bars far from the
line tell something about leaving. A bar of a few customers may be chance: **Numbers** says how many there are. A
feature that separates nearly all leavers was perhaps only known after they left; leave it out then.
"""


# ---- ways to a cohort ------------------------------------------------------------------------------------------------


def generate() -> None:
    """Scenario, customers, signal, seed; and the button."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scenario = st.selectbox(
            "Scenario", list(SCENARIOS), key="generate_scenario", persist_state="session", width=160
        )
        customers = st.number_input(
            "Customers",
            min_value=20,
            max_value=store.MAX_GENERATED,
            value=min(5000 if scenario == "lifelike" else 100, store.MAX_GENERATED),
            step=1000 if scenario == "lifelike" else 10,
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
            help="How much there is to learn: 0 is pure chance, 1 is all that the scenario holds.",
            width=150,
        )
        seed = st.number_input(
            "Seed", min_value=0, max_value=2**32 - 1, value=0, key="generate_seed", persist_state="session", width=120
        )
        name = st.text_input("Name", key="generate_name", placeholder="automatic", max_chars=48, width=140)
    st.caption(SCENARIOS.get(scenario, ""))
    if st.button("Generate cohort", type="primary", icon=":material/casino:"):
        with widgets.guarded("The cohort could not be generated:"), st.spinner("Drawing customers and their histories"):
            made = places.new_name(name or f"{scenario}-{int(customers)}", places.cohorts_folder())
            workflow.generate(
                places.cohorts_folder() / made,
                scenario=scenario,
                customers=min(int(customers), store.MAX_GENERATED),
                signal=0.0 if scenario == "paper" else float(signal),
                seed=int(seed),
            )
            take(made)


# ---- the current cohort ----------------------------------------------------------------------------------------------


def about(cohort: store.CohortCard) -> None:
    """The cohort in five figures, and where it comes from."""
    facts = cohort.facts
    st.header(f"Current cohort: {widgets.plain(cohort.name)}", anchor=False)
    with st.grid(5, min_column_width=130):
        for name, count in (("Customers", facts.customers), ("Interactions", facts.interactions)):
            exact = f"{count:,}" if count >= MILLION else None
            st.metric(name, f"{count / MILLION:.2f} M" if exact else f"{count:,}", border=True, help=exact)
        st.metric("Different actions", f"{facts.actions:,}", border=True)
        st.metric(
            "Churn rate", widgets.share(facts.churn_rate), border=True, help="Among customers whose churn is known."
        )
        st.metric("Churn known for", widgets.share(facts.labelled / max(facts.customers, 1), 0), border=True)
    told = cohort.about
    when = f" History up to {str(told['as_of'])[:10]}." if told.get("as_of") else ""
    st.caption(f"Source: {widgets.plain(told['source'])}.{when}")
    with st.expander(f"Notes on how it came in ({len(told['notes'])})", icon=":material/notes:"):
        for note in told["notes"] or ["Nothing was left out."]:
            st.markdown(f"- {widgets.plain(note)}")


def profile(cohort: store.CohortCard) -> None:
    """Action mix, history lengths, recency, features by churn, segments."""
    slot = st.container()
    with slot.skeleton(height=320):
        facts = store.cohort_profile(cohort.name)
    with slot:
        grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
        with grid.cell():
            _action_mix(facts.actions)
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
        widgets.empty_state("timeline", "No interactions", "This cohort holds profiles only.")
        return
    rest = int((actions["events"] > 0).sum()) - len(top)
    widgets.chart(
        cohort_charts.bars(
            top["label"].to_list(),
            top["events"].to_list(),
            title="What happened" + (f" (top {len(top)} of {len(top) + rest:,} actions)" if rest else ""),
            unit="events",
            total=float(actions["events"].sum()),
            hover=[f"{n:,} customers" for n in top["customers"]],
        ),
        key="actions",
        alt="Events by action, most frequent first",
        table=actions,
        note="How often each action happened to anybody. Actions that are much more frequent than the others are easy "
        "to predict: a model has to beat the guess that they come next. Rare ones it hardly learns.",
    )


def _history(facts: Any) -> None:
    table = facts.history
    widgets.chart(
        cohort_charts.columns(
            table["events"],
            table["customers"],
            title="How long the histories are",
            x="events per customer",
            unit="customers",
            rate=table["churn_rate"],
        ),
        key="history",
        alt="Customers by number of events, with their churn rate",
        table=table,
        note="How many customers have how many events, before the cut-off. Customers with none or one give a sequence "
        "model nothing to go by; they get a fallback plan, labelled as such. The red line is their churn rate.",
    )


def _recency(facts: Any) -> None:
    table = facts.recency
    widgets.chart(
        cohort_charts.columns(
            table["since"],
            table["customers"],
            title="How long ago the last event was",
            x=f"{facts.time_unit} since the last event",
            unit="customers",
            rate=table["churn_rate"],
        ),
        key="recency",
        alt="Customers by time since their last event, with their churn rate",
        table=table,
        note="Seen from the cut-off, or from the last event of all. A churn rate that climbs to the right says that "
        "silence is a warning.",
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
                f"{meaning}; {events:.1f} events each; churn rate {widgets.share(rate)}"
                for meaning, events, rate in zip(
                    table["meaning"], table["events_each"], table["churn_rate"], strict=True
                )
            ],
        ),
        key="segments",
        alt="Customers by segment",
        table=table,
        note="Each customer is placed by how lately and how often something happened, both cut at the median: "
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
        help="Those whose groups differ most in churn come first.",
    )
    grid = st.grid(2, min_column_width=widgets.CHART_WIDTH)
    for k, feature in enumerate(picked):
        table = facts.features[facts.features["feature"] == feature]
        with grid.cell():
            if cohort.facts.labelled:
                fig, note = cohort_charts.churn_by_group(table, feature=feature, mean=cohort.facts.churn_rate), BY_CHURN
            else:
                fig = cohort_charts.bars(
                    table["group"], table["customers"], title=theme.plain(feature), unit="customers"
                )
                note = None
            widgets.chart(fig, key=f"feature_{k}", alt=f"Churn rate by {feature}", table=table, note=note)


def data_check(cohort: store.CohortCard) -> None:
    """What will hurt before anything is trained."""
    slot = st.container()
    with slot.skeleton(height=80):
        found = store.findings(cohort.name)
    with slot:
        findings(found)


def saved(cohort: store.CohortCard) -> None:
    """All cohorts, with the choice between them and a way to delete the current one."""
    st.header("Saved cohorts", anchor=False)
    rows = []
    for name in store.cohort_names():
        with widgets.guarded(f"{widgets.plain(name)} cannot be read:"):
            card = store.cohort_card(name)
            rows.append(
                {
                    "cohort": name,
                    "source": card.about["source"],
                    "customers": card.facts.customers,
                    "interactions": card.facts.interactions,
                    "churn rate": card.facts.churn_rate,
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
            "churn rate": st.column_config.NumberColumn(format="percent"),
        },
    )
    with st.container(horizontal=True):
        others = [name for name in store.cohort_names() if name != cohort.name]
        for name in others[:6]:
            st.button(
                f"Use {widgets.plain(name)}",
                key=f"use_{name}",
                icon=":material/swap_horiz:",
                on_click=session.choose_cohort,
                args=(name,),
            )
        with st.popover(f"Delete {widgets.plain(cohort.name)}", icon=":material/delete:"):
            runs = len(store.run_cards(cohort.name))
            busy = any(job.job.cohort == cohort.name for job in store.work())
            st.markdown(
                f"Delete **{widgets.plain(cohort.name)}** for good? "
                + (f"Its {runs} runs stay, but can no longer be evaluated." if runs else "It has no runs.")
            )
            st.button(
                "Yes, delete it",
                type="primary",
                key="delete_cohort",
                on_click=store.delete_cohort,
                args=(cohort.name,),
                disabled=busy,
                help="Something is being trained on it; stop that first." if busy else None,
            )
