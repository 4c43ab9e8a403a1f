"""Garbage: the libraries are set apart once, and what becomes garbage later is still collected."""

import gc
import sys
import weakref
from types import ModuleType

import pytest

from dashboard.streamlit_patches import gc_freeze


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(gc_freeze, "_frozen_modules", 0)
    gc.unfreeze()
    yield
    gc.unfreeze()


class Ring:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


def test_the_libraries_are_set_apart_once_and_again_after_a_large_import(fresh, monkeypatch):
    gc_freeze.spare_libraries()
    first = gc.get_freeze_count()
    assert first > 10_000
    rings = [Ring() for _ in range(500)]
    gc_freeze.spare_libraries()
    assert gc.get_freeze_count() <= first, "nothing was imported"
    for k in range(gc_freeze.MIN_NEW_MODULES):
        monkeypatch.setitem(sys.modules, f"made_up_{k}", ModuleType(f"made_up_{k}"))
    gc_freeze.spare_libraries()
    assert gc.get_freeze_count() > first + len(rings) - 100


def test_garbage_that_comes_later_is_collected(fresh):
    gc_freeze.spare_libraries()
    ring = Ring()
    gone = weakref.ref(ring)
    del ring
    gc.collect()
    assert gone() is None


def test_every_page_sets_them_apart(fresh, workspace, open_page):
    open_page("home")
    assert gc_freeze._frozen_modules > 0
    assert gc.get_freeze_count() > 10_000
