"""Gives back the memory of uploaded files once their page was left.

Streamlit 1.67 keeps the bytes of a file until its session ends, although the uploader that held it is gone.
"""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

_PAGE = "page_of_uploads"


def drop_left_behind(page: str) -> None:
    """Drop this session's files if another page than `page` was open before; a page's uploaders begin empty anyway."""
    context = get_script_run_ctx()
    if context is not None and st.session_state.get(_PAGE, page) != page:
        context.uploaded_file_mgr.remove_session_files(context.session_id)
    st.session_state[_PAGE] = page
