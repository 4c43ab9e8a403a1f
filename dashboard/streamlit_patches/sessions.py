"""Frees the sessions of closed tabs, with their uploads, once nobody can come back to them.

Streamlit 1.67 keeps a session for two minutes after its connection was lost, but looks at the clock only when another
tab is closed: on a quiet server the memory of the last ones stays for ever.
"""

from __future__ import annotations

import asyncio
import gc
from functools import wraps

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
        loop = asyncio.get_running_loop()
        loop.call_later(storage._cache.ttl + MARGIN_SECONDS, _free, storage)  # type: ignore[attr-defined]  # a TTLCache

    save.frees_in_time = True  # type: ignore[attr-defined]  # marks the patched method
    MemorySessionStorage.save = save  # type: ignore[method-assign]  # Streamlit has no hook for this


def _free(storage: MemorySessionStorage) -> None:
    storage._cache.expire()  # type: ignore[attr-defined]  # a TTLCache
    gc.collect()  # a session and its parts hold each other
