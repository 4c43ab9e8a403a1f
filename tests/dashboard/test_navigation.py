"""A click on a page's name is not overtaken by a timer of the page that was left."""

from __future__ import annotations

from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession

from dashboard.streamlit_patches import navigation
from dashboard.streamlit_patches.navigation import PageTurns


def click(page: str) -> ClientState:
    return ClientState(page_script_hash=page)


def timer(page: str) -> ClientState:
    return ClientState(page_script_hash=page, fragment_id="live", is_auto_rerun=True)


def late(*asked: ClientState) -> list[bool]:
    turns = PageTurns()
    return [turns.is_late(one) for one in asked]


def test_a_timer_of_the_page_that_was_left_comes_late() -> None:
    assert late(click("train"), timer("train"), click("plans"), timer("train"), timer("train")) == [
        False,
        False,
        False,
        True,
        True,
    ]


def test_the_new_page_has_timers_of_its_own() -> None:
    assert not any(late(click("train"), timer("train"), click("paper"), timer("paper"), click("paper")))


def test_a_page_left_and_opened_again_is_live_again() -> None:
    assert late(click("train"), click("plans"), timer("train"), click("train"), timer("train")) == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_a_page_the_app_itself_turned_to_keeps_its_timers() -> None:
    """`st.switch_page` sends no request of its own: the timers are the first to name the new page."""
    assert not any(late(click("train"), click("home"), click("home"), timer("train"), timer("train")))


def test_what_a_viewer_does_is_never_dropped() -> None:
    slider = ClientState(page_script_hash="train", fragment_id="threshold")
    assert not any(late(click("train"), click("plans"), slider, click("train")))


def test_a_session_hears_all_but_the_late(monkeypatch) -> None:
    heard = []
    monkeypatch.setattr(AppSession, "request_rerun", lambda session, asked: heard.append(asked))
    navigation.keep()
    navigation.keep()  # as on every run of the app's script
    one, other = object.__new__(AppSession), object.__new__(AppSession)
    monkeypatch.setattr(AppSession, "__del__", lambda session: None)
    for session, asked in ((one, click("train")), (one, click("plans")), (other, click("train")), (one, None)):
        session.request_rerun(asked)
    one.request_rerun(timer("train"))
    other.request_rerun(timer("train"))
    assert heard == [click("train"), click("plans"), click("train"), None, timer("train")]
