"""Memory of uploads: a file's bytes go when its page is left, and stay while it is open."""

from streamlit.testing.v1 import AppTest

CODE = """
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from dashboard.streamlit_patches import uploads

context = get_script_run_ctx()
files = context.uploaded_file_mgr
uploads.drop_left_behind("cohort")
files.add_file(context.session_id, UploadedFileRec("f", "a.csv", "text/csv", b"x" * 10))
held = []
for page in ("cohort", "cohort", "train"):
    uploads.drop_left_behind(page)
    held.append(len(files.get_files(context.session_id, ["f"])))
st.session_state["held"] = held
"""


def test_files_go_with_the_page_that_they_were_uploaded_on():
    app = AppTest.from_string(CODE).run()
    assert not app.exception
    assert app.session_state["held"] == [1, 1, 0]
