"""Whoever turns to another page gets there, also from a page that looks again by itself a few times a second.

Streamlit 1.67 can lose a click on a page's name. The browser stops the timers of a page (`run_every`) when its viewer
leaves, but what the server had already sent may set one again; its request names the page that was left, and where the
click still waits for its turn the two become one request for the old page. On a busy machine that was one click in
twelve. There is no setting for it, so such late requests are dropped where the server takes them in.
"""

from __future__ import annotations

from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from streamlit.runtime.app_session import AppSession


class PageTurns:
    """Which page one viewer is on, and which one was left last; told by the requests of the browser, in their order."""

    def __init__(self) -> None:
        self._at: str | None = None
        self._left: str | None = None

    def is_late(self, asked: Any) -> bool:
        """Whether this request is one of a timer of the page that was left; asked: Streamlit's `ClientState`."""
        page = asked.page_script_hash
        if asked.is_auto_rerun and page == self._left:
            return True
        if not asked.fragment_id:
            self._left = self._at if page != self._at else None
        self._at = page
        return False


_turns: WeakKeyDictionary[AppSession, PageTurns] = WeakKeyDictionary()


def keep() -> None:
    """Have every session of this server keep its page turns; once is enough, more often does no harm."""
    take_in = AppSession.request_rerun
    if hasattr(take_in, "keeps_page_turns"):
        return

    @wraps(take_in)
    def request_rerun(session: AppSession, client_state: Any) -> None:
        if client_state is None or not _turns.setdefault(session, PageTurns()).is_late(client_state):
            take_in(session, client_state)

    request_rerun.keeps_page_turns = True  # type: ignore[attr-defined]  # a mark of ours
    AppSession.request_rerun = request_rerun  # type: ignore[assignment, method-assign]  # there is no other way in
