"""Inputs made after public bug reports are read right, or said, or refused with the row; see `tests/cases.py`."""

import pytest

from tests.cases import CASES, sources_of, verdict


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_misread_in_silence(name):
    if not sources_of(name):
        pytest.skip("../shared/cases and ../shared/faults are not beside this repository")
    found, said = verdict(name)
    assert found != "WRONG", said
    assert "Traceback" not in said
    assert "unexpected" not in said
