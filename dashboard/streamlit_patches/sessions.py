"""Frees the sessions of closed tabs, with their uploads, once nobody can come back to them.

Streamlit 1.67 keeps a session for two minutes after its connection was lost. It looks at the clock only when another
tab is closed, and then leaves the session to the garbage collector, which may spare it for ever (`gc_freeze`).
"""

from __future__ import annotations

import asyncio
from functools import wraps

from streamlit import runtime
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.session_manager import SessionInfo

MARGIN_SECONDS = 1.0


def free_in_time() -> None:
    """Patch this server to look at the clock after each lost connection; further calls have no effect."""
    original = MemorySessionStorage.save
    if hasattr(original, "frees_in_time"):
        return

    @wraps(original)
    def save(storage: MemorySessionStorage, session_info: SessionInfo) -> None:
        original(storage, session_info)
        patience = storage._cache.ttl + MARGIN_SECONDS  # type: ignore[attr-defined]  # a TTLCache
        asyncio.get_running_loop().call_later(patience, _free, storage, session_info)

    save.frees_in_time = True  # type: ignore[attr-defined]  # marks the patched method
    MemorySessionStorage.save = save  # type: ignore[assignment, method-assign]  # Streamlit has no hook for this


def _free(storage: MemorySessionStorage, session_info: SessionInfo) -> None:
    """Shut a session down unless its viewer is back, or was back and has left again."""
    session = session_info.session
    sessions = runtime.get_instance()._session_mgr if runtime.exists() else None
    is_back = sessions is not None and sessions.get_active_session_info(session.id) is not None
    if not is_back and storage.get(session.id) is None:
        session.shutdown()
