"""The commands `generate`, `import` and `check`: a cohort from nothing, from files, from a database."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from crm_models.cli.options import command, pairs, positive, share, whole
from crm_models.cli.receipt import receipt_lines
from crm_models.core.schema import SCENARIOS
from crm_models.data.sources import FORMS


def add_cohorts(commands: Any) -> None:
    """Add the commands."""
    for add in (_add_generate, _add_import, _add_check):
        add(commands)


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
