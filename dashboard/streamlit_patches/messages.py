"""Takes from a browser only those messages that the app's pages send.

Streamlit 1.67 answers others, too, from whoever has a connection, also before they sign in: it clears the caches of all
viewers, lists the files of the checkout that differ from its repository, installs files. Its menu hides them; there is
no setting that refuses them.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

from streamlit.logger import get_logger
from streamlit.runtime.app_session import AppSession

TAKEN = ("rerun_script", "stop_script", "app_heartbeat", "file_urls_request", "backend_operation_request")
OPERATIONS = ("deferred_file", "dataframe_chunk")


def refuse_others() -> None:
    """Patch the sessions of this server to drop other messages; further calls have no effect."""
    original = AppSession.handle_backmsg
    if hasattr(original, "refuses_others"):
        return

    @wraps(original)
    def handle_backmsg(session: AppSession, message: Any) -> None:
        kind = message.WhichOneof("type")
        operation = message.backend_operation_request.WhichOneof("payload")
        if kind in TAKEN and (kind != "backend_operation_request" or operation in OPERATIONS):
            original(session, message)
        else:
            get_logger(__name__).warning("A browser sent %s %s, which no page does: dropped", kind, operation or "")

    handle_backmsg.refuses_others = True  # type: ignore[attr-defined]  # marks the patched method
    AppSession.handle_backmsg = handle_backmsg  # type: ignore[assignment, method-assign]  # Streamlit has no hook for this
