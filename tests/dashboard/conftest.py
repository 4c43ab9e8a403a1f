"""A workspace with a small cohort and two trained runs, made once; each test works on a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from crm_models import workflow
from crm_models.core.files import write_json
from crm_models.core.schema import ACTION, CUSTOMER_ID
from crm_models.data.cohort import Cohort
from crm_models.data.storage import load_cohort, save_cohort
from crm_models.runs.folder import RunFolder
from dashboard.jobs import queue, scoring

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this folder opens pages, or the queue behind them."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.pages)


ENTRY = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


@pytest.fixture(scope="session")
def made_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cohort `small` (lifelike, 120 customers) with the runs `first` and `second`, reports and scores."""
    root = tmp_path_factory.mktemp("made") / "workspace"
    cohort = root / "cohorts" / "small"
    workflow.generate(cohort, scenario="lifelike", customers=120, seed=1)
    for name, seed in (("first", 0), ("second", 1)):
        config = workflow.run_config(preset="paper", epochs=3, seed=seed, threads=1)
        run = root / "runs" / name
        list(workflow.train(cohort, run, config))
        write_json(run / "report.json", workflow.evaluate(run, threads=1))
        scoring.keep(RunFolder(run), cohort)
    (root / "prepared").touch()
    return root


@pytest.fixture
def nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs stay in the queue: no runner is started."""
    monkeypatch.setattr(queue.JobFolder, "_start_runner", lambda self: None)


@pytest.fixture
def workspace(made_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nobody_works: None) -> Path:
    """A copy of the made workspace that the app sees as its own; jobs stay in the queue."""
    own = tmp_path / "workspace"
    shutil.copytree(made_workspace, own)
    for file in own.glob("runs/*/config.json"):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace(str(made_workspace), str(own)), encoding="utf-8")
    monkeypatch.setenv("CRM_WORKSPACE", str(own))
    return own


@pytest.fixture
def empty_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nobody_works: None) -> Path:
    """A workspace whose demo cohort was deleted."""
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace" / "prepared").touch()
    monkeypatch.setenv("CRM_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path / "workspace"


@pytest.fixture
def open_page() -> Callable[..., AppTest]:
    """Opens a page of the app by its name, with what stands in the address."""

    def open_it(name: str, **address: str) -> AppTest:
        app = AppTest.from_file(str(ENTRY), default_timeout=120)  # a busy machine is no failure
        for key, value in address.items():
            app.query_params[key] = value
        # Straight to the page, as by a link: a visit at home first would take half of the time of these tests.
        return app.switch_page(f"app_pages/{name}.py").run() if name != "home" else app.run()

    return open_it


@pytest.fixture
def texts() -> Callable[[AppTest], str]:
    """Everything that a page says, as one text, without bold marks and what keeps data from being markup."""

    def read(app: AppTest) -> str:
        kinds = (app.title, app.header, app.subheader, app.markdown, app.caption, app.error, app.warning, app.info)
        said = "\n".join(str(element.value) for kind in (*kinds, app.success) for element in kind)
        return said.replace("\u2060", "").replace("\\", "").replace("**", "")

    return read


NASTY = '<b>x</b> **y** [z](http://e.vil) $a$ :red[r]\n=HYPERLINK("q")'
"""What a customer or an action may be called: HTML, Markdown, a formula, two lines."""


@pytest.fixture(scope="session")
def made_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cohorts `profiles` (no events) and `events` (no labels, nasty names), each with one run called after it."""
    root = tmp_path_factory.mktemp("parts") / "workspace"
    workflow.generate(root / "whole", scenario="lifelike", customers=90, seed=2)
    whole = load_cohort(root / "whole")
    people, events = whole.customers, whole.interactions.astype({CUSTOMER_ID: "str", ACTION: "str"})
    first = str(people[CUSTOMER_ID].iloc[0])
    events[CUSTOMER_ID] = events[CUSTOMER_ID].replace(first, NASTY)
    kinds = sorted(events[ACTION].unique())
    events[ACTION] = events[ACTION].replace(dict(zip(kinds, [f"{NASTY} {k}" for k in range(len(kinds))], strict=True)))
    own = people.drop(columns="churned").replace({CUSTOMER_ID: {first: NASTY}})
    save_cohort(
        Cohort.build(name="profiles", source="t", customers=people, interactions=None), root / "cohorts" / "profiles"
    )
    save_cohort(
        Cohort.build(
            name="events", source="t", customers=own, interactions=events, as_of=whole.as_of, outcome=whole.outcome
        ),
        root / "cohorts" / "events",
    )
    for name in ("profiles", "events"):
        config = workflow.run_config(preset="paper", epochs=2, threads=1)
        run = root / "runs" / name
        list(workflow.train(root / "cohorts" / name, run, config))
        write_json(run / "report.json", workflow.evaluate(run, threads=1))
        scoring.keep(RunFolder(run), root / "cohorts" / name)
    (root / "prepared").touch()
    return root


@pytest.fixture
def parts(made_parts: Path, monkeypatch: pytest.MonkeyPatch, nobody_works: None) -> Path:
    """The workspace of `made_parts`, as the app's own; tests only read it."""
    monkeypatch.setenv("CRM_WORKSPACE", str(made_parts))
    return made_parts
