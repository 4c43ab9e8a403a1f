"""What the customers page shows of one customer: risk, plan, history, profile, and what-if."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from crm_models.core.errors import DataError
from crm_models.core.records import CustomerScores
from crm_models.core.schema import ACTION, CUSTOMER_ID, LABEL, N_STEPS, STEP_SOURCES, TIMESTAMP, VALUE
from crm_models.data.cohort import Cohort
from crm_models.planning.plans import Plans, make_plans, reasons
from crm_models.planning.policy import Policy
from dashboard.charts import decision as decision_charts
from dashboard.panels import customer_list, widgets
from dashboard.panels import plans as plans_panels
from dashboard.panels import policy as policy_panels
from dashboard.state import predictions, session, store
from dashboard.state.predictions import Customer

OPTIONS = 200
"""Customers in the select box: a search narrows them down, so that a million are never sent."""
TABS = ("History", "Profile", "What if", "All customers")
BADGES = {
    "model": ":blue-badge[:material/model_training: model]",
    "retention": ":green-badge[:material/favorite: retention]",
    "fallback": ":gray-badge[:material/trending_up: popular action]",
}
MODEL_STEP = STEP_SOURCES.index("model")
REMOVABLE = 40
ADDED = "what_if_added"


@st.fragment
def look(card: store.RunCard) -> None:
    """One customer, chosen and shown; another choice reruns this and nothing else of the page."""
    everybody = store.scores(card)
    assert everybody is not None  # the page asked for them first
    row = choose(card, everybody)
    policy = session.policy()
    if row is not None:
        plans = predictions.plans(card, everybody, np.array([row]), policy)
        _verdict(plans)
        _steps(plans)
    time.sleep(plans_panels.PAINT_SECONDS)
    history, profile, what_if, listed = st.tabs(TABS, key="customer_tab", on_change="rerun", bind="query-params")
    if listed.open or row is None:
        with listed:
            everyone(card, everybody, policy)
        return
    who = _customer(card, everybody, row)
    if who is None:
        return
    if profile.open:
        with profile:
            _profile(card, who)
    elif what_if.open:
        with what_if:
            _what_if(card, who, policy)
    else:
        with history:
            _history(who)


# ---- choosing --------------------------------------------------------------------------------------------------------


def choose(card: store.RunCard, everybody: CustomerScores) -> int | None:
    """The select box, with what a search left; returns the row of the customer, None where there is none."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        search = customer_list.search_box("Search", f"Part of an id, among {len(everybody.customer_id):,} customers")
        names = _options(predictions.scores_mark(card), card, everybody, search)
        chosen = st.selectbox(
            "Customer",
            names,
            key=session.CUSTOMER,
            bind="query-params",
            accept_new_options=True,
            filter_mode="contains",
            placeholder="Choose one, or type an id",
            help=f"The {OPTIONS} riskiest of those who match the search; any other id can be typed in.",
            width=300,
        )
    if not chosen:
        customer_list.nobody()
        return None
    row = predictions.row_of(card, everybody, chosen)
    if row is None:
        st.warning(f"No customer of this cohort has the id {widgets.plain(chosen, 60)}.", icon=":material/search_off:")
    return row


@st.cache_data(max_entries=64, show_spinner=False)
def _options(mark: str, _card: store.RunCard, _everybody: CustomerScores, search: str) -> list[str]:
    wanted = customer_list.Filter(search=search)
    rows = customer_list.filtered(_card, _everybody, Policy(), wanted)[:OPTIONS]
    return [str(name) for name in _everybody.customer_id[rows]]


def _customer(card: store.RunCard, everybody: CustomerScores, row: int) -> Customer | None:
    try:
        who = predictions.customer(card.cohort, row)
        if str(who.cohort.customers[CUSTOMER_ID].iloc[0]) == str(everybody.customer_id[row]):
            return who
    except DataError:
        pass  # fewer customers than there were
    st.warning("The cohort has changed since it was scored. Train on it again.", icon=":material/warning:")
    return None


# ---- risk and plan ---------------------------------------------------------------------------------------------------


def _verdict(plans: Plans) -> None:
    p, threshold = float(plans.churn_p[0]), plans.policy.threshold
    known = not np.isnan(p)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.metric(
            "Churn probability",
            widgets.share(p),
            border=True,
            width=220,
            delta=(("at risk" if plans.at_risk[0] else "not at risk") + f" at {threshold:.2f}")
            if known
            else "no churn model",
            delta_color=("red" if plans.at_risk[0] else "green") if known else "off",
            delta_arrow="off",
        )
        with st.container(width="stretch", gap="xsmall"):
            if known:
                side = "above" if plans.at_risk[0] else "not above"
                st.progress(p, f"Churn probability {widgets.share(p)}, {side} the threshold of {threshold:.2f}")
            policy_panels.threshold_slider()


def _steps(plans: Plans) -> None:
    """The three steps as cards, each with its source, probability, reason and runner-up; and the plan before."""
    why = reasons(plans)[0]
    labels = plans.catalogue.labels
    with st.grid(N_STEPS, min_column_width=145):
        for k in range(N_STEPS):
            code, source = int(plans.action[0, k]), STEP_SOURCES[plans.step_source[0, k]]
            with st.container(border=True, height="stretch"):
                # One element for all lines: the browser draws three cards within the time that a viewer notices.
                named = f"**{widgets.plain(labels[code], 80)}**" if code >= 0 else "No action left"
                lines = [f":small[:gray[Step {k + 1}]]", named]
                if code >= 0:
                    lines.append(BADGES[source])
                st.markdown("\n\n".join([*lines, "  \n".join(_about_step(plans, k, why[k]))]))
    before = [widgets.plain(labels[a], 60) for a in plans.before[0] if a >= 0]
    if (plans.action[0] != plans.before[0]).any():
        st.markdown(f":material/history: Before the policy the plan was: {', then '.join(before) or 'no action'}.")
    elif not plans.at_risk[0] and (highest := places_below(float(plans.churn_p[0]))) is not None:
        st.caption(f"At a threshold of {highest:.2f} or lower the plan would turn to keeping this customer.")


def places_below(p: float) -> float | None:
    """The highest place of the threshold's slider that a probability lies above; None where there is none."""
    if not p > 0:  # 0, or not known
        return None
    return (math.ceil(round(100 * p, 4)) - 1) / 100


def _about_step(plans: Plans, k: int, why: str) -> list[str]:
    """The lines under an action: how likely it is, what comes next, and why it is there."""
    if plans.step_source[0, k] != MODEL_STEP:
        return [f":small[{_sentence(why)}]"]
    p, other, q = float(plans.step_p[0, k]), int(plans.runner_up[0, k]), float(plans.runner_up_p[0, k])
    lines = [f"Probability **{likely(p)}**"]
    if other >= 0:
        lines.append(f":small[Runner-up: {widgets.plain(plans.catalogue.labels[other], 60)}, {likely(q)}]")
    together = " together, though not alone" if other >= 0 and q > p else ""
    lines.append(f":small[Part of the three steps that are likeliest{together}.]")
    return lines


def likely(p: float) -> str:
    """A probability in percent, with a digit that says something also where there are thousands of actions."""
    return f"{p:.1%}" if p >= 0.001 or p == 0 else f"{100 * p:.1g}%" if p >= 1e-6 else "below 0.0001%"


def _sentence(text: str) -> str:
    return widgets.plain(text[:1].upper() + text[1:] + ".", 240)


# ---- history and profile ---------------------------------------------------------------------------------------------


def _seen(who: Customer) -> np.ndarray:
    """(T,) whether the models see the event: strictly before the moment of planning."""
    return who.cohort.is_history(who.moment)


def _labels(who: Customer) -> np.ndarray:
    return who.cohort.actions[LABEL].to_numpy(dtype=object)[who.cohort.event_actions]


def _history(who: Customer) -> None:
    events, seen = who.cohort.interactions, _seen(who)
    if not len(events):
        widgets.empty_state("timeline", "No history", "Nothing is known to have happened with this customer yet.")
        return
    dated = who.cohort.is_dated
    last = events.iloc[-LONGEST:]
    cut = None if who.moment is None else who.moment
    widgets.chart(
        decision_charts.timeline(
            decision_charts.TimedEvents(
                when=last[TIMESTAMP].tolist(),
                action=_labels(who)[-LONGEST:].tolist(),
                value=last[VALUE].tolist(),
                seen=seen[-LONGEST:].tolist(),
            ),
            unit="date" if dated else "time (days)",
            cut=cut,
        ),
        key="timeline",
        alt=f"History of the customer: {len(events)} events",
        table=pd.DataFrame(
            {
                "when": events[TIMESTAMP],
                "action": _labels(who),
                "value": events[VALUE],
                "seen by the models": seen,
            }
        ).iloc[::-1],
        note="Each dot is something that happened with this customer. Hollow dots came after the cut-off: the models "
        "do not see them; they serve to check the plan.",
    )
    if len(events) > LONGEST:
        st.caption(f"The latest {LONGEST} of {len(events):,} events.")


LONGEST = 300


def _profile(card: store.RunCard, who: Customer) -> None:
    known = {True: "churned", False: "stayed", None: "not known"}[who.churned]
    features = who.profile
    table = pd.DataFrame(
        {
            "feature": ["what became of the customer", "events in the history", *features.index],
            "value": [known, str(int(_seen(who).sum())), *[_text(value) for value in features]],
        }
    )
    st.dataframe(table, hide_index=True, alt="Profile of the customer", width="stretch")
    with st.container(horizontal=True):
        st.page_link(
            widgets.PAGES["attention"],
            label="Why? See what the models look at for this customer",
            icon=":material/grid_on:",
            query_params=customer_list.link_to(str(who.cohort.customers[CUSTOMER_ID].iloc[0])),
        )


def _text(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- what if ---------------------------------------------------------------------------------------------------------


def _what_if(card: store.RunCard, who: Customer, policy: Policy) -> None:
    """Change the profile or the history; the models say what risk and plan would be."""
    customer_id = str(who.cohort.customers[CUSTOMER_ID].iloc[0])
    st.markdown("Change something about this customer. The models answer anew; nothing is saved.")
    left, right = st.columns(2)
    with left:
        profile = _changed_profile(card, who, customer_id)
    with right:
        events = _changed_events(who, customer_id)
    with st.spinner("Asking the models", show_time=True):
        models = predictions.models(card)
        words = predictions.catalogue(card, policy)
        made = []
        for cohort in (who.cohort, _rebuilt(who.cohort, profile, events)):
            scores = models.score(cohort, who.moment, who.now_days)
            made.append(make_plans(scores, words, policy))
    _moved(*made)


def _changed_profile(card: store.RunCard, who: Customer, customer_id: str) -> pd.DataFrame:
    encoder = card.folder.encoder()
    numbers = {f.name: f for f in encoder.numeric}
    levels = {f.name: f for f in encoder.categorical}
    people = who.cohort.customers.copy()
    picked = st.multiselect(
        "Change features", [*numbers, *levels], key=f"what_if_features_{customer_id}", placeholder="None so far"
    )
    for name in picked:
        now, key = people[name].iloc[0], f"what_if_{name}_{customer_id}"
        if name in numbers:
            number = st.number_input(widgets.plain(name), value=None if pd.isna(now) else float(now), key=key)
            people[name] = pd.Series([np.nan if number is None else number], dtype="float64")
        else:
            known = [str(level) for level in levels[name].levels]
            at = known.index(str(now)) if str(now) in known else None
            level = st.selectbox(widgets.plain(name), known, index=at, key=key, placeholder="missing")
            people[name] = pd.Series([level], dtype="object")
    return people


def _changed_events(who: Customer, customer_id: str) -> pd.DataFrame:
    events, labels = who.cohort.interactions, _labels(who)
    seen = np.flatnonzero(_seen(who))[-REMOVABLE:][::-1]
    ago = who.now_days - who.cohort.event_days
    names = {int(k): f"{labels[k]}, {ago[k]:.0f} days before" for k in seen}
    removed = st.multiselect(
        "Take away events",
        list(names),
        format_func=names.__getitem__,
        key=f"what_if_removed_{customer_id}",
        placeholder="None so far",
    )
    kept = events.drop(index=events.index[removed])
    added = _added(who, customer_id)
    if not added:
        return kept
    actions = who.cohort.actions
    name_of = dict(zip(actions[LABEL], actions[ACTION], strict=True))
    # Strictly before the moment of planning, or the models would not see it.
    moments = who.now_days - np.maximum([ago for _, ago in added], 1e-3)
    when: Any = pd.to_datetime(moments * 86_400e6, unit="us") if who.cohort.is_dated else moments
    new = pd.DataFrame(
        {
            CUSTOMER_ID: customer_id,
            ACTION: [name_of[label] for label, _ in added],
            TIMESTAMP: pd.Series(when).astype(events[TIMESTAMP].dtype),
            VALUE: np.nan,
        }
    )
    plain_events = kept.astype({CUSTOMER_ID: "str", ACTION: "str"})
    return pd.concat([plain_events, new], ignore_index=True) if len(kept) else new


def _added(who: Customer, customer_id: str) -> list[tuple[str, float]]:
    """The controls to add events; returns (action label, days before the moment of planning) of those added."""
    key = f"{ADDED}_{customer_id}"
    added: list[tuple[str, float]] = st.session_state.setdefault(key, [])
    with st.container(horizontal=True, vertical_alignment="bottom"):
        action = st.selectbox("Add an event", who.cohort.actions[LABEL].tolist(), key=f"{key}_action", width=230)
        ago = st.number_input("Days before", 0.0, 36_500.0, 1.0, 1.0, key=f"{key}_ago", width=130)
        if st.button("Add", icon=":material/add:", key=f"{key}_add") and len(added) < REMOVABLE:
            added.append((str(action), float(ago)))
        if added and st.button("Clear", icon=":material/close:", key=f"{key}_clear"):
            added.clear()
    if added:
        st.caption("Added: " + "; ".join(f"{widgets.plain(label, 60)}, {ago:g} days before" for label, ago in added))
    return added


def _rebuilt(cohort: Cohort, people: pd.DataFrame, events: pd.DataFrame) -> Cohort:
    return Cohort.build(
        name=cohort.name,
        source=cohort.source,
        customers=people,
        interactions=events,
        actions=cohort.actions,
        as_of=cohort.as_of,
        outcome=cohort.outcome,
    )


def _moved(before: Plans, after: Plans) -> None:
    p, q = float(before.churn_p[0]), float(after.churn_p[0])
    labels = before.catalogue.labels
    with st.container(horizontal=True):
        verdicts = ["no churn model" if np.isnan(r) else "at risk" if m.at_risk[0] else "not at risk"
                    for r, m in ((p, before), (q, after))]  # fmt: skip
        st.metric(
            "Churn probability as it is", widgets.share(p), verdicts[0], border=True, delta_color="off",
            delta_arrow="off",
        )  # fmt: skip
        moved = not (np.isnan(p) or np.isnan(q)) and p != q
        st.metric(
            "Churn probability then",
            widgets.share(q),
            f"{100 * (q - p):+.1f} points, {verdicts[1]}" if moved else f"no change, {verdicts[1]}",
            border=True,
            delta_color="inverse" if moved else "off",
            delta_arrow="auto" if moved else "off",
        )
    table = pd.DataFrame(
        {
            "step": range(1, N_STEPS + 1),
            "as it is": [labels[a] if a >= 0 else "" for a in before.action[0]],
            "then": [labels[a] if a >= 0 else "" for a in after.action[0]],
            "changes": ["yes" if a != b else "" for a, b in zip(before.action[0], after.action[0], strict=True)],
        }
    )
    st.dataframe(table, hide_index=True, alt="The plan as it is, and as it would be")
    turned = int(before.at_risk[0]) - int(after.at_risk[0])
    same = (before.action[0] == after.action[0]).all()
    said = (
        "Then the customer would " + ("**no longer be at risk**" if turned > 0 else "**be at risk**") if turned else ""
    )
    st.markdown(
        (said + ", and" if said else "Then") + (" the plan would stay as it is." if same else " the plan would change.")
    )


# ---- everybody -------------------------------------------------------------------------------------------------------


def everyone(card: store.RunCard, everybody: CustomerScores, policy: Policy) -> None:
    """The list of customers; a click on a row opens the customer above."""
    wanted = customer_list.filter_row(search=False)
    rows = customer_list.filtered(card, everybody, policy, wanted)
    if not len(rows):
        customer_list.nobody()
        return
    shown = customer_list.page_of(rows)
    plans = predictions.plans(card, everybody, shown, policy)
    st.dataframe(
        customer_list.table(plans, has_churn=not np.isnan(everybody.churn_p).all()),
        hide_index=True,
        key="customer_list",
        alt="Customers with their churn probability and plan",
        column_config=customer_list.column_config(plans),
        on_select=_open,
        selection_mode="single-row",
    )
    st.session_state[LISTED] = [str(name) for name in plans.customer_id]
    customer_list.turn_pages(len(rows))


LISTED = "listed_customers"


def _open() -> None:
    """Callback of the list: the customer in the chosen row becomes the one looked at."""
    picked = st.session_state["customer_list"]["selection"]["rows"]
    if picked:
        st.session_state[session.CUSTOMER] = st.session_state[LISTED][picked[0]]
