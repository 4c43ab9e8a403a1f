"""A sample of each campaign of faults; `make faults` tries for as long as it is given."""

import logging

import pytest

from tests.faults.__main__ import tried
from tests.faults.campaigns import CAMPAIGNS
from tests.faults.place import make_workspace

LEAST = {"malformed": 40, "kills": 3, "full disk": 3, "bits": 3, "earlier files": 2, "clock": 1, "together": 1}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("made"))


@pytest.mark.pages
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_sample_of_the_campaign_finds_no_failure(workspace, name, monkeypatch):
    monkeypatch.setenv("CRM_WORKSPACE", str(workspace))  # put back at the end, because campaigns set it
    monkeypatch.setattr(logging.root, "level", logging.ERROR)
    tally = tried(0.0, 7, [name], workspace, LEAST.get(name, 1))[name]
    assert tally.failed == []
    assert tally.tried >= LEAST.get(name, 1)
