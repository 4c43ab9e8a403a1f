"""Keeps the garbage collection that Streamlit asks for after every run of a script away from the libraries."""

from __future__ import annotations

import gc
import sys

MANY = 50
"""So many new modules are worth another look: the first page, and the first one that needs PyTorch."""
_spared = 0  # modules loaded when the libraries were last set apart


def spare_libraries() -> None:
    """Set everything apart that is alive, where libraries came in since the last time; cheap where none did.

    Streamlit collects after each move of a slider. With pandas, Plotly and PyTorch loaded that is a million objects
    that never become garbage, and a tenth of a second in which no page is served.
    """
    global _spared
    loaded = len(sys.modules)
    if loaded >= _spared + MANY:
        gc.collect()
        gc.freeze()
        _spared = loaded
