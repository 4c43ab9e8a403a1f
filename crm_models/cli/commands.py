"""The command line: `python -m crm_models generate | import | check | train | tune | evaluate | plan | ...`.

Exit status 0: success. 2: wrong usage or bad input, with one error line on stderr. Progress goes to stderr, results to
stdout.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from crm_models.cli.audit import logged
from crm_models.cli.campaign import add_campaign
from crm_models.cli.cohorts import add_cohorts
from crm_models.cli.experiments import add_experiments
from crm_models.cli.explain import add_explain
from crm_models.cli.options import Parser
from crm_models.cli.plans import add_plans
from crm_models.cli.training import add_training
from crm_models.cli.workspace import add_workspace
from crm_models.core.errors import why
from crm_models.core.recovery import recover_path

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
        add_cohorts,
        add_training,
        add_plans,
        add_explain,
        add_campaign,
        add_experiments,
        add_workspace,
    ):
        add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
