"""The commands `evaluate`, `plan` and `report`: how good a run is, and what it proposes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from crm_models.cli.options import (
    add_allow_drift,
    add_device,
    add_engine,
    add_policy,
    add_threshold,
    command,
    computing,
    policy_of,
)
from crm_models.core.places import place
from crm_models.planning.policy import Policy


def add_plans(commands: Any) -> None:
    """Add the commands."""
    for add in (_add_evaluate, _add_plan, _add_report):
        add(commands)


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
        **computing(args),
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

    manifest = workflow.plan(
        args.run_folder,
        args.out,
        policy_of(args),
        cohort=args.cohort,
        layout=args.layout,
        as_of=args.as_of,
        plan_for=args.plan_for,
        api_exact=args.api_exact,
        allow_drift=args.allow_drift,
        drivers=not args.no_drivers,
        step_drivers=args.step_drivers,
        **computing(args),
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

    need_file_target(args.out)
    policy = Policy(threshold=args.threshold)
    workflow.report(args.run_folder, args.out, policy, cohort=args.cohort, **computing(args))
    print(f"{args.out}: the report of the run, in one file")
