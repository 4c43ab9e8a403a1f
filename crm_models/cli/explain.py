"""The command `explain`: why customers are at risk, why they get their steps, and what would bring them below."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from crm_models.cli.options import add_allow_drift, add_device, add_engine, command, share
from crm_models.core.errors import ConfigError
from crm_models.core.schema import DEFAULT_THRESHOLD

SUMMED_UP = 500
"""Customers whose drivers are summed up in words; a file holds those of all."""


def add_explain(commands: Any) -> None:
    """Add the command."""
    parser = command(commands, "explain", "Say why customers are at risk: what raises and lowers their risk.", _explain)
    parser.add_argument("run_folder", type=Path, metavar="RUN")
    parser.add_argument("--cohort", type=Path, help="a cohort other than the one the run was trained on")
    parser.add_argument("--customer", action="append", metavar="ID", help="only this customer; may be repeated")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--steps", action="store_true", help="why each step is planned, instead of why the risk")
    what.add_argument(
        "--counterfactual",
        action="store_true",
        help="the smallest change that brings a customer below the threshold (without --customer: all at risk)",
    )
    parser.add_argument(
        "--threshold", type=share, help=f"counterfactual: below this risk (default {DEFAULT_THRESHOLD})"
    )
    parser.add_argument(
        "--change", action="append", metavar="COLUMN", help="counterfactual: a profile column that is ours to change"
    )
    parser.add_argument(
        "--event", action="append", metavar="ACTION", help="counterfactual: an event that we can add (default: all)"
    )
    parser.add_argument("--as-of", help="cohort, latest, or a date: the moment of the explanation")
    add_allow_drift(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.csv|json", help="default: print in words")
    add_device(parser)
    add_engine(parser)


def _explain(args: argparse.Namespace) -> None:
    from crm_models import workflow
    from crm_models.core.files import need_file_target

    if args.out is not None:
        need_file_target(args.out)
    options: dict[str, Any] = {
        name: getattr(args, name) for name in ("cohort", "as_of", "allow_drift", "device", "threads")
    }
    if args.counterfactual:
        _counterfactual(args, options)
        return
    if args.threshold is not None or args.change or args.event:
        raise ConfigError("--threshold, --change and --event belong to --counterfactual; add it, or leave them out")
    if (args.out is None or args.customer or args.steps) and (args.engine != "local" or args.workers or args.address):
        raise ConfigError(
            "--engine, --workers and --address explain the risk of all customers into a file: give --out, and neither "
            "--customer nor --steps"
        )
    explain = workflow.explain_steps if args.steps else workflow.explain
    explainer: Any = explain(args.run_folder, customers=args.customer, **options)
    if args.out is not None:
        from crm_models.runs.explaining import write_drivers

        faithful = explainer.faithfulness()
        if args.customer or args.steps:
            explained = explainer.explain(args.customer)
        else:
            engine = {name: getattr(args, name) for name in ("engine", "workers", "address")}
            explained = workflow.drivers(args.run_folder, **options, **engine)
        n = write_drivers(explained, args.out, faithful, steps=args.steps)
        print(f"{args.out}: drivers of {n:,} customer{'' if n == 1 else 's'}. {faithful.said()}")
        return
    if args.customer:
        for one in explainer.explain(args.customer):
            print(f"{_whose(one)}, others {one.base:.1%} on average")
            for text in one.top(10):
                print(f"  {text}")
    else:
        _sum_up(list(islice(explainer.explain(), SUMMED_UP)), steps=args.steps)
    if not args.quiet:
        print(explainer.faithfulness().said(), file=sys.stderr)


def _whose(one: Any) -> str:
    """The customer and the probability that is explained."""
    if hasattr(one, "step"):
        return f"{one.customer_id}: step {one.step}, {one.action}: probability {one.step_p:.1%}"
    return f"{one.customer_id}: churn probability {one.churn_p:.1%}"


def _sum_up(explained: list[Any], *, steps: bool) -> None:
    from crm_models.inference.drivers import over_customers

    n, what = len(explained), "planned steps" if steps else "customers"
    of = "their probability" if steps else "the churn probability"
    print(f"Drivers of {of}, over {n:,} {what}, by their mean size in points:")
    for row in over_customers(explained).head(15).itertuples():
        print(f"  {row.driver}: {row.size:.1f}")


def _counterfactual(args: argparse.Namespace, options: dict[str, Any]) -> None:
    from crm_models import workflow

    found = workflow.counterfactuals(
        args.run_folder,
        threshold=DEFAULT_THRESHOLD if args.threshold is None else args.threshold,
        customers=args.customer,
        columns=args.change or (),
        events=args.event,
        **options,
    )
    if args.out is not None:
        from crm_models.runs.counterfactuals import write_counterfactuals

        n = write_counterfactuals(found, args.out)
        print(f"{args.out}: the smallest change for {n:,} customer{'' if n == 1 else 's'}")
        return
    n = 0
    for n, one in enumerate(found, 1):  # noqa: B007  # counted
        print(f"{one.customer_id}: {one.said()}")
        if args.customer:
            for change, points in one.did_not_help:
                print(f"  did not help: {change.phrase()} ({points:+.1f} points)")
    if not n:
        print("nobody is at risk")
