"""Numbers that no restructuring may change; see `fixed_run` for comparing them to the last digit."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fixed_run import RECORD, early, numbers, processor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return numbers(Path(tmp_path_factory.mktemp("fixed")))


RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))


def test_the_first_epochs_give_the_recorded_losses_on_any_machine(found):
    assert flat(early(found)) == approximately(early(RECORDED["numbers"]), 1e-3)


@pytest.mark.parametrize("run", RECORDED["numbers"])
def test_a_fixed_run_gives_the_recorded_numbers(found, run):
    if processor() != RECORDED["processor"]:
        pytest.skip(f"the numbers were recorded on another processor ({RECORDED['processor']}), with other last digits")
    for what, numbers_then in RECORDED["numbers"][run].items():
        assert flat(found[run][what]) == approximately(numbers_then, 1e-4), what


def approximately(recorded: Any, share: float) -> list[Any]:
    """The plain values of `recorded`, numbers up to a share of themselves."""
    return [pytest.approx(own, rel=share, abs=1e-5) if isinstance(own, float) else own for own in flat(recorded)]


def flat(value: Any) -> list[Any]:
    """The plain values of nested lists and dictionaries, in their order."""
    if isinstance(value, dict):
        return [inner for key, own in value.items() for inner in [key, *flat(own)]]
    return [inner for own in value for inner in flat(own)] if isinstance(value, list) else [value]
