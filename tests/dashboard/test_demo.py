"""The shipped demo: whole on the first start, and what training it anew gives."""

import time

import pytest

from crm_models import workflow
from crm_models.core.files import read_json
from crm_models.runs.folder import RunFolder
from dashboard.jobs import tested
from dashboard.jobs.queue import JobFolder
from dashboard.state import demo, predictions, store


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A workspace as the first start leaves it."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("demo") / "workspace"
        patch.setenv("CRM_WORKSPACE", str(root))
        patch.setattr(JobFolder, "_start_runner", lambda self: None)
        demo.prepare()
    return root


@pytest.fixture
def first_start(installed, monkeypatch, nobody_works):
    monkeypatch.setenv("CRM_WORKSPACE", str(installed))
    return installed


def test_the_first_start_has_customers_a_run_scores_and_test_predictions(first_start):
    assert store.cohort_names() == [demo.COHORT]
    card = store.run_card(demo.RUN)
    assert card.usable
    assert card.cohort == demo.COHORT
    assert (store.report(card), store.scores(card)) != (None, None)
    assert JobFolder(first_start).jobs() == [], "training is something one does by choice"
    assert (card.folder.folder / "held_out.npz").exists()


def test_every_page_has_everything_at_once(first_start, open_page, texts):
    for page in ("home", "cohort", "train", "evaluate", "customers", "plans"):
        began = time.perf_counter()
        app = open_page(page)
        assert not app.exception, page
        assert not any(word in texts(app) for word in ("Scoring all customers", "are training")), page
        assert time.perf_counter() - began < 30, "a busy machine is no failure, a training is"


def test_home_says_that_the_demo_is_invented_and_how_to_bring_ones_own(first_start, open_page, texts):
    app = open_page("home")
    assert "invented" in texts(app)
    app.button("bring_your_own").click().run()
    assert app.session_state["cohort_way"] == "own"


def test_the_shipped_run_gives_its_own_report_and_was_trained_by_this_code(first_start):
    report = read_json(first_start / "runs" / demo.RUN / "report.json")
    again = workflow.evaluate(first_start / "runs" / demo.RUN, threads=1)
    assert again["churn"]["auc"] == pytest.approx(report["churn"]["auc"], abs=1e-3)
    assert again["sequence"]["step_accuracy"] == pytest.approx(report["sequence"]["step_accuracy"], abs=1e-3)
    assert report["churn"]["auc"] > 0.8, "the first thing a viewer sees is a useful model"


def test_what_was_computed_for_the_shipped_run_is_found_again(first_start, monkeypatch):
    def not_again(*_):
        raise AssertionError("the test predictions are computed again: run `make demo`")

    monkeypatch.setattr(tested, "_predict", not_again)
    predictions._tested.clear()
    assert predictions.tested(store.run_card(demo.RUN)).churn is not None


def test_training_it_anew_begins_with_the_same_losses(first_start, tmp_path):
    """Two epochs of each model: later ones have grown apart on another processor (see `tests/fixed_run.py`)."""
    shipped = RunFolder(first_start / "runs" / demo.RUN).status().epochs
    config = workflow.run_config(preset="standard", threads=1)
    for model in ("sequence", "churn"):
        one = workflow.run_config(preset="standard", threads=1, model=model)
        events = workflow.train(first_start / "cohorts" / demo.COHORT, tmp_path / model, one)
        first = [next(events).train_loss for _ in range(2)]
        events.close()
        assert first == pytest.approx([e.train_loss for e in shipped if e.model == model][:2], rel=1e-2), (
            f"the {model} model trains otherwise than the shipped one: run `make demo`"
        )
    assert config.to_dict() == RunFolder(first_start / "runs" / demo.RUN).config().to_dict()
