"""A sample of each campaign of faults; `make faults` tries for as long as it is given."""

import logging

import pytest

from tests.faults.__main__ import tried
from tests.faults.campaigns import CAMPAIGNS

LEAST = {"malformed": 40, "kills": 2, "full disk": 2, "bits": 2, "earlier files": 2, "clock": 1, "together": 1}


@pytest.mark.pages
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", [name for name in CAMPAIGNS if name != "crowd"])  # it starts a server, as journeys do
def test_a_sample_of_the_campaign_finds_no_failure(one_of_everything, name, monkeypatch):
    monkeypatch.setenv("CRM_WORKSPACE", str(one_of_everything))  # put back at the end, because campaigns set it
    monkeypatch.setattr(logging.root, "level", logging.ERROR)
    tally = tried(0.0, 7, [name], one_of_everything, LEAST.get(name, 1))[name]
    assert tally.failed == []
    assert tally.tried >= LEAST.get(name, 1)
