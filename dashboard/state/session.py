"""Choices of one viewer: plain ids and numbers in the session state and in the address.

No other module knows them. A link reopens the same view. What the ids refer to is on disk: see `store`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from crm_models.core.errors import ConfigError, CrmError
from crm_models.core.schema import DEFAULT_RETENTION_ACTIONS, DEFAULT_THRESHOLD, PlanMode
from crm_models.planning.policy import Policy
from crm_models.planning.thresholds import Economics
from dashboard.state import store, workspace

# Session keys. The first four are query parameters too.
COHORT = "cohort"
RUN = "run"
CUSTOMER = "customer"
THRESHOLD = "threshold"
WATCHED = "training_under_way"
_CHOSEN = "run_was_chosen"  # True if this viewer picked the run, False if they follow the newest one
_GONE = "asked_for_and_gone"
_NEXT_COHORT = "cohort_from_the_next_run_on"
_MESSAGES = "messages_for_the_next_page"


# ---- cohort and run --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Gone:
    """A cohort or run that was asked for, by a link or earlier, and cannot be opened. why: a sentence.

    nearest: what to offer instead, or None.
    """

    kind: Literal["cohort", "run"]
    why: str
    nearest: str | None


def choose_cohort(name: str) -> None:
    """Select a cohort. Call it before the selectors are drawn, or in a callback."""
    st.session_state[COHORT] = name
    st.session_state[_CHOSEN] = False
    st.session_state.pop(_GONE, None)


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
    st.session_state.pop(_GONE, None)


def delete_cohort(name: str) -> None:
    """Delete a cohort, and show the newest of the others."""
    if not told(store.delete_cohort, name):
        return
    st.session_state[COHORT] = next(iter(store.cohort_names()), None)
    st.session_state[_CHOSEN] = False


def forget_link() -> None:
    """Go on without what was asked for: show the newest cohort, or the newest run of the current one."""
    if st.session_state.get(COHORT) is None:
        st.session_state[COHORT] = next(iter(store.cohort_names()), None)
    st.session_state[_CHOSEN] = False
    st.session_state.pop(_GONE, None)


def delete_run(run_id: str) -> None:
    """Delete a run, and show the newest of the others."""
    if told(store.delete_run, run_id):
        st.session_state[_CHOSEN] = False


def stop_run(run_id: str) -> None:
    """Callback of the button that stops a search."""
    told(store.stop_run, run_id)


def told(act: Callable[..., object], *arguments: Any) -> bool:
    """Act in a callback, where nothing can be drawn: an error is told by the next script run. Whether all went well."""
    try:
        act(*arguments)
    except CrmError as error:
        say(str(error), icon=":material/block:")
        return False
    return True


def settle_choice() -> tuple[list[str], list[str]]:
    """Return the options of the cohort and run selectors, and set the session to values that exist.

    Call it before the selectors are drawn. A viewer who has not picked a run follows the newest usable one of the
    cohort, so pages switch to a training that ends while they are open. A run in the address counts as picked. What is
    asked for and cannot be opened leaves its selector empty, and `gone` says why: no other is opened in its place.
    """
    state = st.session_state
    state[store.PULSE] = store.pulse()  # before anything is read: what changes from now on is not on the page
    names = store.cohort_names()
    if _NEXT_COHORT in state:
        choose_cohort(state.pop(_NEXT_COHORT))
    if _CHOSEN not in state:
        state[_CHOSEN] = RUN in st.query_params
    if not names:
        state.pop(COHORT, None)
        return [], []
    _settle_cohort(names)
    chosen = state.get(COHORT, st.query_params.get(COHORT))
    cards = [card for card in store.run_cards(chosen) if card.usable] if chosen else []
    _settle_run(chosen, cards)
    return names, [card.run_id for card in cards]


def _settle_cohort(names: list[str]) -> None:
    """Set the cohort to one that exists, or to None; None also stands for a selector that the viewer has cleared."""
    state = st.session_state
    _fill(COHORT, names)
    wanted = state[COHORT] if COHORT in state else st.query_params.get(COHORT, _cohort_of_link())
    if wanted is None:
        state[COHORT] = None if COHORT in state else _newest_readable(names)
    elif wanted not in names:
        state[COHORT] = None
        state[_GONE] = Gone(
            kind="cohort", why=f"The cohort “{wanted}” does not exist.", nearest=workspace.nearest(wanted, names)
        )
    elif COHORT not in state:
        state[COHORT] = wanted
    if state.get(COHORT) is not None and (gone := state.get(_GONE)) is not None and gone.kind == "cohort":
        del state[_GONE]  # another one was chosen
    _note_shown(COHORT)


def _fill(key: str, options: list[str]) -> None:
    """Choose what was shown last where a selector is empty and its viewer has not cleared it.

    Streamlit empties it where a page is opened before the one before was drawn.
    """
    if st.session_state.get(key) is None and (shown := st.session_state.get(f"{key}_shown")) in options:
        st.session_state[key] = shown


def _note_shown(key: str) -> None:
    st.session_state[f"{key}_shown"] = st.session_state[key]


def _newest_readable(names: list[str]) -> str:
    """The newest cohort that can be read; the newest of all, which then says why it cannot, if there is none."""
    for name in names:
        with suppress(CrmError, OSError):
            return store.cohort_card(name).name
    return names[0]


def _cohort_of_link() -> str | None:
    """The cohort of a run in an address that names no cohort."""
    card = store.run_card(st.query_params[RUN]) if RUN in st.query_params else None
    return None if card is None else card.cohort


def _settle_run(cohort: str | None, cards: list[store.RunCard]) -> None:
    state, runs = st.session_state, [card.run_id for card in cards]
    _fill(RUN, runs)
    wanted = state[RUN] if RUN in state else st.query_params.get(RUN)
    if not state[_CHOSEN] or cohort is None:
        state[RUN] = _best(cards)
    elif wanted is not None and wanted not in runs:
        state[RUN] = None
        state[_GONE] = Gone(kind="run", why=_why_no_run(wanted, cohort), nearest=_nearest_run(wanted, cards))
    elif RUN not in state:
        state[RUN] = wanted
    if state.get(RUN) is not None and (gone := state.get(_GONE)) is not None and gone.kind == "run":
        del state[_GONE]
    _note_shown(RUN)


def _why_no_run(name: str, cohort: str) -> str:
    card = store.run_card(name)
    if card is None:
        trouble = store.run_trouble(name)
        return f"The run “{name}” cannot be read: {trouble}." if trouble else f"The run “{name}” does not exist."
    if card.cohort != cohort:
        return f"The run “{name}” was trained on the cohort “{card.cohort}”, not on “{cohort}”."
    return f"The run “{name}” has no trained model yet ({card.status.state})."


def _nearest_run(name: str, cards: list[store.RunCard]) -> str | None:
    """The run itself, if it belongs to another cohort; else the one of this cohort with the most similar name."""
    card = store.run_card(name)
    if card is not None and card.usable and card.cohort in store.cohort_names():
        return name
    return workspace.nearest(name, [card.run_id for card in cards])


def gone() -> Gone | None:
    """What was asked for and cannot be opened, or None."""
    found: Gone | None = st.session_state.get(_GONE)
    return found


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
    _note_shown(RUN)
    st.session_state[_CHOSEN] = True
    st.session_state.pop(_GONE, None)


def follow_newest() -> None:
    """Callback of the cohort selector: show the newest run of the new cohort."""
    _note_shown(COHORT)
    st.session_state[_CHOSEN] = False
    st.session_state.pop(_GONE, None)


def current_cohort() -> store.CohortCard | None:
    """The cohort chosen in the sidebar, or None if none is chosen or it cannot be read (see `cohort_trouble`)."""
    name = st.session_state.get(COHORT)
    try:
        return store.cohort_card(name) if name else None
    except CrmError:
        return None


def cohort_trouble() -> str:
    """Why the chosen cohort cannot be read, naming the file; "" if it can."""
    name = st.session_state.get(COHORT)
    try:
        if name:
            store.cohort_card(name)
    except CrmError as error:
        return str(error)
    return ""


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


ECONOMICS = ("contact_cost", "kept_value", "success_rate", "capacity")
"""Session keys of what a contact costs and brings, in the order of `Economics`; the rate in percent."""


def economics() -> Economics:
    """What this viewer entered on cost and value of a contact; the defaults before."""
    default = Economics()
    cost, value, success, capacity = (st.session_state.get(key) for key in ECONOMICS)
    return Economics(
        cost=default.cost if cost is None else float(cost),
        value=default.value if value is None else float(value),
        success_rate=default.success_rate if success is None else float(success) / 100,
        capacity=None if capacity is None else int(capacity),
    )


def use_threshold(threshold: float) -> None:
    """Callback of the buttons that set the threshold."""
    st.session_state[THRESHOLD] = threshold


def _in_address(name: str, default: float) -> float:
    """A number from the query parameters; the default if it is missing, malformed or out of range."""
    try:
        value = float(st.query_params.get(name, default))
    except ValueError:
        return default
    # As the widgets do, which have two digits: what is shown is what is used.
    return round(value, 2) if 0 <= value <= (1.0 if name == THRESHOLD else 10.0) else default
