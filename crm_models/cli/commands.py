"""The command line: `python -m crm_models generate | import | check | train | tune | evaluate | plan | ...`.

Exit 0: done. Exit 2: wrong usage or bad input, said in one line on stderr. Progress goes to stderr, results to stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crm_models.cli.options import Parser, add_device, command, positive, share, whole
from crm_models.core.errors import CrmError
from crm_models.core.schema import DEFAULT_RETENTION_ACTIONS, DEFAULT_THRESHOLD, PLAN_MODES, PRESET_NAMES
from crm_models.data.sources import FORMS

INSTALLED_AS = "crm-transformers"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
        sys.stdout.flush()
    except CrmError as error:
        return _say(str(error))
    except BrokenPipeError:  # `... | head` has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # else the interpreter flushes into the pipe on its way out
        return 0
    except OSError as error:
        place = str(error.filename or "")
        if place.endswith(".part"):  # a name of ours that nobody asked for
            place = os.path.dirname(place)
        where = f"{place}: " if place else ""
        return _say(f"{where}expected to read or write here, found: {error.strerror or error}; check space and rights")
    except MemoryError:
        return _say("expected enough memory for this cohort, found too little; use fewer customers or a larger machine")
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except Exception as error:
        if os.environ.get("CRM_DEBUG"):
            traceback.print_exc()
        return _say(f"unexpected {type(error).__name__}: {error}; CRM_DEBUG=1 shows where; please report it", 2)
    return 0


def _say(message: str, status: int = 2) -> int:
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
        _add_paper,
        _add_benchmark,
    ):
        add(commands)
    return parser


# ---- generate, import, check -----------------------------------------------------------------------------------------


def _add_generate(commands: Any) -> None:
    parser = command(commands, "generate", "Draw a synthetic cohort with known truth.", _generate)
    parser.add_argument("--scenario", choices=("paper", "lifelike"), required=True)
    parser.add_argument("--customers", type=whole(1), help="default: 100 for paper, 5000 for lifelike")
    parser.add_argument("--signal", type=share, default=1.0, help="0: nothing to learn; 1: as much as the truth holds")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--events", type=whole(0), help="lifelike: give every customer a history of so many events")
    parser.add_argument("--out", type=Path, required=True, metavar="COHORT")


def _generate(given: argparse.Namespace) -> None:
    from crm_models import workflow

    cohort = workflow.generate(
        given.out,
        scenario=given.scenario,
        customers=given.customers,
        signal=given.signal,
        seed=given.seed,
        events=given.events,
    )
    _summarise(cohort, given)


def _add_import(commands: Any) -> None:
    parser = command(commands, "import", "Turn files of a known form into a cohort.", _import)
    parser.add_argument("form", choices=FORMS)
    parser.add_argument("sources", type=Path, nargs="+", metavar="SOURCE", help="files, or the folder that holds them")
    parser.add_argument(
        "--churn-days", type=positive, help="call a customer churned after so many days without activity"
    )
    parser.add_argument(
        "--column", action="append", default=[], metavar="NAME=THEIRS", help="tables: what a column is called"
    )
    parser.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="tables: a column to leave out")
    parser.add_argument("--positive", help="tables: the value of the label that means churned")
    parser.add_argument("--out", type=Path, required=True, metavar="COHORT")


def _import(given: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.errors import ConfigError

    columns = {}
    for pair in given.column:
        name, equals, theirs = pair.partition("=")
        if not (equals and name and theirs):
            raise ConfigError(f"--column expects NAME=THEIRS, as in customer_id=userId; found {pair!r}")
        columns[name] = theirs
    options = {
        "churn_days": given.churn_days,
        "columns": columns,
        "drop": tuple(given.drop),
        "positive": given.positive,
    }
    options = {name: value for name, value in options.items() if value}  # others keep the default of the form
    _summarise(workflow.import_files(given.out, given.form, given.sources, **options), given)


def _summarise(cohort: Any, given: argparse.Namespace) -> None:
    churned = (
        f", {cohort.labels[~_nan(cohort.labels)].mean():.1%} churned" if cohort.has_labels else ", no churn labels"
    )
    print(
        f"{given.out}: {cohort.n_customers:,} customers, {len(cohort.interactions):,} interactions, "
        f"{len(cohort.actions):,} actions{churned}"
    )
    if not given.quiet:
        for note in cohort.notes:
            print(f"  note: {note}", file=sys.stderr)


def _nan(values: Any) -> Any:
    import numpy as np

    return np.isnan(values)


def _add_check(commands: Any) -> None:
    parser = command(commands, "check", "Say what in a cohort will hurt, before training.", _check)
    parser.add_argument("cohort", type=Path, metavar="COHORT")


def _check(given: argparse.Namespace) -> None:
    from crm_models import workflow

    findings = workflow.check(given.cohort)
    for finding in findings:
        print(f"{finding.level}: {finding.title}. {finding.detail} {finding.advice}".strip())
    if not findings:
        print("nothing found that would hurt")


# ---- train, tune, evaluate, plan -------------------------------------------------------------------------------------


def _add_train(commands: Any) -> None:
    parser = command(commands, "train", "Train the Sequence and the Churn Transformer on a cohort.", _train)
    parser.add_argument("cohort", type=Path, nargs="?", metavar="COHORT")
    parser.add_argument("--out", type=Path, metavar="RUN")
    parser.add_argument("--preset", choices=PRESET_NAMES, default=None, help="default: standard")
    parser.add_argument(
        "--model", choices=("both", "sequence", "churn"), default=None, help="default: what the data allow"
    )
    parser.add_argument("--epochs", type=whole(1), help="most epochs of each model")
    parser.add_argument("--seed", type=whole(0), default=None)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any setting: sequence.d_model=32"
    )
    parser.add_argument("--resume", nargs="?", const=True, default=False, metavar="RUN", help="go on with a run")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run of this name")
    add_device(parser)


def _train(given: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.errors import ConfigError

    # `--resume RUN`, `--resume --out RUN` and `COHORT --out RUN --resume` all mean the same.
    if isinstance(given.resume, str):
        if given.out is None:
            given.out = Path(given.resume)
        else:
            given.cohort = Path(given.resume)
    if given.out is None:
        raise ConfigError("train needs --out RUN, the folder to write to")
    if given.resume:
        events = workflow.resume(given.out, device=given.device, threads=given.threads)
    else:
        if given.cohort is None:
            raise ConfigError("train needs a COHORT folder; make one with `generate` or `import`")
        config = workflow.run_config(
            preset=given.preset or "standard",
            model=given.model,
            epochs=given.epochs,
            seed=given.seed or 0,
            device=given.device,
            threads=given.threads,
            settings=given.set,
        )
        events = workflow.train(
            given.cohort, given.out, config, chosen=given.model is not None, overwrite=given.overwrite
        )
    for event in events:
        if not given.quiet:
            valid = "" if event.valid_loss is None else f", validation {event.valid_loss:.4f}"
            said = ", final refit" if event.final_refit else valid
            best = " *" if event.best else ""
            place = f"{event.model:<8} epoch {event.epoch:>3}/{event.n_epochs}"
            print(f"{place}  loss {event.train_loss:.4f}{said}  {event.seconds:.1f} s{best}", file=sys.stderr)
    print(workflow.run_summary(given.out))


def _add_tune(commands: Any) -> None:
    parser = command(
        commands, "tune", "Search for better settings of one model; the same command again goes on.", _tune
    )
    parser.add_argument("cohort", type=Path, metavar="COHORT")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--model", choices=("sequence", "churn"), required=True)
    parser.add_argument("--minutes", type=positive, help="end after so many minutes, in the middle of a trial too")
    parser.add_argument("--trials", type=whole(1), help="end after so many trials (default: 20, or as time allows)")
    parser.add_argument("--preset", choices=PRESET_NAMES[1:], default="standard", help="the first trial")
    parser.add_argument("--epochs", type=whole(1), help="most epochs of each trial")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting that is not searched, as for train"
    )
    parser.add_argument("--runs", type=Path, metavar="DIR", help="where the trials' runs go (default: into FOLDER)")
    add_device(parser)


def _tune(given: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.runs.trials import summary

    events = workflow.tune(
        given.cohort,
        given.out,
        model=given.model,
        minutes=given.minutes,
        trials=given.trials,
        preset=given.preset,
        epochs=given.epochs,
        seed=given.seed,
        device=given.device,
        threads=given.threads,
        settings=given.set,
        runs=given.runs,
    )
    for trial in events:
        if not given.quiet:
            loss = "no loss yet" if trial.loss is None else f"validation {trial.loss:.4f}"
            tried = ", ".join(f"{k.partition('.')[2]} {v}" for k, v in trial.settings.items()) or given.preset
            place = f"trial {trial.number:>3}  {trial.state:<8}  {loss}  {trial.seconds:.1f} s"
            print(f"{place}  {trial.reason or tried}", file=sys.stderr)
    print(summary(given.out))


def _add_evaluate(commands: Any) -> None:
    parser = command(commands, "evaluate", "Score a run on its own held-out customers.", _evaluate)
    parser.add_argument("run_folder", type=Path, metavar="RUN")
    parser.add_argument("--cohort", type=Path, help="where the cohort lies now, if it was moved")
    parser.add_argument("--out", type=Path, metavar="report.json")
    add_device(parser)


def _evaluate(given: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.files import need_file_target, write_json

    if given.out is not None:
        need_file_target(given.out)
    report = workflow.evaluate(given.run_folder, cohort=given.cohort, device=given.device, threads=given.threads)
    if given.out is None:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return
    write_json(given.out, report)
    print(f"{given.out}: {workflow.report_summary(report)}")


def _add_plan(commands: Any) -> None:
    parser = command(commands, "plan", "Write every customer's three next actions as CSV.", _plan)
    parser.add_argument("run_folder", type=Path, metavar="RUN")
    parser.add_argument("--cohort", type=Path, help="other customers than those the run was trained on")
    parser.add_argument("--threshold", type=share, default=DEFAULT_THRESHOLD)
    parser.add_argument("--mode", choices=PLAN_MODES, default="override")
    parser.add_argument("--intensity", type=float, default=1.0, help="the paper's alpha, for --mode graded")
    parser.add_argument(
        "--retention", action="append", metavar="ACTION", help="a retention action; three replace the usual"
    )
    parser.add_argument("--layout", choices=("wide", "long"), default="wide")
    parser.add_argument("--as-of", help="cohort, latest, or a date: the moment the plans are made at")
    parser.add_argument(
        "--api-exact", action="store_true", help="leave text as it is, for loaders instead of spreadsheets"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="plans.csv")
    add_device(parser)


def _plan(given: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.planning.policy import Policy

    policy = Policy(
        threshold=given.threshold,
        mode=given.mode,
        intensity=given.intensity,
        retention_actions=tuple(given.retention or DEFAULT_RETENTION_ACTIONS),
    )
    manifest = workflow.plan(
        given.run_folder,
        given.out,
        policy,
        cohort=given.cohort,
        layout=given.layout,
        as_of=given.as_of,
        api_exact=given.api_exact,
        device=given.device,
        threads=given.threads,
        progress=None if given.quiet else _progress,
    )
    print(f"{given.out}: {workflow.plan_summary(manifest)}")


def _progress(done: int, total: int) -> None:
    print(f"planned {done:,} of {total:,} customers", file=sys.stderr)


# ---- paper, benchmark ------------------------------------------------------------------------------------------------


def _add_paper(commands: Any) -> None:
    parser = command(commands, "paper", "Re-run the paper over many seeds and hold it against its tables.", _paper)
    parser.add_argument("--seeds", type=whole(1), default=20)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_device(parser)


def _paper(given: argparse.Namespace) -> None:
    from crm_models import workflow

    progress = None if given.quiet else (lambda said: print(said, file=sys.stderr))
    print(workflow.paper(given.out, seeds=given.seeds, device=given.device, threads=given.threads, progress=progress))


def _add_benchmark(commands: Any) -> None:
    parser = command(commands, "benchmark", "Measure a model on fixed splits, for comparison with others.", _benchmark)
    parser.add_argument("task", choices=("sequence", "churn"))
    parser.add_argument("cohort", type=Path, metavar="COHORT")
    parser.add_argument("--preset", choices=PRESET_NAMES, default="standard")
    parser.add_argument("--holdout", type=whole(1), default=1, help="sequence: last events held out of each customer")
    parser.add_argument("--folds", type=whole(2), default=5, help="churn: stratified folds")
    parser.add_argument("--labels", type=whole(1), help="churn: learn from the labels of so many customers alone")
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--seeds", type=whole(1), default=1, help="so many, from --seed up: mean and spread")
    for option in ("epochs", "width", "blocks", "heads", "max-len", "batch"):
        parser.add_argument(f"--{option}", type=whole(1))
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any setting, as for train")
    parser.add_argument("--out", type=Path, metavar="FILE")
    add_device(parser)


def _benchmark(given: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.files import need_file_target, write_json

    if given.out is not None:
        need_file_target(given.out)
    shape = {k: getattr(given, k) for k in ("epochs", "width", "blocks", "heads", "max_len", "batch")}
    scores = workflow.benchmark(
        given.task,
        given.cohort,
        preset=given.preset,
        holdout=given.holdout,
        folds=given.folds,
        seed=given.seed,
        seeds=given.seeds,
        labels=given.labels,
        shape={k: v for k, v in shape.items() if v is not None},
        settings=given.set,
        device=given.device,
        threads=given.threads,
    )
    if given.out is not None:
        write_json(given.out, scores)
    print(json.dumps(scores, indent=2))


if __name__ == "__main__":
    sys.exit(main())
