"""Evaluate: every headline score on a ruler, the curves, and what hangs on the threshold."""

import json

import pytest

from crm_models.core.files import read_json
from crm_models.evaluation import curves
from dashboard.jobs.queue import JobFolder
from dashboard.panels import evaluate as evaluate_panels
from dashboard.state import predictions, store


def titles(app) -> list[str]:
    """What stands above each chart of the page."""
    return [json.loads(chart.proto.spec)["layout"]["title"]["text"] for chart in app.get("plotly_chart")]


def traces(app, title: str) -> list[dict]:
    """The traces of the chart with this title."""
    specs = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    return next(spec for spec in specs if spec["layout"]["title"]["text"].startswith(title))["data"]


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_every_headline_score_of_the_report_stands_on_a_ruler(workspace, open_page):
    app = open_page("evaluate")
    assert not app.exception
    report = read_json(workspace / "runs" / "second" / "report.json")
    for part, title, scores in (
        ("sequence", "Next actions", evaluate_panels.SEQUENCE),
        ("churn", "Churn", evaluate_panels.CHURN),
    ):
        marks = traces(app, title)
        keys = [key for key, _ in reversed(scores)]
        for name, own in (
            ("Ours", report[part]),
            ("Chance", report[part]["chance"]),
            ("Ceiling", report[part]["ceiling"]),
        ):
            shown = [float(text) for t in marks if t.get("name") == name for text in t["text"]]
            assert shown == pytest.approx([own[key] for key in keys], abs=0.0006)
        assert len(next(t for t in marks if t.get("name") == "Baseline")["text"]) == len(scores)


def test_the_churn_tab_has_all_its_curves_and_the_auc_with_its_interval(workspace, open_page):
    app = open_page("evaluate")
    churn = read_json(workspace / "runs" / "second" / "report.json")["churn"]
    low, high = churn["intervals"]["auc"]
    assert titles(app)[2:] == [
        "Confusion matrix at 0.50",
        "Churn probability by outcome",
        f"ROC curve: AUC {churn['auc']:.3f} ({low:.3f} to {high:.3f})",
        "Precision and recall",
        "Gain",
        "Lift",
        f"Calibration: {100 * churn['ece']:.1f} points off on average",
    ]


def test_a_move_of_the_threshold_moves_matrix_metrics_and_the_points(workspace, open_page):
    app = open_page("evaluate")
    found = predictions.tested(store.run_card("second")).churn
    for threshold in (0.5, 0.61):
        app.slider("threshold").set_value(threshold).run()
        counts = curves.confusion_table(found, threshold)
        scores = curves.confusion_scores(counts)
        shown = metrics(app)
        assert shown["Recall"] == f"{scores['recall']:.1%}"
        assert shown["Specificity"] == f"{scores['specificity']:.1%}"
        assert f"Confusion matrix at {threshold:.2f}" in titles(app)
        point = next(t for t in traces(app, "ROC") if t["name"] == f"Threshold {threshold:.2f}")
        assert (point["x"], point["y"]) == ([1 - scores["specificity"]], [scores["recall"]])
        flagged = counts["at risk"].sum() / counts.to_numpy().sum()
        assert next(t for t in traces(app, "Gain") if "Threshold" in t["name"])["x"] == [flagged]


def test_the_confusion_matrix_counts_customers_in_its_hover(workspace, open_page):
    app = open_page("evaluate", threshold="0.6")
    found = predictions.tested(store.run_card("second")).churn
    field = traces(app, "Confusion matrix")[0]
    assert field["customdata"] == curves.confusion_table(found, 0.6).to_numpy().tolist()
    assert "customers" in field["hovertemplate"]


def test_the_tab_of_the_next_actions_reopens_from_a_link_and_shows_steps_and_lengths(workspace, open_page):
    app = open_page("evaluate", evaluate_tab="Next actions")
    assert titles(app)[2:] == ["Accuracy by step", "Accuracy by length of history"]
    found = predictions.tested(store.run_card("second"))
    bars = traces(app, "Accuracy by step")[0]
    assert bars["y"] == curves.per_step_table(found.sequence)["accuracy"].tolist()
    lengths = traces(app, "Accuracy by length")[0]
    assert sum(row[3] for row in lengths["customdata"]) == len(found.sequence.plan)


@pytest.mark.parametrize(
    ("cohort", "opened", "missing"),
    [("profiles", "Churn probability by outcome", "sequence"), ("events", "Accuracy by step", "churn")],
)
def test_with_one_model_it_opens_where_there_is_something_to_see(parts, open_page, texts, cohort, opened, missing):
    app = open_page("evaluate", cohort=cohort)
    assert not app.exception
    assert opened in titles(app)
    assert f"There are no {missing} scores" in texts(app)
    other = "Next actions" if missing == "sequence" else "Churn"
    assert f"No {missing} model to evaluate" in texts(open_page("evaluate", cohort=cohort, evaluate_tab=other))


def test_without_data_it_says_where_to_get_some(empty_workspace, open_page, texts):
    app = open_page("evaluate")
    assert "No customers yet" in texts(app)
    assert app.get("plotly_chart") == []


def test_scores_that_could_not_be_computed_say_why_and_can_be_tried_again(workspace, open_page, texts):
    for run in ("first", "second"):
        (workspace / "runs" / run / "report.json").unlink()
    failed = {"job": {"run": "second", "cohort": "small", "task": "score", "arguments": [], "about": ""}, "at": 1.0}
    folder = JobFolder(workspace).folder / "failed"
    folder.mkdir(parents=True)
    (folder / "second.json").write_text(json.dumps(failed | {"reason": "expected <b>weights</b>, found none"}))
    app = open_page("evaluate")
    assert not app.exception
    assert "could not be computed: expected <b>weights</b>, found none" in texts(app)
    next(b for b in app.button if b.label == "Try again").click().run()
    assert [(j.job.run, j.job.task) for j in JobFolder(workspace).jobs()] == [("second", "score")]


@pytest.mark.parametrize("threshold", ["abc", "7", "-1", "nan", ""])
def test_a_threshold_that_is_none_in_the_address_is_the_usual_one(workspace, open_page, threshold):
    app = open_page("evaluate", threshold=threshold)
    assert not app.exception
    assert 0 <= app.slider("threshold").value <= 1
