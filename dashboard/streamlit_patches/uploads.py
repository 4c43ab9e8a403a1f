"""Bounds the memory that uploaded files take: a limit for each session, and nothing left of a page that was left.

Streamlit 1.67 keeps the bytes of a file until its session ends, although the uploader that held it is gone, and takes
any number of files from whoever has a connection, also before they sign in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import streamlit as st
from starlette.exceptions import HTTPException
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

_PAGE = "page_of_uploads"

Refuse = Callable[[Mapping[str, Any], int], str | None]
"""Why a person, by what the provider says of them, may not hold so many bytes; None if they may."""


def drop_left_behind(page: str) -> None:
    """Drop this session's files if another page than `page` was open before; a page's uploaders begin empty anyway."""
    context = get_script_run_ctx()
    if context is not None and st.session_state.get(_PAGE, page) != page:
        context.uploaded_file_mgr.remove_session_files(context.session_id)
    st.session_state[_PAGE] = page


def limit(refuse: Refuse) -> None:
    """Patch this server to ask `refuse` before it keeps a file; further calls have no effect."""
    original = MemoryUploadedFileManager.add_file
    if hasattr(original, "is_limited"):
        return

    @wraps(original)
    def add_file(files: MemoryUploadedFileManager, session_id: str, file: UploadedFileRec) -> None:
        held = files.file_storage.get(session_id, {})
        size = len(file.data) + sum(len(other.data) for key, other in list(held.items()) if key != file.file_id)
        if (why := refuse(_claims(session_id), size)) is not None:
            raise HTTPException(status_code=403, detail=why)
        original(files, session_id, file)

    add_file.is_limited = True  # type: ignore[attr-defined]  # marks the patched method
    MemoryUploadedFileManager.add_file = add_file  # type: ignore[assignment, method-assign]  # Streamlit has no hook for this


def _claims(session_id: str) -> Mapping[str, Any]:
    """What the provider says of a session's person. An upload arrives outside the session's script."""
    sessions = getattr(runtime.get_instance(), "_session_mgr", None) if runtime.exists() else None
    found = sessions.get_active_session_info(session_id) if sessions is not None else None
    return dict(found.session._user_info) if found is not None else {}
