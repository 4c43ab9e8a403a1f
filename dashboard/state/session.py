"""Choices of one viewer: plain ids and numbers in the session state and in the address.

No other module knows them. A link reopens the same view. What the ids refer to is on disk: see `store`.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from crm_models.core.errors import ConfigError, DataError
from crm_models.core.schema import DEFAULT_RETENTION_ACTIONS, DEFAULT_THRESHOLD, PlanMode
from crm_models.planning.policy import Policy
from dashboard.state import store

# Session keys. The first four are query parameters too.
COHORT = "cohort"
RUN = "run"
CUSTOMER = "customer"
THRESHOLD = "threshold"
WATCHED = "training_under_way"
_CHOSEN = "run_was_chosen"  # True if this viewer picked the run, False if they follow the newest one
_NEXT_COHORT = "cohort_from_the_next_run_on"
_MESSAGES = "messages_for_the_next_page"


# ---- cohort and run --------------------------------------------------------------------------------------------------


def choose_cohort(name: str) -> None:
    """Select a cohort. Call it before the selectors are drawn, or in a callback."""
    st.session_state[COHORT] = name
    st.session_state[_CHOSEN] = False


def choose_next(name: str) -> None:
    """Select a cohort from the next script run on. Use it after the selectors are drawn."""
    st.session_state[_NEXT_COHORT] = name


def choose_run(run_id: str) -> None:
    """Select a run, and its cohort with it."""
    card = store.run_card(run_id)
    if card is not None and card.cohort in store.cohort_names():
        st.session_state[COHORT] = card.cohort
    st.session_state[RUN] = run_id
    st.session_state[_CHOSEN] = True


def settle_choice() -> tuple[list[str], list[str]]:
    """Return the options of the cohort and run selectors, and set the session to values that exist.

    Call it before the selectors are drawn. A viewer who has not picked a run follows the newest usable one of the
    cohort, so pages switch to a training that ends while they are open. A run in the address counts as picked.
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
    """Default run: the newest one that was trained to its end.

    Stopped runs come next, then runs of the paper preset. Trials of searches come last: they have only one model, and
    the newest trial is not the best.
    """
    cards = sorted(cards, key=lambda card: card.search is not None)
    regular = [card for card in cards if card.preset != "paper" and card.search is None]
    finished = [card for card in regular if card.status.state == "finished"]
    return (finished or regular or cards)[0].run_id if cards else None


def mark_chosen() -> None:
    """Callback of the run selector: this viewer keeps the run they picked."""
    st.session_state[_CHOSEN] = True


def follow_newest() -> None:
    """Callback of the cohort selector: show the newest run of the new cohort."""
    st.session_state[_CHOSEN] = False


def current_cohort() -> store.CohortCard | None:
    """The cohort chosen in the sidebar, or None if there is none or it cannot be read."""
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
    """Queue a short message for the next script run, because a rerun or page change would swallow it now."""
    st.session_state.setdefault(_MESSAGES, []).append((message, icon))


def said() -> list[tuple[str, str]]:
    """Return the queued messages and clear them."""
    return st.session_state.pop(_MESSAGES, [])


# ---- policy ----------------------------------------------------------------------------------------------------------

MODE = "mode"
INTENSITY = "intensity"
RETENTION = ("retention_1", "retention_2", "retention_3")
"""Session keys of the policy; query parameters too, like the threshold."""


def threshold() -> float:
    """The churn threshold of this viewer, also on pages without its slider."""
    return float(st.session_state.get(THRESHOLD, _in_address(THRESHOLD, DEFAULT_THRESHOLD)))


def mode() -> PlanMode:
    """How plans change above the threshold: override or graded."""
    value = st.session_state.get(MODE) or st.query_params.get(MODE)
    return "graded" if value == "graded" else "override"


def intensity() -> float:
    """How fast the number of retention steps in a graded plan grows with the churn risk."""
    return float(st.session_state.get(INTENSITY, _in_address(INTENSITY, 1.0)))


def policy() -> Policy:
    """The policy of this viewer; default retention actions where theirs are blank or repeated."""
    state, actions = st.session_state, []
    for key, default in zip(RETENTION, DEFAULT_RETENTION_ACTIONS, strict=True):
        action = state.get(key, st.query_params.get(key))
        actions.append(default if action is None else str(action))
    settings: dict[str, Any] = {"threshold": threshold(), "mode": mode(), "intensity": intensity()}
    try:
        return Policy(**settings, retention_actions=tuple(actions))
    except ConfigError:
        return Policy(**settings)


def _in_address(name: str, default: float) -> float:
    """A number from the query parameters; the default if it is missing, malformed or out of range."""
    try:
        value = float(st.query_params.get(name, default))
    except ValueError:
        return default
    return value if 0 <= value <= (1.0 if name == THRESHOLD else 10.0) else default  # as the widgets do
