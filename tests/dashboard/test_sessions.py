"""Memory of closed tabs: their sessions are shut down in time, although nobody else comes."""

import asyncio
from types import SimpleNamespace

from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.session_manager import SessionInfo

from dashboard.streamlit_patches import sessions


def test_a_closed_tab_is_shut_down_after_the_time_to_come_back(monkeypatch):
    monkeypatch.setattr(MemorySessionStorage, "save", MemorySessionStorage.save)  # put back at the end
    monkeypatch.setattr(sessions, "MARGIN_SECONDS", 0.01)
    monkeypatch.setattr(sessions.runtime, "exists", lambda: True)
    there = {"back"}  # this viewer came back
    manager = SimpleNamespace(get_active_session_info=lambda name: name if name in there else None)
    monkeypatch.setattr(sessions.runtime, "get_instance", lambda: SimpleNamespace(_session_mgr=manager))
    sessions.free_in_time()
    ended = []

    async def closed() -> None:
        storage = MemorySessionStorage(ttl_seconds=0.2)
        tabs = {
            name: SimpleNamespace(id=name, shutdown=lambda name=name: ended.append(name)) for name in ("gone", "back")
        }
        for tab in tabs.values():
            storage.save(SessionInfo(client=None, session=tab))
        storage.delete("back")
        await asyncio.sleep(0.1)
        assert ended == []
        storage.save(SessionInfo(client=None, session=tabs["gone"]))  # was back, and has left again
        await asyncio.sleep(0.15)
        assert ended == []
        await asyncio.sleep(0.15)

    asyncio.run(closed())
    assert ended == ["gone"]
