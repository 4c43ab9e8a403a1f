"""Works around a Streamlit 1.67 race: a timer rerun (`run_every`) can overwrite a page change.

The browser stops the timers of a page when its viewer leaves, but a message that the server had already sent may start
one again. Its rerun request names the old page. If the click is still waiting, Streamlit merges both into one request
for the old page, and the click is lost: one click in twelve on a busy machine. There is no setting for it, so such late
requests are dropped where the server receives them.
"""

from __future__ import annotations

from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from streamlit.runtime.app_session import AppSession


class PageTurns:
    """Current and previous page of one viewer, tracked from the browser's requests in order."""

    def __init__(self) -> None:
        self._current: str | None = None
        self._previous: str | None = None

    def is_late(self, request: Any) -> bool:
        """Whether a timer of the previous page sent this request; request: Streamlit's `ClientState`."""
        page = request.page_script_hash
        if request.is_auto_rerun and page == self._previous:
            return True
        if not request.fragment_id:
            self._previous = self._current if page != self._current else None
        self._current = page
        return False


_page_turns: WeakKeyDictionary[AppSession, PageTurns] = WeakKeyDictionary()


def keep() -> None:
    """Patch the sessions of this server to drop late requests; further calls have no effect."""
    original = AppSession.request_rerun
    if hasattr(original, "keeps_page_turns"):
        return

    @wraps(original)
    def request_rerun(session: AppSession, client_state: Any) -> None:
        if client_state is None or not _page_turns.setdefault(session, PageTurns()).is_late(client_state):
            original(session, client_state)

    request_rerun.keeps_page_turns = True  # type: ignore[attr-defined]  # marks the patched method
    AppSession.request_rerun = request_rerun  # type: ignore[assignment, method-assign]  # Streamlit has no hook for this
