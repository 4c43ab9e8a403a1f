"""The command line: `python -m crm_models generate | import | check | train | tune | evaluate | plan | ...`.

Exit status 0: success. 2: wrong usage or bad input, with one error line on stderr. Progress goes to stderr, results to
stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from crm_models.cli.audit import logged
from crm_models.cli.campaign import add_campaign
from crm_models.cli.explain import add_explain
from crm_models.cli.options import (
    Parser,
    add_allow_drift,
    add_device,
    add_engine,
    add_policy,
    add_threshold,
    command,
    pairs,
    positive,
    share,
    whole,
)
from crm_models.cli.receipt import receipt_lines
from crm_models.cli.workspace import add_workspace
from crm_models.core.errors import why
from crm_models.core.places import place
from crm_models.core.recovery import recover_path
from crm_models.core.schema import DEFAULT_RETENTION_ACTIONS, PRESET_NAMES, SCENARIOS
from crm_models.data.sources import FORMS

INSTALLED_AS = "crm-transformers"


def main(arguments: Sequence[str] | None = None, *, is_logged: bool = True) -> int:
    """Run one command; returns the exit status. is_logged: in the audit log of a team's workspace."""
    args = _parser().parse_args(arguments)
    try:
        _recover(args)
        with logged(args) if is_logged else nullcontext():
            args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has closed it, as `... | head` does
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # else the interpreter flushes into the closed pipe at exit
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except Exception as error:
        if os.environ.get("CRM_DEBUG"):
            traceback.print_exc()
        text = why(error)
        return _fail(f"{text}; CRM_DEBUG=1 shows where; please report it" if text.startswith("unexpected ") else text)
    return 0


def _recover(args: argparse.Namespace) -> None:
    """Clear what killed commands left beside the files and folders that this one names, and say so."""
    if args.command == "workspace":
        return  # its own subject: a check without --repair changes nothing
    named = [value for given in vars(args).values() for value in (given if isinstance(given, list) else [given])]
    for path in (value for value in named if isinstance(value, Path)):
        for sentence in recover_path(path):
            print(f"note: {sentence}", file=sys.stderr)


def _fail(message: str, status: int = 2) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    installed = Path(sys.argv[0]).name == INSTALLED_AS
    prog = INSTALLED_AS if installed else "python -m crm_models"
    parser = Parser(prog=prog, description="Engagement plans and churn risk with Transformers.")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser, metavar="COMMAND")
    for add in (
        _add_generate,
        _add_import,
        _add_check,
        _add_train,
        _add_tune,
        _add_evaluate,
        _add_plan,
        add_campaign,
        add_explain,
        _add_report,
        _add_stability,
        _add_paper,
        _add_benchmark,
        add_workspace,
    ):
        add(commands)
    return parser


# ---- generate, import, check -----------------------------------------------------------------------------------------


def _add_generate(commands: Any) -> None:
    parser = command(commands, "generate", "Draw a synthetic cohort with known truth.", _generate)
    parser.add_argument("--scenario", choices=SCENARIOS, required=True)
    parser.add_argument(
        "--customers", type=whole(1), help="default: 5000 for lifelike, 100 as in the paper for the others"
    )
    parser.add_argument("--signal", type=share, default=1.0, help="0: nothing to learn; 1: as much as the truth holds")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--events", type=whole(0), help="number of events in every history (not paper)")
    parser.add_argument("--out", type=Path, required=True, metavar="COHORT")


def _generate(args: argparse.Namespace) -> None:
    from crm_models import workflow

    cohort = workflow.generate(
        args.out,
        scenario=args.scenario,
        customers=args.customers,
        signal=args.signal,
        seed=args.seed,
        events=args.events,
    )
    _summarise(cohort, args)


def _add_import(commands: Any) -> None:
    parser = command(commands, "import", "Turn files of a known format into a cohort.", _import)
    parser.add_argument("form", choices=(*FORMS, "sql"))
    parser.add_argument(
        "sources",
        type=Path,
        nargs="*",
        metavar="SOURCE",
        help="files, a folder of files, or an address such as s3://...",
    )
    parser.add_argument("--table", action="append", default=[], metavar="NAME", help="sql: a table to read")
    parser.add_argument(
        "--query", action="append", default=[], metavar="SQL", help="sql: a query to read (address: CRM_DATABASE_URL)"
    )
    parser.add_argument(
        "--churn-days", type=positive, help="label customers without activity for this many days as churned"
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help="tables: the column of a file to read as NAME",
    )
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="tables: a column to leave out")
    parser.add_argument("--positive", help="tables: the value of the label that means churned")
    parser.add_argument("--encoding", help="tables: the encoding of text files, such as cp1250 (default: found)")
    parser.add_argument(
        "--as-of", metavar="DATE", help="tables: the day the export was made; later events are left out"
    )
    parser.add_argument(
        "--recipe", type=Path, metavar="FILE", help="tables: recipe.json of an earlier import to repeat"
    )
    parser.add_argument(
        "--answer",
        action="append",
        default=[],
        metavar="DOUBT=READING",
        help="tables: settle a doubt as the import names it",
    )
    parser.add_argument("--accept-doubts", action="store_true", help="tables: take the proposed reading of every doubt")
    parser.add_argument(
        "--skip-bad-rows",
        action="store_true",
        help="tables: leave out rows that cannot be read, and list them in rejected.csv",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="COHORT")


def _import(args: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.data.sources.receipt import DoubtError

    options = {
        "churn_days": args.churn_days,
        "columns": pairs(args.column, "--column expects NAME=COLUMN, as in customer_id=userId"),
        "drop": tuple(args.drop),
        "positive": args.positive,
        "encoding": args.encoding,
        "as_of": args.as_of,
        "recipe": args.recipe,
        "answers": pairs(args.answer, "--answer expects DOUBT=READING, as in customers.spend.thousands=decimal"),
        "accept_doubts": args.accept_doubts,
        "skip_bad_rows": args.skip_bad_rows,
    }
    options = {name: value for name, value in options.items() if value}  # others keep the default of the format
    try:
        if args.form == "sql":
            cohort = workflow.import_sql(args.out, tables=args.table, queries=args.query, **options)
        else:
            cohort = workflow.import_files(args.out, args.form, args.sources, **options)
    except DoubtError as error:
        for doubt in error.doubts:
            print(f"doubt: {doubt.text()}", file=sys.stderr)
        raise
    _summarise(cohort, args)
    if not args.quiet and (receipt := cohort.documents.get("receipt.json")):
        for line in receipt_lines(receipt):
            print(line)


def _summarise(cohort: Any, args: argparse.Namespace) -> None:
    churned = (
        f", {cohort.labels[~_nan(cohort.labels)].mean():.1%} churned" if cohort.has_labels else ", no churn labels"
    )
    print(
        f"{args.out}: {cohort.n_customers:,} customers, {len(cohort.interactions):,} interactions, "
        f"{len(cohort.actions):,} actions{churned}"
    )
    if not args.quiet:
        for note in cohort.notes:
            print(f"  note: {note}", file=sys.stderr)


def _nan(values: Any) -> Any:
    import numpy as np

    return np.isnan(values)


def _add_check(commands: Any) -> None:
    parser = command(commands, "check", "Check a cohort for problems before training.", _check)
    parser.add_argument("cohort", type=Path, metavar="COHORT")


def _check(args: argparse.Namespace) -> None:
    from crm_models import workflow

    findings = workflow.check(args.cohort)
    for finding in findings:
        print(f"{finding.level}: {finding.title}. {finding.detail} {finding.advice}".strip())
    if not findings:
        print("no problems found")


# ---- train, tune, evaluate, plan -------------------------------------------------------------------------------------


def _add_train(commands: Any) -> None:
    parser = command(commands, "train", "Train the Sequence and the Churn Transformer on a cohort.", _train)
    parser.add_argument("cohort", type=Path, nargs="?", metavar="COHORT")
    parser.add_argument("--out", type=Path, metavar="RUN")
    parser.add_argument("--preset", choices=PRESET_NAMES, default=None, help="default: standard")
    parser.add_argument(
        "--model", choices=("both", "sequence", "churn"), default=None, help="default: all that the data allow"
    )
    parser.add_argument("--epochs", type=whole(1), help="maximum number of epochs per model")
    parser.add_argument("--seed", type=whole(0), default=None)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any setting, as in sequence.d_model=32"
    )
    parser.add_argument(
        "--split",
        choices=("random", "time"),
        default=None,
        help="time: learn what was known by a date, test from it on",
    )
    parser.add_argument("--split-date", metavar="DATE", help="date of --split time (default: the cohort's cut-off)")
    parser.add_argument(
        "--resume", nargs="?", const=True, default=False, metavar="RUN", help="resume training of a run"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing run of this name")
    add_engine(parser, "processes that share each batch (see also torchrun)", default=1)
    add_device(parser)


def _train(args: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.errors import ConfigError

    # `--resume RUN`, `--resume --out RUN` and `COHORT --out RUN --resume` all mean the same.
    if isinstance(args.resume, str):
        if args.out is None:
            args.out = Path(args.resume)
        else:
            args.cohort = Path(args.resume)
    if args.out is None:
        raise ConfigError("train needs --out RUN, the folder to write to")
    where: dict[str, Any] = {"workers": args.workers, "engine": args.engine, "address": args.address}
    if args.resume:
        events = workflow.resume(args.out, device=args.device, threads=args.threads, **where)
    else:
        if args.cohort is None:
            raise ConfigError("train needs a COHORT folder; make one with `generate` or `import`")
        config = workflow.run_config(
            preset=args.preset or "standard",
            model=args.model,
            epochs=args.epochs,
            seed=args.seed or 0,
            device=args.device,
            threads=args.threads,
            settings=args.set,
            split=args.split or ("time" if args.split_date else "random"),
            split_date=args.split_date or "",
        )
        chosen = args.model is not None
        events = workflow.train(args.cohort, args.out, config, chosen=chosen, overwrite=args.overwrite, **where)
    for event in events:
        if not args.quiet:
            valid = "" if event.valid_loss is None else f", validation {event.valid_loss:.4f}"
            outcome = ", final refit" if event.final_refit else valid
            best = " *" if event.best else ""
            prefix = f"{event.model:<8} epoch {event.epoch:>3}/{event.n_epochs}"
            print(f"{prefix}  loss {event.train_loss:.4f}{outcome}  {event.seconds:.1f} s{best}", file=sys.stderr)
    from crm_models.training.parallel import is_follower  # not before: it imports torch

    if not is_follower():
        print(workflow.run_summary(args.out))


def _add_tune(commands: Any) -> None:
    parser = command(
        commands, "tune", "Search for better settings of one model; run the same command again to continue.", _tune
    )
    parser.add_argument("cohort", type=Path, metavar="COHORT")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", choices=("sequence", "churn"), required=True)
    parser.add_argument("--minutes", type=positive, help="stop after this many minutes, even during a trial")
    parser.add_argument(
        "--trials", type=whole(1), help="stop after this many trials (default: 20, or no limit with --minutes)"
    )
    parser.add_argument("--preset", choices=PRESET_NAMES[1:], default="standard", help="settings of the first trial")
    parser.add_argument("--epochs", type=whole(1), help="maximum number of epochs per trial")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting to keep fixed, as for train"
    )
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder for the runs of the trials (default: FOLDER)")
    add_device(parser)


def _tune(args: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.runs.trials import summary

    events = workflow.tune(
        args.cohort,
        args.out,
        model=args.model,
        minutes=args.minutes,
        trials=args.trials,
        preset=args.preset,
        epochs=args.epochs,
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        settings=args.set,
        runs=args.runs,
    )
    for trial in events:
        if not args.quiet:
            loss = "no loss yet" if trial.loss is None else f"validation {trial.loss:.4f}"
            changes = ", ".join(f"{k.partition('.')[2]} {v}" for k, v in trial.settings.items()) or args.preset
            prefix = f"trial {trial.number:>3}  {trial.state:<8}  {loss}  {trial.seconds:.1f} s"
            print(f"{prefix}  {trial.reason or changes}", file=sys.stderr)
    print(summary(args.out))


def _add_evaluate(commands: Any) -> None:
    parser = command(commands, "evaluate", "Evaluate a run on its test customers.", _evaluate)
    parser.add_argument("run_folder", type=Path, metavar="RUN")
    parser.add_argument("--cohort", type=Path, help="the cohort's folder, if it was moved")
    add_allow_drift(parser)
    parser.add_argument("--out", type=Path, metavar="report.json")
    add_device(parser)
    add_engine(parser)


def _evaluate(args: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.files import need_file_target
    from crm_models.core.sealed import write_record

    if args.out is not None:
        need_file_target(args.out)
    report = workflow.evaluate(
        args.run_folder,
        cohort=args.cohort,
        allow_drift=args.allow_drift,
        device=args.device,
        threads=args.threads,
        engine=args.engine,
        workers=args.workers,
        address=args.address,
    )
    _say_drift(report.get("drift", []), args)
    if args.out is None:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    write_record(args.out, report)
    print(f"{args.out}: {workflow.report_summary(report)}")


def _add_plan(commands: Any) -> None:
    parser = command(commands, "plan", "Write a plan of three actions for every customer as CSV.", _plan)
    parser.add_argument("run_folder", type=place, metavar="RUN")
    parser.add_argument("--cohort", type=place, help="a cohort other than the one the run was trained on")
    add_policy(parser)
    parser.add_argument(
        "--layout", choices=("wide", "long"), default="wide", help="wide: a row per customer; long: a row per step"
    )
    parser.add_argument("--as-of", help="cohort, latest, or a date: when the plans are made")
    parser.add_argument(
        "--plan-for",
        choices=("whole", "steps"),
        default="whole",
        help="whole: the plan most probable as a whole; steps: at each step the action most probable there",
    )
    parser.add_argument(
        "--api-exact",
        action="store_true",
        help="do not neutralise formulas: for import into a system, not a spreadsheet",
    )
    parser.add_argument(
        "--no-drivers", action="store_true", help="long layout: leave out why each customer at risk is (faster)"
    )
    parser.add_argument(
        "--step-drivers",
        action="store_true",
        help="long layout: also why each of the model's steps is planned (some 9 customers a second)",
    )
    add_allow_drift(parser)
    parser.add_argument("--out", type=place, required=True, metavar="plans.csv")
    add_device(parser)
    add_engine(parser)


def _plan(args: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.planning.policy import Policy

    policy = Policy(
        threshold=args.threshold,
        mode=args.mode,
        intensity=args.intensity,
        retention_actions=tuple(args.retention or DEFAULT_RETENTION_ACTIONS),
    )
    manifest = workflow.plan(
        args.run_folder,
        args.out,
        policy,
        cohort=args.cohort,
        layout=args.layout,
        as_of=args.as_of,
        plan_for=args.plan_for,
        api_exact=args.api_exact,
        allow_drift=args.allow_drift,
        drivers=not args.no_drivers,
        step_drivers=args.step_drivers,
        device=args.device,
        threads=args.threads,
        engine=args.engine,
        workers=args.workers,
        address=args.address,
        progress=None if args.quiet else _progress,
    )
    _say_drift(manifest["drift"], args)
    _say_changed_ids(manifest)
    print(f"{args.out}: {workflow.plan_summary(manifest)}")


def _say_drift(differences: list[dict[str, Any]], args: argparse.Namespace) -> None:
    """Print how the customers differ from the training customers; --quiet leaves out the notes."""
    for difference in differences:
        if difference["severity"] != "note" or not args.quiet:
            print(f"{_SAID[difference['severity']]}: {difference['text']}", file=sys.stderr)


_SAID = {"refuse": "warning", "warning": "warning", "note": "note"}


def _say_changed_ids(manifest: dict[str, Any]) -> None:
    """Print how many customer ids a loader would not find again, because a spreadsheet would run them as formulas."""
    if changed := manifest.get("changed_ids"):
        ids = "1 customer id begins" if changed == 1 else f"{changed:,} customer ids begin"
        print(
            f"warning: {ids} like a formula and got an apostrophe in front, for spreadsheets; "
            "use --api-exact for a file that a system loads by id",
            file=sys.stderr,
        )


def _progress(done: int, total: int) -> None:
    print(f"planned {done:,} of {total:,} customers", file=sys.stderr)


def _add_report(commands: Any) -> None:
    parser = command(commands, "report", "Write a run as one HTML file: scores, curves, plans and model card.", _report)
    parser.add_argument("run_folder", type=Path, metavar="RUN")
    parser.add_argument("--cohort", type=Path, help="the cohort's folder, if it was moved")
    add_threshold(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html")
    add_device(parser)


def _report(args: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.files import need_file_target
    from crm_models.planning.policy import Policy

    need_file_target(args.out)
    policy = Policy(threshold=args.threshold)
    workflow.report(args.run_folder, args.out, policy, cohort=args.cohort, device=args.device, threads=args.threads)
    print(f"{args.out}: the report of the run, in one file")


def _add_stability(commands: Any) -> None:
    parser = command(
        commands, "stability", "Train a run with more seeds and say where they disagree; again to continue.", _stability
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN")
    parser.add_argument("--seeds", type=whole(2), default=5, help="number of seeds, that of the run included")
    add_threshold(parser)
    parser.add_argument("--cohort", type=Path, help="the cohort's folder, if it was moved")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the counts and the scores by seed as JSON")
    add_device(parser)


def _stability(args: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.files import need_file_target, write_json
    from crm_models.runs.folder import RunFolder
    from crm_models.runs.stability import read_stability

    if args.out is not None:
        need_file_target(args.out)
    events = workflow.stability(
        args.run_folder, seeds=args.seeds, cohort=args.cohort, device=args.device, threads=args.threads
    )
    for event in events:
        if not args.quiet:
            print(f"{event.model:<8} epoch {event.epoch:>3}/{event.n_epochs}  {event.seconds:.1f} s", file=sys.stderr)
    found = read_stability(RunFolder(args.run_folder))
    if found is None:
        print(f"{args.run_folder}: stopped; the same command continues")
        return
    summary = found.summary(args.threshold)
    if args.out is not None:
        write_json(args.out, summary)
    print(
        f"{args.run_folder}: {len(found.seeds)} seeds; of {summary['customers']:,} customers, "
        f"{summary['change_side']:,} change side of the threshold {args.threshold:g} and "
        f"{summary['change_first_action']:,} their first action; {summary['not_confident']:,} plans are not confident"
    )


# ---- paper, benchmark ------------------------------------------------------------------------------------------------


def _add_paper(commands: Any) -> None:
    parser = command(
        commands, "paper", "Re-run the paper's experiments over many seeds and compare with its tables.", _paper
    )
    parser.add_argument("--seeds", type=whole(1), default=20)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_device(parser)


def _paper(args: argparse.Namespace) -> None:
    from crm_models import workflow

    progress = None if args.quiet else (lambda message: print(message, file=sys.stderr))
    print(workflow.paper(args.out, seeds=args.seeds, device=args.device, threads=args.threads, progress=progress))


def _add_benchmark(commands: Any) -> None:
    parser = command(commands, "benchmark", "Score a model on fixed splits, to compare it with others.", _benchmark)
    parser.add_argument("task", choices=("sequence", "churn"))
    parser.add_argument("cohort", type=Path, metavar="COHORT")
    parser.add_argument("--preset", choices=PRESET_NAMES, default="standard")
    parser.add_argument(
        "--holdout", type=whole(1), default=1, help="sequence: number of last events held out per customer"
    )
    parser.add_argument(
        "--protocol",
        choices=("holdout", "leave-one-out"),
        default="holdout",
        help="sequence: leave-one-out trains without the last two events, chooses the epoch on the second-last, and "
        "predicts the last from a history that holds it",
    )
    parser.add_argument("--folds", type=whole(2), default=5, help="churn: number of stratified folds")
    parser.add_argument("--labels", type=whole(1), help="churn: train on the labels of this many customers only")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument(
        "--seeds", type=whole(1), default=1, help="number of seeds, counting up from --seed; reports mean and spread"
    )
    for option in ("epochs", "width", "blocks", "heads", "max-len", "batch"):
        parser.add_argument(f"--{option}", type=whole(1))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting, as for train")
    parser.add_argument("--out", type=Path, metavar="FILE")
    add_device(parser)


def _benchmark(args: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.files import need_file_target, write_json

    if args.out is not None:
        need_file_target(args.out)
    shape = {k: getattr(args, k) for k in ("epochs", "width", "blocks", "heads", "max_len", "batch")}
    scores = workflow.benchmark(
        args.task,
        args.cohort,
        preset=args.preset,
        holdout=args.holdout,
        protocol=args.protocol,
        folds=args.folds,
        seed=args.seed,
        seeds=args.seeds,
        labels=args.labels,
        shape={k: v for k, v in shape.items() if v is not None},
        settings=args.set,
        device=args.device,
        threads=args.threads,
    )
    if args.out is not None:
        write_json(args.out, scores)
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    sys.exit(main())
