"""The commands `paper` and `benchmark`: the paper again, and models beside others."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from crm_models.cli.options import add_device, command, computing, whole
from crm_models.core.schema import PRESET_NAMES


def add_experiments(commands: Any) -> None:
    """Add the commands."""
    for add in (_add_paper, _add_benchmark):
        add(commands)


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
    print(workflow.paper(args.out, seeds=args.seeds, **computing(args), progress=progress))


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
        **computing(args),
    )
    if args.out is not None:
        write_json(args.out, scores)
    print(json.dumps(scores, indent=2))
