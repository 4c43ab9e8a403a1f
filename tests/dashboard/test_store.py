"""The workspace: the demo on first start, safe names, moved folders, and places that cannot be written."""

import shutil
import threading
from pathlib import Path

import pytest

from dashboard.jobs.queue import JobFolder
from dashboard.state import demo, store, workspace


@pytest.fixture
def fresh(tmp_path, monkeypatch, nobody_works):
    """An empty workspace of an app without a shipped run."""
    monkeypatch.setattr(demo, "CUSTOMERS", 60)
    monkeypatch.setattr(demo, "SHIPPED", tmp_path / "nothing")
    monkeypatch.setenv("CRM_WORKSPACE", str(tmp_path / "workspace"))
    return tmp_path / "workspace"


def test_the_first_start_draws_the_demo_and_queues_its_trainings_once(fresh):
    viewers = [threading.Thread(target=demo.prepare) for _ in range(4)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    demo.prepare()
    assert store.cohort_names() == ["demo"]
    assert [j.job.run for j in JobFolder(fresh).jobs()] == ["demo-quick", "demo-standard"]


def test_a_deleted_demo_does_not_come_back(fresh):
    demo.prepare()
    store.delete_cohort("demo")
    demo.prepare()
    assert store.cohort_names() == []


def test_every_page_opens_on_the_very_first_start(fresh, open_page, texts):
    app = open_page("home")
    assert not app.exception
    assert "2 trainings are about to begin" in texts(app)
    assert "The models are training" in texts(open_page("plans"))


@pytest.mark.parametrize("page", ["home", "cohort", "train"])
def test_a_workspace_that_cannot_be_written_is_said_and_breaks_no_page(tmp_path, monkeypatch, open_page, texts, page):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("CRM_WORKSPACE", str(tmp_path / "file"))
    app = open_page(page)
    assert not app.exception
    assert "The workspace cannot be prepared" in texts(app)


@pytest.mark.parametrize(
    ("wish", "name"),
    [
        ("My customers", "my-customers"),
        ("../../etc/passwd", "etc-passwd"),
        ("Kundschaft Süd 2026", "kundschaft-sud-2026"),
        ("<script>", "script"),
        ("---", "cohort"),
        ("日本", "cohort"),
        ("a" * 200, "a" * 48),
    ],
)
def test_a_name_is_safe_in_a_path_and_in_an_address(tmp_path, wish, name):
    assert workspace.new_name(wish, tmp_path) == name


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    (tmp_path / "x").mkdir()
    assert workspace.new_name("x", tmp_path) == "x-2"
    assert workspace.new_name("x", tmp_path, {"x-2", "x-3"}) == "x-4"


def test_a_moved_workspace_still_knows_which_run_belongs_to_which_cohort(workspace, tmp_path, monkeypatch, open_page):
    moved = tmp_path / "elsewhere"
    shutil.move(workspace, moved)
    monkeypatch.setenv("CRM_WORKSPACE", str(moved))
    app = open_page("home")
    assert not app.exception
    assert app.selectbox("run").value == "second"


def test_a_change_on_disk_is_seen_at_once(workspace):
    before = store.cohort_card("small").facts.customers
    from crm_models import workflow

    workflow.generate(workspace / "cohorts" / "small", scenario="lifelike", customers=77)
    assert (before, store.cohort_card("small").facts.customers) == (120, 77)


def test_what_is_deleted_while_folders_are_listed_is_left_out(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "run.json").touch()
    listed = [tmp_path / name / "run.json" for name in ("gone", "kept")]
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: iter(listed))
    assert workspace.newest_first(tmp_path, "run.json") == ["kept"]
