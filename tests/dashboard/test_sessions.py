"""Memory of closed tabs: their sessions go in time, although nobody else comes."""

import asyncio
import weakref
from types import SimpleNamespace

from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.session_manager import SessionInfo

from dashboard.streamlit_patches import sessions


class Session(SimpleNamespace):
    """Stands for the session of a tab."""


def test_the_session_of_a_closed_tab_is_gone_after_the_time_to_come_back(monkeypatch):
    monkeypatch.setattr(MemorySessionStorage, "save", MemorySessionStorage.save)  # put back at the end
    monkeypatch.setattr(sessions, "MARGIN_SECONDS", 0.01)
    sessions.free_in_time()

    async def closed() -> list[bool]:
        storage = MemorySessionStorage(ttl_seconds=0.1)
        session = Session(id="tab")
        session.itself = session  # as those of Streamlit do, it holds itself
        is_there = weakref.ref(session)
        storage.save(SessionInfo(client=None, session=session))
        del session
        kept = [storage.get("tab") is not None]
        await asyncio.sleep(0.3)
        return [*kept, is_there() is not None]

    assert asyncio.run(closed()) == [True, False]
