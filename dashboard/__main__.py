"""Starts the app, `python -m dashboard [options of streamlit run]`, with what its first page imports already loaded.

Streamlit runs nothing of an app before the first viewer is there, who would wait for pandas and Plotly.
"""

import sys
from pathlib import Path

from streamlit.web import cli

from dashboard.panels import home, share

IMPORTED_BY_THE_FIRST_PAGE = (home, share)

if __name__ == "__main__":
    cli.main_run([str(Path(__file__).with_name("app.py")), *sys.argv[1:]])
