"""The commands `train`, `tune` and `stability`: what learns from a cohort."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from crm_models.cli.options import add_device, add_engine, add_threshold, command, computing, positive, whole
from crm_models.core.schema import PRESET_NAMES
from crm_models.runs.processes import is_follower


def add_training(commands: Any) -> None:
    """Add the commands."""
    for add in (_add_train, _add_tune, _add_stability):
        add(commands)


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
    add_engine(parser, "processes that share each batch, this one included (default: 1; see also torchrun)", default=1)
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
    if args.resume:
        events = workflow.resume(args.out, **computing(args))
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
        where: dict[str, Any] = {"workers": args.workers, "engine": args.engine, "address": args.address}
        events = workflow.train(args.cohort, args.out, config, chosen=chosen, overwrite=args.overwrite, **where)
    for event in events:
        if not args.quiet:
            valid = "" if event.valid_loss is None else f", validation {event.valid_loss:.4f}"
            outcome = ", final refit" if event.final_refit else valid
            best = " *" if event.best else ""
            prefix = f"{event.model:<8} epoch {event.epoch:>3}/{event.n_epochs}"
            print(f"{prefix}  loss {event.train_loss:.4f}{outcome}  {event.seconds:.1f} s{best}", file=sys.stderr)

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
        **computing(args),
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
    events = workflow.stability(args.run_folder, seeds=args.seeds, cohort=args.cohort, **computing(args))
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
