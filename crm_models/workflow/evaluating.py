"""Scores of a run on the customers it has not learned from, and its report as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from crm_models.core.engines import EngineName, InProcess
from crm_models.data.drift import Difference, refuse
from crm_models.data.storage import Parts
from crm_models.runs.folder import RunFolder
from crm_models.workflow.planning import score_stream

if TYPE_CHECKING:
    from crm_models.planning.policy import Policy


def compare(run_folder: Path | str, cohort: Path | str) -> list[Difference]:
    """How the customers of a cohort differ from those a run was trained on, worst first; see `crm_models.data.drift`.

    >>> from crm_models import workflow
    >>> workflow.compare("workspace/run", "workspace/demo")
    []
    """
    from crm_models.runs.trained import differences

    return differences(RunFolder(Path(run_folder)), Path(cohort))


def evaluate(
    run_folder: Path | str,
    *,
    cohort: Path | str | None = None,
    allow_drift: bool = False,
    device: str = "auto",
    threads: int | None = None,
    engine: EngineName = "local",
    workers: int | None = None,
    address: str | None = None,
) -> dict[str, Any]:
    """The report on the run's held-out customers: the content of `report.json`.

    cohort: where the run's cohort is now, if it was moved. If it has changed, `drift` lists how; customers too
    different to be scored are a `DataError` unless `allow_drift`. engine, workers, address: as for `plan`.

    >>> from crm_models import workflow
    >>> report = workflow.evaluate("workspace/run")
    >>> report["churn"]["customers"], sorted(report["churn"]["baselines"])
    (12, ['logistic', 'majority', 'recency'])
    """
    from crm_models.data.truth import load_truth
    from crm_models.evaluation.report import build_report
    from crm_models.runs.encoding import engine_to_encode
    from crm_models.runs.held_out import customers_tested, held_out, predict_held_out
    from crm_models.runs.scoring import engine_for
    from crm_models.runs.trained import differences

    run = RunFolder(Path(run_folder))
    run.need_weights()
    folder, encoder, config = Path(cohort or run.about()["cohort"]), run.encoder(), run.config()
    found = differences(run, folder)
    if not allow_drift:
        refuse(found, folder)
    n_parts = len(Parts(folder))
    chosen = engine_for(engine, n_parts, workers=workers, address=address, threads=threads, device=device)
    reader = chosen if engine == "ray" else engine_to_encode(n_parts, threads)
    with chosen.connected():
        held = held_out(run, reader, folder, allow_drift=allow_drift)
        sequence, churn = predict_held_out(run, held, folder, chosen, allow_drift=allow_drift, device=device)
    truth = load_truth(folder)
    tested = None if truth is None else customers_tested(held, folder)
    report = build_report(held, encoder, sequence, churn, truth, tested)
    if config.split == "time":
        report["split"] = {"kind": "time", "date": config.split_date}
    return report | ({"drift": [difference.to_dict() for difference in found]} if found else {})


def report_summary(report: dict[str, Any]) -> str:
    """The headline scores of a report in one line.

    >>> from crm_models import workflow
    >>> workflow.report_summary(workflow.evaluate("workspace/run"))
    'step accuracy ... (...; chance ...; scored on ... of 60 customers), churn AUC ... (...)'
    """
    from crm_models.evaluation.verdict import beside_baseline

    said = [f"out of time, from {report['split']['date']} on"] if "split" in report else []
    for name, score, in_words in (("sequence", "step_accuracy", "step accuracy"), ("churn", "auc", "churn AUC")):
        part = report[name]
        if not part:
            said.append(f"no {name} scores")
            continue
        value = "unknown" if part[score] is None else f"{part[score]:.3f}"
        of_all = f"{part['customers']:,} of {part['of_customers']:,} customers"
        chance = f"chance {part['chance'][score]:.3g}"
        said.append(f"{in_words} {value} ({'; '.join([*beside_baseline(part, score), chance, f'scored on {of_all}'])})")
    return ", ".join(said)


def report(
    run_folder: Path | str,
    out: Path | str,
    policy: Policy,
    *,
    cohort: Path | str | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Path:
    """Write the report of a run as one HTML file: scores, curves, plans under the policy, model card, limits.

    It evaluates the run if that was not done before, and scores all customers of its cohort. cohort: where that is now,
    if it was moved.

    >>> from crm_models import workflow
    >>> from crm_models.planning import Policy
    >>> workflow.report("workspace/run", "workspace/run.html", Policy(threshold=0.4)).name
    'run.html'
    """
    from crm_models.core.html_page import write_page
    from crm_models.runs.held_out import held_out, predict_held_out
    from crm_models.runs.report import report_page

    run = RunFolder(Path(run_folder))
    run.need_weights()
    folder = Path(cohort or run.about()["cohort"])
    scores = run.report() or evaluate(run_folder, cohort=folder, device=device, threads=threads)
    held = held_out(run, InProcess(threads), folder)
    _, churn = predict_held_out(run, held, folder, InProcess(threads), device=device)
    stream = score_stream(run, folder, device=device, threads=threads)
    return write_page(report_page(run, scores, stream, policy, churn), out)
