"""Fixtures that several test files share."""

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout; the test is skipped, with the reason, where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data sets (../shared/data) are not beside this checkout")
    return SHARED_DATA


@pytest.fixture(scope="session")
def one_of_everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a cohort, runs, campaigns, plans and jobs, and a backup of it beside it; work on a copy."""
    from tests.faults.place import make_workspace  # loads what starts processes, which few tests need

    return make_workspace(tmp_path_factory.mktemp("everything"))
