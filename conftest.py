"""Examples in docstrings run in a folder of their own, with a cohort and a run beside them."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cohort `workspace/demo` and the run `workspace/run`, as the examples make them."""
    from crm_models import workflow

    folder = tmp_path_factory.mktemp("examples")
    workflow.generate(folder / "workspace" / "demo", scenario="lifelike", customers=60)
    config = workflow.run_config(preset="paper", epochs=2, threads=1)
    list(workflow.train(folder / "workspace" / "demo", folder / "workspace" / "run", config))
    return folder


@pytest.fixture(autouse=True)
def _in_the_folder_of_the_examples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch.chdir(request.getfixturevalue("examples"))
        # The re-run of the paper ends with a larger cohort, which tests/paper train on; here a small one will do.
        monkeypatch.setattr("crm_models.paper.rerun.TINY_CUSTOMERS", 300)
