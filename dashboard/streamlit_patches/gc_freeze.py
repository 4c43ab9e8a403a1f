"""Excludes the loaded libraries from the garbage collection that Streamlit runs after every script run."""

from __future__ import annotations

import gc
import sys

MIN_NEW_MODULES = 50
"""New modules that trigger another freeze: on the first page, and on the first one that needs PyTorch."""
_frozen_modules = 0  # number of modules loaded at the last freeze


def spare_libraries() -> None:
    """Freeze all live objects if libraries were imported since the last call; cheap if none were.

    Streamlit collects garbage after each move of a slider. With pandas, Plotly and PyTorch loaded, each collection
    scans a million objects that never become garbage, which blocks all pages for a tenth of a second.
    """
    global _frozen_modules
    loaded = len(sys.modules)
    if loaded >= _frozen_modules + MIN_NEW_MODULES:
        gc.collect()
        gc.freeze()
        _frozen_modules = loaded
