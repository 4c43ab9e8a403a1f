"""Report of a run: one file with scores, figures, plans, model card; by the command, also without labels."""

import re

import pytest

from crm_models import workflow
from crm_models.cli.commands import main
from crm_models.core import html_page
from crm_models.evaluation.scores import best_baseline
from crm_models.runs.report import score_table


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("reported")
    workflow.generate(root / "cohort", scenario="lifelike", customers=90, seed=1)
    config = workflow.run_config(preset="paper", epochs=2, threads=1, model="sequence")
    list(workflow.train(root / "cohort", root / "sequence", config))
    list(workflow.train(root / "cohort", root / "run", workflow.run_config(preset="paper", epochs=2, threads=1)))
    return root


def test_the_command_writes_the_run_as_one_file(made, tmp_path, capsys):
    out = tmp_path / "run.html"
    assert main(["report", str(made / "run"), "--threshold", "0.3", "--threads", "1", "--out", str(out)]) == 0
    assert "the report of the run, in one file" in capsys.readouterr().out
    text = out.read_text(encoding="utf-8")
    assert text.count("plotly.js v") == 1
    figures = ["ROC curve of the churn model", "Predicted beside observed churn", "Customers by churn probability"]
    for alt in (*figures, "Planned steps by action", "Loss by epoch of the churn model"):
        assert f'<figure role="img" aria-label="{alt}"' in text
    assert "held out for the scores" in text
    again = tmp_path / "again.html"
    assert main(["report", str(made / "run"), "--threshold", "0.3", "--threads", "1", "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_a_run_without_a_churn_model_is_reported_without_its_curves(made, tmp_path):
    out = tmp_path / "run.html"
    assert main(["report", str(made / "sequence"), "--threads", "1", "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "There are no churn scores" in text
    assert "Customers by churn probability" not in text


def test_scores_stand_between_chance_and_ceiling(made):
    report = workflow.evaluate(made / "run", threads=1)
    table = score_table(report).set_index("score")
    auc = table.loc["churn ranking (AUC)"]
    assert (auc["chance"], auc["ours"], auc["ceiling"]) == (
        0.5,
        report["churn"]["auc"],
        report["churn"]["ceiling"]["auc"],
    )
    best = best_baseline(report["churn"]["baselines"], "auc")
    assert auc["best baseline"] == report["churn"]["baselines"][best]["auc"]
    assert "whole plans correct" in table.index


def test_a_page_without_figures_holds_no_script_and_escapes_all_text():
    text = html_page.page("<a>", [html_page.section("<b>", html_page.paragraph("<i>"), html_page.bullets(["<u>"]))])
    assert "<script" not in text
    assert not re.search(r"<(a|b|i|u)>", text)
