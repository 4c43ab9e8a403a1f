"""The only place that knows what a viewer has chosen: plain ids and numbers in their session, and in the address.

A link so reopens the same view. What the ids stand for is on disk: see `store`.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from crm_models.core.errors import ConfigError, DataError
from crm_models.core.schema import DEFAULT_RETENTION_ACTIONS, DEFAULT_THRESHOLD, PlanMode
from crm_models.planning.policy import Policy
from dashboard.state import store

# Session keys. The first four are names in the address too.
COHORT = "cohort"
RUN = "run"
CUSTOMER = "customer"
THRESHOLD = "threshold"
WATCHED = "training_under_way"
_CHOSEN = "run_was_chosen"  # whether this viewer picked the run, or follows the newest one
_NEXT_COHORT = "cohort_from_the_next_run_on"
_SAID = "messages_for_the_next_page"


# ---- cohort and run --------------------------------------------------------------------------------------------------


def choose_cohort(name: str) -> None:
    """Make a cohort the current one; only before the selectors are drawn, or in a callback."""
    st.session_state[COHORT] = name
    st.session_state[_CHOSEN] = False


def choose_next(name: str) -> None:
    """Make a cohort the current one from the next run of the script on; for after the selectors are drawn."""
    st.session_state[_NEXT_COHORT] = name


def choose_run(run_id: str) -> None:
    """Make a run the current one, and its cohort with it."""
    card = store.run_card(run_id)
    if card is not None and card.cohort in store.cohort_names():
        st.session_state[COHORT] = card.cohort
    st.session_state[RUN] = run_id
    st.session_state[_CHOSEN] = True


def settle_choice() -> tuple[list[str], list[str]]:
    """Before the selectors are drawn: the options of both, with the session set to a value that exists.

    A viewer who has not picked a run follows the newest usable one of the cohort, so that a training that ends while
    the page is open is what the pages show next; a run in the address counts as picked.
    """
    names = store.cohort_names()
    state = st.session_state
    if _NEXT_COHORT in state:
        choose_cohort(state.pop(_NEXT_COHORT))
    if _CHOSEN not in state:
        state[_CHOSEN] = RUN in st.query_params
    if state.get(COHORT, st.query_params.get(COHORT)) not in names:
        state[COHORT] = names[0] if names else None
    chosen = state.get(COHORT) or st.query_params.get(COHORT)
    cards = [card for card in store.run_cards(chosen) if card.usable] if chosen else []
    runs = [card.run_id for card in cards]
    wanted = state.get(RUN, st.query_params.get(RUN))
    if not state[_CHOSEN] or wanted not in runs:
        state[RUN] = _best(cards)
    return names, runs


def _best(cards: list[store.RunCard]) -> str | None:
    """The run to show when nobody chose: the newest that was trained to its end.

    One that was stopped comes next, then one with the paper's tiny models, and the trials of searches last: they have
    one model only, and the newest is not the best.
    """
    cards = sorted(cards, key=lambda card: card.search is not None)
    real = [card for card in cards if card.preset != "paper" and card.search is None]
    whole = [card for card in real if card.status.state == "finished"]
    return (whole or real or cards)[0].run_id if cards else None


def mark_chosen() -> None:
    """Callback of the run selector: from now on this viewer stays with the run they picked."""
    st.session_state[_CHOSEN] = True


def follow_newest() -> None:
    """Callback of the cohort selector: with another cohort, its newest run."""
    st.session_state[_CHOSEN] = False


def current_cohort() -> store.CohortCard | None:
    """The cohort chosen in the sidebar, or None where there is none or it cannot be read."""
    name = st.session_state.get(COHORT)
    try:
        return store.cohort_card(name) if name else None
    except DataError:
        return None


def current_run() -> store.RunCard | None:
    """The run chosen in the sidebar, or None."""
    run_id = st.session_state.get(RUN)
    return store.run_card(run_id) if run_id else None


# ---- messages that outlive a rerun -----------------------------------------------------------------------------------


def say(message: str, icon: str = ":material/check_circle:") -> None:
    """Leave a short message for the next time a page is drawn (a rerun or a page change would swallow it)."""
    st.session_state.setdefault(_SAID, []).append((message, icon))


def said() -> list[tuple[str, str]]:
    """The messages left, once."""
    return st.session_state.pop(_SAID, [])


# ---- policy ----------------------------------------------------------------------------------------------------------

MODE = "mode"
INTENSITY = "intensity"
RETENTION = ("retention_1", "retention_2", "retention_3")
"""Session keys of the policy; names in the address too, like the threshold."""


def threshold() -> float:
    """The churn threshold of this viewer, also where its slider is not drawn."""
    return float(st.session_state.get(THRESHOLD, _in_address(THRESHOLD, DEFAULT_THRESHOLD)))


def mode() -> PlanMode:
    """What the viewer wants done above the threshold."""
    found = st.session_state.get(MODE) or st.query_params.get(MODE)
    return "graded" if found == "graded" else "override"


def intensity() -> float:
    """How fast the retention steps of a graded plan grow with the risk."""
    return float(st.session_state.get(INTENSITY, _in_address(INTENSITY, 1.0)))


def policy() -> Policy:
    """The policy of this viewer; with the usual retention actions where theirs are blank or equal."""
    state, actions = st.session_state, []
    for key, default in zip(RETENTION, DEFAULT_RETENTION_ACTIONS, strict=True):
        named = state.get(key, st.query_params.get(key))
        actions.append(default if named is None else str(named))
    known: dict[str, Any] = {"threshold": threshold(), "mode": mode(), "intensity": intensity()}
    try:
        return Policy(**known, retention_actions=tuple(actions))
    except ConfigError:
        return Policy(**known)


def _in_address(name: str, default: float) -> float:
    try:
        found = float(st.query_params.get(name, default))
    except ValueError:
        return default
    return found if 0 <= found <= (1.0 if name == THRESHOLD else 10.0) else default  # the widgets do the same
